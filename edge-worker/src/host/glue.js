// What is shorter to say in JavaScript than through WebAssembly, where every crossing costs. Nothing is decided here.

const fields = (headers) => {
  let text = '';
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return text;
};

const headers = (text) => {
  const lines = text.split('\n');
  const all = new Headers();
  for (let at = 0; at + 1 < lines.length; at += 2) all.append(lines[at], lines[at + 1]);
  return all;
};

const bytesOf = (promise) => promise.then((bytes) => new Uint8Array(bytes));

// Wakes a task in the request that it belongs to, whichever request rings: a promise's reactions run where it was made.
export class Bell {
  constructor(run) { this.run = run; this.arm(); }
  arm() { new Promise((ring) => { this.ring = ring; }).then(() => this.run?.()); }
  strike() { this.ring(); }
  silence() { this.run = undefined; }
}

export class Timer {
  constructor(milliseconds) { this.over = new Promise((end) => { this.id = setTimeout(end, milliseconds); }); }
  stop() { clearTimeout(this.id); }
}

// While it ticks, a request that waits for another one is not taken for one that will never end.
export const tick = () => setInterval(() => {}, 5000);
export const untick = (id) => clearInterval(id);

export const randomize = (bytes) => { crypto.getRandomValues(bytes); };

// A body, chunk by chunk, read only when asked.
export class Reading {
  constructor(stream) { this.reader = stream?.getReader(); }
  next() { return this.reader ? this.reader.read().then(({ value }) => value) : Promise.resolve(undefined); }
  cancel() { this.reader?.cancel().catch(() => {}); }
}

// A request of an agent.
export class Asked {
  constructor(request) { this.request = request; }
  method() { return this.request.method; }
  url() { return this.request.url; }
  fields() { return fields(this.request.headers); }
  has_body() { return this.request.body !== null; }
  whole() { return bytesOf(this.request.arrayBuffer()); }
  reading() { return new Reading(this.request.body); }
  on_leaving(left) {
    this.left = left;
    this.request.signal?.addEventListener('abort', () => this.left?.(), { once: true });
  }
  forget() { this.left = undefined; }
}

// The object of that name; where each object is another instance, the same name is the same one.
export const object = (namespace, name) => namespace.get(namespace.idFromName(name));

// What an object has stored, as text, and when it is to be woken.
export class Storage {
  constructor(state) { this.storage = state.storage; }
  load(key) { return this.storage.kv.get(key); }
  store(key, text) { this.storage.kv.put(key, text); }
  remove(key) { this.storage.kv.delete(key); }
  all() { return JSON.stringify([...this.storage.kv.list()]); }
  wake(at) { return this.storage.setAlarm(at); }
  forget() { return this.storage.deleteAll(); }
}

// A request to a server, or to an object. Cancelling it is allowed at any time, also from a request that it does not belong to, where
// the platform forbids it and ends it itself.
export class Sent {
  constructor(to, method, url, fields, body) {
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.promise = (to ?? globalThis).fetch(url, { method, headers: headers(fields), body, signal, redirect: 'manual' });
  }
  answered() {
    return this.promise.then((response) => {
      this.reading = new Reading(response.body);
      return `${response.status}\n${fields(response.headers)}`;
    });
  }
  next() { return this.reading.next(); }
  cancel() { try { this.controller.abort(); } catch {} }
}

export const whole_answer = (status, fields, body) => new Response(body, { status, headers: headers(fields) });

// Pulled: nothing is asked of the source that the agent has not taken.
export const streamed_answer = (status, fields, source) => {
  const end = () => { source?.free(); source = undefined; };
  const pull = async (controller) => {
    try {
      const chunk = await source.next();
      if (chunk !== undefined) return controller.enqueue(chunk);
      controller.close();
    } catch (error) {
      controller.error(error);
    }
    end();
  };
  const cancel = () => { source?.cancel(); end(); };
  return new Response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), { status, headers: headers(fields) });
};
