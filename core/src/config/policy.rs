//! Who may do what, under which name, as a configuration says it: the same values whatever file they came from.
//!
//! **Every rule knows where it stands**, so that a decision can name it. Nothing here decides: `acl` does.

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::quantity::{format_duration, format_size};
use crate::acl::{Condition, Glob};
use crate::names::ServerName;
use crate::secrets::SecretName;
use crate::sorted::SortedMap;

/// Where something stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Origin {
    /// The file, as the user named it; empty where it stands in none.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The path of the field, such as `agents.coder.deny[0]`.
    pub field: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str(&self.field);
        }
        write!(f, "{}:{}: {}", self.file, self.line, self.field)
    }
}

/// Who may see and call what.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Reusable sets of what servers offer, by their names in lower case.
    pub groups: SortedMap<String, Group>,
    /// The agents, in the order of the file.
    pub agents: Vec<Arc<Agent>>,
    /// What holds for a caller that is none of them.
    pub default: Arc<Agent>,
    /// What holds for single principals in place of what holds for the agent that they are, by their ids.
    pub personal: SortedMap<String, Arc<Agent>>,
    /// How refusals are worded.
    pub dialect: Dialect,
}

impl Default for Policy {
    /// Without a policy everybody may do everything.
    fn default() -> Self {
        Self {
            groups: SortedMap::new(),
            agents: Vec::new(),
            default: Arc::new(Agent::allowing_everything()),
            personal: SortedMap::new(),
            dialect: Dialect::Native,
        }
    }
}

impl Policy {
    /// Returns the policy of a configuration that is refused: nobody may do anything.
    pub(super) fn refusing_everything() -> Self {
        let origin = Origin { field: "the configuration is refused".into(), ..Origin::default() };
        Self { default: Arc::new(Agent::bare("default", origin)), ..Self::default() }
    }
}

/// How refusals are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As the protocol has it.
    #[default]
    Native,
    /// As MCPX words them: its code and its texts.
    Mcpx,
}

/// A set of what servers offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name, as it was written.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it holds.
    pub members: Vec<Selector>,
    /// Where it stands.
    pub origin: Origin,
}

/// Names things that servers offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The servers, compared without case.
    pub server: Glob,
    /// Of which kind; nothing where tools and prompts alike are meant, and with [`Glob::everything`] as `item` also
    /// resources.
    pub kind: Option<ItemKind>,
    /// The names that the server (or a variant) gives them, or URIs of resources.
    pub item: Glob,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Some(ItemKind::Tool) => "tool:",
            Some(ItemKind::Prompt) => "prompt:",
            Some(ItemKind::Resource) => "resource:",
            None => "",
        };
        write!(f, "{}/{kind}{}", self.server.as_str(), self.item.as_str())
    }
}

/// The kinds of things that a selector can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// Tools.
    Tool,
    /// Prompts.
    Prompt,
    /// Resources and resource templates, by URI.
    Resource,
}

/// An agent: who it is, and what it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its name. Names are compared without case.
    pub name: Arc<str>,
    /// How a caller is recognised as this agent; any of them suffices.
    pub matches: Vec<Match>,
    /// What it may do. What no rule allows is denied.
    pub allow: Vec<Rule>,
    /// What it may not do, whatever is allowed.
    pub deny: Vec<Rule>,
    /// What must hold for everything that it may do.
    pub when: Option<Condition>,
    /// How much it may do.
    pub limits: Limits,
    /// What tells it from the agent of the same name, where it is one principal's.
    pub personal: Option<Arc<str>>,
    /// Where it stands.
    pub origin: Origin,
}

impl Agent {
    /// Returns by what its rules are found: its name, unless it is one principal's.
    pub fn key(&self) -> &Arc<str> {
        self.personal.as_ref().unwrap_or(&self.name)
    }

    /// Returns the agent that everybody is where no policy is written.
    pub fn allowing_everything() -> Self {
        let origin = Origin { field: "no policy is configured".into(), ..Origin::default() };
        let rule = Rule { what: What::Everything, when: None, text: "*".into(), origin: origin.clone() };
        Self { allow: vec![rule], ..Self::bare("default", origin) }
    }

    /// Returns an agent that may do nothing.
    pub fn bare(name: &str, origin: Origin) -> Self {
        Self {
            name: name.into(),
            matches: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            when: None,
            limits: Limits::default(),
            personal: None,
            origin,
        }
    }
}

/// How a caller is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// By an API key that was made for this agent name.
    ApiKey(String),
    /// By a claim of a verified token: its name, and the value it has or has among others.
    Claim(String, String),
    /// By the tag that it claims, where tags are trusted.
    Tag(String),
    /// By the name of its client, in its canonical form; a claim, not a proof.
    Client(String),
}

/// One rule of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is about.
    pub what: What,
    /// When it holds; always, where nothing is said.
    pub when: Option<Condition>,
    /// The rule as it was written.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Everything that all servers offer.
    Everything,
    /// A group, by its key in [`Policy::groups`].
    Group(String),
    /// What a selector names.
    Select(Selector),
}

