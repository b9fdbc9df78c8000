// Who calls what, as a picture: agents, the gateway, servers. What carries something moves.
import { useSyncExternalStore } from "react";
import type { Edge } from "../live.ts";
import { Link, path } from "../router.tsx";
import type { Tone } from "./kit.tsx";

export type Node = { name: string; sub: string; tone?: Tone };

const WIDE = 960, TALL = 40, GAP = 10, BOX = 230, MOST = 12;
/** On a phone everything stands below each other, beside a line that leads through the gateway. */
const NARROW = { wide: 320, most: 6, trunk: 9, from: 26, hub: 44, apart: 16 };
const cut = (text: string, most: number) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

type Place = { x: number; y: number; line: string };
type Layout = { wide: number; height: number; box: number; hub: { x: number; y: number; width: number; height: number }; left: Place[]; right: Place[] };

/** Agents at the left, servers at the right, the gateway between them. */
function beside(agents: number, servers: number): Layout {
  const height = Math.max(agents, servers, 2) * (TALL + GAP) + 20;
  const hub = { x: WIDE / 2 - 65, y: height / 2 - 30, width: 130, height: 60 };
  const rows = (count: number) => Array.from({ length: count }, (_, at) => height / 2 + (at - (count - 1) / 2) * (TALL + GAP));
  const curve = (x: number, y: number, u: number, v: number) => `M${x} ${y} C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`;
  return {
    wide: WIDE, height, box: BOX, hub,
    left: rows(agents).map((y) => ({ x: 1, y, line: curve(BOX, y, hub.x, height / 2) })),
    right: rows(servers).map((y) => ({ x: WIDE - BOX - 1, y, line: curve(hub.x + hub.width, height / 2, WIDE - BOX, y) })),
  };
}

/** Agents above the gateway, servers below it. */
function below(agents: number, servers: number): Layout {
  const { wide, trunk, from, apart } = NARROW;
  const rows = (count: number, top: number) => Array.from({ length: count }, (_, at) => top + TALL / 2 + 1 + at * (TALL + GAP));
  const tall = (count: number) => count * (TALL + GAP) - GAP + apart;
  const hub = { x: 1, y: tall(agents), width: wide - 2, height: NARROW.hub };
  const end = hub.y + hub.height;
  return {
    wide, height: end + tall(servers) + 2, box: wide - from - 1, hub,
    left: rows(agents, 0).map((y) => ({ x: from, y, line: `M${from} ${y} H${trunk + 8} Q${trunk} ${y} ${trunk} ${y + 8} V${hub.y}` })),
    right: rows(servers, end + apart).map((y) => ({ x: from, y, line: `M${trunk} ${end} V${y - 8} Q${trunk} ${y} ${trunk + 8} ${y} H${from}` })),
  };
}

/** Whether the page is as narrow as a phone's. */
const phone = matchMedia("(max-width: 720px)");
const followPhone = (listener: () => void) => {
  phone.addEventListener("change", listener);
  return () => phone.removeEventListener("change", listener);
};

/** The nodes that are shown where there are many: those that carry something, and those that are not well, first. */
function shown(nodes: Node[], busy: Set<string>, most: number): Node[] {
  if (nodes.length <= most) return nodes;
  const rank = ({ name, tone }: Node) => (busy.has(name) ? 2 : 0) + (tone && tone !== "ok" ? 1 : 0);
  return nodes.toSorted((one, other) => rank(other) - rank(one)).slice(0, most);
}

/** `withServers` are for who has pages of them. */
export function Graph({ agents, servers, edges, withServers }: { agents: Node[]; servers: Node[]; edges: Edge[]; withServers: boolean }) {
  const isNarrow = useSyncExternalStore(followPhone, () => phone.matches);
  const by = (side: "agent" | "server", name: string) => edges.filter((edge) => edge[side] === name);
  const most = isNarrow ? NARROW.most : MOST;
  const left = shown(agents, new Set(edges.map(({ agent }) => agent)), most), right = shown(servers, new Set(edges.map(({ server }) => server)), most);
  const layout = (isNarrow ? below : beside)(left.length, right.length);
  const { hub, box } = layout;
  const nodes = [
    ...left.map((node, at) => ({ node, place: layout.left[at], to: "agents", edges: by("agent", node.name) })),
    ...right.map((node, at) => ({ node, place: layout.right[at], to: withServers ? "servers" : undefined, edges: by("server", node.name) })),
  ];
  const more = [["agents", agents.length - left.length], ["servers", servers.length - right.length]].filter(([, count]) => Number(count) > 0);
  return (
    <>
      <svg className={isNarrow ? "graph narrow" : "graph"} viewBox={`0 0 ${layout.wide} ${layout.height}`} role="group" aria-label="Agents, the gateway, and servers">
        {nodes.map(({ node, place, to, edges: own }) => place && <Line key={`${to} ${node.name}`} line={place.line} edges={own} />)}
        <g className="hub"><rect {...hub} rx={10} /><text x={hub.x + hub.width / 2} y={hub.y + hub.height / 2 + 5} textAnchor="middle">Portcullis</text></g>
        {nodes.map(({ node, place, to, edges: own }) => place && <Box key={`${to} ${node.name}`} x={place.x} y={place.y} wide={box} node={node} to={to} isHot={own.length > 0} />)}
      </svg>
      {more.length > 0 && <p className="muted small">{more.map(([what, count]) => `${count} more ${what}`).join(", ")}</p>}
    </>
  );
}

function Line({ line, edges }: { line: string; edges: Edge[] }) {
  const calls = edges.reduce((all, edge) => all + edge.calls + edge.denied, 0);
  const bad = edges.some((edge) => edge.errors + edge.denied > 0) ? " bad" : "";
  return (
    <g>
      <path className={`edge${calls > 0 ? " hot" : ""}${calls > 0 ? bad : ""}`} d={line} />
      {calls > 0 && Array.from({ length: Math.min(calls, 4) }, (_, at) => (
        <circle key={at} className={`dot${bad}`} r={3.5}><animateMotion dur="0.9s" begin={`${at * 0.2}s`} path={line} repeatCount="indefinite" /></circle>
      ))}
    </g>
  );
}

function Box({ x, y, wide, node, to, isHot }: { x: number; y: number; wide: number; node: Node; to: string | undefined; isHot: boolean }) {
  const box = (
    <g className={isHot ? "node hot" : "node"}>
      <rect x={x} y={y - TALL / 2} width={wide} height={TALL} rx={8} />
      {node.tone && <circle className={node.tone} cx={x + 16} cy={y} r={4.5} />}
      <text x={x + (node.tone ? 30 : 14)} y={y - 2}>{cut(node.name, 24)}</text>
      <text className="sub" x={x + (node.tone ? 30 : 14)} y={y + 13}>{cut(node.sub, 34)}</text>
    </g>
  );
  return to ? <Link to={path(to, node.name)}>{box}</Link> : box;
}

/** A line of what was, the newest right. */
export function Spark({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(...values, 1), wide = values.length - 1;
  const line = values.map((value, at) => `${at === 0 ? "M" : "L"}${((at / wide) * 100).toFixed(2)} ${(34 - (value / most) * 32).toFixed(2)}`).join("");
  return <svg className="spark" viewBox="0 0 100 36" preserveAspectRatio="none" role="img" aria-label={label}><path className="area" d={`${line}L100 36L0 36Z`} /><path d={line} /></svg>;
}
