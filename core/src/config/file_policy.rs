//! The sections of the native file about access, as they are written: what its JSON Schema says of them.
//!
//! Descriptions of keys stand here once. The readers (`native_agents`, `native_limits`) fill what the policy is made
//! of; a test holds both to the same keys.
#![expect(dead_code, reason = "describes texts in the schema")]

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use super::file::{DurationText, SecretReference, SizeText};
use super::quantity::{DAYS_PATTERN, RATE_PATTERN};

/// The least and the greatest number in a rate, and of calls at a time.
pub(super) const CALLS: (u64, u64) = (1, 1_000_000);
/// The least and the greatest number of calls in a day.
pub(super) const DAILY_CALLS: (u64, u64) = (1, 1_000_000_000);
/// The least and the greatest limit of a result, in bytes.
pub(super) const RESULT_LIMITS: (u64, u64) = (1, 1 << 30);
/// The least and the greatest time that a limit gives one call.
pub(super) const CALL_TIMES: (Duration, Duration) = (Duration::from_millis(1), super::file::TIMEOUT_LIMIT);
/// The least and the greatest size at which an audit file is rotated, in bytes.
pub(super) const ROTATIONS: (u64, u64) = (64 << 10, 64 << 30);
/// The least and the greatest number of days that audit entries are kept.
pub(super) const KEPT_DAYS: (u32, u32) = (1, 36_500);

/// What a group holds of each server, by the server's name or a pattern for names of servers (`*`, `?`).
#[derive(JsonSchema)]
#[schemars(rename = "Group")]
pub(super) struct GroupText(BTreeMap<String, MembersText>);

/// One entry, or a list of them: the names of tools and prompts, with `*` and `?` as wildcards. `tool:`, `prompt:` or
/// `resource:` before it narrows it to one kind; resources are named by URI. `*` alone is everything, resources too.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Members")]
pub(super) enum MembersText {
    One(String),
    Several(Vec<String>),
}

/// An agent: how it is recognised, and what it may do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Agent")]
pub(super) struct AgentText {
    /// How a caller is recognised as this agent; any of the entries suffices. A caller with an API key that was made
    /// for an agent of this name is this agent unless another one matches that name. `default` has none: it is every
    /// caller that no other agent matches.
    #[schemars(rename = "match")]
    matches: Option<Vec<MatchText>>,
    /// What it may do. What no rule allows is denied.
    allow: Option<RulesText>,
    /// What it may not do, whatever is allowed.
    deny: Option<RulesText>,
    /// An expression that must hold for everything that it may do.
    when: Option<String>,
    /// How much it may do.
    limits: Option<AgentLimitsText>,
}

/// One way to recognise a caller.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Match", extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct MatchText {
    /// The agent name that the caller's API key was made for.
    api_key: Option<String>,
    /// The name of a claim of the caller's verified token, and the value that it has or has among others.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    claim: Option<BTreeMap<String, String>>,
    /// The tag that the caller claims, where `auth.trust_tags` says that tags are trusted. A claim, not a proof.
    tag: Option<String>,
    /// The name of the caller's client, as it says itself. A claim, not a proof.
    client: Option<String>,
}

/// One rule, or a list of rules.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Rules")]
pub(super) enum RulesText {
    One(RuleText),
    Several(Vec<RuleText>),
}

/// What a rule is about: `*` for everything; the name of a group or of a server; `SERVER/NAME` for tools and prompts;
/// `SERVER/tool:NAME`, `SERVER/prompt:NAME` or `SERVER/resource:URI` for one kind. `SERVER/*` has the resources, too.
/// `*` and `?` are wildcards on both sides.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Rule")]
pub(super) enum RuleText {
    Always(String),
    Sometimes(ConditionalText),
}

/// A rule that holds under a condition.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "ConditionalRule")]
pub(super) struct ConditionalText {
    /// What the rule is about, as in a rule without a condition.
    on: String,
    /// The expression that must hold.
    when: String,
}

/// How much an agent may do.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "AgentLimits")]
pub(super) struct AgentLimitsText {
    #[schemars(flatten)]
    all: ToolLimitsText,
    /// How much it may do with single tools, by `SERVER/NAME`; each tool counts for itself.
    tools: Option<BTreeMap<String, ToolLimitsText>>,
}

/// How much may be done.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "ToolLimits")]
pub(super) struct ToolLimitsText {
    /// How often requests may come, such as `60/m`. They may come all at once.
    rate: Option<RateText>,
    /// How many may run at a time.
    #[schemars(range(min = CALLS.0, max = CALLS.1))]
    concurrency: Option<u64>,
    /// How many may come in a day, counted from midnight in UTC.
    #[schemars(range(min = DAILY_CALLS.0, max = DAILY_CALLS.1))]
    daily: Option<u64>,
    /// The largest result: bytes, or a text such as `1MiB`; up to 1GiB.
    result: Option<SizeText>,
    /// How long one may take: from 1ms to 1h.
    timeout: Option<DurationText>,
}

