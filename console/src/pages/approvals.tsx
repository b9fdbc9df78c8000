// What servers say now against what was approved, and the decision about it.
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useApi, useMe } from "../me.tsx";
import { Link, path, usePath } from "../router.tsx";
import { Button, Card, Code, Empty, Head, Load, Note, Status, Trouble, type Tone } from "../ui/kit.tsx";
import { Simulate } from "../ui/simulate.tsx";
import { toast } from "../ui/toasts.tsx";

type Summary = { server: string; state: string; detail: string; approved: string | null };
type Difference = { at: string; before?: unknown; after?: unknown };
type Change = { list: string; name: string; change: "new" | "changed"; differences: Difference[] };
type Item = { name?: string; uri?: string; description?: string };
type Whole = Summary & { launch: string; reason?: string; launch_approved: boolean; digest: string | null; changes: Change[] | number;
  gone?: { list: string; name: string }[]; definitions: Record<string, Item[] | string> | null };
const STATES: Record<string, [Tone, string]> = {
  none: ["idle", "Not approved"], approved: ["ok", "Approved"], changed: ["warn", "Changed"], required: ["warn", "To be approved"], moved: ["bad", "Reached elsewhere"],
};
const State = ({ state }: { state: string }) => <Status tone={STATES[state]?.[0] ?? "idle"}>{STATES[state]?.[1] ?? state}</Status>;

export default function Approvals() {
  const [, server] = usePath();
  return server === undefined ? <List /> : <One server={server} />;
}

function List() {
  const list = useData<{ approvals: Summary[] }>("approvals", { every: 5000 });
  return (
    <>
      <Head title="Approvals">A model takes a tool's description for instructions. Approve what a server says, and what it says otherwise from then on is held back.</Head>
      <Load of={list} what="approvals">{({ approvals }) => approvals.length === 0 ?
        <Empty icon="check" title="No servers yet">Once the configuration has a server, what it says can be approved here.</Empty> :
        <div className="table-wrap" role="region" aria-label="Servers" tabIndex={0}><table>
          <thead><tr><th>Server</th><th>State</th><th>How it is</th><th className="wide-only">Approved</th></tr></thead>
          <tbody>{approvals.map((one) => (
            <tr key={one.server}><td><Link to={path("approvals", one.server)}>{one.server}</Link></td><td><State state={one.state} /></td>
              <td className="muted wrap">{one.detail}</td><td className="num wide-only">{one.approved ? new Date(one.approved).toLocaleString() : "–"}</td></tr>
          ))}</tbody></table></div>}
      </Load>
    </>
  );
}

function One({ server }: { server: string }) {
  const me = useMe();
  const has = useApi();
  const at = `approvals/${enc(server)}`;
  // Where several gateways answer, one that has not heard of a decision yet says for a moment what was so before.
  const one = useData<Whole>(at, { every: 5000 });
  const approve = useTask(async (digest: string) => {
    await ask("PUT", at, { body: { digest } });
    changed("approvals", "config", "/readyz");
    toast(`${server} is approved as it is now`, () => void forget.run());
  });
  const forget = useTask(async () => {
    await ask("DELETE", at);
    changed("approvals", "config", "/readyz");
    toast(`Nothing of ${server} is approved any more`);
  });
  const digest = one.data?.digest;
  const buttons = one.data && me.writes && <>
    {one.data.approved && <Button busy={forget.busy} onPress={() => void forget.run()}>Forget the approval</Button>}
    {digest && one.data.state !== "approved" && <Button look="primary" busy={approve.busy} onPress={() => void approve.run(digest)}>Approve what is shown</Button>}
  </>;
  return (
    <>
      <Head title={server} back={{ to: "/approvals", name: "Approvals" }} actions={buttons}>{one.data?.detail}</Head>
      <div className="stack">
        {approve.error && <Trouble error={approve.error} retry={one.reload} />}
        {forget.error && <Trouble error={forget.error} />}
        {digest && one.data?.approved && one.data.state === "changed" && has("post simulate") && <Card title="If it is approved"><Simulate trial={{ approve: { server } }} /></Card>}
        <Load of={one} what="such server">{(data) => <Shown data={data} />}</Load>
      </div>
    </>
  );
}

function Shown({ data }: { data: Whole }) {
  const changes = Array.isArray(data.changes) ? data.changes : [];
  return (
    <>
      {data.reason && <Note tone="warn"><strong>It cannot be asked now.</strong> {data.reason}</Note>}
      <Card title="Reached by" actions={<State state={data.state} />}><code className="wrap">{data.launch}</code></Card>
      {changes.map((change) => (
        <Card key={`${change.list} ${change.name}`} title={<>{change.change === "new" ? "New" : "Changed"}: {change.name}</>} flush>
          <div className="diff" tabIndex={0} role="region" aria-label={`What changes in ${change.name}`}>
            {change.differences.map((one) => (
              <div key={one.at}><div className="gap">{one.at || "all of it"}</div>
                {one.before !== undefined && one.before !== null && <div className="del">- {JSON.stringify(one.before)}</div>}
                {one.after !== undefined && one.after !== null && <div className="add">+ {JSON.stringify(one.after)}</div>}</div>
            ))}
          </div>
        </Card>
      ))}
      {(data.gone ?? []).map((gone) => <Note key={`${gone.list} ${gone.name}`} tone="warn">{gone.name} was approved, and is gone.</Note>)}
      {Object.entries(data.definitions ?? {}).filter(([, items]) => items.length > 0).map(([kind, items]) => (
        <Card key={kind} title={kind.slice(0, 1).toUpperCase() + kind.slice(1)} flush={typeof items !== "string"}>
          {typeof items === "string" ? <p className="wrap">{items}</p> :
            <ul className="list">{items.map((item) => (
              <li key={item.name ?? item.uri}><div className="grow"><b className="mono">{item.name ?? item.uri}</b><div className="muted wrap">{item.description}</div>
                <details><summary className="small">Whole definition</summary><Code label={`Definition of ${item.name ?? item.uri}`} text={JSON.stringify(item, null, 2)} /></details></div></li>
            ))}</ul>}
        </Card>
      ))}
    </>
  );
}
