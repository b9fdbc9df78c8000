//! Finding what a server's texts hide from people, or tell the model in place of describing something.
//!
//! **Pure, and linear in the length of the texts. Heuristics: what is found is a reason to look, and where nothing is
//! found nothing is proved.** What each cannot see stands in its module. Nothing is changed or held back here, and what
//! follows from a finding is decided elsewhere.

mod characters;
mod folding;
mod links;
mod naming;
mod walk;
mod wording;

pub use characters::is_invisible;
pub(crate) use folding::fold as read_as;

use serde::Serialize;

use super::{Kind, Offer};
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;
use walk::{Part, Path, walk};

/// The longest text that is not suspicious for its length, in bytes.
const LONG: usize = 10 << 10;
/// How much of what was found is shown, in characters.
const EVIDENCE: usize = 100;
/// How many findings of one item are kept.
const OF_ONE: usize = 10;
/// How many findings of one server are kept.
const OF_ALL: usize = 100;
/// The member that [`marked`] adds.
const MARK: &str = "suspicious";

/// What is suspicious about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspicion {
    /// Tag characters, which spell ASCII that nobody sees.
    TagCharacters,
    /// Characters without width where no script needs them.
    InvisibleCharacters,
    /// Characters that change the direction of what follows.
    BidiControls,
    /// Selectors of variants that select nothing.
    VariationSelectors,
    /// Characters that have no meaning but by agreement.
    PrivateUse,
    /// Escape sequences for terminals, and other control characters.
    ControlCharacters,
    /// Words that tell the model what to do.
    Instructions,
    /// A text of more than 10 KiB.
    TooLong,
    /// A data URL with content in a description.
    DataUrl,
    /// An image from elsewhere in a description.
    RemoteImage,
    /// A name with letters that only look like Latin ones.
    MixedScripts,
    /// A name that looks like another one of the same server.
    LookAlike,
}

impl Suspicion {
    /// Returns what programs call it.
    pub fn code(self) -> &'static str {
        match self {
            Self::TagCharacters => "tag-characters",
            Self::InvisibleCharacters => "invisible-characters",
            Self::BidiControls => "bidi-controls",
            Self::VariationSelectors => "variation-selectors",
            Self::PrivateUse => "private-use",
            Self::ControlCharacters => "control-characters",
            Self::Instructions => "instructions",
            Self::TooLong => "too-long",
            Self::DataUrl => "data-url",
            Self::RemoteImage => "remote-image",
            Self::MixedScripts => "mixed-scripts",
            Self::LookAlike => "look-alike",
        }
    }
}

/// One suspicious thing about a text. **All of it is printable ASCII**, whatever the text was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: Suspicion,
    /// Where in the item it stands, as a JSON Pointer.
    #[serde(rename = "where")]
    pub place: String,
    /// What was found there.
    pub evidence: String,
}

/// A finding, and what of a server it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// What it is about, such as `tool "add"` or `instructions`; printable ASCII.
    pub item: String,
    /// What is suspicious about it.
    pub finding: Finding,
}

/// Everything suspicious about what one server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    /// The first findings, in the order of the lists.
    pub first: Vec<Suspect>,
    /// How many more there are.
    pub more: usize,
    /// How many items they are about; the instructions are one.
    pub items: usize,
}

impl Suspects {
    /// Inspects what a server offers.
    pub(crate) fn of(offer: &Offer) -> Self {
        let mut suspects = Self::default();
        if let Some(instructions) = &offer.introduction.instructions {
            suspects.add("instructions", found_in(&quote(instructions)));
        }
        for kind in Kind::ALL {
            let items = offer.items(kind);
            let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
            let texts = items.iter().map(|item| &*item.text);
            for (name, findings) in names.iter().zip(inspect_list(kind, &names, texts)) {
                let called = match kind {
                    Kind::Tools => "tool",
                    Kind::Prompts => "prompt",
                    Kind::Resources => "resource",
                    Kind::Templates => "resource template",
                };
                suspects.add(&format!("{called} \"{}\"", plain(name, EVIDENCE)), findings);
            }
        }
        suspects
    }

    fn add(&mut self, item: &str, findings: Vec<Finding>) {
        self.items += usize::from(!findings.is_empty());
        for finding in findings {
            if self.first.len() < OF_ALL {
                self.first.push(Suspect { item: item.to_owned(), finding });
            } else {
                self.more += 1;
            }
        }
    }
}

/// Inspects tools as agents see them, each as JSON text; returns the findings of each.
pub fn inspect_tools(tools: &[&str]) -> Vec<Vec<Finding>> {
    let name = |tool: &&str| Json::check(tool.as_bytes()).ok()?.get("name")?.as_str().map(String::from);
    let names: Vec<_> = tools.iter().map(|tool| name(tool).unwrap_or_default()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    inspect_list(Kind::Tools, &names, tools.iter().copied()).collect()
}

/// Returns a tool's text with its findings as a member of it, `suspicious`, in place of one that it may have.
pub fn marked(tool: &str, findings: &[Finding]) -> String {
    let (Ok(json), Ok(findings)) = (Json::check(tool.as_bytes()), serde_json::to_string(findings)) else {
        return tool.to_owned();
    };
    let mut out = ObjectWriter::with_capacity(tool.len() + findings.len());
    for (name, value) in json.members().filter(|(name, _)| name != MARK) {
        out.member(&name, value.text());
    }
    out.member(MARK, &findings);
    out.finish()
}

fn inspect_list<'t>(
    kind: Kind,
    names: &[&str],
    texts: impl Iterator<Item = &'t str>,
) -> impl Iterator<Item = Vec<Finding>> {
    // That two URIs differ in case only is nothing special.
    let alike = match kind {
        Kind::Tools | Kind::Prompts => naming::alike(names),
        Kind::Resources | Kind::Templates => vec![None; names.len()],
    };
    let alike: Vec<_> = alike.into_iter().map(|other| other.map(|other| plain(other, EVIDENCE))).collect();
    texts.zip(alike).map(|(text, other)| {
        let mut findings = found_in(text);
        findings.extend(other.map(|other| Finding {
            what: Suspicion::LookAlike,
            place: "/name".into(),
            evidence: format!("looks like \"{other}\""),
        }));
        findings
    })
}

/// Inspects all strings of a JSON text.
fn found_in(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(json) = Json::check(text.as_bytes()) {
        walk(json, |path, part, text| inspect(path, part, text, &mut findings));
    }
    findings
}

fn inspect(path: &Path<'_>, part: Part, text: &str, findings: &mut Vec<Finding>) {
    let mut add = |what, evidence: &str| {
        if findings.len() < OF_ONE {
            findings.push(Finding { what, place: path.pointer(), evidence: plain(evidence, EVIDENCE) });
        }
    };
    characters::inspect(text, |what, evidence| add(what, &evidence));
    if let Some(passage) = wording::inspect(text) {
        add(Suspicion::Instructions, passage);
    }
    // Pictures and what is for programs may well be long, and come from elsewhere.
    if path.lies_in(&["icons", "_meta"]) {
        return;
    }
    if text.len() > LONG {
        add(Suspicion::TooLong, &format!("{} bytes", text.len()));
    }
    if part == Part::Key {
        return;
    }
    if path.ends_in(&["description", "title"]) || path.is_all() {
        links::inspect(text, &mut add);
    }
    if let Some(word) = naming::mixed(text).filter(|_| path.is_own("name")) {
        add(Suspicion::MixedScripts, word);
    }
}

/// Returns a text of which nothing but printable ASCII is left as it is, cut at `most` characters.
fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= most {
            out += "...";
            break;
        }
        match c {
            ' '..='~' => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests;
