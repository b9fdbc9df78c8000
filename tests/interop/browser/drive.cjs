// A real browser, Chromium, and people who use it: prints `listening on URL`.
//
//     node drive.cjs --chromium PATH
//
// `POST URL/WHO?name=NAME&key=KEY` with an address has somebody go there, and do what a page asks of them: sign in as NAME,
// agree, paste KEY, go to a page that another one waits for. It ends at a page that asks for nothing and leads nowhere, and answers `{url, status, title, text, pages}`;
// `pages` are the documents on the way, `{host, path, status, title}`. Each WHO has a browser window without a past, and keeps
// the cookies that they get.
'use strict';

const { createServer } = require('node:http');
const { chromium } = require('playwright-core');

/** How long a walk may take, in milliseconds. */
const PATIENCE = 45_000;
/** The most pages of a walk. */
const MOST = 30;

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Nothing is asked for that is not on this machine.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
];

/** What people do, the first that a page has room for: what they fill in, and what they press. */
const HABITS = [
  { fill: { 'input[name=login]': 'name', 'input[name=password]': 'name' }, press: 'button[type=submit]' },
  { fill: { 'input[name=key]': 'key' }, press: 'button.allow' },
  { fill: {}, press: 'button.allow' },
  { fill: {}, press: 'input[name=prompt][value=consent] ~ button[type=submit]' },
  { fill: {}, press: 'button[form="op.deviceConfirmForm"]:not([name])' },
];
/** What a page waits for that is to be done elsewhere. */
const ELSEWHERE = 'a[target=_blank]';
/** The title of a page that posts itself (`oidc-provider`). */
const POSTS = 'Submitting Callback';

/** One walk: what has been seen since it began. */
class Walk {
  pages = [];
  #page;
  /** How many documents were answered, and how many of them are there. */
  #answered = 0;
  #arrived = 0;
  /** Whether the last one leads on by itself. */
  #onward = false;
  #failure;

  constructor(page) {
    this.#page = page;
    const ours = (request) => request.isNavigationRequest() && request.frame() === page.mainFrame();
    page.on('framenavigated', (frame) => { if (frame === page.mainFrame()) this.#arrived += 1; });
    page.on('requestfailed', (request) => {
      if (ours(request)) this.#failure = `${request.url()}: ${request.failure()?.errorText}`;
    });
    page.on('response', (response) => {
      if (!ours(response.request())) return;
      const { host, pathname } = new URL(response.url());
      this.pages.push({ host, path: pathname, status: response.status() });
      if (response.status() < 300 || response.status() > 399) {
        this.#answered += 1;
        this.#onward = (response.headers().refresh ?? '').startsWith('0');
      }
    });
  }

  /** Goes to a page, and on until there is nothing to do. */
  async go(url, person) {
    await this.#follow(() => this.#page.goto(url, { waitUntil: 'commit' }));
    while (this.pages.length < MOST) {
      const last = this.pages.at(-1);
      last.title = await this.#page.title();
      // Who is refused tries nothing else.
      if (last.status >= 400 || !(await this.#act(person))) {
        const text = await this.#page.innerText('body');
        return { url: this.#page.url(), ...last, text, pages: this.pages };
      }
    }
    throw new Error(`it leads in circles: ${JSON.stringify(this.pages)}`);
  }

  /** Does what the page asks for; answers whether it asked for something. */
  async #act(person) {
    const elsewhere = this.#page.locator(ELSEWHERE);
    if (await elsewhere.count() > 0) {
      await this.#goElsewhere(await elsewhere.getAttribute('href'), person);
      do {
        await elsewhere.waitFor({ state: 'detached' });
        await this.#page.waitForLoadState();
      } while (await elsewhere.count() > 0);
      return true;
    }
    for (const { fill, press } of HABITS) {
      const wanted = [...Object.keys(fill), press];
      const there = await Promise.all(wanted.map((selector) => this.#page.locator(selector).count()));
      if (!there.every((count) => count > 0)) continue;
      for (const [selector, what] of Object.entries(fill)) {
        if (person[what] === undefined) throw new Error(`${this.#page.url()} asks for a ${what}`);
        await this.#page.fill(selector, person[what]);
      }
      await this.#follow(() => this.#page.locator(press).first().click());
      return true;
    }
    return false;
  }

  /** Goes to another page, in a tab of its own, and on until there is nothing to do. */
  async #goElsewhere(url, person) {
    const page = await this.#page.context().newPage();
    page.setDefaultTimeout(PATIENCE);
    this.pages.push(...(await new Walk(page).go(url, person)).pages);
    await page.close();
  }

  /** Tells whether the page that is there goes on by itself. */
  async #isPosting() {
    await this.#page.waitForLoadState('domcontentloaded');
    return (await this.#page.title().catch(() => POSTS)) === POSTS;
  }

  /** Does something, and waits for the document that it leads to in the end. */
  async #follow(how) {
    const before = this.#answered;
    await how();
    const isThere = () => this.#answered > before && this.#arrived >= this.#answered && !this.#onward;
    for (const end = Date.now() + PATIENCE; !isThere() || (await this.#isPosting());) {
      if (this.#failure !== undefined) throw new Error(`it cannot be reached: ${this.#failure}`);
      if (Date.now() > end) throw new Error(`it leads nowhere: ${JSON.stringify(this.pages)}`);
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    await this.#page.waitForLoadState();
  }
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** The windows, by whose they are. */
const windows = new Map();

async function visit(browser, who, person, url) {
  if (!windows.has(who)) windows.set(who, browser.newContext());
  const page = await (await windows.get(who)).newPage();
  page.setDefaultTimeout(PATIENCE);
  try {
    return await new Walk(page).go(url, person);
  } finally {
    await page.close();
  }
}

async function main() {
  const executablePath = process.argv[process.argv.indexOf('--chromium') + 1];
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    try {
      const walk = await visit(browser, pathname, Object.fromEntries(searchParams), await body(request));
      response.end(JSON.stringify(walk));
    } catch (error) {
      response.writeHead(500).end(String(error.stack));
    }
  });
  server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
