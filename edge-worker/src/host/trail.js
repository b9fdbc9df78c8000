// The stores of the audit trail, as its host asks for them. Nothing is decided here.

export const enqueue = (queue, text) => queue.send(text, { contentType: 'text' });

// The tables of one object. What is run together is done together, or not at all.
export class Tables {
  constructor(state) { this.storage = state.storage; }
  run(statements) {
    const { sql } = this.storage;
    this.storage.transactionSync(() => {
      for (const [query, ...values] of JSON.parse(statements)) sql.exec(query, ...values);
    });
  }
  rows(query) { return JSON.stringify([...this.storage.sql.exec(query).raw()]); }
  wake(at) { return this.storage.setAlarm(at); }
}

// A store of keys: they expire.
class Store {
  constructor(store) { this.store = store; }
  put(key, text, beside, seconds) {
    return this.store.put(key, text, { metadata: JSON.parse(beside), expirationTtl: seconds });
  }
  async list(prefix, cursor) {
    const { keys, list_complete, cursor: next } = await this.store.list({ prefix, cursor });
    const named = keys.map(({ name, metadata }) => [name, JSON.stringify(metadata ?? null)]);
    return JSON.stringify([named, list_complete ? null : next]);
  }
  get(key) { return this.store.get(key); }
}

// A store of files: they stay.
class Archive {
  constructor(bucket) { this.bucket = bucket; }
  put(path, text, beside) {
    const httpMetadata = { contentType: 'application/jsonl; charset=utf-8' };
    return this.bucket.put(path, text, { customMetadata: { beside }, httpMetadata });
  }
  async list(prefix, cursor) {
    const found = await this.bucket.list({ prefix, cursor, include: ['customMetadata'] });
    const named = found.objects.map(({ key, customMetadata }) => [key, customMetadata?.beside ?? 'null']);
    return JSON.stringify([named, found.truncated ? found.cursor : null]);
  }
  async get(path) { return (await this.bucket.get(path))?.text() ?? null; }
}

export const store = (binding) => new Store(binding);
export const archive = (binding) => new Archive(binding);
