//! One file from its text to candidates: every server it describes, with what came of it.
//!
//! **One bad server never takes down another.** Names that are the same to some client or system are refused wherever
//! they stand, all of them: which came first decides nothing.

use super::file::{CommandEntry, GatewayEntry, ServerEntry};
use super::item::At;
use super::mcpx::{self, App, Purpose, Resolved};
use super::model::{Server, Transport};
use super::native_policy::Sections;
use super::overlay::{OverlayDraft, read_overlay};
use super::problem::{self, Place, Problem, Report, quote};
use super::secret::SecretUse;
use super::server::{Context, Missing, is_enabled, resolve_name, resolve_server};
use super::source::{Beside, Draft, DraftServer, Kind, Source, read_draft};
use crate::names::ServerName;
use crate::sorted::SortedMap;

/// What came of one file.
pub(super) struct Loaded<'s> {
    pub(super) source: &'s Source,
    pub(super) kind: Option<Kind>,
    pub(super) gateway: Option<(Place, GatewayEntry)>,
    pub(super) app: Option<App>,
    pub(super) sections: Sections,
    /// What it says where it is an overlay.
    pub(super) overlay: Option<OverlayDraft>,
    pub(super) candidates: Vec<Candidate>,
    /// Where it needs secrets that are no server's.
    pub(super) uses: Vec<SecretUse>,
    pub(super) problems: Vec<Problem>,
}

impl Loaded<'_> {
    /// Returns the names of its servers, as they are written.
    pub(super) fn server_names(&self) -> impl Iterator<Item = String> {
        self.candidates.iter().map(|candidate| candidate.name.value.clone())
    }

    /// Adds the problems that `resolve` finds where they stand in the file.
    pub(super) fn reporting<T>(&mut self, resolve: impl FnOnce(&mut Report<'_>) -> T) -> T {
        let mut report = Report::new(&self.source.path);
        let resolved = resolve(&mut report);
        self.problems.extend(report.finish());
        problem::in_order(&mut self.problems);
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

/// Loads files, and overlays to go with them, and compares the names of all their servers.
pub(super) fn load<'s>(
    (sources, overlays): (&'s [Source], &'s [Source]),
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: Missing,
) -> Vec<Loaded<'s>> {
    let beside = Beside::of(sources);
    let mut drafts: Vec<_> = sources.iter().map(|source| draft_one(source, beside)).collect();
    apply_apps(&mut drafts);
    drafts.extend(overlays.iter().map(draft_overlay));
    let mut loaded: Vec<_> = drafts.into_iter().map(|drafted| load_one(drafted, lookup, missing)).collect();
    refuse_equal_names(&mut loaded);
    for file in &mut loaded {
        problem::in_order(&mut file.problems);
    }
    loaded
}

/// A file that has been read, before anything is resolved.
struct Drafted<'s> {
    source: &'s Source,
    kind: Option<Kind>,
    draft: Draft,
    report: Report<'s>,
}

fn draft_one(source: &Source, beside: Beside) -> Drafted<'_> {
    let mut report = Report::new(&source.path);
    let (kind, draft) = match read_draft(source, beside, &mut report) {
        Some((kind, draft)) => (Some(kind), draft),
        None => (None, Draft::default()),
    };
    Drafted { source, kind, draft, report }
}

fn draft_overlay(source: &Source) -> Drafted<'_> {
    let mut report = Report::new(&source.path);
    let draft = read_overlay(source, &mut report);
    Drafted { source, kind: None, draft, report }
}

/// Writes what an `app.yaml` says of single servers into their descriptions.
fn apply_apps(drafts: &mut [Drafted<'_>]) {
    let apps: Vec<_> = drafts.iter().filter_map(|drafted| drafted.draft.app.clone()).collect();
    for Drafted { draft, report, .. } in drafts {
        for server in &mut draft.servers {
            if let Some(place) = apps.iter().find_map(|app| app.inactive(&server.name.value)) {
                server.entry.enabled = Some(At { value: false, place: place.clone() });
            }
            sign_in(server, &apps, report);
        }
    }
}

/// Lets a server be signed in at with the client that an `app.yaml` has for its host, unless it has a credential.
fn sign_in(server: &mut DraftServer, apps: &[App], report: &mut Report<'_>) {
    let entry = &mut server.entry;
    let Some(url) = entry.url.as_ref().filter(|_| entry.auth.is_none()) else { return };
    let Some(client) = apps.iter().find_map(|app| app.client_of(&url.value)) else { return };
    let mut names = entry.headers.iter().flatten().map(|(name, _)| name);
    if let Some(name) = names.find(|name| name.value.eq_ignore_ascii_case("authorization")) {
        report.warn(&name.place, "the server keeps this credential; `staticOauth` has another for its host");
        return;
    }
    let (auth, inputs) = client.entry(&url.place);
    entry.auth = Some(auth);
    server.inputs.extend_from_slice(inputs);
}

fn load_one<'s>(
    drafted: Drafted<'s>,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: Missing,
) -> Loaded<'s> {
    let Drafted { source, kind, draft, mut report } = drafted;
    let folder = if kind == Some(Kind::Native) { source.folder() } else { source.workspace() };
    let context = Context { folder, lookup, missing };
    let servers = draft.servers.into_iter();
    let candidates = servers.map(|server| resolve_candidate(server, &context, &mut report)).collect();
    let Draft { gateway, app, sections, overlay, .. } = draft;
    Loaded {
        source,
        kind,
        gateway,
        app,
        sections,
        overlay,
        candidates,
        uses: Vec::new(),
        problems: report.finish(),
    }
}

