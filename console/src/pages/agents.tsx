// The agents: who is which, what each sees, and why.
import { useState } from "react";
import { ask, enc } from "../api.ts";
import { useData, useTask } from "../data.ts";
import { add, place, remove, write, type Agent, type Explanation, type PolicyRule, type Settings, type Tool } from "../inventory.ts";
import { useApi, useEdits, useMe } from "../me.tsx";
import { Link, navigate, path, usePath, useQuery } from "../router.tsx";
import { SettingsDialog } from "../ui/settings.tsx";
import { Button, Card, Confirm, Dialog, Empty, Field, Head, Load, Note, Search, Segments, Status, Table, Tag, Trouble, when } from "../ui/kit.tsx";

export default function Agents() {
  const [, name] = usePath();
  return name === undefined ? <List /> : <One key={name} name={name} />;
}

/** How somebody is known to be an agent, in words. */
function way(match: Settings) {
  return Object.entries(match).map(([kind, value]) => ({
    api_key: `has a key for ${String(value)}`, tag: `says the tag ${String(value)}`, client: `uses ${String(value)}`,
    claim: `signs in with ${Object.entries((value ?? {}) as Settings).map(([claim, is]) => `${claim} ${String(is)}`).join(", ")}`,
  })[kind] ?? `${kind} ${String(value)}`).join(" and ");
}

function List() {
  const { reads } = useMe();
  const edits = useEdits();
  const agents = useData<{ items: Agent[] }>("agents");
  const [adding, setAdding] = useState(false);
  const button = edits && <Button look="primary" icon="plus" onPress={() => setAdding(true)}>Add an agent</Button>;
  return (
    <>
      <Head title="Agents" actions={button}>{reads ? "Who may call what. An agent sees the tools that it may call, and no others." : "What your agents see."}</Head>
      <Load of={agents} what="list of agents">{({ items }) => items.length === 0 ?
        <div className="card"><Empty icon="agents" title={reads ? "Everybody may call everything" : "No agent is yours"} actions={button}>
          {reads ? "The configuration names no agents. Add one, and say what it may call; the agent default is whoever is nobody else." : "An admin says in the configuration whose agents are whose."}</Empty></div> :
        <Table label="Agents" heads={["Name", ...(reads ? ["It is who", "May", "May not"] : []), "Reaches"]}>
          {items.map((agent) => (
            <tr key={agent.name}><td><Link to={path("agents", agent.name)}>{agent.name}</Link></td>
              {reads && <><td className="wrap muted">{agent.match?.map(way).join(", or ") || (agent.default ? "is nobody else" : `has a key for ${agent.name}`)}</td>
                <td><Rules rules={agent.allow} /></td><td><Rules rules={agent.deny} /></td></>}
              <td className="wrap">{agent.servers.join(", ") || <span className="faint">nothing</span>}</td></tr>
          ))}</Table>}
      </Load>
      {adding && <Add onClose={() => setAdding(false)} />}
    </>
  );
}

const Rules = ({ rules }: { rules: PolicyRule[] | undefined }) => (
  <span className="chain">{rules?.map((rule, at) => <Tag key={at}><code>{rule.rule}</code>{rule.when && " if"}</Tag>)}</span>
);

function One({ name }: { name: string }) {
  const { reads } = useMe();
  const edits = useEdits();
  const has = useApi();
  const agent = useData<Agent>(`agents/${enc(name)}`, { every: 10_000 });
  const [doing, setDoing] = useState<"rules" | "settings" | "remove">();
  const end = useTask(async () => { await remove("agents", name, agent.etag); navigate("/agents"); });
  const actions = edits && agent.data?.settings && <>
    <Button look="primary" onPress={() => setDoing("rules")}>What it may call</Button>
    <Button onPress={() => setDoing("settings")}>Settings</Button><Button look="danger" onPress={() => setDoing("remove")}>Remove</Button></>;
  return (
    <>
      <Head title={name} back={{ to: "/agents", name: "Agents" }} actions={actions}>{agent.data?.default ? "Whoever is nobody else." : undefined}</Head>
      <div className="stack">
        <Load of={agent} what={`agent ${name}`}>{(one) => reads ? (
          <Card title="Rules" actions={<span className="muted small">{place(one.origin)}</span>}>
            <dl className="facts">
              <dt>It is who</dt><dd>{one.match?.map(way).join(", or ") || (one.default ? "is nobody else" : `has a key for ${name}`)}</dd>
              <dt>May call</dt><dd><Rules rules={one.allow} /></dd>
              <dt>Never</dt><dd>{one.deny?.length ? <Rules rules={one.deny} /> : <span className="faint">no rule</span>}</dd>
              {one.when && <><dt>Only if</dt><dd><code>{one.when}</code></dd></>}
              {one.limits && <><dt>Limits</dt><dd>{one.limits}</dd></>}
            </dl>
          </Card>
        ) : null}</Load>
        {agent.data && <Sees agent={name} />}
        {reads && has("get identities") && <Callers agent={name} />}
      </div>
      {doing === "rules" && agent.data?.settings && <Edit agent={agent.data} etag={agent.etag} onClose={() => setDoing(undefined)} />}
      {doing === "settings" && agent.data?.settings && <SettingsDialog title={`Settings of ${name}`} settings={agent.data.settings} onClose={() => setDoing(undefined)}
        onSave={(settings) => write("agents", name, settings, agent.etag)} hint="As in portcullis.yaml: match, allow, deny, when, limits." />}
      <Confirm title={`Remove ${name}?`} action="Remove" open={doing === "remove"} onClose={() => setDoing(undefined)} busy={end.busy} error={end.error} onConfirm={() => void end.run()}>
        Keys for it are refused from then on. You can go back to the version before.
      </Confirm>
    </>
  );
}

