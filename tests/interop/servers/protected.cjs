// A server that takes the tokens of an authorization server alone, of which it makes nothing itself: prints `listening on URL`.
//
//     node protected.cjs --http HOST:PORT --issuer URL --sdk 1|2
//
// `--sdk 1` is built on the TypeScript SDK 1.x, with sessions; `--sdk 2` on 2.x, of the era without sessions only. Each has its
// SDK's own bearer authentication and metadata of RFC 9728. A token is a JWT of the issuer's, with this server as its audience
// and the scope `mcp:use`. Its one tool, `whoami`, says whose token it was called with.
'use strict';

const { randomUUID } = require('node:crypto');
const { createServer } = require('node:http');
const jose = require('jose');

const SCOPES = ['mcp:use'];
const TOOL = { description: 'Says whose token this is' };

const option = (name) => process.argv[process.argv.indexOf(name) + 1];

/** What a caller is told. */
const told = (auth) => ({ content: [{ type: 'text', text: `${auth.extra.sub} of ${auth.extra.iss}` }] });

/** What verifies tokens for the server at `url`: refused ones are `Refused`. */
function verifier(metadata, url, Refused) {
  const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri));
  const verifyAccessToken = async (token) => {
    const verified = jose.jwtVerify(token, keys, { issuer: metadata.issuer, audience: url.href });
    const { payload } = await verified.catch((error) => {
      console.error(`refused: ${error.message}`);
      throw new Refused(error.message);
    });
    console.error(`token of ${JSON.stringify(payload)}`);
    return {
      token,
      clientId: payload.client_id,
      scopes: (payload.scope ?? '').split(' '),
      expiresAt: payload.exp,
      resource: url,
      extra: { sub: payload.sub, iss: payload.iss },
    };
  };
  return { verifyAccessToken };
}

/** On the SDK 1.x: what handles requests, with sessions. */
function first(metadata, url) {
  const express = require('express');
  const { McpServer } = require('@modelcontextprotocol/sdk/server/mcp.js');
  const { StreamableHTTPServerTransport } = require('@modelcontextprotocol/sdk/server/streamableHttp.js');
  const { InvalidTokenError } = require('@modelcontextprotocol/sdk/server/auth/errors.js');
  const { requireBearerAuth } = require('@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js');
  const {
    getOAuthProtectedResourceMetadataUrl, mcpAuthMetadataRouter,
  } = require('@modelcontextprotocol/sdk/server/auth/router.js');
  const { isInitializeRequest } = require('@modelcontextprotocol/sdk/types.js');

  const sessions = new Map();
  const open = async () => {
    const server = new McpServer({ name: 'interop-protected', version: '1.0.0' });
    server.registerTool('whoami', TOOL, ({ authInfo }) => told(authInfo));
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => { sessions.set(id, transport); },
    });
    await server.connect(transport);
    return transport;
  };
  const app = express();
  app.use(mcpAuthMetadataRouter({ oauthMetadata: metadata, resourceServerUrl: url, scopesSupported: SCOPES }));
  const guard = requireBearerAuth({
    verifier: verifier(metadata, url, InvalidTokenError),
    requiredScopes: SCOPES,
    resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(url),
    expectedResource: url,
  });
  app.all(url.pathname, guard, express.json(), async (request, response) => {
    const id = request.headers['mcp-session-id'];
    const begins = id === undefined && isInitializeRequest(request.body);
    const transport = begins ? await open() : sessions.get(id);
    if (transport) await transport.handleRequest(request, response, request.body);
    else response.status(id === undefined ? 400 : 404).end();
  });
  return app;
}

/** On the SDK 2.x: what handles requests, without sessions. */
function second(metadata, url) {
  const {
    McpServer, OAuthError, OAuthErrorCode, createMcpHandler, getOAuthProtectedResourceMetadataUrl, oauthMetadataResponse,
    requireBearerAuth,
  } = require('@modelcontextprotocol/server');
  const { toNodeHandler } = require('@modelcontextprotocol/node');

  class Refused extends OAuthError {
    constructor(why) {
      super(OAuthErrorCode.InvalidToken, why);
    }
  }
  const build = () => {
    const server = new McpServer({ name: 'interop-protected', version: '1.0.0' });
    server.registerTool('whoami', TOOL, ({ http }) => told(http.authInfo));
    return server;
  };
  const handler = createMcpHandler(build, { legacy: 'reject' });
  const guard = requireBearerAuth({
    verifier: verifier(metadata, url, Refused),
    requiredScopes: SCOPES,
    resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(url),
    expectedResource: url,
  });
  const documents = { oauthMetadata: metadata, resourceServerUrl: url, scopesSupported: SCOPES };
  return toNodeHandler({
    fetch: async (request) => {
      const document = oauthMetadataResponse(request, documents);
      if (document) return document;
      const auth = await guard(request);
      return auth instanceof Response ? auth : handler.fetch(request, { authInfo: auth });
    },
  });
}

async function main() {
  const answer = await fetch(`${option('--issuer')}/.well-known/openid-configuration`);
  const metadata = await answer.json();
  const [host, port] = option('--http').split(':');
  const server = createServer();
  server.listen(Number(port), host, () => {
    const url = new URL(`http://${host}:${server.address().port}/mcp`);
    server.on('request', option('--sdk') === '1' ? first(metadata, url) : second(metadata, url));
    console.log(`listening on ${url}`);
  });
}

main();
