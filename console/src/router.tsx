// The console's own addresses: paths below /console/, and what is asked of a page in the query.
import { useSyncExternalStore, type MouseEvent, type ReactNode } from "react";

const BASE = "/console";
const listeners = new Set<() => void>();
const told = () => listeners.forEach((listener) => listener());
window.addEventListener("popstate", told);

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Goes to a page of the console; `replace` leaves no step in the history. */
export function navigate(to: string, how: "push" | "replace" = "push") {
  const address = BASE + to;
  if (address === location.pathname + location.search) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", address);
  told();
  if (how === "push") window.scrollTo(0, 0);
}

/** The path of the page, with its segments decoded. */
export function usePath(): string[] {
  const path = useSyncExternalStore(subscribe, () => location.pathname);
  return path.slice(BASE.length).split("/").filter(Boolean).map(decode);
}

function decode(segment: string) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** One parameter of the query, and what sets it. */
export function useQuery(name: string, otherwise = ""): [string, (value: string) => void] {
  const search = useSyncExternalStore(subscribe, () => location.search);
  const value = new URLSearchParams(search).get(name) ?? otherwise;
  const set = (next: string) => {
    const query = new URLSearchParams(location.search);
    if (next === otherwise) query.delete(name);
    else query.set(name, next);
    const text = query.toString();
    navigate(location.pathname.slice(BASE.length) + (text ? `?${text}` : ""), "replace");
  };
  return [value, set];
}

/** Builds a path of the console from segments. */
export const path = (...segments: string[]) => `/${segments.map(encodeURIComponent).join("/")}`;

type Props = { to: string; children: ReactNode; className?: string; current?: boolean; label?: string; onGo?: () => void };

/** A link to a page of the console. */
export function Link({ to, children, className, current, label, onGo }: Props) {
  const go = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    navigate(to);
    onGo?.();
  };
  return (
    <a href={BASE + to} onClick={go} className={className} aria-current={current ? "page" : undefined} aria-label={label}>
      {children}
    </a>
  );
}
