//! From a server's description to a [`Server`]: references are replaced, then every value is checked.

use super::command::{resolve_command, resolve_hosted};
use super::endpoint::resolve_endpoint;
use super::file::{AuthEntry, DEFAULT_CACHE, DEFAULT_TIMEOUT, HttpKind, ServerEntry};
use super::item::At;
use super::model::{Endpoint, Server, Transport};
use super::native_sign_on::SigningIn;
use super::problem::{Place, Report, quote};
use super::template::{self, Expanded, Unexpanded};
use crate::names::ServerName;
use crate::sorted::SortedSet;

/// What a description is resolved against.
pub(super) struct Context<'a> {
    /// The folder that relative ones begin at.
    pub(super) folder: &'a str,
    /// Looks environment variables up.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// What becomes of a variable that is not set.
    pub(super) missing: Missing,
}

/// What becomes of a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Its server is refused.
    Refuse,
    /// The text cannot be known, and is not checked.
    Leave,
}

impl Context<'_> {
    /// Replaces the references in a text; `None` where that fails or cannot be known.
    pub(super) fn expand(&self, text: &At<String>, report: &mut Report<'_>) -> Option<String> {
        self.expanded(template::expand(&text.value, self.lookup), text, report)
    }

    /// Replaces the references to variables in a text in which secrets may stand.
    pub(super) fn expand_with_secrets(&self, text: &At<String>, report: &mut Report<'_>) -> Option<Expanded> {
        self.expanded(template::expand_with_secrets(&text.value, self.lookup), text, report)
    }

    fn expanded<T>(
        &self,
        expanded: Result<T, Unexpanded>,
        text: &At<String>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        match expanded {
            Ok(expanded) => Some(expanded),
            Err(Unexpanded::Missing(_)) if self.missing == Missing::Leave => None,
            Err(unexpanded) => {
                report.error(&text.place, unexpanded.to_string());
                if let Unexpanded::Missing(name) = unexpanded {
                    report
                        .hint(format!("set it for the gateway, or write `${{{name}:-text}}` with a default"));
                } else if unexpanded == Unexpanded::Malformed {
                    report.hint("write `$${` where a literal `${` is meant");
                }
                None
            }
        }
    }
}

impl Context<'_> {
    /// Tells whether all variables that a server waits for have a value, and reports those that do not at once.
    pub(super) fn has_all(&self, inputs: &[String], place: &Place, report: &mut Report<'_>) -> bool {
        let is_empty = |name: &&String| (self.lookup)(name).is_none_or(|value| value.trim().is_empty());
        let missing: SortedSet<&str> = inputs.iter().filter(is_empty).map(String::as_str).collect();
        if missing.is_empty() || self.missing == Missing::Leave {
            return true;
        }
        let names = missing.into_iter().collect::<Vec<_>>().join(", ");
        report.error(place, format!("waits for input: not set, or empty, in the environment: {names}"));
        report.hint("set them for the gateway");
        false
    }
}

/// Parses the name of a server.
pub(super) fn resolve_name(name: &At<String>, report: &mut Report<'_>) -> Option<ServerName> {
    match ServerName::parse(&name.value) {
        Err(invalid) => {
            report.error(&name.place, format!("{invalid}"));
            None
        }
        // A URL path drops such a segment, so the server's own endpoint could not be reached.
        Ok(_) if name.value.chars().all(|c| c == '.') => {
            report
                .error(&name.place, format!("a server name is more than dots; found {}", quote(&name.value)));
            None
        }
        Ok(parsed) => Some(parsed),
    }
}

