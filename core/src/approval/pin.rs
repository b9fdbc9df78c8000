//! What is served of what a server says: what was approved, and what becomes of the rest. Pure.
//!
//! **What is new is not served, and what has changed is served as it was approved or not at all**, unless the configuration only
//! wants to be warned. An approved name stays that tool's name while it is hidden: nothing else comes to have it.

use std::sync::Arc;

use super::canonical::{Fingerprint, fingerprint};
use super::{Approval, hex};
use crate::audit;
use crate::catalog::{Item, Kind, Offer};
use crate::config::Changed;
use crate::sorted::SortedSet;

/// What differs from what was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// In which list; nothing where it is the instructions.
    pub(crate) kind: Option<Kind>,
    pub(crate) name: String,
    pub(crate) change: Change,
    /// What it is now.
    pub(crate) digest: Fingerprint,
}

/// How something differs from what was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was approved as something else.
    Changed,
    /// It was not approved.
    New,
}

impl Held {
    /// Returns what tells it from everything else that differs, however long its name is.
    pub(crate) fn stamp(&self) -> String {
        let kind = self.kind.map_or("instructions", Kind::member);
        audit::digest([kind, &self.name, &hex(&self.digest)].join(" ").as_bytes())
    }
}

/// What is served of what a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) offer: Arc<Offer>,
    pub(crate) held: Vec<Held>,
}

impl Pinned {
    /// Serves everything.
    pub(crate) fn all(seen: &Arc<Offer>) -> Self {
        Self { offer: seen.clone(), held: Vec::new() }
    }

    /// Serves nothing.
    pub(crate) fn nothing(seen: &Offer) -> Self {
        let mut offer = seen.clone();
        offer.introduction.instructions = None;
        for kind in Kind::ALL {
            offer.set_items(kind, Vec::new());
        }
        Self { offer: Arc::new(offer), held: Vec::new() }
    }
}

/// Compares what a server says with what was approved. Where everything is as it was approved, it is served as it came.
pub(crate) fn pin(seen: &Arc<Offer>, approval: &Approval, changed: Changed) -> Pinned {
    let mut held = Vec::new();
    let instructions = &seen.introduction.instructions;
    let is_said_otherwise = instructions.is_some() && *instructions != approval.instructions;
    if is_said_otherwise {
        let change = if approval.instructions.is_some() { Change::Changed } else { Change::New };
        let digest = fingerprint_of_text(instructions.as_deref().unwrap_or_default());
        held.push(Held { kind: None, name: String::new(), change, digest });
    }
    let mut withheld = Vec::new();
    let lists = Kind::ALL.map(|kind| {
        let serve = |item: &Item| {
            let Verdict { served, difference } = judge(kind, item, approval);
            let Some((change, digest)) = difference else { return served };
            held.push(Held { kind: Some(kind), name: item.name.clone(), change, digest });
            if change == Change::Changed && changed == Changed::Hide {
                withheld.push(kind.known_as(&item.name));
            }
            served
        };
        seen.items(kind).iter().filter_map(serve).collect::<Vec<_>>()
    });
    if held.is_empty() || changed == Changed::Warn {
        return Pinned { offer: seen.clone(), held };
    }
    let mut offer = Offer::clone(seen);
    if is_said_otherwise {
        let approved = (changed == Changed::Approved).then(|| approval.instructions.clone());
        offer.introduction.instructions = approved.flatten();
    }
    for (kind, items) in Kind::ALL.into_iter().zip(lists) {
        offer.set_items(kind, items);
    }
    offer.withheld = SortedSet::from_iter(withheld);
    Pinned { offer: Arc::new(offer), held }
}

struct Verdict {
    /// What is served in its place.
    served: Option<Item>,
    difference: Option<(Change, Fingerprint)>,
}

fn judge(kind: Kind, item: &Item, approval: &Approval) -> Verdict {
    let Some(approved) = approval.item(kind, &item.name) else {
        let difference = Some((Change::New, fingerprint(kind, &item.text)));
        return Verdict { served: None, difference };
    };
    if approved.text == item.text {
        return Verdict { served: Some(item.clone()), difference: None };
    }
    let now = fingerprint(kind, &item.text);
    if fingerprint(kind, &approved.text) == now {
        return Verdict { served: Some(item.clone()), difference: None };
    }
    Verdict { served: Some(approved.clone()), difference: Some((Change::Changed, now)) }
}

