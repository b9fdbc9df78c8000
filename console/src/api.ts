// How the console asks the admin API: one function, and what goes wrong as one kind of error.

/** What the API says is wrong (RFC 9457). */
export type ProblemField = { file?: string; line?: number; column?: number; field?: string; message: string; hint?: string };

/** An answer that is not what was asked for. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly errors: ProblemField[] = [],
  ) {
    super(detail);
  }
}

/** An answer, and the tag that a later write has to name. */
export type Answer<T> = { data: T; etag: string | null };

type Options = { body?: unknown; ifMatch?: string | null; ifNoneMatch?: string; once?: boolean; signal?: AbortSignal };

/** What hears that the session has ended. */
export const signedOut = new Set<() => void>();

/** Asks the gateway. A path is below `/admin/v1/` unless it begins with a slash. */
export async function ask<T>(method: string, path: string, options: Options = {}): Promise<Answer<T>> {
  const headers = new Headers({ accept: "application/json", "x-portcullis-console": "1" });
  if (options.body !== undefined) headers.set("content-type", "application/json");
  if (options.ifMatch) headers.set("if-match", options.ifMatch);
  if (options.ifNoneMatch) headers.set("if-none-match", options.ifNoneMatch);
  if (options.once) headers.set("idempotency-key", crypto.randomUUID());
  const url = path.startsWith("/") ? path : `/admin/v1/${path}`;
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      credentials: "same-origin",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, "unreachable", "The gateway does not answer. It may be restarting; try again in a moment.");
  }
  const text = await response.text();
  if (!response.ok) throw problem(response, text);
  return { data: parse(text) as T, etag: response.headers.get("etag") };
}

function problem(response: Response, text: string): Problem {
  const said = parse(text) as Record<string, unknown> | undefined;
  const error = said?.["error"];
  const detail = said?.["detail"] ?? said?.["title"] ?? (error as { message?: string } | undefined)?.message ?? error ?? response.statusText;
  const code = typeof said?.["code"] === "string" ? said["code"] : String(response.status);
  if (response.status === 401) signedOut.forEach((listener) => listener());
  return new Problem(response.status, code, String(detail), (said?.["errors"] as ProblemField[] | undefined) ?? []);
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const read = async <T>(path: string, signal?: AbortSignal) => (await ask<T>("GET", path, signal ? { signal } : {})).data;
export const enc = encodeURIComponent;

/** Reads every page of a list. */
export async function all<T>(path: string, most = 2000): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const query = cursor === undefined ? "" : `${path.includes("?") ? "&" : "?"}cursor=${enc(cursor)}`;
    const page = await read<{ items: T[]; next?: string }>(path + query);
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== undefined && items.length < most);
  return items;
}

/** The query of a path, without what is empty. */
export function query(path: string, values: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined && value !== "") search.set(name, String(value));
  const text = search.toString();
  return text === "" ? path : `${path}?${text}`;
}
