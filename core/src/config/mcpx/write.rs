//! Writes what an `app.yaml` means natively.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use super::super::emit::{is_plain, plain_line, scalar};
use super::super::policy::{
    Agent, Argument, Auth, Fixed, Group, Match, Origin, Rule, Selector, Variant, Wording,
};
use super::Resolved;
use crate::sorted::SortedMap;

/// Returns the sections `auth`, `groups`, `variants` and `agents` of a native file.
pub(in crate::config) fn sections(resolved: &Resolved) -> String {
    let mut text = auth(&resolved.auth);
    let groups: String = resolved.policy.groups.values().map(group).collect();
    section(&mut text, "groups", &groups);
    section(&mut text, "variants", &variants(&resolved.variants));
    let agents = resolved.policy.agents.iter().chain([&resolved.policy.default]);
    section(&mut text, "agents", &agents.map(|one| agent(one)).collect::<String>());
    text
}

fn section(text: &mut String, name: &str, content: &str) {
    if !content.is_empty() {
        let _ = write!(text, "{name}:\n{content}");
    }
}

fn auth(auth: &Auth) -> String {
    let mut fields = Vec::new();
    if auth.required {
        fields.push("required: true".to_owned());
    }
    if let Some(header) = &auth.header {
        fields.push(format!("header: {}", scalar(header.as_str())));
    }
    if let Some(header) = &auth.tag_header {
        fields.push(format!("trust_tags: true, tag_header: {}", scalar(header.as_str())));
    }
    if fields.is_empty() { String::new() } else { format!("auth: {{ {} }}\n", fields.join(", ")) }
}

fn from(origin: &Origin) -> String {
    format!("  # from {}\n", plain_line(&format!("{}:{}", origin.file, origin.line)))
}

fn group(group: &Group) -> String {
    let mut text = from(&group.origin);
    if let Some(description) = &group.description {
        let _ = writeln!(text, "  # {}", plain_line(description));
    }
    let mut by_server: Vec<(&str, Vec<String>)> = Vec::new();
    for member in &group.members {
        let globs = globs(member);
        match by_server.last_mut().filter(|(server, _)| *server == member.server.as_str()) {
            Some((_, known)) => known.extend(globs),
            None => by_server.push((member.server.as_str(), globs)),
        }
    }
    if by_server.is_empty() {
        let _ = writeln!(text, "  {}: {{}}", scalar(&group.name));
        return text;
    }
    let _ = writeln!(text, "  {}:", scalar(&group.name));
    for (server, globs) in by_server {
        let globs = match &globs[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let _ = writeln!(text, "    {}: {globs}", scalar(server));
    }
    text
}

/// Writes a name of both kinds. One that could be taken for a name with its kind is written once for each.
fn globs(selector: &Selector) -> Vec<String> {
    let name = selector.item.as_str();
    let kinds: &[&str] = if name.contains(':') { &["tool:", "prompt:"] } else { &[""] };
    kinds.iter().map(|kind| scalar(&format!("{kind}{name}"))).collect()
}

fn agent(agent: &Agent) -> String {
    let mut text = from(&agent.origin);
    let _ = writeln!(text, "  {}:", scalar(&agent.name));
    let matches: Vec<_> = agent.matches.iter().map(one_match).collect();
    if !matches.is_empty() {
        let _ = writeln!(text, "    match: [{}]", matches.join(", "));
    }
    let _ = writeln!(text, "    allow: [{}]", rules(&agent.allow));
    if !agent.deny.is_empty() {
        let _ = writeln!(text, "    deny: [{}]", rules(&agent.deny));
    }
    text
}

fn one_match(by: &Match) -> String {
    match by {
        Match::ApiKey(name) => format!("{{ api_key: {} }}", scalar(name)),
        Match::Claim(name, value) => format!("{{ claim: {{ {}: {} }} }}", scalar(name), scalar(value)),
        Match::Tag(tag) => format!("{{ tag: {} }}", scalar(tag)),
        Match::Client(client) => format!("{{ client: {} }}", scalar(client)),
    }
}

fn rules(rules: &[Rule]) -> String {
    rules.iter().map(|rule| scalar(&rule.text)).collect::<Vec<_>>().join(", ")
}

fn variants(variants: &[Variant]) -> String {
    let mut by_server: SortedMap<&str, Vec<&Variant>> = SortedMap::new();
    for variant in variants {
        by_server.entry(variant.server.as_str()).or_default().push(variant);
    }
    let mut text = String::new();
    for (server, variants) in by_server {
        let _ = writeln!(text, "  {}:", scalar(server));
        text.extend(variants.into_iter().map(one_variant));
    }
    text
}

fn one_variant(variant: &Variant) -> String {
    let mut text = format!("  {}    {}:\n", from(&variant.origin), scalar(&variant.name));
    let _ = writeln!(text, "      from: {}", scalar(&variant.from));
    if let Some(description) = &variant.description {
        let _ = writeln!(text, "      description: {}", wording(description));
    }
    if variant.fixed == Fixed::Noted {
        text.push_str("      fixed: noted\n");
    }
    if !variant.arguments.is_empty() {
        text.push_str("      arguments:\n");
    }
    for (name, one) in &variant.arguments {
        let _ = writeln!(text, "        {}: {}", scalar(name), argument(one));
    }
    text
}

fn wording(wording: &Wording) -> String {
    match wording {
        Wording::Rewrite(text) => format!("{{ rewrite: {} }}", scalar(text)),
        Wording::Append(text) => format!("{{ append: {} }}", scalar(text)),
    }
}

fn argument(argument: &Argument) -> String {
    let fix = argument.fix.as_ref().map(|value| format!("fix: {}", json(value)));
    let describe = argument.describe.as_ref().map(|text| format!("describe: {}", wording(text)));
    let fields: Vec<_> = fix.into_iter().chain(describe).collect();
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

/// Writes JSON as YAML: the same, but for characters that do not show as themselves, which only texts have.
fn json(value: &str) -> String {
    value.chars().fold(String::new(), |mut text, c| {
        if is_plain(c) {
            text.push(c);
        } else {
            let _ = write!(text, "\\U{:08X}", u32::from(c));
        }
        text
    })
}
