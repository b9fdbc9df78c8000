// What a client is told to reach this gateway, as its own documentation wants it. The tests take these texts from the page and
// use them.

export type Snippet = { title: string; text: string; kind: "file" | "command" | "code" | "steps" };
export type Client = { id: string; name: string; snippets: Snippet[]; note?: string };
type Way = { url: string; key: string | null };

const json = (value: unknown) => JSON.stringify(value, null, 2);
const headers = (key: string | null) => (key === null ? {} : { headers: { Authorization: `Bearer ${key}` } });
const flag = (key: string | null) => (key === null ? "" : ` --header "Authorization: Bearer ${key}"`);

function desktop({ url, key }: Way): Client {
  const plain = url.startsWith("http://") ? ["--allow-http"] : [];
  // The space stands in the variable: the program's arguments are split at spaces on Windows.
  const auth = key === null ? {} : { env: { AUTHORIZATION: `Bearer ${key}` } };
  const args = ["-y", "mcp-remote", url, ...plain, ...(key === null ? [] : ["--header", "Authorization:${AUTHORIZATION}"])];
  return { id: "claude-desktop", name: "Claude Desktop",
    note: "It starts local servers as programs: mcp-remote is one that passes everything on, and needs Node. Restart Claude Desktop afterwards.",
    snippets: [{ title: "claude_desktop_config.json", kind: "file", text: json({ mcpServers: { portcullis: { command: "npx", args, ...auth } } }) }] };
}

function chatgpt({ url, key }: Way): Client {
  const isPublic = url.startsWith("https://");
  const note = !isPublic ? "ChatGPT comes from the internet: the gateway needs a public address with https, as gateway.public_url." :
    key === null ? "People sign in with your organisation when they connect." :
    "ChatGPT sends no key of yours: people sign in with your organisation, which the configuration has to name as auth.sign_in.";
  return { id: "chatgpt", name: "ChatGPT", note, snippets: [{ title: "Settings, Apps and Connectors, Advanced, Developer mode, Create: the URL is", kind: "steps", text: url }] };
}

const python = ({ url, key }: Way) => `import asyncio
import mcp
${key === null ? "" : "import httpx2\n"}from mcp.client.streamable_http import streamable_http_client

async def main():
${key === null ? "" : `    http = httpx2.AsyncClient(headers={"Authorization": "Bearer ${key}"})\n`}    async with mcp.Client(streamable_http_client("${url}"${key === null ? "" : ", http_client=http"})) as client:
        for tool in (await client.list_tools()).tools:
            print(tool.name)

asyncio.run(main())
`;

const typescript = ({ url, key }: Way) => `import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const client = new Client({ name: "my-agent", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL("${url}")${key === null ? "" : `, {
  requestInit: { headers: { Authorization: "Bearer ${key}" } },
}`}));
for (const tool of (await client.listTools()).tools) console.log(tool.name);
await client.close();
`;

/** What each client takes to reach a URL, with a key or without. */
export function clients(way: Way): Client[] {
  const { url, key } = way;
  const mcpServers = (entry: object) => json({ mcpServers: { portcullis: entry } });
  return [
    { id: "claude-code", name: "Claude Code", snippets: [
      { title: "In a terminal", kind: "command", text: `claude mcp add --transport http portcullis ${url}${flag(key)}` },
      { title: "Or in the project's .mcp.json", kind: "file", text: mcpServers({ type: "http", url, ...headers(key) }) }] },
    desktop(way),
    { id: "cursor", name: "Cursor", snippets: [
      { title: "~/.cursor/mcp.json", kind: "file", text: mcpServers({ url, ...headers(key) }) }] },
    { id: "vs-code", name: "VS Code", snippets: [
      { title: ".vscode/mcp.json", kind: "file", text: json({ servers: { portcullis: { type: "http", url, ...headers(key) } } }) }] },
    chatgpt(way),
    { id: "gemini-cli", name: "Gemini CLI", snippets: [
      { title: "~/.gemini/settings.json", kind: "file", text: mcpServers({ httpUrl: url, ...headers(key) }) }] },
    { id: "python", name: "Python", note: "The official SDK: pip install mcp, version 2.", snippets: [{ title: "agent.py", kind: "code", text: python(way) }] },
    { id: "typescript", name: "TypeScript", note: "The official SDK: npm install @modelcontextprotocol/client.", snippets: [{ title: "agent.mjs", kind: "code", text: typescript(way) }] },
  ];
}
