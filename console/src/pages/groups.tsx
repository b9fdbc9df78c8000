// The groups: names for sets of tools, which rules and clients use.
import { useState } from "react";
import { useData, useTask } from "../data.ts";
import { add, place, remove, write, type Group, type Json, type Settings } from "../inventory.ts";
import { useEdits } from "../me.tsx";
import { Button, Confirm, Dialog, Empty, Field, Head, Load, More, Table, Tag, Trouble } from "../ui/kit.tsx";

export default function Groups() {
  const edits = useEdits();
  const groups = useData<{ items: Group[] }>("groups");
  const [editing, setEditing] = useState<Group | "new">();
  const [ending, setEnding] = useState<Group>();
  const end = useTask(async (group: Group) => { await remove("groups", group.name, null); setEnding(undefined); });
  const button = edits && <Button look="primary" icon="plus" onPress={() => setEditing("new")}>Add a group</Button>;
  return (
    <>
      <Head title="Groups" actions={button}>A name for some tools, which rules of agents can use, and which a client can be given alone: <code>/mcp/groups/NAME</code>.</Head>
      <Load of={groups} what="list of groups">{({ items }) => items.length === 0 ?
        <div className="card"><Empty icon="groups" title="No groups yet" actions={button}>Put what belongs together under one name, such as all tools that only read, and allow that to agents.</Empty></div> :
        <Table label="Groups" heads={["Name", "Tools", "Stands at", <span className="sr">Actions</span>]}>
          {items.map((group) => (
            <tr key={group.name}><td><b>{group.name}</b>{group.description && <div className="muted small wrap">{group.description}</div>}</td>
              <td><span className="chain">{group.members.map((member) => <Tag key={member}><code>{member}</code></Tag>)}</span></td><td className="muted">{place(group.origin)}</td>
              <td className="actions">{edits && group.settings && <More label={`Actions for ${group.name}`} items={[
                { name: "Change", act: () => setEditing(group) }, { name: "Remove", act: () => setEnding(group), danger: true }]} />}</td></tr>
          ))}</Table>}
      </Load>
      {editing !== undefined && <Edit group={editing === "new" ? undefined : editing} etag={null} onClose={() => setEditing(undefined)} />}
      <Confirm title={`Remove ${ending?.name ?? ""}?`} action="Remove" open={ending !== undefined} onClose={() => setEnding(undefined)} busy={end.busy} error={end.error}
        onConfirm={() => ending && void end.run(ending)}>Rules that name it have to go before. You can go back to the version before.</Confirm>
    </>
  );
}

/** The members of a group, one a line. */
const listed = (settings: Settings) => Object.entries(settings).filter(([server]) => server !== "description").flatMap(([server, names]) => (Array.isArray(names) ? names : [names]).map((name) => `${server}/${String(name)}`));

function Edit({ group, etag, onClose }: { group: Group | undefined; etag: string | null; onClose: () => void }) {
  const [name, setName] = useState(group?.name ?? "");
  const [text, setText] = useState(group?.settings ? listed(group.settings).join("\n") : "");
  const save = useTask(async () => {
    const members: Record<string, Json[]> = {};
    for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
      const [server = "", ...rest] = line.split("/");
      (members[server] ??= []).push(rest.join("/") || "*");
    }
    const settings: Settings = group?.settings?.["description"] ? { description: group.settings["description"], ...members } : members;
    await (group ? write("groups", name, settings, etag) : add("groups", name, settings));
    onClose();
  });
  return (
    <Dialog title={group ? `The group ${group.name}` : "Add a group"} open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
        {!group && <Field label="Name" value={name} onChange={setName} required autoFocus placeholder="read-only" />}
        <Field label="Tools" value={text} onChange={setText} lines={6} mono required autoFocus={group !== undefined} placeholder={"github/get_*\ntime/*"} hint="One a line: server/tool, where * stands for anything." />
        {save.error && <Trouble error={save.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={save.busy} isDisabled={name === "" || text.trim() === ""}>Put in force</Button></div>
      </form>
    </Dialog>
  );
}
