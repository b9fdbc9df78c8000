//! YAML 1.2 (core schema) into [`Node`]s.
//!
//! **What aliases expand to is bounded**, so that a small text cannot become a large tree. There are no merge keys,
//! no tags but those of the core schema, and one document a file.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::node::{DEPTH_LIMIT, Key, Node, Position, Scalar, ScalarKind, SyntaxError, Value};
use crate::sorted::SortedMap;

/// How much a tree may weigh in bytes of text, with [`NODE_WEIGHT`] for every node.
const WEIGHT_LIMIT: usize = 8 << 20;

/// What a node weighs besides its text.
const NODE_WEIGHT: usize = 128;

/// Reads a YAML text.
pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| SyntaxError {
            at: within(text, position(*error.marker())),
            message: format!("this is not YAML: {}", error.info()),
        })?;
        builder.receive(event, position(span.start))?;
    }
    let at = Position::default();
    builder.root.ok_or_else(|| SyntaxError { at, message: "the file is empty".to_owned() })
}

fn position(marker: Marker) -> Position {
    Position::from_zero(marker.line().saturating_sub(1), marker.col())
}

/// Returns a place in the text: what an error finds missing at the end is said to be missing there, not beyond it.
fn within(text: &str, at: Position) -> Position {
    let text = text.replace("\r\n", "\n");
    let lines = text.split(['\n', '\r']).map(|line| line.chars().count());
    let (number, length) = lines.enumerate().take(at.line as usize).last().unwrap_or_default();
    let is_beyond = at.line as usize > number + 1;
    let column = (at.column as usize - 1).min(length);
    Position::from_zero(number, if is_beyond { length } else { column })
}

/// Builds a tree from events.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    documents: usize,
    open: Vec<Open>,
    anchors: SortedMap<usize, Node>,
    weight: usize,
}

/// A list or map whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

impl Builder {
    fn receive(&mut self, event: Event<'_>, at: Position) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(_) => self.begin_document(at),
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar_kind(&text, style, tag.as_deref(), at)?;
                self.weigh(at, NODE_WEIGHT + text.len())?;
                let value = Value::Scalar(Scalar { text: text.into_owned(), kind });
                self.place(Node { at, value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(error(at, "an alias of something that is not complete yet"));
                };
                let (node, weight) = (node.clone(), weight(node));
                self.weigh(at, weight)?;
                self.place(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Parts::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Parts::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin_document(&mut self, at: Position) -> Result<(), SyntaxError> {
        self.documents += 1;
        if self.documents > 1 { Err(error(at, "a second document begins; a file holds one")) } else { Ok(()) }
    }

    fn begin(
        &mut self,
        at: Position,
        anchor: usize,
        tag: Option<&Tag>,
        parts: Parts,
    ) -> Result<(), SyntaxError> {
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && matches!(&*tag.suffix, "seq" | "map"))) {
            return Err(error(at, "tags are not supported"));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(error(at, format!("nested deeper than {DEPTH_LIMIT} levels")));
        }
        if let Some(Open { parts: Parts::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(error(at, "a list or map is a key; keys are texts"));
        }
        self.open.push(Open { at, anchor, parts });
        self.weigh(at, NODE_WEIGHT)
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { at, anchor, parts }) = self.open.pop() else { return Ok(()) };
        let value = match parts {
            Parts::List(items) => Value::List(items),
            Parts::Map { entries, .. } => Value::Map(entries),
        };
        self.place(Node { at, value }, anchor)
    }

    /// Puts a finished node where it belongs, and remembers it where it has an anchor.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        let at = node.at;
        if anchor != 0 {
            self.weigh(at, weight(&node))?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { entries, key }) => match (key.take(), node.value) {
                (Some(key), value) => entries.push((key, Node { at, value })),
                (None, Value::Scalar(scalar)) => *key = Some(Key { text: scalar.text, at }),
                (None, _) => return Err(error(at, "a list or map is a key; keys are texts")),
            },
        }
        Ok(())
    }

    fn weigh(&mut self, at: Position, weight: usize) -> Result<(), SyntaxError> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_LIMIT {
            return Err(error(at, "this file is too large, once its aliases are expanded"));
        }
        Ok(())
    }
}

fn weight(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::List(items) => items.iter().map(weight).sum(),
            Value::Map(entries) => entries.iter().map(|(key, node)| key.text.len() + weight(node)).sum(),
        }
}

