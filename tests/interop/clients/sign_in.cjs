// How the TypeScript SDKs sign in here: whoever they would send a browser to is followed as a browser would, and nobody has
// to look at it.
'use strict';

const { sentence } = require('./plan.cjs');

// Nothing listens there: the browser's way ends before.
const REDIRECT = 'http://127.0.0.1:9/callback';

/** Follows an authorization request to where it leads back, and answers that address. */
async function visit(url) {
  const cookies = new Map();
  for (let step = 0, next = new URL(url); step < 10; step += 1) {
    if (next.href.startsWith(REDIRECT)) return next;
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

/** What the SDKs ask of whoever uses them: something that keeps what they find out, and a browser. */
function provider() {
  const kept = {};
  return {
    redirectUrl: REDIRECT,
    clientMetadata: {
      client_name: 'interop',
      redirect_uris: [REDIRECT],
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
    redirectToAuthorization: async (url) => { kept.back = await visit(url); },
    cameBackTo: () => kept.back,
  };
}

/** Connects an SDK client: signs in where it is asked to, and connects again. Answers the transport. */
async function connect(client, transport, browser, UnauthorizedError, isComplete) {
  const first = transport();
  try {
    await client.connect(first);
    return first;
  } catch (error) {
    if (!browser || !(error instanceof UnauthorizedError)) throw error;
    const { searchParams } = browser.cameBackTo() ?? new URL(REDIRECT);
    if (searchParams.get('state') !== 'a state') throw new Error(`it came back without its state: ${sentence(error)}`);
    await first.finishAuth(isComplete ? searchParams : searchParams.get('code'));
    const second = transport();
    await client.connect(second);
    return second;
  }
}

module.exports = { connect, provider };
