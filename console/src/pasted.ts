// What people paste to add a server: the file of a client, a part of one, or the line of a program.
import type { Json, Settings } from "./inventory.ts";

export type Pasted = { name: string; settings: Settings };

const isMap = (value: Json | undefined): value is Settings => typeof value === "object" && value !== null && !Array.isArray(value);
const isServer = (value: Json | undefined): value is Settings => isMap(value) && ["command", "url", "httpUrl", "serverUrl"].some((key) => key in value);

/** Reads what was pasted; says what is wrong with it where it is no server. */
export function pasted(text: string): Pasted[] {
  const line = text.trim();
  if (/^https?:\/\/\S+$/.test(line)) return [{ name: nameOf(new URL(line).hostname), settings: { url: line } }];
  if (!line.startsWith("{")) {
    const words = split(line);
    const [program] = words;
    if (program === undefined) throw new Error("There is nothing yet.");
    return [{ name: nameOf(words.findLast((word) => !word.startsWith("-") && word !== program) ?? program), settings: { command: words } }];
  }
  let said: Json;
  try {
    said = JSON.parse(line) as Json;
  } catch (error) {
    throw new Error(`This is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (isServer(said)) return [{ name: "server", settings: settingsOf(said) }];
  const servers = isMap(said) ? [said["mcpServers"], said["servers"], isMap(said["mcp"]) ? said["mcp"]["servers"] : undefined, said].find(isMap) : undefined;
  const all = Object.entries(servers ?? {}).filter(([, value]) => isServer(value));
  if (all.length === 0) throw new Error("There is no server in it: one has a command or a url, in mcpServers or by itself.");
  return all.map(([name, value]) => ({ name, settings: settingsOf(value as Settings) }));
}

/** Turns the entry of a client's file into the gateway's own settings. */
function settingsOf(entry: Settings): Settings {
  const url = entry["url"] ?? entry["httpUrl"] ?? entry["serverUrl"];
  const kept = Object.fromEntries(["env", "headers", "cwd"].flatMap((key) => (isMap(entry[key]) || typeof entry[key] === "string" ? [[key, entry[key] as Json]] : [])));
  if (typeof url === "string") return { url, ...(entry["type"] === "sse" ? { transport: "sse" } : {}), ...kept };
  const { command, args } = entry;
  return { command: [...(Array.isArray(command) ? command : [command ?? ""]), ...(Array.isArray(args) ? args : [])], ...kept };
}

/** Splits a line as a shell does, quotes and all. */
export function split(line: string): string[] {
  const words = line.match(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g) ?? [];
  return words.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"));
}

/** A name for a server, of what it is reached by. */
function nameOf(text: string): string {
  const last = text.split("/").at(-1)?.split("@")[0] ?? text;
  const name = last.replace(/^(mcp-server-|server-|mcp[-.])/, "").replace(/\.(com|dev|org|io|ai|net)$/, "").replaceAll(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "");
  return name || "server";
}
