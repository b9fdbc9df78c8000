// Runs the Worker in the platform's own runtime, on this machine, and says where it listens. SIGTERM ends it.
// Takes one argument, a JSON object:
//   configuration  a file; whenever it is written, it is put into the store
//   secrets        secrets and variables, by name
//   persist        the folder in which stores and objects outlive the process; without one they do not
//   port           without one, any
//   without        names of bindings that are left out
//   counting       what the objects that count do instead: `throws`, `fails` (which says that it is done all the same),
//                  `babbles` or `hangs`
//   failures       how often the queue's consumer fails: by turns before and after it has done its work
//   fronts         a folder: what starts the Worker in further processes is written there (`workerd serve front.capnp`),
//                  and this one answers only what those want of its stores and objects
//   counted        true: GET /subrequests lists what requests of agents have asked of servers, stores, objects and
//                  queues since it was last asked for
//   stored         true: GET /stored lists what the store holds, what is said about each text before it
//   objects        true: what is sent to /objects/BINDING/NAME goes to the object of that name
//   control        true: it is a control plane too, as `FEATURES=control` builds it into edge-worker/build-control
//   planned        true: an identity's gateway fails as the header `planned` says: `traps` leaves its WebAssembly unusable, `aborts`
//                  has the platform end it, with `stored` it says what it has stored
//   measured       true: GET /memory says how many bytes WebAssembly has; it never gives any back, so that is the most it
//                  ever had
import { readFileSync, watchFile, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = createRequire(join(process.env.PORTCULLIS_EDGE_MODULES, 'package.json'));
const { build } = modules('esbuild');
const { Miniflare, convertV4MiniflareOptions } = modules('miniflare');

const {
  configuration, secrets = {}, persist, port = 0, without = [], counting, failures = 0, fronts, counted = false,
  stored = false, measured = false, objects = false, control = false, planned = false,
} = JSON.parse(process.argv[2]);
const folder = fileURLToPath(new URL('../../edge-worker', import.meta.url));
const instead = {
  throws: "throw new Error('planned')",
  fails: `return new Response('"done"', { status: 500 })`,
  babbles: "return new Response('perhaps')",
  hangs: 'return new Promise((resolve) => setTimeout(resolve, 600_000))',
};
// The Worker itself, but for a consumer and objects that fail.
const entry = `
  import worker, { Identities } from './shim.mjs';
  export * from './shim.mjs';
  let failures = ${failures};
  export class Failing { fetch() { ${instead[counting]} } }
  export class Doomed extends Identities {
    fetch(request) {
      const planned = request.headers.get('planned');
      if (planned === 'aborts') this.given[0].abort('planned');
      // What is asked of it lies outside its memory.
      if (planned === 'traps') return this.run((inner) => Object.assign(Object.create(inner), { __wbg_ptr: -16 }).close(null));
      if (planned === 'stored') return Response.json([...this.given[0].storage.kv.list()]);
      return super.fetch(request);
    }
  }
  const queue = async (...batch) => {
    const failing = failures > 0 ? failures-- : 0;
    const fail = (when) => { console.log('planned failure', when); throw new Error('planned'); };
    if (failing % 2 === 1) fail('before');
    await worker.queue(...batch);
    if (failing > 0) fail('after');
  };
  ${counted ? `
    let made = [];
    const ask = globalThis.fetch;
    globalThis.fetch = (url, request) => {
      made.push('server ' + new Headers(request?.headers).get('mcp-method'));
      return ask(url, request);
    };
    // What a binding is asked, and what is asked of an object that it names.
    const watched = (name, binding) => typeof binding !== 'object' ? binding : new Proxy(binding, {
      get(_, method) {
        const value = binding[method];
        if (typeof value !== 'function') return value;
        return (...given) => {
          if (method === 'idFromName') return binding[method](...given);
          if (method === 'get' && 'idFromName' in binding) return watched(name, binding.get(...given));
          made.push(name + ' ' + method);
          return binding[method](...given);
        };
      },
    });
    const fetch = (request, env, context) => {
      if (new URL(request.url).pathname === '/subrequests') return Response.json(made.splice(0));
      const bindings = Object.entries(env).map(([name, binding]) => [name, watched(name, binding)]);
      return worker.fetch(request, Object.fromEntries(bindings), context);
    };
  ` : stored ? `
    const fetch = async (request, env, context) => {
      if (new URL(request.url).pathname !== '/stored') return worker.fetch(request, env, context);
      const texts = {};
      for (let cursor, whole = false; !whole;) {
        const page = await env.STORE.list({ cursor });
        for (const { name, metadata } of page.keys) {
          texts[name] = (JSON.stringify(metadata) ?? '') + await env.STORE.get(name);
        }
        ({ cursor, list_complete: whole } = page);
      }
      return Response.json(texts);
    };
  ` : objects ? `
    const fetch = (request, env, context) => {
      const [, folder, binding, name] = new URL(request.url).pathname.split('/').map(decodeURIComponent);
      if (folder !== 'objects') return worker.fetch(request, env, context);
      return env[binding].get(env[binding].idFromName(name)).fetch(request);
    };
  ` : measured ? `
    const fetch = (request, env, context) => new URL(request.url).pathname === '/memory'
      ? Response.json(globalThis.memory.buffer.byteLength) : worker.fetch(request, env, context);
  ` : fronts ? "import { door as fetch } from '../tests/edge/door.mjs';" : 'const { fetch } = worker;'}
  export default { ...worker, queue, fetch };
`;
// Notes the memory of the instance that runs.
const watching = measured ? `
  const { Instance } = WebAssembly;
  WebAssembly.Instance = function (...given) {
    const made = new Instance(...given);
    globalThis.memory = made.exports.memory;
    return made;
  };
` : '';
const built = join(folder, control ? 'build-control' : 'build');
const elsewhere = {
  name: 'elsewhere',
  setup: ({ onResolve }) => onResolve({ filter: /build\/index\.js$/ }, () => ({ path: join(built, 'index.js') })),
};
const bundle = async (contents) => (await build({
  stdin: { contents, resolveDir: folder }, banner: { js: watching }, bundle: true, format: 'esm', write: false, external: ['*.wasm'], logLevel: 'error',
  plugins: [elsewhere],
})).outputFiles[0].text;
const wasm = readFileSync(join(built, 'index_bg.wasm'));
const compatibilityDate = '2026-10-01';
const compatibilityFlags = ['enable_request_signal'];
const kept = (all) => Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name)));

