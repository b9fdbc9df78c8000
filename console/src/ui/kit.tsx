// The parts that pages are made of. Behaviour is the component library's; looks are styles.css.
import { isValidElement, type ReactNode, useId, useState } from "react";
import {
  Button as AriaButton, Checkbox, Dialog as AriaDialog, FieldError, Heading, Input, Label, ListBox, ListBoxItem, Modal,
  ModalOverlay, Popover, SearchField, Select as AriaSelect, SelectValue, Tab, TabList, TabPanel, Tabs as AriaTabs, Text,
  TextArea, TextField, ToggleButton, ToggleButtonGroup, Tooltip, TooltipTrigger, Menu, MenuItem, MenuTrigger,
  type ButtonProps,
} from "react-aria-components";
import { Problem } from "../api.ts";
import type { Data } from "../data.ts";
import { Link } from "../router.tsx";
import { Icon, type IconName } from "./icons.tsx";
import { toast } from "./toasts.tsx";

type Look = "primary" | "plain" | "danger" | "danger primary";

/** A button; `busy` keeps its place and says that it works. */
export function Button({ look, small, icon, busy, children, isDisabled, ...rest }: Omit<ButtonProps, "children"> &
  { look?: Look; small?: boolean; icon?: IconName; busy?: boolean; children?: ReactNode }) {
  const name = ["button", look, small && "small", children === undefined && "icon"].filter(Boolean).join(" ");
  return (
    <AriaButton {...rest} className={name} isPending={busy ?? false} isDisabled={isDisabled ?? false}>
      {busy ? <span className="spin" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children}
    </AriaButton>
  );
}

/** A button with an icon alone, which says in a tip what it does. */
export function IconButton({ label, ...rest }: { label: string; icon: IconName; small?: boolean; look?: Look; onPress?: () => void }) {
  return (
    <TooltipTrigger delay={400}>
      <Button {...rest} look={rest.look ?? "plain"} aria-label={label} />
      <Tooltip className="tip" offset={4}>{label}</Tooltip>
    </TooltipTrigger>
  );
}

type FieldProps = {
  label: string; value: string; onChange: (value: string) => void; hint?: ReactNode; error?: string | undefined; type?: string;
  lines?: number; placeholder?: string; required?: boolean; mono?: boolean; autoFocus?: boolean; autoComplete?: string; name?: string;
};

/** One line of text, or several. */
export function Field({ label, hint, error, lines, mono, required, placeholder, type, autoComplete, ...rest }: FieldProps) {
  const look = mono ? "input mono" : "input";
  return (
    <TextField {...rest} className="field" isInvalid={error !== undefined} isRequired={required ?? false} type={type ?? "text"}
      validationBehavior="aria" autoComplete={autoComplete ?? "off"} spellCheck="false">
      <Label>{label}{required ? "" : <span className="faint"> optional</span>}</Label>
      {lines ? <TextArea className={look} rows={lines} placeholder={placeholder ?? ""} /> :
        <Input className={look} placeholder={placeholder ?? ""} />}
      {hint && <Text slot="description">{hint}</Text>}
      <FieldError className="error">{error}</FieldError>
    </TextField>
  );
}

/** A field to search in what is listed. */
export function Search({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }) {
  return (
    <SearchField className="search" aria-label={label} value={value} onChange={onChange}>
      <Icon name="search" size={15} />
      <Input className="input" placeholder={label} />
    </SearchField>
  );
}

export type Option = { id: string; name: string };

/** One of some. */
export function Select({ label, value, onChange, options, hideLabel }: {
  label: string; value: string; onChange: (value: string) => void; options: Option[]; hideLabel?: boolean;
}) {
  return (
    <AriaSelect className="field" value={value} onChange={(key) => onChange(String(key))} {...(hideLabel ? { "aria-label": label } : {})}>
      {!hideLabel && <Label>{label}</Label>}
      <AriaButton className="button select-button"><SelectValue /><Icon name="down" size={13} /></AriaButton>
      <Popover className="popover">
        <ListBox items={options} aria-label={label}>
          {(option) => <ListBoxItem id={option.id} textValue={option.name}>{option.name}</ListBoxItem>}
        </ListBox>
      </Popover>
    </AriaSelect>
  );
}

