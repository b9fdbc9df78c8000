//! Who a caller is: what it has proved, and what the policy knows it as.
//!
//! **What is proved and what is claimed are kept apart**: a principal is proved, a tag and a client's name are claimed.
//! It is decided in two steps, since the name of a client stands in the body, which nobody reads for a stranger: at the
//! door, [`authenticate`] tells from a request's headers what it proves; then [`identify`] finds the agent. What an agent
//! may do is not decided here.

mod bearer;
mod client;
mod denial;
mod key;
mod proof;
mod ring;
mod subject;
#[cfg(feature = "control")]
mod supposed;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::acl::{Arguments, CallerFacts, Condition, Facts, Truth, Undecided};
use crate::config::{Agent, Auth, Config, Match, Policy, nearest};
use crate::names::without_case;
use crate::wire::json::Json;

pub use bearer::Bearer;
#[cfg(feature = "control")]
pub(crate) use bearer::{agent_of_claims, asks, claims_asked};
pub use client::canonical;
pub(crate) use denial::Denial;
pub use key::{ApiKey, KeyHash, NotAKey};
pub use proof::Proof;
pub(crate) use proof::{Evidence, Shown, authenticate, key_header};
pub use ring::{KeyRecord, KeyRing};
pub use subject::Subject;
#[cfg(feature = "control")]
pub(crate) use supposed::{Known, Stranger, Traces, Unrecorded, suppositions};

/// Who sends a request, as far as it could be told.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What the policy knows it as.
    pub agent: Arc<Agent>,
    /// Who has proved to be whom: the credential's own id (`key:…`), never the credential; nothing where nobody has.
    pub principal: Option<Arc<str>>,
    /// How.
    pub auth: AuthKind,
    /// The name of its client in its canonical form, as it says itself.
    pub client: Option<Arc<str>>,
    /// The tag that it claims.
    pub tag: Option<Arc<str>>,
    /// What its token says, where it has signed in with an identity provider.
    pub bearer: Option<Arc<Bearer>>,
}

/// The agent that a policy finds by some evidence, where there is one.
type Claimed<'p> = Option<&'p Arc<Agent>>;

/// How a caller has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// Not at all.
    #[default]
    Anonymous,
    /// With an API key.
    ApiKey,
    /// With the one key that all callers share (MCPX's `AUTH_KEY`).
    SharedKey,
    /// Not at all, but whoever runs the gateway says which agent it is.
    Operator,
    /// With the admin credential, which is nobody's who calls a server.
    Admin,
    /// With an access token of an identity provider.
    Token,
    /// With a session of the console, which is nobody's who calls a server.
    Session,
    /// With the token by which an identity provider writes to the directory; nobody calls a server with it.
    Directory,
}

/// Whose something is that a caller is given to bring back: it opens for nobody else. A client's name is no part of it,
/// since a caller may say another one, or none, in every request.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The principal; none where requests carry no credential.
    pub(crate) principal: Option<Arc<str>>,
    /// The tag.
    pub(crate) tag: Option<Arc<str>>,
}

/// As the name of whatever belongs to it alone.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.principal, &self.tag) {
            (None, None) => f.write_str("anonymous"),
            (Some(principal), None) => f.write_str(principal),
            (None, Some(tag)) => write!(f, "tag:{tag}"),
            (Some(principal), Some(tag)) => write!(f, "{principal} tag:{tag}"),
        }
    }
}

