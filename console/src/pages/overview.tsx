// How the gateway is: who calls what right now, and what is wrong with any.
import { useData, type Data } from "../data.ts";
import type { Circuit } from "../inventory.ts";
import { useLive, type Live } from "../live.ts";
import { useMe } from "../me.tsx";
import { Link, path } from "../router.tsx";
import { Graph, Spark, type Node } from "../ui/graph.tsx";
import { Card, Empty, Head, Load, Note, Status, Table, when, type Tone } from "../ui/kit.tsx";

type Server = { name: string; status: string; reason?: string; tools: number; circuit?: Circuit };
type Overview = {
  servers: Server[]; agents: string[]; totals: { calls: number; errors: number; denied: number; since: string | null } | null;
  configuration: { version: number | null; refused?: { version: number; reason: string } } | null;
  audit: { recorded: number; waiting: number; lost: number; trouble: string | null } | null;
};
const TONES: Record<string, Tone> = { up: "ok", down: "bad" };
const toneOf = (server: Server): Tone => (server.circuit ? "warn" : TONES[server.status] ?? "idle");

export default function Overview() {
  const overview = useData<Overview>("overview", { every: 3000 });
  // Asked for at once, though it is shown only below what the overview says.
  const lately = useData<Lately>("statistics", { every: 60_000 });
  return (
    <>
      <Head title="Overview">Who calls what through this gateway right now, and how it is.</Head>
      <Load of={overview} what="overview">{(data) => <Shown overview={data} lately={lately} />}</Load>
    </>
  );
}

function Shown({ overview: { servers, agents, totals, configuration, audit }, lately }: { overview: Overview; lately: Data<Lately> }) {
  const { reads } = useMe();
  // Members are not told how the trail is: there is one where what is theirs is counted.
  const isLive = reads ? audit !== null : lately.data !== undefined;
  const live = useLive(isLive);
  const up = servers.filter(({ status }) => status === "up");
  const ill = servers.filter((server) => server.status === "down" || server.circuit);
  const since = totals?.since ? `since ${new Date(totals.since).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}` : "since it started";
  return (
    <div className="stack">
      {configuration?.refused && <Note tone="bad"><strong>Version {configuration.refused.version} is not in force.</strong> {configuration.refused.reason}</Note>}
      {audit?.trouble && <Note tone="bad"><strong>The audit trail is not written.</strong> {audit.trouble}</Note>}
      <dl className="figures">
        <div><dt>Servers up</dt><dd>{up.length} <small>of {servers.length}</small></dd></div>
        <div><dt>Tools</dt><dd>{servers.reduce((sum, server) => sum + server.tools, 0)}</dd></div>
        {totals && <div title={since}><dt>Calls</dt><dd>{totals.calls.toLocaleString()}</dd></div>}
        {totals && <div title={since}><dt>Failed</dt><dd>{totals.errors.toLocaleString()}</dd></div>}
        {totals && <div title={since}><dt>Refused</dt><dd>{totals.denied.toLocaleString()}</dd></div>}
      </dl>
      {servers.length === 0 ? <div className="card"><Empty icon="servers" title="No servers yet" actions={<Link className="button primary" to="/servers?add=form">Add a server</Link>}>
        A server is something that offers tools. Its tools appear here and at every agent that may use them.</Empty></div> :
        <Now live={live} isLive={isLive} agents={agents} servers={servers} />}
      <Activities of={lately} />
      {ill.length > 0 && <Card title="What is wrong" flush>
        <Table label="Servers that are not well" heads={["Server", "State", "Why"]}>{ill.map((server) => (
          <tr key={server.name}><td>{reads ? <Link to={path("servers", server.name)}>{server.name}</Link> : <b>{server.name}</b>}</td>
            <td><Status tone={toneOf(server)}>{server.circuit ? "circuit open" : server.status}</Status></td><td className="wrap muted">{server.circuit?.reason ?? server.reason}</td></tr>
        ))}</Table></Card>}
    </div>
  );
}

