//! The native file as it is written: the types that its JSON Schema is generated from and that the reader fills.
//!
//! Descriptions of fields stand here once, and appear in the schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::approving::{Approving, ApprovingSchema};
use super::elicitation::{Elicitation, ElicitationSchema};
#[cfg(feature = "control")]
use super::file_console::ConsoleText;
use super::file_policy::{AgentText, AuditText, AuthText, GroupText, ToolLimitsText, refuse_null};
use super::file_variants::VariantText;
use super::hosting::HostEntry;
use super::hosting_schema::HostSchema;
use super::item::At;
use super::listing::ListingText;
use super::model::{Naming, Sharing};
use super::native_sign_on::OAuthEntry;
use super::quantity::{DURATION_PATTERN, SIZE_PATTERN};

/// The longest time that one request may take.
pub(super) const TIMEOUT_LIMIT: Duration = Duration::from_hours(1);
/// How long a request may take where nothing is said.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time that lists are kept.
pub(super) const CACHE_LIMIT: Duration = Duration::from_hours(24);
/// How long lists are kept where nothing is said.
pub(super) const DEFAULT_CACHE: Duration = Duration::from_mins(1);
/// The least and the greatest limit of names.
pub(super) const NAME_LIMITS: (u64, u64) = (16, 128);
/// The least and the greatest number of items on a page.
pub(super) const PAGE_SIZES: (u64, u64) = (1, 10_000);
/// The least and the greatest limit of requests, in bytes.
pub(super) const REQUEST_LIMITS: (u64, u64) = (1 << 10, 256 << 20);

/// The least and the greatest limit of a request's head, in bytes.
pub(super) const HEAD_LIMITS: (u64, u64) = (8 << 10, 1 << 20);
/// The least and the greatest limit of the number of a request's headers.
pub(super) const HEADER_COUNTS: (u64, u64) = (16, 10_000);
/// The least and the greatest limit of a message that is held whole, in bytes.
pub(super) const MESSAGE_LIMITS: (u64, u64) = (64 << 10, 1 << 30);
/// The least and the greatest number of things that go on at a time.
pub(super) const COUNTS: (u64, u64) = (1, 1_000_000);
/// The shortest and the longest time after which an identity's instance is put away.
pub(super) const INSTANCE_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// The least and the most memory of an identity's instance, in bytes.
pub(super) const INSTANCE_MEMORY: (u64, u64) = (64 << 20, 1 << 40);

/// The configuration of a Portcullis gateway.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Portcullis configuration", rename = "Configuration")]
#[expect(dead_code, reason = "describes the whole file in the schema; its reader fills a draft")]
struct File {
    /// The version of this format.
    #[schemars(range(min = 1, max = 1))]
    version: u8,
    /// Settings of the gateway itself.
    gateway: Option<GatewayEntry>,
    /// The MCP servers behind the gateway, by name. A name has 1 to 64 characters, each a letter, a digit, `_`, `-`,
    /// `.`, or a space in between. Two names may not be equal once case is ignored and other characters than
    /// `[A-Za-z0-9_-]` are `_`.
    servers: Option<BTreeMap<String, ServerEntry>>,
    /// Reusable sets of what servers offer, by name. A name has 1 to 64 characters, each a letter, a digit, `_`, `-`,
    /// `.`, or a space in between; case makes no difference.
    #[schemars(transform = refuse_null_section)]
    groups: Option<BTreeMap<String, GroupText>>,
    /// Tools and prompts under other names, with other descriptions and arguments, by server and by their own name.
    #[schemars(transform = refuse_null_section)]
    variants: Option<BTreeMap<String, BTreeMap<String, VariantText>>>,
    /// Who may do what, by the agent's name; `default` is every caller that no other agent matches, and may do nothing
    /// where it is not written. Names are made as those of groups are. Without this section everybody may do
    /// everything.
    #[schemars(transform = refuse_null_section)]
    agents: Option<BTreeMap<String, AgentText>>,
    /// Who is let in.
    #[schemars(transform = refuse_null_section)]
    auth: Option<AuthText>,
    /// How much may be done with single tools, by `SERVER/NAME` with `*` and `?` as wildcards; all callers count
    /// together.
    #[schemars(transform = refuse_null_section)]
    limits: Option<BTreeMap<String, ToolLimitsText>>,
    /// What is recorded.
    #[schemars(transform = refuse_null_section)]
    audit: Option<AuditText>,
    /// The registry of servers, at `/v0.1`.
    #[schemars(transform = refuse_null_section)]
    registry: Option<ListingText>,
    /// Who governs the gateway, and how they sign in at its console.
    #[cfg(feature = "control")]
    #[schemars(transform = refuse_null_section)]
    console: Option<ConsoleText>,
}