/// How much an agent may do, or may be done with a tool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// How often requests may come.
    pub rate: Option<Rate>,
    /// How many may run at a time.
    pub concurrency: Option<u32>,
    /// How many may come in a day, counted from midnight in UTC.
    pub daily: Option<u64>,
    /// The largest result, in bytes.
    pub result: Option<u64>,
    /// How long one may take.
    pub timeout: Option<Duration>,
}

/// So many in such a time. They may come all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long a time.
    pub period: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = format_duration(self.period);
        match period.as_str() {
            "1s" | "1m" | "1h" => write!(f, "{}/{}", self.count, &period[1..]),
            "24h" => write!(f, "{}/d", self.count),
            _ => write!(f, "{} in {period}", self.count),
        }
    }
}

impl fmt::Display for Limits {
    /// Writes each limit that there is, as people say it; nothing where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            self.rate.map(|rate| rate.to_string()),
            self.concurrency.map(|most| format!("{most} at a time")),
            self.daily.map(|most| format!("{most} a day")),
            self.result.map(|most| format!("results up to {}", format_size(most))),
            self.timeout.map(|most| format!("{} each", format_duration(most))),
        ];
        f.write_str(&said.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Limits of what a selector names.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolLimits {
    /// What is limited.
    pub selector: Selector,
    /// The agent for which alone they hold, each tool for itself; nothing where all callers count together.
    pub agent: Option<Arc<str>>,
    /// How much.
    pub limits: Limits,
    /// Where they stand.
    pub origin: Origin,
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Whether a caller without a valid credential is refused at the door.
    pub required: bool,
    /// A header that carries an API key, besides `Authorization`.
    pub header: Option<http::HeaderName>,
    /// A header that carries a tag, where tags are trusted.
    pub tag_header: Option<http::HeaderName>,
    /// The hash of a key that stands in no store (MCPX's `AUTH_KEY`): SHA-256.
    pub shared_key: Option<[u8; 32]>,
    /// The identity providers whose tokens are taken.
    pub issuers: Vec<Issuer>,
    /// The one before which the gateway stands in as the authorization server, where it does.
    pub sign_in: Option<SignIn>,
}

impl Auth {
    /// Returns the provider before which the gateway stands in, where it does.
    pub(crate) fn issuer_of_sign_in(&self) -> Option<&Issuer> {
        let name = &self.sign_in.as_ref()?.issuer;
        self.issuers.iter().find(|issuer| issuer.name == *name)
    }
}

/// An identity provider whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Issuer {
    /// What it is called here, which is part of the names of those who sign in.
    pub name: String,
    /// Its issuer identifier, to the letter (RFC 8414 §2).
    pub url: String,
    /// Where its keys are; where nothing is said, its metadata tells.
    pub keys: Option<String>,
    /// For whom its tokens may be made; where nothing is said, for the endpoint that is asked.
    pub audience: Vec<String>,
    /// The claim that says for whom a token is made, where that is not `aud`.
    pub audience_claim: Option<String>,
    /// The scopes that each of its tokens must have.
    pub scopes: Vec<String>,
    /// How it is asked about tokens that say nothing by themselves, where it is.
    pub introspection: Option<Introspection>,
}

/// How an identity provider is asked about a token (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Where; where nothing is said, its metadata tells.
    pub url: Option<String>,
    /// The gateway's own client there.
    pub client_id: String,
    /// That client's secret.
    pub client_secret: SecretName,
    /// Line and column at which that stands.
    pub(crate) place: (u32, u32),
}

impl Issuer {
    /// The claim that says for whom a token is made, unless the issuer has it elsewhere.
    const AUDIENCE: &str = "aud";

    /// Returns the claim that says for whom its tokens are made.
    pub(crate) fn audience_claim(&self) -> &str {
        self.audience_claim.as_deref().unwrap_or(Self::AUDIENCE)
    }

    /// Returns what one of its users is called.
    pub(crate) fn principal(&self, subject: &str) -> String {
        format!("user:{}:{subject}", self.name)
    }

