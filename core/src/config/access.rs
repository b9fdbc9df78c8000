//! From the sections about access, in whichever files they stand, to what a configuration says of it.
//!
//! **Each section stands in one file.** What is wrong with one refuses the whole configuration: an access rule has no
//! server that could be left out for it.

use super::agents::{resolve_agents, resolve_groups, resolve_tool_limits, warn_of_unread_tags};
use super::item::At;
use super::known::Known;
use super::load::{Loaded, only_one};
use super::model::Config;
#[cfg(feature = "control")]
use super::native_console::{resolve_console, uses_of_console};
use super::native_policy::Sections;
use super::policy::Auth;
use super::problem::Report;
use super::secret::uses_of_auth;
use super::variants::resolve_variants;
use crate::front::gate::is_here;
use url::Url;

/// Resolves the sections of all files into the configuration.
pub(super) fn resolve_access(loaded: &mut [Loaded<'_>], config: &mut Config) {
    let own = loaded.iter().filter(|file| file.overlay.is_none());
    let mut known = Known::new(own.flat_map(Loaded::server_names));
    if let Some((file, auth)) = only(loaded, "auth", |sections| sections.auth.take()) {
        if config.gateway.public_url.is_none() {
            loaded[file].reporting(|report| demand_audiences(&auth, report));
        }
        let has_public_url = config.gateway.public_url.is_some();
        loaded[file].reporting(|report| warn_of_the_undiscoverable(&auth, has_public_url, report));
        loaded[file].uses = uses_of_auth(&loaded[file].source.path, &auth.value);
        loaded[file].reporting(|report| demand_public_url(&auth, config.gateway.public_url.as_ref(), report));
        config.auth = auth.value;
    }
    #[cfg(feature = "control")]
    resolve_who_governs(loaded, config);
    if config.auth.issuers.is_empty() {
        warn_of_the_unserved(loaded);
    }
    if let Some((_, registry)) = only(loaded, "registry", |sections| sections.registry.take()) {
        config.registry = registry.value;
    }
    if let Some((_, audit)) = only(loaded, "audit", |sections| sections.audit.take()) {
        config.audit = audit.value;
    }
    if let Some((file, groups)) = only(loaded, "groups", |sections| sections.groups.take()) {
        config.policy.groups =
            loaded[file].reporting(|report| resolve_groups(&groups.value, &mut known, report));
    }
    if let Some((file, agents)) = only(loaded, "agents", |sections| sections.agents.take()) {
        let resolved = loaded[file].reporting(|report| {
            if config.auth.tag_header.is_none() {
                warn_of_unread_tags(&agents.value, report);
            }
            resolve_agents(&agents.value, &agents.place, &known, report)
        });
        config.policy.agents = resolved.named;
        config.policy.default = resolved.default;
        config.tool_limits = resolved.tool_limits;
    }
    if let Some((file, limits)) = only(loaded, "limits", |sections| sections.limits.take()) {
        let limits =
            loaded[file].reporting(|report| resolve_tool_limits(&limits.value, None, &known, report));
        config.tool_limits.extend(limits);
    }
    if let Some((file, variants)) = only(loaded, "variants", |sections| sections.variants.take()) {
        config.variants = loaded[file].reporting(|report| resolve_variants(&variants.value, &known, report));
    }
}

/// Resolves who governs, and how they sign in.
#[cfg(feature = "control")]
fn resolve_who_governs(loaded: &mut [Loaded<'_>], config: &mut Config) {
    let Some((file, console)) = only(loaded, "console", |sections| sections.console.take()) else { return };
    let has_address = config.gateway.public_url.as_ref().is_some_and(is_fit_to_return_to);
    config.console =
        loaded[file].reporting(|report| resolve_console(&console, &config.auth, has_address, report));
    let uses = uses_of_console(&loaded[file].source.path, &config.console);
    loaded[file].uses.extend(uses);
}

/// Reports issuers of which nobody knows for whom their tokens have to be made. What a request says of where it came to is
/// no evidence of that.
fn demand_audiences(auth: &At<Auth>, report: &mut Report<'_>) {
    for issuer in auth.value.issuers.iter().filter(|issuer| issuer.audience.is_empty()) {
        report.error(
            &auth.place,
            format!("nothing says for whom tokens of the issuer {:?} have to be made", issuer.name),
        );
        report.hint("set `gateway.public_url`, or the issuer's `audience` to the `aud` of its tokens");
    }
}

/// Warns where clients would never learn that they can sign in, or where.
fn warn_of_the_undiscoverable(auth: &At<Auth>, has_public_url: bool, report: &mut Report<'_>) {
    if auth.value.issuers.is_empty() {
        return;
    }
    if !auth.value.required {
        report.warn(
            &auth.place,
            "nobody has to sign in, so no client will: it does so where it is refused without a token",
        );
        report.hint("set `auth.required: true`");
    }
    if !has_public_url && auth.value.sign_in.is_none() {
        report.warn(
            &auth.place,
            "without `gateway.public_url` clients find where to sign in only on this machine",
        );
        report.hint("set `gateway.public_url` to the URL that clients know the gateway by");
    }
}

/// Warns of servers at which the gateway would act on behalf of callers that cannot sign in.
fn warn_of_the_unserved(loaded: &mut [Loaded<'_>]) {
    for file in loaded {
        let resolved = file.candidates.iter().filter_map(|candidate| {
            let (_, server) = candidate.server.as_ref()?;
            server.is_on_behalf().then(|| candidate.name.place.clone())
        });
        let places: Vec<_> = resolved.collect();
        file.reporting(|report| {
            for place in places {
                report.warn(&place, "this server acts on behalf of whoever signed in, and nobody can");
                report.hint("name their identity provider in `auth.issuers`");
            }
        });
    }
}

/// Reports a sign-in where nobody knows where browsers come back to, or where what is said there could be overheard.
fn demand_public_url(auth: &At<Auth>, public: Option<&Url>, report: &mut Report<'_>) {
    if auth.value.sign_in.is_some() && !public.is_some_and(is_fit_to_return_to) {
        report.error(
            &auth.place,
            "`sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine",
        );
        report.hint("it is the issuer that agents see, and where the identity provider sends people back to");
    }
}

/// Tells whether an identity provider can send people back to a URL of the gateway.
fn is_fit_to_return_to(url: &Url) -> bool {
    let is_private = url.scheme() == "https" || url.host_str().is_some_and(is_here);
    is_private && matches!(url.path(), "/" | "/mcp")
}

/// Takes a section from the first file that has it, and reports it in every other.
fn only<T>(
    loaded: &mut [Loaded<'_>],
    name: &str,
    take: impl Fn(&mut Sections) -> Option<At<T>>,
) -> Option<(usize, At<T>)> {
    only_one(loaded, name, |file| {
        let section = take(&mut file.sections)?;
        Some((section.place.clone(), section))
    })
}

#[cfg(test)]
pub(super) mod tests;