/// Resolves a scalar as the core schema does (YAML 1.2.2, section 10.3.2).
fn scalar_kind(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Position,
) -> Result<ScalarKind, SyntaxError> {
    if let Some(tag) = tag {
        let core = tag.is_yaml_core_schema().then_some(tag.suffix.as_str());
        return match (core, plain_kind(text)) {
            (Some("str"), _) => Ok(ScalarKind::Text),
            (Some("null"), ScalarKind::Null) => Ok(ScalarKind::Null),
            (Some("bool"), ScalarKind::Bool) => Ok(ScalarKind::Bool),
            (Some("int" | "float"), ScalarKind::Number) => Ok(ScalarKind::Number),
            _ => Err(error(at, "tags are not supported")),
        };
    }
    if style == ScalarStyle::Plain { Ok(plain_kind(text)) } else { Ok(ScalarKind::Text) }
}

fn plain_kind(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
        _ if is_number(text) => ScalarKind::Number,
        _ => ScalarKind::Text,
    }
}

fn is_number(text: &str) -> bool {
    let radix = |prefix, base| {
        text.strip_prefix(prefix)
            .is_some_and(|digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)))
    };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    radix("0o", 8)
        || radix("0x", 16)
        || matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok())
}

fn error(at: Position, message: impl Into<String>) -> SyntaxError {
    SyntaxError { at, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match read(text) {
            Ok(node) => format!("{} at {}:{}", node.kind(), node.at.line, node.at.column),
            Err(error) => format!("{}:{}: {}", error.at.line, error.at.column, error.message),
        }
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        insta::assert_snapshot!(check("yes"), @"a text at 1:1");
        insta::assert_snapshot!(check("true"), @"a boolean at 1:1");
        insta::assert_snapshot!(check("'true'"), @"a text at 1:1");
        insta::assert_snapshot!(check("!!str true"), @"a text at 1:1");
        insta::assert_snapshot!(check("-1.5e3"), @"a number at 1:1");
        insta::assert_snapshot!(check("1.2.3"), @"a text at 1:1");
        insta::assert_snapshot!(check("infinity"), @"a text at 1:1");
        insta::assert_snapshot!(check("~"), @"nothing at 1:1");
    }

    #[test]
    fn errors_have_their_place() {
        insta::assert_snapshot!(check("a: 1\nb: [1, 2\nc: 3"), @"3:2: this is not YAML: illegal placement of ':' indicator");
        insta::assert_snapshot!(check("a: 1\n)"), @"2:2: this is not YAML: simple key expected");
        insta::assert_snapshot!(check("a: *b"), @"1:4: this is not YAML: while parsing node, found unknown anchor");
        insta::assert_snapshot!(check("a: &b [*b]"), @"1:8: an alias of something that is not complete yet");
        insta::assert_snapshot!(check("a: 1\n---\nb: 2"), @"2:1: a second document begins; a file holds one");
        insta::assert_snapshot!(check("[a]: 1"), @"1:1: a list or map is a key; keys are texts");
        insta::assert_snapshot!(check("é: !secret x"), @"1:4: tags are not supported");
        insta::assert_snapshot!(check("# nothing"), @"1:1: the file is empty");
    }

    #[test]
    fn places_count_characters() {
        let node = read("a:\n  é: {ü: [x]}").unwrap();
        let item = node.entry("a").unwrap().entry("é").unwrap().entry("ü").unwrap();
        assert_eq!((item.at.line, item.at.column), (2, 10));
    }

    #[test]
    fn aliases_stand_for_what_they_name() {
        let node = read("a: &x {k: [v]}\nb: *x").unwrap();
        assert_eq!(node.entry("b"), node.entry("a"));
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let levels = (1..12).map(|level| {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            format!("a{level}: &a{level} [{aliases}]\n")
        });
        let text =
            format!("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n{}", levels.collect::<String>());
        insta::assert_snapshot!(check(&text), @"5:40: this file is too large, once its aliases are expanded");
    }

    #[test]
    fn nesting_is_bounded() {
        insta::assert_snapshot!(check(&"[".repeat(100_000)), @"1:256: this is not YAML: recursion limit exceeded");
        insta::assert_snapshot!(check(&"- ".repeat(100_000)), @"1:129: nested deeper than 64 levels");
    }
}
