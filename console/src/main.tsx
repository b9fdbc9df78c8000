// The console: who is there, the frame around every page, and which path is which page.
import { StrictMode, useEffect, useRef, useState, type ComponentType } from "react";
import { createRoot } from "react-dom/client";
import { ask, signedOut } from "./api.ts";
import { forget, useData, useTask } from "./data.ts";
import { rightsOf, ROLES, useWho, WhoIs, type Me } from "./me.tsx";
import { Link, usePath } from "./router.tsx";
import { Button, Dialog, Field, IconButton, Note, Select, Trouble } from "./ui/kit.tsx";
import { Icon, type IconName } from "./ui/icons.tsx";
import { Toasts } from "./ui/toasts.tsx";
import "./styles.css";

type Module = { default: ComponentType };
type Page = { at: string; name: string; icon: IconName; part: Part; readers?: boolean; own?: string };
/** A page's module, which is fetched once. React's `lazy` shows its fallback for 300 ms at least, and the page asks for nothing before. */
type Part = { show?: ComponentType; load: () => Promise<void> };
function page(load: () => Promise<Module>): { part: Part } {
  const part: Part = { load: async () => { part.show ??= (await load()).default; } };
  return { part };
}
/** The pages, in the order of the menu. `readers` are for who may read all; `own` is what others call one of which they see what is theirs. */
const PAGES: { name: string; pages: Page[] }[] = [
  { name: "Traffic", pages: [
    { at: "", name: "Overview", icon: "overview", ...page(() => import("./pages/overview.tsx")) },
    { at: "audit", name: "Audit", own: "Your activity", icon: "audit", ...page(() => import("./pages/audit.tsx")) },
  ] },
  { name: "What there is", pages: [
    { at: "servers", name: "Servers", icon: "servers", readers: true, ...page(() => import("./pages/servers.tsx")) },
    { at: "tools", name: "Tools", icon: "tools", ...page(() => import("./pages/tools.tsx")) },
    { at: "registry", name: "Registry", icon: "registry", readers: true, ...page(() => import("./pages/registry.tsx")) },
    { at: "approvals", name: "Approvals", icon: "check", readers: true, ...page(() => import("./pages/approvals.tsx")) },
    { at: "secrets", name: "Secrets", icon: "secrets", readers: true, ...page(() => import("./pages/secrets.tsx")) },
  ] },
  { name: "Who may what", pages: [
    { at: "agents", name: "Agents", icon: "agents", ...page(() => import("./pages/agents.tsx")) },
    { at: "groups", name: "Groups", icon: "groups", readers: true, ...page(() => import("./pages/groups.tsx")) },
    { at: "keys", name: "Keys", icon: "keys", ...page(() => import("./pages/keys.tsx")) },
    { at: "connections", name: "Connections", icon: "connections", ...page(() => import("./pages/connections.tsx")) },
    { at: "connect", name: "Connect a client", icon: "connect", ...page(() => import("./pages/connect.tsx")) },
  ] },
  { name: "Gateway", pages: [
    { at: "configuration", name: "Configuration", icon: "config", readers: true, ...page(() => import("./pages/configuration.tsx")) },
    { at: "fleet", name: "Fleet", icon: "fleet", readers: true, ...page(() => import("./pages/fleet.tsx")) },
    { at: "sessions", name: "Signed in", icon: "people", ...page(() => import("./pages/sessions.tsx")) },
  ] },
];
// The page that is opened first is fetched while the gateway is asked who is there.
void PAGES.flatMap(({ pages }) => pages).find(({ at }) => at === location.pathname.split("/")[2])?.part.load().catch(() => undefined);
const pagesFor = (me: Me) => PAGES
  .map(({ name, pages }) => ({ name, pages: pages.filter(({ readers }) => !readers || rightsOf(me).reads).map((one) => ({ ...one, name: rightsOf(me).reads ? one.name : one.own ?? one.name })) }))
  .filter(({ pages }) => pages.length > 0);

