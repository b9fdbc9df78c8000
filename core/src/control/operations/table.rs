//! What every gateway answers that has an admin credential: its configuration, keys, secrets, approvals, connections, trail.

use super::described::{Param, about, param};
use super::{Audience, Does, Operation, op};

/// How a page of the trail is asked for.
const ENTRIES: &[Param] = &[
    param("agent", "string", "of this agent"),
    param("server", "string", "about this server"),
    param("tool", "string", "about this tool, prompt or resource, as agents name it"),
    param("method", "string", "with this method"),
    param("decision", "'allowed'|'denied'|'failed'", "with this decision"),
    param("gateway", "string", "of this gateway of the fleet, by name or id; of none where it is empty"),
    param("since", "string", "from then on: a time, or how long ago, such as `7d`"),
    param("until", "string", "before then"),
    param("order", "'newest'|'oldest'", "in which order they come"),
    param("limit", "integer", "how many a page has at most"),
    param("cursor", "string", "where an earlier page told to go on"),
];

const VERSIONS: &[Param] = &[
    param("before", "integer", "older than this version: the `next` of the page before"),
    param("limit", "integer", "how many, at most 1000"),
];

pub(super) const OPERATIONS: &[Operation] = &[
    op(
        "GET /admin/v1/config",
        Does::ShowConfiguration,
        Audience::Readers,
        about("returns the newest version of the configuration; its `ETag` is the version, `\"0\"` where there is none")
            .gives(&[(200, "Configuration"), (304, "")]),
    ),
    op(
        "PUT /admin/v1/config",
        Does::Push,
        Audience::Writers,
        about("pushes a configuration; what is no version yet is made with `If-None-Match: *`")
            .takes("Push")
            .or_yaml()
            .needs_condition()
            .gives(&[(200, "Written"), (201, "Written")]),
    ),
    op(
        "GET /admin/v1/config/versions",
        Does::ShowVersions,
        Audience::Readers,
        about("lists the versions, the newest first")
            .asks(VERSIONS)
            .gives(&[(200, "{versions: Version[], next: integer|null}")]),
    ),
    op(
        "GET /admin/v1/config/versions/{version}",
        Does::ShowVersion,
        Audience::Readers,
        about("returns one version").gives(&[(200, "Configuration")]),
    )
    .numbered(),
    op(
        "POST /admin/v1/config/rollback",
        Does::RollBack,
        Audience::Writers,
        about("goes back to an earlier version, which becomes the next one")
            .takes("{to: integer, note?: string|null}")
            .heeds()
            .gives(&[(200, "Written"), (201, "Written")]),
    ),
    op(
        "POST /admin/v1/config/check",
        Does::Check,
        Audience::Readers,
        about("says whether a configuration would be taken")
            .takes("Push")
            .or_yaml()
            .gives(&[(200, "{valid: boolean, problems: Problem[]}")]),
    ),
    op(
        "GET /admin/v1/keys",
        Does::ShowKeys,
        Audience::Own,
        about("lists the API keys").gives(&[(200, "{keys: Key[]}")]),
    ),
    op(
        "POST /admin/v1/keys",
        Does::MakeKey,
        Audience::OwnWrites,
        about("makes a key for an agent; `key` is shown this once")
            .takes("{agent: string, expires?: time|null, comment?: string|null}")
            .gives(&[(201, "NewKey")]),
    ),
    op(
        "DELETE /admin/v1/keys/{id}",
        Does::RevokeKey,
        Audience::OwnWrites,
        about("revokes a key").gives(&[(200, "Key")]),
    ),
    op(
        "GET /admin/v1/secrets",
        Does::ShowSecrets,
        Audience::Readers,
        about("lists the secrets, never a value, and those that the configuration needs and nobody has set")
            .gives(&[(200, "{secrets: Secret[], missing: string[]}")]),
    ),
    op(
        "PUT /admin/v1/secrets/{name}",
        Does::SetSecret,
        Audience::Writers,
        about("sets a secret; with `rotate` the value before counts as well until it is refused")
            .takes("{value: string, rotate?: boolean}")
            .gives(&[(200, "Secret")]),
    )
    .taking_rest(),
    op(
        "DELETE /admin/v1/secrets/{name}",
        Does::RemoveSecret,
        Audience::Writers,
        about("removes a secret").gives(&[(200, "{name: string, used_by: string[]}")]),
    )
    .taking_rest(),
    op(
        "GET /admin/v1/approvals",
        Does::ShowApprovals,
        Audience::Readers,
        about("says of each server whether it says what it was approved to say")
            .gives(&[(200, "{approvals: ApprovalState[]}")]),
    ),
    op(
        "GET /admin/v1/approvals/{server}",
        Does::ShowApproval,
        Audience::Readers,
        about("shows what a server says, and what of it is not as it was approved").gives(&[(200, "Approval")]),
    ),
    op(
        "PUT /admin/v1/approvals/{server}",
        Does::Approve,
        Audience::Writers,
        about("approves what was shown, by its digest; with `tool` only that one")
            .takes("{digest: string, tool?: string}")
            .gives(&[(200, "Approval")]),
    ),
    op(
        "DELETE /admin/v1/approvals/{server}",
        Does::ForgetApproval,
        Audience::Writers,
        about("forgets an approval").gives(&[(200, "Approval")]),
    ),
    op(
        "GET /admin/v1/connections",
        Does::ShowConnections,
        Audience::Own,
        about("lists who is connected to what").gives(&[(200, "{connections: Connection[]}")]),
    ),
    op(
        "DELETE /admin/v1/connections/{principal}",
        Does::EndConnections,
        Audience::OwnWrites,
        about("ends all connections of a principal").gives(&[(200, "{principal: string}")]),
    )
    .taking_rest(),
    op(
        "GET /admin/v1/audit",
        Does::ReadTrail,
        Audience::Own,
        about("returns a page of the audit trail; to a member, of their own entries, without their places in it")
            .asks(ENTRIES)
            .gives(&[(200, "{entries: any[], cursor?: string, follow?: string, gateways?: string[]}")]),
    ),
    op(
        "GET /admin/v1/audit/export",
        Does::ExportTrail,
        Audience::Own,
        about("returns every entry that is asked for, the oldest first, one a line")
            .asks(ENTRIES)
            .gives(&[(200, "application/jsonl")]),
    ),
    op(
        "GET /admin/v1/audit/verify",
        Does::VerifyTrail,
        Audience::Readers,
        about("says whether the chains of the trail hold")
            .asks(&[
                param("cursor", "string", "where an earlier answer told to go on"),
                param("gateway", "string", "of this gateway of the fleet, by name or id; of none where it is empty"),
            ])
            .gives(&[(200, "{writers: Verdict[], cursor?: string}")]),
    ),
];
