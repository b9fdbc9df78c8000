// What is shorter to say in JavaScript than through WebAssembly, where every crossing costs. Nothing is decided here.

const fields = (headers) => {
  let text = '';
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return text;
};

const headers = (text) => {
  const lines = text.split('\n');
  const all = [];
  for (let at = 0; at + 1 < lines.length; at += 2) all.push([lines[at], lines[at + 1]]);
  return all;
};

const bytesOf = (promise) => promise.then((bytes) => new Uint8Array(bytes));

// A promise that is settled from afar.
export class Promised {
  constructor() { this.promise = new Promise((resolve, reject) => { this.resolve = resolve; this.reject = reject; }); }
}

// Tells what a promise comes to.
export const wait = (promise, number, tell) => {
  promise.then((value) => tell(number, true, value), (error) => tell(number, false, error));
};

// Tells when it is struck, in the request that it was made in, whichever request strikes: there a promise's reactions run.
export const bell = (number, tell) => {
  let ring;
  new Promise((resolve) => { ring = resolve; }).then(() => tell(number, true));
  return ring;
};
export const strike = (ring) => ring();

// Tells when so many milliseconds are over.
export const alarm = (milliseconds, number, tell) => setTimeout(tell, milliseconds, number, true);
export const silence = (timer) => clearTimeout(timer);

// Tells whether a key has made a signature of a message. Key and algorithm are JSON.
export const verifies = async (key, algorithm, message, signature) => {
  const how = JSON.parse(algorithm);
  const imported = await crypto.subtle.importKey('jwk', JSON.parse(key), how, false, ['verify']);
  return crypto.subtle.verify(how, imported, signature, message);
};

// Signs a message with a key in PKCS#8. The algorithm is JSON.
export const signs = async (key, algorithm, message) => {
  const how = JSON.parse(algorithm);
  const imported = await crypto.subtle.importKey('pkcs8', key, how, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign(how, imported, message));
};

export const randomize = (bytes) => { crypto.getRandomValues(bytes); };

// A body, chunk by chunk, read only when asked.
export class Reading {
  constructor(stream) { this.reader = stream?.getReader(); }
  next() { return this.reader ? this.reader.read().then(({ value }) => value) : Promise.resolve(undefined); }
  cancel() { this.reader?.cancel().catch(() => {}); }
}

// Whether a body says that it is short: it is read at once then, with its head.
const is_short = ({ headers }) => {
  const length = Number(headers.get('content-length') ?? 0);
  const json = headers.get('content-type')?.startsWith('application/json');
  return json && length > 0 && length <= 65536 && !headers.has('content-encoding');
};

// A request of an agent.
export class Asked {
  constructor(request) { this.request = request; }
  // Its method, its URL, whether it has a body, and its header fields.
  head() {
    const { method, url, body, headers } = this.request;
    return `${method}\n${url}\n${body === null ? '' : 'body'}\n${fields(headers)}`;
  }
  whole() { return bytesOf(this.request.arrayBuffer()); }
  reading() { return new Reading(this.request.body); }
  on_leaving(number, tell) {
    this.request.signal?.addEventListener('abort', () => tell(number, true), { once: true });
  }
}

// Texts of a store, each followed by what is said about it, as JSON.
export const get_all = async (store, names) => {
  const found = await store.getWithMetadata(names, 'text');
  return names.flatMap((name) => {
    const { value, metadata } = found.get(name) ?? {};
    return [value ?? undefined, metadata ? JSON.stringify(metadata) : undefined];
  });
};
export const put_text = async (store, name, text, about) => {
  await store.put(name, text, about ? { metadata: JSON.parse(about) } : {});
};

// The object of that name; where each object is another instance, the same name is the same one.
export const object = (namespace, name) => namespace.get(namespace.idFromName(name));

