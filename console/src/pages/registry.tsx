// The registry: which servers the organisation knows, what waits for a review, and the decision about it.
import { useMemo, useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { diff } from "../diff.ts";
import { reconfigured, type Settings } from "../inventory.ts";
import { useEdits, useMe } from "../me.tsx";
import { navigate, path, useQuery } from "../router.tsx";
import { Verdict, type Evaluation } from "../ui/evaluation.tsx";
import { wrong } from "../ui/settings.tsx";
import { Button, Card, Code, Dialog, Empty, Field, Head, Load, Note, Search, Segments, Status, Table, Tag, Trouble, when, Wide, type Tone } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type ServerJson = { name: string; description: string; version: string; title?: string; websiteUrl?: string; repository?: { url?: string } };
type Entry = {
  name: string; version: string; server: ServerJson; status: string; status_message: string | null; published: string; updated: string; by: string;
  source: string | null; review: "pending" | "approved" | "rejected"; reviewed_by: string | null; proposed: ServerJson | null; digest: string | null;
  approved_digest: string | null; identities: string[]; resembles: string | null; settings: Settings | null;
  evaluations?: Evaluation[];
};
const REVIEWS: Record<string, [Tone, string]> = { pending: ["warn", "Waits for a review"], approved: ["ok", "Approved"], rejected: ["bad", "Rejected"] };
const FILTERS = [["all", "All"], ["pending", "To review"], ["approved", "Approved"], ["rejected", "Rejected"]].map(([id = "", name = ""]) => ({ id, name }));
const called = ({ name, version }: Entry) => `${name} ${version}`;
const refresh = () => changed("registry", "servers");

export default function Registry() {
  const { writes } = useMe();
  const [review, setReview] = useQuery("review", "all");
  const [search, setSearch] = useQuery("q");
  const entries = useData<{ items: Entry[] }>(review === "all" ? "registry" : `registry?review=${review}`, { every: 10_000 });
  const [shown, setShown] = useQuery("entry");
  const [doing, setDoing] = useState<"import" | "publish">();
  const actions = writes && <><Button onPress={() => setDoing("import")}>Import</Button><Button look="primary" icon="plus" onPress={() => setDoing("publish")}>Publish</Button></>;
  const fits = (entry: Entry) => `${entry.name} ${entry.server.description}`.toLowerCase().includes(search.toLowerCase());
  const open = entries.data?.items.find((entry) => called(entry) === shown);
  return (
    <>
      <Head title="Registry" actions={actions}>The servers that people here may use. Clients read it at <code>/v0.1/servers</code>, each seeing what it may reach.</Head>
      <div className="row"><Segments label="Review" value={review} onChange={setReview} options={FILTERS} /><Search label="Search the registry" value={search} onChange={setSearch} /></div>
      <br />
      <Load of={entries} what="registry">{({ items }) => items.length === 0 ?
        <div className="card"><Empty icon="registry" title={review === "pending" ? "Nothing waits for a review" : "Nothing is registered yet"} actions={review === "pending" ? undefined : actions}>
          {review === "pending" ? "What is imported from another registry, or published by an agent, waits here." : "Import from another registry, such as the public one, or publish the server.json of a server of your own."}</Empty></div> :
        <Table label="Entries" heads={["Name", "Version", "Review", <Wide>Changed</Wide>, <Wide>From</Wide>, <span className="sr">Actions</span>]}>
          {items.filter(fits).map((entry) => (
            <tr key={`${entry.name} ${entry.version}`}><td className="wrap"><b>{entry.name}</b>{entry.status !== "active" && <> <Tag tone="warn">{entry.status}</Tag></>}<div className="muted small wrap">{entry.server.description}</div></td>
              <td className="num">{entry.version}</td><td><Status tone={REVIEWS[entry.review]?.[0] ?? "idle"}>{REVIEWS[entry.review]?.[1] ?? entry.review}</Status></td>
              <td className="num wide-only">{when(entry.updated)}</td><td className="wrap muted wide-only">{entry.source ?? entry.by}</td>
              <td className="actions"><Button small look="plain" aria-label={`${entry.review === "pending" && writes ? "Review" : "Details"} of ${entry.name} ${entry.version}`} onPress={() => setShown(called(entry))}>{entry.review === "pending" && writes ? "Review" : "Details"}</Button></td></tr>
          ))}</Table>}
      </Load>
      {open && <Review key={`${called(open)} ${open.digest}`} entry={open} onClose={() => setShown("")} />}
      {doing === "import" && <Import onClose={() => setDoing(undefined)} />}
      {doing === "publish" && <Publish onClose={() => setDoing(undefined)} />}
    </>
  );
}

function Review({ entry, onClose }: { entry: Entry; onClose: () => void }) {
  const { writes } = useMe();
  const edits = useEdits();
  const at = `registry/${enc(entry.name)}/${enc(entry.version)}`;
  const [name, setName] = useState(nameFor(entry));
  // What is approved already is approved once more, for the server that it adds.
  const digest = entry.digest ?? entry.approved_digest;
  const decide = useTask(async (how: "approve" | "reject" | "add") => {
    await ask("POST", `${at}/${how === "reject" ? how : "approve"}`, how === "reject" ? {} : { body: { digest, ...(how === "add" ? { add: name } : {}) } });
    refresh();
    onClose();
    toast(`${entry.name} ${entry.version} is ${{ approve: "approved", reject: "rejected", add: `served here as ${name}` }[how]}`);
    if (how === "add") {
      reconfigured();
      navigate(path("servers", name));
    }
  });
  const isApproved = entry.review === "approved";
  const mayServe = edits && entry.settings !== null && entry.status !== "deleted" && entry.review !== "rejected";
  const text = (server: ServerJson | null) => JSON.stringify(server, null, 2);
  const lines = useMemo(() => (entry.proposed ? diff(text(entry.server), text(entry.proposed)) : []), [entry]);
  return (
    <Dialog title={`${entry.name} ${entry.version}`} side="right" open onClose={onClose}>
      {entry.resembles && <Note tone="bad"><strong>Its name looks like {entry.resembles}.</strong> Make sure that it is not somebody who pretends to be them.</Note>}
      {entry.status_message && <Note tone="warn">{entry.status_message}</Note>}
      <dl className="facts">
        <dt>Says</dt><dd>{entry.server.description}</dd>
        <dt>From</dt><dd>{entry.source ?? entry.by}</dd>
        <dt>Published</dt><dd>{when(entry.published)}</dd>
        {entry.reviewed_by && <><dt>Reviewed by</dt><dd>{entry.reviewed_by}</dd></>}
        {entry.identities.length > 0 && <><dt>Stands for</dt><dd>{entry.identities.map((one) => <div key={one}><code>{one}</code></div>)}</dd></>}
      </dl>
      {(entry.evaluations ?? []).map((one) => <p key={one.identity}><Verdict of={one} /> <code>{one.identity}</code> <span className="muted">{one.risks.high} high, {one.risks.medium} medium, {one.risks.low} low</span></p>)}
      {lines.length > 0 && <Card title="What it says now that it did not" flush><div className="diff" tabIndex={0} role="region" aria-label="What has changed">
        {lines.map((line, index) => <div key={index} className={line.kind}>{{ add: "+ ", del: "- ", same: "  ", gap: "" }[line.kind]}{line.text}</div>)}</div></Card>}
      <Code label="The server.json" text={text(entry.proposed ?? entry.server)} />
      {entry.settings && <details><summary>Settings of such a server</summary><Code label="Settings" text={JSON.stringify(entry.settings, null, 2)} /></details>}
      {mayServe && <Field label="Its name here" value={name} onChange={setName} required hint="Where it is served here, its tools are called so. Where an evaluation is asked for, nothing of it is served before its definitions are approved, too." />}
      {decide.error && <Trouble error={decide.error} />}
      <div className="foot">
        {writes && entry.review !== "rejected" && <Button look="danger" busy={decide.busy} onPress={() => void decide.run("reject")}>{isApproved ? "Take the approval back" : "Reject"}</Button>}
        {mayServe && <Button busy={decide.busy} isDisabled={name === ""} onPress={() => void decide.run("add")}>{isApproved ? "Serve it here" : "Approve and serve it here"}</Button>}
        {writes && entry.digest && !isApproved && <Button look="primary" busy={decide.busy} onPress={() => void decide.run("approve")}>Approve what is shown</Button>}
      </div>
    </Dialog>
  );
}

/** What a server of an entry is called here, unless somebody says otherwise. */
const nameFor = ({ name }: Entry) => name.split("/").at(-1)?.replaceAll(/[^A-Za-z0-9_-]+/g, "-") ?? "server";

function Import({ onClose }: { onClose: () => void }) {
  const [url, setUrl] = useState("");
  const [search, setSearch] = useState("");
  const read = useTask(async () => {
    const { data } = await ask<{ pending: number; unchanged: number; refused: number; complete: boolean }>("POST", "registry/imports", { body: { url, ...(search ? { search } : {}) } });
    refresh();
    return data;
  });
  return (
    <Dialog title="Import from another registry" open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void read.run(); }}>
        <Field label="Its address" value={url} onChange={setUrl} required autoFocus mono placeholder="https://registry.example.com" hint="Without a path. What is there is read, and waits for your review." />
        <Field label="Only names with" value={search} onChange={setSearch} />
        {read.busy && <Note>It is being read. A large registry takes a while.</Note>}
        {read.error && <Trouble error={read.error} />}
        {read.result && <Note tone="ok"><strong>{read.result.pending} wait for a review.</strong> {read.result.unchanged} are as they were{read.result.refused > 0 ? `, ${read.result.refused} are no valid entries and were left out` : ""}.
          {!read.result.complete && " There is more: import again to go on."}</Note>}
        <div className="foot"><Button onPress={onClose}>Close</Button><Button look="primary" type="submit" busy={read.busy}>{read.result ? "Import again" : "Import"}</Button></div>
      </form>
    </Dialog>
  );
}

function Publish({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const error = text === "" ? undefined : wrong(text);
  const publish = useTask(async () => {
    await ask("POST", "/v0.1/publish", { body: JSON.parse(text) as unknown });
    refresh();
    onClose();
    toast("It is published");
  });
  return (
    <Dialog title="Publish a server" wide open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void publish.run(); }}>
        <Field label="Its server.json" value={text} onChange={setText} lines={12} mono required autoFocus error={error}
          placeholder={'{ "name": "com.example/tickets", "description": "…", "version": "1.0.0", "remotes": [ … ] }'} hint="As the MCP Registry takes it. A version that is published never changes." />
        {publish.error && <Trouble error={publish.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={publish.busy} isDisabled={text === "" || error !== undefined}>Publish</Button></div>
      </form>
    </Dialog>
  );
}
