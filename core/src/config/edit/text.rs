//! One text that is changed step by step; each step is a few bytes out and a few bytes in.
//!
//! **No step counts before it was read again**: what the changed text says must be what the step was to make of it. So
//! whatever the places of a parser leave open can end in a refusal, never in another configuration.

use super::spot::{KeySpot, Shape, Spot};
use super::tree::Tree;
use super::write::{self, Prefers};
use super::{block, flow};
use crate::config::json::Lines;
use crate::config::node::{Position, Syntax, read_as};

/// How many steps one edit may take in a text: each reads it twice.
const STEPS: usize = 200;

/// Why a text stays as it is, and where the reason stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) at: Position,
    pub(super) message: String,
}

/// A text, what it says, and where that stands.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) body: String,
    pub(super) syntax: Syntax,
    pub(super) tree: Tree,
    pub(super) root: Spot,
    steps: usize,
}

/// What is replaced: from, to, by what.
pub(super) type Splice = (usize, usize, String);

impl Text {
    /// Reads a text, which has no byte order mark.
    pub(super) fn read(text: &str, syntax: Syntax) -> Result<Self, Bar> {
        let node = read_as(text, syntax).map_err(|error| Bar { at: error.at, message: error.message })?;
        let alone = text.replace("\r\n", "\n").contains('\r');
        let root = Spot::read(text, syntax).filter(|_| !alone);
        let root = root.ok_or_else(|| Bar {
            at: Position::default(),
            message: "its lines end in a way that cannot be kept: a carriage return stands alone".to_owned(),
        })?;
        Ok(Self { body: text.to_owned(), syntax, tree: Tree::of(&node), root, steps: 0 })
    }

    /// Sets the value at a path: entries that stay as they are keep their text.
    pub(super) fn set(self, path: &[String], value: &Tree) -> Result<Self, Bar> {
        self.check_path(path)?;
        let Some(old) = self.tree.at(path) else { return self.insert(path, value) };
        if old == value {
            return Ok(self);
        }
        if let (Tree::Map(before), Tree::Map(after)) = (old, value)
            && !before.is_empty()
            && !after.is_empty()
            && let Ok(changed) = self.clone().set_entries(path, before, after)
        {
            return Ok(changed);
        }
        if let (Tree::Map(after), true) = (value, old.is_empty())
            && let Some(((key, first), rest)) = after.split_first()
        {
            let begun = self.insert(&joined(path, key), first)?;
            return rest.iter().try_fold(begun, |text, (key, value)| text.set(&joined(path, key), value));
        }
        let value = value.clone().in_order_of(old);
        self.replace(path, &value)
    }

    /// Changes the entries of a map one by one: what goes goes last, so that the map is never empty.
    fn set_entries(
        self,
        path: &[String],
        before: &[(String, Tree)],
        after: &[(String, Tree)],
    ) -> Result<Self, Bar> {
        let changed =
            after.iter().try_fold(self, |text, (key, value)| text.set(&joined(path, key), value))?;
        let gone = before.iter().filter(|(key, _)| !after.iter().any(|(name, _)| name == key));
        gone.map(|(key, _)| joined(path, key)).try_fold(changed, |text, path| text.remove(&path))
    }

    /// Removes the entry at a path.
    pub(super) fn remove(self, path: &[String]) -> Result<Self, Bar> {
        self.check_path(path)?;
        let (Some((_, parent)), Some(found)) = (path.split_last(), self.find(path)) else { return Ok(self) };
        if found.value.has_shared() || found.key.is_shared {
            return Err(self.bar(found.key.start, SHARED));
        }
        let mut tree = self.tree.clone();
        tree.remove(path);
        let candidates = if found.map.is_flow() {
            flow::remove(&self, &found)
        } else if found.map.entries().len() == 1 {
            let Some(holder) = self.find(parent) else {
                return Err(self.bar(found.key.start, "it is all that the file says"));
            };
            block::empty(&self, &holder, &found)
        } else {
            block::remove(&self, &found)
        };
        self.settle(candidates, &tree, found.key.start)
    }