const theme = () => localStorage.getItem("theme") ?? "auto";
function wear(choice: string) {
  localStorage.setItem("theme", choice);
  if (choice === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = choice;
}
wear(theme());

function SignIn({ onDone }: { onDone: () => void }) {
  const [key, set] = useState("");
  const ways = useData<{ provider: boolean; admin_key: boolean }>("/console/sign-in");
  const enter = useTask(async () => {
    await ask("POST", "/console/sign-in", { body: { key } });
    forget();
    onDone();
  });
  const to = encodeURIComponent(location.pathname + location.search);
  const { provider = false, admin_key = ways.error !== undefined } = ways.data ?? {};
  return (
    <main className="welcome">
      <div className="card">
        <div><h1>Portcullis</h1><p className="muted">Sign in to see and govern this gateway.</p></div>
        {provider && <a className="button primary" href={`/console/sign-in?to=${to}`}>Sign in with your organisation</a>}
        {provider && admin_key && <div className="or">or</div>}
        {admin_key && <form className="stack" onSubmit={(event) => { event.preventDefault(); void enter.run(); }}>
          <Field label="Admin key" type="password" name="key" value={key} onChange={set} required autoComplete="current-password"
            hint="What the gateway was started with as PORTCULLIS_ADMIN_KEY." />
          {enter.error && (enter.error.status === 401 || enter.error.status === 403 ?
            <Note tone="bad">This is not the admin key of this gateway.</Note> : <Trouble error={enter.error} />)}
          <Button type="submit" {...(provider ? {} : { look: "primary" as const })} busy={enter.busy} isDisabled={key === ""}>Sign in with the key</Button>
        </form>}
      </div>
    </main>
  );
}

function Nav({ me, here, onGo }: { me: Me; here: string; onGo?: () => void }) {
  return (
    <nav className="nav" aria-label="Pages">
      {pagesFor(me).map(({ name, pages }) => (
        <div key={name}><h2>{name}</h2>
          <ul>{pages.map((page) => (
            <li key={page.at}><Link to={`/${page.at}`} current={here === page.at} {...(onGo ? { onGo } : {})}><Icon name={page.icon} />{page.name}</Link></li>
          ))}</ul>
        </div>
      ))}
    </nav>
  );
}

function Foot({ me, onLeave }: { me: Me; onLeave: () => void }) {
  const [choice, set] = useState(theme());
  const leave = useTask(async () => {
    await ask("POST", "/console/sign-out");
    forget();
    onLeave();
  });
  return (
    <div className="stack tight">
      <div className="who"><Icon name="people" /><div className="grow"><b>{me.name ?? me.principal}</b><small>{ROLES[me.role]}</small></div></div>
      <Select label="Theme" hideLabel value={choice} onChange={(next) => { set(next); wear(next); }}
        options={[{ id: "auto", name: "As the system" }, { id: "light", name: "Light" }, { id: "dark", name: "Dark" }]} />
      <Button look="plain" icon="out" busy={leave.busy} onPress={() => void leave.run()}>Sign out</Button>
      {leave.error && <Trouble error={leave.error} />}
    </div>
  );
}

/** Where the gateway is, for whoever has several of them open. */
const placeOf = ({ gateway }: Me) => (gateway.public_url ?? location.host).replace(/^https?:\/\//, "");

function Fetched({ part }: { part: Part }) {
  const fetched = useTask(part.load);
  const { show: Show } = part;
  const run = useRef(fetched.run);
  // It may have come since this was drawn: then this has to be drawn once more all the same.
  const isThere = Show !== undefined;
  useEffect(() => { if (!isThere) void run.current(); }, [part, isThere]);
  if (Show) return <Show />;
  return fetched.error ? <Trouble error={fetched.error} retry={() => void fetched.run()} /> : <div className="bones"><span /><span /></div>;
}

function App() {
  const [here = ""] = usePath();
  const [out, setOut] = useState(false);
  const [menu, setMenu] = useState(false);
  const who = useWho();
  useEffect(() => {
    const leave = () => setOut(true);
    signedOut.add(leave);
    return () => void signedOut.delete(leave);
  }, []);
  const me = who.data;
  // What pages offer depends on it, and should not move while somebody presses. What is shown first goes first.
  const [isSettled, setSettled] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(true), 500);
    return () => clearTimeout(timer);
  }, []);
  useData(isSettled && me && !out ? "openapi.json" : null);
  const page = me && pagesFor(me).flatMap(({ pages }) => pages).find(({ at }) => at === here);
  useEffect(() => { document.title = `${out ? "Sign in" : me ? page?.name ?? "Not found" : "…"} · Portcullis`; }, [page, out, me]);
  if (out) return <SignIn onDone={() => { setOut(false); void who.reload(); }} />;
  if (me === undefined) return who.error ? <main className="welcome"><Trouble error={who.error} retry={who.reload} /></main> : null;
  const leave = () => setOut(true);
  const brand = <Link to="/" className="brand"><img src={ICON} width={24} height={24} alt="" /><span>Portcullis<small>{placeOf(me)}</small></span></Link>;
  return (
    <WhoIs me={me}><div className="frame">
      <a className="skip" href="#main">Skip to the page</a>
      <aside className="side">{brand}<Nav me={me} here={here} /><Foot me={me} onLeave={leave} /></aside>
      <header className="top"><IconButton label="Pages" icon="menu" onPress={() => setMenu(true)} />{brand}</header>
      <Dialog title="Pages" side="left" open={menu} onClose={() => setMenu(false)}>
        <Nav me={me} here={here} onGo={() => setMenu(false)} /><Foot me={me} onLeave={leave} />
      </Dialog>
      <main className="page" id="main" tabIndex={-1}>
        {page ? <Fetched key={page.at} part={page.part} /> : <><h1>There is no such page for you</h1><p><Link to="/">Back to the overview</Link></p></>}
      </main>
      <Toasts />
    </div></WhoIs>
  );
}

import ICON from "./icon.svg";
const root = document.getElementById("root");
if (root) createRoot(root).render(<StrictMode><App /></StrictMode>);
