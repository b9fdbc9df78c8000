// The configuration: written and checked here, and every version that there was.
import { useRef, useState } from "react";
import { ask, read, type ProblemField } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useApi, useMe } from "../me.tsx";
import { useQuery } from "../router.tsx";
import { Button, Card, Dialog, Empty, Field, Head, Load, Note, Segments, Tabs, Tag, Trouble } from "../ui/kit.tsx";
import { Simulate } from "../ui/simulate.tsx";
import { toast } from "../ui/toasts.tsx";

type Files = Record<string, string>;
type Version = { version: number; at?: string; by?: string; note?: string };
type Whole = Version & { files: Files; overlays: Files };
type Push = { files: Files; overlays: Files; note: string };

/** Has the newest version say what an earlier one did. */
async function rollBack(to: number) {
  const { data } = await ask<Version>("POST", "config/rollback", { body: { to } });
  changed("config", "/readyz", "approvals");
  return data;
}

/** Goes back, and offers the way forth again. */
async function goBack(to: number, from: number) {
  const { version } = await rollBack(to);
  toast(`Version ${version} is in force, and says what version ${to} did`, () => void rollBack(from).catch((error: Error) => toast(error.message)));
}

export default function Configuration() {
  const [tab, setTab] = useQuery("tab", "edit");
  const { configures } = useMe();
  const config = useData<Whole>("config");
  return (
    <>
      <Head title="Configuration">Each change is a version of its own: examined whole, taken whole, and reversible.</Head>
      {config.error?.code === "configured-by-files" ?
        <Empty icon="config" title="A file on the gateway's machine configures it">{config.error.message}</Empty> :
        <Load of={config} what="configuration of its own">{(data) => (
          <Tabs label="Configuration" value={tab} onChange={setTab} tabs={[
            { id: "edit", name: configures ? "Edit" : "Files", content: <Editor key={data.version} current={data} etag={config.etag} /> },
            { id: "versions", name: "Versions", content: <Versions current={data.version} /> },
          ]} />
        )}</Load>}
    </>
  );
}

function Editor({ current, etag }: { current: Whole; etag: string | null }) {
  const { configures } = useMe();
  const has = useApi();
  const start = Object.keys(current.files).length === 0 ? { "portcullis.yaml": "version: 1\nservers: {}\n" } : current.files;
  const [files, setFiles] = useState<Files>(start);
  const [name, setName] = useState(Object.keys(start)[0] ?? "");
  const [pushing, setPushing] = useState(false);
  const [note, setNote] = useState("");
  const isChanged = JSON.stringify(files) !== JSON.stringify(current.files);
  const check = useTask(async () =>
    (await ask<{ valid: boolean; problems: ProblemField[] }>("POST", "config/check", { body: { files, overlays: current.overlays } })).data);
  const compare = useTask(async () =>
    (await ask<Difference>("POST", "config/diff", { body: { ...(current.version > 0 && { from: current.version }), files, overlays: current.overlays } })).data);
  const review = () => { setPushing(true); compare.clear(); void compare.run(); };
  const push = useTask(async () => {
    const body: Push = { files, overlays: current.overlays, note };
    const condition = current.version === 0 ? { ifNoneMatch: "*" } : { ifMatch: etag ?? `"${current.version}"` };
    const { data } = await ask<Version>("PUT", "config", { body, ...condition });
    setPushing(false);
    changed("config", "/readyz", "approvals");
    toast(`Version ${data.version} is in force`, current.version === 0 ? undefined : () => void goBack(current.version, data.version).catch((error: Error) => toast(error.message)));
  });
  const problems = push.error?.errors ?? check.result?.problems ?? [];
  const marked = new Set(problems.filter((one) => one.file === name || one.file === undefined).map((one) => one.line));
  const edit = (text: string) => { setFiles({ ...files, [name]: text }); check.clear(); push.clear(); };
  return (
    <div className="stack">
      {Object.keys(files).length > 1 && <div><Segments label="File" value={name} onChange={setName} options={Object.keys(files).map((id) => ({ id, name: id }))} /></div>}
      <TextEditor label={name} text={files[name] ?? ""} onChange={configures ? edit : undefined} marked={marked} />
      {check.error && <Trouble error={check.error} />}
      {check.result && (check.result.valid && problems.length === 0 ? <Note tone="ok">This would be taken.</Note> :
        <Note tone={check.result.valid ? "warn" : "bad"}><strong>{check.result.valid ? "This would be taken, with warnings." : "This would be refused."}</strong>
          <ul>{problems.map((one, index) => <li key={index}><code>{one.file}:{one.line}:{one.column}</code> {one.message} <span className="muted">{one.hint}</span></li>)}</ul></Note>)}
      <div className="form-foot">
        {isChanged && <Button look="plain" onPress={() => setFiles(start)}>Discard</Button>}
        <Button busy={check.busy} onPress={() => void check.run()}>Check</Button>
        {configures && <Button look="primary" isDisabled={!isChanged} onPress={review}>Review and put in force</Button>}
      </div>
      <Dialog title="What changes" wide open={pushing} onClose={() => setPushing(false)}>
        {compare.error && <Trouble error={compare.error} />}
        {compare.result ? <Differences of={compare.result} /> : compare.busy && <div className="bones" role="status" aria-label="Comparing"><span /><span /><span /></div>}
        {has("post simulate") && <Simulate trial={{ files, overlays: current.overlays }} />}
        <Field label="Note" value={note} onChange={setNote} hint="Why, for whoever reads the history." />
        {push.error && <Trouble error={push.error} />}
        <div className="foot"><Button onPress={() => setPushing(false)}>Go on editing</Button>
          <Button look="primary" busy={push.busy} onPress={() => void push.run()}>Put in force</Button></div>
      </Dialog>
    </div>
  );
}

