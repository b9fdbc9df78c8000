// The tools: found, tried, customised, and who may call them.
import { useMemo, useState } from "react";
import { ask } from "../api.ts";
import { useData, useTask } from "../data.ts";
import type { Agent, Json, Tool } from "../inventory.ts";
import { useApi, useEdits, useMe } from "../me.tsx";
import { Link, path, usePath, useQuery } from "../router.tsx";
import { beginning, SchemaForm } from "../ui/form.tsx";
import { Customise } from "../ui/customise.tsx";
import { Button, Card, Code, Empty, Head, Load, Note, Search, Select, Status, Tabs, Tag, Trouble } from "../ui/kit.tsx";

export default function Tools() {
  const me = useMe();
  const [, name] = usePath();
  const [search, setSearch] = useQuery("q");
  const [server, setServer] = useQuery("server");
  const [member, setMember] = useQuery("agent", me.agents[0] ?? "");
  const tools = useData<{ items: Tool[] }>(me.reads ? "tools" : member === "" ? null : `tools?agent=${encodeURIComponent(member)}`, { every: 10_000 });
  const servers = [...new Set(tools.data?.items.map((tool) => tool.server))];
  if (!me.reads && member === "") return <><Head title="Tools" /><div className="card"><Empty icon="tools" title="No agent is yours">An admin says in the configuration whose agents are whose.</Empty></div></>;
  const words = search.toLowerCase().split(/\s+/);
  const fits = (tool: Tool) => (server === "" || tool.server === server) && words.every((word) => `${tool.name} ${tool.title ?? ""} ${tool.description ?? ""}`.toLowerCase().includes(word));
  return (
    <>
      <Head title="Tools">{me.reads ? "Everything that the servers offer, under the names that agents know." : "What your agents may call."}</Head>
      <Load of={tools} what="list of tools">{({ items }) => {
        const tool = items.find((one) => one.name === name);
        const found = items.filter(fits);
        return items.length === 0 ? <div className="card"><Empty icon="tools" title="No tools yet" actions={<Link className="button" to="/servers">Servers</Link>}>They appear once a server is up that offers some.</Empty></div> : (
          <div className="split">
            <div className="stack tight sticky">
              <div className="row">
                <div className="grow"><Search label="Search tools" value={search} onChange={setSearch} /></div>
                {!me.reads && me.agents.length > 1 && <Select label="Agent" hideLabel value={member} onChange={setMember} options={me.agents.map((id) => ({ id, name: id }))} />}
                {servers.length > 1 && <Select label="Server" hideLabel value={server || "all"} onChange={(id) => setServer(id === "all" ? "" : id)} options={[{ id: "all", name: "All servers" }, ...servers.map((id) => ({ id, name: id }))]} />}
              </div>
              <p className="muted small" role="status">{found.length} of {items.length} tools</p>
              <nav className="card choices" aria-label="Tools">{found.map((one) => (
                <Link key={one.name} to={path("tools", one.name) + location.search} current={one.name === name}><span className="mono">{one.name}</span> {one.variant && <Tag tone="accent">customised</Tag>}{one.withheld && <Tag tone="warn">held back</Tag>}
                  <small>{one.description}</small></Link>
              ))}</nav>
            </div>
            {tool ? <One key={tool.name} tool={tool} all={items} /> : <div className="card"><Empty icon="tools" title={name === undefined ? "Choose a tool" : `There is no tool ${name}`}>To see what it takes, to try it, or to change what agents see of it.</Empty></div>}
          </div>
        );
      }}</Load>
    </>
  );
}

function One({ tool, all }: { tool: Tool; all: Tool[] }) {
  const { reads, writes } = useMe();
  const [edits, has] = [useEdits(), useApi()];
  const tries = writes && has("post tools/call");
  const [chosen, setTab] = useQuery("tab");
  const tab = (chosen === "try" && !tries) || (chosen === "customise" && !edits) || chosen === "" ? (tries ? "try" : "definition") : chosen;
  const hints = Object.entries(tool.annotations ?? {}).filter(([, value]) => value === true).map(([hint]) => hint.replace(/Hint$/, "").replaceAll(/([A-Z])/g, " $1").toLowerCase());
  const definition = { name: tool.name, title: tool.title, description: tool.description, inputSchema: tool.input_schema, annotations: tool.annotations };
  return (
    <div className="stack">
      <Card title={<span className="mono wrap">{tool.name}</span>} actions={<>{hints.map((hint) => <Tag key={hint}>{hint}</Tag>)}</>}>
        <p className="wrap pre">{tool.description ?? "It has no description."}</p>
        <p className="muted small"><code>{tool.upstream_name}</code> of {reads ? <Link to={path("servers", tool.server)}>{tool.server}</Link> : tool.server}</p>
      </Card>
      {tool.withheld && <Note tone="warn"><strong>It is held back.</strong> What it says is not what was approved. <Link to={path("approvals", tool.server)}>Look at what has changed</Link></Note>}
      <Tabs label="Tool" value={tab} onChange={setTab} tabs={[
        ...(tries ? [{ id: "try", name: "Try", content: <Try tool={tool} /> }] : []),
        ...(edits ? [{ id: "customise", name: "Customise", content: <Customise tool={tool} taken={all.map((one) => one.name)} /> }] : []),
        { id: "definition", name: "Definition", content: <Code label="The definition" text={JSON.stringify(definition, null, 2)} /> },
        ...(reads ? [{ id: "who", name: "Who may", content: <Who tool={tool} /> }] : []),
      ]} />
    </div>
  );
}

