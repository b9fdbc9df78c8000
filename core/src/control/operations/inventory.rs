//! The operations that say what there is and how it is: servers, groups, variants, agents, tools.

use super::Audience::{Own, Readers, Writers};
use super::Operation;
use crate::config::Section;

/// What is written of one entry of the configuration, by the section that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    Add(Section),
    Set(Section),
    Remove(Section),
}

const fn add(name: &'static str, section: Section) -> Operation {
    let does = about("adds it to the configuration, as its next version, provided that this has no error")
        .takes("{name: string, settings: {*: any}, note?: string|null}")
        .heeds()
        .gives(&[(201, "Written")]);
    govern(name, Governing::Writing(Writing::Add(section)), Writers, does)
}

const fn set(name: &'static str, section: Section) -> Operation {
    let does = about("changes it in the configuration, whose other entries and comments stay; what is shown as `[redacted]` stays")
        .takes("{settings: {*: any}, note?: string|null}")
        .needs_condition()
        .gives(&[(200, "Written")]);
    govern(name, Governing::Writing(Writing::Set(section)), Writers, does)
}

const fn remove(name: &'static str, section: Section) -> Operation {
    let does = about("removes it from the configuration, provided that nothing else needs it")
        .needs_condition()
        .gives(&[(200, "Written")]);
    govern(name, Governing::Writing(Writing::Remove(section)), Writers, does)
}
use super::described::{Param, about, param};
use super::governing::{Governing, PART, govern};

const OF_TOOLS: &[Param] = &[
    param("agent", "string", "as this agent sees them: which it may call, and why"),
    param("server", "string", "those of this server"),
    param("limit", "integer", "how many, at most 1000"),
    param("cursor", "string", "where an earlier answer told to go on: its `next`"),
];