function TextEditor({ label, text, onChange, marked }: { label: string; text: string; onChange: ((text: string) => void) | undefined; marked: Set<number | undefined> }) {
  const gutter = useRef<HTMLDivElement>(null);
  const count = text.split("\n").length;
  return (
    <div className="editor">
      <div className="gutter" ref={gutter} aria-hidden="true">
        {Array.from({ length: count }, (_, at) => (marked.has(at + 1) ? <b key={at}>{`${at + 1}\n`}</b> : `${at + 1}\n`))}
      </div>
      <textarea aria-label={label} value={text} spellCheck={false} rows={Math.min(Math.max(count + 1, 20), 40)} readOnly={!onChange} onChange={(event) => onChange?.(event.target.value)}
        onScroll={(event) => { if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop; }} />
    </div>
  );
}

type Difference = {
  files: { name: string; unified: string }[];
  changes: { what: "server" | "group" | "variant" | "agent" | "setting" | "overlay"; name: string; kind: "added" | "removed" | "changed" }[];
};

const TONES = { added: "ok", removed: "bad", changed: "warn" } as const;
const KINDS: Record<string, string> = { "+": "add", "-": "del", "@": "gap", "\\": "gap" };

/** What changes, as the gateway tells it: by name, and line by line. */
function Differences({ of: { files, changes } }: { of: Difference }) {
  if (files.length === 0) return <Note>The files say the same.</Note>;
  return <>
    {changes.length === 0 ? <Note>Nothing but comments, order or spelling changes.</Note> :
      <ul className="card list" aria-label="What changes">{changes.map(({ what, name, kind }) => (
        <li key={`${what} ${name}`}><Tag tone={TONES[kind]}>{kind}</Tag><span className="grow wrap">{what} <b>{name}</b></span></li>
      ))}</ul>}
    {files.map(({ name, unified }) => (
      <Card key={name} title={name} flush>
        <div className="diff" tabIndex={0} role="region" aria-label={`What changes in ${name}`}>
          {unified.split("\n").slice(0, -1).map((line, at) => <div key={at} className={KINDS[line[0] ?? ""] ?? "same"}>{line}</div>)}
        </div>
      </Card>
    ))}
  </>;
}

function Versions({ current }: { current: number }) {
  const { configures } = useMe();
  const versions = useData<{ versions: Version[] }>("config/versions?limit=100");
  const [shown, setShown] = useState<number>();
  const look = useTask(async (version: number) => {
    setShown(version);
    return read<Difference>(`config/versions/${current}/diff?to=${version}`);
  });
  const back = useTask(async (version: number) => { await goBack(version, current); setShown(undefined); });
  return (
    <Load of={versions} what="versions">{(data) => data.versions.length === 0 ?
      <Empty icon="config" title="No version yet">The first one is made when something is put in force, here or with portcullis push.</Empty> :
      <><ul className="card list">{data.versions.map((one) => (
        <li key={one.version}><b className="num">{one.version}</b>{one.version === current && <Tag tone="ok">in force</Tag>}
          <span className="grow wrap">{one.note || <span className="faint">No note</span>}</span>
          <span className="muted small">{one.by} · {one.at && new Date(one.at).toLocaleString()}</span>
          {one.version !== current && <Button small aria-label={`Compare version ${one.version}`} onPress={() => void look.run(one.version)}>Compare</Button>}</li>
      ))}</ul>
      <Dialog title={configures ? `Back to version ${shown}` : `What version ${shown} says otherwise`} wide open={shown !== undefined} onClose={() => setShown(undefined)}>
        {look.error && <Trouble error={look.error} />}
        {look.busy && <div className="bones" role="status" aria-label="Comparing"><span /><span /><span /></div>}
        {look.result && <Differences of={look.result} />}
        {back.error && <Trouble error={back.error} />}
        <div className="foot"><Button onPress={() => setShown(undefined)}>Close</Button>
          {configures && <Button look="primary" busy={back.busy} isDisabled={!look.result} onPress={() => shown !== undefined && void back.run(shown)}>Roll back</Button>}</div>
      </Dialog></>}
    </Load>
  );
}
