// How the gateway is: its servers, and what is wrong with any.
import { useData } from "../data.ts";
import { Card, Empty, Head, Load, Note, Status } from "../ui/kit.tsx";

type Server = { status: string; tools: number; reason?: string; circuit?: { reason: string; retry_ms: number } };
type Ready = { status: string; servers: Record<string, Server>; configuration?: { version: number; reason: string };
  audit?: { reason: string }; secrets?: { reason: string }; missing?: Record<string, string> };

export default function Overview() {
  const ready = useData<Ready>("/readyz", { every: 3000 });
  return (
    <>
      <Head title="Overview">What this gateway serves, and how it is.</Head>
      {ready.error?.status === 503 ? <Note>The gateway is starting.</Note> :
        <Load of={ready} what="health">{(data) => <Shown ready={data} />}</Load>}
    </>
  );
}

function Shown({ ready }: { ready: Ready }) {
  const servers = Object.entries(ready.servers);
  const up = servers.filter(([, server]) => server.status === "up");
  const tools = servers.reduce((sum, [, server]) => sum + server.tools, 0);
  return (
    <div className="stack">
      {ready.configuration && <Note tone="bad"><strong>Version {ready.configuration.version} is not in force.</strong> {ready.configuration.reason}</Note>}
      {ready.audit && <Note tone="bad"><strong>The audit trail is not written.</strong> {ready.audit.reason}</Note>}
      {ready.secrets && <Note tone="warn"><strong>Secrets cannot be read.</strong> {ready.secrets.reason}</Note>}
      {Object.entries(ready.missing ?? {}).map(([name, loss]) => <Note key={name} tone="warn"><strong>{name} is missing.</strong> {loss}</Note>)}
      <dl className="figures">
        <div><dt>State</dt><dd>{ready.status === "OK" ? "Healthy" : ready.status === "DEGRADED" ? "Degraded" : "Starting"}</dd></div>
        <div><dt>Servers up</dt><dd>{up.length} <small>of {servers.length}</small></dd></div>
        <div><dt>Tools</dt><dd>{tools}</dd></div>
      </dl>
      <Card title="Every server" flush>
        {servers.length === 0 ?
          <Empty icon="servers" title="No servers yet">A server is something that offers tools. Add one in the configuration, and its tools appear here and at every agent that may use them.</Empty> :
          <div className="table-wrap" role="region" aria-label="Servers" tabIndex={0}><table>
            <thead><tr><th>Name</th><th>State</th><th className="right">Tools</th><th>Why</th></tr></thead>
            <tbody>{servers.map(([name, server]) => (
              <tr key={name}><td><b>{name}</b></td>
                <td><Status tone={server.circuit ? "warn" : server.status === "up" ? "ok" : server.status === "down" ? "bad" : "idle"}>
                  {server.circuit ? "circuit open" : server.status}</Status></td>
                <td className="right num">{server.tools}</td>
                <td className="wrap muted">{server.circuit?.reason ?? server.reason ?? ""}</td></tr>
            ))}</tbody></table></div>}
      </Card>
    </div>
  );
}