impl Identity {
    /// Returns somebody of whom nothing is known.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn anonymous(policy: &Policy) -> Self {
        let agent = policy.default.clone();
        Self { agent, principal: None, auth: AuthKind::Anonymous, client: None, tag: None, bearer: None }
    }

    /// Returns what a condition comes to for this caller; `arguments` are there once they are known.
    pub(crate) fn truth(&self, condition: &Condition, arguments: Option<Json<'_>>, now: u64) -> Truth {
        let outcome = self.holds(condition, arguments.map(Into::into), now);
        let truth = Truth::from(&outcome);
        if let (Truth::Undecided, Err(why)) = (truth, outcome) {
            tracing::debug!(condition = condition.text(), %why, "a condition cannot be evaluated");
        }
        truth
    }

    /// Tells whether a condition holds for this caller, or why that cannot be told.
    pub(crate) fn holds(
        &self,
        condition: &Condition,
        arguments: Option<Arguments<'_>>,
        now: u64,
    ) -> Result<bool, Undecided> {
        let caller = CallerFacts {
            agent: &self.agent.name,
            client: self.client.as_deref(),
            principal: self.principal.as_deref(),
            tag: self.tag.as_deref(),
        };
        condition.holds(&Facts { arguments, caller, now })
    }

    /// Tells whether the agent stays the same, whatever the client says it is called.
    pub(crate) fn is_final(&self, policy: &Policy) -> bool {
        let by_client = |way: &Match| matches!(way, Match::Client(_));
        matches!(self.auth, AuthKind::ApiKey | AuthKind::Operator)
            || self.by_claims(policy).flatten().is_some()
            || !policy.agents.iter().flat_map(|agent| &agent.matches).any(by_client)
    }

    /// Returns the same caller as another configuration knows it; nothing where it would not be let in.
    pub(crate) fn under(&self, config: &Config, keys: &KeyRing, now: u64) -> Option<Self> {
        let policy = &config.policy;
        let tag = self.tag.clone().filter(|_| config.auth.tag_header.is_some());
        let agent = match self.auth {
            AuthKind::ApiKey => {
                let principal = self.principal.as_deref()?;
                personal(policy, Some(principal), named(policy, keys.agent_of(principal, now)?)?)?
            }
            AuthKind::Operator => of_name(policy, &self.agent.name)?.clone(),
            AuthKind::Anonymous if config.auth.required => return None,
            AuthKind::Admin | AuthKind::Session | AuthKind::Directory => return None,
            AuthKind::Token => {
                let principal = self.principal.as_deref()?;
                let is_taken = config.auth.issuers.iter().any(|issuer| issuer.has_named(principal));
                if !is_taken || self.bearer.as_ref()?.expires <= now {
                    return None;
                }
                let agent = self.by_claims(policy)?.cloned();
                let agent = agent.unwrap_or_else(|| claimed(policy, tag.as_deref(), self.client.as_deref()));
                personal(policy, Some(principal), agent)?
            }
            AuthKind::Anonymous | AuthKind::SharedKey => {
                claimed(policy, tag.as_deref(), self.client.as_deref())
            }
        };
        Some(Self { agent, tag, ..self.clone() })
    }

    /// Returns the agent that its token's claims tell; nothing where it has none, or they have not been looked at.
    fn by_claims<'p>(&self, policy: &'p Policy) -> Option<Claimed<'p>> {
        self.bearer.as_ref()?.agent(policy)
    }

    /// Returns whose the things are that this caller is given.
    pub(crate) fn owner(&self) -> Owner {
        Owner { principal: self.principal.clone(), tag: self.tag.clone() }
    }

    /// Returns the same caller, now that its client and its tag are known.
    pub(crate) fn claiming(&self, policy: &Policy, client: Option<Arc<str>>, tag: Option<Arc<str>>) -> Self {
        let agent = match self.auth {
            AuthKind::ApiKey
            | AuthKind::Operator
            | AuthKind::Admin
            | AuthKind::Session
            | AuthKind::Directory => self.agent.clone(),
            // What the policy has for it alone stays, whatever it says besides.
            AuthKind::Token if self.is_final(policy) => self.agent.clone(),
            AuthKind::Token => {
                let agent = claimed(policy, tag.as_deref(), client.as_deref());
                personal(policy, self.principal.as_deref(), agent).unwrap_or_else(|| self.agent.clone())
            }
            AuthKind::Anonymous | AuthKind::SharedKey => claimed(policy, tag.as_deref(), client.as_deref()),
        };
        Self { agent, client, tag, ..self.clone() }
    }
}

/// Finds what the policy knows a caller as, before its client is known.
pub(crate) fn identify(policy: &Policy, proof: &Proof) -> Result<Identity, Denial> {
    let agent = match &proof.agent {
        Some(name) => of_key(policy, name, proof),
        None => of_claims(policy, proof),
    }?;
    Ok(Identity {
        agent,
        principal: proof.principal.clone(),
        auth: proof.auth,
        client: None,
        tag: proof.tag.clone(),
        bearer: proof.bearer.clone(),
    })
}