fn refuse_null_section(section: &mut Schema) {
    if let Some(section) = section.as_object_mut() {
        refuse_null(section);
    }
}

/// Settings of the gateway itself.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Gateway")]
pub(super) struct GatewayEntry {
    /// The URL that agents know the gateway by, where it is not the address it listens on.
    #[schemars(extend("format" = "uri"))]
    pub(super) public_url: Option<At<String>>,
    /// How upstream names become exposed names: `prefix` makes `<server>__<name>`; `none` leaves them as they are, and
    /// hides every item whose name another one has.
    #[schemars(with = "Option<NamingText>", extend("default" = "prefix"))]
    pub(super) naming: Option<At<Naming>>,
    /// Whether the session-based revisions of MCP (2025-11-25 and earlier) are served to agents.
    #[schemars(extend("default" = true))]
    pub(super) legacy: Option<At<bool>>,
    /// The longest exposed name, in characters. Longer ones are cut and end in a stable hash.
    #[schemars(range(min = NAME_LIMITS.0, max = NAME_LIMITS.1), extend("default" = 64))]
    pub(super) name_limit: Option<At<u64>>,
    /// How many items one page of a list holds.
    #[schemars(range(min = PAGE_SIZES.0, max = PAGE_SIZES.1), extend("default" = 1000))]
    pub(super) page_size: Option<At<u64>>,
    /// The largest request body that is read: bytes, or a text such as `8MiB`; from 1KiB to 256MiB.
    #[schemars(with = "Option<SizeText>", extend("default" = "8MiB"))]
    pub(super) request_limit: Option<At<u64>>,
    /// How much may go on at a time. What is beyond is refused with 503, and may be tried again.
    pub(super) limits: Option<LimitsEntry>,
    /// Origins besides the gateway's own that browsers may call from, such as `https://app.example.com`.
    pub(super) allowed_origins: Option<Vec<At<String>>>,
    /// Text that replaces the merged instructions of the servers.
    pub(super) instructions: Option<At<String>>,
    /// How it is with approvals of servers that say nothing else themselves.
    #[schemars(with = "Option<ApprovingSchema>")]
    pub(super) approval: Option<Approving>,
    /// What callers share: `shared` is one gateway for all; `per-identity` gives each identity one of its own, made when it first
    /// comes. It needs a host that can make them; back to `shared` takes a restart.
    #[schemars(with = "Option<SharingText>", extend("default" = "shared"))]
    pub(super) isolation: Option<At<Sharing>>,
    /// The gateways of identities, where each has its own.
    pub(super) instances: Option<InstancesEntry>,
}

/// The gateways of identities, where each has its own: when they end, and what they may use.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Instances")]
pub(super) struct InstancesEntry {
    /// After which time without a request one is put away; the next request brings it back.
    #[schemars(with = "Option<DurationText>", extend("default" = "10m"))]
    pub(super) idle: Option<At<Duration>>,
    /// The most that run at a time.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 64))]
    pub(super) most: Option<At<u64>>,
    /// The most requests that one answers at a time. As many more wait for their turn; what is beyond is refused with 503.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 64))]
    pub(super) requests: Option<At<u64>>,
    /// The memory that one may use with all that it starts: bytes, or a text such as `1GiB`.
    #[schemars(with = "Option<SizeText>", extend("default" = "1GiB"))]
    pub(super) memory: Option<At<u64>>,
    /// The most processes and threads that one may have with all that it starts.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 512))]
    pub(super) pids: Option<At<u64>>,
}