// What an object has stored, as text, and when it is to be woken.
export class Storage {
  constructor(state) { this.storage = state.storage; }
  load(key) { return this.storage.kv.get(key); }
  // Whether it was stored: a text may be too large.
  store(key, text) {
    try { this.storage.kv.put(key, text); return true; } catch (error) { console.error('cannot be stored', error); return false; }
  }
  remove(key) { this.storage.kv.delete(key); }
  all() { return JSON.stringify([...this.storage.kv.list()]); }
  // One after the other: the earliest moment counts.
  wake(at) {
    this.waking = (this.waking ?? Promise.resolve()).then(async () => {
      const set = await this.storage.getAlarm();
      if (set === null || at < set) await this.storage.setAlarm(at);
    }).catch((error) => console.error('no alarm can be set', error));
    return this.waking;
  }
  forget() { return this.storage.deleteAll(); }
}

// A request to a server, or to an object. Cancelling it is allowed at any time, also from a request that it does not belong to, where
// the platform forbids it and ends it itself.
export class Sent {
  constructor(to, method, url, fields, body) {
    this.controller = new AbortController();
    const { signal } = this.controller;
    // What is no request at all is an error of its promise.
    const send = async () => (to ?? globalThis).fetch(url, { method, headers: headers(fields), body, signal, redirect: 'manual' });
    this.promise = send();
  }
  answered() {
    return this.promise.then((response) => {
      const head = `${response.status}\n${fields(response.headers)}`;
      if (!is_short(response)) {
        this.reading = new Reading(response.body);
        return head;
      }
      // One that breaks off has a head all the same.
      return response.arrayBuffer().then(
        (whole) => { this.whole = new Uint8Array(whole); return head; },
        (error) => { this.error = error; return head; },
      );
    });
  }
  // The whole body, where it came with its head.
  take() { return this.whole; }
  next() { return this.error ? Promise.reject(this.error) : this.reading.next(); }
  cancel() { try { this.controller.abort(); } catch {} }
}

// The sockets of an object, which outlive it while it sleeps, and under which name each is known.
export class Sockets {
  constructor(state) { this.state = state; }
  all() { return this.state.getWebSockets(); }
}
export const name_of = (socket) => socket.deserializeAttachment() ?? undefined;
export const name_as = (socket, name) => socket.serializeAttachment(name);
export const put = (socket, message) => { try { socket.send(message); return true; } catch { return false; } };
export const hang_up = (socket) => { try { socket.close(1000); } catch {} };

// A socket to an object: what is said first, then what comes, message by message. An end that the object did not mean is
// an error.
export class Line {
  constructor(to, first) {
    this.come = [];
    this.promise = to.fetch('https://streams.invalid/', { headers: { Upgrade: 'websocket' } }).then(({ webSocket }) => {
      if (!webSocket) throw new Error('the object takes no socket');
      this.socket = webSocket;
      webSocket.binaryType = 'arraybuffer';
      webSocket.accept();
      webSocket.addEventListener('message', ({ data }) => this.take(data));
      webSocket.addEventListener('close', ({ code }) => this.end(code === 1000 ? undefined : new Error(`closed (${code})`)));
      webSocket.addEventListener('error', () => this.end(new Error('broke off')));
      webSocket.send(first);
    }).catch((error) => this.end(error));
  }
  take(data) { this.come.push(Promise.resolve(typeof data === 'string' ? data : new Uint8Array(data))); this.ring?.(); }
  end(error) {
    const end = error ? Promise.reject(error) : Promise.resolve(undefined);
    end.catch(() => {});
    this.come.push(end);
    this.ring?.();
  }
  async next() {
    while (this.come.length === 0) await new Promise((ring) => { this.ring = ring; });
    return this.come.shift();
  }
  cancel() { try { this.socket?.close(1000); } catch {} }
}

// What cannot be an answer is none, and no error of whoever made it.
const response = (body, status, fields) => {
  try {
    const said = headers(fields);
    // What is compressed by now is sent as it is.
    const encodeBody = said.some(([name]) => name === 'content-encoding') ? 'manual' : 'automatic';
    return new Response(body, { status, headers: said, encodeBody });
  } catch (error) {
    console.error('an answer cannot be given', error);
    return new Response(null, { status: 502 });
  }
};

export const whole_answer = (status, fields, body) => response(body, status, fields);

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
  return response(new ReadableStream({ pull, cancel }, { highWaterMark: 0 }), status, fields);
};
