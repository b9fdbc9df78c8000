// What every driver shares: its arguments, its plan on standard input, its one JSON document on
// standard output. README.md in this folder describes the interface.
'use strict';

const { browserAt } = require('./browser.cjs');

const USAGE = "driver URL [--era auto|legacy|modern] [--sse] [--sign-in] [--browser URL] [--header 'Name: Value']... [--answers JSON]";

/** Reads the command line. */
function parseArguments(argv) {
  const options = { url: undefined, era: 'auto', sse: false, signIn: false, browser: undefined, headers: {}, answers: {} };
  for (let i = 0; i < argv.length; i += 1) {
    if (argv[i] === '--era') {
      options.era = argv[(i += 1)];
    } else if (argv[i] === '--sse') {
      options.sse = true;
    } else if (argv[i] === '--sign-in') {
      options.signIn = true;
    } else if (argv[i] === '--browser') {
      options.browser = browserAt(argv[(i += 1)]);
    } else if (argv[i] === '--answers') {
      options.answers = JSON.parse(argv[(i += 1)]);
    } else if (argv[i] === '--header') {
      const header = argv[(i += 1)];
      const colon = header.indexOf(':');
      options.headers[header.slice(0, colon).trim()] = header.slice(colon + 1).trim();
    } else {
      options.url = argv[i];
    }
  }
  if (!options.url || !['auto', 'legacy', 'modern'].includes(options.era)) {
    throw new Error(`usage: ${USAGE} < plan.json`);
  }
  return options;
}

/** Reads the plan: a JSON array of steps. */
async function readPlan() {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk;
  return JSON.parse(text);
}

/** One sentence for any thrown value, with its causes. */
function sentence(error) {
  const code = error?.code === undefined ? '' : `[${error.code}] `;
  const cause = error?.cause ? ` (${sentence(error.cause)})` : '';
  return `${code}${error?.message ?? error}${cause}`;
}

/** Runs each step with `perform`, which answers its result or throws; a failed step does not stop the rest. */
async function runSteps(plan, perform) {
  const steps = [];
  for (const step of plan) {
    try {
      steps.push({ do: step.do, ok: await perform(step) });
    } catch (error) {
      steps.push({ do: step.do, error: sentence(error) });
    }
  }
  return steps;
}

/** Follows `nextCursor` to the end and answers all pages as one. */
async function allPages(key, page) {
  const items = [];
  let cursor;
  do {
    const result = await page(cursor === undefined ? {} : { cursor });
    items.push(...result[key]);
    cursor = result.nextCursor;
  } while (cursor !== undefined);
  return { [key]: items };
}

/** Calls, and once more where the error says which pages have to be visited first. */
async function callTool(client, step, browser) {
  const call = () => client.callTool({ name: step.name, arguments: step.arguments ?? {} });
  try {
    return await call();
  } catch (error) {
    if (!browser || error.elicitations === undefined) throw error;
    for (const { url } of error.elicitations) await browser.visit(url);
    return call();
  }
}

/** Performs a step on an SDK client: both major versions name these methods alike. */
function onClient(client, browser) {
  return (step) => {
    switch (step.do) {
      case 'list_tools': return allPages('tools', (page) => client.listTools(page));
      case 'list_resources': return allPages('resources', (page) => client.listResources(page));
      case 'list_templates': return allPages('resourceTemplates', (page) => client.listResourceTemplates(page));
      case 'list_prompts': return allPages('prompts', (page) => client.listPrompts(page));
      case 'call_tool': return callTool(client, step, browser);
      case 'read_resource': return client.readResource({ uri: step.uri });
      case 'get_prompt': return client.getPrompt({ name: step.name, arguments: step.arguments ?? {} });
      default: throw new Error(`unknown step ${step.do}`);
    }
  };
}

/** What a client can be asked that has these answers, or a browser. */
function capabilities({ elicitation, sampling, roots }, browser) {
  return {
    ...(browser && { elicitation: { url: {} } }),
    ...(elicitation && { elicitation: { form: {}, url: {} } }),
    ...(sampling && { sampling: {} }),
    ...(roots && { roots: {} }),
  };
}

/**
 * Has an SDK client answer what it is asked: `register(method, handler)` is the SDK's own way to take a handler. With a
 * browser, a page that is to be visited is visited before the answer. Returns the list that fills with the questions.
 */
function answering({ elicitation, sampling, roots }, browser, register) {
  const asked = [];
  const on = (method, reply) =>
    register(method, async ({ params }) => {
      asked.push({ method, params: params ?? {} });
      return reply(params);
    });
  // Only a form has content.
  const { content, ...visited } = elicitation ?? {};
  if (browser) on('elicitation/create', ({ url }) => browser.visit(url).then(() => ({ action: 'accept' })));
  else if (elicitation) on('elicitation/create', ({ mode }) => (mode === 'url' ? visited : elicitation));
  if (sampling) on('sampling/createMessage', () => sampling);
  if (roots) on('roots/list', () => ({ roots }));
  return asked;
}

/** Runs `drive(options, plan)`, prints what it answers; a failure to connect is a document with `error`. */
async function main(name, drive) {
  let document;
  try {
    const options = parseArguments(process.argv.slice(2));
    document = { client: name, ...(await drive(options, await readPlan())), visited: options.browser?.visited };
  } catch (error) {
    document = { client: name, error: sentence(error) };
  }
  process.stdout.write(`${JSON.stringify(document)}\n`, () => process.exit(document.error ? 1 : 0));
}

module.exports = { answering, capabilities, main, onClient, runSteps, sentence };
