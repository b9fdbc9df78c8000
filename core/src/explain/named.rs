//! What a name leads to as far as the configuration alone says it, whether or not a server runs.

use std::borrow::Cow;

use crate::config::{Config, ItemKind, Naming, Variant, nearest};
use crate::route::plain;
use crate::sorted;

/// What a name leads to.
#[derive(Debug)]
pub(super) struct Named<'n> {
    pub(super) server: &'n str,
    /// The name that rules know it by.
    pub(super) name: Cow<'n, str>,
    /// Why it leads nowhere whatever rules say, where it does not.
    pub(super) nowhere: Option<String>,
}

/// Returns what of `SERVER/NAME` is behind the server's name.
pub(super) fn of_server<'n>(server: &str, text: &'n str) -> Option<&'n str> {
    let (name, rest) = text.split_at_checked(server.len())?;
    let rest = rest.strip_prefix('/')?;
    (name.eq_ignore_ascii_case(server) && !rest.is_empty()).then_some(rest)
}

/// Finds what `SERVER/NAME`, or an exposed name, leads to; says what is wrong where that cannot be told.
pub(super) fn lead<'n>(config: &'n Config, kind: ItemKind, text: &'n str) -> Result<Named<'n>, String> {
    let servers: Vec<_> = servers(config).collect();
    let by_server =
        servers.iter().find_map(|server| Some((*server, Cow::Borrowed(of_server(server, text)?))));
    let (server, name) = match by_server {
        Some(found) => found,
        None if kind == ItemKind::Resource => only_server(&servers, text)?,
        None => exposed(config, &servers, kind, text)?,
    };
    Ok(Named { nowhere: nowhere(config, kind, server, &name), server, name })
}

fn servers(config: &Config) -> impl Iterator<Item = &str> {
    config
        .servers
        .keys()
        .map(crate::names::ServerName::as_str)
        .chain(config.broken.keys().map(String::as_str))
}

fn only_server<'n>(servers: &[&'n str], text: &'n str) -> Result<(&'n str, Cow<'n, str>), String> {
    match servers {
        [only] => Ok((only, text.into())),
        _ => Err(format!("{text:?} does not say whose it is; write `SERVER/URI`")),
    }
}

/// Splits an exposed name where it is certain whose it is.
fn exposed<'n>(
    config: &'n Config,
    servers: &[&'n str],
    kind: ItemKind,
    text: &'n str,
) -> Result<(&'n str, Cow<'n, str>), String> {
    let known = known_names(config, kind);
    if config.gateway.naming == Naming::None {
        let mut holders: Vec<_> = known.iter().filter(|(_, name)| *name == text).map(|(of, _)| *of).collect();
        holders.dedup();
        return match (holders[..].as_ref(), servers) {
            ([only], _) | ([], [only]) => Ok((only, text.into())),
            _ => Err(format!("{text:?} does not say whose it is; write `SERVER/NAME`")),
        };
    }
    let split = |server: &&'n str| {
        let rest = text.strip_prefix(&plain(server, ""))?;
        let known = known.iter().find(|(of, name)| of == server && plain(of, name) == text);
        Some((*server, Cow::Borrowed(known.map_or(rest, |(_, name)| *name))))
    };
    let mut owners = servers.iter().filter_map(split);
    match (owners.next(), owners.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(format!("{text:?} may be of more than one server; write `SERVER/NAME`")),
        (None, _) => {
            let near = text.split(['/']).next().and_then(|server| nearest(server, servers));
            let hint = near.map(|near| format!("; did you mean `{near}/…`?")).unwrap_or_default();
            Err(format!("no server has {text:?}, by the names of the configuration{hint}"))
        }
    }
}

