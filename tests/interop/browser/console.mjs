// The console, as somebody who governs uses it in a real browser.
//
//     node console.mjs JOURNEY --chromium PATH --packages FOLDER --url URL [--key KEY] [--person NAME]
//
// Signs in, with the admin key or at the identity provider, does what the journey says, and prints what was seen as JSON. What does
// not come to pass within the patience of the browser is an error, with what the page says.
import { createRequire } from "node:module";

const said = (name) => { const at = process.argv.indexOf(`--${name}`); return at < 0 ? undefined : process.argv[at + 1]; };
const load = createRequire(`${said("packages")}/package.json`);
const { chromium } = load("playwright-core");
const url = said("url");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"];

const browser = await chromium.launch({ executablePath: said("chromium"), args: FLAGS });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

const button = (name, within = page) => within.getByRole("button", { name, exact: true });
const heading = (name) => page.getByRole("heading", { name, level: 1, exact: true });

async function settled() {
  await page.waitForFunction(() => document.querySelector("h1") !== null && document.querySelector(".bones, .spin") === null);
}

/** Goes to a page of the console by its menu. */
async function go(name) {
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name, exact: true }).click();
  await settled();
}

async function signIn() {
  await page.goto(`${url}/console/`);
  await page.getByRole("heading", { name: "Portcullis", level: 1 }).waitFor();
  if (said("key")) {
    await page.getByLabel("Admin key").fill(said("key"));
    await button("Sign in with the key").click();
  } else {
    await page.getByRole("link", { name: "Sign in with your organisation" }).click();
    await page.locator("input[name=login]").fill(said("person"));
    await page.locator("input[name=password]").fill(said("person"));
    await page.locator("button[type=submit]").click();
    await page.locator("input[name=prompt][value=consent] ~ button[type=submit]").click();
  }
  await heading("Overview").waitFor();
  await settled();
}

const JOURNEYS = {
  /** Has a key made for each client, and takes what the page tells it. */
  async snippets() {
    await go("Connect a client");
    await page.getByRole("textbox", { name: "As the agent" }).fill("coder");
    await button("Make a key and fill it in").click();
    await page.getByText("The key below is shown only now.").waitFor();
    const clients = {};
    for (const tab of await page.getByRole("tab").all()) {
      await tab.click();
      const panel = page.getByRole("tabpanel");
      const texts = await panel.locator(".code").evaluateAll((all) => all.map((one) => ({ kind: one.dataset.kind, text: one.querySelector("pre").textContent })));
      clients[await tab.innerText()] = texts;
    }
    return clients;
  },
  /** Sees every page that the menu offers, and which buttons it has. */
  async offered() {
    const pages = {};
    const links = page.getByRole("navigation", { name: "Pages" }).getByRole("link");
    for (const name of await links.allInnerTexts()) {
      await go(name);
      pages[name] = await page.getByRole("main").getByRole("button").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? one.innerText));
    }
    return pages;
  },
};

try {
  await signIn();
  console.log(JSON.stringify(await JOURNEYS[process.argv[2]]()));
} catch (error) {
  const text = await page.locator("body").innerText().catch(() => "");
  console.error(`${error.stack}\n--- ${page.url()}\n${text}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
