// Who calls what, as a picture: agents, the gateway, servers. What carries something moves.
import type { Edge } from "../live.ts";
import { Link, path } from "../router.tsx";
import type { Tone } from "./kit.tsx";

export type Node = { name: string; sub: string; tone?: Tone };

const WIDE = 960, TALL = 40, GAP = 10, BOX = 230, MOST = 12;
const cut = (text: string, most: number) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
/** The middles of so many nodes, one below the other in the middle of the picture. */
const rows = (count: number, height: number) => Array.from({ length: count }, (_, at) => height / 2 + (at - (count - 1) / 2) * (TALL + GAP));

/** The nodes that are shown where there are many: those that carry something, and those that are not well, first. */
function shown(nodes: Node[], busy: Set<string>): Node[] {
  if (nodes.length <= MOST) return nodes;
  const rank = ({ name, tone }: Node) => (busy.has(name) ? 2 : 0) + (tone && tone !== "ok" ? 1 : 0);
  return nodes.toSorted((one, other) => rank(other) - rank(one)).slice(0, MOST);
}

export function Graph({ agents, servers, edges }: { agents: Node[]; servers: Node[]; edges: Edge[] }) {
  const by = (side: "agent" | "server", name: string) => edges.filter((edge) => edge[side] === name);
  const left = shown(agents, new Set(edges.map(({ agent }) => agent))), right = shown(servers, new Set(edges.map(({ server }) => server)));
  const height = Math.max(left.length, right.length, 2) * (TALL + GAP) + 20;
  const hub = { x: WIDE / 2 - 65, y: height / 2 - 30 };
  const more = [agents.length - left.length, servers.length - right.length];
  return (
    <div className="graph-wrap">
      <svg className="graph" viewBox={`0 0 ${WIDE} ${height}`} role="group" aria-label="Agents, the gateway, and servers">
        {rows(left.length, height).map((y, at) => <Line key={left[at]?.name} from={[BOX, y]} to={[hub.x, height / 2]} edges={by("agent", left[at]?.name ?? "")} />)}
        {rows(right.length, height).map((y, at) => <Line key={right[at]?.name} from={[hub.x + 130, height / 2]} to={[WIDE - BOX, y]} edges={by("server", right[at]?.name ?? "")} />)}
        <g className="hub"><rect x={hub.x} y={hub.y} width={130} height={60} rx={10} /><text x={WIDE / 2} y={height / 2 + 5} textAnchor="middle">Portcullis</text></g>
        {rows(left.length, height).map((y, at) => <Box key={left[at]?.name} x={1} y={y} node={left[at]} to="agents" isHot={by("agent", left[at]?.name ?? "").length > 0} />)}
        {rows(right.length, height).map((y, at) => <Box key={right[at]?.name} x={WIDE - BOX - 1} y={y} node={right[at]} to="servers" isHot={by("server", right[at]?.name ?? "").length > 0} />)}
      </svg>
      {more.some((count) => count > 0) && <p className="muted small">{[["agents", more[0]], ["servers", more[1]]].filter(([, count]) => Number(count) > 0).map(([what, count]) => `${count} more ${what}`).join(", ")}</p>}
    </div>
  );
}

function Line({ from: [x, y], to: [u, v], edges }: { from: [number, number]; to: [number, number]; edges: Edge[] }) {
  const middle = (x + u) / 2;
  const line = `M${x} ${y} C${middle} ${y} ${middle} ${v} ${u} ${v}`;
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

function Box({ x, y, node, to, isHot }: { x: number; y: number; node: Node | undefined; to: string; isHot: boolean }) {
  if (node === undefined) return null;
  return (
    <Link to={path(to, node.name)}>
      <g className={isHot ? "node hot" : "node"}>
        <rect x={x} y={y - TALL / 2} width={BOX} height={TALL} rx={8} />
        {node.tone && <circle className={node.tone} cx={x + 16} cy={y} r={4.5} />}
        <text x={x + (node.tone ? 30 : 14)} y={y - 2}>{cut(node.name, 24)}</text>
        <text className="sub" x={x + (node.tone ? 30 : 14)} y={y + 13}>{cut(node.sub, 34)}</text>
      </g>
    </Link>
  );
}

/** A line of what was, the newest right. */
export function Spark({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(...values, 1), wide = values.length - 1;
  const line = values.map((value, at) => `${at === 0 ? "M" : "L"}${((at / wide) * 100).toFixed(2)} ${(34 - (value / most) * 32).toFixed(2)}`).join("");
  return <svg className="spark" viewBox="0 0 100 36" preserveAspectRatio="none" role="img" aria-label={label}><path className="area" d={`${line}L100 36L0 36Z`} /><path d={line} /></svg>;
}
