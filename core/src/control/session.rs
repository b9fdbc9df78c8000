//! Somebody who has signed in at the console: what is kept of them, and what that makes them now.
//!
//! **A session says who somebody is, and not what they may do**: that is told anew for each request, from the claims that were
//! kept and the configuration in force. The id is known to the browser alone; what is kept lies under its digest.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::{Fault, moment};
use super::scim::{Directory, Presence};
use super::who::{Operator, Role};
use crate::config::{Console, Holder, Issuer, Policy, Scim, SignIn};
use crate::identity::{agent_of_claims, claims_asked};
use crate::oauth::Claims;
use crate::ports::{Entropy, RecordKey};
use crate::sorted::SortedSet;

/// The collection in which sessions lie.
pub(crate) const SESSIONS: &str = "session";
/// How many values of one claim are kept.
const VALUES: usize = 200;
/// How many items are listed at a time, and at most.
const LISTED: (usize, usize) = (100, 1000);
/// The longest value that is kept, and the longest name, in bytes.
const LONGEST: usize = 256;

/// How somebody has signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// At the identity provider.
    IdentityProvider,
    /// With the admin credential.
    AdminKey,
}

/// What is kept of somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) principal: Arc<str>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) by: By,
    /// What stands for the settings by which they signed in.
    judged_by: String,
    /// The claims that were asked for, each with its values.
    claims: Vec<(String, Vec<String>)>,
    pub(crate) created: u64,
    pub(crate) until: u64,
}

/// What decides about a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standard<'a> {
    pub(crate) console: &'a Console,
    pub(crate) policy: &'a Policy,
    /// The directory, where the identity provider writes one.
    pub(crate) directory: Option<(&'a Scim, &'a Directory)>,
    /// What stands for the settings by which one signs in at the provider now, and by the admin credential.
    pub(crate) judged_by: (Option<&'a str>, Option<&'a str>),
    pub(crate) now: u64,
}

/// Returns what stands for all that decides about who signs in at a provider.
pub(crate) fn judged_by(issuer: &Issuer, client: &SignIn) -> String {
    format!("{:x} {}", issuer.digest(), client.client_id)
}

