//! Variants: what a tool or a prompt is called, what it takes and what it gives, in place of what the server has.
//!
//! **What is fixed reaches the server as it is fixed**, once, whatever the caller sends. **What is shown can be
//! called**: what fits the schema of a variant is taken, and fits the schema of the server once it is translated back.
//! A variant of a variant is one recipe on what the server offers. Where a variant cannot do what it says (an argument
//! is gone, a name is taken), it is not offered: less is shown, never more than was meant. Who may see or call it, `acl`
//! decides.

mod call;
mod holds;
mod item;
mod narrow;
#[cfg(test)]
mod properties;
mod property;
mod rule;
mod schema;
#[cfg(test)]
mod testing;
mod value;

use std::sync::Arc;

pub(crate) use call::Call;
pub(crate) use narrow::narrow_answer;

use crate::catalog::{Item, Kind, parameters_of};
use crate::config::{ItemKind, Narrowing, Origin, Variant, Wording};
use crate::sorted::{self, SortedMap};
use rule::Rule;

/// Why a variant cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: the variant {variant:?} {why}")]
pub(crate) struct CustomizeError {
    /// The variant, by its own name.
    pub(crate) variant: String,
    /// What is wrong with it, continuing "the variant X ...".
    pub(crate) why: String,
    /// Where it stands.
    pub(crate) origin: Origin,
}

impl CustomizeError {
    fn new(variant: &Variant, why: impl Into<String>) -> Self {
        Self { variant: variant.name.clone(), why: why.into(), origin: variant.origin.clone() }
    }
}

/// What makes a variant of what a server offers.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The name that the server knows it by.
    pub(crate) from: Arc<str>,
    kind: ItemKind,
    /// What is done, first to what the server offers, then each to what the one before has made. There is at least one.
    steps: Vec<Variant>,
    /// All of it together: what becomes of the arguments of a call.
    rules: Vec<Rule>,
    narrowing: Option<Arc<Narrowing>>,
}

/// What a server's variants of one kind come to.
#[derive(Debug, Default)]
pub(crate) struct Customized {
    /// The variants, in the order of their names.
    pub(crate) made: Vec<Made>,
    /// The names of the server's that are not offered any more, or from now on mean a variant.
    pub(crate) replaced: Vec<String>,
    /// The variants that are not offered, and why.
    pub(crate) failed: Vec<CustomizeError>,
}

/// A variant that is offered.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// It, as if the server offered it: its own name, its text, and the arguments that its caller repeats in headers.
    pub(crate) item: Item,
    /// How it is called.
    pub(crate) call: Arc<Call>,
}

impl Recipe {
    /// Adds a variant to the recipe of what it is made from; none where that is the server's own.
    pub(crate) fn compile(variant: &Variant, parent: Option<&Self>) -> Result<Self, CustomizeError> {
        let mut recipe = parent.cloned().unwrap_or_else(|| Self {
            from: variant.from.as_str().into(),
            kind: variant.kind,
            steps: Vec::new(),
            rules: Vec::new(),
            narrowing: None,
        });
        let error = |why: String| CustomizeError::new(variant, why);
        // Which rule each name means is settled before any name changes, so that two arguments may swap theirs.
        let mut said = Vec::new();
        for (name, argument) in &variant.arguments {
            said.push((recipe.rule_of(name, &variant.from).map_err(error)?, name, argument));
        }
        for (rule, name, argument) in said {
            let added = recipe.rules[rule].add(variant.kind, argument);
            added.map_err(|why| error(format!("cannot change the argument {name:?}: {why}")))?;
        }
        let mut shown: Vec<_> = recipe.rules.iter().filter(|r| !r.is_fixed()).map(|r| &r.shown).collect();
        sorted::sort(&mut shown);
        let same = |pair: &&[_]| matches!(pair, [one, other] if one == other);
        if let Some([twice, ..]) = shown.windows(2).find(same) {
            return Err(error(format!("gives two arguments the name {twice:?}")));
        }
        recipe.narrowing =
            narrow::compose(recipe.narrowing.as_deref(), &variant.result).map_err(error)?.map(Arc::new);
        recipe.steps.push(variant.clone());
        Ok(recipe)
    }

    /// Returns the rule of an argument by the name that it has so far.
    fn rule_of(&mut self, name: &str, from: &str) -> Result<usize, String> {
        if let Some(found) = self.rules.iter().position(|rule| *rule.shown == *name && !rule.is_fixed()) {
            return Ok(found);
        }
        match self.rules.iter().find(|rule| *rule.server == *name || *rule.shown == *name) {
            Some(rule) if rule.is_fixed() => Err(format!("changes {name:?}, which {from:?} has fixed")),
            Some(rule) => Err(format!("changes {name:?}, which {from:?} calls {:?}", rule.shown)),
            None => {
                self.rules.push(Rule::new(name));
                Ok(self.rules.len() - 1)
            }
        }
    }

