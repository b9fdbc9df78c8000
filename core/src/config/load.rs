//! One file from its text to candidates: every server it describes, with what came of it.
//!
//! **One bad server never takes down another.** Names that are the same to some client or system are refused wherever
//! they stand, all of them: which came first decides nothing.

use std::collections::BTreeMap;

use super::file::{GatewayEntry, ServerEntry};
use super::item::At;
use super::model::Server;
use super::native_policy::Sections;
use super::problem::{Place, Problem, Report, quote};
use super::server::{Context, Missing, is_enabled, resolve_name, resolve_server};
use super::source::{Draft, DraftServer, Kind, Source, read_draft};
use crate::names::ServerName;

/// What came of one file.
pub(super) struct Loaded<'s> {
    pub(super) source: &'s Source,
    pub(super) kind: Option<Kind>,
    pub(super) gateway: Option<(Place, GatewayEntry)>,
    pub(super) sections: Sections,
    pub(super) candidates: Vec<Candidate>,
    pub(super) problems: Vec<Problem>,
}

impl Loaded<'_> {
    /// Adds the problems that `resolve` finds where they stand in the file.
    pub(super) fn reporting<T>(&mut self, resolve: impl FnOnce(&mut Report<'_>) -> T) -> T {
        let mut report = Report::new(&self.source.path);
        let resolved = resolve(&mut report);
        self.problems.extend(report.finish());
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        resolved
    }
}

/// Takes what one file alone may say from the first that says it, with the file's index, and reports it in every other.
pub(super) fn only_one<T>(
    loaded: &mut [Loaded<'_>],
    section: &str,
    take: impl Fn(&mut Loaded<'_>) -> Option<(Place, T)>,
) -> Option<(usize, T)> {
    let mut first = None;
    for index in 0..loaded.len() {
        let Some((place, value)) = take(&mut loaded[index]) else { continue };
        match &first {
            None => first = Some((index, value)),
            Some((holder, _)) => {
                let holder = &loaded[*holder].source.path;
                let message = format!("{holder} has a section `{section}` already");
                loaded[index].reporting(|report| report.error(&place, message));
            }
        }
    }
    first
}

/// A server that a file describes.
pub(super) struct Candidate {
    pub(super) name: At<String>,
    pub(super) entry: ServerEntry,
    /// The server, where nothing is wrong and everything is known.
    pub(super) server: Option<(ServerName, Server)>,
    /// What is wrong.
    pub(super) fault: Option<String>,
}

/// Loads files, and compares the names of all their servers.
pub(super) fn load<'s>(
    sources: &'s [Source],
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: Missing,
) -> Vec<Loaded<'s>> {
    let mut loaded: Vec<_> = sources.iter().map(|source| load_one(source, lookup, missing)).collect();
    refuse_equal_names(&mut loaded);
    for file in &mut loaded {
        file.problems.sort_by_key(|problem| (problem.line, problem.column));
    }
    loaded
}

fn load_one<'s>(source: &'s Source, lookup: &dyn Fn(&str) -> Option<String>, missing: Missing) -> Loaded<'s> {
    let mut report = Report::new(&source.path);
    let (kind, draft) = match read_draft(source, &mut report) {
        Some((kind, draft)) => (Some(kind), draft),
        None => (None, Draft::default()),
    };
    let folder = if kind == Some(Kind::Native) { source.folder() } else { source.workspace() };
    let context = Context { folder, lookup, missing };
    let servers = draft.servers.into_iter();
    let candidates = servers.map(|server| resolve_candidate(server, &context, &mut report)).collect();
    Loaded {
        source,
        kind,
        gateway: draft.gateway,
        sections: draft.sections,
        candidates,
        problems: report.finish(),
    }
}

fn resolve_candidate(draft: DraftServer, context: &Context<'_>, report: &mut Report<'_>) -> Candidate {
    let DraftServer { name, entry, broken } = draft;
    let resolve = |report: &mut Report<'_>| {
        let parsed = resolve_name(&name, report);
        let server = match broken {
            None => resolve_server(&name.place, &entry, context, report),
            Some(_) => None,
        };
        Some((parsed?, server?))
    };
    let mark = report.mark();
    let (server, fault) = report.confine(&name.value, resolve);
    let fault = broken.or(fault);
    if !is_enabled(&entry) {
        report.excuse_since(mark);
    }
    let server = server.filter(|_| fault.is_none());
    Candidate { name, entry, server, fault }
}

/// Refuses servers whose names are equal once case is ignored and every other character than `[A-Za-z0-9_-]` is `_`,
/// as it is in exposed names.
fn refuse_equal_names(loaded: &mut [Loaded<'_>]) {
    let mut holders: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (file, Loaded { candidates, .. }) in loaded.iter().enumerate() {
        for (index, candidate) in candidates.iter().enumerate() {
            holders.entry(folded(&candidate.name.value)).or_default().push((file, index));
        }
    }
    for group in holders.into_values().filter(|group| group.len() > 1) {
        for (position, (file, index)) in group.iter().enumerate() {
            let (other_file, other_index) = group[usize::from(position == 0)];
            let other = &loaded[other_file].candidates[other_index].name;
            let line = other.place.at.line;
            let place = format!("{}:{line}", loaded[other_file].source.path);
            let message = format!("this name cannot be told from {} in {place}", quote(&other.value));
            refuse_name(&mut loaded[*file], *index, message);
        }
    }
}

fn refuse_name(file: &mut Loaded<'_>, index: usize, message: String) {
    let candidate = &mut file.candidates[index];
    let mut report = Report::new(&file.source.path);
    let ((), fault) = report.confine(&candidate.name.value, |report| {
        report.error(&candidate.name.place, message);
        report.hint("rename one of them; both are left out until then");
    });
    candidate.server = None;
    candidate.fault = candidate.fault.take().or(fault);
    file.problems.extend(report.finish());
}

fn folded(name: &str) -> String {
    let fold = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') => c,
        _ => '_',
    };
    name.chars().map(fold).collect()
}