pub(super) const OPERATIONS: &[Operation] = &[
    govern(
        "GET /admin/v1/overview",
        Governing::ShowOverview,
        Own,
        about("says how it is with servers, the configuration and the trail").gives(&[(200, "Overview")]),
    ),
    govern(
        "GET /admin/v1/servers",
        Governing::ShowServers,
        Own,
        about("lists the servers; to a member, those that their agents reach, and not how they are arranged")
            .asks(PART)
            .gives(&[(200, "{items: Server[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/servers/{name}",
        Governing::ShowServer,
        Own,
        about("describes a server; the `ETag` is the configuration's").gives(&[(200, "Server")]),
    ),
    govern(
        "GET /admin/v1/agents",
        Governing::ShowAgents,
        Own,
        about("lists the agents; to a member, theirs, without rules")
            .asks(PART)
            .gives(&[(200, "{items: Agent[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/agents/{name}",
        Governing::ShowAgent,
        Own,
        about("describes an agent; the `ETag` is the configuration's").gives(&[(200, "Agent")]),
    ),
    govern(
        "GET /admin/v1/groups",
        Governing::ShowGroups,
        Readers,
        about("lists the groups").asks(PART).gives(&[(200, "{items: Group[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/variants",
        Governing::ShowVariants,
        Readers,
        about("lists the variants, each as `SERVER/NAME`")
            .asks(PART)
            .gives(&[(200, "{items: Variant[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/groups/{name}",
        Governing::ShowGroup,
        Readers,
        about("describes a group; the `ETag` is the configuration's").gives(&[(200, "Group")]),
    ),
    govern(
        "GET /admin/v1/variants/{name}",
        Governing::ShowVariant,
        Readers,
        about("describes a variant; the `ETag` is the configuration's").gives(&[(200, "Variant")]),
    )
    .taking_rest(),
    add("POST /admin/v1/servers", Section::Servers),
    set("PUT /admin/v1/servers/{name}", Section::Servers),
    remove("DELETE /admin/v1/servers/{name}", Section::Servers),
    add("POST /admin/v1/groups", Section::Groups),
    set("PUT /admin/v1/groups/{name}", Section::Groups),
    remove("DELETE /admin/v1/groups/{name}", Section::Groups),
    add("POST /admin/v1/variants", Section::Variants),
    set("PUT /admin/v1/variants/{name}", Section::Variants).taking_rest(),
    remove("DELETE /admin/v1/variants/{name}", Section::Variants).taking_rest(),
    add("POST /admin/v1/agents", Section::Agents),
    set("PUT /admin/v1/agents/{name}", Section::Agents),
    remove("DELETE /admin/v1/agents/{name}", Section::Agents),
    govern(
        "GET /admin/v1/tools",
        Governing::ShowTools,
        Own,
        about("lists the tools that servers offer; to a member, those that their agent may call")
            .asks(OF_TOOLS)
            .gives(&[(200, "{items: Tool[], next: string|null}")]),
    ),
    govern(
        "POST /admin/v1/explain",
        Governing::Explain,
        Own,
        about("says whether somebody may call something, and which rule decides")
            .takes(
                "{agent?: string|null, client?: string|null, tag?: string|null, tool: string, \
                 kind?: 'tool'|'prompt'|'resource', arguments?: {*: any}|null}",
            )
            .gives(&[(200, "Explanation")]),
    ),
];

pub(super) const SCHEMAS: &[(&str, &str)] = &[
    ("Origin", "{file: string, line: integer, field: string}"),
    ("Circuit", "{reason: string, open_ms: integer, retry_ms: integer}"),
    (
        "Overview",
        "{servers: {name: string, status: 'up'|'starting'|'down', reason?: string, tools: integer, circuit?: Circuit}[], \
         agents: string[], totals: {calls: integer, errors: integer, denied: integer, since: time|null}|null, \
         configuration: {version: integer|null, refused?: {version: integer, reason: string}}|null, \
         audit: {recorded: integer, waiting: integer, lost: integer, trouble: string|null}|null}",
    ),
    (
        "Server",
        "{name: string, kind: 'http'|'sse'|'stdio'|'hosted'|'unknown', status: 'up'|'starting'|'down'|'off', \
         reason?: string, revision?: string, tools: integer, prompts: integer, resources: integer, circuit?: Circuit, \
         sign_in: 'none'|'header'|'oauth'|'user', connect?: string, url?: string, command?: any[], \
         approval?: ApprovalState|null, origin?: Origin|null, settings?: any}",
    ),
    ("PolicyRule", "{rule: string, when?: string, origin: Origin|null}"),
    (
        "Agent",
        "{name: string, default: boolean, servers: string[], match?: any[], allow?: PolicyRule[], deny?: PolicyRule[], \
         when?: string, limits?: string, origin?: Origin|null, settings?: any}",
    ),
    (
        "Group",
        "{name: string, description: string|null, members: string[], origin: Origin|null, settings: any}",
    ),
    (
        "Variant",
        "{name: string, kind: 'tool'|'prompt'|'resource'|null, from: string|null, replaces: boolean, \
         origin: Origin|null, settings: any}",
    ),
    (
        "Tool",
        "{name: string, server: string, upstream_name: string, variant: boolean, withheld: boolean, title?: string, \
         description?: string, input_schema: any, annotations?: any, allowed?: boolean, depends?: boolean, \
         rule?: string, why?: string}",
    ),
    (
        "Explanation",
        "{agent: string, name: string, allowed: boolean, depends: boolean, found: boolean, rule: string|null, \
         origin: Origin|null, why: string, server?: string, upstream_name?: string, variant_of?: string, unfit?: string, \
         limits?: {what: string, limits: string, origin: Origin|null}[], considered: \
         {side: 'deny'|'allow'|'agent', rule: string, when: string|null, holds: boolean|null, origin: Origin|null}[], \
         near: {name: string, seen: boolean}[], silent: {server: string, reason: string}[]}",
    ),
];
