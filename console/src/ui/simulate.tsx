// What a draft of the configuration would have come to: the calls that were recorded, judged again, before anything is in force.
import { useState } from "react";
import { ask } from "../api.ts";
import { useTask } from "../data.ts";
import { Button, Empty, Note, Select, Status, Table, Trouble, when } from "./kit.tsx";

type Call = { agent: string; name: string; server: string | null; times: number; last: string; rule: string | null };
type Listed = { agent: string; added: string[]; removed: string[]; changed: string[] };
type Simulated = { considered: number; skipped: number; refused: Call[]; allowed: Call[]; listed: Listed[] };
const SINCE = [["1d", "The last day"], ["7d", "The last week"], ["30d", "The last 30 days"]].map(([id = "", name = ""]) => ({ id, name }));

export function Simulate({ files }: { files: Record<string, string> }) {
  const [since, setSince] = useState("7d");
  const run = useTask(async () => (await ask<Simulated>("POST", "simulate", { body: { files, since } })).data);
  const result = run.result;
  const calm = result && result.refused.length + result.allowed.length + result.listed.length === 0;
  return (
    <section className="stack tight" aria-label="What would have happened">
      <div className="row between"><h3>What would have happened</h3>
        <div className="row"><Select label="Since" hideLabel value={since} onChange={setSince} options={SINCE} /><Button busy={run.busy} icon="play" onPress={() => void run.run()}>Try it on recorded calls</Button></div></div>
      {run.error && <Trouble error={run.error} />}
      {calm && <Note tone="ok">Of {result.considered} recorded calls none would be decided otherwise, and no agent sees another list.</Note>}
      {result && !calm && <>
        <p className="muted">{result.considered} recorded calls were judged again{result.skipped > 0 ? `, ${result.skipped} could not be` : ""}.</p>
        {result.refused.length > 0 && <Calls label="Newly refused" calls={result.refused} tone="bad" />}
        {result.allowed.length > 0 && <Calls label="Newly allowed" calls={result.allowed} tone="warn" />}
        {result.listed.length > 0 && <Table label="Lists that change" heads={["Agent", "Sees no more", "Sees now", "Sees otherwise"]}>{result.listed.map((one) => (
          <tr key={one.agent}><td><b>{one.agent}</b></td>{[one.removed, one.added, one.changed].map((names, at) => <td key={at} className="wrap"><code>{names.join(", ") || "–"}</code></td>)}</tr>
        ))}</Table>}
      </>}
      {!result && !run.busy && !run.error && <Empty icon="audit" title="Nothing was tried yet">The audit trail is played against what you have written: which calls would be refused, which allowed, and whose tools would change.</Empty>}
    </section>
  );
}

function Calls({ label, calls, tone }: { label: string; calls: Call[]; tone: "bad" | "warn" }) {
  return (
    <Table label={label} heads={[<Status tone={tone}>{label}</Status>, "Agent", "Times", "Last", "By"]}>{calls.map((call) => (
      <tr key={`${call.agent} ${call.name}`}><td><b className="mono wrap">{call.name}</b></td><td>{call.agent}</td><td className="num">{call.times}</td><td className="num">{when(call.last)}</td><td className="wrap muted">{call.rule}</td></tr>
    ))}</Table>
  );
}
