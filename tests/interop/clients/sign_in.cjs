// How the TypeScript SDKs sign in here: with a real browser (`../browser/drive.cjs`), or else whoever they would send one to is
// followed as a browser would, and nobody has to look at it.
'use strict';

const { createServer } = require('node:http');
const { sentence } = require('./plan.cjs');

// Nothing listens there: the browser's way ends before.
const NOWHERE = 'http://127.0.0.1:9/callback';

/** Follows an authorization request to where it leads back, and answers that address. */
async function follow(url) {
  const cookies = new Map();
  for (let step = 0, next = new URL(url); step < 10; step += 1) {
    if (next.href.startsWith(NOWHERE)) return next;
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(next, { redirect: 'manual', headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    const location = response.headers.get('location');
    if (!location) throw new Error(`${next} leads nowhere: ${response.status} ${await response.text()}`);
    next = new URL(location, next);
  }
  throw new Error(`${url} leads in circles`);
}

/** Listens where a browser is sent back to, and answers that address. */
async function listen() {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end('<title>Signed in</title>');
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return `http://127.0.0.1:${server.address().port}/callback`;
}

/** What the SDKs ask of whoever uses them: something that keeps what they find out, and a browser. */
async function provider(browser) {
  const kept = {};
  const redirectUrl = browser ? await listen() : NOWHERE;
  return {
    redirectUrl,
    clientMetadata: {
      client_name: 'interop',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    state: () => 'a state',
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    redirectToAuthorization: async (url) => {
      kept.back = browser ? new URL((await browser.visit(url)).url) : await follow(url);
    },
    cameBackTo: () => kept.back,
  };
}

/** Connects an SDK client: signs in where it is asked to, and connects again. Answers the transport. */
async function connect(client, transport, signIn, UnauthorizedError, isComplete) {
  const first = transport();
  try {
    await client.connect(first);
    return first;
  } catch (error) {
    if (!signIn || !(error instanceof UnauthorizedError)) throw error;
    const { searchParams } = signIn.cameBackTo() ?? new URL(NOWHERE);
    if (searchParams.get('state') !== 'a state') throw new Error(`it came back without its state: ${sentence(error)}`);
    await first.finishAuth(isComplete ? searchParams : searchParams.get('code'));
    const second = transport();
    await client.connect(second);
    return second;
  }
}

module.exports = { connect, provider };
