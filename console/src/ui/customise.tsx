// What agents see of a tool, changed: its name, its text, its arguments; and what comes out, as it is typed.
import { useState } from "react";
import { useData, useTask } from "../data.ts";
import { add, remove, write, type Json, type Schema, type Settings, type Tool, type Variant } from "../inventory.ts";
import { navigate, path } from "../router.tsx";
import { SettingsDialog } from "./settings.tsx";
import { Button, Card, Check, Code, Field, Note, Segments, Select, Trouble } from "./kit.tsx";

type Way = "keep" | "append" | "rewrite";
type Argument = { how: "keep" | "fix" | "default"; value: string; describe: string };
const WAYS = [{ id: "keep", name: "As it is" }, { id: "append", name: "Add to it" }, { id: "rewrite", name: "Rewrite" }];
const HOWS = [{ id: "keep", name: "The agent says it" }, { id: "fix", name: "Always this, and hidden" }, { id: "default", name: "This, unless the agent says another" }];

/** Reads a value as the schema wants it: JSON, or a text where that is none. */
function valueOf(text: string, schema: Schema | undefined): Json {
  if (schema?.type === "string") return text;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

const NONE: Argument = { how: "keep", value: "", describe: "" };

export function Customise({ tool, taken }: { tool: Tool; taken: string[] }) {
  const all = Object.entries(tool.input_schema.properties ?? {});
  const [name, setName] = useState("");
  const [replace, setReplace] = useState(false);
  const [way, setWay] = useState<Way>("keep");
  const [text, setText] = useState("");
  const [changes, setChanges] = useState<Record<string, Argument>>({});
  const change = (of: string) => changes[of] ?? NONE;
  const set = (of: string, next: Partial<Argument>) => setChanges({ ...changes, [of]: { ...change(of), ...next } });
  const exposed = tool.name.endsWith(tool.upstream_name) ? tool.name.slice(0, -tool.upstream_name.length) + name : name;
  const isTaken = name !== "" && taken.includes(exposed);
  const settings = settingsOf(tool, { replace, way, text, change, all });
  const save = useTask(async () => {
    await add("variants", `${tool.server}/${name}`, settings);
    navigate(path("tools", exposed));
  });
  if (tool.variant) return <Existing tool={tool} />;
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
      <Field label="Its name" value={name} onChange={setName} required mono placeholder={`my_${tool.upstream_name}`} error={isTaken ? "There is a tool of this name." : undefined} hint={name === "" ? "Letters, digits, _ and -." : `Agents see ${exposed}.`} />
      <Check label={`Instead of ${tool.upstream_name}`} value={replace} onChange={setReplace} hint="Agents then see this one, and not the tool that it is made from." />
      <div className="field"><span className="label">Description</span><div><Segments label="Description" value={way} onChange={(id) => setWay(id as Way)} options={WAYS} /></div></div>
      {way !== "keep" && <Field label={way === "append" ? "What is added" : "What it says"} value={text} onChange={setText} lines={3} required />}
      {all.map(([of, schema]) => (
        <fieldset className="nested" key={of}><legend className="label mono">{of}</legend>
          {schema.description && <p className="hint">{schema.description}</p>}
          <Select label={`Who says ${of}`} hideLabel value={change(of).how} onChange={(how) => set(of, { how: how as Argument["how"] })} options={HOWS} />
          {change(of).how !== "keep" && <Field label={`Value of ${of}`} value={change(of).value} onChange={(value) => set(of, { value })} required />}
          {change(of).how !== "fix" && <Field label={`New description of ${of}`} value={change(of).describe} onChange={(describe) => set(of, { describe })} />}
        </fieldset>
      ))}
      <Card title="What agents will see" flush><Code label="The definition that they will see" text={JSON.stringify(preview(tool, exposed, settings), null, 2)} /></Card>
      {save.error && <Trouble error={save.error} />}
      <div className="form-foot"><Button look="primary" type="submit" busy={save.busy} isDisabled={name === "" || isTaken}>Put in force</Button></div>
    </form>
  );
}

/** A tool that is customised already: as it is written, and the way back. */
function Existing({ tool }: { tool: Tool }) {
  const variants = useData<{ items: Variant[] }>("variants");
  const [editing, setEditing] = useState(false);
  const one = variants.data?.items.find(({ name, from, settings }) => {
    const [server, ...rest] = name.split("/");
    return settings && server === tool.server && from === tool.upstream_name && tool.name.endsWith(rest.join("/"));
  });
  const end = useTask(async () => {
    if (one) await remove("variants", one.name, null);
    navigate("/tools");
  });
  if (!one?.settings) return <Note>This is a customised tool: change it in the configuration, or customise the tool that it is made from, <code>{tool.upstream_name}</code>.</Note>;
  return (
    <div className="stack">
      <Note>Made from <code>{tool.upstream_name}</code> of {tool.server}.</Note>
      <Code label="How it is customised" text={JSON.stringify(one.settings, null, 2)} />
      {end.error && <Trouble error={end.error} />}
      <div className="form-foot"><Button look="danger" busy={end.busy} onPress={() => void end.run()}>Remove it</Button><Button onPress={() => setEditing(true)}>Change it</Button></div>
      {editing && <SettingsDialog title={`How ${one.name} is customised`} settings={one.settings} hint="As in portcullis.yaml: from, title, description, arguments, result." onClose={() => setEditing(false)}
        onSave={(settings) => write("variants", one.name, settings, null)} />}
    </div>
  );
}

type Chosen = { replace: boolean; way: Way; text: string; change: (of: string) => Argument; all: [string, Schema][] };

/** The variant as the configuration says it. */
function settingsOf(tool: Tool, { replace, way, text, change, all }: Chosen): Settings {
  const args = all.flatMap(([of, schema]): [string, Settings][] => {
    const { how, value, describe } = change(of);
    const said: Settings = { ...(how === "keep" ? {} : { [how]: valueOf(value, schema) }), ...(describe && how !== "fix" ? { describe: { rewrite: describe } } : {}) };
    return Object.keys(said).length > 0 ? [[of, said]] : [];
  });
  return {
    from: tool.upstream_name,
    ...(replace ? { replace } : {}),
    ...(way === "keep" || text === "" ? {} : { description: { [way]: text } }),
    ...(args.length > 0 ? { arguments: Object.fromEntries(args) } : {}),
  };
}

/** What comes of a tool: the same that the gateway makes of it. */
function preview(tool: Tool, name: string, settings: Settings) {
  const wording = (before: string | undefined, said: Json | undefined) => {
    const { append, rewrite } = (said ?? {}) as { append?: string; rewrite?: string };
    if (rewrite !== undefined) return rewrite;
    if (append === undefined) return before;
    return before ? `${before.replace(/\.?\s*$/, "")}. ${append}` : append;
  };
  const args = (settings["arguments"] ?? {}) as Record<string, Settings>;
  const properties = Object.entries(tool.input_schema.properties ?? {}).flatMap(([of, schema]) => {
    const said = args[of] ?? {};
    if ("fix" in said) return [];
    return [[of, { ...schema, ...("default" in said ? { default: said["default"] } : {}), ...("describe" in said ? { description: wording(schema.description, said["describe"]) } : {}) }]];
  });
  const gone = (of: string) => "fix" in (args[of] ?? {}) || "default" in (args[of] ?? {});
  const required = (tool.input_schema.required ?? []).filter((of) => !gone(of));
  const { required: _, ...rest } = tool.input_schema;
  return { name: name || "…", description: wording(tool.description, settings["description"]), inputSchema: { ...rest, properties: Object.fromEntries(properties), ...(required.length > 0 ? { required } : {}) } };
}
