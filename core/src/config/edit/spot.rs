//! Where everything in a text stands, from its first to its last byte, as the parsers of both syntaxes say.

use jsonc_parser::ast::{ObjectPropName, Value as Parsed};
use jsonc_parser::common::Ranged;
use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::config::json;
use crate::config::node::Syntax;

/// A value's place. Offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// Where it begins; a text in lines of its own (`|`) begins with its first line.
    pub(super) start: usize,
    /// Where its last byte ends, without what comes after it.
    pub(super) end: usize,
    pub(super) shape: Shape,
    /// Whether it is an alias, or has a name for aliases.
    pub(super) is_shared: bool,
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    Single,
    Double,
    /// In lines of its own.
    Lines,
    List {
        items: Vec<Spot>,
        flow: bool,
    },
    Map {
        entries: Vec<(KeySpot, Spot)>,
        flow: bool,
    },
}

/// A key's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySpot {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_shared: bool,
}

impl Spot {
    /// Reads where everything stands in a text that has been read without an error.
    pub(super) fn read(text: &str, syntax: Syntax) -> Option<Self> {
        match syntax {
            Syntax::Json => Some(of_json(&json::parse(text)?)),
            Syntax::Yaml => Builder::read(text),
        }
    }

    /// Tells whether an alias or a name for aliases stands anywhere in it.
    pub(super) fn has_shared(&self) -> bool {
        self.is_shared
            || match &self.shape {
                Shape::List { items, .. } => items.iter().any(Self::has_shared),
                Shape::Map { entries, .. } => {
                    entries.iter().any(|(key, value)| key.is_shared || value.has_shared())
                }
                _ => false,
            }
    }

    /// Returns the entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[(KeySpot, Self)] {
        if let Shape::Map { entries, .. } = &self.shape { entries } else { &[] }
    }

    /// Tells whether it is a list or map in braces.
    pub(super) fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::List { flow: true, .. } | Shape::Map { flow: true, .. })
    }

    /// Tells whether it is a list or map in lines.
    pub(super) fn is_block(&self) -> bool {
        matches!(self.shape, Shape::List { flow: false, .. } | Shape::Map { flow: false, .. })
    }
}

fn of_json(parsed: &Parsed<'_>) -> Spot {
    let shape = match parsed {
        Parsed::Array(array) => {
            Shape::List { items: array.elements.iter().map(of_json).collect(), flow: true }
        }
        Parsed::Object(object) => {
            let entry = |name: &ObjectPropName<'_>, value| {
                let (start, end) = (name.start(), name.end());
                (KeySpot { text: name.clone().into_string(), start, end, is_shared: false }, of_json(value))
            };
            let entries = object.properties.iter();
            Shape::Map {
                entries: entries.map(|property| entry(&property.name, &property.value)).collect(),
                flow: true,
            }
        }
        Parsed::StringLit(_) => Shape::Double,
        _ => Shape::Plain,
    };
    Spot { start: parsed.start(), end: parsed.end(), shape, is_shared: false }
}

/// Builds the places of a text from events.
struct Builder<'t> {
    text: &'t str,
    /// The offset of each character, and of the end.
    offsets: Vec<usize>,
    open: Vec<Open>,
    root: Option<Spot>,
    /// Where the latest scalar or bracket ended.
    latest: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    start: usize,
    /// Where what is in its braces begins; none where it has none.
    inside: Option<usize>,
    is_shared: bool,
    is_list: bool,
    items: Vec<Spot>,
    entries: Vec<(KeySpot, Spot)>,
    key: Option<KeySpot>,
}