const options = convertV4MiniflareOptions({
  host: '127.0.0.1',
  port,
  cf: false,
  handleStructuredLogs: ({ message }) => console.error(message),
  workers: [{
    name: 'portcullis',
    modules: [
      { type: 'ESModule', path: 'worker.js', contents: await bundle(entry) },
      { type: 'CompiledWasm', path: 'index_bg.wasm', contents: wasm },
    ],
    compatibilityDate,
    compatibilityFlags,
    bindings: secrets,
    kvNamespaces: kept({ STORE: 'store' }),
    durableObjects: kept({ CONVERSATIONS: { className: 'Conversations', useSQLite: true },
      COUNTS: { className: counting ? 'Failing' : 'Counts', useSQLite: true },
      TRAIL: { className: 'Trail', useSQLite: true },
      CONFIGURATIONS: { className: 'Configurations', useSQLite: true },
      UPSTREAMS: { className: 'Upstreams', useSQLite: true },
      FAMILIES: { className: 'Families', useSQLite: true },
      RECORDS: { className: 'Records', useSQLite: true },
      IDENTITIES: { className: planned ? 'Doomed' : 'Identities', useSQLite: true },
      CONNECTIONS: { className: 'Connections', useSQLite: true },
     }),
    queueProducers: kept({ ENTRIES: { queueName: 'entries' } }),
    queueConsumers: 'ENTRIES' in kept({ ENTRIES: 1 }) ? { entries: { maxBatchSize: 20, maxBatchTimeout: 0.1, maxRetries: 10 } } : {},
    r2Buckets: kept({ ARCHIVE: 'archive' }),
  }],
});
if (persist) options.resourcePersistencePath = persist;

const worker = new Miniflare(options);
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => worker.dispose().then(() => process.exit(0)));
const url = await worker.ready;

if (configuration) {
  const store = await worker.getKVNamespace('STORE');
  // Once the gateway has made a version of it, what is in the store says which.
  const put = async () => {
    const text = readFileSync(configuration, 'utf8');
    if (await store.get('config') !== text) await store.put('config', text);
  };
  await put();
  watchFile(configuration, { interval: 100 }, put);
}

if (fronts) {
  const bindings = {
    ...secrets,
    DOOR: url.href.slice(0, -1),
    STORES: 'STORE ENTRIES ARCHIVE',
    OBJECTS: 'CONNECTIONS CONVERSATIONS IDENTITIES COUNTS CONFIGURATIONS TRAIL UPSTREAMS FAMILIES RECORDS',
  };
  const text = (value) => JSON.stringify(value);
  const list = (all) => `[${all.join(', ')}]`;
  writeFileSync(join(fronts, 'worker.js'), await bundle("export { default } from '../tests/edge/front.mjs';"));
  writeFileSync(join(fronts, 'index_bg.wasm'), wasm);
  writeFileSync(join(fronts, 'front.capnp'), `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "front", worker = .front),
    (name = "internet", network = (allow = ["public", "private", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "front")],
);
const front :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js"), (name = "index_bg.wasm", wasm = embed "index_bg.wasm")],
  compatibilityDate = ${text(compatibilityDate)},
  compatibilityFlags = ${list(compatibilityFlags.map(text))},
  bindings = ${list(Object.entries(bindings).map(([name, value]) => `(name = ${text(name)}, text = ${text(value)})`))},
);
`);
}
console.log(`listening on ${url}mcp`);
