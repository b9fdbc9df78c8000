//! The schema of a variant's arguments.
//!
//! **What fits the schema that is shown fits the server's, once the call has been translated.** What the server is
//! always given (fixed, or by default) is asked of nobody, wherever the schema mentions it: in `required`, in what
//! depends on it, in alternatives and conditions. An alternative that the given value rules out is `false`; where it
//! cannot be told whether it does, the schema shown is the wider one, and the server has the last word.

use super::holds::holds;
use super::property::{self, Members};
use super::value::at;
use crate::config::{Argument, Fixed, Variant};
use crate::sorted::{SortedMap, SortedSet};
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

/// How many references in a row are followed.
const REFERENCES: u32 = 16;

/// What a variant does to a schema.
#[derive(Clone, Copy)]
pub(super) struct Shape<'v> {
    arguments: &'v SortedMap<String, Argument>,
    fixed: Fixed,
    from: &'v str,
}

impl<'v> Shape<'v> {
    /// Takes what a variant says of arguments.
    pub(super) fn of(variant: &'v Variant) -> Self {
        Self { arguments: &variant.arguments, fixed: variant.fixed, from: &variant.from }
    }

    /// Returns the value that the server is always given, or is where the caller gives none.
    fn given(&self, name: &str) -> Option<Json<'v>> {
        let said = self.arguments.get(name)?;
        said.fix.as_deref().or(said.default.as_deref()).map(Json::known)
    }

    fn is_fixed(&self, name: &str) -> bool {
        self.arguments.get(name).is_some_and(|said| said.fix.is_some())
    }

    fn count(&self, has: fn(&Argument) -> bool) -> u64 {
        self.arguments.values().filter(|said| has(said)).count() as u64
    }

    /// Returns the name that an argument is shown under.
    fn renamed<'n>(&self, name: &'n str) -> &'n str
    where
        'v: 'n,
    {
        let said = self.arguments.get(name).filter(|said| said.fix.is_none());
        said.and_then(|said| said.rename.as_deref()).unwrap_or(name)
    }

    /// Checks that the server still has the arguments of which something is said, and that new names are free.
    fn check(&self, names: &SortedSet<String>) -> Result<(), String> {
        let from = self.from;
        for (name, said) in self.arguments {
            let lenient = self.fixed == Fixed::Noted
                && said
                    == &Argument {
                        fix: said.fix.clone(),
                        describe: said.describe.clone(),
                        ..Argument::default()
                    };
            // A schema that names no argument may have any.
            if !names.is_empty() && !names.contains(name) && !lenient {
                return Err(format!("changes the argument {name:?}, which {from:?} does not have"));
            }
            let new = self.renamed(name);
            let leaves = self.renamed(new) != new || (self.is_fixed(new) && self.fixed == Fixed::Gone);
            if new != name && names.contains(new) && !leaves {
                return Err(format!("gives the argument {name:?} the name {new:?}, which another one has"));
            }
        }
        Ok(())
    }
}

/// Returns the names of the arguments that a schema has, wherever it mentions them.
pub(super) fn names(schema: Json<'_>) -> SortedSet<String> {
    let mut found = SortedSet::new();
    collect(schema, schema, REFERENCES, &mut found);
    found
}

fn collect(schema: Json<'_>, root: Json<'_>, references: u32, found: &mut SortedSet<String>) {
    for (key, value) in schema.members() {
        match key.as_ref() {
            "properties" => found.extend(value.members().map(|(name, _)| name.into_owned())),
            "allOf" | "anyOf" | "oneOf" => value.elements().for_each(|s| collect(s, root, references, found)),
            "not" | "if" | "then" | "else" => collect(value, root, references, found),
            "dependentSchemas" => value.members().for_each(|(_, s)| collect(s, root, references, found)),
            "$ref" if references > 0 => {
                if let Some(target) = target(value, root) {
                    collect(target, root, references - 1, found);
                }
            }
            _ => {}
        }
    }
}

/// Returns what a reference within the document leads to.
fn target<'r>(reference: Json<'_>, root: Json<'r>) -> Option<Json<'r>> {
    let reference = reference.as_str()?;
    at(root, reference.strip_prefix('#').filter(|pointer| !pointer.is_empty())?)
}

/// Returns the text of a schema as a variant shows it.
pub(super) fn shown(schema: Json<'_>, shape: Shape<'_>) -> Result<String, String> {
    shape.check(&names(schema))?;
    let moved = move_targets(schema, shape);
    let schema = moved.as_deref().map_or(schema, Json::known);
    let place = Place { root: schema, shape, references: REFERENCES, level: Level::Top };
    Ok(place.rewrite(schema)?.text)
}

/// Whether a schema is the whole one or a part of it that is about the same object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    Part,
}