impl<'t> Builder<'t> {
    fn read(text: &'t str) -> Option<Spot> {
        let offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut builder = Builder { text, offsets, open: Vec::new(), root: None, latest: 0 };
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.ok()?;
            let at = |index: usize| builder.offsets.get(index).copied();
            let (start, end) = (at(span.start.index())?, at(span.end.index())?.max(at(span.start.index())?));
            builder.receive(&event, start, end)?;
        }
        builder.root
    }

    fn receive(&mut self, event: &Event<'_>, start: usize, end: usize) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let shape = match style {
                    ScalarStyle::Plain => Shape::Plain,
                    ScalarStyle::SingleQuoted => Shape::Single,
                    ScalarStyle::DoubleQuoted => Shape::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Shape::Lines,
                };
                let is_nothing = text.is_empty() && shape == Shape::Plain && tag.is_none() && *anchor == 0;
                let end = if is_nothing { start } else { self.scalar_end(&shape, start, end)? };
                let is_shared = *anchor != 0;
                self.place(Spot { start, end, shape, is_shared }, text);
            }
            Event::Alias(_) => self.place(Spot { start, end, shape: Shape::Plain, is_shared: true }, ""),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                let is_list = matches!(event, Event::SequenceStart(..));
                let bracket = if is_list { '[' } else { '{' };
                let inside = find(self.text, start, end, Syntax::Yaml, bracket).map(|at| at + 1);
                self.latest = inside.unwrap_or(self.latest);
                let is_shared = *anchor != 0;
                let (items, entries) = (Vec::new(), Vec::new());
                self.open.push(Open { start, inside, is_shared, is_list, items, entries, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            _ => {}
        }
        Some(())
    }

    /// Returns where a scalar ends: events of some last until the next one begins.
    fn scalar_end(&self, shape: &Shape, start: usize, end: usize) -> Option<usize> {
        let text = self.text.get(start..end)?;
        let quoted = |quote: char| -> Option<usize> {
            let open = text.find(quote)? + 1;
            let mut chars = text[open..].char_indices().peekable();
            while let Some((at, c)) = chars.next() {
                if c == '\\' && quote == '"' {
                    chars.next();
                } else if c == quote {
                    if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) {
                        chars.next();
                    } else {
                        return Some(start + open + at + 1);
                    }
                }
            }
            None
        };
        match shape {
            Shape::Double => quoted('"'),
            Shape::Single => quoted('\''),
            Shape::Lines => {
                let header = self.text.get(self.latest..start)?;
                let keeps = header.rfind(['|', '>']).is_some_and(|at| header[at..].contains('+'));
                let trimmed = start + text.trim_end().len();
                let last =
                    text.rfind('\n').map_or(trimmed, |at| start + text[..at].trim_end_matches('\r').len());
                Some(if keeps { last.max(trimmed) } else { trimmed })
            }
            _ => Some(start + text.trim_end().len()),
        }
    }

    fn close(&mut self) -> Option<()> {
        let Open { start, inside, is_shared, is_list, items, entries, .. } = self.open.pop()?;
        let last = if is_list {
            items.last().map(|item| item.end)
        } else {
            entries.last().map(|(key, value)| value.end.max(key.end))
        };
        let flow = inside.is_some();
        let end = match inside {
            Some(inside) => {
                let bracket = if is_list { ']' } else { '}' };
                find(self.text, last.unwrap_or(inside), self.text.len(), Syntax::Yaml, bracket)? + 1
            }
            None => last.unwrap_or(start),
        };
        self.latest = self.latest.max(end);
        let shape = if is_list { Shape::List { items, flow } } else { Shape::Map { entries, flow } };
        self.place(Spot { start, end, shape, is_shared }, "");
        Some(())
    }

    fn place(&mut self, spot: Spot, text: &str) {
        self.latest = self.latest.max(spot.end);
        match self.open.last_mut() {
            None => self.root = Some(spot),
            Some(open) if open.is_list => open.items.push(spot),
            Some(open) => {
                if let Some(key) = open.key.take() {
                    open.entries.push((key, spot));
                } else {
                    let (start, end, is_shared) = (spot.start, spot.end, spot.is_shared);
                    open.key = Some(KeySpot { text: text.to_owned(), start, end, is_shared });
                }
            }
        }
    }
}

/// Finds a character outside of comments, where between two offsets nothing stands but white space, comments and
/// punctuation.
pub(super) fn find(text: &str, from: usize, to: usize, syntax: Syntax, wanted: char) -> Option<usize> {
    let mut at = from;
    while at < to {
        let rest = text.get(at..to)?;
        let c = rest.chars().next()?;
        let skipped = match syntax {
            Syntax::Yaml if c == '#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            Syntax::Json if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            Syntax::Json if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if c == wanted => return Some(at),
            _ => c.len_utf8(),
        };
        at += skipped;
    }
    None
}
