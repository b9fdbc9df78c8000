//! Exposed names: what an agent calls things, and which server's thing each one is.
//!
//! **Names do not depend on the order in which servers appear, and a name that two things would share is nobody's**:
//! each of them gets a name with a hash of its own instead, or, where names must stay as they are, none.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config::Naming;

/// The characters of a hash in a name.
const HASH: usize = 7;

/// Gives each `(server, name)` its exposed name, in the order they came; nothing where it cannot have one.
///
/// `servers` are all that are configured, known or not: a name that could be read as another server's is hashed even
/// while that server is away, so that it can never come to mean something else.
pub(crate) fn expose(
    naming: Naming,
    limit: usize,
    servers: &[&str],
    things: &[(&str, &str)],
) -> Vec<Option<String>> {
    let prefixes: Vec<_> = servers.iter().map(|server| (*server, plain(server, ""))).collect();
    let mut names: Vec<Option<String>> = match naming {
        Naming::None => things.iter().map(|(_, name)| Some((*name).to_owned())).collect(),
        Naming::Prefix => {
            things.iter().map(|(server, name)| Some(prefixed(server, name, limit, &prefixes))).collect()
        }
    };
    // A hashed name can meet a name that was given as such; the latter then is hashed as well.
    for _ in 0..3 {
        let collisions = colliding(&names);
        if collisions.is_empty() {
            break;
        }
        for index in collisions {
            let (server, name) = things[index];
            names[index] = match naming {
                Naming::None => None,
                Naming::Prefix => Some(hashed(&plain(server, name), server, name, limit)),
            };
        }
    }
    for index in colliding(&names) {
        names[index] = None;
    }
    names
}

/// Returns the indices of the names that are not the only one of their kind.
pub(crate) fn colliding(names: &[Option<String>]) -> Vec<usize> {
    let mut holders: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(name) = name {
            holders.entry(name).or_default().push(index);
        }
    }
    holders.into_values().filter(|indices| indices.len() > 1).flatten().collect()
}

fn prefixed(server: &str, name: &str, limit: usize, prefixes: &[(&str, String)]) -> String {
    let plain = plain(server, name);
    let ambiguous = prefixes.iter().any(|(other, prefix)| *other != server && plain.starts_with(prefix));
    if ambiguous || plain.len() > limit { hashed(&plain, server, name, limit) } else { plain }
}

/// Returns the exposed name that is neither cut nor made to differ from another.
pub(crate) fn plain(server: &str, name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    server.chars().map(clean).chain("__".chars()).chain(name.chars().map(clean)).collect()
}

fn hashed(plain: &str, server: &str, name: &str, limit: usize) -> String {
    let digest = Sha256::new().chain_update(server).chain_update([0x1f]).chain_update(name).finalize();
    let hash: String = digest
        .iter()
        .take(HASH)
        .map(|b| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(b & 31)]))
        .collect();
    let cut = plain.len().min(limit.saturating_sub(HASH + 1));
    format!("{}_{hash}", &plain[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(naming: Naming, things: &[(&str, &str)]) -> String {
        let servers: Vec<_> = things.iter().map(|(server, _)| *server).collect();
        let names = expose(naming, 24, &servers, things);
        names.into_iter().map(|n| n.unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_prefixed_cleaned_and_cut() {
        insta::assert_snapshot!(check(Naming::Prefix, &[("time", "now"), ("my srv", "get.x/y"), ("s", "a_very_long_tool_name_indeed")]), @"time__now my_srv__get_x_y s__a_very_long_t_tb7cccw");
    }

    #[test]
    fn a_collision_is_nobodys() {
        insta::assert_snapshot!(check(Naming::Prefix, &[("a", "b__c"), ("a__b", "c"), ("a", "x")]), @"a__b__c_peifi7y a__b__c_3a537ov a__x");
        insta::assert_snapshot!(check(Naming::None, &[("a", "t"), ("b", "t"), ("b", "u")]), @"- - u");
        // A server that claims another's hashed name only loses its own.
        insta::assert_snapshot!(check(Naming::Prefix, &[("a", "b__c"), ("a__b", "c"), ("a", "b__c_peifi7y")]), @"a__b__c_peifi7y a__b__c_3a537ov a__b__c_peifi7y_aaj7rbo");
    }

    #[test]
    fn a_name_means_the_same_whoever_is_away() {
        let both = expose(Naming::Prefix, 64, &["a", "a__b"], &[("a", "b__c"), ("a__b", "c"), ("a", "x")]);
        let one = expose(Naming::Prefix, 64, &["a", "a__b"], &[("a__b", "c")]);
        assert_eq!(both[1], one[0]);
        assert_eq!(both[2].as_deref(), Some("a__x"));
    }

    proptest! {
        #[test]
        fn unique_valid_and_independent_of_order(things in proptest::collection::btree_set(("[a_]{1,3}", "[ab_.é]{1,30}"), 1..12)) {
            let things: Vec<(&str, &str)> = things.iter().map(|(s, n)| (s.as_str(), n.as_str())).collect();
            let names = expose(Naming::Prefix, 24, &[], &things);
            let mut seen = std::collections::BTreeSet::new();
            for name in names.iter().flatten() {
                prop_assert!(name.len() <= 24 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)));
                prop_assert!(seen.insert(name.clone()));
            }
            let reversed: Vec<_> = things.iter().rev().copied().collect();
            let mut again = expose(Naming::Prefix, 24, &[], &reversed);
            again.reverse();
            prop_assert_eq!(names, again);
        }
    }
}
