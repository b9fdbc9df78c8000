// Uses the console in a real browser, as somebody who governs would, and takes pictures of every page: in light, in dark, on a phone.
//
//     node screenshots.mjs --chromium PATH --packages FOLDER --url URL --key KEY [--pictures FOLDER] [--page PATH]...
//
// Prints one line of JSON: `violations` (of accessibility, by page and theme), `errors` (what the browser complained about, as
// of the content security policy), and `seen`, the text of each page.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const said = (name) => process.argv.flatMap((word, at) => (word === `--${name}` ? [process.argv[at + 1]] : []));
const [executablePath] = said("chromium"), [packages] = said("packages"), [url] = said("url"), [key] = said("key"), [pictures] = said("pictures");
const load = createRequire(`${packages}/package.json`);
const { chromium } = load("playwright-core");
const axe = load.resolve("axe-core/axe.min.js");
const PAGES = { overview: "", audit: "audit?since=30d", servers: "servers", server: "servers/demo", evaluated: "servers/everything", "add-server": "servers?add=form", tools: "tools", tool: "tools/demo__echo", customise: "tools/demo__echo?tab=customise",
  agents: "agents", agent: "agents/coder?show=all", groups: "groups", registry: "registry", review: "registry?entry=com.example%2Ffiles+1.0.0", fleet: "fleet", connect: "connect", keys: "keys", connections: "connections", secrets: "secrets", sessions: "sessions", approvals: "approvals", approval: "approvals/demo", configuration: "configuration", versions: "configuration?tab=versions" };
/** At which a phone is looked at as closely as a screen. */
const CLOSER = ["overview", "agent", "evaluated", "review"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"];

const browser = await chromium.launch({ executablePath, args: FLAGS });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce" });
const page = await context.newPage();
page.setDefaultTimeout(20_000);
const violations = [], errors = [], seen = {};
// That nobody is signed in is what the console asks first.
page.on("console", (message) => { if (message.type() === "error" && !message.text().includes("401")) errors.push(`${message.text()} ${message.location().url}`); });
page.on("pageerror", (error) => errors.push(String(error)));

const frames = () => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
const painter = await context.newCDPSession(page);
/** What is seen, in a form that takes a third of what a PNG does. */
async function picture() {
  // What was changed is painted a frame later.
  await frames();
  const { data } = await painter.send("Page.captureScreenshot", { format: "webp", quality: 85 });
  return Buffer.from(data, "base64");
}

async function take(name, theme) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  writeFileSync(`${pictures}/${name}-${theme}.webp`, await picture());
}

async function look(name, theme) {
  await take(name, theme);
  await page.evaluate(readFileSync(axe, "utf8"));
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, nodes } of found.violations) violations.push(`${name} ${theme}: ${id} ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
}

/** What was asked and is not answered yet, but for the stream of what goes through. */
const pending = new Set();
page.on("request", (request) => { if (!request.url().endsWith("/live")) pending.add(request); });
for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => pending.delete(request));

/** Waits until a page has all that it asks for: for some frames nothing is on its way. */
async function settled() {
  await page.waitForSelector("h1");
  for (let calm = 0, end = Date.now() + 30_000; calm < 4;) {
    await frames();
    const isDone = pending.size === 0 && await page.evaluate(() => document.querySelector(".bones, .spin") === null);
    calm = isDone ? calm + 1 : 0;
    if (Date.now() > end) throw new Error(`${page.url()} shows ${JSON.stringify(await page.innerText("body"))} and says ${JSON.stringify(errors)}`);
  }
}

/** Looks as a phone does. */
async function narrow() {
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 375, height: 780 });
}

await page.goto(`${url}/console/`);
await page.waitForSelector("h1");
for (const theme of ["light", "dark"]) { await page.emulateMedia({ colorScheme: theme }); await look("sign-in", theme); }
await narrow();
await take("sign-in", "phone");
await page.setViewportSize({ width: 1280, height: 800 });
await page.getByLabel("Admin key").fill(key);
await page.getByRole("button", { name: "Sign in with the key" }).click();
await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
for (const [name, path] of Object.entries(PAGES)) {
  await page.goto(`${url}/console/${path}`);
  await settled();
  if (pictures && name === "overview") await page.locator(".status.ok", { hasText: "live" }).waitFor();
  seen[name] = await page.innerText("main");
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    // What lies below a dialog and what it shows is not always painted anew.
    if (await page.getByRole("dialog").count() > 0) { await page.reload(); await settled(); }
    await look(name, theme);
  }
}
await narrow();
for (const [name, path] of Object.entries(PAGES)) {
  await page.goto(`${url}/console/${path}`);
  await settled();
  const wide = await page.evaluate(() => Math.max(...[document.documentElement, ...document.querySelectorAll("main .card, main svg.graph")].map((one) => one.scrollWidth)));
  if (wide > 375) violations.push(`${name} on a phone: it is ${wide} wide`);
  await (CLOSER.includes(name) ? look : take)(name, "phone");
}
console.log(JSON.stringify({ violations, errors, seen }));
await browser.close();
