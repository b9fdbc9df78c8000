// The trail: found, looked at, checked, taken along.
import { useState } from "react";
import { query, read } from "../api.ts";
import { useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { useQuery } from "../router.tsx";
import { Button, Code, Dialog, Empty, Head, Load, Note, Search, Select, Status, Tag, Trouble, type Tone } from "../ui/kit.tsx";

type Entry = { time: string; id?: number; agent?: string; method?: string; server?: string; name?: string; decision: string; rule?: string; error?: string; duration_ms?: number; is_error?: boolean };
/** A page, and which gateway each entry is of where others than this one have forwarded some. */
type Page = { entries: Entry[]; cursor?: string; gateways?: string[] };
type Verdict = { writer: string; whole: boolean; entries: number; hash?: string; breach?: unknown };
const TONES: Record<string, Tone> = { allowed: "ok", denied: "warn", failed: "bad" };
const SINCE = [["1h", "Last hour"], ["24h", "Last day"], ["7d", "Last week"], ["30d", "Last 30 days"]].map(([id = "", name = ""]) => ({ id, name }));
const DECISIONS = [["any", "Any decision"], ["allowed", "Allowed"], ["denied", "Denied"], ["failed", "Failed"]].map(([id = "", name = ""]) => ({ id, name }));

/** A time that long ago, as the API takes it. */
function before(since: string): string {
  const hours = Number.parseInt(since, 10) * (since.endsWith("d") ? 24 : 1);
  return new Date(Math.floor(Date.now() / 60_000) * 60_000 - hours * 3_600_000).toISOString().replace(/\.\d+Z$/, "Z");
}

export default function Audit() {
  const [since, setSince] = useQuery("since", "24h");
  const [decision, setDecision] = useQuery("decision", "any");
  const [agent, setAgent] = useQuery("agent");
  const [server, setServer] = useQuery("server");
  const [tool, setTool] = useQuery("tool");
  const asked = { since: before(since), decision: decision === "any" ? "" : decision, agent, server, tool };
  const wanted = query("audit", { ...asked, limit: 200 });
  const [further, setFurther] = useState<{ of: string; cursor: string }>();
  const page = useData<Page>(further?.of === wanted ? `${wanted}&cursor=${encodeURIComponent(further.cursor)}` : wanted, { every: 10_000 });
  const [open, setOpen] = useState<Entry>();
  const { reads } = useMe();
  return (
    <>
      <Head title={reads ? "Audit" : "Your activity"} actions={<>{reads && <Verify />}<a className="button" href={`/admin/v1/${query("audit/export", asked)}`} download="audit.jsonl">Export</a></>}>
        {reads ? "Every connection, call, refusal and failure, in a chain that shows if anything was altered." : "What was done here with the keys that you have made, and by you."}
      </Head>
      <div className="row">
        <Select label="Since" hideLabel value={since} onChange={setSince} options={SINCE} />
        <Select label="Decision" hideLabel value={decision} onChange={setDecision} options={DECISIONS} />
        <Search label="Agent" value={agent} onChange={setAgent} />
        <Search label="Server" value={server} onChange={setServer} />
        <Search label="Tool" value={tool} onChange={setTool} />
      </div>
      <br />
      <Load of={page} what="audit trail">{({ entries, cursor, gateways = [] }) => entries.length === 0 ? cursor !== undefined ?
        <Empty icon="audit" title="Nothing found yet" actions={<Button onPress={() => setFurther({ of: wanted, cursor })}>Look further</Button>}>Only a part of the trail was looked through.</Empty> :
        <Empty icon="audit" title="Nothing was recorded">No entry fits. Look further back or ask for less, or let an agent call something.</Empty> :
        <div className="table-wrap" role="region" aria-label="Entries" tabIndex={0}><table>
          <thead><tr><th>Time</th><th>Decision</th><th>Agent</th><th>What</th><th className="right">ms</th><th>Why</th><th><span className="sr">Details</span></th></tr></thead>
          <tbody>{entries.map((entry, at) => (
            <tr key={`${entry.time} ${entry.id ?? at} ${gateways[at] ?? ""}`}>
              <td className="nowrap num">{new Date(entry.time).toLocaleString()}</td>
              <td><Status tone={TONES[entry.decision] ?? "idle"}>{entry.decision}</Status></td>
              <td>{entry.agent}</td>
              <td className="wrap"><code>{entry.name ?? entry.method}</code> {gateways[at] && <Tag>{gateways[at]}</Tag>}</td>
              <td className="right num">{entry.duration_ms === undefined ? "" : Math.round(entry.duration_ms)}</td>
              <td className="wrap muted">{entry.error ?? entry.rule}</td>
              <td className="actions"><Button small look="plain" aria-label={`Details of ${entry.id === undefined ? `${entry.name ?? entry.method} at ${entry.time}` : `entry ${entry.id}`}`} onPress={() => setOpen(entry)}>Details</Button></td>
            </tr>
          ))}</tbody></table></div>}
      </Load>
      <Dialog title="Entry" side="right" open={open !== undefined} onClose={() => setOpen(undefined)}>
        <Code label="The entry" text={JSON.stringify(open, null, 2) ?? ""} />
      </Dialog>
    </>
  );
}

/** Checks the chains, however many requests that takes. */
function Verify() {
  const [seen, setSeen] = useState(0);
  const check = useTask(async () => {
    const writers: Verdict[] = [];
    let cursor: string | undefined;
    do {
      const part: { writers: Verdict[]; cursor?: string } = await read(query("audit/verify", { cursor }));
      writers.push(...part.writers);
      setSeen(writers.reduce((sum, { entries }) => sum + entries, 0));
      cursor = part.cursor;
    } while (cursor !== undefined);
    return writers;
  });
  const broken = check.result?.filter(({ whole }) => !whole) ?? [];
  return (
    <>
      <Button busy={check.busy} onPress={() => void check.run()}>{check.busy && seen > 0 ? `Verifying, ${seen} entries` : "Verify"}</Button>
      <Dialog title="The chain" open={check.result !== undefined || check.error !== undefined} onClose={check.clear}>
        {check.error && <Trouble error={check.error} />}
        {check.result && (broken.length === 0 ? <Note tone="ok">Nothing was altered, removed or moved.</Note> :
          <Note tone="bad"><strong>The chain is broken.</strong> Keep the data as it is, and compare it with what you have elsewhere.</Note>)}
        {check.result && <Code label="What was found" text={JSON.stringify(check.result, null, 2)} />}
      </Dialog>
    </>
  );
}
