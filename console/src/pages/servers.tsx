// The servers: how each is and why, one more, and what there is to do about one.
import { useMemo, useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { add, place, remove, write, type Json, type Server, type Settings, type Tool } from "../inventory.ts";
import { useApi, useEdits, useMe } from "../me.tsx";
import { pasted, split, type Pasted } from "../pasted.ts";
import { Link, navigate, path, usePath, useQuery } from "../router.tsx";
import { Evaluated } from "../ui/evaluation.tsx";
import { SettingsDialog } from "../ui/settings.tsx";
import { Button, Card, Check, Code, Confirm, Dialog, Empty, Field, Head, Load, Note, Search, Segments, Status, Table, Tabs, Tag, Trouble, Wide, type Tone } from "../ui/kit.tsx";

const TONES: Record<string, Tone> = { up: "ok", starting: "idle", down: "bad", off: "idle" };
const KINDS: Record<string, string> = { http: "Remote", sse: "Remote, SSE", stdio: "Program", hosted: "Hosted", unknown: "Unknown" };
const APPROVALS: Record<string, [Tone, string]> = { approved: ["ok", "approved"], changed: ["warn", "changed"], required: ["warn", "to be approved"], moved: ["bad", "reached elsewhere"] };

export const StateOf = ({ server }: { server: Server }) => (
  <Status tone={server.circuit ? "warn" : TONES[server.status] ?? "idle"}>{server.circuit ? "circuit open" : server.status}</Status>
);

export default function Servers() {
  const [, name] = usePath();
  return name === undefined ? <List /> : <One key={name} name={name} />;
}

function List() {
  const edits = useEdits();
  const servers = useData<{ items: Server[] }>("servers", { every: 3000 });
  const [search, setSearch] = useQuery("q");
  const [adding, setAdding] = useQuery("add");
  const button = edits && <Button look="primary" icon="plus" onPress={() => setAdding("form")}>Add a server</Button>;
  return (
    <>
      <Head title="Servers" actions={button}>Where tools come from: services elsewhere, and programs that the gateway runs.</Head>
      <Load of={servers} what="list of servers">{({ items }) => items.length === 0 ?
        <div className="card"><Empty icon="servers" title="No servers yet" actions={button}>
          A server offers tools: GitHub, a database, a program on this machine. Give its address or its command, or paste what its documentation says.</Empty></div> :
        <div className="stack">
          {items.length > 6 && <div className="row"><Search label="Search servers" value={search} onChange={setSearch} /></div>}
          <Table label="Servers" heads={["Name", "State", <Wide>Reached by</Wide>, "Tools", "Definitions"]}>
            {items.filter(({ name }) => name.toLowerCase().includes(search.toLowerCase())).map((server) => (
              <tr key={server.name}><td><Link to={path("servers", server.name)}>{server.name}</Link></td>
                <td className="wrap"><StateOf server={server} /><div className="muted small wrap">{server.circuit?.reason ?? server.reason}</div></td>
                <td className="wrap wide-only"><Tag>{KINDS[server.kind] ?? server.kind}</Tag> <code className="muted">{server.url ?? server.command?.join(" ")}</code></td>
                <td className="num">{server.tools}</td><td><Approved server={server} /></td></tr>
            ))}</Table>
        </div>}
      </Load>
      {edits && adding !== "" && <Add tab={adding} onTab={setAdding} />}
    </>
  );
}

function Approved({ server }: { server: Server }) {
  const [tone, said] = APPROVALS[server.approval?.state ?? ""] ?? ["idle", "not pinned"];
  return <Status tone={tone}>{said}</Status>;
}

function One({ name }: { name: string }) {
  const { reads } = useMe();
  const edits = useEdits();
  const evaluates = useApi()("get evaluations");
  const server = useData<Server>(`servers/${enc(name)}`, { every: 3000 });
  const tools = useData<{ items: Tool[] }>(`tools?server=${enc(name)}`, { every: 10_000 });
  const [editing, setEditing] = useState(false);
  const [ending, setEnding] = useState(false);
  const end = useTask(async () => { await remove("servers", name, server.etag); navigate("/servers"); });
  const actions = server.data && <>
    {server.data.connect && <a className="button" href={server.data.connect} target="_blank" rel="noreferrer">Connect</a>}
    {edits && server.data.settings && <Button onPress={() => setEditing(true)}>Settings</Button>}
    {edits && <Button look="danger" onPress={() => setEnding(true)}>Remove</Button>}
  </>;
  return (
    <>
      <Head title={name} back={{ to: "/servers", name: "Servers" }} actions={actions} />
      <Load of={server} what={`server ${name}`}>{(one) => (
        <div className="stack">
          <Why server={one} />
          <Facts server={one} />
          {reads && evaluates && <Evaluated server={one.name} />}
          <Card title={`Tools (${tools.data?.items.length ?? one.tools})`} flush>
            {tools.data?.items.length === 0 ? <Empty icon="tools" title="It offers no tools">{one.status === "up" ? "Not every server has some: it may have prompts or resources." : "They appear once it is up."}</Empty> :
              <ul className="list">{tools.data?.items.map((tool) => (
                <li key={tool.name}><div className="grow"><Link to={path("tools", tool.name)}><b className="mono">{tool.variant ? tool.name : tool.upstream_name}</b></Link> {tool.variant && <Tag tone="accent">customised</Tag>} {tool.withheld && <Tag tone="warn">held back</Tag>}
                  <div className="muted wrap">{tool.description}</div></div></li>
              ))}</ul>}
          </Card>
          {reads && one.settings && <Card title="Settings" actions={<span className="muted small">{place(one.origin)}</span>}><Code label="The settings, as JSON" text={JSON.stringify(one.settings, null, 2)} /></Card>}
        </div>
      )}</Load>
      {editing && server.data?.settings && <SettingsDialog title={`Settings of ${name}`} settings={server.data.settings} onClose={() => setEditing(false)}
        onSave={(settings) => write("servers", name, settings, server.etag)} hint="As in portcullis.yaml. What is hidden stays as it is." />}
      <Confirm title={`Remove ${name}?`} action="Remove" open={ending} onClose={() => setEnding(false)} busy={end.busy} error={end.error} onConfirm={() => void end.run()}>
        Its tools vanish from every agent at once; calls that run end first. Rules that name it have to go before. You can go back to the version before.
      </Confirm>
    </>
  );
}

/** What is wrong, and what to do about it. */
function Why({ server }: { server: Server }) {
  const { writes } = useMe();
  const secret = /secret "([^"]+)", which is not set/.exec(server.reason ?? "")?.[1];
  const held = server.approval && server.approval.state !== "approved";
  return (
    <>
      {server.circuit && <Note tone="warn"><strong>It failed too often, and is left alone for {Math.ceil(server.circuit.retry_ms / 1000)} s.</strong> {server.circuit.reason}</Note>}
      {server.reason && <Note tone={server.status === "down" ? "bad" : "warn"}><strong>It is {server.status}.</strong> {server.reason}
        {secret && writes && <div><Link className="button small" to="/secrets">Set the secret</Link></div>}
        {server.connect && <div><a className="button small" href={server.connect} target="_blank" rel="noreferrer">Connect</a></div>}</Note>}
      {server.status === "starting" && <Note>It is being asked what it offers.</Note>}
      {held && <Note tone="warn"><strong>What it says is not what was approved.</strong> {server.approval?.detail}
        <div><Link className="button small" to={path("approvals", server.name)}>Look at what has changed</Link></div></Note>}
    </>
  );
}

