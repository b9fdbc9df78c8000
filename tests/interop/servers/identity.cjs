// An identity provider on `oidc-provider`: prints `listening on URL`, its issuer. Options:
//
// | option | what |
// |---|---|
// | --http HOST:PORT | where it listens |
// | --portcullis ORIGIN | a gateway that may have people sign in |
// | --audience TEXT | for which tokens are made whatever resource is asked for, as with providers that know their APIs by names |
// | --pages | people sign in and consent in pages; without, whoever comes is `ann`, or who was named last, and consents to everything |
// | --lifetime SECONDS | of access tokens |
// | --first SECONDS | of access tokens that are not had by refreshing |
//
// `ann` is of the groups `eng` and `all`, `bob` and `eve` are of `eng`, `ada` is of `admins`, `otto` of `operators`, `aude` of `auditors`. Programs sign in as one of CLIENTS, or register; `device` has people enter a code, with --pages. PKCE is
// required of all. Refresh tokens are used once: one that comes again ends all of its grant.
//
// Beyond the standard: POST /test/next says what becomes of the next request for tokens: `hold` (it is not looked at, nor
// answered), `withhold` (it is done, and its answer held back), `fail` (500), or `break` (its connection ends).
// POST /test/user says who comes next, without --pages. POST /test/sign signs what it is given, POST /test/rotate changes the keys, GET /test/asked tells how
// often the keys and the introspection were asked for, how many refresh tokens were used, how many grants were ended, and how many
// requests for tokens went wrong as POST /test/next has said.
'use strict';

const { createHmac, createPublicKey, createSign, generateKeyPairSync, randomUUID, sign } = require('node:crypto');
const { createServer } = require('node:http');
const { Provider } = require('oidc-provider');

const GROUPS = { ann: ['eng', 'all'], bob: ['eng'], eve: ['eng'], ada: ['admins'], otto: ['operators'], aude: ['auditors'], robot: ['eng'], guest: ['guests'], opaque: ['eng'] };
const SECRET = 'a secret of the tests';
const CLIENTS = ['robot', 'guest', 'opaque', 'gateway'].map((client_id) => ({
  client_id,
  client_secret: SECRET,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
}));

/** What people use at whose side they enter a code. */
const DEVICE = {
  client_id: 'device',
  token_endpoint_auth_method: 'none',
  grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
  redirect_uris: [],
  response_types: [],
};

const COOKIES = ['interaction', 'resume', 'session'];

/** The gateway, where it stands in before this provider: --portcullis is its origin. */
function standIn(origin) {
  return origin === undefined ? [] : [{
    client_id: 'portcullis',
    client_secret: SECRET,
    grant_types: ['authorization_code'],
    redirect_uris: [`${origin}/oauth/signed-in`],
    response_types: ['code'],
  }];
}

function option(name, otherwise) {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : process.argv[at + 1];
}

const audience = option('--audience');
const hasPages = process.argv.includes('--pages');
const lifetime = Number(option('--lifetime', '600'));
const first = Number(option('--first', lifetime));
const asked = { keys: 0, introspection: 0, refresh: 0, revoked: 0, wrong: 0 };
let next = '';
let user = 'ann';
let issuer;
let keys;
let provider;
let handle;

