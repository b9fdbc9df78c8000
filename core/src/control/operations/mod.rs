//! Every operation of the admin API, once: its method and path, who may do it, what it takes, what it gives.
//!
//! Which operation a request is, `Allow`, the role check, the method's name in the audit trail, `openapi.json` and
//! `docs/admin-api.md` are all made from this table, so that they cannot disagree.
//!
//! **To add an operation**: a variant of [`Governing`] (`governing.rs`; what a gateway that is only governed needs as well is
//! one of [`Does`]), an entry in one of the tables that [`TABLES`] lists (a part with several has a file of its own next to
//! `governing.rs`), and an arm in `flow/govern/mod.rs`. What it takes and gives is said in the notation of `notation.rs`; a name
//! with a capital is one of [`schemas::ALL`]. `cargo run --package portcullis-core --example admin_api > docs/admin-api.md` writes
//! the page anew. A path outside `/admin/v1/` has a door of its own ([`Audience::Outside`]) and is described here all the same.

#[cfg(feature = "control")]
mod activity;
#[cfg(feature = "control")]
mod described;
#[cfg(not(feature = "control"))]
#[path = "undescribed.rs"]
mod described;
#[cfg(feature = "control")]
mod fleet;
#[cfg(feature = "control")]
mod governing;
#[cfg(feature = "control")]
mod inventory;
#[cfg(feature = "control")]
mod notation;
#[cfg(feature = "control")]
pub(crate) mod openapi;
#[cfg(feature = "control")]
pub(crate) mod page;
#[cfg(feature = "control")]
mod registry;
#[cfg(feature = "control")]
mod schemas;
mod table;
#[cfg(test)]
mod tests;
#[cfg(feature = "control")]
mod trying;

use super::who::Role;

use described::Description;
#[cfg(feature = "control")]
pub(crate) use fleet::Order;
#[cfg(feature = "control")]
pub(crate) use governing::Governing;
#[cfg(feature = "control")]
pub(crate) use inventory::Writing;
#[cfg(feature = "control")]
pub(crate) use registry::{Listing, Reviewing};

/// What every path of the admin API begins with.
pub(crate) const ROOT: &str = "/admin/v1/";

/// The operations, by part.
const TABLES: &[&[Operation]] = &[
    table::OPERATIONS,
    #[cfg(feature = "control")]
    governing::OPERATIONS,
    #[cfg(feature = "control")]
    fleet::OPERATIONS,
    #[cfg(feature = "control")]
    inventory::OPERATIONS,
    #[cfg(feature = "control")]
    registry::OPERATIONS,
    #[cfg(feature = "control")]
    trying::OPERATIONS,
    #[cfg(feature = "control")]
    activity::OPERATIONS,
];

/// What is done. What is behind the feature `control` is one of [`Governing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    ShowConfiguration,
    Push,
    ShowVersions,
    ShowVersion,
    RollBack,
    Check,
    ShowKeys,
    MakeKey,
    RevokeKey,
    ShowSecrets,
    SetSecret,
    RemoveSecret,
    ShowApprovals,
    ShowApproval,
    Approve,
    ForgetApproval,
    ShowConnections,
    EndConnections,
    ReadTrail,
    ExportTrail,
    VerifyTrail,
    #[cfg(feature = "control")]
    Govern(Governing),
}

/// For whom an operation is.
#[allow(dead_code, reason = "not every build has an operation for each")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// For every role, and all of it.
    Anyone,
    /// For who reads all, and for members as far as it is theirs.
    Own,
    /// For who reads all.
    Readers,
    /// For who writes, and for members as far as it is theirs.
    OwnWrites,
    /// For admins, and for everybody else as far as it is theirs.
    Each,
    /// For who writes.
    Writers,
    /// For admins only.
    Admins,
    /// For whom another door lets in.
    Outside,
}

/// How much of something somebody may see or do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it.
    All,
    /// What is theirs.
    Own,
}

