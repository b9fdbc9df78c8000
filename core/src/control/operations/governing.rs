//! The operations of the control plane proper, which a gateway that is only governed does without.

use super::described::{Param, about, param};
use super::{Audience, Does, Listing, Operation, Reviewing, op};

/// What is done by a gateway that governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Governing {
    Describe,
    ShowMe,
    ShowSessions,
    EndSession,
    ShowInstances,
    RemoveInstance,
    /// Something is ordered of the fleet.
    Fleet(super::Order),
    ShowOverview,
    ShowServers,
    ShowServer,
    ShowAgents,
    ShowAgent,
    ShowGroups,
    ShowVariants,
    ShowGroup,
    ShowVariant,
    Writing(super::Writing),
    ShowTools,
    Explain,
    Simulate,
    CallTool,
    ShowStatistics,
    Watch,
    ShowIdentities,
    ShowHosted,
    ShowEvaluations,
    ShowEvaluation,
    KeepEvaluation,
    /// A configuration is compared with a version.
    Compare,
    /// A version is compared with another.
    CompareVersions,
    /// Entries of the registry are reviewed.
    Reviewing(Reviewing),
    /// The registry is read or written, at its own door.
    Listing(Listing),
}

pub(super) const fn govern(
    name: &'static str,
    does: Governing,
    audience: Audience,
    said: super::Description,
) -> Operation {
    op(name, Does::Govern(does), audience, said)
}

/// How a part of a list is asked for.
pub(super) const PART: &[Param] = &[
    param("limit", "integer", "how many, at most 1000"),
    param("cursor", "string", "where an earlier answer told to go on: its `next`"),
];

pub(super) const OPERATIONS: &[Operation] = &[
    govern(
        "GET /admin/v1/openapi.json",
        Governing::Describe,
        Audience::Anyone,
        about("describes this API (OpenAPI 3.1)").gives(&[(200, "{openapi: string, *: any}")]),
    ),
    govern(
        "GET /admin/v1/me",
        Governing::ShowMe,
        Audience::Anyone,
        about("says who asks, in which role, and what this gateway is").gives(&[(200, "Me")]),
    ),
    govern(
        "GET /admin/v1/sessions",
        Governing::ShowSessions,
        Audience::Own,
        about("lists who is signed in").asks(PART).gives(&[(200, "{items: Session[], next: string|null}")]),
    ),
    govern(
        "DELETE /admin/v1/sessions/{id}",
        Governing::EndSession,
        Audience::Each,
        about("ends a session").gives(&[(204, "")]),
    ),
    govern(
        "GET /admin/v1/instances",
        Governing::ShowInstances,
        Audience::Own,
        about("lists the gateways that are identities' own")
            .gives(&[(200, "{items: Instance[], next: null}")]),
    ),
    govern(
        "DELETE /admin/v1/instances/{id}",
        Governing::RemoveInstance,
        Audience::OwnWrites,
        about("ends an identity's own gateway and removes all that it held").gives(&[(204, "")]),
    ),
];
