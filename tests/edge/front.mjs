// The Worker's entry in a process that has nothing: its stores and objects are behind another process's door.
import worker from '../../edge-worker/shim.mjs';

// Binds `env` to what is behind its door: the names of stores and of objects' classes are in it, separated by spaces.
const bind = (env) => {
  const far = { ...env };
  for (const name of env.STORES.split(' ')) far[name] = store(`${env.DOOR}/stores/${name}`);
  for (const name of env.OBJECTS.split(' ')) far[name] = objects(`${env.DOOR}/objects/${name}`);
  return far;
};

const store = (url) => new Proxy({}, {
  get: (_, method) => async (...given) => {
    const answer = await fetch(`${url}/${method}`, { method: 'POST', body: JSON.stringify(given) });
    if (!answer.ok) throw new Error(`the door answered ${answer.status}: ${await answer.text()}`);
    const { map, file, value } = await answer.json();
    if (map) return new Map(map);
    return file === undefined ? value : { text: async () => file };
  },
});

const objects = (url) => ({
  idFromName: (name) => name,
  get: (name) => ({
    fetch: (seen, init) => {
      const headers = new Headers(init.headers);
      headers.set('door-url', seen);
      return fetch(`${url}/${encodeURIComponent(name)}`, { ...init, headers });
    },
  }),
});

let bound;
export default { fetch: (request, env, context) => worker.fetch(request, bound ??= bind(env), context) };
