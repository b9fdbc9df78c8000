// What a client is told to reach this gateway: choose the client and what it may see, and copy.
import { useState } from "react";
import { ask } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { Link, useQuery } from "../router.tsx";
import { clients } from "../snippets.ts";
import { Button, Card, Code, Field, Head, Note, Segments, Select, Tabs, Trouble } from "../ui/kit.tsx";

/** Stands where a key does that is not made here. */
const KEY = "YOUR_KEY";

export default function Connect() {
  const me = useMe();
  const ready = useData<{ servers: Record<string, unknown> }>("/readyz");
  const [client, setClient] = useQuery("client", "claude-code");
  const [server, setServer] = useQuery("server");
  const [by, setBy] = useQuery("by", "key");
  const [key, setKey] = useState<{ key: string; agent: string }>();
  const base = (me.gateway.public_url ?? location.origin).replace(/\/$/, "");
  const url = server === "" ? `${base}/mcp` : `${base}/mcp/servers/${encodeURIComponent(server)}`;
  const servers = Object.keys(ready.data?.servers ?? {});
  const all = clients({ url, key: by === "key" ? key?.key ?? KEY : null });
  return (
    <>
      <Head title="Connect a client">Choose the program that your agent runs in, and give it what stands here.</Head>
      <div className="stack">
        <Card title="What it may reach">
          <div className="columns">
            <Select label="Servers" value={server || "all"} onChange={(id) => setServer(id === "all" ? "" : id)}
              options={[{ id: "all", name: "All that its agent may use" }, ...servers.map((id) => ({ id, name: `${id} alone` }))]} />
            <div className="field"><span className="label">It proves who it is</span>
              <div><Segments label="It proves who it is" value={by} onChange={setBy} options={[{ id: "key", name: "With a key" }, { id: "none", name: "By signing in, or not" }]} /></div></div>
          </div>
          {by === "key" && <MakeKey made={key} onMade={setKey} />}
        </Card>
        <Tabs label="Client" value={client} onChange={setClient} tabs={all.map(({ id, name, note, snippets }) => ({ id, name, content: (
          <div className="stack">
            {note && <Note>{note}</Note>}
            {snippets.map(({ title, text, kind }) => <div key={title}><p className="label">{title}</p><Code label={`${name}: ${title}`} text={text} kind={kind} /></div>)}
          </div>
        ) }))} />
        <p className="muted">It does not work? {me.reads ? <>The <Link to="/audit?decision=denied">audit trail</Link> says what was refused, and why.</> : "Whoever runs this gateway sees in the audit trail what was refused, and why."}</p>
      </div>
    </>
  );
}

/** Makes a key for what is shown, where who asks may. */
function MakeKey({ made, onMade }: { made: { key: string; agent: string } | undefined; onMade: (made: { key: string; agent: string }) => void }) {
  const { role, writes, agents } = useMe();
  const [agent, setAgent] = useState(role === "member" ? agents[0] ?? "" : "default");
  const make = useTask(async () => {
    const expires = new Date(Date.now() + 90 * 86_400_000).toISOString().replace(/\.\d+Z$/, "Z");
    const { data } = await ask<{ key: string; agent: string }>("POST", "keys", { body: { agent, expires, comment: "Connect a client" } });
    changed("keys");
    onMade(data);
  });
  if (made) return <Note tone="warn"><strong>The key below is shown only now.</strong> Whoever has it is the agent {made.agent}, for 90 days.</Note>;
  if (!writes && (role !== "member" || agents.length === 0)) return <p className="muted">Put your key where {KEY} stands.</p>;
  return (
    <form className="row end" onSubmit={(event) => { event.preventDefault(); void make.run(); }}>
      {role === "member" ? <Select label="As the agent" value={agent} onChange={setAgent} options={agents.map((id) => ({ id, name: id }))} /> :
        <Field label="As the agent" value={agent} onChange={setAgent} required />}
      <Button type="submit" busy={make.busy} isDisabled={agent === ""}>Make a key and fill it in</Button>
      <span className="muted small">or put one that you have where {KEY} stands.</span>
      {make.error && <Trouble error={make.error} />}
    </form>
  );
}