/// Returns the names of a kind that the configuration has, with their servers: those of variants and of exact rules.
fn known_names(config: &Config, kind: ItemKind) -> Vec<(&str, &str)> {
    let variants = config.variants.iter().filter(|variant| variant.kind == kind);
    let variants = variants.flat_map(|of| {
        let own = [of.name.as_str(), of.from.as_str()];
        own.map(|name| (of.server.as_str(), name))
    });
    let agents =
        config.policy.agents.iter().chain([&config.policy.default]).chain(config.policy.personal.values());
    let rules = agents.flat_map(|agent| agent.allow.iter().chain(&agent.deny));
    let selectors = rules.filter_map(|rule| match &rule.what {
        crate::config::What::Select(selector) => Some(selector),
        _ => None,
    });
    let selectors = selectors.chain(config.policy.groups.values().flat_map(|group| &group.members));
    let exact = selectors.filter(|of| of.item.is_exact() && of.kind.is_none_or(|of| of == kind));
    let exact = exact.flat_map(|of| {
        let named = config.servers.keys().filter(|server| of.server.matches_without_case(server.as_str()));
        named.map(|server| (server.as_str(), of.item.as_str()))
    });
    let mut known: Vec<_> = variants.chain(exact).collect();
    sorted::sort(&mut known);
    known.dedup();
    known
}

/// Says why a name leads nowhere, whoever asks.
fn nowhere(config: &Config, kind: ItemKind, server: &str, name: &str) -> Option<String> {
    if config.servers.iter().any(|(of, settings)| of.as_str() == server && !settings.enabled) {
        return Some(format!("the server {server:?} is disabled"));
    }
    let replaces = |variant: &&Variant| {
        let Variant { server: of, name: own, kind: of_kind, from, replaces, .. } = variant;
        of.as_str() == server && *of_kind == kind && *replaces && from == name && own != name
    };
    let Variant { name: own, origin, .. } = config.variants.iter().find(replaces)?;
    Some(format!("the variant {own:?} stands in its place ({origin})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};

    fn check(settings: &str, kind: ItemKind, names: &[&str]) -> String {
        let text = format!(
            "version: 1\n{settings}\nservers:\n  git: {{ url: 'http://a' }}\n  git__hub: {{ url: 'http://b' }}\n  my.srv: {{ url: 'http://c' }}\n  off: {{ url: 'http://d', enabled: false }}\n"
        );
        let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
        assert_eq!(parsed.problems, []);
        let said = names.iter().map(|name| match lead(&parsed.config, kind, name) {
            Ok(led) => format!("{name}: {}/{} {:?}", led.server, led.name, led.nowhere),
            Err(why) => why,
        });
        said.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn names_are_split_where_it_is_certain_whose_they_are() {
        insta::assert_snapshot!(check("", ItemKind::Tool,
            &["git/get", "GIT/get", "git/a/b", "git__get", "my_srv__get_x", "git__hub__x", "gti/get", "other", "off/x"]), @r#"
        git/get: git/get None
        GIT/get: git/get None
        git/a/b: git/a/b None
        git__get: git/get None
        my_srv__get_x: my.srv/get_x None
        "git__hub__x" may be of more than one server; write `SERVER/NAME`
        no server has "gti/get", by the names of the configuration
        no server has "other", by the names of the configuration
        off/x: off/x Some("the server \"off\" is disabled")
        "#);
        insta::assert_snapshot!(check("", ItemKind::Resource, &["git/repo://a", "repo://a"]), @r#"
        git/repo://a: git/repo://a None
        "repo://a" does not say whose it is; write `SERVER/URI`
        "#);
    }

    #[test]
    fn names_of_the_configuration_are_known_as_they_are_written() {
        let policy = "agents: { a: { allow: [my.srv/get.x, 'git/open'] } }\nvariants: { git: { bug: { from: create, replace: true } } }";
        insta::assert_snapshot!(check(policy, ItemKind::Tool, &["my_srv__get_x", "git__bug", "git/create", "git/bug"]), @r#"
        my_srv__get_x: my.srv/get.x None
        git__bug: git/bug None
        git/create: git/create Some("the variant \"bug\" stands in its place (p.yaml:3: variants.git.bug)")
        git/bug: git/bug None
        "#);
        let unnamed = format!("gateway: {{ naming: none }}\n{policy}");
        insta::assert_snapshot!(check(&unnamed, ItemKind::Tool, &["open", "bug", "elsewhere"]), @r#"
        open: git/open None
        bug: git/bug None
        "elsewhere" does not say whose it is; write `SERVER/NAME`
        "#);
    }
}
