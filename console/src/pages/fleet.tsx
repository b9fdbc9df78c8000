// The gateways that are governed from here: what each serves, one more, and a version that goes to a few first.
import { useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { Button, Card, Code, Confirm, Dialog, Empty, Field, Head, Load, Note, Status, Table, Tag, Trouble, when, type Tone } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type Labels = Record<string, string>;
type Governed = {
  id: string; name: string; labels: Labels; state: string; host: string; program: string; seen: string; wanted: number; version: number;
  refused: string | null; rejected: string | null; servers: { status?: string }[];
};
type Enrolment = { id: string; name: string; labels: Labels; created: string; expires: string; created_by: string };
type Stage = { gateways?: string[]; labels?: Labels; agents?: string[] };
type Rollout = { id: string; version: number; base: number; stages: Stage[]; reached: number; state: string; began: string; by: string; note: string };
const STATES: Record<string, [Tone, string]> = { current: ["ok", "Current"], behind: ["warn", "Behind"], refused: ["bad", "Refused"], silent: ["bad", "Silent"] };
const words = (labels: Labels) => Object.entries(labels).map(([name, value]) => `${name}=${value}`);
const refresh = () => changed("gateways", "enrolments", "rollouts");

/** Reads `name=value`, with spaces or commas between. */
const labelsOf = (text: string): Labels => Object.fromEntries(text.split(/[\s,]+/).filter((word) => word.includes("=")).map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
const OF_AGENT = "agent:";
/** Reads a stage: names of gateways, labels, and agents. */
function stageOf(line: string): Stage {
  const parts = line.split(/[\s,]+/).filter((word) => word !== "");
  const agents = parts.filter((word) => word.startsWith(OF_AGENT)).map((word) => word.slice(OF_AGENT.length));
  const others = parts.filter((word) => !word.startsWith(OF_AGENT));
  const gateways = others.filter((word) => !word.includes("="));
  const labels = labelsOf(others.join(" "));
  return { ...(gateways.length > 0 ? { gateways } : {}), ...(Object.keys(labels).length > 0 ? { labels } : {}), ...(agents.length > 0 ? { agents } : {}) };
}

export default function Fleet() {
  const { isAdmin, writes } = useMe();
  const gateways = useData<{ items: Governed[] }>("gateways", { every: 5000 });
  const enrolments = useData<{ items: Enrolment[] }>("enrolments", { every: 10_000 });
  const rollouts = useData<{ items: Rollout[] }>("rollouts", { every: 5000 });
  const [doing, setDoing] = useState<"enrol" | "rollout">();
  const [ending, setEnding] = useState<Governed>();
  const remove = useTask(async ({ id, name }: Governed) => { await ask("DELETE", `gateways/${enc(id)}`); refresh(); setEnding(undefined); toast(`${name} is removed`); });
  const withdraw = useTask(async ({ id }: Enrolment) => { await ask("DELETE", `enrolments/${enc(id)}`); refresh(); });
  const open = rollouts.data?.items.find(({ state }) => state === "open");
  const enrol = isAdmin && <Button look="primary" icon="plus" onPress={() => setDoing("enrol")}>Enrol a gateway</Button>;
  const actions = <>{writes && !open && (gateways.data?.items.length ?? 0) > 0 && <Button onPress={() => setDoing("rollout")}>Begin a rollout</Button>}{enrol}</>;
  return (
    <>
      <Head title="Fleet" actions={actions}>The gateways that are given their configuration by this one. Each goes on with what it has when this one is down.</Head>
      <Load of={gateways} what="fleet">{({ items }) => (
        <div className="stack">
          {open && <Open rollout={open} />}
          {items.length === 0 ? <div className="card"><Empty icon="fleet" title="No gateway is governed from here" actions={enrol}>Enrol one: it joins with a token that counts once, and from then on serves what is in force here.</Empty></div> :
            <Table label="Gateways" heads={["Name", "State", "Version", "Servers up", "Heard of", "Runs", <span className="sr">Actions</span>]}>{items.map((one) => (
              <tr key={one.id}><td><b>{one.name}</b><div className="chain">{words(one.labels).map((word) => <Tag key={word}>{word}</Tag>)}</div></td>
                <td className="wrap"><Status tone={STATES[one.state]?.[0] ?? "idle"}>{STATES[one.state]?.[1] ?? one.state}</Status><div className="muted small">{one.refused ?? one.rejected}</div></td>
                <td className="num">{one.version}{one.version !== one.wanted && <span className="muted"> of {one.wanted}</span>}</td>
                <td className="num">{one.servers.filter(({ status }) => status === "up").length} of {one.servers.length}</td>
                <td className="num">{when(one.seen)}</td><td className="muted">{one.host} {one.program}</td>
                <td className="actions">{isAdmin && <Button small look="danger" aria-label={`Remove ${one.name}`} onPress={() => setEnding(one)}>Remove</Button>}</td></tr>
            ))}</Table>}
          {(enrolments.data?.items.length ?? 0) > 0 && <Card title="Waiting to join" flush><ul className="list">{enrolments.data?.items.map((one) => (
            <li key={one.id}><b>{one.name}</b> {words(one.labels).map((word) => <Tag key={word}>{word}</Tag>)}<span className="grow muted small">until {when(one.expires)}, by {one.created_by}</span>
              {isAdmin && <Button small aria-label={`Withdraw the enrolment of ${one.name}`} onPress={() => void withdraw.run(one)}>Withdraw</Button>}</li>
          ))}</ul></Card>}
          {withdraw.error && <Trouble error={withdraw.error} />}
        </div>
      )}</Load>
      {doing === "enrol" && <Enrol onClose={() => setDoing(undefined)} />}
      {doing === "rollout" && <Begin onClose={() => setDoing(undefined)} />}
      <Confirm title={`Remove ${ending?.name ?? ""}?`} action="Remove" open={ending !== undefined} onClose={() => setEnding(undefined)} busy={remove.busy} error={remove.error} onConfirm={() => ending && void remove.run(ending)}>
        It is given nothing any more, and serves what it has until it is stopped. To come back it has to be enrolled anew.
      </Confirm>
    </>
  );
}

const said = (stage: Stage) => [...(stage.gateways ?? []), ...words(stage.labels ?? {}), ...(stage.agents ?? []).map((name) => OF_AGENT + name)].join(", ");

/** The rollout that goes on: how far it is, on, or back. */
function Open({ rollout }: { rollout: Rollout }) {
  const { writes } = useMe();
  const act = useTask(async (how: "promote" | "abort") => {
    await ask("POST", `rollouts/${enc(rollout.id)}/${how}`, how === "promote" ? { body: {} } : {});
    refresh();
    toast(how === "promote" ? "The rollout goes on" : "All gateways go back");
  });
  return (
    <Card title={`Version ${rollout.version} goes out`} actions={writes && <>
      <Button small look="danger" busy={act.busy} onPress={() => void act.run("abort")}>Back for all</Button><Button small look="primary" busy={act.busy} onPress={() => void act.run("promote")}>Go on</Button></>}>
      <p>{rollout.note || <span className="muted">No note</span>} <span className="muted small">{rollout.by}, {when(rollout.began)}; before it was version {rollout.base}</span></p>
      <ol className="chain">{rollout.stages.map((stage, at) => <li key={at}><Tag tone={at < rollout.reached ? "ok" : "idle"}>{at + 1}. {said(stage)}</Tag></li>)}<li><Tag>then all</Tag></li></ol>
      {act.error && <Trouble error={act.error} />}
    </Card>
  );
}

function Enrol({ onClose }: { onClose: () => void }) {
  const { gateway } = useMe();
  const [name, setName] = useState("");
  const [labels, setLabels] = useState("");
  const make = useTask(async () => {
    const { data } = await ask<Enrolment & { token: string }>("POST", "enrolments", { body: { name, labels: labelsOf(labels) } });
    refresh();
    return data;
  });
  if (make.result) {
    const url = gateway.public_url ?? location.origin;
    return (
      <Dialog title="Copy the token now" open onClose={onClose} wide alert>
        <Note tone="warn">It counts once, until {when(make.result.expires)}, and is not shown again.</Note>
        <Code label="The token" text={make.result.token} />
        <p>Put it into a file on that machine, and start the gateway there:</p>
        <Code label="The command" text={`portcullis serve --data-dir ${name} --control ${url} --enrolment-file ${name}.token`} />
        <div className="foot"><Button look="primary" onPress={onClose}>Done</Button></div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Enrol a gateway" open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void make.run(); }}>
        <Field label="Name" value={name} onChange={setName} required autoFocus placeholder="eu-1" />
        <Field label="Labels" value={labels} onChange={setLabels} placeholder="zone=eu ring=early" hint="By which stages of a rollout find it." />
        {make.error && <Trouble error={make.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={make.busy} isDisabled={name === ""}>Make a token</Button></div>
      </form>
    </Dialog>
  );
}

function Begin({ onClose }: { onClose: () => void }) {
  const [stages, setStages] = useState("");
  const [version, setVersion] = useState("");
  const [note, setNote] = useState("");
  const begin = useTask(async () => {
    const lines = stages.split("\n").map((line) => line.trim()).filter(Boolean).map(stageOf);
    await ask("POST", "rollouts", { body: { stages: lines, ...(note ? { note } : {}), ...(version ? { version: Number(version) } : {}) } });
    refresh();
    onClose();
  });
  return (
    <Dialog title="Begin a rollout" open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void begin.run(); }}>
        <Field label="Stages" value={stages} onChange={setStages} lines={4} mono required autoFocus placeholder={"eu-1\nring=early"} hint="One a line: names of gateways, labels, and agents as agent:NAME. The first has the version at once, the others when you go on." />
        <Field label="Version" value={version} onChange={setVersion} placeholder="the one that is put in force next" error={/^\d*$/.test(version) ? undefined : "Expected a number."} />
        <Field label="Note" value={note} onChange={setNote} />
        {begin.error && <Trouble error={begin.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={begin.busy} isDisabled={stages.trim() === ""}>Begin</Button></div>
      </form>
    </Dialog>
  );
}
