// A form made from a JSON Schema, for the arguments of a tool. What a form cannot show is a field for JSON.
import { useState } from "react";
import type { Json, Schema } from "../inventory.ts";
import { Check, Field, Select } from "./kit.tsx";

type Values = Record<string, Json>;

const typeOf = (schema: Schema) => (Array.isArray(schema.type) ? schema.type.find((type) => type !== "null") : schema.type);

/** The arguments of a tool, each with a field of its kind. */
export function SchemaForm({ schema, values, onChange }: { schema: Schema; values: Values; onChange: (values: Values) => void }) {
  const set = (name: string, value: Json | undefined) => {
    const { [name]: _, ...rest } = values;
    onChange(value === undefined ? rest : { ...rest, [name]: value });
  };
  const all = Object.entries(schema.properties ?? {});
  if (all.length === 0) return <p className="muted">It takes no arguments.</p>;
  const required = (name: string) => schema.required?.includes(name) ?? false;
  const sorted = all.toSorted(([one], [other]) => Number(required(other)) - Number(required(one)));
  return <>{sorted.map(([name, one]) => <Input key={name} name={name} schema={one} required={required(name)} value={values[name]} onChange={(value) => set(name, value)} />)}</>;
}

type InputProps = { name: string; schema: Schema; required: boolean; value: Json | undefined; onChange: (value: Json | undefined) => void };

function Input({ name, schema, required, value, onChange }: InputProps) {
  const type = typeOf(schema);
  const about = { label: name, required, hint: schema.description };
  if (schema.enum) {
    const options = schema.enum.map((one) => ({ id: JSON.stringify(one), name: String(one) }));
    const none = required ? [] : [{ id: "", name: "Not given" }];
    return <Select label={name} value={value === undefined ? "" : JSON.stringify(value)} onChange={(id) => onChange(id === "" ? undefined : JSON.parse(id) as Json)} options={[...none, ...options]} />;
  }
  if (type === "boolean") return <Check label={name} hint={schema.description} value={value === true} onChange={(is) => onChange(is || required ? is : undefined)} />;
  if (type === "string") return <Field {...about} value={typeof value === "string" ? value : ""} onChange={(text) => onChange(text === "" && !required ? undefined : text)} {...(said(schema) > 200 ? { lines: 3 } : {})} />;
  if (type === "object" && schema.properties) {
    const inner = typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
    return (
      <fieldset className="nested"><legend className="label">{name}</legend>
        <SchemaForm schema={schema} values={inner} onChange={(next) => onChange(Object.keys(next).length === 0 && !required ? undefined : next)} /></fieldset>
    );
  }
  return <Typed {...about} type={type} items={schema.items} value={value} onChange={onChange} />;
}

const said = (schema: Schema) => (schema.description?.length ?? 0) * (schema.format ? 0 : 1);

/** A number, a list of words one a line, or JSON: what is typed is kept until it is right. */
function Typed({ label, required, hint, type, items, value, onChange }: {
  label: string; required: boolean; hint: string | undefined; type: string | undefined; items: Schema | undefined; value: Json | undefined; onChange: (value: Json | undefined) => void;
}) {
  const isNumber = type === "number" || type === "integer";
  const isWords = type === "array" && items !== undefined && typeOf(items) === "string" && !items.enum;
  const [text, setText] = useState(value === undefined ? "" : isWords && Array.isArray(value) ? value.join("\n") : JSON.stringify(value));
  const [error, setError] = useState<string>();
  const take = (next: string) => {
    setText(next);
    setError(undefined);
    if (next.trim() === "") return onChange(undefined);
    if (isWords) return onChange(next.split("\n").filter(Boolean));
    try {
      const parsed = JSON.parse(next) as Json;
      const fits = !isNumber || (typeof parsed === "number" && (type === "number" || Number.isInteger(parsed)));
      if (fits) onChange(parsed);
      else setError(type === "integer" ? "Expected a whole number." : "Expected a number.");
    } catch {
      setError(isNumber ? "Expected a number." : "Expected JSON.");
    }
  };
  const how = isWords ? "One a line." : isNumber ? undefined : "As JSON.";
  return <Field label={label} required={required} value={text} onChange={take} error={error} mono={!isNumber} hint={[hint, how].filter(Boolean).join(" ")} {...(isNumber ? {} : { lines: 3 })} />;
}

/** What a form begins with: what the schema says, where it says something. */
export const beginning = (schema: Schema): Values => Object.fromEntries(Object.entries(schema.properties ?? {}).flatMap(([name, one]) => (one.default === undefined ? [] : [[name, one.default]])));
