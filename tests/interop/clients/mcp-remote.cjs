// mcp-remote, the bridge that gives stdio-only agents a remote server, driven over its stdio by SDK version 1.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport, getDefaultEnvironment } = require('@modelcontextprotocol/sdk/client/stdio.js');
const { main, onClient, runSteps } = require('./plan.cjs');

const bridge = require.resolve('mcp-remote/dist/proxy.js');

main('mcp-remote', async ({ url, sse, headers }, plan) => {
  const state = fs.mkdtempSync(path.join(os.tmpdir(), 'interop-mcp-remote-'));
  const extra = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}:${value}`]);
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [bridge, url, '--transport', sse ? 'http-first' : 'http-only', ...extra],
    env: { ...getDefaultEnvironment(), MCP_REMOTE_CONFIG_DIR: state },
    stderr: 'pipe',
  });
  let said = '';
  transport.stderr.on('data', (chunk) => (said += chunk));
  const client = new Client({ name: 'interop-mcp-remote', version: '1.0.0' });
  try {
    await client.connect(transport);
    const steps = await runSteps(plan, onClient(client));
    return { protocol: null, server: client.getServerVersion(), steps };
  } catch (error) {
    throw new Error(`${error.message}\n${said}`);
  } finally {
    await client.close();
    fs.rmSync(state, { recursive: true, force: true });
  }
});