/// Finds the agent that a key was made for.
fn of_key(policy: &Policy, name: &Arc<str>, proof: &Proof) -> Result<Arc<Agent>, Denial> {
    let known = named(policy, name).and_then(|agent| personal(policy, proof.principal.as_deref(), agent));
    known.ok_or_else(|| Denial::UnknownAgent(name.clone()))
}

/// Finds the agent that a token's claims tell, else what the caller says of itself. Whose claims have not been looked at as
/// the policy asks is nobody.
fn of_claims(policy: &Policy, proof: &Proof) -> Result<Arc<Agent>, Denial> {
    let by_claims = match &proof.bearer {
        Some(bearer) => bearer.agent(policy).ok_or(Denial::Unseen)?.cloned(),
        None => None,
    };
    let agent = by_claims.unwrap_or_else(|| claimed(policy, proof.tag.as_deref(), None));
    let name = agent.name.clone();
    let principal = proof.principal.as_deref().filter(|_| proof.bearer.is_some());
    personal(policy, principal, agent).ok_or(Denial::UnknownAgent(name))
}

/// Somebody whom whoever runs the gateway asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Somebody<'a> {
    /// The agent that it is; without one, what it claims tells which.
    pub agent: Option<&'a str>,
    /// The name of its client, in any spelling.
    pub client: Option<&'a str>,
    /// The tag that it claims.
    pub tag: Option<&'a str>,
}

/// An agent that the policy does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no agent is called {name:?}{hint}")]
pub struct UnknownAgent {
    name: String,
    /// What to write instead.
    hint: String,
}

/// Finds what the policy knows somebody as, as it would if it came to the door.
pub(crate) fn suppose(
    policy: &Policy,
    auth: &Auth,
    somebody: &Somebody<'_>,
) -> Result<Identity, UnknownAgent> {
    let proof = somebody.agent.map_or_else(Proof::default, Proof::of_agent);
    let known = identify(policy, &proof);
    let who = known.map_err(|_| UnknownAgent::new(policy, somebody.agent.unwrap_or_default()))?;
    let client = somebody.client.and_then(canonical).map(Into::into);
    let tag = somebody.tag.filter(|_| auth.tag_header.is_some()).map(Into::into);
    Ok(who.claiming(policy, client, tag))
}

impl UnknownAgent {
    fn new(policy: &Policy, name: &str) -> Self {
        let agents = policy.agents.iter().chain([&policy.default]);
        let names: Vec<_> = agents.map(|agent| &*agent.name).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => format!("; agents: {}", names.join(", ")),
        };
        Self { name: name.to_owned(), hint }
    }
}

/// Finds the agent that a key's agent is now: the first that names it, else the one of that name.
fn named(policy: &Policy, name: &str) -> Option<Arc<Agent>> {
    let by_key = |way: &Match| matches!(way, Match::ApiKey(of) if same(of, name));
    first(policy, by_key).or_else(|| of_name(policy, name)).cloned()
}

/// Returns what holds for a principal in place of what holds for its agent, where it has something of its own; nothing where
/// that is for another agent than it is: what it must not do is not known then.
fn personal(policy: &Policy, principal: Option<&str>, agent: Arc<Agent>) -> Option<Arc<Agent>> {
    match principal.and_then(|principal| policy.personal.get(principal)) {
        None => Some(agent),
        Some(own) => (own.name == agent.name).then(|| own.clone()),
    }
}

/// Tells whether the policy knows the agent that a key was made for.
pub fn knows(policy: &Policy, agent: &str) -> bool {
    named(policy, agent).is_some()
}

fn of_name<'p>(policy: &'p Policy, name: &str) -> Option<&'p Arc<Agent>> {
    policy.agents.iter().chain([&policy.default]).find(|agent| same(&agent.name, name))
}

/// Finds the agent of somebody who has proved to be nobody in particular.
fn claimed(policy: &Policy, tag: Option<&str>, client: Option<&str>) -> Arc<Agent> {
    let by_tag = |way: &Match| matches!((way, tag), (Match::Tag(of), Some(tag)) if same(of, tag));
    let by_client =
        |way: &Match| matches!((way, client), (Match::Client(of), Some(client)) if same(of, client));
    first(policy, by_tag).or_else(|| first(policy, by_client)).unwrap_or(&policy.default).clone()
}

