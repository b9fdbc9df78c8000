// Runs the Worker in the platform's own runtime, on this machine, and says where it listens. SIGTERM ends it.
// Takes one argument, a JSON object:
//   configuration  a file; whenever it is written, it is put into the store
//   secrets        secrets and variables, by name
//   persist        the folder in which stores and objects outlive the process; without one they do not
//   port           without one, any
//   without        names of bindings that are left out
//   failures       how often the queue's consumer fails: by turns before and after it has done its work
import { readFileSync, watchFile } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = createRequire(join(process.env.PORTCULLIS_EDGE_MODULES, 'package.json'));
const { buildSync } = modules('esbuild');
const { Miniflare, convertV4MiniflareOptions } = modules('miniflare');

const { configuration, secrets = {}, persist, port = 0, without = [], failures = 0 } = JSON.parse(process.argv[2]);
const folder = fileURLToPath(new URL('../../edge-worker', import.meta.url));
// The Worker itself, but for a consumer that fails.
const entry = `
  import worker from './shim.mjs';
  export * from './shim.mjs';
  let failures = ${failures};
  const queue = async (...batch) => {
    const failing = failures > 0 ? failures-- : 0;
    const fail = (when) => { console.log('planned failure', when); throw new Error('planned'); };
    if (failing % 2 === 1) fail('before');
    await worker.queue(...batch);
    if (failing > 0) fail('after');
  };
  export default { ...worker, queue };
`;
const bundle = buildSync({
  stdin: { contents: entry, resolveDir: folder }, bundle: true, format: 'esm', write: false, external: ['*.wasm'], logLevel: 'error',
});
const kept = (all) => Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name)));

const options = convertV4MiniflareOptions({
  host: '127.0.0.1',
  port,
  cf: false,
  handleStructuredLogs: ({ message }) => console.error(message),
  workers: [{
    name: 'portcullis',
    modules: [
      { type: 'ESModule', path: 'worker.js', contents: bundle.outputFiles[0].text },
      { type: 'CompiledWasm', path: 'index_bg.wasm', contents: readFileSync(join(folder, 'build/index_bg.wasm')) },
    ],
    compatibilityDate: '2026-10-01',
    compatibilityFlags: ['enable_request_signal'],
    bindings: secrets,
    kvNamespaces: kept({ STORE: 'store' }),
    durableObjects: kept({ CONVERSATIONS: { className: 'Conversations', useSQLite: true },
      COUNTS: { className: 'Counts', useSQLite: true },
      TRAIL: { className: 'Trail', useSQLite: true },
      CONFIGURATIONS: { className: 'Configurations', useSQLite: true },
      UPSTREAMS: { className: 'Upstreams', useSQLite: true },
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
  const put = () => store.put('config', readFileSync(configuration, 'utf8'));
  await put();
  watchFile(configuration, { interval: 100 }, put);
}
console.log(`listening on ${url}mcp`);