fn fingerprint_of_text(text: &str) -> Fingerprint {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::offer;
    use super::*;

    fn check(approved: &[(&str, &str)], seen: &[(&str, &str)], changed: Changed) -> String {
        let approval = Approval::of_all("", 1, &offer(approved));
        let Pinned { offer, held } = pin(&Arc::new(offer(seen)), &approval, changed);
        let shown = offer.items(Kind::Tools).iter().map(|item| {
            let text = item.text.split('"').nth(7).unwrap_or_default();
            let mark = if offer.withholds(Kind::Tools, &item.name) { " withheld" } else { "" };
            format!("{}={text}{mark}", item.name)
        });
        let held = held.iter().map(|held| format!("{:?} {}", held.change, held.name));
        format!("{} | {}", shown.collect::<Vec<_>>().join(", "), held.collect::<Vec<_>>().join(", "))
    }

    const APPROVED: [(&str, &str); 3] = [("a", "A"), ("b", "B"), ("gone", "G")];
    const SEEN: [(&str, &str); 3] = [("b", "evil"), ("new", "N"), ("a", "A")];

    #[test]
    fn what_differs_is_held_back_as_configured() {
        insta::assert_snapshot!(check(&APPROVED, &SEEN, Changed::Approved), @"b=B, a=A | Changed b, New new");
        insta::assert_snapshot!(check(&APPROVED, &SEEN, Changed::Hide), @"b=B withheld, a=A | Changed b, New new");
        insta::assert_snapshot!(check(&APPROVED, &SEEN, Changed::Warn), @"b=evil, new=N, a=A | Changed b, New new");
        insta::assert_snapshot!(check(&APPROVED, &APPROVED, Changed::Approved), @"a=A, b=B, gone=G | ");
        insta::assert_snapshot!(check(&[], &SEEN, Changed::Approved), @" | New b, New new, New a");
    }

    #[test]
    fn what_only_looks_otherwise_is_served_as_it_came() {
        let approval = Approval::of_all("", 1, &offer(&[("a", "A")]));
        let mut seen = offer(&[]);
        let text = r#"{ "inputSchema": {"type":"object"}, "description": "\u0041", "name": "a" }"#;
        seen.set_items(
            Kind::Tools,
            vec![Item { name: "a".into(), text: text.into(), parameters: Vec::new() }],
        );
        let seen = Arc::new(seen);
        let pinned = pin(&seen, &approval, Changed::Approved);
        assert!(Arc::ptr_eq(&pinned.offer, &seen) && pinned.held.is_empty());
    }

    #[test]
    fn instructions_are_bound_as_well() {
        let approval = Approval::of_all("", 1, &offer(&[]));
        let check = |instructions: Option<&str>, changed: Changed| {
            let mut seen = offer(&[]);
            seen.introduction.instructions = instructions.map(str::to_owned);
            let Pinned { offer, held } = pin(&Arc::new(seen), &approval, changed);
            let said = offer.introduction.instructions.clone().unwrap_or_else(|| "nothing".into());
            format!("{said} {}", held.len())
        };
        assert_eq!(check(Some("Be evil."), Changed::Approved), "Be quick. 1");
        assert_eq!(check(Some("Be evil."), Changed::Hide), "nothing 1");
        assert_eq!(check(Some("Be evil."), Changed::Warn), "Be evil. 1");
        assert_eq!(check(Some("Be quick."), Changed::Hide), "Be quick. 0");
        assert_eq!(check(None, Changed::Approved), "nothing 0");
        assert_eq!(check(None, Changed::Hide), "nothing 0");
    }

    proptest! {
        /// Whatever a server says, nothing is served that was not approved.
        #[test]
        fn nothing_else_is_ever_served(
            approved in prop::collection::btree_map("[a-d]", "[x-z]{0,2}", 0..4),
            seen in prop::collection::btree_map("[a-f]", "[x-z]{0,2}", 0..6),
            hides in any::<bool>(),
        ) {
            let list = |tools: &std::collections::BTreeMap<String, String>| {
                let tools: Vec<_> = tools.iter().map(|(n, d)| (n.as_str(), d.as_str())).collect();
                offer(&tools)
            };
            let changed = if hides { Changed::Hide } else { Changed::Approved };
            let approval = Approval::of_all("", 1, &list(&approved));
            let pinned = pin(&Arc::new(list(&seen)), &approval, changed);
            for item in pinned.offer.items(Kind::Tools) {
                prop_assert_eq!(approval.item(Kind::Tools, &item.name).map(|item| &item.text), Some(&item.text));
                let same = approved.get(&item.name) == seen.get(&item.name);
                prop_assert_eq!(pinned.offer.withholds(Kind::Tools, &item.name), hides && !same);
            }
            prop_assert_eq!(pinned.held.is_empty(), seen.iter().all(|(name, text)| approved.get(name) == Some(text)));
        }
    }
}
