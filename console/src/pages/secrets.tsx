// The secrets that servers need: names and versions. A value goes in and never comes out.
import { useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { Button, Check, Confirm, Dialog, Empty, Field, Head, Load, More, Note, Status, Table, Tag, Trouble, when } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type Secret = { name: string; version: number | string | null; created: string | null; changed: string | null; has_previous: boolean; used_by: string[] };
type Setting = { name: string; isNew: boolean; rotate: boolean };

export default function Secrets() {
  const { writes } = useMe();
  const secrets = useData<{ secrets: Secret[]; missing: string[] }>("secrets");
  const [setting, setSetting] = useState<Setting>();
  const [ending, setEnding] = useState<Secret>();
  const remove = useTask(async ({ name }: Secret) => {
    await ask("DELETE", `secrets/${enc(name)}`);
    changed("secrets", "/readyz", "servers");
    setEnding(undefined);
    toast(`The secret ${name} is removed`);
  });
  const add = writes && <Button look="primary" icon="plus" onPress={() => setSetting({ name: "", isNew: true, rotate: false })}>New secret</Button>;
  return (
    <>
      <Head title="Secrets" actions={add}>What servers are reached with, by name. A value is kept sealed, and nobody can read it back.</Head>
      <Load of={secrets} what="store for secrets">{({ secrets: all, missing }) => (
        <div className="stack">
          {missing.map((name) => (
            <Note key={name} tone="warn"><strong>{name} is needed and not set.</strong> The servers that need it are down until it is.
              {writes && <div><Button small onPress={() => setSetting({ name, isNew: false, rotate: false })}>Set {name}</Button></div>}</Note>
          ))}
          {all.length === 0 ? <div className="card"><Empty icon="secrets" title="No secrets yet" actions={add}>
            Instead of a credential, a server's configuration names one: <code>{"{ secret: tickets-key }"}</code>. Its value is set here, or with portcullis secrets set.</Empty></div> :
            <Table label="Secrets" heads={["Name", "Version", "Needed by", "Changed", <span className="sr">Actions</span>]}>
              {all.map((secret) => (
                <tr key={secret.name}><td><b className="mono">{secret.name}</b></td>
                  <td className="num">{secret.version ?? "–"} {secret.has_previous && <Tag>the one before counts too</Tag>}</td>
                  <td>{secret.used_by.length === 0 ? <Status tone="idle">nothing</Status> : secret.used_by.join(", ")}</td><td className="num">{when(secret.changed)}</td>
                  <td className="actions">{writes && <More label={`Actions for ${secret.name}`} items={[
                    { name: "Rotate", act: () => setSetting({ name: secret.name, isNew: false, rotate: true }) },
                    { name: "Set anew", act: () => setSetting({ name: secret.name, isNew: false, rotate: false }) },
                    { name: "Remove", act: () => setEnding(secret), danger: true }]} />}</td></tr>
              ))}</Table>}
        </div>
      )}</Load>
      {setting && <Set {...setting} onClose={() => setSetting(undefined)} />}
      <Confirm title={`Remove ${ending?.name ?? ""}?`} action="Remove" open={ending !== undefined} onClose={() => setEnding(undefined)}
        busy={remove.busy} error={remove.error} onConfirm={() => ending && void remove.run(ending)}>
        {ending?.used_by.length ? `${ending.used_by.join(", ")} will be down until it is set again. ` : "Nothing needs it. "}The value cannot be brought back.
      </Confirm>
    </>
  );
}

function Set({ name: given, isNew, rotate: asked, onClose }: Setting & { onClose: () => void }) {
  const [name, setName] = useState(given);
  const [value, setValue] = useState("");
  const [rotate, setRotate] = useState(asked);
  const set = useTask(async () => {
    const { data } = await ask<Secret>("PUT", `secrets/${enc(name)}`, { body: { value, rotate } });
    changed("secrets", "/readyz", "servers");
    onClose();
    toast(`${data.name} is ${rotate ? "rotated" : "set"}, version ${data.version ?? "unknown"}`);
  });
  return (
    <Dialog title={isNew ? "New secret" : rotate ? `Rotate ${given}` : `Set ${given}`} open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void set.run(); }}>
        {isNew && <Field label="Name" value={name} onChange={setName} required autoFocus mono placeholder="tickets-key" hint="Letters, digits, _ - . and /. The configuration names it so." />}
        <Field label="Value" type="password" value={value} onChange={setValue} required autoFocus={!isNew} autoComplete="new-password" />
        {!isNew && <Check label="Keep the value before" value={rotate} onChange={setRotate} hint="Where a server refuses the new one, the one before is sent, until it is refused." />}
        {set.error && <Trouble error={set.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button>
          <Button look="primary" type="submit" busy={set.busy} isDisabled={name === "" || value === ""}>{rotate ? "Rotate" : "Set"}</Button></div>
      </form>
    </Dialog>
  );
}
