// The MCP Inspector's command line: one process for each step, as a person at a shell uses it.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { execFile } = require('node:child_process');
const { promisify } = require('node:util');
const { main, runSteps } = require('./plan.cjs');

const run = promisify(execFile);

/** The Inspector's start script; its package does not export it, so it is looked for where modules are. */
function launcher() {
  const within = '@modelcontextprotocol/inspector/clients/launcher/build/index.js';
  const roots = module.paths.concat((process.env.NODE_PATH ?? '').split(path.delimiter).filter(Boolean));
  const found = roots.map((root) => path.join(root, within)).find((file) => fs.existsSync(file));
  if (!found) throw new Error(`no ${within} in ${roots.join(', ')}`);
  return found;
}

/** The options that make the Inspector do one step. */
function method(step) {
  switch (step.do) {
    case 'list_tools': return ['--method', 'tools/list'];
    case 'list_resources': return ['--method', 'resources/list'];
    case 'list_templates': return ['--method', 'resources/templates/list'];
    case 'list_prompts': return ['--method', 'prompts/list'];
    case 'call_tool':
      return ['--method', 'tools/call', '--tool-name', step.name, '--tool-args-json', JSON.stringify(step.arguments ?? {})];
    case 'read_resource': return ['--method', 'resources/read', '--uri', step.uri];
    case 'get_prompt': {
      const pairs = Object.entries(step.arguments ?? {}).flatMap(([name, value]) => ['--prompt-args', `${name}=${value}`]);
      return ['--method', 'prompts/get', '--prompt-name', step.name, ...pairs];
    }
    default: throw new Error(`unknown step ${step.do}`);
  }
}

main('inspector', async ({ url, era, headers }, plan) => {
  const script = launcher();
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'interop-inspector-'));
  const extra = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]);
  const common = ['--cli', url, '--transport', 'http', '--protocol-era', era, '--format', 'json', ...extra];
  const env = { ...process.env, HOME: home };
  try {
    const steps = await runSteps(plan, async (step) => {
      const { stdout } = await run(process.execPath, [script, ...common, ...method(step)], { env, maxBuffer: 1 << 26 });
      return JSON.parse(stdout).result;
    });
    return { protocol: null, server: null, steps };
  } finally {
    fs.rmSync(home, { recursive: true, force: true });
  }
});