type Identity = { principal: string | null; agent: string | null; auth: string; last_seen: string; calls: number };

/** Who was an agent in the last days, as the trail has it. */
function Callers({ agent }: { agent: string }) {
  const { data } = useData<{ items: Identity[]; since: string }>("identities");
  const items = data?.items.filter((one) => one.agent === agent) ?? [];
  if (!data || items.length === 0) return null;
  return (
    <Card title="Who was it" actions={<span className="muted small">since {when(data.since)}</span>} flush>
      <Table label={`Who was ${agent}`} heads={["Who", "Known by", "Calls", "Last seen"]}>{items.map((one) => (
        <tr key={`${one.principal} ${one.auth}`}><td className="wrap">{one.principal ?? <span className="muted">nobody in particular</span>}</td><td>{one.auth.replaceAll("_", " ")}</td>
          <td className="num">{one.calls.toLocaleString()}</td><td className="num">{when(one.last_seen)}</td></tr>
      ))}</Table>
    </Card>
  );
}

/** What an agent sees of every tool that there is, and by which rule. */
function Sees({ agent }: { agent: string }) {
  const { reads } = useMe();
  const tools = useData<{ items: Tool[] }>(`tools?agent=${enc(agent)}`, { every: 5000 });
  const [show, setShow] = useQuery("show", "seen");
  const [search, setSearch] = useQuery("q");
  const [asked, setAsked] = useState<string>();
  const explain = useTask(async (tool: string) => {
    setAsked(tool);
    return (await ask<Explanation>("POST", "explain", { body: { agent, tool } })).data;
  });
  return (
    <>
      <div className="row between"><h2>What it sees</h2>
        <div className="row">{reads && <Segments label="Show" value={show} onChange={setShow} options={[{ id: "seen", name: "Seen" }, { id: "hidden", name: "Not seen" }, { id: "all", name: "All" }]} />}
          <Search label="Search tools" value={search} onChange={setSearch} /></div></div>
      <Load of={tools} what="list of tools">{({ items }) => {
        const sees = (tool: Tool) => tool.allowed !== false && !tool.withheld;
        const shown = items.filter((tool) => (show === "all" || sees(tool) === (show === "seen")) && `${tool.name} ${tool.description ?? ""}`.toLowerCase().includes(search.toLowerCase()));
        return (
          <>
            {reads && <p className="muted">{items.filter(sees).length} of {items.length} tools.</p>}
            {shown.length === 0 ? <div className="card"><Empty icon="tools" title={show === "hidden" ? "Nothing is kept from it" : "It sees no tool"}>{show === "hidden" ? "It sees everything that servers offer." : "Either no rule allows it one, or the servers are down."}</Empty></div> :
              <Table label="Tools" heads={["Tool", "Server", "Seen", ...(reads ? ["Why", <span className="sr">More</span>] : [])]}>
                {shown.map((tool) => (
                  <tr key={tool.name}><td className="wrap">{reads ? <Link to={path("tools", tool.name)}><b className="mono">{tool.name}</b></Link> : <b className="mono">{tool.name}</b>} {tool.variant && <Tag tone="accent">customised</Tag>}</td><td>{tool.server}</td>
                    <td><Status tone={sees(tool) ? (tool.depends ? "warn" : "ok") : "idle"}>{sees(tool) ? (tool.depends ? "depends" : "seen") : "not seen"}</Status></td>
                    {reads && <><td className="wrap muted">{tool.withheld ? "held back until it is approved" : tool.rule ?? tool.why}</td>
                      <td className="actions"><Button small look="plain" aria-label={`Why ${tool.name}`} onPress={() => void explain.run(tool.name)}>Why</Button></td></>}</tr>
                ))}</Table>}
          </>
        );
      }}</Load>
      <Dialog title={`${asked ?? ""} and ${agent}`} side="right" open={asked !== undefined} onClose={() => setAsked(undefined)}>
        {explain.error && <Trouble error={explain.error} />}
        {explain.result && <Explained of={explain.result} />}
      </Dialog>
    </>
  );
}

