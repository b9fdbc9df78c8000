//! Reads the section `variants`: tools and prompts under other names, and what becomes of their arguments.

use super::file_variants::CUTS;
use super::item::{At, Fields, Item};
use super::native::read_number;
use super::native_limits::parse_pattern;
use super::node::{Scalar, ScalarKind, Value};
use super::policy::{Argument, Fixed, ItemKind, Narrowing, Wording};
use super::problem::{Report, quote};
use super::value::{parse_number, read_json};
use crate::sorted::SortedMap;

/// The most characters of a name.
const NAME_LIMIT: usize = 128;

/// The variants of one server as they are written.
#[derive(Debug, Clone)]
pub(super) struct ServerVariants {
    pub(super) server: At<String>,
    pub(super) variants: Vec<VariantDraft>,
}

/// A variant as it is written.
#[derive(Debug, Clone)]
pub(super) struct VariantDraft {
    pub(super) name: At<String>,
    pub(super) kind: ItemKind,
    /// What it is made from, and where that is said.
    pub(super) from: At<String>,
    pub(super) replaces: bool,
    pub(super) title: Option<String>,
    pub(super) description: Option<Wording>,
    pub(super) arguments: SortedMap<String, Argument>,
    pub(super) fixed: Fixed,
    pub(super) result: Narrowing,
}

