//! Whom the identity provider has provisioned, as far as it decides: who is let in no more, and who is in which group.
//!
//! **It is held in memory, so that no call waits for a store.** Who is not in the directory is judged by their token alone; who
//! was in it and is no more is let in no more. **Until it has been read, nobody is let in whom it may deny.**

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{is_active, name_of, subject};
use crate::config::{Attribute, Scim};
use crate::sorted::{SortedMap, SortedSet};

/// How somebody stands in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence<'d> {
    /// It has not been read.
    Unknown,
    /// They are let in no more.
    Left,
    /// They are let in, and are in these groups, by their display names.
    There(Option<&'d SortedSet<Arc<str>>>),
}

/// What a user was called who has been removed, or is called otherwise now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Former {
    attribute: String,
    value: String,
}

/// Whom the provider has provisioned.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Whose users they are, and by which attribute.
    of: Option<(String, Attribute)>,
    /// Which change it was read after.
    seen: Option<String>,
    /// Who is let in no more, and who is in groups, by what tokens call them.
    people: SortedMap<String, Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    has_left: bool,
    groups: SortedSet<Arc<str>>,
}

/// A user or a group by its id.
type Kept = (String, Map<String, Value>);

impl Former {
    /// Keeps in mind what somebody was called.
    pub(crate) fn new(attribute: Attribute, value: &str) -> Self {
        Self { attribute: name_of(attribute).to_owned(), value: value.to_owned() }
    }

    /// Returns the key and the text by which that is kept.
    pub(crate) fn kept(&self) -> (String, String) {
        let text = serde_json::to_string(self).expect("it has texts alone");
        (crate::control::digest(&text), text)
    }
}

impl Directory {
    /// Makes the directory of what is kept: users and groups by their ids, and what those were called who are gone. The text
    /// says which change it was read after.
    pub(crate) fn new(
        scim: &Scim,
        seen: Option<String>,
        (users, groups): (&[Kept], &[Kept]),
        gone: &[Former],
    ) -> Self {
        let attribute = scim.subject;
        let mut of_member: Vec<(&str, Arc<str>)> = Vec::new();
        for (_, group) in groups {
            let Some(name) = group.get("displayName").and_then(Value::as_str) else { continue };
            let name: Arc<str> = name.into();
            let members = group.get("members").and_then(Value::as_array).into_iter().flatten();
            let members = members.filter_map(|member| member["value"].as_str());
            of_member.extend(members.map(|member| (member, name.clone())));
        }
        of_member.sort_unstable();
        let groups_of = |id: &str| {
            let first = of_member.partition_point(|(member, _)| *member < id);
            let own = of_member[first..].iter().take_while(|(member, _)| *member == id);
            own.map(|(_, name)| name.clone()).collect()
        };
        let gone = gone.iter().filter(|former| former.attribute == name_of(attribute));
        let gone =
            gone.map(|former| (former.value.as_str(), Standing { has_left: true, ..Standing::default() }));
        let there = users.iter().filter_map(|(id, user)| {
            Some((subject(user, attribute)?, Standing { has_left: !is_active(user), groups: groups_of(id) }))
        });
        // Who is there again counts, and not that they were gone.
        let people = gone.chain(there).map(|(who, standing)| (folded(attribute, who).into_owned(), standing));
        let mut people: SortedMap<_, _> = people.collect();
        // Of whom nothing is said, nothing is known.
        people.retain(|_, standing| standing.has_left || !standing.groups.is_empty());
        Self { of: Some((scim.issuer.clone(), attribute)), seen, people }
    }

    /// Tells whether it is what was read after a change, for these settings.
    pub(crate) fn is_of(&self, scim: &Scim, seen: Option<&str>) -> bool {
        self.is_for(scim) && self.seen.as_deref() == seen
    }

    /// Tells whether it has been read for these settings.
    pub(crate) fn is_for(&self, scim: &Scim) -> bool {
        self.of.as_ref().is_some_and(|(issuer, by)| *issuer == scim.issuer && *by == scim.subject)
    }

    /// Tells whether a principal is a user who is called that.
    pub(crate) fn is_called(scim: &Scim, principal: &str, subject: &str) -> bool {
        let same = |own: &str| folded(scim.subject, own) == folded(scim.subject, subject);
        subject_of(scim, principal).is_some_and(same)
    }

    /// Tells whether anything is said of a principal, or may be.
    pub(crate) fn has(&self, scim: &Scim, principal: &str) -> bool {
        self.presence(scim, principal) != Presence::There(None)
    }

