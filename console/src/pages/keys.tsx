// API keys: who has one, one more, one less.
import { useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { Button, Code, Confirm, Dialog, Empty, Field, Head, Load, Note, Select, Status, Trouble } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type Key = { id: string; agent: string; owner?: string | null; state?: string; comment?: string; created?: string; expires?: string; last_used?: string; revoked?: string };
const LASTS = [["30", "30 days"], ["90", "90 days"], ["365", "A year"], ["0", "Until it is revoked"]].map(([id = "", name = ""]) => ({ id, name }));
const day = (time?: string | null) => (time === undefined || time === null ? "–" : new Date(time).toLocaleDateString());

export default function Keys() {
  const keys = useData<{ keys: Key[] }>("keys");
  const [making, setMaking] = useState(false);
  const [ending, setEnding] = useState<Key>();
  const revoke = useTask(async (key: Key) => {
    await ask("DELETE", `keys/${enc(key.id)}`);
    changed("keys");
    setEnding(undefined);
    toast(`The key ${key.id} is revoked`);
  });
  const me = useMe();
  const mayMake = me.writes || (me.role === "member" && me.agents.length > 0);
  const make = mayMake && <Button look="primary" icon="plus" onPress={() => setMaking(true)}>New key</Button>;
  return (
    <>
      <Head title="Keys" actions={make}>A key says which agent its holder is. It is shown once, and kept as a digest.</Head>
      <Load of={keys} what="keys">{(data) => data.keys.length === 0 ?
        <Empty icon="keys" title="No keys yet" actions={make}>{mayMake ? "Make one for an agent, and give it to the client that the agent runs in." :
          me.role === "member" ? "No agent is yours. An admin says in the configuration whose agents are whose." : "Nobody has made a key for an agent."}</Empty> :
        <div className="table-wrap" role="region" aria-label="Keys" tabIndex={0}><table>
          <thead><tr><th>Agent</th><th>Key</th>{me.reads && <th>Whose</th>}<th>State</th><th>Made</th><th>Expires</th><th>Last used</th><th><span className="sr">Actions</span></th></tr></thead>
          <tbody>{data.keys.map((key) => {
            const state = key.state ?? (key.revoked ? "revoked" : "valid");
            return (
              <tr key={key.id}><td><b>{key.agent}</b>{key.comment && <div className="muted small">{key.comment}</div>}</td><td><code>{key.id}</code></td>{me.reads && <td className="wrap">{key.owner ?? <span className="muted">the organisation’s</span>}</td>}
                <td><Status tone={state === "valid" ? "ok" : "idle"}>{state}</Status></td>
                <td className="num">{day(key.created)}</td><td className="num">{day(key.expires)}</td><td className="num">{day(key.last_used)}</td>
                <td className="actions">{state === "valid" && (me.writes || me.role === "member") && <Button small look="danger" aria-label={`Revoke ${key.id}`} onPress={() => setEnding(key)}>Revoke</Button>}</td></tr>
            );
          })}</tbody></table></div>}
      </Load>
      {making && <Make onClose={() => setMaking(false)} />}
      <Confirm title="Revoke this key?" action="Revoke" open={ending !== undefined} onClose={() => setEnding(undefined)} busy={revoke.busy}
        error={revoke.error} onConfirm={() => ending && void revoke.run(ending)}>
        Whoever uses it is refused from now on, and their streams end. This cannot be undone.
      </Confirm>
    </>
  );
}

function Make({ onClose }: { onClose: () => void }) {
  const { role, agents } = useMe();
  const [agent, setAgent] = useState(role === "member" ? agents[0] ?? "" : "default");
  const [comment, setComment] = useState("");
  const [lasts, setLasts] = useState("90");
  const make = useTask(async () => {
    const expires = lasts === "0" ? {} : { expires: new Date(Date.now() + Number(lasts) * 86_400_000).toISOString().replace(/\.\d+Z$/, "Z") };
    const { data } = await ask<Key & { key: string }>("POST", "keys", { body: { agent, ...(comment ? { comment } : {}), ...expires } });
    changed("keys");
    return data;
  });
  if (make.result) {
    return (
      <Dialog title="Copy the key now" open onClose={onClose} alert>
        <Note tone="warn">It is not shown again. Whoever has it is the agent {agent}.</Note>
        <Code label="The key" text={make.result.key} />
        <div className="foot"><Button look="primary" onPress={onClose}>Done</Button></div>
      </Dialog>
    );
  }
  return (
    <Dialog title="New key" open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void make.run(); }}>
        {role === "member" ? <Select label="Agent" value={agent} onChange={setAgent} options={agents.map((id) => ({ id, name: id }))} /> :
          <Field label="Agent" value={agent} onChange={setAgent} required autoFocus hint="As the configuration names it; default for nobody in particular." />}
        <Field label="Comment" value={comment} onChange={setComment} placeholder="Laptop of Ana" />
        <Select label="Expires after" value={lasts} onChange={setLasts} options={LASTS} />
        {make.error && <Trouble error={make.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={make.busy}>Make the key</Button></div>
      </form>
    </Dialog>
  );
}
