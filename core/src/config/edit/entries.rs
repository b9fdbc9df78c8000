//! What each entry of a configuration says, as it is written, for whoever looks at entries and changes them.
//!
//! **References stay references**: no variable is looked up. Files of other programs are told as the native file that an import
//! would make of them, so that everybody sees one format, whatever lies there.

use super::super::node::{Node, Position, read, read_as};
use super::super::policy::Origin;
use super::super::source::{Beside, Kind, Source, kind};
use super::super::{import, to_yaml};
use super::place;
use super::tree::Tree;
use crate::config::node::{Syntax, Value};

/// A section whose entries have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Servers.
    Servers,
    /// Groups.
    Groups,
    /// Variants; one is called `SERVER/NAME`.
    Variants,
    /// Agents.
    Agents,
}

impl Section {
    /// Returns the key of the section.
    pub fn key(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Groups => "groups",
            Self::Variants => "variants",
            Self::Agents => "agents",
        }
    }

    /// Returns the path of an entry; nothing where no entry can have that name.
    pub fn path(self, name: &str) -> Option<Vec<String>> {
        let names = match self {
            Self::Variants => name.split_once('/').map(|(server, name)| vec![server, name])?,
            _ => vec![name],
        };
        let path = [self.key()].into_iter().chain(names).map(str::to_owned);
        names_something(name).then(|| path.collect())
    }
}

/// Every section.
const SECTIONS: [Section; 4] = [Section::Servers, Section::Groups, Section::Variants, Section::Agents];

fn names_something(name: &str) -> bool {
    name.split('/').all(|part| !part.trim().is_empty()) && !name.chars().any(char::is_control)
}

/// An entry as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Where it stands; nothing where that cannot be told.
    pub origin: Option<Origin>,
    /// What it says, as the native format has it.
    pub settings: serde_json::Value,
}

/// Returns the entries of a section, in the order of the files. Of a file that cannot be read there are none.
pub fn written(sources: &[Source], section: Section) -> Vec<Written> {
    let beside = Beside::of(sources);
    let (mut entries, mut foreign, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        let Ok((syntax, node)) = read(source) else { continue };
        match kind(beside, &node, syntax, source) {
            Some(Kind::Native) => entries.extend(of_native(&node, section, Some(&source.path))),
            Some(other) => {
                places.extend(servers_of(other, &node, &source.path));
                foreign.push(source.clone());
            }
            None => {}
        }
    }
    if foreign.is_empty() {
        return entries;
    }
    let Ok(node) = read_as(&to_yaml(&import(&foreign)), Syntax::Yaml) else { return entries };
    entries.extend(of_native(&node, section, None).into_iter().map(|entry| {
        let is_it = |origin: &&(String, Origin)| section == Section::Servers && origin.0 == entry.name;
        let origin = places.iter().find(is_it).map(|(_, origin)| origin.clone());
        Written { origin, ..entry }
    }));
    entries
}

/// Returns what is set outside of the sections, such as `gateway`, by its key. Of a file that cannot be read there is nothing.
pub fn settings(sources: &[Source]) -> Vec<Written> {
    let beside = Beside::of(sources);
    let (mut found, mut foreign) = (Vec::new(), Vec::new());
    for source in sources {
        let Ok((syntax, node)) = read(source) else { continue };
        match kind(beside, &node, syntax, source) {
            Some(Kind::Native) => found.extend(settings_of(&node, Some(&source.path))),
            Some(_) => foreign.push(source.clone()),
            None => {}
        }
    }
    if !foreign.is_empty() {
        let node = read_as(&to_yaml(&import(&foreign)), Syntax::Yaml);
        found.extend(node.iter().flat_map(|node| settings_of(node, None)));
    }
    found
}

fn settings_of(node: &Node, path: Option<&str>) -> Vec<Written> {
    let is_section = |name: &str| name == "version" || SECTIONS.iter().any(|section| section.key() == name);
    let written = |(name, at, node): (&str, Position, &Node)| Written {
        name: name.to_owned(),
        origin: path.map(|path| origin(path, at, &[name])),
        settings: Tree::of(node).to_json(),
    };
    entries_of(Some(node)).filter(|(name, ..)| !is_section(name)).map(written).collect()
}