    /// Returns what stands for all that decides about its tokens.
    pub(crate) fn digest(&self) -> u64 {
        let mut hash = Sha256::new();
        let asked = self.introspection.iter();
        let asked = asked.flat_map(|asked| [slice::from_ref(&asked.client_id), asked.url.as_slice()]);
        let lists = [
            slice::from_ref(&self.name),
            slice::from_ref(&self.url),
            self.keys.as_slice(),
            &self.audience,
            self.audience_claim.as_slice(),
            &self.scopes,
        ];
        for list in lists.into_iter().chain(asked) {
            hash.update((list.len() as u64).to_le_bytes());
            for text in list {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        let digest = hash.finalize();
        u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
    }

    /// Tells whether a principal is one of its users.
    pub(crate) fn has_named(&self, principal: &str) -> bool {
        let rest = principal.strip_prefix("user:").and_then(|rest| rest.strip_prefix(&*self.name));
        rest.is_some_and(|rest| rest.starts_with(':'))
    }
}

/// How the gateway stands in as the authorization server before an identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignIn {
    /// The provider, by the name of its issuer.
    pub issuer: String,
    /// What the gateway is called there.
    pub client_id: String,
    /// The secret with which it proves that; none where the provider has none of it.
    pub client_secret: Option<SecretName>,
    /// The line and the column at which the secret is named.
    pub place: (u32, u32),
    /// What it asks of the provider.
    pub scopes: Vec<String>,
    /// Which clients may ask people to sign in: their ids, where those are URLs, else their redirect URIs; any where there
    /// is none.
    pub allow: Vec<Glob>,
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// Whether anything is.
    pub enabled: bool,
    /// Whether arguments are, redacted.
    pub arguments: bool,
    /// Regular expressions of what is redacted besides what always is.
    pub redact: Vec<String>,
    /// What becomes of requests while nothing can be recorded.
    pub on_failure: OnFailure,
    /// How large a file of JSON lines grows before the next one is begun, in bytes.
    pub rotate: u64,
    /// How many days entries are kept.
    pub keep_days: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            arguments: false,
            redact: Vec::new(),
            on_failure: OnFailure::Open,
            rotate: 64 << 20,
            keep_days: 30,
        }
    }
}

/// What becomes of requests while nothing can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// They are answered, and the failure is reported.
    #[default]
    Open,
    /// They are refused.
    Closed,
}

/// A tool or a prompt of a server under another name, with another description, with other arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The server whose it is.
    pub server: ServerName,
    /// Its own name, as the server might have given it.
    pub name: String,
    /// Whether it is a tool or a prompt; never a resource.
    pub kind: ItemKind,
    /// What it is made from: a name of the server's, or another variant of the same server.
    pub from: String,
    /// Whether it stands in place of what it is made from, which then is not offered any more. So it does where both
    /// names are the same.
    pub replaces: bool,
    /// Its title.
    pub title: Option<String>,
    /// Its description.
    pub description: Option<Wording>,
    /// What becomes of arguments, by the name that they have in what it is made from.
    pub arguments: SortedMap<String, Argument>,
    /// What is left of its results.
    pub result: Narrowing,
    /// How schemas show what is fixed.
    pub fixed: Fixed,
    /// Where it stands.
    pub origin: Origin,
}

/// How a description changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wording {
    /// It is replaced.
    Rewrite(String),
    /// A text is put behind it.
    Append(String),
}

/// How schemas show an argument that is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fixed {
    /// It is gone.
    #[default]
    Gone,
    /// It stays, no longer required, with a note that it is ignored (as MCPX has it).
    Noted,
}

/// What becomes of one argument. Values are JSON texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Argument {
    /// The value that the server gets, whatever the caller sends.
    pub fix: Option<String>,
    /// The value that the server gets where the caller sends none.
    pub default: Option<String>,
    /// The name that callers know it by.
    pub rename: Option<String>,
    /// Its description.
    pub describe: Option<Wording>,
    /// The values that it may have.
    pub one_of: Option<Vec<String>>,
    /// The regular expression that it must match, where it is a text.
    pub pattern: Option<String>,
    /// The least number that it may be.
    pub minimum: Option<f64>,
    /// The greatest number that it may be.
    pub maximum: Option<f64>,
}

/// What is left of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrowing {
    /// The part that is kept, as a JSON Pointer (RFC 6901) into the structured content, or into a text that is JSON.
    pub select: Option<String>,
    /// The most characters of a text; what is beyond is cut, with a note.
    pub cut: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_decides_about_tokens_makes_another_digest() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let introspection = |url: Option<&str>, line| Introspection {
            url: url.map(str::to_owned),
            client_id: "me".into(),
            client_secret: SecretName::parse("a").expect("a name"),
            place: (line, 1),
        };
        let plain = Issuer { name: "corp".into(), url: "https://idp.example".into(), ..Issuer::default() };
        let asked = Issuer { introspection: Some(introspection(None, 1)), ..plain.clone() };
        let all = [
            plain.clone(),
            Issuer { name: "other".into(), ..plain.clone() },
            Issuer { url: "https://idp.example/".into(), ..plain.clone() },
            Issuer { keys: Some("x".into()), ..plain.clone() },
            Issuer { audience: texts(&["x"]), ..plain.clone() },
            Issuer { audience: texts(&["x", "y"]), ..plain.clone() },
            Issuer { audience: texts(&["xy"]), ..plain.clone() },
            Issuer { audience_claim: Some("x".into()), ..plain.clone() },
            Issuer { scopes: texts(&["x"]), ..plain.clone() },
            asked.clone(),
            Issuer { introspection: Some(introspection(Some("x"), 1)), ..plain.clone() },
        ];
        for (at, one) in all.iter().enumerate() {
            let same = all.iter().position(|other| other.digest() == one.digest());
            assert_eq!(same, Some(at), "{one:?}");
        }
        // Where it stands in the file is nothing of it.
        let moved = Issuer { introspection: Some(introspection(None, 2)), ..plain };
        assert_eq!(moved.digest(), asked.digest());
    }
}