/// Where a schema is rewritten.
#[derive(Clone, Copy)]
struct Place<'r> {
    root: Json<'r>,
    shape: Shape<'r>,
    references: u32,
    level: Level,
}

/// A schema that has been rewritten.
struct Rewritten {
    text: String,
    /// Whether exactly those fit it that fit the original once they are translated; it may be wider otherwise.
    exact: bool,
    changed: bool,
}

/// A schema that is being rewritten.
struct Rewriting<'r> {
    place: Place<'r>,
    members: Members<'r>,
    required: Vec<String>,
    all_of: Vec<String>,
    exact: bool,
    changed: bool,
    /// Whether what is given rules the schema out.
    never: bool,
}

impl<'r> Place<'r> {
    fn rewrite(self, schema: Json<'r>) -> Result<Rewritten, String> {
        if !schema.is_object() {
            return Ok(Rewritten { text: schema.text().into(), exact: true, changed: false });
        }
        let members = Members::of(schema)?;
        let mut rewriting = Rewriting {
            place: self,
            members,
            required: Vec::new(),
            all_of: Vec::new(),
            exact: true,
            changed: false,
            never: false,
        };
        if self.level == Level::Top {
            rewriting.top_properties(schema.get("properties").unwrap_or(Json::known("{}")))?;
        }
        for (key, value) in schema.members() {
            rewriting.keyword(&key, value)?;
        }
        Ok(rewriting.finish(schema))
    }

    fn part(self, schema: Json<'r>) -> Result<Rewritten, String> {
        Place { level: Level::Part, ..self }.rewrite(schema)
    }
}

