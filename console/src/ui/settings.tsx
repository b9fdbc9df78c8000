// Settings as text, for whatever has no form of its own.
import { useState } from "react";
import { useTask } from "../data.ts";
import type { Settings } from "../inventory.ts";
import { Button, Dialog, Field, Trouble } from "./kit.tsx";

/** Edits settings in a dialog; what is no JSON is told before anything is sent. */
export function SettingsDialog({ title, settings, hint, onSave, onClose }: {
  title: string; settings: Settings; hint: string; onSave: (settings: Settings) => Promise<void>; onClose: () => void;
}) {
  const [text, setText] = useState(JSON.stringify(settings, null, 2));
  const save = useTask(async () => { await onSave(JSON.parse(text) as Settings); onClose(); });
  const error = wrong(text);
  return (
    <Dialog title={title} wide open onClose={onClose}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); void save.run(); }}>
        <Field label="Settings" value={text} onChange={setText} lines={16} mono required autoFocus error={error} hint={hint} />
        {save.error && <Trouble error={save.error} />}
        <div className="foot"><Button onPress={onClose}>Cancel</Button><Button look="primary" type="submit" busy={save.busy} isDisabled={error !== undefined}>Put in force</Button></div>
      </form>
    </Dialog>
  );
}

/** What is wrong with a text that has to be an object. */
export function wrong(text: string): string | undefined {
  try {
    const said: unknown = JSON.parse(text);
    return typeof said === "object" && said !== null && !Array.isArray(said) ? undefined : "Expected an object, in braces.";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
