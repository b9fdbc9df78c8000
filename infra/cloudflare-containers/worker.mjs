// The Worker before the container: it wakes the container for whoever has the credential, and for nobody else. The bridge
// asks for it again.
import { Container, getContainer } from "@cloudflare/containers";

export class Server extends Container {
  defaultPort = 8080;
  // It is stopped, and its disk forgotten, when nobody has called for so long.
  sleepAfter = "10m";
  // The server reaches nothing; `allowedHosts` would list what it may.
  enableInternet = false;
  envVars = { PORT: "8080", PORTCULLIS_BRIDGE_TOKEN: this.env.BRIDGE_TOKEN };
}

export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname !== "/mcp") {
      return new Response("Not found\n", { status: 404 });
    }
    if (!(await isKnown(request, env.BRIDGE_TOKEN))) {
      return new Response("Unauthorized\n", { status: 401, headers: { "WWW-Authenticate": "Bearer" } });
    }
    return getContainer(env.SERVER).fetch(request);
  },
};

// Digests are compared, so that the time it takes tells nothing of the credential.
async function isKnown(request, token) {
  if (!token) return false;
  const digest = (text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const presented = request.headers.get("Authorization") ?? "";
  const [one, other] = await Promise.all([digest(presented), digest(`Bearer ${token}`)]);
  return crypto.subtle.timingSafeEqual(one, other);
}
