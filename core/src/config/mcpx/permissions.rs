//! Reads `permissions` of both generations: `default`, `consumers` and `clientNames` with `allow` or `block`, and the
//! older `base` with `profiles`.
//!
//! **A key that nobody knows is an error here**, since a rule may hide behind it.

use super::super::item::{At, Fields, Item};
use super::super::node::Node;
use super::super::problem::{Place, Report};

/// Who may do what.
#[derive(Debug, Clone)]
pub(super) struct Permissions {
    pub(super) default: Entry,
    /// By tag, as it is written.
    pub(super) consumers: Vec<(At<String>, Entry)>,
    /// By the name of a client, as it is written.
    pub(super) clients: Vec<(At<String>, Entry)>,
}

/// What somebody may do. Groups are named as they are written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) base: Base,
    pub(super) allow: Vec<At<String>>,
    pub(super) block: Vec<At<String>>,
    pub(super) place: Place,
}

/// What holds for what no group says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Allow,
    Block,
}

/// What an entry of the older generation has where it says nothing itself.
#[derive(Debug, Clone, Copy)]
struct Inherited {
    base: Base,
    /// Whether an entry may say nothing at all; only in files of that generation.
    whole: bool,
}

/// Reads the section; nothing where it does not say what holds for everybody.
pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Permissions> {
    let mut fields = item.fields(report)?;
    let default = read_default(item, &mut fields, report);
    let inherited = default
        .as_ref()
        .map(|default| Inherited { base: default.base, whole: item.node.entry("base").is_some() });
    let mut people = |key| fields.take(key).map(|item| read_people(&item, inherited, report));
    let (consumers, clients) = (people("consumers"), people("clientNames"));
    fields.finish(report);
    Some(Permissions {
        default: default?,
        consumers: consumers.unwrap_or_default(),
        clients: clients.unwrap_or_default(),
    })
}

fn read_default(item: &Item<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Entry> {
    match (fields.take("default"), fields.take("base")) {
        (Some(default), None) => read_entry(&default, None, report),
        (None, Some(base)) => Some(Entry {
            base: read_base(&base, report)?,
            allow: Vec::new(),
            block: Vec::new(),
            place: base.place(),
        }),
        (Some(_), Some(base)) => {
            report.error(&base.place(), "`base` is an older form of `default`; both stand here");
            report.hint("keep one of them");
            None
        }
        (None, None) => {
            report
                .error(&item.place(), "`default` is missing: what holds for a caller that no entry is about");
            report.hint("write `default: { block: [] }` to allow everything, `default: { allow: [] }` to allow nothing");
            None
        }
    }
}

fn read_people(
    item: &Item<'_>,
    inherited: Option<Inherited>,
    report: &mut Report<'_>,
) -> Vec<(At<String>, Entry)> {
    let Some(fields) = item.fields(report) else { return Vec::new() };
    let entries = fields.rest().into_iter();
    entries
        .filter_map(|(name, item)| {
            if name.value.trim().is_empty() {
                report.error(&name.place, "expected a name, found an empty text");
            }
            Some((name, read_entry(&item, inherited, report)?))
        })
        .collect()
}

/// Reads an entry of either generation. One of the older that has no `base` has the `inherited` one.
fn read_entry(item: &Item<'_>, inherited: Option<Inherited>, report: &mut Report<'_>) -> Option<Entry> {
    let mut fields = item.fields(report)?;
    fields.take("consumerGroupKey");
    let is_older = ["base", "profiles"].iter().any(|key| item.node.entry(key).is_some());
    let entry = if is_older || (inherited.is_some_and(|inherited| inherited.whole) && is_bare(item)) {
        read_older(item, &mut fields, inherited, report)
    } else {
        read_newer(item, &mut fields, report)
    };
    fields.finish(report);
    entry
}

/// Tells whether an entry says nothing about what is allowed, as an older one may.
fn is_bare(item: &Item<'_>) -> bool {
    ["_type", "allow", "block"].iter().all(|key| item.node.entry(key).is_none())
}

fn read_older(
    item: &Item<'_>,
    fields: &mut Fields<'_>,
    inherited: Option<Inherited>,
    report: &mut Report<'_>,
) -> Option<Entry> {
    let own = fields.take("base").map(|base| read_base(&base, report));
    let mut entry = Entry { base: Base::Block, allow: Vec::new(), block: Vec::new(), place: item.place() };
    if let Some(profiles) = fields.take("profiles") {
        let mut profiles = profiles.fields(report)?;
        entry.allow = take_groups(&mut profiles, "allow", report).unwrap_or_default();
        entry.block = take_groups(&mut profiles, "block", report).unwrap_or_default();
        profiles.finish(report);
    }
    let Some(base) = own.unwrap_or(inherited.map(|inherited| inherited.base)) else {
        if item.node.entry("base").is_none_or(Node::is_null) {
            report.error(&item.place(), "`base` is missing: `allow` or `block`");
        }
        return None;
    };
    Some(Entry { base, ..entry })
}

fn read_newer(item: &Item<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Entry> {
    let kind = fields.take("_type").map(|kind| {
        kind.parsed("`default-allow` or `default-block`", report, |text| match text {
            "default-allow" => Some(Base::Allow),
            "default-block" => Some(Base::Block),
            _ => None,
        })
    });
    let allow = take_groups(fields, "allow", report);
    let block = take_groups(fields, "block", report);
    let base = match (kind, &allow, &block) {
        (Some(kind), _, _) => kind?.value,
        (None, Some(_), _) => Base::Block,
        (None, None, Some(_)) => Base::Allow,
        (None, None, None) => {
            report.error(
                &item.place(),
                "expected `allow` (nothing but these groups) or `block` (all but these groups)",
            );
            return None;
        }
    };
    match (base, &allow, &block) {
        (Base::Allow, None, Some(_)) | (Base::Block, Some(_), None) => {}
        (Base::Allow, ..) => {
            report.error(&item.place(), "`default-allow` goes with `block` alone");
            return None;
        }
        (Base::Block, None, _) => {
            report.error(&item.place(), "`default-block` goes with `allow`, and there is none");
            return None;
        }
        (Base::Block, Some(_), Some(_)) => {
            report.warn(
                &item.place(),
                "`block` stands beside `allow`: what it names is denied even where `allow` names it too",
            );
        }
    }
    let (allow, block) = (allow.unwrap_or_default(), block.unwrap_or_default());
    Some(Entry { base, allow, block, place: item.place() })
}

fn read_base(item: &Item<'_>, report: &mut Report<'_>) -> Option<Base> {
    let base = item.parsed("`allow` or `block`", report, |text| match text {
        "allow" => Some(Base::Allow),
        "block" => Some(Base::Block),
        _ => None,
    });
    base.map(|base| base.value)
}

fn take_groups(
    fields: &mut Fields<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Vec<At<String>>> {
    fields.take(key).and_then(|item| item.texts(report))
}
