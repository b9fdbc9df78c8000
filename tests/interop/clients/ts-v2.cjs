// The TypeScript SDK, version 2: probes with server/discover, or is held to one era with --era.
'use strict';

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = require('@modelcontextprotocol/client');
const { answering, capabilities, main, onClient, runSteps } = require('./plan.cjs');
const { connect, provider } = require('./sign_in.cjs');

const MODES = { auto: 'auto', legacy: 'legacy', modern: { pin: '2026-07-28' } };

main('ts-v2', async ({ url, era, signIn, browser, headers, answers }, plan) => {
  const client = new Client(
    { name: 'interop-ts-v2', version: '1.0.0' },
    { versionNegotiation: { mode: MODES[era] }, capabilities: capabilities(answers, browser) },
  );
  const asked = answering(answers, browser, (method, handler) => client.setRequestHandler(method, handler));
  const authProvider = signIn ? await provider(browser) : undefined;
  const make = () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers }, authProvider });
  await connect(client, make, authProvider, UnauthorizedError, true);
  const steps = await runSteps(plan, onClient(client, browser));
  const protocol = client.getNegotiatedProtocolVersion();
  const server = client.getServerVersion();
  await client.close();
  return { protocol, server, steps, asked };
});
