// Who has signed in, and what they may do. The gateway decides that for each request; here it says what is worth showing.
import { createContext, useContext, type ReactNode } from "react";
import { useData } from "./data.ts";

export type Role = "admin" | "operator" | "auditor" | "member";
export type Me = {
  principal: string; name?: string; role: Role; agents: string[]; sign_in: boolean;
  gateway: { version: string; host: string; configured_by: "store" | "files"; source?: string; public_url?: string; started?: string };
};

const Who = createContext<Me | undefined>(undefined);
export const WhoIs = ({ me, children }: { me: Me; children: ReactNode }) => <Who.Provider value={me}>{children}</Who.Provider>;

/** Who has signed in, with what follows from their role. */
export function useMe() {
  const me = useContext(Who);
  if (me === undefined) throw new Error("nobody has signed in");
  return { ...me, ...rightsOf(me) };
}

/** What a role may do, as the table of operations says. */
export function rightsOf({ role, gateway }: Me) {
  const writes = role === "admin" || role === "operator";
  return { writes, reads: role !== "member", isAdmin: role === "admin", configures: writes && gateway.configured_by === "store" };
}

/** Tells which operations this gateway's API has, such as `post servers`: not every gateway has all. */
export function useApi() {
  const { data } = useData<{ paths: Record<string, Record<string, unknown>> }>("openapi.json");
  return (operation: string) => {
    const [method = "", path = ""] = operation.split(" ");
    return data?.paths[`/admin/v1/${path}`]?.[method] !== undefined;
  };
}

/** Whether who has signed in may change single entries of the configuration here. */
export function useEdits() {
  const { configures } = useMe();
  const has = useApi();
  return configures && has("post servers");
}

export const useWho = () => useData<Me>("me");
export const ROLES: Record<Role, string> = { admin: "Admin", operator: "Operator", auditor: "Auditor", member: "Member" };