/// Resolves a description; `None` where something is wrong or cannot be known.
pub(super) fn resolve_server(
    place: &Place,
    entry: &ServerEntry,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Server> {
    let transport = match (&entry.command, &entry.url) {
        (Some(command), None) => {
            refuse_pairs(entry.headers.as_deref(), "headers", "url", report);
            if let Some(auth) = &entry.auth {
                refuse_with(&auth.place, "auth", "url", report);
            }
            if let Some(kind) = &entry.transport {
                refuse_with(&kind.place, "transport", "url", report);
            }
            resolve_command(command, entry, context, report).map(Transport::Stdio)
        }
        (None, Some(url)) => {
            refuse_command_settings(entry, report);
            let kind = entry.transport.as_ref().map_or(HttpKind::Http, |kind| kind.value);
            let written = entry.headers.iter().flatten();
            let headers: Vec<_> =
                written.chain(entry.auth.iter().filter_map(|auth| auth.value.header())).collect();
            let endpoint = resolve_endpoint(url, &headers, context, report);
            let endpoint = with_sign_on(endpoint, entry, context, report);
            endpoint.map(match kind {
                HttpKind::Http => Transport::Http,
                HttpKind::Sse => Transport::Sse,
            })
        }
        (Some(_), Some(url)) => {
            report.error(&url.place, "a server has either `command` or `url`, not both");
            None
        }
        (None, None) if entry.host.as_ref().is_some_and(|host| host.value.source.is_some()) => {
            resolve_hosted(entry, context, report).map(Transport::Stdio)
        }
        (None, None) => {
            report.error(place, "a server needs `command` (a subprocess) or `url` (HTTP)");
            report
                .hint("for example `command: [uvx, mcp-server-time]` or `url: https://mcp.example.com/mcp`");
            None
        }
    };
    Some(Server {
        transport: transport?,
        timeout: entry.timeout.as_ref().map_or(DEFAULT_TIMEOUT, |timeout| timeout.value),
        cache: entry.cache.as_ref().map_or(DEFAULT_CACHE, |cache| cache.value),
        enabled: is_enabled(entry),
        elicitation: entry.elicitation.clone().unwrap_or_default(),
        approval: entry.approval.unwrap_or_default(),
    })
}

/// Adds how an endpoint is signed in at, where it is.
fn with_sign_on(
    endpoint: Option<Endpoint>,
    entry: &ServerEntry,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Endpoint> {
    let Some(AuthEntry::OAuth(oauth)) = entry.auth.as_ref().map(|auth| &auth.value) else { return endpoint };
    let mut names = entry.headers.iter().flatten().map(|(name, _)| name);
    if let Some(name) = names.find(|name| name.value.eq_ignore_ascii_case("authorization")) {
        report.error(&name.place, "`auth.oauth` sets this header itself");
        return None;
    }
    match oauth.resolve(context, report)? {
        SigningIn::ByItself(sign_on) => Some(Endpoint { sign_on: Some(sign_on), ..endpoint? }),
        SigningIn::ByConsent(consent) => Some(Endpoint { consent: Some(consent), ..endpoint? }),
    }
}

/// Returns whether a description is of a server that is served.
pub(super) fn is_enabled(entry: &ServerEntry) -> bool {
    entry.enabled.as_ref().is_none_or(|enabled| enabled.value)
}

fn refuse_command_settings(entry: &ServerEntry, report: &mut Report<'_>) {
    refuse_pairs(entry.env.as_deref(), "env", "command", report);
    for (texts, key) in [(&entry.args, "args"), (&entry.allow_env, "allow_env")] {
        if let Some(first) = texts.as_ref().and_then(|texts| texts.first()) {
            refuse_with(&first.place, key, "command", report);
        }
    }
    if let Some(cwd) = &entry.cwd {
        refuse_with(&cwd.place, "cwd", "command", report);
    }
    if let Some(host) = &entry.host {
        refuse_with(&host.place, "host", "command", report);
    }
}

fn refuse_pairs(
    pairs: Option<&[(At<String>, At<String>)]>,
    key: &str,
    belongs_to: &str,
    report: &mut Report<'_>,
) {
    if let Some((name, _)) = pairs.and_then(<[_]>::first) {
        refuse_with(&name.place, key, belongs_to, report);
    }
}

fn refuse_with(place: &Place, key: &str, belongs_to: &str, report: &mut Report<'_>) {
    report.error(place, format!("`{key}` belongs to a server with `{belongs_to}`"));
}
