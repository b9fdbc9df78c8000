// A server on the TypeScript SDK, version 2, of the era without sessions only, whose tools ask the client: on stdio, or
// with `--http HOST:PORT` on HTTP.
'use strict';

const { createServer } = require('node:http');
const {
  McpServer, acceptedContent, createMcpHandler, createRequestStateCodec, inputRequired, inputResponse,
} = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const { localhostHostValidation, toNodeHandler } = require('@modelcontextprotocol/node');

const text = (value) => ({ content: [{ type: 'text', text: value }] });
const state = createRequestStateCodec({ key: 'a key of at least 32 bytes, for tests' });

const form = () =>
  inputRequired.elicit({
    message: 'Who are you?',
    requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
  });
const message = (prompt) =>
  inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text: prompt } }],
    maxTokens: 50,
  });

/** Registers a tool that asks `question`, and says what `told` makes of the answer. */
function asks(server, name, question, told) {
  server.registerTool(name, { description: 'Asks the client' }, async ({ mcpReq }) => {
    const answer = inputResponse(mcpReq.inputResponses, 'it');
    if (answer.kind === 'missing') return inputRequired({ inputRequests: { it: question() } });
    return text(told(answer));
  });
}

/** One server instance; the SDK makes one for each connection or request. */
function build() {
  const server = new McpServer(
    { name: 'asking-ts-v2', version: '1.0.0' },
    { requestState: { verify: state.verify } },
  );
  asks(server, 'ask_form', form, ({ action, content }) => `${action}: ${content?.name}`);
  const page = { message: 'Please sign in', url: 'https://example.com/sign-in' };
  asks(server, 'ask_url', () => inputRequired.elicitUrl(page), ({ action }) => `${action}: the page`);
  asks(server, 'ask_sampling', () => message('Well?'), ({ result }) => `The model says ${result.content.text}`);
  asks(server, 'ask_roots', () => inputRequired.listRoots(), ({ roots }) => `roots: ${roots.map((root) => root.uri)}`);
  server.registerTool('ask_twice', { description: 'Asks for a name, then about it' }, async ({ mcpReq }) => {
    const known = mcpReq.requestState();
    if (known?.name) {
      const said = inputResponse(mcpReq.inputResponses, 'about');
      return text(`The model says ${said.result.content.text} of ${known.name}`);
    }
    const given = acceptedContent(mcpReq.inputResponses, 'name');
    if (given === undefined) return inputRequired({ inputRequests: { name: form() } });
    return inputRequired({
      inputRequests: { about: message(`Who is ${given.name}?`) },
      requestState: await state.mint({ name: given.name }),
    });
  });
  return server;
}

/** Serves on HTTP and says where. */
function serveHttp(address) {
  const [host, port] = address.split(':');
  const valid = localhostHostValidation();
  const handle = toNodeHandler(createMcpHandler(build, { legacy: 'reject' }));
  const http = createServer((request, response) => valid(request, response) && handle(request, response));
  http.listen(Number(port), host, () => {
    console.log(`listening on http://${host}:${http.address().port}/mcp`);
  });
}

const [flag, address] = process.argv.slice(2);
if (flag === '--http') serveHttp(address);
else serveStdio(build, { legacy: 'reject' });