/// How much may go on at a time.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Limits")]
pub(super) struct LimitsEntry {
    /// The most connections of agents.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 4096))]
    pub(super) connections: Option<At<u64>>,
    /// The largest head of a request: bytes, or a text such as `64KiB`; from 8KiB to 1MiB.
    #[schemars(with = "Option<SizeText>", extend("default" = "64KiB"))]
    pub(super) headers: Option<At<u64>>,
    /// The most headers of a request.
    #[schemars(range(min = HEADER_COUNTS.0, max = HEADER_COUNTS.1), extend("default" = 100))]
    pub(super) header_count: Option<At<u64>>,
    /// The most requests that are being answered.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 2048))]
    pub(super) requests: Option<At<u64>>,
    /// The most requests that run at one server. As many more wait for their turn, up to 5 seconds.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 256))]
    pub(super) server_requests: Option<At<u64>>,
    /// The most streams on which agents listen.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 2048))]
    pub(super) streams: Option<At<u64>>,
    /// The most of these streams that belong to one session. A further one ends the oldest.
    #[schemars(range(min = COUNTS.0, max = COUNTS.1), extend("default" = 4))]
    pub(super) session_streams: Option<At<u64>>,
    /// The largest message of a server that is held whole (an event, a page of a list, a line of a subprocess): bytes,
    /// or a text such as `64MiB`; from 64KiB to 1GiB.
    #[schemars(with = "Option<SizeText>", extend("default" = "64MiB"))]
    pub(super) message: Option<At<u64>>,
}

/// One MCP server: `command`, or an image or package in `host`, or `url`, and what belongs to it. In `command`, `args`, `env`, `cwd`, `url` and
/// `headers`, `${NAME}` is replaced by an environment variable of the gateway and `${NAME:-text}` has a text for when
/// it is not set; `$$` is one dollar sign. In `env` and `headers`, `${secret:NAME}` is the value of a secret that was given
/// to the gateway with `portcullis secrets set NAME`.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Server")]
#[schemars(extend("oneOf" = [{ "anyOf": [{ "required": ["command"] }, { "required": ["host"] }] }, { "required": ["url"] }]))]
pub(super) struct ServerEntry {
    /// The program of a subprocess that speaks MCP on its standard streams, alone or with its arguments. No shell is
    /// involved.
    pub(super) command: Option<CommandEntry>,
    /// The program's arguments, where `command` is the program alone, or it is a package's.
    pub(super) args: Option<Vec<At<String>>>,
    /// Environment variables of the subprocess. It gets none of the gateway's own besides a safe base.
    #[schemars(with = "Option<BTreeMap<String, ValueText>>")]
    pub(super) env: Option<Vec<(At<String>, At<String>)>>,
    /// Environment variables in `env` that are refused otherwise, because they can make the subprocess run other code.
    pub(super) allow_env: Option<Vec<At<String>>>,
    /// The folder that the subprocess runs in. A relative one begins at the folder of this file and stays within it.
    pub(super) cwd: Option<At<String>>,
    /// The URL of an HTTP endpoint.
    pub(super) url: Option<At<String>>,
    /// What is spoken at `url`: `http`, which tries Streamable HTTP first, or `sse`, which tries HTTP+SSE (2024-11-05)
    /// first. Each finds the other.
    #[schemars(with = "Option<HttpKindText>", extend("default" = "http"))]
    pub(super) transport: Option<At<HttpKind>>,
    /// Headers sent with every request to `url`.
    #[schemars(with = "Option<BTreeMap<String, ValueText>>")]
    pub(super) headers: Option<Vec<(At<String>, At<String>)>>,
    /// The credential sent with every request to `url`.
    #[schemars(with = "Option<AuthSchema>")]
    pub(super) auth: Option<At<AuthEntry>>,
    /// How long one request may take before it counts as failed: from 1ms to 1h.
    #[schemars(with = "Option<DurationText>", extend("default" = "60s"))]
    pub(super) timeout: Option<At<Duration>>,
    /// How long the server's lists are kept where it does not say itself: from 0s to 24h.
    #[schemars(with = "Option<DurationText>", extend("default" = "60s"))]
    pub(super) cache: Option<At<Duration>>,
    /// Whether the server is served at all.
    #[schemars(extend("default" = true))]
    pub(super) enabled: Option<At<bool>>,
    /// What it may ask the users of agents.
    #[schemars(with = "Option<ElicitationSchema>")]
    pub(super) elicitation: Option<Elicitation>,
    /// How a server that the gateway starts is kept apart.
    #[schemars(with = "Option<HostSchema>")]
    pub(super) host: Option<At<HostEntry>>,
    /// What becomes of what it says otherwise than it was approved to.
    #[schemars(with = "Option<ApprovingSchema>")]
    pub(super) approval: Option<Approving>,
}

/// A server's credential.
#[derive(Debug, Clone)]
pub(super) enum AuthEntry {
    /// The header that carries it.
    Header((At<String>, At<String>)),
    /// An access token, which somebody signs in for.
    OAuth(Box<OAuthEntry>),
}