/** New keys, one of each kind, and a provider that has them. */
function rotate() {
  const pairs = {
    RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: generateKeyPairSync('ed25519'),
  };
  keys = Object.entries(pairs).map(([alg, { privateKey }]) => ({
    ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID(), privateKey,
  }));
  provider = new Provider(issuer, {
    clients: [...CLIENTS, DEVICE, ...standIn(option('--portcullis'))],
    jwks: { keys: keys.map(({ privateKey, ...jwk }) => jwk) },
    // Browsers keep cookies by host, whatever the port.
    cookies: {
      keys: ['tests'],
      names: Object.fromEntries(COOKIES.map((name) => [name, `${name}_${server.address().port}`])),
    },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access', 'mcp:use'],
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub, groups: GROUPS[sub] ?? [] }) }),
    claims: { openid: ['sub', 'groups'] },
    extraTokenClaims: (_context, token) => ({ groups: GROUPS[token.accountId ?? token.clientId] ?? [] }),
    ...(!hasPages && {
      loadExistingGrant: grant,
      interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    }),
    ttl: {
      AccessToken: (ctx) => (ctx.oidc.params.grant_type === 'refresh_token' ? lifetime : first),
      ClientCredentials: lifetime,
    },
    features: {
      devInteractions: { enabled: hasPages },
      deviceFlow: { enabled: hasPages },
      clientCredentials: { enabled: true },
      registration: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_context, client) => client.clientId === 'gateway' },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource, client) => ({
          scope: 'mcp:use',
          audience: audience ?? resource,
          accessTokenFormat: client.clientId === 'opaque' ? 'opaque' : 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
        useGrantedResource: () => true,
      },
    },
  });
  provider.on('grant.success', ({ oidc }) => {
    if (oidc.params.grant_type === 'refresh_token') asked.refresh += 1;
  });
  provider.on('grant.revoked', () => { asked.revoked += 1; });
  handle = provider.callback();
}

/** Everything that is asked for, granted. */
async function grant(context) {
  const { client, session, params } = context.oidc;
  const granted = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  granted.addOIDCScope('openid offline_access mcp:use');
  for (const resource of [params.resource ?? []].flat()) granted.addResourceScope(resource, 'mcp:use');
  await granted.save();
  return granted;
}

/** A token in the compact form, signed by a key of the provider, or in a way that its header only claims. */
function signed({ header, payload, by }) {
  const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const key = keys.find(({ alg }) => alg === (header.alg in { ES256: 0, EdDSA: 0 } ? header.alg : 'RS256'));
  const text = `${part({ kid: key.kid, ...header })}.${part({ iss: issuer, ...payload })}`;
  if (by === 'nobody') return `${text}.`;
  if (by === 'the public key') {
    const pem = createPublicKey(key.privateKey).export({ format: 'pem', type: 'spki' });
    return `${text}.${createHmac('sha256', pem).update(text).digest('base64url')}`;
  }
  const own = by === 'a stranger' ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey : key.privateKey;
  const signature = {
    RS256: () => createSign('RSA-SHA256').update(text).sign(own),
    ES256: () => sign('sha256', Buffer.from(text), { key: own, dsaEncoding: 'ieee-p1363' }),
    EdDSA: () => sign(null, Buffer.from(text), own),
  }[by === 'a stranger' ? 'RS256' : key.alg]();
  return `${text}.${signature.toString('base64url')}`;
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || 'null');
}

/** What is wrong with a request for tokens, once; tells whether it is to be answered all the same. */
function goesOn(response) {
  const wrong = next;
  next = '';
  if (wrong === '') return true;
  const note = () => { asked.wrong += 1; };
  if (wrong === 'withhold') {
    response.end = note;
    return true;
  }
  note();
  if (wrong === 'fail') response.writeHead(500).end();
  if (wrong === 'break') response.destroy();
  return false;
}

async function serve(request, response) {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === '/jwks') asked.keys += 1;
  if (pathname === '/token/introspection') asked.introspection += 1;
  if (pathname === '/test/asked') return response.end(JSON.stringify(asked));
  if (pathname === '/test/user') return user = await body(request), response.end();
  if (pathname === '/test/next') return next = await body(request), response.end();
  if (pathname === '/token' && !goesOn(response)) return undefined;
  if (pathname === '/test/rotate') return rotate(), response.end();
  if (pathname === '/test/sign') return response.end(signed(await body(request)));
  if (!hasPages && pathname.startsWith('/interaction/')) {
    return provider.interactionFinished(request, response, { login: { accountId: user }, consent: {} });
  }
  return handle(request, response);
}

const [host, port] = option('--http', '127.0.0.1:0').split(':');
const server = createServer((request, response) => {
  Promise.resolve(serve(request, response)).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(Number(port), host, () => {
  issuer = `http://${host}:${server.address().port}`;
  rotate();
  console.log(`listening on ${issuer}`);
});
