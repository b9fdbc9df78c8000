// What is configured, as the gateway describes it, and how an entry of it is changed.
import { ask, enc, type Answer } from "./api.ts";
import { changed } from "./data.ts";
import { toast } from "./ui/toasts.tsx";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Settings = { [key: string]: Json };
export type Origin = { file: string; line: number; field: string } | null;
export type Circuit = { reason: string; open_ms: number; retry_ms: number };
export type Server = {
  name: string; kind: string; status: "up" | "starting" | "down" | "off"; reason?: string; revision?: string; tools: number; prompts: number;
  resources: number; circuit?: Circuit; sign_in: string; connect?: string; url?: string; command?: string[];
  approval?: { state: string; detail: string } | null; origin?: Origin; settings?: Settings | null;
};
export type PolicyRule = { rule: string; when?: string; origin: Origin };
export type Agent = {
  name: string; default: boolean; servers: string[]; match?: Settings[]; allow?: PolicyRule[]; deny?: PolicyRule[]; when?: string; limits?: string;
  origin?: Origin; settings?: Settings | null;
};
export type Group = { name: string; description: string | null; members: string[]; origin: Origin; settings: Settings | null };
export type Variant = { name: string; kind: string | null; from: string | null; replaces: boolean; origin: Origin; settings: Settings | null };
export type Schema = {
  type?: string | string[]; title?: string; description?: string; enum?: Json[]; default?: Json; properties?: Record<string, Schema>; required?: string[];
  items?: Schema; format?: string; minimum?: number; maximum?: number;
};
export type Tool = {
  name: string; server: string; upstream_name: string; variant: boolean; withheld: boolean; title?: string; description?: string;
  input_schema: Schema; annotations?: Settings; allowed?: boolean; depends?: boolean; rule?: string; why?: string;
};
export type Explanation = {
  agent: string; name: string; allowed: boolean; depends: boolean; found: boolean; rule: string | null; origin: Origin; why: string; unfit?: string;
  considered: { side: string; rule: string; when: string | null; holds: boolean | null; origin: Origin }[]; silent: { server: string; reason: string }[];
};
export type Section = "servers" | "groups" | "variants" | "agents";
type Written = { version: number };

/** Where something stands, as an editor takes it. */
export const place = (origin: Origin | undefined) => (origin ? `${origin.file}:${origin.line}` : undefined);

/** What has to be read anew once the configuration is another. */
export const reconfigured = () => changed("config", "servers", "groups", "variants", "agents", "tools", "overview", "approvals", "secrets", "/readyz");

/** Goes back to a version. */
async function back(to: number) {
  const { data } = await ask<Written>("POST", "config/rollback", { body: { to } });
  reconfigured();
  toast(`Version ${data.version} is in force, and says what version ${to} did`);
}

/** Says that a new version is in force, and how to take it back. */
function inForce(what: string, { data }: Answer<Written>) {
  reconfigured();
  const version = data.version - 1;
  toast(`${what}: version ${data.version} is in force`, version > 0 ? () => void back(version).catch((error: Error) => toast(error.message)) : undefined);
}

/** Adds an entry. */
export async function add(section: Section, name: string, settings: Settings) {
  inForce(`${name} is added`, await ask<Written>("POST", section, { body: { name, settings }, once: true }));
}

/** Writes an entry anew, as long as the configuration is the one that was looked at. */
export async function write(section: Section, name: string, settings: Settings, etag: string | null) {
  inForce(`${name} is changed`, await ask<Written>("PUT", `${section}/${enc(name)}`, { body: { settings }, ifMatch: etag ?? "*" }));
}

/** Takes an entry away. */
export async function remove(section: Section, name: string, etag: string | null) {
  inForce(`${name} is removed`, await ask<Written>("DELETE", `${section}/${enc(name)}`, { ifMatch: etag ?? "*" }));
}
