// What goes through the gateway right now, second by second.
import { useEffect, useState } from "react";

export type Edge = { agent: string; server: string; calls: number; errors: number; denied: number; ms_sum: number };
export type Second = { calls: number; errors: number; denied: number; ms: number };
/** The last minute, the newest second last; and what the newest carried. */
export type Live = { seconds: Second[]; edges: Edge[]; isOpen: boolean };

const KEPT = 60;
const NOTHING: Second = { calls: 0, errors: 0, denied: 0, ms: 0 };
const EMPTY: Live = { seconds: Array.from({ length: KEPT }, () => NOTHING), edges: [], isOpen: false };

/** Adds up what went over all edges. */
export const sum = (edges: Edge[]): Second => edges.reduce((all, edge) => ({
  calls: all.calls + edge.calls, errors: all.errors + edge.errors, denied: all.denied + edge.denied, ms: all.ms + edge.ms_sum }), NOTHING);

/** Follows the traffic as long as somebody looks. */
export function useLive(isThere: boolean): Live {
  const [live, setLive] = useState(EMPTY);
  useEffect(() => {
    if (!isThere) return;
    let waiting: Edge[] = [];
    const source = new EventSource("/admin/v1/live");
    source.addEventListener("traffic", (event) => {
      waiting = [...waiting, ...(JSON.parse(String((event as MessageEvent).data)) as { edges: Edge[] }).edges];
    });
    const turn = () => {
      const edges = waiting;
      waiting = [];
      setLive(({ seconds }) => ({ seconds: [...seconds.slice(1), sum(edges)], edges, isOpen: source.readyState === EventSource.OPEN }));
    };
    const timer = setInterval(turn, 1000);
    return () => { clearInterval(timer); source.close(); };
  }, [isThere]);
  return live;
}