    /// Adds an entry at the end of its map, and the maps that it needs on the way.
    fn insert(self, path: &[String], value: &Tree) -> Result<Self, Bar> {
        let mut tree = self.tree.clone();
        tree.set(path, value.clone());
        let depth = (0..path.len()).rev().find(|depth| self.tree.at(&path[..*depth]).is_some());
        let depth = depth.unwrap_or_default();
        let (key, rest) = path[depth..].split_first().expect("what is missing has a key");
        let mut value = value.clone();
        for key in rest.iter().rev() {
            value = Tree::Map(vec![(key.clone(), value)]);
        }
        let map = self.spot(&path[..depth]);
        let at = map.map_or(0, |map| map.start);
        let holder = self.find(&path[..depth]);
        let candidates = match (map, holder) {
            (Some(map), _) if map.is_block() => block::insert(&self, map, key, &value),
            (Some(map), Some(holder)) if map.entries().is_empty() && !holder.map.is_flow() => {
                block::fill(&self, &holder, key, &value)
            }
            (Some(map), _) if map.is_flow() => flow::insert(&self, map, key, &value),
            (Some(_), Some(holder)) => {
                let whole = Tree::Map(vec![(key.clone(), value)]);
                flow::replace(&self, &holder, &whole)
            }
            _ => Vec::new(),
        };
        self.settle(candidates, &tree, at)
    }

    fn replace(self, path: &[String], value: &Tree) -> Result<Self, Bar> {
        let Some(found) = self.find(path) else { return Ok(self) };
        if found.value.has_shared() {
            return Err(self.bar(found.key.start, SHARED));
        }
        let mut tree = self.tree.clone();
        tree.set(path, value.clone());
        let candidates = if found.map.is_flow() {
            flow::replace(&self, &found, value)
        } else {
            block::replace(&self, &found, value)
        };
        self.settle(candidates, &tree, found.key.start)
    }

    /// Takes the first way of writing it that says what it should.
    fn settle(&self, candidates: Vec<Vec<Splice>>, expected: &Tree, at: usize) -> Result<Self, Bar> {
        if self.steps >= STEPS {
            return Err(self.bar(at, "too much of it would change at once"));
        }
        for splices in candidates {
            let Some(text) = spliced(&self.body, splices) else { continue };
            if let Ok(changed) = Self::read(&text, self.syntax)
                && changed.tree == *expected
            {
                return Ok(Self { steps: self.steps + 1, ..changed });
            }
        }
        Err(self.bar(at, "it is written in a way that cannot be changed without loss"))
    }

    /// Refuses a path that leads through what is shared, stands twice, or has no entries.
    fn check_path(&self, path: &[String]) -> Result<(), Bar> {
        let (mut spot, mut tree) = (&self.root, &self.tree);
        for (depth, key) in path.iter().enumerate() {
            if spot.is_shared {
                return Err(self.bar(spot.start, SHARED));
            }
            if !tree.is_empty() && !matches!(tree, Tree::Map(_)) {
                let what =
                    if depth == 0 { "the file".to_owned() } else { format!("`{}`", path[..depth].join(".")) };
                return Err(self.bar(spot.start, format!("{what} is {}, not a map", tree.kind())));
            }
            if let Some((merge, _)) = spot.entries().iter().find(|(key, _)| key.text == "<<") {
                return Err(self.bar(merge.start, "a merge key stands beside it"));
            }
            let mut named = spot.entries().iter().filter(|(name, _)| name.text == *key);
            let Some((_, next)) = named.next() else { return Ok(()) };
            if let Some((again, _)) = named.next() {
                return Err(self.bar(again.start, "the key stands there twice"));
            }
            let Some(inner) = tree.get(key) else { return Ok(()) };
            (spot, tree) = (next, inner);
        }
        Ok(())
    }

    pub(super) fn bar(&self, at: usize, message: impl Into<String>) -> Bar {
        Bar { at: Lines::of(&self.body).position(at), message: message.into() }
    }

    fn spot(&self, path: &[String]) -> Option<&Spot> {
        path.iter().try_fold(&self.root, |spot, key| {
            spot.entries().iter().find(|(name, _)| name.text == *key).map(|(_, value)| value)
        })
    }