impl<'r> Rewriting<'r> {
    fn keyword(&mut self, key: &str, value: Json<'r>) -> Result<(), String> {
        match key {
            "properties" if self.place.level == Level::Part => self.part_properties(value)?,
            "required" => self.required_names(value),
            "dependentRequired" => self.dependents("dependentRequired", value)?,
            "dependentSchemas" => self.dependents("dependentSchemas", value)?,
            "dependencies" => self.dependents("dependencies", value)?,
            "allOf" => drop(self.several("allOf", value)?),
            "anyOf" => drop(self.several("anyOf", value)?),
            "oneOf" => self.one_of(value)?,
            "not" => self.unless_exact("not", value)?,
            "if" => self.unless_exact("if", value)?,
            "then" => drop(self.one("then", value)?),
            "else" => drop(self.one("else", value)?),
            "$ref" => self.reference(value)?,
            "propertyNames" => self.property_names(),
            "minProperties" => self.least(value),
            "maxProperties" => self.most(value),
            "default" => self.members.set("default", self.example(value)),
            "examples" => {
                let examples: Vec<_> = value.elements().map(|example| self.example(example)).collect();
                self.members.set("examples", format!("[{}]", examples.join(",")));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self, schema: Json<'_>) -> Rewritten {
        if self.never && self.place.level == Level::Part {
            return Rewritten { text: "false".into(), exact: true, changed: true };
        }
        if self.members.get("if").is_none() {
            // Without a condition they say nothing.
            self.members.remove("then");
            self.members.remove("else");
        }
        let before: Vec<_> = self.members.get("required").into_iter().flat_map(Json::elements).collect();
        let mut names: SortedSet<_> = before.iter().filter_map(|name| name.as_str()).collect();
        let added: Vec<_> = self
            .required
            .iter()
            .filter(|name| names.insert(name.as_str().into()))
            .map(|n| quote(n))
            .collect();
        self.members.extend("required", &added);
        self.members.extend("allOf", &self.all_of);
        let (exact, changed) = (self.exact, self.changed);
        let text = if changed || self.place.level == Level::Top {
            self.members.finish()
        } else {
            schema.text().to_owned()
        };
        Rewritten { text, exact, changed }
    }

    /// Rewrites the properties of the whole schema, and adds those of which it says nothing yet.
    fn top_properties(&mut self, properties: Json<'r>) -> Result<(), String> {
        let shape = self.place.shape;
        let mut out: Vec<(String, String)> = Vec::new();
        let mut missing: SortedMap<_, _> =
            shape.arguments.iter().filter(|(_, said)| says_more(said)).collect();
        let properties = properties.object().map_err(|e| format!("is made from a schema that has a {e}"))?;
        for (name, schema) in properties.iter() {
            missing.remove(&name.to_string());
            let text = match shape.arguments.get(&**name) {
                None => schema.text().to_owned(),
                Some(said) if said.fix.is_some() && shape.fixed == Fixed::Gone => continue,
                Some(said) => property::shown(schema, said)
                    .map_err(|why| format!("changes the argument {name:?}: {why}"))?,
            };
            out.push((shape.renamed(name).to_owned(), text));
        }
        for (name, said) in missing {
            out.push((shape.renamed(name).to_owned(), property::shown(Json::known("{}"), said)?));
        }
        self.changed = true;
        if self.members.get("properties").is_none() && out.is_empty() {
            return Ok(());
        }
        self.members.set("properties", object(&out));
        Ok(())
    }

    /// Rewrites the properties of a part.
    fn part_properties(&mut self, properties: Json<'r>) -> Result<(), String> {
        let shape = self.place.shape;
        let mut out: Vec<(String, String)> = Vec::new();
        let properties = properties.object().map_err(|e| format!("is made from a schema that has a {e}"))?;
        for (name, schema) in properties.iter() {
            let shown = shape.renamed(name);
            self.changed |= shown != name;
            if let Some(given) = shape.given(name) {
                self.changed = true;
                match holds(given, schema) {
                    Some(true) => {}
                    Some(false) if shape.is_fixed(name) => self.never = true,
                    // Who leaves it out gets what does not fit.
                    Some(false) => self.required.push(shown.to_owned()),
                    None => self.exact = false,
                }
                if shape.is_fixed(name) {
                    continue;
                }
            }
            out.push((shown.to_owned(), schema.text().to_owned()));
        }
        self.members.set("properties", object(&out));
        Ok(())
    }

    /// Rewrites what must be there: not what is given anyhow.
    fn required_names(&mut self, names: Json<'_>) {
        let left = self.asked(names);
        if left.is_empty() && names.elements().next().is_some() {
            self.members.remove("required");
        } else {
            self.members.set("required", list(&left));
        }
    }

    /// Returns the names that the caller is asked for, of those that the server is.
    fn asked(&mut self, names: Json<'_>) -> Vec<String> {
        let shape = self.place.shape;
        let mut asked = Vec::new();
        for name in names.elements().filter_map(Json::as_str) {
            let given = shape.given(&name).is_some();
            self.changed |= given || shape.renamed(&name) != name;
            if !given {
                asked.push(shape.renamed(&name).to_owned());
            }
        }
        asked
    }

    /// Rewrites what holds where an argument is there: always, where it is given.
    fn dependents(&mut self, key: &'static str, value: Json<'r>) -> Result<(), String> {
        let shape = self.place.shape;
        let mut out: Vec<(String, String)> = Vec::new();
        let dependents = value.object().map_err(|e| format!("is made from a schema that has a {e}"))?;
        for (name, needs) in dependents.iter() {
            self.changed |= shape.renamed(name) != name;
            let always = shape.given(name).is_some();
            self.changed |= always;
            let needed = if needs.is_array() {
                let names = self.asked(needs);
                if always {
                    self.required.extend(names);
                    continue;
                }
                list(&names)
            } else {
                let rewritten = self.place.part(needs)?;
                self.note(&rewritten);
                rewritten.text
            };
            if always {
                self.all_of.push(needed);
            } else {
                out.push((shape.renamed(name).to_owned(), needed));
            }
        }
        self.members.set(key, object(&out));
        Ok(())
    }

    /// Rewrites a list of schemas; tells whether all are exact.
    fn several(&mut self, key: &'static str, schemas: Json<'r>) -> Result<bool, String> {
        let (mut texts, mut exact) = (Vec::new(), true);
        for schema in schemas.elements() {
            let rewritten = self.place.part(schema)?;
            self.note(&rewritten);
            exact &= rewritten.exact;
            texts.push(rewritten.text);
        }
        self.members.set(key, format!("[{}]", texts.join(",")));
        Ok(exact)
    }

    /// Rewrites alternatives of which exactly one must fit; one of them at least, where that cannot be told.
    fn one_of(&mut self, schemas: Json<'r>) -> Result<(), String> {
        if !self.several("oneOf", schemas)? {
            let any = self.members.get("oneOf").map(|schemas| format!("{{\"anyOf\":{}}}", schemas.text()));
            self.all_of.extend(any);
            self.members.remove("oneOf");
        }
        Ok(())
    }

    /// Rewrites one schema that must not become wider, and leaves it out where it would.
    fn unless_exact(&mut self, key: &'static str, schema: Json<'r>) -> Result<(), String> {
        if !self.one(key, schema)? {
            self.members.remove(key);
        }
        Ok(())
    }

    /// Rewrites one schema; tells whether it is exact.
    fn one(&mut self, key: &'static str, schema: Json<'r>) -> Result<bool, String> {
        let rewritten = self.place.part(schema)?;
        self.note(&rewritten);
        self.members.set(key, rewritten.text);
        Ok(rewritten.exact)
    }

    /// Puts what a reference leads to in its place, where that is not shown as it is.
    fn reference(&mut self, reference: Json<'r>) -> Result<(), String> {
        let Some(references) = self.place.references.checked_sub(1) else { return Ok(()) };
        let Some(target) = target(reference, self.place.root) else { return Ok(()) };
        let rewritten = Place { references, ..self.place }.part(target)?;
        self.note(&rewritten);
        if rewritten.changed {
            self.members.remove("$ref");
            self.all_of.push(rewritten.text);
        }
        Ok(())
    }

    fn property_names(&mut self) {
        let arguments = self.place.shape.arguments;
        if arguments.values().any(|said| said.rename.is_some()) {
            self.members.remove("propertyNames");
            (self.exact, self.changed) = (false, true);
        }
    }

    /// Counts what is given to what must be there.
    fn least(&mut self, least: Json<'_>) {
        let given = self.place.shape.count(|said| said.fix.is_some() || said.default.is_some());
        if let Some(least) = least.as_u64().filter(|_| given > 0) {
            self.members.set("minProperties", least.saturating_sub(given).to_string());
            self.changed = true;
            self.exact &= self.place.shape.count(|said| said.default.is_some()) == 0;
        }
    }

    fn most(&mut self, most: Json<'_>) {
        let shape = self.place.shape;
        let given = shape.count(|said| said.fix.is_some());
        if let Some(most) = most.as_u64().filter(|_| given > 0 && shape.fixed == Fixed::Gone) {
            self.members.set("maxProperties", most.saturating_sub(given).to_string());
            self.changed = true;
        }
        self.exact &= shape.count(|said| said.default.is_some()) == 0 && shape.fixed == Fixed::Gone;
    }

    /// Returns example arguments as a caller would give them.
    fn example(&self, example: Json<'_>) -> String {
        if !example.is_object() {
            return example.text().to_owned();
        }
        let shape = self.place.shape;
        let kept = example.members().filter(|(name, _)| !shape.is_fixed(name));
        let kept: Vec<_> =
            kept.map(|(name, value)| (shape.renamed(&name).to_owned(), value.text().to_owned())).collect();
        object(&kept)
    }

    fn note(&mut self, part: &Rewritten) {
        self.exact &= part.exact;
        self.changed |= part.changed;
    }
}

/// Tells whether a schema says something of an argument besides its name.
fn says_more(said: &Argument) -> bool {
    said.fix.is_none() && said != &Argument { rename: said.rename.clone(), ..Argument::default() }
}

/// Keeps under another name what the schema refers to at a place that is changed; nothing where there is no such thing.
fn move_targets(schema: Json<'_>, shape: Shape<'_>) -> Option<String> {
    const PROPERTIES: &str = "#/properties/";
    if !schema.text().contains(PROPERTIES) {
        return None;
    }
    let properties = schema.get("properties")?;
    let mut moved: SortedMap<String, Json<'_>> = SortedMap::new();
    let plain =
        |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    for (name, property) in properties.members().filter(|(name, _)| shape.arguments.contains_key(&**name)) {
        if plain(&name) {
            moved.insert(name.into_owned(), property);
        }
    }
    let elsewhere = |reference: &str| {
        let rest = reference.strip_prefix(PROPERTIES)?;
        let name = rest.split('/').next().filter(|name| moved.contains_key(*name))?;
        Some(format!("#/$defs/portcullis.{name}{}", &rest[name.len()..]))
    };
    let text = with_references(schema, &elsewhere);
    let mut members = Members::of(Json::known(&text)).ok()?;
    let before = members.get("$defs").into_iter().flat_map(Json::members);
    let mut defs: Vec<_> = before.map(|(name, value)| (name.into_owned(), value.text().to_owned())).collect();
    let used = |name: &str| text.contains(&format!("\"#/$defs/portcullis.{name}"));
    let used: Vec<_> = moved.iter().filter(|(name, _)| used(name)).collect();
    if used.is_empty() {
        return None;
    }
    for (name, property) in used {
        defs.push((format!("portcullis.{name}"), with_references(*property, &elsewhere)));
    }
    members.set("$defs", object(&defs));
    Some(members.finish())
}

/// Returns a schema's text with other references.
fn with_references(schema: Json<'_>, other: &impl Fn(&str) -> Option<String>) -> String {
    if schema.is_array() {
        let elements: Vec<_> = schema.elements().map(|element| with_references(element, other)).collect();
        return format!("[{}]", elements.join(","));
    }
    if !schema.is_object() {
        return schema.text().to_owned();
    }
    let mut out = ObjectWriter::with_capacity(schema.text().len());
    for (key, value) in schema.members() {
        match key.as_ref() {
            "enum" | "const" | "default" | "examples" => out.member(&key, value.text()),
            "$ref" => match value.as_str().and_then(|reference| other(&reference)) {
                Some(reference) => out.string(&key, &reference),
                None => out.member(&key, &with_references(value, other)),
            },
            _ => out.member(&key, &with_references(value, other)),
        };
    }
    out.finish()
}

fn object(members: &[(String, String)]) -> String {
    let mut out = ObjectWriter::default();
    for (key, value) in members {
        out.member(key, value);
    }
    out.finish()
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(","))
}