impl Audience {
    /// Tells how far a role may do it; nothing where it may not.
    pub(crate) fn reach(self, role: Role) -> Option<Reach> {
        let whole = match self {
            Self::Anyone => true,
            Self::Own | Self::Readers => role != Role::Member,
            Self::OwnWrites | Self::Writers => matches!(role, Role::Admin | Role::Operator),
            Self::Admins | Self::Each => role == Role::Admin,
            Self::Outside => false,
        };
        let has_own =
            self == Self::Each || (matches!(self, Self::Own | Self::OwnWrites) && role == Role::Member);
        if whole { Some(Reach::All) } else { has_own.then_some(Reach::Own) }
    }
}

/// What the last name of a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// One segment, as all others do.
    Segment,
    /// The rest of the path, slashes and all.
    Rest,
    /// A number.
    Number,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// `METHOD PATH`, the path with names in braces. So the audit trail calls it.
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    pub(crate) audience: Audience,
    last: Last,
    #[cfg_attr(not(feature = "control"), expect(dead_code, reason = "nobody is told there"))]
    pub(crate) description: Description,
}

const fn op(name: &'static str, does: Does, audience: Audience, description: Description) -> Operation {
    Operation { name, does, audience, last: Last::Segment, description }
}

impl Operation {
    /// Has the last name of the path stand for all the rest of it.
    const fn taking_rest(mut self) -> Self {
        self.last = Last::Rest;
        self
    }

    /// Has the last name of the path stand for a number.
    const fn numbered(mut self) -> Self {
        self.last = Last::Number;
        self
    }

    /// Returns the method.
    pub(crate) fn method(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(method, _)| method)
    }

    /// Returns the path's pattern.
    pub(crate) fn pattern(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(_, path)| path)
    }

    /// Returns what the names in the pattern stand for in a path, as they are spelt there; nothing where it does not fit.
    fn values<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let (mut values, mut path) = (Vec::new(), path);
        let mut pattern = self.pattern();
        while let Some((before, rest)) = pattern.split_once('{') {
            let after = rest.split_once('}')?.1;
            path = path.strip_prefix(before)?;
            let is_last = after.is_empty();
            let end = match path.find('/') {
                Some(end) if !(is_last && self.last == Last::Rest) => end,
                _ => path.len(),
            };
            let value;
            (value, path) = path.split_at(end);
            if value.is_empty() || (is_last && self.last == Last::Number && number(value).is_none()) {
                return None;
            }
            values.push(value);
            pattern = after;
        }
        (path == pattern).then_some(values)
    }
}

/// Reads a number of a path.
pub(crate) fn number(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// Returns every operation.
pub(crate) fn all() -> impl Iterator<Item = &'static Operation> {
    TABLES.iter().copied().flatten()
}

/// Tells whether a path is one of the admin API.
pub(crate) fn is_admin(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// A path that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'p> {
    /// The pattern that it follows.
    pub(crate) pattern: &'static str,
    /// What the names in the pattern stand for, as they are spelt in the path.
    pub(crate) values: Vec<&'p str>,
}

impl<'p> Place<'p> {
    /// Finds what a path leads to. Of several patterns that it follows it is the one with the fewest names.
    pub(crate) fn find(path: &'p str) -> Option<Self> {
        let fits = |one: &'static Operation| Some(Self { pattern: one.pattern(), values: one.values(path)? });
        all().filter_map(fits).min_by_key(|place| place.values.len())
    }

    fn operations(&self) -> impl Iterator<Item = &'static Operation> {
        let pattern = self.pattern;
        all().filter(move |one| one.pattern() == pattern)
    }

    /// Returns the operation that a method is there.
    pub(crate) fn operation(&self, method: &str) -> Option<&'static Operation> {
        self.operations().find(|one| one.method() == method)
    }

    /// Returns the methods that are answered there, as `Allow` names them.
    pub(crate) fn allowed(&self) -> String {
        self.operations().map(Operation::method).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the pattern that a path follows; empty where it leads nowhere.
pub(crate) fn route(path: &str) -> &'static str {
    Place::find(path).map_or("", |place| place.pattern)
}

/// Names a request by its operation; nothing where it is none.
pub(crate) fn described(method: &str, path: &str) -> Option<&'static str> {
    Some(Place::find(path)?.operation(method)?.name)
}