impl AuthEntry {
    /// Returns the header that carries it, where one does.
    pub(super) fn header(&self) -> Option<&(At<String>, At<String>)> {
        if let Self::Header(header) = self { Some(header) } else { None }
    }

    /// Returns the texts in which a secret may stand.
    pub(super) fn texts(&self) -> impl Iterator<Item = &At<String>> {
        let (header, oauth) = match self {
            Self::Header((_, value)) => (Some(value), None),
            Self::OAuth(oauth) => (None, Some(oauth)),
        };
        header.into_iter().chain(oauth.into_iter().flat_map(|oauth| oauth.secret_texts()))
    }
}

/// A program, or a program and its arguments.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged, rename = "Command")]
pub(super) enum CommandEntry {
    /// The program alone.
    Program(At<String>),
    /// The program and its arguments.
    Line(#[schemars(length(min = 1))] Vec<At<String>>),
}

/// What is spoken at a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpKind {
    /// Streamable HTTP first.
    Http,
    /// HTTP+SSE first.
    Sse,
}

/// What is spoken at a URL.
#[derive(JsonSchema)]
#[schemars(rename = "Transport", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum HttpKindText {
    Http,
    Sse,
}

/// How upstream names become exposed names.
#[derive(JsonSchema)]
#[schemars(rename = "Naming", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum NamingText {
    Prefix,
    None,
}

#[derive(JsonSchema)]
#[schemars(rename = "Sharing", rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum SharingText {
    Shared,
    PerIdentity,
}

/// A text, or a secret. A number or a boolean counts as the text that it is written as.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "ValueText")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum ValueText {
    Text(String),
    Number(f64),
    Boolean(bool),
    Secret(SecretReference),
}

/// The value of a secret that was given to the gateway with `portcullis secrets set NAME`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, inline)]
#[expect(dead_code, reason = "describes maps in the schema")]
pub(super) struct SecretReference {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,127}$"))]
    secret: String,
}

/// The credential sent with every request: one of `header`, `bearer` and `oauth`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ServerAuth")]
#[schemars(extend("oneOf" = [{ "required": ["header"] }, { "required": ["bearer"] }, { "required": ["oauth"] }]))]
#[expect(dead_code, reason = "describes a section in the schema; its reader fills an entry")]
struct AuthSchema {
    /// The header that carries it.
    #[schemars(transform = refuse_null_section)]
    header: Option<HeaderSchema>,
    /// What stands behind `Bearer` in the header `Authorization`.
    #[schemars(transform = refuse_null_section)]
    bearer: Option<ValueText>,
    /// How an access token is got: by the consent of users, or by the gateway as itself.
    #[schemars(transform = refuse_null_section)]
    oauth: Option<OAuthSchema>,
}