    /// Finds an entry and its map.
    fn find(&self, path: &[String]) -> Option<Found<'_>> {
        let (key, parent) = path.split_last()?;
        let map = self.spot(parent)?;
        let index = map.entries().iter().position(|(name, _)| name.text == *key)?;
        let (key, value) = map.entries().get(index)?;
        Some(Found { map, index, key, value })
    }

    /// Returns how lines end here.
    pub(super) fn line_end(&self) -> &'static str {
        let first = self.body.find('\n');
        if first.is_some_and(|at| self.body[..at].ends_with('\r')) { "\r\n" } else { "\n" }
    }

    /// Returns how far maps are indented here.
    pub(super) fn step(&self) -> usize {
        self.step_within(&self.root).unwrap_or(2)
    }

    fn step_within(&self, map: &Spot) -> Option<usize> {
        let inner = |(key, value): &(KeySpot, Spot)| {
            let (first, _) = value.entries().first()?;
            let indent = self.indent(first.start)?.checked_sub(self.indent(key.start)?)?;
            (1..=8).contains(&indent).then_some(indent)
        };
        let mut entries = map.entries().iter();
        entries.find_map(|entry| inner(entry).or_else(|| self.step_within(&entry.1)))
    }

    /// Returns how many blanks stand before what begins at an offset; nothing where something else does.
    pub(super) fn indent(&self, at: usize) -> Option<usize> {
        let before = self.body.get(self.line_start(at)..at)?;
        before.bytes().all(|byte| byte == b' ').then_some(before.len())
    }

    /// Returns the start of the line that an offset lies in.
    pub(super) fn line_start(&self, at: usize) -> usize {
        self.body[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    /// Returns where the line that an offset lies in ends, without its line feed.
    pub(super) fn line_stop(&self, at: usize) -> usize {
        let end = self.body[at..].find('\n').map_or(self.body.len(), |end| at + end);
        if end > at && self.body[..end].ends_with('\r') { end - 1 } else { end }
    }

    /// Returns where the next line begins, or the text ends.
    pub(super) fn next_line(&self, at: usize) -> usize {
        self.body[at..].find('\n').map_or(self.body.len(), |end| at + end + 1)
    }

    /// Returns where the colon behind a key ends.
    pub(super) fn after_colon(&self, key: &KeySpot) -> Option<usize> {
        let rest = &self.body[key.end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..].starts_with(':').then_some(key.end + blank + 1)
    }

    /// Returns how the values beside a new one are written.
    pub(super) fn manner(map: &Spot) -> Prefers {
        let mut maps = map.entries().iter().filter(|(_, value)| !value.entries().is_empty()).peekable();
        let is_flow = maps.peek().is_some() && maps.all(|(_, value)| value.is_flow());
        if is_flow { Prefers::OneLine } else { Prefers::Either }
    }

    /// Writes a value on one line in quotes like those of what it replaces.
    pub(super) fn inline(&self, old: Option<&Spot>, value: &Tree) -> String {
        if self.syntax == Syntax::Json {
            return write::json(value, None);
        }
        let single = match (old.map(|old| &old.shape), value) {
            (Some(Shape::Single), Tree::Text(text)) => write::in_single_quotes(text),
            _ => None,
        };
        single.unwrap_or_else(|| write::on_one_line(value))
    }
}

/// Why what is shared stays.
const SHARED: &str = "an anchor or alias of YAML is part of it, and something else would change with it";

/// An entry and its map.
pub(super) struct Found<'t> {
    pub(super) map: &'t Spot,
    pub(super) index: usize,
    pub(super) key: &'t KeySpot,
    pub(super) value: &'t Spot,
}

fn joined(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

fn spliced(text: &str, mut splices: Vec<Splice>) -> Option<String> {
    crate::sorted::sort_by(&mut splices, |one, other| (one.0, one.1).cmp(&(other.0, other.1)));
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (from, to, new) in splices {
        out.push_str(text.get(done..from)?);
        out.push_str(&new);
        done = to.max(from);
    }
    out.push_str(text.get(done..)?);
    Some(out)
}
