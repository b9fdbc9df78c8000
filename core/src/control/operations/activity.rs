//! The operations that say what goes through the gateway, and who sends it.

use super::described::{Param, about, param};
use super::governing::{Governing, govern};
use super::{Audience, Operation};

const SINCE: &[Param] = &[
    param("since", "string", "from when on, a moment or a time ago; 1 hour where nothing is said"),
    param("gateway", "string", "of this gateway of the fleet, by name or id; of none where it is empty"),
];

const OF_IDENTITIES: &[Param] = &[
    param("since", "string", "from when on, a moment or a time ago; 7 days where nothing is said"),
    param("limit", "integer", "how many, at most 1000"),
    param("cursor", "string", "where an earlier answer told to go on: its `next`"),
];

pub(super) const OPERATIONS: &[Operation] = &[
    govern(
        "GET /admin/v1/statistics",
        Governing::ShowStatistics,
        Audience::Own,
        about("counts calls, per server, agent and governed gateway, in at most the newest 20000 entries of the trail, a member's in theirs; `since` is the moment from which on all are counted")
            .asks(SINCE)
            .gives(&[(200, "Statistics")]),
    ),
    govern(
        "GET /admin/v1/live",
        Governing::Watch,
        Audience::Own,
        about("tells what goes through, to a member what is theirs, as events `traffic` of `Traffic` each second while something does; ends after a minute, and goes on at `Last-Event-ID`")
            .gives(&[(200, "text/event-stream")]),
    ),
    govern(
        "GET /admin/v1/identities",
        Governing::ShowIdentities,
        Audience::Own,
        about("lists who was there, by at most the newest 20000 entries of the trail, to a member by theirs; `since` is the moment from which on all are there")
            .asks(OF_IDENTITIES)
            .gives(&[(200, "{items: SeenIdentity[], next: string|null, since: time}")]),
    ),
];

pub(super) const SCHEMAS: &[(&str, &str)] = &[
    ("Statistics", "{since: time, servers: Activity[], agents: Activity[], gateways: Activity[]}"),
    (
        "Activity",
        "{name: string, calls: integer, errors: integer, denied: integer, p50_ms: number|null, p95_ms: number|null}",
    ),
    (
        "Traffic",
        "{at: time, edges: {agent: string, server: string, calls: integer, errors: integer, denied: integer, ms_sum: number}[]}",
    ),
    (
        "SeenIdentity",
        "{principal: string|null, agent: string|null, auth: string, last_seen: time, calls: integer}",
    ),
];
