// The TypeScript SDK, version 1: the client that most deployed agents still carry (initialize, sessions).
'use strict';

const { UnauthorizedError } = require('@modelcontextprotocol/sdk/client/auth.js');
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { SSEClientTransport } = require('@modelcontextprotocol/sdk/client/sse.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema,
} = require('@modelcontextprotocol/sdk/types.js');
const { answering, capabilities, main, onClient, runSteps } = require('./plan.cjs');
const { connect, provider } = require('./sign_in.cjs');

const REQUESTS = {
  'elicitation/create': ElicitRequestSchema,
  'sampling/createMessage': CreateMessageRequestSchema,
  'roots/list': ListRootsRequestSchema,
};

main('ts-v1', async ({ url, era, sse, signIn, browser, headers, answers }, plan) => {
  if (era === 'modern') throw new Error('this client has no modern era');
  const client = new Client(
    { name: 'interop-ts-v1', version: '1.0.0' },
    { capabilities: capabilities(answers, browser) },
  );
  const asked = answering(answers, browser, (method, handler) => client.setRequestHandler(REQUESTS[method], handler));
  const Transport = sse ? SSEClientTransport : StreamableHTTPClientTransport;
  const authProvider = signIn ? await provider(browser) : undefined;
  const make = () => new Transport(new URL(url), { requestInit: { headers }, authProvider });
  const transport = await connect(client, make, authProvider, UnauthorizedError, false);
  const steps = await runSteps(plan, onClient(client, browser));
  // The older transport keeps it to itself.
  const protocol = transport.protocolVersion ?? transport._protocolVersion;
  const server = client.getServerVersion();
  await transport.terminateSession?.().catch(() => undefined);
  await client.close();
  return { protocol, server, steps, asked };
});
