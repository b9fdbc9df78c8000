// What was found of a server when it was evaluated: in short, and the whole report.
import { enc } from "../api.ts";
import { useData } from "../data.ts";
import { Card, Code, Note, Status, Tag, when, type Tone } from "./kit.tsx";

/** What a report says in short. */
export type Evaluation = { server: string; identity: string | null; at: string; verdict: "trustworthy" | "review" | "dangerous"; risks: { high: number; medium: number; low: number } };
type Risk = { severity: "high" | "medium" | "low" | "note"; about: string; what: string; why: string };
type Report = Omit<Evaluation, "risks"> & { risks?: Risk[]; profile?: string };

const VERDICTS: Record<string, [Tone, string]> = { trustworthy: ["ok", "trustworthy"], review: ["warn", "to be looked at"], dangerous: ["bad", "dangerous"] };
const TONES: Record<string, Tone> = { high: "bad", medium: "warn", low: "idle", note: "idle" };

export function Verdict({ of: { verdict, at } }: { of: Pick<Evaluation, "verdict" | "at"> }) {
  const [tone, said] = VERDICTS[verdict] ?? ["idle", verdict];
  return <Status tone={tone}>{said}, evaluated {when(at)}</Status>;
}

/** The report of a server, where one is kept. */
export function Evaluated({ server }: { server: string }) {
  const all = useData<{ items: Evaluation[] }>("evaluations");
  const found = all.data?.items.find((one) => one.server === server);
  const { data, error } = useData<Report>(found ? `evaluations/${enc(server)}` : null);
  const isComing = all.error === undefined && error === undefined && (all.data === undefined || found !== undefined);
  if (data === undefined) return isComing ? <div className="bones" role="status" aria-label="Reading the evaluation"><span /></div> : null;
  const risks = data.risks ?? [];
  return (
    <Card title="What it did when it was evaluated" actions={<Verdict of={data} />}>
      {risks.length === 0 ? <Note tone="ok">Nothing was found that speaks against it.</Note> :
        <ul className="list">{risks.map((risk, at) => (
          <li key={at}><Tag tone={TONES[risk.severity] ?? "idle"}>{risk.severity}</Tag><span className="grow wrap"><b>{risk.about || "The server"}</b> {risk.what} <span className="muted">{risk.why}</span></span></li>
        ))}</ul>}
      {data.profile && <details><summary>The least that it needs</summary><Code label="The least that it needs" text={data.profile} /></details>}
    </Card>
  );
}