/// Returns where the servers of a foreign file stand.
fn servers_of(kind: Kind, node: &Node, path: &str) -> Vec<(String, Origin)> {
    let Some(keys) = place(Some(kind), &["servers".to_owned()]) else { return Vec::new() };
    let section = keys.iter().try_fold(node, |node, key| node.entry(key));
    let Some(Value::Map(entries)) = section.map(|section| &section.value) else { return Vec::new() };
    let origin = |name: &str, at: Position| origin(path, at, &[&keys.join("."), name]);
    entries.iter().map(|(key, _)| (key.text.clone(), origin(&key.text, key.at))).collect()
}

fn of_native(node: &Node, section: Section, path: Option<&str>) -> Vec<Written> {
    let mut found = Vec::new();
    for (name, at, node) in entries_of(node.entry(section.key())) {
        let add = |found: &mut Vec<Written>, name: String, at, node: &Node| {
            let origin = path.map(|path| origin(path, at, &[section.key(), &name.replace('/', ".")]));
            found.push(Written { name, origin, settings: Tree::of(node).to_json() });
        };
        if section == Section::Variants {
            for (own, at, node) in entries_of(Some(node)) {
                add(&mut found, format!("{name}/{own}"), at, node);
            }
        } else {
            add(&mut found, name.to_owned(), at, node);
        }
    }
    found
}

fn entries_of(node: Option<&Node>) -> impl Iterator<Item = (&str, Position, &Node)> {
    let entries = match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, node)| (&*key.text, key.at, node))
}

fn origin(path: &str, at: Position, field: &[&str]) -> Origin {
    Origin { file: path.into(), line: at.line, field: field.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], section: Section) -> String {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        let sources: Vec<_> = files.iter().map(source).collect();
        let told = written(&sources, section).into_iter().map(|entry| {
            let origin = entry.origin.map(|origin| origin.to_string());
            format!("{} {} {}", entry.name, origin.unwrap_or_default(), entry.settings)
        });
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn entries_are_told_as_they_are_written() {
        let text = "version: 1\nservers:\n  a: { timeout: 30s, url: 'http://a/${X}' } # ours\n  b:\n    command: [x, 8]\n\
                    variants:\n  a:\n    bug: { from: make }\nagents: { c: { allow: [a] } }\ngroups:\n";
        let file = [("p.yaml", text)];
        insta::assert_snapshot!(check(&file, Section::Servers), @r#"
        a p.yaml:3: servers.a {"timeout":"30s","url":"http://a/${X}"}
        b p.yaml:4: servers.b {"command":["x",8]}
        "#);
        insta::assert_snapshot!(check(&file, Section::Variants), @r#"a/bug p.yaml:8: variants.a.bug {"from":"make"}"#);
        insta::assert_snapshot!(check(&file, Section::Agents), @r#"c p.yaml:9: agents.c {"allow":["a"]}"#);
        insta::assert_snapshot!(check(&file, Section::Groups), @"");
        insta::assert_snapshot!(check(&[("p.yaml", ": :")], Section::Servers), @"");
    }

    #[test]
    fn files_of_other_programs_are_told_in_the_native_format() {
        let file =
            [("claude.json", "{\"mcpServers\": {\n\"t\": {\"command\": \"x\", \"args\": [\"${Y}\"]}}}")];
        insta::assert_snapshot!(check(&file, Section::Servers), @r#"t claude.json:2: mcpServers.t {"command":["x","${Y}"]}"#);
    }

    #[test]
    fn paths_lead_to_entries() {
        assert_eq!(Section::Variants.path("a/b"), Some(["variants", "a", "b"].map(String::from).to_vec()));
        assert_eq!(Section::Servers.path("a"), Some(["servers", "a"].map(String::from).to_vec()));
        for odd in ["", "a", "/b", "a/", " /x", "a/\u{7}"] {
            assert_eq!(Section::Variants.path(odd), None, "{odd:?}");
        }
    }
}
