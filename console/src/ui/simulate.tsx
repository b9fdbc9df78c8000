// What a draft of the configuration, or an approval, would have come to: the calls that were recorded, judged again, before anything
// is in force.
import { useState } from "react";
import { ask } from "../api.ts";
import { useTask } from "../data.ts";
import { place, type Origin } from "../inventory.ts";
import { Button, Note, Select, Status, Table, Trouble, when, type Tone } from "./kit.tsx";

type Call = { agent: string; kind: string; name: string; server: string | null; times: number; last: string; rule: string; origin: Origin };
type Listed = { agent: string; added: string[]; removed: string[]; changed: string[] };
type Simulated = {
  considered: number; skipped: number; refused: Call[]; allowed: Call[]; unknown: Call[]; left_out: number; listed: Listed[]; assumed: string[];
  unread: { server: string; reason: string }[]; remarks: string[]; next: string | null;
};
type Trial = { files: Record<string, string>; overlays: Record<string, string> } | { approve: { server: string } };
const SINCE = [["1d", "The last day"], ["7d", "The last week"], ["30d", "The last 30 days"]].map(([id = "", name = ""]) => ({ id, name }));

/** Adds the calls of a part to those of the parts before. */
function joined(before: Call[], part: Call[]): Call[] {
  const all = new Map(before.map((call) => [`${call.agent} ${call.kind} ${call.name}`, call]));
  for (const call of part) {
    const known = all.get(`${call.agent} ${call.kind} ${call.name}`);
    all.set(`${call.agent} ${call.kind} ${call.name}`, known ? { ...call, times: known.times + call.times, last: known.last > call.last ? known.last : call.last } : call);
  }
  return [...all.values()];
}

export function Simulate({ trial }: { trial: Trial }) {
  const [since, setSince] = useState("7d");
  const [seen, setSeen] = useState(0);
  const run = useTask(async () => {
    let whole: Simulated | undefined;
    do {
      const cursor: string | null = whole?.next ?? null;
      const { data } = await ask<Simulated>("POST", "simulate", { body: { ...trial, since, ...(cursor === null ? {} : { cursor }) } });
      whole = whole === undefined ? data : { ...whole, considered: whole.considered + data.considered, skipped: whole.skipped + data.skipped, left_out: whole.left_out + data.left_out,
        refused: joined(whole.refused, data.refused), allowed: joined(whole.allowed, data.allowed), unknown: joined(whole.unknown, data.unknown), next: data.next };
      setSeen(whole.considered);
    } while (whole.next !== null);
    return whole;
  });
  return (
    <section className="stack tight" aria-label="What would have happened">
      <div className="row between"><h3>What would have happened</h3>
        <div className="row"><Select label="Since" hideLabel value={since} onChange={setSince} options={SINCE} />
          <Button busy={run.busy} icon="play" onPress={() => void run.run()}>{run.busy && seen > 0 ? `${seen} calls` : "Try it on recorded calls"}</Button></div></div>
      {run.error && <Trouble error={run.error} />}
      {run.result ? <Shown result={run.result} /> : !run.error && <p className="muted">The audit trail is played against this: which calls would be refused, which allowed, and whose tools would change.</p>}
    </section>
  );
}

function Shown({ result }: { result: Simulated }) {
  const isCalm = result.refused.length + result.allowed.length + result.listed.length + result.unknown.length === 0;
  return (
    <>
      {isCalm ? <Note tone="ok">Of {result.considered} recorded calls none would be decided otherwise, and no agent sees another list.</Note> :
        <p className="muted">{result.considered} recorded calls were judged again{result.skipped > 0 ? `; ${result.skipped} entries are no calls that could be` : ""}.</p>}
      <Calls label="Newly refused" calls={result.refused} tone="bad" />
      <Calls label="Newly allowed" calls={result.allowed} tone="warn" />
      <Calls label="Cannot be told" calls={result.unknown} tone="idle" />
      {result.left_out > 0 && <p className="muted">And {result.left_out} more.</p>}
      {result.listed.length > 0 && <Table label="Lists that change" heads={["Agent", "Sees no more", "Sees now", "Sees otherwise"]}>{result.listed.map((one) => (
        <tr key={one.agent}><td><b>{one.agent}</b></td>{[one.removed, one.added, one.changed].map((names, at) => <td key={at} className="wrap"><code>{names.join(", ") || "–"}</code></td>)}</tr>
      ))}</Table>}
      {[...result.remarks, ...result.assumed].map((text) => <Note key={text}>{text}</Note>)}
      {result.unread.map((one) => <Note key={one.server} tone="warn"><strong>{one.server} could not be asked.</strong> {one.reason}</Note>)}
    </>
  );
}

function Calls({ label, calls, tone }: { label: string; calls: Call[]; tone: Tone }) {
  if (calls.length === 0) return null;
  return (
    <Table label={label} heads={[<Status tone={tone}>{label}</Status>, "Agent", "Times", "Last", "By"]}>{calls.map((call) => (
      <tr key={`${call.agent} ${call.kind} ${call.name}`}><td><b className="mono wrap">{call.name}</b></td><td>{call.agent}</td><td className="num">{call.times}</td><td className="num">{when(call.last)}</td>
        <td className="wrap muted">{call.rule}{call.origin && <div className="small">{place(call.origin)}</div>}</td></tr>
    ))}</Table>
  );
}