/// So many a second (`s`), minute (`m`), hour (`h`) or day (`d`): 1 to 1000000.
#[derive(JsonSchema)]
#[schemars(rename = "Rate")]
pub(super) struct RateText(#[schemars(regex(pattern = RATE_PATTERN))] String);

/// A whole number of days, such as `30d`.
#[derive(JsonSchema)]
#[schemars(rename = "Days")]
pub(super) struct DaysText(#[schemars(regex(pattern = DAYS_PATTERN))] String);

/// Who is let in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Auth")]
pub(super) struct AuthText {
    /// Whether a caller without a valid credential is refused at the door.
    #[schemars(extend("default" = false))]
    required: Option<bool>,
    /// A header that carries an API key, besides `Authorization`.
    header: Option<String>,
    /// Whether a caller is believed the tag that it sends. Anybody can send any tag.
    #[schemars(extend("default" = false))]
    trust_tags: Option<bool>,
    /// The header that carries a tag, where tags are trusted.
    #[schemars(extend("default" = DEFAULT_TAG_HEADER))]
    tag_header: Option<String>,
    /// The identity providers whose access tokens are taken, by names of your choice: `user:NAME:SUBJECT` is what those
    /// who sign in are called.
    issuers: Option<BTreeMap<String, IssuerText>>,
    /// Has the gateway stand in as the authorization server before one of the issuers, for agents that register themselves
    /// where that provider does not let them.
    sign_in: Option<SignInText>,
}

/// A text, or a list of texts.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Texts")]
pub(super) enum TextsText {
    One(String),
    Several(Vec<String>),
}

/// An identity provider.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Issuer")]
pub(super) struct IssuerText {
    /// Its issuer identifier, to the letter: the `iss` of its tokens.
    url: String,
    /// Where its keys are (a JWK set). Without it, the provider's metadata tells.
    keys: Option<String>,
    /// For whom its tokens may be made: their `aud`, one or several. Without it, for the endpoint that is asked.
    audience: Option<TextsText>,
    /// The claim in which its tokens say for whom they are made, where that is not `aud`; it needs `audience`.
    #[schemars(extend("default" = "aud"))]
    audience_claim: Option<String>,
    /// The scopes that each of its tokens must have.
    scopes: Option<TextsText>,
    /// Asks the provider about tokens that are not signed (RFC 7662).
    introspection: Option<IntrospectionText>,
}

/// How an identity provider is asked about a token.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Introspection")]
pub(super) struct IntrospectionText {
    /// Where it is asked. Without it, the provider's metadata tells.
    url: Option<String>,
    /// The gateway's own client there.
    client_id: String,
    /// That client's secret.
    client_secret: SecretReference,
}

/// How the gateway stands in as the authorization server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "SignIn")]
pub(super) struct SignInText {
    /// The provider, by its name in `issuers`.
    issuer: String,
    /// What the gateway is called there. Its redirect URI is `PUBLIC_URL/oauth/signed-in`.
    client_id: String,
    /// The secret with which it proves that; none for a client without one.
    client_secret: Option<super::file::SecretReference>,
    /// What it asks of the provider.
    #[schemars(extend("default" = ["openid"]))]
    scopes: Option<TextsText>,
    /// Which clients may ask people to sign in.
    clients: Option<ClientsText>,
}

/// Which clients may ask people to sign in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Clients")]
pub(super) struct ClientsText {
    /// Their ids, where those are URLs, else all their redirect URIs; `*` and `?` are wildcards, which in a host stand for
    /// parts of a host alone. Without it, any.
    allow: Option<TextsText>,
}

/// The header that carries a tag where nothing is said.
pub(super) const DEFAULT_TAG_HEADER: &str = "x-lunar-consumer-tag";

/// What is recorded.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Audit")]
pub(super) struct AuditText {
    /// Whether anything is.
    #[schemars(extend("default" = true))]
    enabled: Option<bool>,
    /// Whether arguments are. Keys, tokens and other credentials in them are redacted.
    #[schemars(extend("default" = false))]
    arguments: Option<bool>,
    /// Regular expressions of what is redacted besides.
    redact: Option<Vec<String>>,
    /// What becomes of requests while nothing can be recorded: `open` answers them and reports the failure, `closed`
    /// refuses them.
    #[schemars(extend("default" = "open"))]
    on_failure: Option<OnFailureText>,
    /// How large a file of JSON lines grows before the next one is begun: bytes, or a text such as `64MiB`; from 64KiB
    /// to 64GiB.
    #[schemars(extend("default" = "64MiB"))]
    rotate: Option<SizeText>,
    /// How long entries are kept: from 1d to 36500d.
    #[schemars(extend("default" = "30d"))]
    keep: Option<DaysText>,
}

/// What becomes of requests while nothing can be recorded.
#[derive(JsonSchema)]
#[schemars(rename = "OnFailure", rename_all = "lowercase")]
pub(super) enum OnFailureText {
    Open,
    Closed,
}

/// Takes `null` from what the keys of an object may be: in these sections, a key that says nothing is an error.
pub(super) fn refuse_nulls(object: &mut Schema) {
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flatten().filter_map(|(_, property)| property.as_object_mut()) {
        refuse_null(property);
    }
}

/// Takes `null` from what a value may be.
pub(super) fn refuse_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            property.remove("anyOf");
            property.extend(only);
        }
    }
}