/// How a server is signed in at with OAuth: by its users, each in a browser, or by the gateway, as itself or on behalf of
/// whoever signed in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ServerOAuth")]
#[schemars(extend(
    "if" = {
        "required": ["grant"],
        "properties": { "grant": { "enum": ["client_credentials", "token_exchange", "id_jag"] } }
    },
    "then" = {
        "required": ["client_id"],
        "oneOf": [{ "required": ["client_secret"] }, { "required": ["private_key"] }],
        "properties": { "for": { "type": "null" }, "parameters": { "type": "null" }, "pkce": { "type": "null" } }
    },
    "allOf" = [
        {
            "if": { "required": ["grant"], "properties": { "grant": { "const": "device_code" } } },
            "then": { "required": ["client_id"], "properties": { "pkce": { "type": "null" } } },
            "else": { "properties": { "device_authorization_endpoint": { "type": "null" } } }
        },
        {
            "if": { "required": ["grant"], "properties": { "grant": { "const": "token_exchange" } } },
            "then": { "required": ["issuer"], "properties": { "issuer": { "type": "string" } } },
            "else": { "properties": { "audience": { "type": "null" } } }
        },
        {
            "if": { "required": ["grant"], "properties": { "grant": { "const": "id_jag" } } },
            "then": { "required": ["identity_provider"] },
            "else": { "properties": { "identity_provider": false } }
        },
        {
            "if": {
                "required": ["grant"],
                "properties": { "grant": { "enum": ["token_exchange", "id_jag"] } }
            },
            "else": { "properties": { "subject_token_type": { "type": "null" } } }
        }
    ],
    "dependentRequired" = { "client_secret": ["client_id"], "private_key": ["client_id"] },
    "not" = { "required": ["client_secret", "private_key"] }
))]
#[expect(dead_code, reason = "describes a section in the schema; its reader fills an entry")]
struct OAuthSchema {
    /// How a token is got: `authorization_code`, with the consent of a user; `device_code`, with that of a user who enters a
    /// code at the authorization server; `client_credentials`, with which the gateway signs in as itself; or
    /// `token_exchange` or `id_jag`, with the token that the caller signed in with.
    #[schemars(extend("default" = "authorization_code"))]
    grant: Option<GrantText>,
    /// Whose connection the server's requests carry, with the grants `authorization_code` and `device_code`: the caller's
    /// own (`user`), or one that serves all (`everyone`).
    #[schemars(extend("default" = "user"))]
    r#for: Option<WhoseText>,
    /// What the gateway is called at the authorization server. Without it, the gateway makes itself known there.
    #[schemars(transform = refuse_null_section)]
    client_id: Option<String>,
    /// The client secret.
    #[schemars(transform = refuse_null_section)]
    client_secret: Option<ValueText>,
    /// A private key in PEM (PKCS#8, RSA or P-256), which signs assertions in place of a secret.
    #[schemars(transform = refuse_null_section)]
    private_key: Option<ValueText>,
    /// The scopes that are asked for, and no others. Without it, those that the server says it needs.
    scopes: Option<Vec<String>>,
    /// The authorization server, to the letter. Without it, the server says which, and a client secret or a key is shown
    /// to it only where that is on the server's own host.
    #[schemars(extend("format" = "uri"))]
    issuer: Option<String>,
    /// How the client secret is sent, where what the authorization server says of it is wrong.
    token_auth: Option<TokenAuthText>,
    /// What the server is called at the authorization server, where that is not its URL. `none` leaves it out, where the
    /// authorization server refuses to hear of it (Microsoft Entra).
    resource: Option<String>,
    /// What the authorization server is told besides when it is asked for a user's consent, with the grants
    /// `authorization_code` and `device_code`, such as `access_type: offline` (Google) or `audience` (Auth0). What the gateway says there
    /// itself cannot be set.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    parameters: Option<Vec<(String, String)>>,
    /// `assumed`: with the grant `authorization_code`, the authorization server is believed to bind codes to who asked for
    /// them (PKCE, S256), where its metadata does not say so (Microsoft Entra, Amazon Cognito).
    pkce: Option<PkceText>,
    /// Where the authorization server is asked for a code that a user enters, with the grant `device_code`, where its
    /// metadata does not say (GitHub). It has to be on the host of its token endpoint.
    #[schemars(extend("format" = "uri"))]
    device_authorization_endpoint: Option<String>,
    /// What the caller's token is said to be where it is exchanged, with the grants `token_exchange` (there, an
    /// `access_token` where nothing is said) and `id_jag` (an `id_token`).
    subject_token_type: Option<SubjectText>,
    /// For whom the token is to be besides, with the grant `token_exchange`, by a name of the authorization server's own.
    #[schemars(length(min = 1))]
    audience: Option<String>,
    /// Where callers sign in, with the grant `id_jag`: it is shown their token, and vouches for them.
    #[schemars(transform = refuse_null_section)]
    identity_provider: Option<ProviderSchema>,
}

/// An identity provider that vouches for its users, and the gateway as its client.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "IdentityProvider")]
#[schemars(extend("oneOf" = [{ "required": ["client_secret"] }, { "required": ["private_key"] }]))]
#[expect(dead_code, reason = "describes a section in the schema; its reader fills an entry")]
struct ProviderSchema {
    /// Its issuer, to the letter.
    #[schemars(extend("format" = "uri"))]
    issuer: String,
    /// What the gateway is called there.
    #[schemars(length(min = 1))]
    client_id: String,
    /// The client secret.
    #[schemars(transform = refuse_null_section)]
    client_secret: Option<ValueText>,
    /// A private key in PEM (PKCS#8, RSA or P-256), which signs assertions in place of a secret.
    #[schemars(transform = refuse_null_section)]
    private_key: Option<ValueText>,
}

/// What a caller's token is said to be.
#[derive(JsonSchema)]
#[schemars(rename = "SubjectToken", rename_all = "snake_case")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum SubjectText {
    AccessToken,
    IdToken,
    Jwt,
}

