// Who is signed in to govern.
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { ROLES, useMe, type Role } from "../me.tsx";
import { Button, Empty, Head, Load, Table, Tag, Trouble, when } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type Session = { id: string; principal: string; name: string | null; role: Role; by: string; created: string; expires: string; current: boolean };
const BY: Record<string, string> = { "identity-provider": "your organisation", "admin-key": "the admin key" };

export default function Sessions() {
  const { isAdmin, principal } = useMe();
  const sessions = useData<{ items: Session[] }>("sessions", { every: 10_000 });
  const end = useTask(async (session: Session) => {
    await ask("DELETE", `sessions/${enc(session.id)}`);
    changed("sessions");
    toast(`The session of ${session.name ?? session.principal} has ended`);
  });
  return (
    <>
      <Head title="Signed in">Who governs this gateway right now. A session that is ended is over at once, wherever it was begun.</Head>
      {end.error && <Trouble error={end.error} />}
      <Load of={sessions} what="sessions">{({ items }) => items.length === 0 ? <div className="card"><Empty icon="people" title="Nobody is signed in" /></div> :
        <Table label="Sessions" heads={["Who", "Role", "Signed in by", "Since", "Ends", <span className="sr">Actions</span>]}>
          {items.map((one) => (
            <tr key={one.id}><td className="wrap"><b>{one.name ?? one.principal}</b> {one.current && <Tag tone="accent">this one</Tag>}
              {one.name && <div className="muted small">{one.principal}</div>}</td>
              <td>{ROLES[one.role] ?? one.role}</td><td>{BY[one.by.replaceAll("_", "-")] ?? one.by}</td><td className="num">{when(one.created)}</td><td className="num">{when(one.expires)}</td>
              <td className="actions">{!one.current && (isAdmin || one.principal === principal) && <Button small look="danger" busy={end.busy}
                aria-label={`End the session of ${one.name ?? one.principal}`} onPress={() => void end.run(one)}>End</Button>}</td></tr>
          ))}</Table>}
      </Load>
    </>
  );
}