/** Yes or no. */
export function Check({ label, value, onChange, hint }: { label: string; value: boolean; onChange: (value: boolean) => void; hint?: ReactNode }) {
  return (
    <Checkbox className="check" isSelected={value} onChange={onChange}>
      <span className="box">{value && <Icon name="check" size={12} />}</span>
      <span>{label}{hint && <span className="hint"><br />{hint}</span>}</span>
    </Checkbox>
  );
}

/** One of few, all in view. */
export function Segments({ label, value, onChange, options }: { label: string; value: string; onChange: (value: string) => void; options: Option[] }) {
  return (
    <ToggleButtonGroup className="segments" aria-label={label} selectionMode="single" disallowEmptySelection selectedKeys={[value]}
      onSelectionChange={(keys) => onChange(String([...keys][0]))}>
      {options.map(({ id, name }) => <ToggleButton key={id} id={id}>{name}</ToggleButton>)}
    </ToggleButtonGroup>
  );
}

/** Parts of a page, of which one is shown. */
export function Tabs({ label, tabs, value, onChange }: {
  label: string; tabs: { id: string; name: string; content: ReactNode }[]; value: string; onChange: (value: string) => void;
}) {
  return (
    <AriaTabs className="tabs" selectedKey={value} onSelectionChange={(key) => onChange(String(key))}>
      <TabList aria-label={label}>{tabs.map(({ id, name }) => <Tab key={id} id={id}>{name}</Tab>)}</TabList>
      {tabs.map(({ id, content }) => <TabPanel key={id} id={id}>{content}</TabPanel>)}
    </AriaTabs>
  );
}

/** A dialog; `side` is one that comes from the edge. */
export function Dialog({ title, open, onClose, children, wide, side, alert }: {
  title: string; open: boolean; onClose: () => void; children: ReactNode; wide?: boolean; side?: "left" | "right"; alert?: boolean;
}) {
  const overlay = side ? `overlay drawer ${side}` : "overlay";
  return (
    <ModalOverlay className={overlay} isOpen={open} onOpenChange={(next) => !next && onClose()} isDismissable={!alert}>
      <Modal className={wide ? "dialog wide" : "dialog"}>
        <AriaDialog role={alert ? "alertdialog" : "dialog"}>
          <div className="row between">
            <Heading slot="title" level={2}>{title}</Heading>
            <Button look="plain" icon="close" aria-label="Close" onPress={onClose} />
          </div>
          {children}
        </AriaDialog>
      </Modal>
    </ModalOverlay>
  );
}

/** Asks before something that cannot be undone. */
export function Confirm({ title, children, action, open, onClose, onConfirm, busy, error }: {
  title: string; children: ReactNode; action: string; open: boolean; onClose: () => void; onConfirm: () => void; busy?: boolean; error?: Problem | undefined;
}) {
  return (
    <Dialog title={title} open={open} onClose={onClose} alert>
      <div className="muted">{children}</div>
      {error && <Trouble error={error} />}
      <div className="foot">
        <Button onPress={onClose}>Cancel</Button>
        <Button look="danger primary" busy={busy ?? false} onPress={onConfirm}>{action}</Button>
      </div>
    </Dialog>
  );
}

/** A menu behind a button. */
export function More({ label, items }: { label: string; items: { name: string; act: () => void; danger?: boolean }[] }) {
  return (
    <MenuTrigger>
      <Button small look="plain" icon="more" aria-label={label} />
      <Popover className="popover" placement="bottom end">
        <Menu aria-label={label}>
          {items.map(({ name, act, danger }) => <MenuItem key={name} id={name} onAction={act} className={danger ? "danger" : ""}>{name}</MenuItem>)}
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}

export type Tone = "ok" | "warn" | "bad" | "idle";
export const Status = ({ tone, children }: { tone: Tone; children: ReactNode }) => <span className={`status ${tone}`}>{children}</span>;
export const Tag = ({ tone, children }: { tone?: Tone | "accent"; children: ReactNode }) => <span className={`tag ${tone ?? ""}`}>{children}</span>;

/** The head of a page. */
export function Head({ title, children, actions, back }: { title: ReactNode; children?: ReactNode; actions?: ReactNode; back?: { to: string; name: string } }) {
  return (
    <header className="page-head">
      <div>
        {back && <Link to={back.to} className="back"><Icon name="left" size={12} />{back.name}</Link>}
        <h1 tabIndex={-1}>{title}</h1>
        {children && <p>{children}</p>}
      </div>
      {actions && <div className="row">{actions}</div>}
    </header>
  );
}

export function Card({ title, actions, children, flush }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean }) {
  const id = useId();
  return (
    <section className="card" {...(title ? { "aria-labelledby": id } : {})}>
      {title && <div className="card-head"><h2 id={id}>{title}</h2><div className="row tight">{actions}</div></div>}
      {flush ? children : <div className="card-body">{children}</div>}
    </section>
  );
}

