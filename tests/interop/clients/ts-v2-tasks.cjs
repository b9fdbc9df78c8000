// The tasks extension's own client on the TypeScript SDK, version 2. It says yes to whatever it is asked.
// The package comes with the Inspector; it is an ES module, which NODE_PATH does not lead to.
'use strict';

const path = require('node:path');
const { pathToFileURL } = require('node:url');

const { main, runSteps } = require('./plan.cjs');

const PROTOCOL = '2026-07-28';
const INFO = { name: 'interop-ts-v2-tasks', version: '1.0.0' };
const CAPABILITIES = { elicitation: {} };

const load = (file) =>
  import(pathToFileURL(path.join(process.env.NODE_PATH, '@modelcontextprotocol', file)).href);

/** Sends what the SDK's own client refuses to: requests whose answers are tasks. */
function dispatcher(url, headers) {
  let id = 0;
  return async (request, { signal } = {}) => {
    const response = await fetch(url, {
      method: 'POST',
      signal,
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json, text/event-stream',
        'MCP-Protocol-Version': PROTOCOL,
        'Mcp-Method': request.method,
        'Mcp-Name': request.params.taskId ?? request.params.name,
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: (id += 1), ...request }),
    });
    const { result, error } = await response.json();
    return error === undefined ? { kind: 'result', result } : { kind: 'error', error };
  };
}

/** Answers a form's booleans with yes. */
async function answer({ kind, params }) {
  if (kind !== 'elicitation') throw new Error(`asked for ${kind}`);
  const names = Object.keys(params.requestedSchema.properties);
  return { action: 'accept', content: Object.fromEntries(names.map((name) => [name, true])) };
}

main('ts-v2-tasks', async ({ url, headers }, plan) => {
  const { Client, StreamableHTTPClientTransport } = await load('client/dist/index.mjs');
  const { createTaskSessionFromClient, resultFromTaskOutcome } = await load('ext-tasks/dist/client/index.js');
  const client = new Client(INFO, {
    capabilities: CAPABILITIES,
    versionNegotiation: { mode: { pin: PROTOCOL } },
  });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  const session = createTaskSessionFromClient(client, {
    endpointId: url,
    rawDispatch: dispatcher(url, headers),
    v2RequestFraming: { protocolVersion: PROTOCOL, clientInfo: INFO, clientCapabilities: CAPABILITIES },
    onInputRequest: answer,
  });
  const steps = await runSteps(plan, async (step) => {
    if (step.do !== 'call_tool') throw new Error(`unknown step ${step.do}`);
    const execution = await session.callTool(step.name, step.arguments ?? {});
    const { outcome } = await execution.settle();
    return { kind: execution.kind, result: resultFromTaskOutcome(outcome) };
  });
  const protocol = client.getNegotiatedProtocolVersion();
  const server = client.getServerVersion();
  await session.close();
  await client.close();
  return { protocol, server, steps };
});
