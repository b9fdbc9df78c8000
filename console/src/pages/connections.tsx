// Who is connected to which server, as themselves.
import { useState } from "react";
import { ask, enc } from "../api.ts";
import { changed, useData, useTask } from "../data.ts";
import { useMe } from "../me.tsx";
import { Button, Confirm, Empty, Head, Load, Status, Table, when, type Tone } from "../ui/kit.tsx";
import { toast } from "../ui/toasts.tsx";

type Connection = { principal: string; server: string | null; issuer: string; resource: string; scopes: string[]; connected: string; expires: string | null; standing: unknown };
const STANDINGS: Record<string, [Tone, string]> = {
  connected: ["ok", "Connected"], refreshing: ["ok", "Connected"], paused: ["warn", "Provider is asked later"], "needs-consent": ["bad", "Has to sign in again"],
};
const plain = (standing: unknown) => String(standing).replace(/([a-z])([A-Z])/g, "$1-$2").replaceAll("_", "-").toLowerCase();

export default function Connections() {
  const { role, writes } = useMe();
  const connections = useData<{ connections: Connection[] }>("connections", { every: 10_000 });
  const [ending, setEnding] = useState<string>();
  const end = useTask(async (principal: string) => {
    await ask("DELETE", `connections/${enc(principal)}`);
    changed("connections");
    setEnding(undefined);
    toast(`The connections of ${principal} are ended`);
  });
  return (
    <>
      <Head title="Connections">Where a server asks who its user is, people connect to it once, as themselves. Their tokens lie sealed at the gateway.</Head>
      <Load of={connections} what="connections">{({ connections: all }) => all.length === 0 ?
        <div className="card"><Empty icon="connections" title={role === "member" ? "You are connected to nothing" : "Nobody is connected"}>
          An agent that calls a tool of such a server gets a link for its user. Whoever has followed it appears here.</Empty></div> :
        <Table label="Connections" heads={["Who", "Server", "State", "Since", "May", <span className="sr">Actions</span>]}>
          {all.map((one) => {
            const [tone, said] = STANDINGS[plain(one.standing)] ?? ["idle", plain(one.standing)];
            return (
              <tr key={`${one.principal} ${one.issuer} ${one.resource}`}><td className="wrap"><b>{one.principal}</b></td>
                <td className="wrap">{one.server ?? <span className="muted">{one.resource}</span>}<div className="muted small">{one.issuer}</div></td>
                <td><Status tone={tone}>{said}</Status></td><td className="num">{when(one.connected)}</td><td className="wrap muted">{one.scopes.join(" ")}</td>
                <td className="actions">{(writes || role === "member") && <Button small look="danger" aria-label={`End the connections of ${one.principal}`} onPress={() => setEnding(one.principal)}>End</Button>}</td></tr>
            );
          })}</Table>}
      </Load>
      <Confirm title="End the connections?" action="End them" open={ending !== undefined} onClose={() => setEnding(undefined)} busy={end.busy} error={end.error}
        onConfirm={() => ending !== undefined && void end.run(ending)}>
        All connections of {ending} end, and their tokens are deleted. To use these servers again they have to sign in anew.
      </Confirm>
    </>
  );
}