    /// Returns how a principal stands. Who is none of the provider's users is there.
    pub(crate) fn presence(&self, scim: &Scim, principal: &str) -> Presence<'_> {
        let Some(subject) = subject_of(scim, principal) else { return Presence::There(None) };
        if !self.is_for(scim) {
            return Presence::Unknown;
        }
        if self.people.is_empty() {
            return Presence::There(None);
        }
        match self.people.get(&*folded(scim.subject, subject)) {
            Some(standing) if standing.has_left => Presence::Left,
            found => Presence::There(found.map(|standing| &standing.groups)),
        }
    }
}

/// Returns what a provider calls one of its users.
fn subject_of<'p>(scim: &Scim, principal: &'p str) -> Option<&'p str> {
    principal.strip_prefix("user:")?.strip_prefix(&*scim.issuer)?.strip_prefix(':')
}

/// Returns a subject as it is compared: names of users are the same in any case (RFC 7643 §4.1.1).
fn folded(attribute: Attribute, subject: &str) -> Cow<'_, str> {
    match attribute {
        Attribute::ExternalId => subject.into(),
        Attribute::UserName => subject.to_lowercase().into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scim(subject: Attribute) -> Scim {
        let token = crate::secrets::SecretName::parse("scim").expect("a name");
        Scim { token, place: (1, 1), issuer: "corp".into(), subject }
    }

    fn kept(id: &str, said: Value) -> Kept {
        (id.to_owned(), said.as_object().expect("an object").clone())
    }

    fn directory(subject: Attribute) -> Directory {
        let users = [
            kept("1", json!({ "userName": "Ann", "externalId": "a", "active": true })),
            kept("2", json!({ "userName": "bob", "externalId": "b", "active": false })),
            kept("3", json!({ "userName": "cay", "active": true })),
        ];
        let groups = [
            kept(
                "g",
                json!({ "displayName": "Ops", "members": [{ "value": "1" }, { "value": "2" }, { "value": "9" }] }),
            ),
            kept("h", json!({ "displayName": "All", "members": [{ "value": "1" }] })),
            kept("i", json!({ "displayName": "None" })),
        ];
        let former =
            [("dan", Attribute::UserName), ("ANN", Attribute::UserName), ("d", Attribute::ExternalId)];
        let former = former.map(|(value, attribute)| Former::new(attribute, value));
        Directory::new(&scim(subject), Some("x".into()), (&users, &groups), &former)
    }

    fn check(subject: Attribute, principal: &str) -> String {
        match directory(subject).presence(&scim(subject), principal) {
            Presence::There(groups) => groups
                .into_iter()
                .flat_map(SortedSet::iter)
                .fold("there".into(), |all, g| format!("{all} {g}")),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn who_has_left_is_told_from_who_is_there() {
        let (by_id, by_name) = (Attribute::ExternalId, Attribute::UserName);
        assert_eq!(check(by_id, "user:corp:a"), "there All Ops");
        assert_eq!(check(by_id, "user:corp:A"), "there");
        assert_eq!(check(by_id, "user:corp:b"), "Left");
        assert_eq!(check(by_id, "user:corp:d"), "Left", "removed");
        assert_eq!(check(by_id, "user:corp:never"), "there", "never provisioned");
        assert_eq!(check(by_name, "user:corp:ANN"), "there All Ops", "removed, and there again");
        assert_eq!(check(by_name, "user:corp:Bob"), "Left");
        assert_eq!(check(by_name, "user:corp:dan"), "Left");
        for other in ["user:corp2:b", "user:b", "key:b", "admin", "corp:b", "user:other:corp:b"] {
            assert_eq!(check(by_id, other), "there", "{other}");
        }
    }

    #[test]
    fn what_has_not_been_read_says_nothing() {
        let scim = scim(Attribute::ExternalId);
        assert_eq!(Directory::default().presence(&scim, "user:corp:a"), Presence::Unknown);
        assert_eq!(Directory::default().presence(&scim, "key:1"), Presence::There(None));
        let of_names = directory(Attribute::UserName);
        assert_eq!(of_names.presence(&scim, "user:corp:a"), Presence::Unknown, "it was read for others");
        assert!(directory(Attribute::ExternalId).is_of(&scim, Some("x")));
        assert!(
            !directory(Attribute::ExternalId).is_of(&scim, Some("y")) && !of_names.is_of(&scim, Some("x"))
        );
    }
}