/// Reads the variants of all servers.
pub(super) fn read_variants(item: &Item<'_>, report: &mut Report<'_>) -> Vec<ServerVariants> {
    let read = |(server, item): (At<String>, Item<'_>), report: &mut Report<'_>| {
        let entries = item.fields(report).map(Fields::rest).unwrap_or_default().into_iter();
        let variants = entries.filter_map(|(name, item)| read_variant(name, &item, report)).collect();
        ServerVariants { server, variants }
    };
    item.entries(report).into_iter().map(|entry| read(entry, report)).collect()
}

fn read_variant(name: At<String>, item: &Item<'_>, report: &mut Report<'_>) -> Option<VariantDraft> {
    let name = check_name(name, report);
    let mut fields = item.fields(report)?;
    let from = fields.take_even_null("from").and_then(|item| item.filled_text("a name", report));
    let kind = fields
        .take_even_null("kind")
        .and_then(|item| item.parsed("`tool` or `prompt`", report, parse_kind))
        .map_or(ItemKind::Tool, |kind| kind.value);
    let replace = fields.take_even_null("replace").and_then(|item| item.flag(report));
    let title = fields.take_even_null("title").and_then(|item| item.filled_text("a text", report));
    let description = fields.take_even_null("description").and_then(|item| read_wording(&item, report));
    let fixed = fields
        .take_even_null("fixed")
        .and_then(|item| item.parsed("`gone` or `noted`", report, parse_fixed))
        .map_or(Fixed::Gone, |fixed| fixed.value);
    let arguments =
        fields.take_even_null("arguments").map(|item| read_arguments(&item, (kind, fixed), report));
    let result = fields.take_even_null("result").and_then(|item| read_result(&item, kind, report));
    fields.finish(report);
    let name = name?;
    let from = from.unwrap_or_else(|| name.clone());
    let is_itself = from.value == name.value;
    if let Some(At { value: false, place }) = replace.as_ref().filter(|_| is_itself) {
        report.error(place, "a variant with the name of what it is made from stands in its place");
        report.hint("give it another name, and say `from`");
    }
    Some(VariantDraft {
        name,
        kind,
        from,
        replaces: is_itself || replace.is_some_and(|flag| flag.value),
        title: title.map(|text| text.value),
        description,
        arguments: arguments.unwrap_or_default(),
        fixed,
        result: result.unwrap_or_default(),
    })
}

/// Checks a name that agents see.
fn check_name(name: At<String>, report: &mut Report<'_>) -> Option<At<String>> {
    let is_valid = (1..=NAME_LIMIT).contains(&name.value.chars().count())
        && !name.value.contains(|c: char| c.is_control() || matches!(c, '*' | '?'));
    if !is_valid {
        let found = quote(&name.value);
        report.error(
            &name.place,
            format!("a name has 1 to {NAME_LIMIT} characters, none of them `*`, `?` or a control character; found {found}"),
        );
        return None;
    }
    Some(name)
}

fn parse_kind(text: &str) -> Option<ItemKind> {
    match text {
        "tool" => Some(ItemKind::Tool),
        "prompt" => Some(ItemKind::Prompt),
        _ => None,
    }
}

fn parse_fixed(text: &str) -> Option<Fixed> {
    match text {
        "gone" => Some(Fixed::Gone),
        "noted" => Some(Fixed::Noted),
        _ => None,
    }
}

fn read_wording(item: &Item<'_>, report: &mut Report<'_>) -> Option<Wording> {
    if !matches!(item.node.value, Value::Map(_)) {
        return Some(Wording::Rewrite(
            item.filled_text("a text, or a map with `rewrite` or `append`", report)?.value,
        ));
    }
    let mut fields = item.fields(report)?;
    let [rewrite, append] = ["rewrite", "append"].map(|key| fields.take_even_null(key));
    fields.finish(report);
    let mut read = |item: Item<'_>| Some(item.filled_text("a text", report)?.value);
    match (rewrite, append) {
        (Some(item), None) => read(item).map(Wording::Rewrite),
        (None, Some(item)) => read(item).map(Wording::Append),
        _ => {
            report.error(&item.place(), "expected either `rewrite` or `append`");
            None
        }
    }
}

fn read_arguments(
    item: &Item<'_>,
    of: (ItemKind, Fixed),
    report: &mut Report<'_>,
) -> SortedMap<String, Argument> {
    let Some(fields) = item.fields(report) else { return SortedMap::new() };
    let mut arguments = SortedMap::new();
    let mut taken = SortedMap::new();
    for (name, item) in fields.rest() {
        let Some((argument, shown)) = read_argument(&name, &item, of, report) else { continue };
        let line = shown.place.at.line;
        if let Some(first) = taken.insert(shown.value.clone(), line) {
            let other = quote(&shown.value);
            report
                .error(&shown.place, format!("another argument is called {other} already, on line {first}"));
            report.hint("each argument needs a name of its own, in what it is made from and in the variant");
        }
        arguments.insert(name.value, argument);
    }
    arguments
}

/// Reads one argument, and the name that it goes by.
fn read_argument(
    name: &At<String>,
    item: &Item<'_>,
    (kind, fixed): (ItemKind, Fixed),
    report: &mut Report<'_>,
) -> Option<(Argument, At<String>)> {
    let mut fields = item.fields(report)?;
    let fix = fields.take_even_null("fix");
    let noted = if fixed == Fixed::Noted { fields.take_even_null("describe") } else { None };
    let beside = fields.places();
    let is_fixed = fix.is_some();
    let fix = fix.and_then(|item| read_value(&item, kind, report));
    let default = fields.take_even_null("default").and_then(|item| read_value(&item, kind, report));
    let rename = fields.take_even_null("rename").and_then(|item| item.filled_text("a name", report));
    let describe = noted.or_else(|| fields.take_even_null("describe"));
    let describe = describe.and_then(|item| read_wording(&item, report));
    let restricted = read_restrictions(&mut fields, kind, report);
    let unknown = fields.places();
    fields.finish(report);
    for place in beside.into_iter().filter(|place| is_fixed && !unknown.contains(place)) {
        report.error(&place, "the argument is fixed, which leaves nothing else to say about it");
        report.hint("keep `fix` alone, or remove it");
    }
    let rename = rename.and_then(|rename| check_name(rename, report));
    let shown = rename.clone().unwrap_or_else(|| name.clone());
    Some((Argument { fix, default, rename: rename.map(|text| text.value), describe, ..restricted }, shown))
}

/// Reads a value of an argument. Arguments of prompts are texts; a number or a boolean counts as the text that it is
/// written as.
fn read_value(item: &Item<'_>, kind: ItemKind, report: &mut Report<'_>) -> Option<String> {
    match kind {
        ItemKind::Prompt => Some(serde_json::Value::from(item.text(report)?.value).to_string()),
        ItemKind::Tool | ItemKind::Resource => read_json(item, report),
    }
}

fn read_restrictions(fields: &mut Fields<'_>, kind: ItemKind, report: &mut Report<'_>) -> Argument {
    let [one_of, pattern, minimum, maximum] =
        ["enum", "pattern", "minimum", "maximum"].map(|key| fields.take_even_null(key));
    let one_of = one_of.and_then(|item| read_choices(&item, kind, report));
    let pattern = pattern.and_then(|item| parse_pattern(&item.text(report)?, report));
    let minimum = minimum.and_then(|item| read_bound(&item, report));
    let maximum = maximum.and_then(|item| read_bound(&item, report));
    if let (Some(minimum), Some(maximum)) = (&minimum, &maximum)
        && minimum.value > maximum.value
    {
        report.error(&maximum.place, "the maximum is less than the minimum");
    }
    Argument {
        one_of,
        pattern,
        minimum: minimum.map(|bound| bound.value),
        maximum: maximum.map(|bound| bound.value),
        ..Argument::default()
    }
}

fn read_choices(item: &Item<'_>, kind: ItemKind, report: &mut Report<'_>) -> Option<Vec<String>> {
    let items = item.list("a list of values", report)?;
    if items.is_empty() {
        report.error(&item.place(), "expected a list of values, found an empty one");
        return None;
    }
    Some(items.iter().filter_map(|item| read_value(item, kind, report)).collect())
}

fn read_bound(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<f64>> {
    let number = match &item.node.value {
        Value::Scalar(Scalar { kind: ScalarKind::Number, text }) => parse_number(text),
        _ => None,
    };
    let value = number.and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    if value.is_none() {
        item.mismatch_shown("a number", report);
    }
    value.map(|value| At { value, place: item.place() })
}

fn read_result(item: &Item<'_>, kind: ItemKind, report: &mut Report<'_>) -> Option<Narrowing> {
    let mut fields = item.fields(report)?;
    let select = fields
        .take_even_null("select")
        .and_then(|item| item.parsed("a JSON Pointer such as \"/items/0\"", report, parse_pointer));
    let cut = fields.take_even_null("cut").and_then(|item| read_number(&item, CUTS, report));
    fields.finish(report);
    if let Some(select) = select.as_ref().filter(|_| kind == ItemKind::Prompt) {
        report.error(&select.place, "`select` belongs to a tool: results of prompts are messages");
    }
    Some(Narrowing {
        select: select.map(|text| text.value),
        cut: cut.and_then(|number| usize::try_from(number.value).ok()),
    })
}

/// Checks the syntax of a JSON Pointer (RFC 6901, section 3).
fn parse_pointer(text: &str) -> Option<String> {
    let escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    (text.starts_with('/') && escapes).then(|| text.to_owned())
}