type Content = { type: string; text?: string; data?: string; mimeType?: string };
type Result = { result?: { content?: Content[]; structuredContent?: Json; isError?: boolean }; error?: { message: string; code?: number } };

function Try({ tool }: { tool: Tool }) {
  const agents = useData<{ items: Agent[] }>("agents");
  const [values, setValues] = useState<Record<string, Json>>(() => beginning(tool.input_schema));
  const [agent, setAgent] = useState("default");
  const names = agents.data?.items.map(({ name }) => name) ?? [];
  const call = useTask(async () => {
    const started = performance.now();
    const { data } = await ask<Result>("POST", "tools/call", { body: { agent, name: tool.name, arguments: values } });
    return { ...data, took: Math.round(performance.now() - started) };
  });
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); void call.run(); }}>
      {names.length > 0 && <Select label="As the agent" value={agent} onChange={setAgent} options={[...new Set(["default", ...names])].map((id) => ({ id, name: id }))} />}
      <SchemaForm schema={tool.input_schema} values={values} onChange={setValues} />
      <div className="row between"><span className="muted small">It is called for real, and recorded.</span><Button look="primary" type="submit" icon="play" busy={call.busy}>Call</Button></div>
      {call.error && <Trouble error={call.error} />}
      {call.result && <Shown result={call.result} took={call.result.took} />}
    </form>
  );
}

function Shown({ result: { result, error }, took }: { result: Result; took: number }) {
  if (error) return <Note tone="bad"><strong>It was refused or failed.</strong> {error.message}</Note>;
  return (
    <section className="stack tight" aria-label="The answer">
      <div className="row between"><Status tone={result?.isError ? "bad" : "ok"}>{result?.isError ? "The tool says that it failed" : "Answered"}</Status><span className="muted small num">{took} ms</span></div>
      {result?.content?.map((one, at) => one.type === "image" && one.data ? <img key={at} className="answer" alt={`Part ${at + 1} of the answer`} src={`data:${one.mimeType ?? "image/png"};base64,${one.data}`} /> :
        <Code key={at} label={`Part ${at + 1} of the answer`} text={one.text ?? JSON.stringify(one, null, 2)} />)}
      {result?.structuredContent !== undefined && <Code label="As data" text={JSON.stringify(result.structuredContent, null, 2)} />}
    </section>
  );
}

type Decision = { agent: string; allowed: boolean; depends: boolean; why: string; rule: string | null };

/** What the policy says to each agent. */
function Who({ tool }: { tool: Tool }) {
  const agents = useData<{ items: Agent[] }>("agents");
  const names = useMemo(() => agents.data?.items.map(({ name }) => name) ?? [], [agents.data]);
  return (
    <Load of={agents} what="list of agents">{() => names.length === 0 ? <Note>The configuration names no agents: everybody may call it.</Note> :
      <ul className="card list">{names.map((name) => <Decided key={name} agent={name} tool={tool.name} />)}</ul>}</Load>
  );
}

function Decided({ agent, tool }: { agent: string; tool: string }) {
  const tools = useData<{ items: Tool[] }>(`tools?agent=${encodeURIComponent(agent)}`);
  const one = tools.data?.items.find(({ name }) => name === tool);
  const said: Decision | undefined = one && { agent, allowed: one.allowed ?? false, depends: one.depends ?? false, why: one.why ?? "", rule: one.rule ?? null };
  return (
    <li><Link className="grow" to={path("agents", agent)}>{agent}</Link><span className="muted small wrap">{said?.rule ?? said?.why}</span>
      {said && <Status tone={said.allowed ? (said.depends ? "warn" : "ok") : "idle"}>{said.allowed ? (said.depends ? "depends on the arguments" : "may") : "may not"}</Status>}</li>
  );
}
