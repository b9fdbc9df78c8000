// The console, as somebody who governs uses it in a real browser.
//
//     node console.mjs JOURNEY --chromium PATH --packages FOLDER --url URL [--key KEY] [--person NAME] [--command LINE]
//         [--entry JSON --evaluate JSON] [--rests yes]
//
// Signs in, with the admin key or at the identity provider, does what the journey says, and prints what was seen as JSON. What does
// not come to pass within the patience of the browser is an error, with what the page says.
import { execFileSync } from "node:child_process";
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

/** Signs in at the pages of an identity provider, and consents. */
async function atProvider(pages, person) {
  await pages.locator("input[name=login]").fill(person);
  await pages.locator("input[name=password]").fill(person);
  await pages.locator("button[type=submit]").click();
  await pages.locator("input[name=prompt][value=consent] ~ button[type=submit]").click();
}

async function signIn() {
  await page.goto(`${url}/console/`);
  await page.getByRole("heading", { name: "Portcullis", level: 1 }).waitFor();
  if (said("key")) {
    await page.getByLabel("Admin key").fill(said("key"));
    await button("Sign in with the key").click();
  } else {
    await page.getByRole("link", { name: "Sign in with your organisation" }).click();
    await atProvider(page, said("person"));
  }
  await heading("Overview").waitFor();
  await settled();
}

/** A client that is connected as an agent, and hears when its tools change. */
async function connected(key) {
  const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ToolListChangedNotificationSchema } = load("@modelcontextprotocol/sdk/types.js");
  const client = new Client({ name: "journey", version: "1" });
  let told = 0, tools = [];
  const read = async () => { tools = (await client.listTools()).tools.map(({ name }) => name); };
  client.setNotificationHandler(ToolListChangedNotificationSchema, async () => { told += 1; await read(); });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers: { Authorization: `Bearer ${key}` } } }));
  await read();
  /** Waits until what the client has is so; `look` is what it does meanwhile. */
  const wait = async (what, holds, look) => {
    for (const end = Date.now() + 90_000; !holds(tools); await look())
      if (Date.now() > end) throw new Error(`${what}: it was told ${told} times, and has ${tools}`);
  };
  const pause = (time) => new Promise((resolve) => { setTimeout(resolve, time); });
  /** Waits until what the client was told of is so, without asking. */
  const hears = (what, holds) => wait(what, holds, () => pause(20));
  /** The same, but that it asks by and by where its stream may rest, and hears of news by the half minute. */
  const until = said("rests") ? (what, holds) => wait(what, holds, async () => { await read(); await pause(500); }) : hears;
  return { client, until, hears };
}

const tableRow = (name) => page.getByRole("row").filter({ hasText: name });
const dialog = () => page.getByRole("dialog");

/** Puts in force what a dialog holds. */
async function putInForce(label) {
  await button(label, dialog()).click();
  await dialog().waitFor({ state: "detached" });
}