/// How a token is got.
#[derive(JsonSchema)]
#[schemars(rename = "Grant", rename_all = "snake_case")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum GrantText {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
    TokenExchange,
    IdJag,
}

/// Whose connection a server's requests carry.
#[derive(JsonSchema)]
#[schemars(rename = "Whose", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum WhoseText {
    User,
    Everyone,
}

/// What is believed of an authorization server that does not say whether it binds codes to who asked for them.
#[derive(JsonSchema)]
#[schemars(rename = "Pkce", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum PkceText {
    Assumed,
}

/// How a client secret is sent.
#[derive(JsonSchema)]
#[schemars(rename = "TokenAuth", rename_all = "snake_case")]
#[expect(dead_code, reason = "describes texts in the schema")]
enum TokenAuthText {
    ClientSecretBasic,
    ClientSecretPost,
}

/// A header that carries a credential.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "AuthHeader")]
#[expect(dead_code, reason = "describes a map in the schema; its reader fills an entry")]
struct HeaderSchema {
    /// Its name.
    name: String,
    /// Its value.
    value: ValueText,
}

/// A whole number and a unit: `ms`, `s`, `m` or `h`.
#[derive(JsonSchema)]
#[schemars(rename = "Duration")]
#[expect(dead_code, reason = "describes texts in the schema")]
pub(super) struct DurationText(#[schemars(regex(pattern = DURATION_PATTERN))] String);

/// A number of bytes, or a text with a unit.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Size")]
#[expect(dead_code, reason = "describes texts in the schema")]
pub(super) enum SizeText {
    Bytes(u64),
    Text(#[schemars(regex(pattern = SIZE_PATTERN))] String),
}

/// A place is not part of the format.
impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Returns the JSON Schema of the native file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::config::{Severity, Source, parse, schema};

    /// Returns the keys that the reader says it knows where it finds one that it does not.
    fn keys_of_reader(text: &str) -> BTreeSet<String> {
        let source = Source { path: "p.yaml".to_owned(), text: text.to_owned() };
        let problems = parse(&[source], &|_| None).problems;
        let known = problems
            .into_iter()
            .find_map(|problem| Some(problem.message.split_once("known: ")?.1.to_owned()));
        known.unwrap_or_default().split(", ").map(str::to_owned).collect()
    }

    fn keys_of_schema(object: &Value) -> BTreeSet<String> {
        object["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn the_schema_that_is_kept_is_this_one() {
        let kept = include_str!("../../../docs/portcullis.schema.json");
        assert!(
            kept == format!("{:#}\n", schema()),
            "run: cargo run --package portcullis-core --example schema > docs/portcullis.schema.json"
        );
    }

    #[test]
    fn the_schema_and_the_reader_know_the_same_keys() {
        let schema = schema();
        assert_eq!(keys_of_schema(&schema), keys_of_reader("version: 1\nzzzzzz: 1"));
        for (definition, text) in PLACES {
            let reader = keys_of_reader(&format!("version: 1\n{text}"));
            assert_eq!(keys_of_schema(&schema["$defs"][definition]), reader, "{definition}");
        }
    }

    /// Definitions of objects with keys of their own, and where a file has one.
    const PLACES: [(&str, &str); 34] = [
        ("Gateway", "gateway: { zzzzzz: 1 }"),
        ("Limits", "gateway: { limits: { zzzzzz: 1 } }"),
        ("Instances", "gateway: { instances: { zzzzzz: 1 } }"),
        ("Server", "servers: { a: { zzzzzz: 1 } }"),
        ("Elicitation", "servers: { a: { elicitation: { zzzzzz: 1 } } }"),
        ("Host", "servers: { a: { host: { zzzzzz: 1 } } }"),
        ("Place", "servers: { a: { host: { network: [{ zzzzzz: 1 }] } } }"),
        ("Egress", "servers: { a: { host: { network: [x.test], egress: { zzzzzz: 1 } } } }"),
        ("Mount", "servers: { a: { host: { mounts: [{ zzzzzz: 1 }] } } }"),
        ("Approval", "servers: { a: { approval: { zzzzzz: 1 } } }"),
        ("ServerAuth", "servers: { a: { auth: { zzzzzz: 1 } } }"),
        ("AuthHeader", "servers: { a: { auth: { header: { zzzzzz: 1 } } } }"),
        ("ServerOAuth", "servers: { a: { auth: { oauth: { zzzzzz: 1 } } } }"),
        (
            "IdentityProvider",
            "servers: { a: { auth: { oauth: { grant: id_jag, identity_provider: { zzzzzz: 1 } } } } }",
        ),
        ("Agent", "agents: { a: { zzzzzz: 1 } }"),
        ("AgentLimits", "agents: { a: { limits: { zzzzzz: 1 } } }"),
        ("Match", "agents: { a: { match: [{ zzzzzz: 1 }] } }"),
        ("ConditionalRule", "agents: { a: { allow: { on: '*', when: x, zzzzzz: 1 } } }"),
        ("ToolLimits", "limits: { '*/x': { zzzzzz: 1 } }"),
        ("Auth", "auth: { zzzzzz: 1 }"),
        ("Issuer", "auth: { issuers: { a: { zzzzzz: 1 } } }"),
        ("Introspection", "auth: { issuers: { a: { introspection: { zzzzzz: 1 } } } }"),
        ("SignIn", "auth: { sign_in: { zzzzzz: 1 } }"),
        ("Clients", "auth: { sign_in: { issuer: a, client_id: b, clients: { zzzzzz: 1 } } }"),
        ("Audit", "audit: { zzzzzz: 1 }"),
        ("PrivateRegistry", "registry: { zzzzzz: 1 }"),
        ("Console", "console: { zzzzzz: 1 }"),
        ("ConsoleClient", "console: { sign_in: { zzzzzz: 1 } }"),
        ("Roles", "console: { roles: { zzzzzz: 1 } }"),
        ("RoleHolder", "console: { roles: { admin: [{ zzzzzz: 1 }] } }"),
        ("Variant", "variants: { a: { v: { zzzzzz: 1 } } }"),
        ("WordingChange", "variants: { a: { v: { description: { zzzzzz: 1 } } } }"),
        ("Argument", "variants: { a: { v: { arguments: { x: { zzzzzz: 1 } } } } }"),
        ("Narrowing", "variants: { a: { v: { result: { zzzzzz: 1 } } } }"),
    ];

    #[test]
    fn the_schema_describes_every_key_and_admits_no_other() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().into_iter().flatten();
        let objects = definitions.filter(|(_, definition)| definition["properties"].is_object());
        let objects: Vec<_> = objects.collect();
        assert_eq!(objects.len(), PLACES.len());
        let objects = objects.into_iter().map(|(_, definition)| definition);
        for object in objects.chain([&schema]) {
            assert_eq!(object["additionalProperties"], false, "{object}");
            for (key, property) in object["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "{key}");
            }
        }
        assert_eq!(schema["required"], serde_json::json!(["version"]));
    }

    #[test]
    fn the_schema_admits_no_key_about_access_that_says_nothing() {
        let schema = schema();
        for (definition, text) in PLACES.iter().filter(|(_, text)| !text.starts_with(['g', 's'])) {
            let section = text.split_once(':').expect("begins with a section").0;
            for object in [&schema["$defs"][definition], &schema["properties"][section]] {
                assert!(object.is_object() && !object.to_string().contains("null"), "{object}");
            }
        }
    }

    #[test]
    fn the_schema_and_the_reader_know_the_same_ways_to_sign_in_at_a_server() {
        let validator = jsonschema::validator_for(&schema()).expect("a schema");
        let check = |oauth: Value| {
            let server = json!({ "url": "https://a.example", "auth": { "oauth": oauth } });
            let file = json!({ "version": 1, "servers": { "a": server } });
            let source = Source { path: "p.json".to_owned(), text: file.to_string() };
            let problems = parse(&[source], &|_| None).problems;
            let is_read = problems.iter().all(|problem| problem.severity != Severity::Error);
            assert_eq!(validator.is_valid(&file), is_read, "{file}");
            is_read
        };
        let client = |more: Value| {
            let mut all = json!({ "grant": "client_credentials", "client_id": "me" });
            all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            all
        };
        assert!(check(json!({})));
        assert!(check(json!({ "grant": "authorization_code", "for": "everyone", "resource": "none" })));
        assert!(check(json!({ "for": "user", "client_id": "me", "parameters": { "prompt": "consent" } })));
        assert!(check(json!({ "client_id": "me", "private_key": { "secret": "k" } })));
        assert!(check(json!({ "pkce": "assumed" })) && !check(json!({ "pkce": "none" })));
        let endpoint = "https://idp.example/device";
        for (more, is_right) in [
            (
                json!({ "grant": "device_code", "client_id": "me", "for": "everyone", "parameters": { "a": "b" } }),
                true,
            ),
            (
                json!({ "grant": "device_code", "client_id": "me", "client_secret": "a", "device_authorization_endpoint": endpoint }),
                true,
            ),
            (json!({ "grant": "device_code", "client_id": "me", "pkce": "assumed" }), false),
            (json!({ "grant": "device_code" }), false),
            (json!({ "client_id": "me", "device_authorization_endpoint": endpoint }), false),
            (client(json!({ "client_secret": "a", "device_authorization_endpoint": endpoint })), false),
        ] {
            assert_eq!(check(more.clone()), is_right, "{more}");
        }
        assert!(check(client(json!({ "client_secret": { "secret": "a" } }))));
        assert!(check(client(json!({ "private_key": "k", "for": null, "parameters": null }))));
        assert!(!check(json!({ "grant": "client_credentials", "client_secret": "a" })));
        assert!(!check(client(json!({}))));
        assert!(!check(client(json!({ "client_secret": "a", "private_key": "k" }))));
        assert!(!check(client(json!({ "client_secret": "a", "for": "user" }))));
        assert!(!check(client(json!({ "client_secret": "a", "parameters": {} }))));
        assert!(!check(client(json!({ "client_secret": "a", "pkce": "assumed" }))));
        assert!(!check(json!({ "client_secret": "a" })));
        assert!(!check(json!({ "private_key": "a" })));
        assert!(!check(json!({ "client_id": "me", "client_secret": "a", "private_key": "k" })));
        for empty in ["client_id", "client_secret", "private_key"] {
            assert!(!check(json!({ empty: null })), "{empty}");
        }
        let issuer = "https://idp.example";
        let provider = json!({ "issuer": issuer, "client_id": "me", "client_secret": "a" });
        for (more, is_right) in [
            (json!({ "grant": "token_exchange", "issuer": issuer }), true),
            (
                json!({ "grant": "token_exchange", "issuer": issuer, "audience": "a", "subject_token_type": "jwt" }),
                true,
            ),
            (json!({ "grant": "token_exchange" }), false),
            (json!({ "grant": "token_exchange", "issuer": null }), false),
            (json!({ "grant": "token_exchange", "issuer": issuer, "for": "user" }), false),
            (json!({ "grant": "token_exchange", "issuer": issuer, "audience": "" }), false),
            (json!({ "grant": "token_exchange", "issuer": issuer, "identity_provider": provider }), false),
            (json!({ "grant": "id_jag", "identity_provider": provider }), true),
            (json!({ "grant": "id_jag", "identity_provider": provider, "audience": "a" }), false),
            (
                json!({ "grant": "id_jag", "identity_provider": { "issuer": issuer, "client_id": "me" } }),
                false,
            ),
            (json!({ "grant": "id_jag" }), false),
            (json!({ "audience": "a" }), false),
            (json!({ "subject_token_type": "jwt" }), false),
            (json!({ "identity_provider": provider }), false),
        ] {
            let mut all = client(json!({ "client_secret": "a" }));
            all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            assert_eq!(check(all), is_right, "{more}");
        }
        assert!(!check(json!({ "grant": "password" })) && !check(json!({ "for": "me" })));
    }

    #[test]
    fn the_schema_is_deterministic() {
        assert_eq!(schema().to_string(), schema().to_string());
        insta::assert_snapshot!(schema()["$defs"]["Server"]["properties"]["timeout"], @r##"{"anyOf":[{"$ref":"#/$defs/Duration"},{"type":"null"}],"description":"How long one request may take before it counts as failed: from 1ms to 1h.","default":"60s"}"##);
        insta::assert_snapshot!(schema()["$defs"]["Duration"], @r#"{"type":"string","pattern":"^[0-9]+(ms|s|m|h)$","description":"A whole number and a unit: `ms`, `s`, `m` or `h`."}"#);
        insta::assert_snapshot!(schema()["$defs"]["Size"], @r#"{"anyOf":[{"type":"integer","format":"uint64","minimum":0},{"type":"string","pattern":"^[0-9]+ ?(B|KB|KiB|MB|MiB|GB|GiB)?$"}],"description":"A number of bytes, or a text with a unit."}"#);
    }
}