    /// Returns the text that lists the variant under its own name, made of the text by which the server lists what it
    /// is made from.
    pub(crate) fn item(&self, original: &str) -> Result<String, CustomizeError> {
        let mut text = original.to_owned();
        for variant in &self.steps {
            text = item::shown(&text, variant).map_err(|why| CustomizeError::new(variant, why))?;
        }
        Ok(text)
    }

    /// Makes the variant of what the server offers.
    pub(crate) fn make(&self, original: &Item) -> Result<Made, CustomizeError> {
        let text = self.item(&original.text)?;
        let last = self.steps.last().expect("a recipe is made of a variant");
        let parameters = match self.kind {
            ItemKind::Tool => parameters_of(&text).map_err(|why| CustomizeError::new(last, why))?,
            _ => Vec::new(),
        };
        let item = Item { name: last.name.clone(), text: text.into(), parameters };
        Ok(Made { item, call: Arc::new(Call::new(self, &original.text)) })
    }
}

/// Makes all variants of one kind that one server has. `variants` are those of the server, whatever their kind.
pub(crate) fn customize<'v>(
    variants: impl IntoIterator<Item = &'v Variant>,
    kind: Kind,
    items: &[Item],
) -> Customized {
    let mut done = Customized::default();
    let wanted = match kind {
        Kind::Tools => ItemKind::Tool,
        Kind::Prompts => ItemKind::Prompt,
        Kind::Resources | Kind::Templates => return done,
    };
    let variants = variants.into_iter().filter(|variant| variant.kind == wanted);
    let variants: SortedMap<_, _> = variants.map(|variant| (variant.name.as_str(), variant)).collect();
    let offered: SortedMap<_, _> = items.iter().map(|item| (item.name.as_str(), item)).collect();
    for variant in variants.values() {
        match make(variant, &variants, &offered) {
            Ok(made) => done.made.push(made),
            Err(error) => done.failed.push(error),
        }
        if variant.replaces || offered.contains_key(variant.name.as_str()) {
            // Also where the variant has failed: what it stands in place of was not to be offered as it is.
            let hidden = if variant.replaces { &variant.from } else { &variant.name };
            done.replaced.push(hidden.clone());
        }
    }
    done.made.retain(|made| !is_replaced(&variants, &made.item.name));
    done
}

/// Tells whether another variant stands in place of the variant of that name.
fn is_replaced(variants: &SortedMap<&str, &Variant>, name: &str) -> bool {
    variants.values().any(|other| other.replaces && other.from == name && other.name != name)
}

fn make(
    variant: &Variant,
    variants: &SortedMap<&str, &Variant>,
    offered: &SortedMap<&str, &Item>,
) -> Result<Made, CustomizeError> {
    let chain = chain(variant, variants)?;
    let (last, rest) = chain.split_last().expect("a chain ends with the variant it began with");
    let mut recipe = Recipe::compile(last, None)?;
    for variant in rest.iter().rev() {
        recipe = Recipe::compile(variant, Some(&recipe))?;
    }
    let original = offered.get(&*recipe.from);
    let missing = || format!("is made from {:?}, which the server does not offer", recipe.from);
    recipe.make(original.ok_or_else(|| CustomizeError::new(last, missing()))?)
}

/// Returns a variant, what it is made from, and so on to the one that is made from what the server offers.
fn chain<'v>(
    variant: &'v Variant,
    variants: &SortedMap<&str, &'v Variant>,
) -> Result<Vec<&'v Variant>, CustomizeError> {
    let mut chain = vec![variant];
    let mut last = variant;
    // A variant that has the name of what it is made from is made from the server's.
    while let Some(parent) = variants.get(last.from.as_str()).filter(|parent| parent.name != last.name) {
        if chain.len() > variants.len() {
            return Err(CustomizeError::new(variant, "is made from itself"));
        }
        chain.push(parent);
        last = parent;
    }
    Ok(chain)
}

/// Returns a description as a variant words it (as MCPX does).
fn worded(original: Option<&str>, wording: &Wording) -> String {
    let original = original.unwrap_or_default().trim();
    match wording {
        Wording::Rewrite(text) => text.clone(),
        Wording::Append(text) if original.is_empty() => text.clone(),
        Wording::Append(text) if original.ends_with('.') => format!("{original} {text}"),
        Wording::Append(text) => format!("{original}. {text}"),
    }
}
