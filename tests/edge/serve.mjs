// Runs the Worker in the platform's own runtime, on this machine: prints the URL when it answers, stops when standard
// input ends. Takes one argument, a JSON object:
//   build     the folder that infra/cloudflare/build.sh has filled
//   bindings  secrets and variables, by name
//   persist   the folder in which stores and objects outlive the process; without one they do not
//   port      0 chooses one
//   without   names of bindings that are left out
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = createRequire(join(process.env.PORTCULLIS_EDGE_MODULES, 'package.json'));
const { buildSync } = modules('esbuild');
const { Miniflare, convertV4MiniflareOptions } = modules('miniflare');

const { build, bindings = {}, persist, port = 0, without = [] } = JSON.parse(process.argv[2]);
const shim = join(dirname(fileURLToPath(import.meta.url)), '../../edge-worker/shim.mjs');
const bundle = buildSync({
  entryPoints: [shim], bundle: true, format: 'esm', write: false, external: ['*.wasm'], logLevel: 'error',
  alias: { './build/index.js': join(build, 'index.js') },
});
const kept = (all) => Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name)));

const options = convertV4MiniflareOptions({
  host: '127.0.0.1',
  port,
  cf: false,
  handleRuntimeStdio: undefined,
  workers: [{
    name: 'portcullis',
    modules: [
      { type: 'ESModule', path: 'worker.js', contents: bundle.outputFiles[0].text },
      { type: 'CompiledWasm', path: 'index_bg.wasm', contents: readFileSync(join(build, 'index_bg.wasm')) },
    ],
    compatibilityDate: '2026-10-01',
    compatibilityFlags: ['enable_request_signal'],
    bindings,
    kvNamespaces: kept({ STORE: 'store' }),
    durableObjects: kept({ CONVERSATIONS: { className: 'Conversations', useSQLite: true } }),
  }],
});
if (persist) options.resourcePersistencePath = persist;

const worker = new Miniflare(options);
console.log(String(await worker.ready));
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => worker.dispose().then(() => process.exit(0)));
process.stdin.resume().on('end', () => worker.dispose().then(() => process.exit(0)));