const SIGN_INS: Record<string, string> = { none: "nothing is asked", header: "a credential of the gateway's", oauth: "the gateway, by OAuth", user: "each user, as themselves" };

function Facts({ server }: { server: Server }) {
  const { reads } = useMe();
  return (
    <Card title={<StateOf server={server} />} actions={reads && <Link className="button small" to={path("approvals", server.name)}>Definitions and approval</Link>}>
      <dl className="facts">
        <dt>Reached by</dt><dd><Tag>{KINDS[server.kind] ?? server.kind}</Tag> <code>{server.url ?? server.command?.join(" ")}</code></dd>
        <dt>Speaks</dt><dd>{server.revision ? `MCP ${server.revision}` : "not known yet"}</dd>
        <dt>Offers</dt><dd>{server.tools} tools, {server.prompts} prompts, {server.resources} resources</dd>
        <dt>Signs in</dt><dd>{SIGN_INS[server.sign_in] ?? server.sign_in}</dd>
        {reads && <><dt>Definitions</dt><dd><Approved server={server} /></dd></>}
      </dl>
    </Card>
  );
}

function Add({ tab, onTab }: { tab: string; onTab: (tab: string) => void }) {
  return (
    <Dialog title="Add a server" wide open onClose={() => onTab("")}>
      <Tabs label="How" value={tab} onChange={onTab} tabs={[
        { id: "form", name: "Form", content: <Form onClose={() => onTab("")} /> },
        { id: "paste", name: "Paste", content: <Paste onClose={() => onTab("")} /> },
      ]} />
    </Dialog>
  );
}

