//! The text that lists a variant: everything that its original says, but for what the variant changes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::schema::Shape;
use super::{schema, worded};
use crate::catalog::without_member;
use crate::config::{Argument, Fixed, ItemKind, Variant};
use crate::wire::json::{Json, Object, quote};
use crate::wire::message::ObjectWriter;

/// Returns the names of the arguments that a text lists.
pub(super) fn arguments(text: &str, kind: ItemKind) -> BTreeSet<String> {
    let Ok(json) = Json::check(text.as_bytes()) else { return BTreeSet::new() };
    match kind {
        ItemKind::Tool => json.get("inputSchema").map(schema::names).unwrap_or_default(),
        _ => {
            let list = json.get("arguments").into_iter().flat_map(Json::elements);
            list.filter_map(|argument| Some(argument.get("name")?.as_str()?.into_owned())).collect()
        }
    }
}

/// Returns the text of a variant, made of the text of what it is made from. Members keep their order.
pub(super) fn shown(text: &str, variant: &Variant) -> Result<String, String> {
    let json =
        Json::check(text.as_bytes()).map_err(|error| format!("is made from what is no JSON: {error}"))?;
    let members = json.object().map_err(|error| format!("is made from what is ambiguous: {error}"))?;
    let original = members.get("description").and_then(Json::as_str);
    let description = variant.description.as_ref().map(|wording| worded(original.as_deref(), wording));
    let mut out = ObjectWriter::with_capacity(text.len() + 256);
    for (key, value) in members.iter() {
        match key.as_ref() {
            "name" => {
                out.string("name", &variant.name);
                let added = [("title", variant.title.as_deref()), ("description", description.as_deref())];
                for (key, text) in added {
                    if let Some(text) = text.filter(|_| members.get(key).is_none()) {
                        out.string(key, text);
                    }
                }
            }
            "title" => {
                out.member("title", &text_or(variant.title.as_deref(), value));
            }
            "description" => {
                out.member("description", &text_or(description.as_deref(), value));
            }
            "outputSchema" if selects(variant) => {}
            // The result of a task is asked for elsewhere, where nobody would narrow it.
            "execution" if variant.result.select.is_some() || variant.result.cut.is_some() => {
                let rest = without_member(value.text(), "taskSupport");
                if rest != "{}" {
                    out.member(key, &rest);
                }
            }
            "inputSchema" if variant.kind == ItemKind::Tool => {
                out.member(key, &schema::shown(value, Shape::of(variant))?);
            }
            "arguments" if variant.kind == ItemKind::Prompt => {
                out.member(key, &prompt(value, variant)?);
            }
            _ => {
                out.member(key, value.text());
            }
        }
    }
    Ok(out.finish())
}

/// Tells whether the structured content is no longer what the server's schema says.
fn selects(variant: &Variant) -> bool {
    variant.result.select.as_ref().is_some_and(|pointer| !pointer.is_empty())
}

fn text_or<'a>(text: Option<&str>, original: Json<'a>) -> Cow<'a, str> {
    text.map_or(Cow::Borrowed(original.text()), |text| quote(text).into())
}

/// Returns the list of a prompt's arguments.
fn prompt(list: Json<'_>, variant: &Variant) -> Result<String, String> {
    let mut shown: Vec<(String, String)> = Vec::new();
    let mut found = BTreeSet::new();
    for element in list.elements() {
        let members = element.object().map_err(|error| format!("is made from what is ambiguous: {error}"))?;
        let name = members.get("name").and_then(Json::as_str).unwrap_or_default().into_owned();
        found.insert(name.clone());
        match variant.arguments.get(&name) {
            None => shown.push((name, element.text().to_owned())),
            Some(said) if said.fix.is_some() && variant.fixed == Fixed::Gone => {}
            Some(said) => {
                let renamed = said.rename.as_ref().filter(|_| said.fix.is_none()).unwrap_or(&name).clone();
                let text = prompt_argument(&members, &renamed, said);
                shown.push((renamed, text));
            }
        }
    }
    if let Some(missing) = variant.arguments.keys().find(|name| !found.contains(*name)) {
        return Err(format!("changes the argument {missing:?}, which {:?} does not have", variant.from));
    }
    let names: BTreeSet<_> = shown.iter().map(|(name, _)| name.clone()).collect();
    if names.len() < shown.len() {
        return Err("gives two arguments the same name".into());
    }
    let texts: Vec<_> = shown.into_iter().map(|(_, text)| text).collect();
    Ok(format!("[{}]", texts.join(",")))
}

fn prompt_argument(members: &Object<'_>, name: &str, said: &Argument) -> String {
    let original = members.get("description").and_then(Json::as_str);
    let description = super::property::description(original.as_deref(), said);
    let given = said.fix.is_some() || said.default.is_some();
    let mut out = ObjectWriter::default();
    for (key, value) in members.iter() {
        match key.as_ref() {
            "name" => {
                out.string("name", name);
            }
            "description" => {
                out.member("description", &text_or(description.as_deref(), value));
            }
            "required" if given => {
                out.member("required", "false");
            }
            _ => {
                out.member(key, value.text());
            }
        }
    }
    if let Some(description) = description.filter(|_| members.get("description").is_none()) {
        out.string("description", &description);
    }
    out.finish()
}