const SIDES: Record<string, string> = { deny: "Never", allow: "May call", agent: "Only if" };

/** Every rule that was looked at, in the order in which they count. */
function Explained({ of }: { of: Explanation }) {
  return (
    <>
      <Note tone={of.allowed ? "ok" : "warn"}><strong>{of.allowed ? (of.depends ? "It depends on the arguments." : "It may call this.") : "It may not call this."}</strong> {of.why}
        {of.origin && <div className="muted small">{of.rule && <code>{of.rule}</code>} {place(of.origin)}</div>}</Note>
      {of.unfit && <Note tone="warn">{of.unfit}</Note>}
      {of.considered.length > 0 && <><h3>Rules, in the order in which they count</h3>
        <ul className="card list">{of.considered.map((one, at) => (
          <li key={at}><div className="grow"><b>{SIDES[one.side] ?? one.side}</b> <code className="wrap">{one.rule}</code>{one.when && <div className="small wrap">if <code>{one.when}</code></div>}<div className="muted small">{place(one.origin)}</div></div>
            <Status tone={one.holds === null ? "warn" : one.holds ? (one.side === "deny" ? "bad" : "ok") : "idle"}>{one.holds === null ? "depends" : one.holds ? "applies" : "does not apply"}</Status></li>
        ))}</ul></>}
      {of.silent.map((one) => <Note key={one.server} tone="warn"><strong>{one.server} says nothing now.</strong> {one.reason}</Note>)}
    </>
  );
}

const lines = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);
/** Rules that are plain texts, one a line; nothing where one has a condition. */
const plain = (rules: unknown) => (Array.isArray(rules) && rules.every((rule) => typeof rule === "string") ? rules.join("\n") : typeof rules === "string" ? rules : rules === undefined || rules === null ? "" : undefined);
const HINT = "One a line: server/tool, where * stands for anything; or the name of a group.";

function Edit({ agent, etag, onClose }: { agent: Agent; etag: string | null; onClose: () => void }) {
  const settings = agent.settings ?? {};
  const [before] = useState({ allow: plain(settings["allow"]), deny: plain(settings["deny"]), etag });
  const [allow, setAllow] = useState(before.allow ?? "");
  const [deny, setDeny] = useState(before.deny ?? "");
  const save = useTask(async () => {
    const { allow: _, deny: __, ...rest } = settings;
    const side = (name: "allow" | "deny", text: string): Settings => (before[name] === undefined ? { [name]: settings[name] ?? [] } : lines(text).length > 0 ? { [name]: lines(text) } : {});
    await write("agents", agent.name, { ...rest, ...side("allow", allow), ...side("deny", deny) }, before.etag);
    onClose();
  });
  const kept = <Note>Some of these rules have conditions: change them in the settings.</Note>;
  return (
    <Dialog title={`What ${agent.name} may call`} wide open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
        {before.allow === undefined ? kept : <Field label="May call" value={allow} onChange={setAllow} lines={5} mono hint={HINT} autoFocus />}
        {before.deny === undefined ? kept : <Field label="Never" value={deny} onChange={setDeny} lines={4} mono hint="What stands here counts before what it may call." />}
        {save.error && <Trouble error={save.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={save.busy}>Put in force</Button></div>
      </form>
    </Dialog>
  );
}

function Add({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [allow, setAllow] = useState("");
  const [deny, setDeny] = useState("");
  const save = useTask(async () => {
    const some = (key: string, text: string): Settings => (lines(text).length > 0 ? { [key]: lines(text) } : {});
    await add("agents", name, { ...some("allow", allow), ...some("deny", deny) });
    navigate(path("agents", name));
  });
  return (
    <Dialog title="Add an agent" open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
        <Field label="Name" value={name} onChange={setName} required autoFocus placeholder="coder" hint="Whoever has a key for it is this agent; default is whoever is nobody else." />
        <Field label="May call" value={allow} onChange={setAllow} lines={4} mono placeholder="github/get_*" hint={HINT} />
        <Field label="Never" value={deny} onChange={setDeny} lines={3} mono />
        {save.error && <Trouble error={save.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={save.busy} isDisabled={name === ""}>Add the agent</Button></div>
      </form>
    </Dialog>
  );
}
