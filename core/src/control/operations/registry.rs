//! The operations of the registry: its own API, which clients read (`/v0.1/`), and what the admin API says of it.

use super::described::{Param, about, param};
use super::{Audience, Does, Governing, Operation, op};

/// What is done by the registry's own API, behind a door of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    ListServers,
    ListVersions,
    ShowServerVersion,
    DeleteServerVersion,
    ChangeServerStatus,
    ChangeAllServerStatuses,
    PublishServer,
}

/// What those who govern have done with entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reviewing {
    ShowEntries,
    ImportEntries,
    ApproveEntry,
    RejectEntry,
}

const fn listing(name: &'static str, does: Listing, said: super::Description) -> Operation {
    op(name, Does::Govern(Governing::Listing(does)), Audience::Outside, said)
}

const fn reviewing(
    name: &'static str,
    does: Reviewing,
    audience: Audience,
    said: super::Description,
) -> Operation {
    op(name, Does::Govern(Governing::Reviewing(does)), audience, said)
}

const DELETED: Param = param("include_deleted", "boolean", "whether what was deleted is shown as well");

/// How the list of servers is asked for.
const SERVERS: &[Param] = &[
    param("cursor", "string", "where an earlier answer told to go on: its `nextCursor`"),
    param("limit", "integer", "how many, at most 100"),
    param("search", "string", "with this in the name"),
    param("updated_since", "time", "changed since then; what was deleted is shown as well"),
    param("version", "string", "in this version, or `latest`"),
    DELETED,
];

pub(super) const OPERATIONS: &[Operation] = &[
    reviewing(
        "GET /admin/v1/registry",
        Reviewing::ShowEntries,
        Audience::Readers,
        about("lists the entries of the registry, with what waits for a review")
            .asks(&[
                param("limit", "integer", "how many, at most 1000"),
                param("cursor", "string", "where an earlier answer told to go on: its `next`"),
                param("review", "'pending'|'approved'|'rejected'", "with this review"),
            ])
            .gives(&[(200, "{items: ReviewedEntry[], next: string|null}")]),
    ),
    reviewing(
        "POST /admin/v1/registry/imports",
        Reviewing::ImportEntries,
        Audience::Writers,
        about("reads another registry, or what has changed there since; what is new waits for a review")
            .takes("{url: string, search?: string}")
            .gives(&[
                (200, "{pending: integer, unchanged: integer, refused: integer, complete: boolean}"),
                (502, "Fault"),
            ]),
    ),
    reviewing(
        "POST /admin/v1/registry/{name}/{version}/approve",
        Reviewing::ApproveEntry,
        Audience::Writers,
        about("approves what was shown, by its digest; with `add` a server of that name becomes part of the configuration")
            .takes("{digest: string, add?: string}")
            .gives(&[(200, "ReviewedEntry")]),
    ),
    reviewing(
        "POST /admin/v1/registry/{name}/{version}/reject",
        Reviewing::RejectEntry,
        Audience::Writers,
        about("rejects what waits, or takes an approval back").gives(&[(200, "ReviewedEntry")]),
    ),
    listing(
        "GET /v0.1/servers",
        Listing::ListServers,
        about("lists the servers of the registry that the caller may reach")
            .asks(SERVERS)
            .gives(&[(200, "ListedServers")]),
    ),
    listing(
        "GET /v0.1/servers/{name}/versions",
        Listing::ListVersions,
        about("lists the versions of a server").asks(&[DELETED]).gives(&[(200, "ListedServers")]),
    ),
    listing(
        "GET /v0.1/servers/{name}/versions/{version}",
        Listing::ShowServerVersion,
        about("shows one version of a server, or the `latest`")
            .asks(&[DELETED])
            .gives(&[(200, "ListedServer")]),
    ),
    listing(
        "DELETE /v0.1/servers/{name}/versions/{version}",
        Listing::DeleteServerVersion,
        about("deletes a version of a server: it stays, and is shown to who asks for what was deleted")
            .gives(&[(200, "ListedServer")]),
    ),
    listing(
        "PATCH /v0.1/servers/{name}/versions/{version}/status",
        Listing::ChangeServerStatus,
        about("says whether a version of a server is to be used")
            .takes("EntryStatus")
            .gives(&[(200, "ListedServer")]),
    ),
    listing(
        "PATCH /v0.1/servers/{name}/status",
        Listing::ChangeAllServerStatuses,
        about("says whether a server is to be used, of all its versions")
            .takes("EntryStatus")
            .gives(&[(200, "{updatedCount: integer, servers: ListedServer[]}")]),
    ),
    listing(
        "POST /v0.1/publish",
        Listing::PublishServer,
        about("publishes a `server.json`; it waits for a review, unless who governs publishes it")
            .takes("ServerJson")
            .gives(&[(200, "ListedServer")]),
    ),
];
