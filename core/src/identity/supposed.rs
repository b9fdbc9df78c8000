//! Who may have sent a recorded request, and as whom each of two configurations knows them.
//!
//! **An entry has no tag, no claims of a token, and not for whom a key was made.** Whatever of these agrees with the agent that
//! was recorded is supposed in turn; where the configurations tell it from what cannot be supposed, that is said instead.

use std::sync::Arc;

use super::{AuthKind, Identity, KeyRing, claimed, first, named, of_name, personal, same};
use crate::config::{Agent, Config, Issuer, Match, Origin, Policy};

/// What an entry tells of who sent a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traces<'t> {
    /// The agent that it was.
    pub(crate) agent: &'t str,
    pub(crate) principal: Option<&'t str>,
    pub(crate) auth: AuthKind,
    pub(crate) client: Option<&'t str>,
}

/// Somebody whom a configuration does not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    pub(crate) why: String,
    /// Where that stands.
    pub(crate) origin: Origin,
}

/// As whom a configuration knows somebody.
pub(crate) type Known = Result<Identity, Stranger>;

/// What was not recorded, and tells who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    /// The tag that came with it.
    Tag,
    /// What the token claims.
    Claims,
    /// The token itself, of a provider whose settings change.
    Token,
}

/// What is supposed of somebody beyond what was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Guess<'g> {
    tag: Option<&'g str>,
    /// For which agent the key was made.
    made_for: Option<&'g str>,
    /// The agent whose claims the token has.
    claims_of: Option<&'g Arc<Agent>>,
}

/// Returns as whom the configuration in force and another one know somebody, for each thing that may be supposed of them.
pub(crate) fn suppositions(
    (now, then): (&Config, &Config),
    keys: (&KeyRing, u64),
    traces: &Traces<'_>,
) -> Result<Vec<(Known, Known)>, Unrecorded> {
    let guesses = guesses((now, then), keys, traces)?;
    let mut all: Vec<(Known, Known)> = Vec::new();
    for guess in guesses {
        let pair = (known((now, now), traces, &guess), known((then, now), traces, &guess));
        if !all.iter().any(|other| is_one(&other.0, &pair.0) && is_one(&other.1, &pair.1)) {
            all.push(pair);
        }
    }
    Ok(all)
}

/// Tells whether two are the same to a policy.
fn is_one(one: &Known, other: &Known) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.agent.key() == other.agent.key(),
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

fn guesses<'g>(
    (now, then): (&'g Config, &'g Config),
    (keys, at): (&'g KeyRing, u64),
    traces: &Traces<'g>,
) -> Result<Vec<Guess<'g>>, Unrecorded> {
    let agrees = |guess: &Guess<'_>| match known((now, now), traces, guess) {
        Ok(who) => same(&who.agent.name, traces.agent),
        Err(_) => true,
    };
    match traces.auth {
        AuthKind::ApiKey => {
            let made_for = traces.principal.and_then(|principal| keys.agent_of(principal, at));
            Ok(match made_for {
                Some(_) => vec![Guess { made_for, ..Guess::default() }],
                None => keys_of((now, then), traces.agent, agrees),
            })
        }
        AuthKind::Anonymous | AuthKind::SharedKey => {
            let guesses = tags(now, then).map(|tag| Guess { tag, ..Guess::default() });
            // Without tags that count, nothing beyond the client says who it was.
            let all: Vec<_> =
                guesses.filter(|guess| now.auth.tag_header.is_none() || agrees(guess)).collect();
            if all.is_empty() { Err(Unrecorded::Tag) } else { Ok(all) }
        }
        AuthKind::Token => tokens((now, then), traces, agrees),
        AuthKind::Operator | AuthKind::Admin | AuthKind::Session | AuthKind::Directory => {
            Ok(vec![Guess::default()])
        }
    }
}

/// Supposes for which agent a key was made that is no longer known.
fn keys_of<'g>(
    (now, then): (&'g Config, &'g Config),
    agent: &'g str,
    agrees: impl Fn(&Guess<'_>) -> bool,
) -> Vec<Guess<'g>> {
    let ways = ways(&now.policy).chain(ways(&then.policy));
    let named = ways.filter_map(|way| match way {
        Match::ApiKey(name) => Some(&**name),
        Match::Tag(_) | Match::Client(_) | Match::Claim(..) => None,
    });
    let guess = |name: &'g str| Guess { made_for: Some(name), ..Guess::default() };
    let all: Vec<_> = [agent].into_iter().chain(named).map(guess).filter(agrees).collect();
    if all.is_empty() { vec![guess(agent)] } else { all }
}