function Form({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [kind, setKind] = useState("url");
  const [where, setWhere] = useState("");
  const [credential, setCredential] = useState("");
  const [header, setHeader] = useState("Authorization");
  const [variable, setVariable] = useState("");
  const [account, setAccount] = useState("none");
  const place = kind === "url" ? header : variable;
  const value = place === "Authorization" ? `Bearer ${credential}` : credential;
  const given = credential !== "" && place !== "" ? { [kind === "url" ? "headers" : "env"]: { [place]: value } } : {};
  const oauth: { [key: string]: Json } = account === "everyone" ? { for: "everyone" } : {};
  const signIn: Settings = kind === "url" && account !== "none" ? { auth: { oauth } } : given;
  const settings: Settings = { ...(kind === "url" ? { url: where.trim() } : { command: split(where) }), ...signIn };
  const save = useTask(async () => { await addAll([{ name, settings }], "all"); onClose(); navigate(path("servers", name)); });
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
      <Field label="Name" value={name} onChange={setName} required autoFocus placeholder="github" hint="Its tools are called so: github__create_issue." />
      <div className="field"><span className="label">It is</span><div><Segments label="It is" value={kind} onChange={setKind} options={[{ id: "url", name: "A service elsewhere" }, { id: "command", name: "A program on the gateway's machine" }]} /></div></div>
      {kind === "url" ? <Field label="Address" value={where} onChange={setWhere} required mono placeholder="https://mcp.example.com/mcp" /> :
        <Field label="Command" value={where} onChange={setWhere} required mono placeholder="npx -y @modelcontextprotocol/server-memory" />}
      {kind === "url" && <div className="field"><span className="label">It asks for</span><div><Segments label="It asks for" value={account} onChange={setAccount}
        options={[{ id: "none", name: "A credential, or nothing" }, { id: "everyone", name: "One account for all" }, { id: "user", name: "Each user's account" }]} /></div>
        {account !== "none" && <span className="hint">{account === "everyone" ? "You connect it once it is added, with the admin key." : "Each user is led to connect when they call it first."} Its authorization server is found by itself.</span>}</div>}
      {(kind !== "url" || account === "none") && <div className="columns">
        {kind === "url" ? <Field label="Header of the credential" value={header} onChange={setHeader} /> : <Field label="Variable of the credential" value={variable} onChange={setVariable} mono placeholder="API_TOKEN" />}
        <Field label="Credential" type="password" value={credential} onChange={setCredential} autoComplete="new-password" hint="Kept as a secret of its own; the configuration only names it." />
      </div>}
      {save.error && <Trouble error={save.error} />}
      <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={save.busy} isDisabled={name === "" || where === ""}>Add the server</Button></div>
    </form>
  );
}

function Paste({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [name, setName] = useState("");
  const [hide, setHide] = useState(true);
  const found = useMemo((): { all: Pasted[]; error?: string } => {
    try {
      return { all: text.trim() === "" ? [] : pasted(text) };
    } catch (error) {
      return { all: [], error: error instanceof Error ? error.message : String(error) };
    }
  }, [text]);
  const all = found.all.length === 1 && name !== "" ? found.all.map((one) => ({ ...one, name })) : found.all;
  const credentials = all.flatMap((one) => credentialsOf(one)).length;
  const save = useTask(async () => {
    await addAll(all, hide ? "named" : "none");
    onClose();
    navigate(all.length === 1 ? path("servers", all[0]?.name ?? "") : "/servers");
  });
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
      <Field label="What its documentation says" value={text} onChange={setText} lines={9} mono required autoFocus error={found.error}
        placeholder={'{ "mcpServers": { "memory": { "command": "npx", "args": ["-y", "…"] } } }'} hint="The file of Claude, Cursor or VS Code, one entry of it, an address, or a command line." />
      {found.all.length === 1 && <Field label="Name" value={name || found.all[0]?.name || ""} onChange={setName} required />}
      {all.map((one) => <Code key={one.name} label={`Settings of ${one.name}`} text={`${one.name}: ${JSON.stringify(one.settings, null, 2)}`} />)}
      {credentials > 0 && <Check label="Keep credentials as secrets" value={hide} onChange={setHide} hint="The configuration then only names them." />}
      {save.error && <Trouble error={save.error} />}
      <div className="foot"><Button onPress={onClose}>Cancel</Button>
        <Button look="primary" type="submit" busy={save.busy} isDisabled={all.length === 0}>{all.length > 1 ? `Add ${all.length} servers` : "Add the server"}</Button></div>
    </form>
  );
}

type Credential = { map: string; key: string; secret: string; value: string; before: string };

type Hidden = "all" | "named" | "none";

/** Which of a server's values are credentials: by what they are called, or all of them. */
function credentialsOf({ name, settings }: Pasted, hide: Hidden = "named"): Credential[] {
  const is = (key: string) => hide === "all" || (hide === "named" && /token|key|secret|password|authorization|credential/i.test(key));
  return ["env", "headers"].flatMap((map) => Object.entries((settings[map] ?? {}) as Record<string, Json>).flatMap(([key, value]) => {
    if (typeof value !== "string" || value === "" || value.includes("${") || !is(key)) return [];
    const [, before = "", rest = value] = /^(Bearer |Basic |token )(.*)$/i.exec(value) ?? [];
    const word = key.toLowerCase() === "authorization" ? "token" : key.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-");
    return [{ map, key, secret: `${name.replaceAll(/[^A-Za-z0-9_.-]+/g, "-")}-${word}`, value: rest, before }];
  }));
}

/** Adds servers one after the other; what is a credential goes to the secrets first. */
async function addAll(all: Pasted[], hide: Hidden) {
  for (const one of all) {
    let { settings } = one;
    for (const { map, key, secret, value, before } of credentialsOf(one, hide)) {
      await ask("PUT", `secrets/${enc(secret)}`, { body: { value } });
      const named: Json = before === "" ? { secret } : `${before}\${secret:${secret}}`;
      settings = { ...settings, [map]: { ...(settings[map] as Settings), [key]: named } };
    }
    await add("servers", one.name, settings);
  }
  changed("secrets");
}
