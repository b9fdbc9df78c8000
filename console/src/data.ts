// What has been read of the gateway: kept by path, shown at once, and read again when somebody looks.
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { ask, Problem, type Answer } from "./api.ts";

type Kept = { answer?: Answer<unknown>; error?: Problem; loading: boolean; listeners: Set<() => void>; shown: object };

const kept = new Map<string, Kept>();

function of(path: string): Kept {
  let entry = kept.get(path);
  if (entry === undefined) {
    entry = { loading: false, listeners: new Set(), shown: {} };
    kept.set(path, entry);
  }
  return entry;
}

async function load(path: string, pages: boolean) {
  const entry = of(path);
  if (entry.loading) return;
  entry.loading = true;
  try {
    const answer = await ask<unknown>("GET", path);
    if (pages) answer.data = await rest(path, answer.data as Paged);
    entry.answer = answer;
    delete entry.error;
  } catch (error) {
    entry.error = error instanceof Problem ? error : new Problem(0, "unexpected", String(error));
    if (entry.error.status === 404 || entry.error.status === 403) delete entry.answer;
  }
  entry.loading = false;
  entry.shown = {};
  entry.listeners.forEach((listener) => listener());
}

type Paged = { items?: unknown[]; next?: string };

/** Follows a list to its end, within reason. */
async function rest(path: string, first: Paged): Promise<Paged> {
  if (!Array.isArray(first.items)) return first;
  const items = [...first.items];
  let next = first.next;
  while (next !== undefined && next !== null && items.length < 5000) {
    const page = (await ask<Paged>("GET", `${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(next)}`)).data;
    items.push(...(page.items ?? []));
    next = page.next;
  }
  return { ...first, items };
}

/** What is known of a path. */
export type Data<T> = { data: T | undefined; etag: string | null; error: Problem | undefined; reload: () => Promise<void> };

/** Reads a path and shows what was there before meanwhile; a list is read to its end. `every` reads it again, in milliseconds. */
export function useData<T>(path: string | null, { every = 0 } = {}): Data<T> {
  const entry = path === null ? undefined : of(path);
  const subscribe = useCallback(
    (listener: () => void) => {
      entry?.listeners.add(listener);
      return () => void entry?.listeners.delete(listener);
    },
    [entry],
  );
  useSyncExternalStore(subscribe, () => entry?.shown);
  useEffect(() => {
    if (path === null) return;
    void load(path, true);
    if (every === 0) return;
    const timer = setInterval(() => document.visibilityState === "visible" && void load(path, true), every);
    return () => clearInterval(timer);
  }, [path, every]);
  return {
    data: entry?.answer?.data as T | undefined,
    etag: entry?.answer?.etag ?? null,
    error: entry?.error,
    reload: async () => {
      if (path !== null) await load(path, true);
    },
  };
}

/** Reads everything again that begins with one of the paths and that somebody looks at; forgets the rest of it. */
export function changed(...paths: string[]) {
  for (const [path, entry] of kept) {
    if (!paths.some((prefix) => path.startsWith(prefix))) continue;
    if (entry.listeners.size > 0) void load(path, true);
    else kept.delete(path);
  }
}

/** Forgets everything, as another person may come. */
export const forget = () => kept.clear();

/** Something that runs when asked to: whether it does, what came of it, and how it failed. */
export function useTask<A extends unknown[], T>(work: (...args: A) => Promise<T>) {
  const [state, set] = useState<{ busy: boolean; result?: T; error?: Problem }>({ busy: false });
  const run = async (...args: A): Promise<T | undefined> => {
    set({ busy: true });
    try {
      const result = await work(...args);
      set({ busy: false, result });
      return result;
    } catch (error) {
      set({ busy: false, error: error instanceof Problem ? error : new Problem(0, "unexpected", String(error)) });
      return undefined;
    }
  };
  return { ...state, run, clear: () => set({ busy: false }) };
}
