// A server on the TypeScript SDK, version 2, of both eras: on stdio, or with `--http HOST:PORT` on HTTP.
'use strict';

const { createServer } = require('node:http');
const { McpServer, ResourceTemplate, createMcpHandler, fromJsonSchema } = require('@modelcontextprotocol/server');
const { serveStdio } = require('@modelcontextprotocol/server/stdio');
const { localhostHostValidation, toNodeHandler } = require('@modelcontextprotocol/node');

const object = (properties) =>
  fromJsonSchema({ type: 'object', properties, required: Object.keys(properties), additionalProperties: false });
const text = (value) => ({ content: [{ type: 'text', text: value }] });

/** One server instance; the SDK makes one for each connection or request. */
function build() {
  const server = new McpServer({ name: 'interop-ts-v2', version: '1.0.0' });
  server.registerTool(
    'greet',
    { description: 'Greets by name', inputSchema: object({ name: { type: 'string' } }) },
    async ({ name }) => text(`Hello, ${name}, from ts-v2`),
  );
  server.registerTool(
    'add',
    {
      description: 'Adds two numbers',
      inputSchema: object({ a: { type: 'number' }, b: { type: 'number' } }),
      outputSchema: object({ sum: { type: 'number' } }),
    },
    async ({ a, b }) => ({ ...text(String(a + b)), structuredContent: { sum: a + b } }),
  );
  server.registerPrompt(
    'review',
    { description: 'Asks for a review', argsSchema: object({ topic: { type: 'string' } }) },
    async ({ topic }) => ({
      messages: [{ role: 'user', content: { type: 'text', text: `Please review ${topic} for ts-v2` } }],
    }),
  );
  server.registerResource('hello', 'note://ts-v2/hello', { mimeType: 'text/plain' }, async (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'a note of ts-v2' }],
  }));
  const lines = new ResourceTemplate('note://ts-v2/lines/{line}', { list: undefined });
  server.registerResource('line', lines, { mimeType: 'text/plain' }, async (uri, { line }) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: `line ${line} of ts-v2` }],
  }));
  return server;
}

/** Serves on HTTP and says where. */
function serveHttp(address) {
  const [host, port] = address.split(':');
  const valid = localhostHostValidation();
  const handle = toNodeHandler(createMcpHandler(build));
  const http = createServer((request, response) => valid(request, response) && handle(request, response));
  http.listen(Number(port), host, () => {
    console.log(`listening on http://${host}:${http.address().port}/mcp`);
  });
}

const [flag, address] = process.argv.slice(2);
if (flag === '--http') serveHttp(address);
else serveStdio(build);
