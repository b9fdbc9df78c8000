// The door through which other processes reach this one's stores and objects, and nothing else:
//   /healthz                   answers 200
//   /stores/BINDING/METHOD     calls a store: its arguments, and what it returns, are JSON
//   /objects/BINDING/NAME      puts the request to an object; `door-url` is the URL that the object is to see
const returned = async (value) => {
  if (value instanceof Map) return { map: [...value] };
  // A file.
  if (typeof value?.text === 'function') return { file: await value.text() };
  return { value: value ?? null };
};

export const door = async (request, env) => {
  const [, kind, binding, name] = new URL(request.url).pathname.split('/').map(decodeURIComponent);
  if (kind === 'stores') return Response.json(await returned(await env[binding][name](...await request.json())));
  if (kind !== 'objects') return new Response('the door\n');
  const asked = new Request(request.headers.get('door-url'), request);
  asked.headers.delete('door-url');
  return env[binding].get(env[binding].idFromName(name)).fetch(asked);
};