/** The head of a column that a phone has no room for; its cells are `wide-only`. */
export const Wide = ({ children }: { children: ReactNode }) => children;
const isWide = (head: ReactNode) => isValidElement(head) && head.type === Wide;

/** A table, which scrolls by itself where it is wider than the page. */
export function Table({ label, heads, children }: { label: string; heads: ReactNode[]; children: ReactNode }) {
  return (
    <div className="table-wrap" role="region" aria-label={label} tabIndex={0}><table>
      <thead><tr>{heads.map((head, at) => <th key={at} className={isWide(head) ? "wide-only" : ""}>{head}</th>)}</tr></thead><tbody>{children}</tbody></table></div>
  );
}

/** A moment, as who reads it writes one. */
export const when = (time?: string | null) => (time ? new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "–");

export function Note({ tone, children }: { tone?: "bad" | "warn" | "ok"; children: ReactNode }) {
  const icon = tone === "ok" ? "check" : tone ? "alert" : "info";
  return <div className={`note ${tone ?? ""}`} role={tone === "bad" ? "alert" : undefined}><Icon name={icon} /><div>{children}</div></div>;
}

/** What a page shows where there is nothing yet: what would be here, and how it gets here. */
export function Empty({ icon, title, children, actions }: { icon: IconName; title: string; children?: ReactNode; actions?: ReactNode }) {
  return (
    <div className="empty"><Icon name={icon} size={28} /><h2>{title}</h2>{children && <p>{children}</p>}
      {actions && <div className="row">{actions}</div>}
    </div>
  );
}

/** What went wrong, and what to do about it. */
export function Trouble({ error, retry }: { error: Problem; retry?: (() => void) | undefined }) {
  return (
    <Note tone="bad">
      <strong>{WHAT[error.status] ?? "This did not work"}.</strong> {error.message}
      {error.errors.length > 0 && (
        <ul>
          {error.errors.map((one, index) => (
            <li key={index}>
              <code>{[one.file, one.line, one.column].filter((part) => part !== undefined).join(":") || one.field}</code> {one.message}
              {one.hint && <span className="muted"> {one.hint}</span>}
            </li>
          ))}
        </ul>
      )}
      {retry && <div><Button small onPress={retry} icon="refresh">Try again</Button></div>}
    </Note>
  );
}

const WHAT: Record<number, string> = {
  0: "No answer",
  403: "Your role does not allow this",
  409: "This cannot be done as things are",
  412: "Somebody has changed this meanwhile. Look at it again, and repeat your change",
  422: "The gateway refuses this, and nothing has changed",
};

/** Shows what was read, or why it is not there. */
export function Load<T>({ of, what, children }: { of: Data<T>; what: string; children: (data: T) => ReactNode }) {
  if (of.data !== undefined) {
    return <>{of.error && <Trouble error={of.error} retry={of.reload} />}{children(of.data)}</>;
  }
  if (of.error?.status === 404 || of.error?.code === "no-store") {
    return <Empty icon="info" title={`This gateway has no ${what}`}>{of.error.code === "no-store" ? of.error.message : "It was started without, or its version does not know them."}</Empty>;
  }
  if (of.error) return <Trouble error={of.error} retry={of.reload} />;
  return <div className="bones" role="status" aria-label={`Reading ${what}`}><span /><span /><span /></div>;
}

/** A text to copy. */
export function Code({ text, label, kind }: { text: string; label?: string; kind?: string }) {
  return (
    <div className="code" data-kind={kind}><pre tabIndex={0} role="region" aria-label={label ?? "Text"}>{text}</pre>
      <Copy text={text} />
    </div>
  );
}

export function Copy({ text }: { text: string }) {
  const [done, set] = useState(false);
  const copy = () => navigator.clipboard.writeText(text).then(
    () => { set(true); setTimeout(() => set(false), 1500); },
    () => toast("The browser does not let this page copy. Select the text instead."),
  );
  return <Button small icon={done ? "check" : "copy"} onPress={copy}>{done ? "Copied" : "Copy"}</Button>;
}
