// An MCP server on standard streams whose one tool fetches a URL, with nothing but what Node has.

import { createInterface } from "node:readline";

const text = (text, isError = false) => ({ content: [{ type: "text", text }], isError });
const fetched = (url) => fetch(url).then(async (reply) => text(await reply.text()))
  .catch((error) => text(error.cause?.code ?? error.message, true));

const answers = {
  initialize: () => ({ protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "fetch", version: "1" } }),
  "tools/list": () => ({ tools: [{ name: "fetch", inputSchema: { type: "object", properties: { url: { type: "string" } } } }] }),
  "tools/call": ({ arguments: { url } }) => fetched(url),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  const answer = answers[method];
  const outcome = answer ? { result: await answer(params) } : { error: { code: -32601, message: "no such method" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id, ...outcome }));
}