/// Returns an id that nobody can guess.
pub(crate) fn new_id(entropy: &impl Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns what a session is known by to others than its browser; nothing where a text is no id.
pub(crate) fn digest_of(id: &str) -> Option<String> {
    let is_one = id.len() == 43 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    is_one.then(|| URL_SAFE_NO_PAD.encode(Sha256::digest(id)))
}

/// Returns where a session lies.
pub(crate) fn key_of(digest: &str) -> RecordKey {
    RecordKey::new(SESSIONS, digest)
}

impl Session {
    /// The session of somebody whom an identity provider has named, as that is configured.
    pub(crate) fn of_claims(
        (principal, claims): (&str, &Claims),
        judged_by: String,
        (console, policy): (&Console, &Policy),
        now: u64,
    ) -> Self {
        let mut names: Vec<_> = console.claims().chain(claims_asked(policy)).collect();
        names.sort_unstable();
        names.dedup();
        let short = |text: &String| !text.is_empty() && text.len() <= LONGEST;
        let kept = |name: &str| {
            let mut values: Vec<_> = claims.values(name).into_iter().filter(short).collect();
            // Where there are too many, those count that are asked for.
            values.sort_by_key(|value| !is_asked(console, policy, name, value));
            values.truncate(VALUES);
            (name.to_owned(), values)
        };
        let known_as = ["name", "preferred_username", "email"].into_iter();
        let known_as = known_as.filter_map(|name| claims.values(name).into_iter().find(short));
        Self {
            principal: principal.into(),
            name: known_as.into_iter().find(|name| !name.chars().any(char::is_control)).map(Into::into),
            by: By::IdentityProvider,
            judged_by,
            claims: names.into_iter().map(kept).collect(),
            created: now,
            until: now + millis(console),
        }
    }

    /// The session of who has the admin credential.
    pub(crate) fn of_admin(judged_by: String, console: &Console, now: u64) -> Self {
        Self {
            principal: Operator::admin().principal,
            name: None,
            by: By::AdminKey,
            judged_by,
            claims: Vec::new(),
            created: now,
            until: now + millis(console),
        }
    }

    /// Reads what was kept.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the text that is kept.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it has texts and numbers alone")
    }

    /// Returns who governs by it, with what they may do now; nobody where it counts no more.
    pub(crate) fn operator(&self, digest: &str, standard: &Standard<'_>) -> Option<Operator> {
        let (at_provider, by_key) = standard.judged_by;
        let judged_by = match self.by {
            By::IdentityProvider => at_provider,
            By::AdminKey => by_key,
        };
        if judged_by != Some(&self.judged_by) || self.until <= standard.now {
            return None;
        }
        let session = Some(digest.into());
        if self.by == By::AdminKey {
            return Some(Operator { session, ..Operator::admin() });
        }
        let presence = standard.directory.map(|(scim, directory)| directory.presence(scim, &self.principal));
        let groups = match presence {
            None => None,
            Some(Presence::There(groups)) => groups,
            Some(Presence::Left | Presence::Unknown) => return None,
        };
        let claims = Claims::known(&self.claims);
        let is_known = |name: &str| self.claims.iter().any(|(known, _)| known == name);
        let agent = agent_of_claims(standard.policy, &claims, is_known);
        Some(Operator {
            principal: self.principal.clone(),
            name: self.name.clone(),
            role: role_of(standard.console, &claims, groups)?,
            agents: agent.into_iter().map(|agent| agent.name.clone()).collect(),
            session,
        })
    }

    /// Describes it to those who may see it.
    pub(crate) fn described(&self, digest: &str, operator: &Operator, asked_by: &Operator) -> Value {
        json!({
            "id": digest,
            "principal": self.principal,
            "name": self.name,
            "role": operator.role,
            "by": self.by,
            "created": moment(self.created),
            "expires": moment(self.until),
            "current": asked_by.session.as_deref() == Some(digest),
        })
    }
}

/// Returns the first role that somebody holds; none where they are not let in.
fn role_of(console: &Console, claims: &Claims, groups: Option<&SortedSet<Arc<str>>>) -> Option<Role> {
    let holds = |holder: &Holder| match holder {
        Holder::Claim(name, value) => claims.has(name, value),
        Holder::Group(name) => groups.is_some_and(|groups| groups.contains(&**name)),
    };
    let held =
        |role: &Role| console.roles.iter().any(|(of, holders)| of == role && holders.iter().any(holds));
    Role::ALL.into_iter().find(held).or_else(|| console.members.then_some(Role::Member))
}

/// Reads which part of a list is asked for: after which item, and how many.
pub(crate) fn part_of_list(query: Option<&str>) -> Result<(Option<String>, usize), Fault> {
    let (mut after, mut most) = (None, LISTED.0);
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "cursor" => after = Some(value.into_owned()),
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=LISTED.1).contains(number));
                let expected = || Fault::field("limit", &format!("expected a number from 1 to {}", LISTED.1));
                most = number.ok_or_else(expected)?;
            }
            _ => return Err(Fault::field(&key, "unknown parameter; known: cursor, limit")),
        }
    }
    Ok((after, most))
}

fn is_asked(console: &Console, policy: &Policy, name: &str, value: &str) -> bool {
    let mut of_roles = console.roles.iter().flat_map(|(_, holders)| holders);
    of_roles.any(|holder| matches!(holder, Holder::Claim(n, v) if n == name && v == value))
        || crate::identity::asks(policy, name, value)
}

fn millis(console: &Console) -> u64 {
    u64::try_from(console.session.as_millis()).unwrap_or_default()
}
