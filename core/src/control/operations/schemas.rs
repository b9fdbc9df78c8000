//! What the answers are made of, by name, in the notation of `notation.rs`. Parts with many have lists of their own in [`ALL`].

/// Every named schema.
pub(super) const ALL: &[&[(&str, &str)]] = &[
    EXISTING,
    GOVERNING,
    super::fleet::SCHEMAS,
    REGISTRY,
    super::inventory::SCHEMAS,
    super::trying::SCHEMAS,
    super::activity::SCHEMAS,
];

/// What was there before.
const EXISTING: &[(&str, &str)] = &[
    (
        "Fault",
        "{type: string, title: string, status: integer, code: string, detail: string, errors?: any[], version?: integer}",
    ),
    ("Version", "{version: integer, at: time, by: string, note: string, digest: string}"),
    (
        "Configuration",
        "{version: integer, at?: time, by?: string, note?: string, digest?: string, files: {*: string}, overlays: {*: string}}",
    ),
    ("Push", "{files: {*: string}, overlays?: {*: string}, note?: string|null}"),
    (
        "Written",
        "{version: integer, at: time, by: string, note: string, digest: string, changed: boolean, problems: Problem[]}",
    ),
    (
        "Problem",
        "{severity: 'error'|'warning', file: string, line: integer, column: integer, field: string, message: string, \
         hint: string|null}",
    ),
    (
        "Key",
        "{id: string, agent: string, owner: string|null, created_by: string|null, state: 'valid'|'expired'|'revoked', created: time, expires: time|null, \
         revoked: time|null, last_used: time|null, comment: string|null}",
    ),
    (
        "NewKey",
        "{id: string, agent: string, owner: string|null, created_by: string|null, state: 'valid', created: time, expires: time|null, revoked: null, last_used: null, \
         comment: string|null, key: string, agent_known: boolean}",
    ),
    (
        "Secret",
        "{name: string, version: any, created: time|null, changed: time|null, has_previous: boolean, used_by: string[]}",
    ),
    (
        "ApprovalState",
        "{server: string, state: 'moved'|'required'|'none'|'changed'|'approved', detail: string, approved: time|null, \
         changes: integer}",
    ),
    (
        "Approval",
        "{server: string, state: 'moved'|'required'|'none'|'changed'|'approved', detail: string, approved: time|null, \
         launch: string, launch_approved: boolean, reason?: string, digest: string|null, definitions: Definitions|null, \
         changes: Change[], gone?: {list: string, name: string}[]}",
    ),
    ("Definitions", "{instructions?: string, *: any}"),
    (
        "Change",
        "{list: string, name: string, change: 'new'|'changed', digest: string, differences: \
         {at: string, before: any, after: any}[]}",
    ),
    (
        "Connection",
        "{principal: string, server: string|null, issuer: string, resource: string, scopes: string[], connected: time, \
         expires: time|null, standing: any}",
    ),
    (
        "Verdict",
        "{writer: string, whole: boolean, entries?: integer, first?: integer, last?: integer, remarks?: integer[], \
         hash?: string, breach?: string}",
    ),
];

/// What governing is about.
const GOVERNING: &[(&str, &str)] = &[
    ("Role", "'admin'|'operator'|'auditor'|'member'"),
    (
        "Session",
        "{id: string, principal: string, name: string|null, role: Role, by: any, created: time, expires: time, \
         current: boolean}",
    ),
    (
        "Instance",
        "{id: string, principal: string, state: 'running'|'resting', made: time, last_request: time|null, requests: integer}",
    ),
    (
        "Me",
        "{principal: string, name?: string, role: Role, agents: string[], \
     gateway: {version: string, host: 'local'|'worker'|'function', configured_by: 'store'|'files', source?: string, \
     public_url?: string, started?: time}, sign_in: boolean}",
    ),
];

/// What the registry is about. Its answers are of the form that the MCP Registry API gives them.
const REGISTRY: &[(&str, &str)] = &[
    ("ServerJson", "{name: string, description: string, version: string, *: any}"),
    ("ListedServer", "{server: ServerJson, _meta: {*: any}}"),
    ("ListedServers", "{servers: ListedServer[], metadata: {count: integer, nextCursor?: string}}"),
    ("EntryStatus", "{status: 'active'|'deprecated'|'deleted', statusMessage?: string}"),
    (
        "ReviewedEntry",
        "{name: string, version: string, server: ServerJson, status: 'active'|'deprecated'|'deleted', \
         status_message: string|null, published: time, updated: time, by: string, source: string|null, \
         review: 'pending'|'approved'|'rejected', reviewed_by: string|null, proposed: ServerJson|null, digest: string|null, \
         approved_digest: string|null, identities: string[], resembles: string|null, settings: any, \
         evaluations?: Evaluation[]}",
    ),
];