/// Supposes what a token of an identity provider has claimed.
fn tokens<'g>(
    (now, then): (&'g Config, &'g Config),
    traces: &Traces<'g>,
    agrees: impl Fn(&Guess<'_>) -> bool,
) -> Result<Vec<Guess<'g>>, Unrecorded> {
    let (before, after) = (issuer(now, traces.principal), issuer(then, traces.principal));
    if before.zip(after).is_some_and(|(before, after)| before.digest() != after.digest()) {
        return Err(Unrecorded::Token);
    }
    if claims(&now.policy) != claims(&then.policy) {
        return Err(Unrecorded::Claims);
    }
    let claiming = of_name(&now.policy, traces.agent).filter(|agent| agent.matches.iter().any(is_claim));
    let by_claims = claiming.map(|agent| Guess { claims_of: Some(agent), ..Guess::default() });
    let guesses = tags(now, then).map(|tag| Guess { tag, ..Guess::default() }).chain(by_claims);
    let tells = now.auth.tag_header.is_some() || !claims(&now.policy).is_empty();
    let all: Vec<_> = guesses.filter(|guess| !tells || agrees(guess)).collect();
    if all.is_empty() { Err(Unrecorded::Claims) } else { Ok(all) }
}

/// Returns the tags that tell agents apart, and none, where tags count.
fn tags<'g>(now: &'g Config, then: &'g Config) -> impl Iterator<Item = Option<&'g str>> {
    let count = |config: &&Config| config.auth.tag_header.is_some();
    let ways = [now, then].into_iter().filter(count).flat_map(|config| ways(&config.policy));
    let tags = ways.filter_map(|way| match way {
        Match::Tag(tag) => Some(Some(&**tag)),
        Match::ApiKey(_) | Match::Client(_) | Match::Claim(..) => None,
    });
    [None].into_iter().chain(tags)
}

fn ways(policy: &Policy) -> impl Iterator<Item = &Match> {
    policy.agents.iter().flat_map(|agent| &agent.matches)
}

fn is_claim(way: &Match) -> bool {
    matches!(way, Match::Claim(..))
}

/// Returns which claims lead to which agent, in the order in which that is looked for.
fn claims(policy: &Policy) -> Vec<(&str, &Match)> {
    let of = |agent: &'_ Arc<Agent>| agent.matches.iter().any(is_claim);
    let agents = policy.agents.iter().filter(|agent| of(agent));
    agents
        .flat_map(|agent| agent.matches.iter().filter(|way| is_claim(way)).map(|way| (&*agent.name, way)))
        .collect()
}

fn issuer<'c>(config: &'c Config, principal: Option<&str>) -> Option<&'c Issuer> {
    config.auth.issuers.iter().find(|issuer| principal.is_some_and(|principal| issuer.has_named(principal)))
}

/// Returns as whom a configuration knows somebody; `now` is the one in force, whose credentials they are.
fn known((config, now): (&Config, &Config), traces: &Traces<'_>, guess: &Guess<'_>) -> Known {
    let (policy, auth) = (&config.policy, &config.auth);
    let tag = guess.tag.filter(|_| auth.tag_header.is_some());
    let stranger = |why: String, field: &str| {
        let origin = Origin { field: field.to_owned(), ..Origin::default() };
        Err(Stranger { why, origin })
    };
    let agent = match traces.auth {
        AuthKind::ApiKey => {
            let name = guess.made_for.unwrap_or(traces.agent);
            match named(policy, name).and_then(|agent| personal(policy, traces.principal, agent)) {
                Some(agent) => agent,
                None => {
                    return stranger(format!("no agent is the one that its key is for, {name}"), "agents");
                }
            }
        }
        AuthKind::Operator => match of_name(policy, traces.agent) {
            Some(agent) => agent.clone(),
            None => return stranger(format!("no agent is called {}", traces.agent), "agents"),
        },
        AuthKind::Anonymous if auth.required => {
            return stranger("nobody is let in without a credential".to_owned(), "auth.required");
        }
        AuthKind::SharedKey if auth.shared_key.is_none() || auth.shared_key != now.auth.shared_key => {
            return stranger("the key that all callers share is not taken".to_owned(), "auth");
        }
        AuthKind::Anonymous | AuthKind::SharedKey => claimed(policy, tag, traces.client),
        AuthKind::Token => {
            if issuer(config, traces.principal).is_none() {
                return stranger(
                    "its identity provider is not one whose tokens are taken".to_owned(),
                    "auth",
                );
            }
            let has =
                |way: &Match| guess.claims_of.is_some_and(|of| is_claim(way) && of.matches.contains(way));
            let agent = first(policy, has).cloned().unwrap_or_else(|| claimed(policy, tag, traces.client));
            match personal(policy, traces.principal, agent) {
                Some(agent) => agent,
                None => return stranger("what holds for it alone is for another agent".to_owned(), "agents"),
            }
        }
        AuthKind::Admin | AuthKind::Session | AuthKind::Directory => {
            return stranger("who governs is nobody who calls".to_owned(), "auth");
        }
    };
    Ok(Identity {
        agent,
        principal: traces.principal.map(Into::into),
        auth: traces.auth,
        client: traces.client.map(Into::into),
        tag: tag.map(Into::into),
        bearer: None,
    })
}
