//! The section `console` of the native file, as it is written: what its JSON Schema says of it.
#![expect(dead_code, reason = "describes the file in the schema; its reader fills a draft")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::file::{DurationText, SecretReference};
use super::file_policy::{TextsText, refuse_nulls};

/// Who governs the gateway, and how they sign in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Console")]
pub(super) struct ConsoleText {
    /// How people sign in: `true` as `auth.sign_in` says, or as a client of the console's own.
    sign_in: Option<ConsoleSignInText>,
    /// What makes somebody what. Who holds several roles has the first of `admin`, `operator`, `auditor` and `member`.
    roles: Option<RolesText>,
    /// Whether who signs in and has no role is let in as a member, who sees what is theirs.
    #[schemars(extend("default" = false))]
    members: Option<bool>,
    /// How long somebody stays signed in: from 1m to 168h.
    #[schemars(extend("default" = "8h"))]
    session: Option<DurationText>,
    /// How the identity provider says who is there, who is in which group, and who has left (SCIM 2.0, at `/scim/v2/`).
    scim: Option<ScimText>,
}

/// How the identity provider writes to the directory.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Scim")]
pub(super) struct ScimText {
    /// The secret that it presents as a bearer token.
    token: SecretReference,
    /// Whose users they are: the provider, by its name in `auth.issuers`. Where nothing is said, the one at which people sign
    /// in at the console.
    issuer: Option<String>,
    /// Which attribute of a user is the subject (`sub`) of their tokens.
    subject: Option<SubjectText>,
}

/// An attribute of a user in the directory.
#[derive(JsonSchema)]
#[schemars(rename = "ScimSubject", extend("default" = "externalId"))]
pub(super) enum SubjectText {
    #[schemars(rename = "externalId")]
    ExternalId,
    #[schemars(rename = "userName")]
    UserName,
}

/// How people sign in at the console.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "ConsoleSignIn")]
pub(super) enum ConsoleSignInText {
    Shared(#[schemars(extend("const" = true))] bool),
    Own(ConsoleClientText),
}

/// What the console is at an identity provider.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "ConsoleClient")]
pub(super) struct ConsoleClientText {
    /// The provider, by its name in `auth.issuers`.
    issuer: String,
    /// What the gateway is called there. Its redirect URI is `PUBLIC_URL/console/signed-in`.
    client_id: String,
    /// The secret with which it proves that; none for a client without one.
    client_secret: Option<SecretReference>,
    /// What it asks of the provider.
    #[schemars(extend("default" = ["openid"]))]
    scopes: Option<TextsText>,
}

/// What makes somebody what.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Roles")]
pub(super) struct RolesText {
    /// Who may do everything.
    admin: Option<Vec<HolderText>>,
    /// Who keeps the gateway going: servers, agents, secrets, approvals, the configuration.
    operator: Option<Vec<HolderText>>,
    /// Who reads everything, the audit trail too, and changes nothing.
    auditor: Option<Vec<HolderText>>,
    /// Who sees what is theirs.
    member: Option<Vec<HolderText>>,
}

/// What makes somebody hold a role: a claim of their token, or a group of the directory.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "RoleHolder", extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct HolderText {
    /// A claim and its value, such as `{ groups: platform }`; a claim with several values has each.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    claim: Option<BTreeMap<String, String>>,
    /// A group that the identity provider provisions, by its display name.
    group: Option<String>,
}
