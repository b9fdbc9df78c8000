// What has just been done, said for a moment, with a way back where there is one.
import { useSyncExternalStore } from "react";
import { Button } from "./kit.tsx";

type Toast = { id: number; text: string; undo?: () => void };
let toasts: Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();

function set(next: Toast[]) {
  toasts = next;
  listeners.forEach((listener) => listener());
}

const drop = (id: number) => set(toasts.filter((one) => one.id !== id));

/** Says something; `undo` takes it back. */
export function toast(text: string, undo?: () => void) {
  const id = ++last;
  set([...toasts.slice(-2), undo ? { id, text, undo } : { id, text }]);
  setTimeout(() => drop(id), undo ? 12_000 : 5000);
}

export function Toasts() {
  const shown = useSyncExternalStore((listener) => (listeners.add(listener), () => void listeners.delete(listener)), () => toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map(({ id, text, undo }) => (
        <div className="toast" key={id}><span className="grow">{text}</span>
          {undo && <Button onPress={() => { drop(id); undo(); }}>Undo</Button>}
          <Button icon="close" small aria-label="Dismiss" onPress={() => drop(id)} />
        </div>
      ))}
    </div>
  );
}