fn resolve_candidate(draft: DraftServer, context: &Context<'_>, report: &mut Report<'_>) -> Candidate {
    let DraftServer { name, entry, inputs, broken } = draft;
    let resolve = |report: &mut Report<'_>| {
        let parsed = resolve_name(&name, report);
        let server = match broken {
            None if context.has_all(&inputs, &name.place, report) => {
                resolve_server(&name.place, &entry, context, report)
            }
            None | Some(_) => None,
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

/// Resolves the `app.yaml` among the files; nothing where there is none.
pub(super) fn resolve_app(loaded: &mut [Loaded<'_>], purpose: Purpose<'_>) -> Option<Resolved> {
    let is_native = loaded.iter().any(|file| file.kind == Some(Kind::Native));
    let index = loaded.iter().position(|file| file.app.is_some())?;
    let first = loaded[index].source.path.clone();
    let other = loaded.iter().skip(index + 1).find(|file| file.app.is_some());
    if let Some(other) = other.map(|file| file.source.path.clone()) {
        let message = format!("{other} is an `app.yaml`, too; there can be one");
        loaded[index].reporting(|report| report.error(&Place::default(), message));
    }
    if is_native {
        let message = "an `app.yaml` goes with MCPX's `mcp.json`, not with a native file";
        loaded[index].reporting(|report| report.error(&Place::default(), message));
    }
    let app = loaded[index].app.take()?;
    let own = loaded.iter().filter(|file| file.overlay.is_none());
    let candidates = own.flat_map(|file| &file.candidates);
    let names: Vec<_> = candidates
        .filter(|candidate| candidate.fault.is_none() || matches!(purpose, Purpose::Serve(_)))
        .map(|candidate| candidate.name.value.clone())
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Some(mcpx::resolve(&app, &first, &names, purpose, &mut loaded[index].problems))
}

/// Refuses servers whose names are equal once case is ignored and every other character than `[A-Za-z0-9_-]` is `_`,
/// as it is in exposed names.
fn refuse_equal_names(loaded: &mut [Loaded<'_>]) {
    let mut holders: SortedMap<String, Vec<(usize, usize)>> = SortedMap::new();
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

/// Refuses the servers that are programs, where none can be started.
pub(super) fn refuse_commands(loaded: &mut [Loaded<'_>]) {
    for file in loaded {
        let mut report = Report::new(&file.source.path);
        for candidate in &mut file.candidates {
            let Some((_, Server { transport: Transport::Stdio(_), enabled: true, .. })) = candidate.server
            else {
                continue;
            };
            let place = match &candidate.entry.command {
                Some(CommandEntry::Program(program)) => &program.place,
                Some(CommandEntry::Line(line)) => {
                    line.first().map_or(&candidate.name.place, |first| &first.place)
                }
                None => &candidate.name.place,
            };
            let ((), fault) = report.confine(&candidate.name.value, |report| {
                report.error(place, "this gateway's host starts no programs, so that a server cannot be a `command` here");
                report.hint(
                    "run it with Portcullis on a machine of yours (`portcullis serve`), and put that gateway's URL here: \
                     `url: https://GATEWAY/mcp/servers/NAME`, with a key of its own in `headers`",
                );
            });
            (candidate.server, candidate.fault) = (None, fault);
        }
        file.problems.extend(report.finish());
        problem::in_order(&mut file.problems);
    }
}

pub(super) fn folded(name: &str) -> String {
    let fold = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') => c,
        _ => '_',
    };
    name.chars().map(fold).collect()
}
