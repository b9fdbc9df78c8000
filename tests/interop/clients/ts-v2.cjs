// The TypeScript SDK, version 2: probes with server/discover, or is held to one era with --era.
'use strict';

const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');
const { answering, capabilities, main, onClient, runSteps } = require('./plan.cjs');

const MODES = { auto: 'auto', legacy: 'legacy', modern: { pin: '2026-07-28' } };

main('ts-v2', async ({ url, era, headers, answers }, plan) => {
  const client = new Client(
    { name: 'interop-ts-v2', version: '1.0.0' },
    { versionNegotiation: { mode: MODES[era] }, capabilities: capabilities(answers) },
  );
  const asked = answering(answers, (method, handler) => client.setRequestHandler(method, handler));
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  const steps = await runSteps(plan, onClient(client));
  const protocol = client.getNegotiatedProtocolVersion();
  const server = client.getServerVersion();
  await client.close();
  return { protocol, server, steps, asked };
});