/** Has a key made for the agent `coder`, and connects a client with it. */
async function connectedCoder() {
  await go("Connect a client");
  await page.getByRole("textbox", { name: "As the agent" }).fill("coder");
  await button("Make a key and fill it in").click();
  await page.getByText("The key below is shown only now.").waitFor();
  const snippet = await page.getByText("claude mcp add").innerText();
  return connected(/Bearer ([^"]+)"/.exec(snippet)[1]);
}

/** Approves what a server says. */
async function approve(server) {
  await go("Approvals");
  await page.getByRole("link", { name: server, exact: true }).click();
  await button("Approve what is shown").click();
  await page.locator(".status.ok", { hasText: "Approved" }).waitFor({ timeout: 90_000 }).catch(async (error) => {
    throw new Error(`the page says ${await page.innerText("main")}`, { cause: error });
  });
}

/** Tries the tool that is looked at as an agent; returns what the console shows. */
async function tryIt(agent, message) {
  await page.getByRole("tab", { name: "Try" }).click();
  await page.getByRole("button", { name: /As the agent/ }).click();
  await page.getByRole("option", { name: agent, exact: true }).click();
  await page.getByRole("textbox", { name: "message" }).fill(message);
  await button("Call").click();
  return page.getByRole("region", { name: "The answer", exact: true }).innerText();
}

/** Goes back to the first version. */
async function rollBack() {
  await go("Configuration");
  await page.getByRole("tab", { name: "Versions" }).click();
  await button("Compare version 1").click();
  await button("Roll back", dialog()).click();
  await dialog().waitFor({ state: "detached" });
}

const JOURNEYS = {
  /** Restricts an agent in the text of the configuration, while its client is connected; asks why; approves, reads the trail, goes back. */
  async write() {
    const { client, hears: until } = await connectedCoder();
    await until("it sees all", (tools) => tools.includes("demo__add") && tools.includes("demo__echo"));
    await go("Configuration");
    const text = page.getByRole("textbox", { name: "portcullis.yaml" });
    await text.fill((await text.inputValue()).replace("coder: { allow: ['*'] }", "coder: { allow: ['*'], deny: [demo/add] }"));
    await button("Review and put in force").click();
    await dialog().getByText("+   coder:").waitFor();
    await putInForce("Put in force");
    await until("a tool vanishes", (tools) => !tools.includes("demo__add") && tools.includes("demo__echo"));
    const refused = await client.callTool({ name: "demo__add", arguments: { a: 1, b: 2 } }).then((result) => result.isError === true, () => true);
    await go("Agents");
    await page.getByRole("link", { name: "coder", exact: true }).click();
    await page.getByRole("radio", { name: "Not seen" }).click();
    await button("Why demo__add").click();
    await dialog().getByText("It may not call this.").waitFor();
    const why = await dialog().innerText();
    await button("Close", dialog()).click();
    await approve("demo");
    await go("Audit");
    await page.getByRole("searchbox", { name: "Tool" }).fill("demo__add");
    await tableRow("demo__add").filter({ hasText: "denied" }).first().waitFor();
    await rollBack();
    await until("all is as before", (tools) => tools.includes("demo__add"));
    await client.close();
    return { refused, why };
  },
  /** Governs a gateway whose agent is connected meanwhile, and sees there what comes of it. */
  async govern() {
    const { client, until } = await connectedCoder();
    await until("it sees all", (tools) => tools.includes("demo__add") && tools.includes("demo__echo"));
    // An agent is restricted, and what it may not call any more vanishes.
    await go("Agents");
    await page.getByRole("link", { name: "coder", exact: true }).click();
    await button("What it may call").click();
    await dialog().getByRole("textbox", { name: "Never" }).fill("demo/add");
    await putInForce("Put in force");
    await until("a tool vanishes", (tools) => !tools.includes("demo__add") && tools.includes("demo__echo"));
    const refused = await client.callTool({ name: "demo__add", arguments: { a: 1, b: 2 } }).then((result) => result.isError === true, () => true);
    await page.getByRole("radio", { name: "Not seen" }).click();
    await tableRow("demo__add").waitFor();
    // A server is added, and its tools appear.
    await go("Servers");
    await button("Add a server").click();
    await dialog().getByRole("textbox", { name: "Name" }).fill("second");
    if (said("at")) {
      await dialog().getByRole("textbox", { name: "Address" }).fill(said("at"));
    } else {
      await dialog().getByRole("radio", { name: "A program on the gateway's machine" }).click();
      await dialog().getByRole("textbox", { name: "Command" }).fill(said("command"));
    }
    await putInForce("Add the server");
    await heading("second").waitFor();
    await page.locator(".status.ok", { hasText: "up" }).first().waitFor();
    await until("its tools appear", (tools) => tools.includes("second__echo"));
    // A tool is customised, and tried.
    await go("Tools");
    await page.getByRole("link", { name: /^demo__echo/ }).click();
    await page.getByRole("tab", { name: "Customise" }).click();
    await page.getByRole("textbox", { name: "Its name" }).fill("shout");
    await page.getByRole("radio", { name: "Add to it" }).click();
    await page.getByRole("textbox", { name: "What is added" }).fill("For the shop only.");
    const preview = await page.getByRole("region", { name: "The definition that they will see" }).innerText();
    await button("Put in force").click();
    await page.getByRole("heading", { name: "demo__shout" }).waitFor();
    await until("the customised tool appears", (tools) => tools.includes("demo__shout"));
    const tried = await tryIt("coder", "tried at the console");
    const told = (await client.listTools()).tools.find(({ name }) => name === "demo__shout");
    const answer = JSON.stringify(await client.callTool({ name: "demo__shout", arguments: { message: "hello from the console" } }));
    await approve("demo");
    // The trail says what was refused.
    await go("Audit");
    await page.getByRole("searchbox", { name: "Tool" }).fill("demo__add");
    await tableRow("demo__add").filter({ hasText: "denied" }).first().waitFor();
    // And back.
    await rollBack();
    await until("all is as before", (tools) => tools.includes("demo__add") && !tools.includes("second__echo") && !tools.includes("demo__shout"));
    await client.close();
    return { refused, preview, told: told.description, answer, tried };
  },
  /** Adds a server that asks for an account, and connects one for all, while an agent is connected. */
  async connect() {
    const { client, until } = await connectedCoder();
    await go("Servers");
    await button("Add a server").first().click();
    await dialog().getByRole("textbox", { name: "Name" }).fill("notes");
    await dialog().getByRole("textbox", { name: "Address" }).fill(said("at"));
    await dialog().getByRole("radio", { name: "One account for all" }).click();
    await putInForce("Add the server");
    await heading("notes").waitFor();
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: "Connect", exact: true }).first().click();
    const pages = await opened;
    await pages.locator("input[name=key]").fill(said("key"));
    await pages.locator("button[value=connect]").click();
    await atProvider(pages, "ann");
    await pages.getByRole("heading", { name: "Connected" }).waitFor();
    await pages.close();
    await page.locator(".status.ok", { hasText: "up" }).first().waitFor();
    await until("its tools appear", (tools) => tools.includes("notes__whoami"));
    const answer = JSON.stringify(await client.callTool({ name: "notes__whoami", arguments: {} }));
    await go("Connections");
    await tableRow("everyone").waitFor();
    await client.close();
    return { answer };
  },
  /** Publishes a server that is only approved once it was evaluated, has that done, looks at what was found, serves it, approves what it says. */
  async evaluate() {
    const { client, until } = await connectedCoder();
    const entry = JSON.parse(said("entry"));
    const review = button(`Review of ${entry.name} ${entry.version}`);
    await go("Registry");
    await button("Publish").first().click();
    await dialog().getByRole("textbox", { name: "Its server.json" }).fill(said("entry"));
    await putInForce("Publish");
    await review.click();
    await dialog().getByRole("textbox", { name: "Its name here" }).waitFor();
    await button("Approve what is shown", dialog()).click();
    const refused = await dialog().getByRole("alert").innerText();
    const [program, ...command] = JSON.parse(said("evaluate"));
    execFileSync(program, command, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, PORTCULLIS_ADMIN_KEY: said("key") } });
    await page.reload();
    await settled();
    const verdict = await dialog().locator(".status").first().innerText();
    await dialog().getByRole("textbox", { name: "Its name here" }).fill("files");
    await putInForce("Approve and serve it here");
    await heading("files").waitFor();
    const report = await page.getByRole("region", { name: "What it did when it was evaluated" }).innerText();
    await page.getByRole("link", { name: "Look at what has changed" }).click();
    await page.locator(".status.warn", { hasText: "To be approved" }).waitFor();
    const held = (await client.listTools()).tools.map(({ name }) => name);
    await button("Approve what is shown").click();
    await page.locator(".status.ok", { hasText: "Approved" }).waitFor();
    await until("its tools appear", (tools) => tools.includes("files__list_allowed_directories"));
    const answer = JSON.stringify(await client.callTool({ name: "files__list_allowed_directories", arguments: {} }));
    await client.close();
    return { refused, verdict, report, held, answer };
  },
  /** Does without a mouse: past the menu, into a dialog, out of it again. */
  async keyboard() {
    await page.goto(`${url}/console/keys`);
    await settled();
    await page.keyboard.press("Tab");
    const first = await page.evaluate(() => document.activeElement.innerText);
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    const next = await page.evaluate(() => document.activeElement.innerText);
    await page.keyboard.press("Enter");
    await dialog().waitFor();
    const within = await dialog().evaluate((one) => one.contains(document.activeElement));
    await page.keyboard.press("Escape");
    await dialog().waitFor({ state: "detached" });
    await page.waitForFunction((text) => document.activeElement.innerText === text, next);
    await page.keyboard.press("Enter");
    await dialog().getByRole("textbox", { name: "Agent" }).focus();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("coder");
    await page.keyboard.press("Enter");
    await page.getByRole("alertdialog", { name: "Copy the key now" }).waitFor();
    return { first, next, within };
  },
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
  // A client of a journey that has failed would go on listening.
  process.exit();
}