fn first(policy: &Policy, way: impl Fn(&Match) -> bool) -> Option<&Arc<Agent>> {
    policy.agents.iter().find(|agent| agent.matches.iter().any(&way))
}

/// Tells whether two names are the same but for the case of letters.
fn same(one: &str, other: &str) -> bool {
    one == other || without_case(one) == without_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn policy() -> Policy {
        let agent = |name: &str, matches: &[Match]| {
            Arc::new(Agent { matches: matches.to_vec(), ..Agent::bare(name, Origin::default()) })
        };
        let (key, tag) = (|of: &str| Match::ApiKey(of.into()), |of: &str| Match::Tag(of.into()));
        let agents = vec![
            agent("first", &[Match::Client("Cursor".into())]),
            agent("second", &[tag("Ops"), key("coder")]),
            agent("coder", &[Match::Client("cursor".into()), tag("ops")]),
            agent("bot", &[]),
        ];
        Policy { agents, default: agent("default", &[]), ..Policy::default() }
    }

    #[track_caller]
    fn check(key: Option<&str>, tag: Option<&str>, client: Option<&str>, expected: &str) {
        let proof = match key {
            Some(agent) => Proof::of_agent(agent),
            None => Proof { tag: tag.map(Into::into), ..Proof::default() },
        };
        let known = identify(&policy(), &proof).map(|who| {
            let claiming = who.claiming(&policy(), client.map(Into::into), tag.map(Into::into));
            claiming.agent.name.to_string()
        });
        assert_eq!(known.unwrap_or_else(|denial| format!("{denial:?}")), expected);
    }

    #[test]
    fn the_strongest_evidence_finds_the_agent() {
        check(Some("CODER"), Some("x"), Some("Cursor"), "second");
        check(Some("Bot"), Some("ops"), Some("Cursor"), "bot");
        check(Some("default"), Some("ops"), None, "default");
        check(Some("gone"), Some("ops"), Some("Cursor"), r#"UnknownAgent("gone")"#);
        check(None, Some("OPS"), Some("Cursor"), "second");
        check(None, Some("other"), Some("CURSOR"), "first");
        check(None, None, Some("Codex"), "default");
        check(None, None, None, "default");
    }

    #[test]
    fn another_policy_finds_the_agent_anew() {
        let (_, record) = crate::testing::key(1);
        let ring = KeyRing::new([KeyRecord { agent: "coder".into(), ..record.clone() }]);
        let bare = |auth| Identity { auth, ..Identity::anonymous(&policy()) };
        let by_key = Identity { principal: Some(record.principal()), ..bare(AuthKind::ApiKey) };
        let by_client = Identity { client: Some("Cursor".into()), ..bare(AuthKind::Anonymous) };
        let by_tag = Identity { tag: Some("ops".into()), ..bare(AuthKind::Anonymous) };
        let check = |who: &Identity, edit: &dyn Fn(&mut Config)| {
            let mut config = Config { policy: policy(), ..Config::default() };
            config.auth.tag_header = Some(http::HeaderName::from_static("x-tag"));
            edit(&mut config);
            who.under(&config, &ring, 0).map_or("nobody".into(), |who| who.agent.name.to_string())
        };
        let same = |_: &mut Config| {};
        let fewer = |config: &mut Config| drop(config.policy.agents.drain(..2));
        let none = |config: &mut Config| config.policy.agents.clear();
        let found = |who| [check(who, &same), check(who, &fewer), check(who, &none)];
        assert_eq!(found(&by_key), ["second", "coder", "nobody"]);
        assert_eq!(found(&by_client), ["first", "coder", "default"]);
        assert_eq!(found(&by_tag), ["second", "coder", "default"]);
        assert_eq!(
            check(&by_tag, &|config| config.auth.tag_header = None),
            "default",
            "tags are trusted no more"
        );
        assert_eq!(check(&by_client, &|config| config.auth.required = true), "nobody");
        assert_eq!(check(&by_key, &|config| config.auth.required = true), "second");
    }

    #[test]
    fn without_agents_everybody_is_the_default() {
        let who = identify(&Policy::default(), &Proof::default()).expect("somebody");
        assert_eq!((&*who.agent.name, who.owner()), ("default", Owner::default()));
        assert!(identify(&Policy::default(), &Proof::of_agent("coder")).is_err());
    }
}