type Activity = { name: string; calls: number; errors: number; denied: number; p50_ms: number | null; p95_ms: number | null };
type Lately = { since: string; servers: Activity[]; agents: Activity[] };
const ms = (value: number | null) => (value === null ? "–" : value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString());

/** What was called in the last hour, as the trail has it. */
function Activities({ of: lately }: { of: Data<Lately> }) {
  const { reads } = useMe();
  if (lately.error?.status === 404) return null;
  const heads = (what: string) => [what, "Calls", "Failed", "Refused", "Median, ms", "95 of 100 within, ms"];
  const row = (to: string) => (one: Activity) => (
    <tr key={one.name}><td>{reads || to === "agents" ? <Link to={path(to, one.name)}>{one.name}</Link> : <b>{one.name}</b>}</td><td className="num">{one.calls.toLocaleString()}</td><td className="num">{one.errors.toLocaleString()}</td>
      <td className="num">{one.denied.toLocaleString()}</td><td className="num">{ms(one.p50_ms)}</td><td className="num">{ms(one.p95_ms)}</td></tr>
  );
  return <Load of={lately} what="statistics">{(data) => data.servers.length + data.agents.length === 0 ? null : (
    <Card title="Lately" actions={<span className="muted small">since {when(data.since)}</span>} flush><div className="even">
      {data.servers.length > 0 && <Table label="What servers did lately" heads={heads("Server")}>{data.servers.map(row("servers"))}</Table>}
      {data.agents.length > 0 && <Table label="What agents did lately" heads={heads("Agent")}>{data.agents.map(row("agents"))}</Table>}
    </div></Card>
  )}</Load>;
}

/** The last minute. */
function Now({ live, isLive, agents, servers }: { live: Live; isLive: boolean; agents: string[]; servers: Server[] }) {
  const { reads } = useMe();
  const names = [...new Set([...agents, ...live.edges.map(({ agent }) => agent)])];
  const last = live.seconds.slice(-10);
  const rate = (of: "calls" | "errors" | "denied") => last.reduce((sum, second) => sum + second[of], 0) / last.length;
  const [calls, ms] = [live.seconds.reduce((sum, second) => sum + second.calls, 0), live.seconds.reduce((sum, second) => sum + second.ms, 0)];
  const did = (name: string) => { const n = live.edges.filter((edge) => edge.agent === name).reduce((sum, edge) => sum + edge.calls, 0); return n === 0 ? "agent" : `${n} ${n === 1 ? "call" : "calls"} this second`; };
  const left: Node[] = (names.length > 0 ? names : ["default"]).map((name) => ({ name, sub: did(name) }));
  const right: Node[] = servers.map((server) => ({ name: server.name, tone: toneOf(server), sub: server.circuit ? "circuit open" : server.status === "up" ? `${server.tools} tools` : server.status }));
  return (
    <Card title={isLive ? "Right now" : "Who may call what"} actions={isLive && <Status tone={live.isOpen ? "ok" : "idle"}>{live.isOpen ? "live" : "connecting"}</Status>}>
      {isLive && <div className="rates">
        <div><span className="muted small">Calls a second</span><b className="num">{rate("calls").toFixed(1)}</b><Spark values={live.seconds.map((one) => one.calls)} label={`Calls a second in the last minute, now ${rate("calls").toFixed(1)}`} /></div>
        <div><span className="muted small">Failed or refused</span><b className="num">{(rate("errors") + rate("denied")).toFixed(1)}</b><Spark values={live.seconds.map((one) => one.errors + one.denied)} label="Failures and refusals a second in the last minute" /></div>
        <div><span className="muted small">Latency, ms</span><b className="num">{calls === 0 ? "–" : Math.round(ms / calls)}</b><Spark values={live.seconds.map((one) => (one.calls === 0 ? 0 : one.ms / one.calls))} label="Mean latency in the last minute" /></div>
      </div>}
      <Graph withServers={reads} agents={left} servers={right} edges={live.edges} />
    </Card>
  );
}
