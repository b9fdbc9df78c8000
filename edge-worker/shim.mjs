// The Worker's entry: hands the platform's events to WebAssembly, and begins anew after a panic, which leaves an
// instance unusable. What was going on in it is lost; what comes next is not.
import { make } from './build/index.js';

// An instance of WebAssembly. It notes itself when it has become unusable.
const begin = () => {
  const wasm = make();
  const state = wasm.__worker_init_state();
  const renew = () => {
    if (!state.criticalError) return;
    wasm.__wbg_reset_state();
    state.criticalError = false;
    state.instanceId++;
  };
  const run = async (work) => {
    renew();
    try { return await work(); } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) state.criticalError = true;
      throw error;
    }
  };
  return { wasm, state, renew, run };
};
const shared = begin();

export default {
  fetch: (request, env, context) => shared.run(() => shared.wasm.fetch(request, env, context)),
  queue: ({ messages }, env, context) => {
    const lines = messages.map(({ body }) => body).join('\n');
    return shared.run(() => shared.wasm.queue(lines, env, context));
  },
};

// An object whose instance of WebAssembly is gone is made again from what it has stored.
const object = (name) => class {
  constructor(...given) { this.given = given; }
  engine() { return shared; }
  run(work) {
    const { wasm, state, renew, run } = this.engine();
    renew();
    if (this.instance !== state.instanceId) { this.instance = state.instanceId; this.inner = new wasm[name](...this.given); }
    return run(() => work(this.inner));
  }
  fetch(request) { return this.run((inner) => inner.fetch(request)); }
  alarm() { return this.run((inner) => inner.alarm()); }
};

// Its sockets outlive its sleep.
export const Conversations = class extends object('Conversations') {
  fetch(request) {
    const { hostname } = new URL(request.url);
    if (hostname !== 'streams.invalid' || request.headers.get('Upgrade') !== 'websocket') return super.fetch(request);
    const [isolate, own] = Object.values(new WebSocketPair());
    this.given[0].acceptWebSocket(own);
    return new Response(null, { status: 101, webSocket: isolate });
  }
  webSocketMessage(socket, text) { return this.run((inner) => inner.message(socket, text)); }
  webSocketClose(socket) { return this.run((inner) => inner.close(socket)); }
  webSocketError(socket) { return this.webSocketClose(socket); }
};

// The gateway of one identity, with an instance of WebAssembly of its own: what becomes of one reaches no other. It knows nothing
// that others have read of servers. Before it answers anything it is on the list of those there are.
export const Identities = class extends Conversations {
  constructor(state, env) { super(state, { ...env, UPSTREAMS: null }); this.requests = 0; }
  engine() { return this.own ??= begin(); }
  async enlist() {
    const [{ id }, { RECORDS: records }] = this.given;
    const text = JSON.stringify({ principal: id.name, made: Date.now() });
    const asked = JSON.stringify(['replace', id.toString(), null, text, null]);
    const { status } = await records.get(records.idFromName('instances')).fetch('https://records.invalid', { method: 'POST', body: asked });
    // Another one is there where it has been asked before.
    if (status !== 200 && status !== 409) throw new Error('the list of instances is out of reach');
  }
  async fetch(request) {
    // What agents ask has been handed over, or is told on a socket.
    if (!request.headers.has('portcullis-handed') && !request.headers.has('Upgrade')) return this.govern(request);
    this.asked = Date.now();
    this.requests++;
    try {
      if (this.given[1].RECORDS) await (this.listed ??= this.enlist().catch((error) => { this.listed = undefined; throw error; }));
      return await super.fetch(request);
    } finally { this.requests--; }
  }
  async govern({ method, url }) {
    const [state] = this.given;
    if (method === 'GET') return Response.json([!!this.own, this.asked ?? null, this.requests]);
    if (new URL(url).pathname === '/memory') state.abort('removed');
    await state.storage.deleteAlarm();
    await state.storage.deleteAll();
    this.listed = undefined;
    return new Response(null, { status: 204 });
  }
};
export const Upstreams = object('Upstreams');
export const Counts = object('Counts');
export const Trail = object('Trail');
export const Configurations = object('Configurations');

// How far one family of tokens has come. A note takes the place of the one that was read, or of none; nothing comes in between,
// as nothing is waited for. It needs no WebAssembly: it compares texts.
export const Families = class {
  constructor({ storage }) { this.storage = storage; }
  async fetch(request) {
    const { kv } = this.storage;
    if (request.method === 'GET') return Response.json(kv.get('note') ?? null);
    const [read, next, until] = await request.json();
    if ((kv.get('note') ?? null) !== read) return new Response(null, { status: 409 });
    kv.put('note', next);
    await this.storage.setAlarm(until);
    return new Response(null);
  }
  alarm() { return this.storage.deleteAll(); }
};

// What the control plane notes, an object for each collection. A text takes the place of the one that was read, as above.
export const Records = class {
  constructor({ storage }) {
    this.sql = storage.sql;
    this.sql.exec('CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, text TEXT NOT NULL, until REAL) WITHOUT ROWID');
  }
  text(key) { return this.sql.exec('SELECT text FROM records WHERE key = ?', key).toArray()[0]?.text ?? null; }
  async fetch(request) {
    const [wanted, key, ...rest] = await request.json();
    if (wanted === 'get') return Response.json(this.text(key));
    if (wanted === 'page') {
      const select = 'SELECT key, text FROM records WHERE ?1 IS NULL OR key > ?1 ORDER BY key LIMIT ?2';
      return Response.json([...this.sql.exec(select, key, rest[0]).raw()]);
    }
    const [read, next, until] = rest;
    // What is over makes room first.
    if (read === null) this.sql.exec('DELETE FROM records WHERE until <= ?', Date.now());
    if (this.text(key) !== read) return new Response(null, { status: 409 });
    if (next === null) this.sql.exec('DELETE FROM records WHERE key = ?', key);
    else this.sql.exec('INSERT OR REPLACE INTO records (key, text, until) VALUES (?, ?, ?)', key, next, until);
    return new Response(null);
  }
};
export const Connections = object('Connections');
