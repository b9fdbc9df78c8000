//! The text that lists a variant: everything that its original says, but for what the variant changes.

use std::borrow::Cow;

use super::schema::Shape;
use super::{schema, worded};
use crate::catalog::without_member;
use crate::config::{Argument, Fixed, ItemKind, Variant};
use crate::sorted::SortedSet;
use crate::wire::json::{Json, Object, quote};
use crate::wire::message::ObjectWriter;

/// Returns the names of the arguments that a text lists.
pub(super) fn arguments(text: &str, kind: ItemKind) -> SortedSet<String> {
    let Ok(json) = Json::check(text.as_bytes()) else { return SortedSet::new() };
    if kind == ItemKind::Tool {
        return json.get("inputSchema").map(schema::names).unwrap_or_default();
    }
    let list = json.get("arguments").into_iter().flat_map(Json::elements);
    list.filter_map(|argument| Some(argument.get("name")?.as_str()?.into_owned())).collect()
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
    let mut found = SortedSet::new();
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
    let names: SortedSet<_> = shown.iter().map(|(name, _)| name.clone()).collect();
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

#[cfg(test)]
mod tests {
    use super::super::testing::{prompt as of_prompt, recipe, variant};
    use super::super::{Recipe, customize};
    use super::*;
    use crate::catalog::{Item, Kind};
    use crate::config::{Narrowing, Wording};

    const TOOL: &str = r##"{"icons":[{"src":"x"}],"name":"original","title":"T","inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"owner":{"type":"string","x-mcp-header":"Owner"},"size":{"type":"integer","minimum":2,"enum":[1,2,3]},"labels":{"type":"array","items":{"$ref":"#/properties/owner"}}},"required":["size","owner"],"x-own":1},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"execution":{"taskSupport":"optional"},"_meta":{"k":[1.0]},"more":null}"##;

    fn list(original: &str, variant: &Variant) -> String {
        let shown = Recipe::compile(variant, None).and_then(|recipe| recipe.item(original));
        shown.unwrap_or_else(|error| error.to_string())
    }

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let text = list(TOOL, &variant(arguments));
        let json = Json::check(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"));
        let schema = json.get("inputSchema").unwrap();
        assert!(jsonschema::meta::is_valid(&serde_json::from_str(schema.text()).unwrap()), "{text}");
        let rest = r#"{"type":"object","#;
        let shown =
            schema.text().split_once(r#""type":"object","#).map(|(_, shown)| format!("{rest}{shown}"));
        assert_eq!(shown.as_deref(), Some(expected), "{text}");
    }

    #[test]
    fn everything_that_is_not_changed_stays_in_its_order() {
        let text = list(TOOL, &variant("{}"));
        assert_eq!(text, TOOL.replace("original", "variant"));
    }

    #[test]
    fn what_is_fixed_is_gone_and_what_refers_to_it_is_not() {
        check(
            r#"{"owner":{"fix":"\"acme\""}}"#,
            r##"{"type":"object","properties":{"size":{"type":"integer","minimum":2,"enum":[1,2,3]},"labels":{"type":"array","items":{"$ref":"#/$defs/portcullis.owner"}}},"required":["size"],"x-own":1,"$defs":{"portcullis.owner":{"type":"string","x-mcp-header":"Owner"}}}"##,
        );
    }

    #[test]
    fn arguments_are_renamed_described_defaulted_and_restricted() {
        check(
            r#"{"owner":{"rename":"org","append":"Who."},"size":{"default":"2","one_of":["2.0","3","4"],"minimum":1.0,"maximum":9}}"#,
            r##"{"type":"object","properties":{"org":{"type":"string","x-mcp-header":"Owner","description":"Who."},"size":{"type":"integer","minimum":2,"enum":[2,3],"default":2,"maximum":9},"labels":{"type":"array","items":{"$ref":"#/$defs/portcullis.owner"}}},"required":["org"],"x-own":1,"$defs":{"portcullis.owner":{"type":"string","x-mcp-header":"Owner"}}}"##,
        );
    }

    #[test]
    fn what_is_fixed_may_stay_with_a_note() {
        let noted = |arguments: &str| Variant { fixed: Fixed::Noted, ..variant(arguments) };
        let shown = |arguments: &str, schema: &str| {
            let tool = format!(r#"{{"name":"original","inputSchema":{schema}}}"#);
            list(&tool, &noted(arguments))
                .replace("Note: This parameter is ignored - it is hardcoded to be", "N:")
        };
        let schema = r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"object","description":"B."}},"required":["a"]}"#;
        insta::assert_snapshot!(shown(r#"{"a":{"fix":"\"x\""},"b":{"fix":"{\"n\":null}"}}"#, schema), @r#"{"name":"variant","inputSchema":{"type":"object","properties":{"a":{"type":"string","description":"N: x. Leave it out."},"b":{"type":"object","description":"B. N: {\"n\":null}. Leave it out."}}}}"#);
        insta::assert_snapshot!(shown(r#"{"a":{"fix":"null","rewrite":" It "},"gone":{"fix":"1"}}"#, schema), @r#"{"name":"variant","inputSchema":{"type":"object","properties":{"a":{"type":"string","description":"It. N: null. Leave it out."},"b":{"type":"object","description":"B."}}}}"#);
        insta::assert_snapshot!(shown(r#"{"a":{"fix":"1"}}"#, r#"{"type":"object"}"#), @r#"{"name":"variant","inputSchema":{"type":"object"}}"#);
    }

    #[test]
    fn descriptions_are_worded_as_mcpx_words_them() {
        let described = |original: &str, wording: Wording| {
            let tool = format!(r#"{{"name":"original"{original},"inputSchema":{{"type":"object"}}}}"#);
            let text = list(&tool, &Variant { description: Some(wording), ..variant("{}") });
            let json = Json::check(text.as_bytes()).unwrap();
            json.get("description").and_then(Json::as_str).unwrap().into_owned()
        };
        let append = || Wording::Append("More.".into());
        assert_eq!(described(r#","description":" Does it ""#, append()), "Does it. More.");
        assert_eq!(described(r#","description":"Does it.""#, append()), "Does it. More.");
        assert_eq!(described(r#","description":"  ""#, append()), "More.");
        assert_eq!(described(r#","description":null"#, append()), "More.");
        assert_eq!(described("", append()), "More.");
        assert_eq!(described(r#","description":"Does it.""#, Wording::Rewrite("New".into())), "New");
    }

    #[test]
    fn the_output_schema_goes_only_where_the_output_is_another() {
        let narrowed = |select: Option<&str>, cut| {
            let result = Narrowing { select: select.map(Into::into), cut };
            let text = list(TOOL, &Variant { result, title: Some("New".into()), ..variant("{}") });
            assert!(text.contains(r#""title":"New","inputSchema""#), "{text}");
            (text.contains("outputSchema"), text.contains("taskSupport"))
        };
        assert_eq!(narrowed(None, None), (true, true));
        assert_eq!(narrowed(None, Some(9)), (true, false));
        assert_eq!(narrowed(Some(""), None), (true, false));
        assert_eq!(narrowed(Some("/a"), None), (false, false));
    }

    #[test]
    fn what_a_variant_cannot_do_it_says() {
        let refused = |arguments: &str| list(TOOL, &variant(arguments));
        insta::assert_snapshot!(refused(r#"{"gone":{"fix":"1"}}"#), @r#"variants.s.variant: the variant "variant" changes the argument "gone", which "original" does not have"#);
        insta::assert_snapshot!(refused(r#"{"owner":{"rename":"size"}}"#), @r#"variants.s.variant: the variant "variant" gives the argument "owner" the name "size", which another one has"#);
        insta::assert_snapshot!(refused(r#"{"owner":{"rename":"x"},"size":{"rename":"x"}}"#), @r#"variants.s.variant: the variant "variant" gives two arguments the name "x""#);
        insta::assert_snapshot!(refused(r#"{"size":{"one_of":["7"]}}"#), @r#"variants.s.variant: the variant "variant" changes the argument "size": leaves none of the values that it may have"#);
        insta::assert_snapshot!(refused(r#"{"size":{"pattern":"x"}}"#), @r#"variants.s.variant: the variant "variant" changes the argument "size": restricts it as a string, which it is not"#);
        insta::assert_snapshot!(refused(r#"{"size":{"pattern":"("}}"#), @r#"variants.s.variant: the variant "variant" cannot change the argument "size": "(" is no pattern: found open group without closing ')'"#);
        insta::assert_snapshot!(refused(r#"{"size":{"maximum":1,"default":"2"}}"#), @r#"variants.s.variant: the variant "variant" cannot change the argument "size": its value is not allowed: it must be a number that is at most 1"#);
        insta::assert_snapshot!(refused(r#"{"size":{"fix":"{"}}"#), @r#"variants.s.variant: the variant "variant" cannot change the argument "size": a value is no JSON: expected a key at byte 1"#);
        let twice = TOOL.replacen("\"more\"", "\"name\"", 1);
        insta::assert_snapshot!(list(&twice, &variant("{}")), @r#"variants.s.variant: the variant "variant" is made from what is ambiguous: duplicate key "name""#);
    }

    #[test]
    fn alternatives_are_decided_by_what_is_given() {
        let shown = |schema: &str| {
            let tool = format!(r#"{{"name":"original","inputSchema":{{"type":"object",{schema}}}}}"#);
            let text = list(&tool, &variant(r#"{"mode":{"fix":"\"a\""}}"#));
            text.strip_prefix(r#"{"name":"variant","inputSchema":{"type":"object","#)
                .unwrap_or(&text)
                .to_owned()
        };
        insta::assert_snapshot!(shown(r#""oneOf":[{"properties":{"mode":{"const":"a"}},"required":["mode","x"]},{"properties":{"mode":{"const":"b"}},"required":["mode"]}]"#), @r#""oneOf":[{"properties":{},"required":["x"]},false]}}"#);
        insta::assert_snapshot!(shown(r#""oneOf":[{"properties":{"mode":{"pattern":"a"}},"required":["mode","x"]},{"required":["y"]}]"#), @r#""allOf":[{"anyOf":[{"properties":{},"required":["x"]},{"required":["y"]}]}]}}"#);
        insta::assert_snapshot!(shown(r#""if":{"properties":{"mode":{"pattern":"a"}}},"then":{"required":["x"]},"not":{"properties":{"mode":{"format":"x"}}}"#), @r#"{"name":"variant","inputSchema":{"type":"object"}}"#);
        insta::assert_snapshot!(shown(r##""$ref":"#/$defs/all","$defs":{"all":{"properties":{"mode":{},"x":{}},"required":["mode"]}}"##), @r##""$defs":{"all":{"properties":{"mode":{},"x":{}},"required":["mode"]}},"allOf":[{"properties":{"x":{}}}]}}"##);
        insta::assert_snapshot!(shown(r#""properties":{"mode":{},"x":{}},"dependentRequired":{"mode":["x"],"x":["mode"]},"dependentSchemas":{"mode":{"minProperties":2}}"#), @r#""properties":{"x":{}},"dependentRequired":{"x":[]},"dependentSchemas":{},"required":["x"],"allOf":[{"minProperties":1}]}}"#);
    }

    #[test]
    fn a_prompts_arguments_are_changed_the_same_way() {
        let original = r#"{"name":"original","arguments":[{"name":"a","required":true},{"title":"B","name":"b","required":true,"_meta":{}},{"name":"c","description":"C"}],"icons":[]}"#;
        let changed = of_prompt(
            r#"{"a":{"fix":"\"x\""},"b":{"rename":"bee","append":"Buzz.","default":"1"},"c":{"append":"More"}}"#,
        );
        insta::assert_snapshot!(list(original, &changed), @r#"{"name":"variant","arguments":[{"title":"B","name":"bee","required":false,"_meta":{},"description":"Buzz."},{"name":"c","description":"C. More"}],"icons":[]}"#);
        insta::assert_snapshot!(list(original, &of_prompt(r#"{"d":{"fix":"1"}}"#)), @r#"variants.s.variant: the variant "variant" changes the argument "d", which "original" does not have"#);
        insta::assert_snapshot!(list(original, &of_prompt(r#"{"a":{"rename":"b"}}"#)), @r#"variants.s.variant: the variant "variant" gives two arguments the same name"#);
    }

    #[test]
    fn variants_of_one_server_are_made_together() {
        let item = |name: &str| {
            Item {
            name: name.into(),
            text: format!(r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"a":{{"type":"string","x-mcp-header":"A"}}}}}}}}"#).into(),
            parameters: Vec::new(),
        }
        };
        let named = |name: &str, from: &str, replaces: bool| Variant {
            name: name.into(),
            from: from.into(),
            replaces,
            ..variant(r#"{"a":{"append":"x"}}"#)
        };
        let variants = [
            named("first", "one", false),
            named("second", "first", false),
            named("two", "two", false),
            named("three", "second", true),
            named("round", "about", false),
            named("about", "round", false),
            named("lost", "gone", true),
        ];
        let done = customize(&variants, Kind::Tools, &["one", "two"].map(item));
        let made: Vec<_> = done.made.iter().map(|made| (made.item.name.as_str(), &*made.call.name)).collect();
        assert_eq!(made, [("first", "one"), ("three", "one"), ("two", "two")]);
        assert!(done.made.iter().all(|made| made.item.parameters.len() == 1));
        assert!(done.made[1].item.text.contains(r#""description":"x. x. x""#), "{:?}", done.made[1]);
        assert_eq!(done.replaced, ["gone", "second", "two"]);
        let failed: Vec<_> =
            done.failed.iter().map(|error| format!("{} {}", error.variant, error.why)).collect();
        insta::assert_snapshot!(failed.join("\n"), @r#"
        about is made from itself
        lost is made from "gone", which the server does not offer
        round is made from itself
        "#);
        assert!(customize(&variants, Kind::Prompts, &[]).made.is_empty());
    }

    #[test]
    fn a_variant_of_a_variant_changes_what_it_is_made_from() {
        let both = recipe(&[
            r#"{"owner":{"fix":"\"x\""},"size":{"rename":"n","minimum":0}}"#,
            r#"{"n":{"rename":"count","maximum":2}}"#,
        ]);
        let text = both.item(TOOL).unwrap();
        assert!(
            text.contains(r#""count":{"type":"integer","minimum":2,"enum":[1,2,3],"maximum":2}"#),
            "{text}"
        );
        let inner = recipe(&[r#"{"owner":{"fix":"\"x\""},"size":{"rename":"n"}}"#]);
        let refused = |arguments: &str| Recipe::compile(&variant(arguments), Some(&inner)).unwrap_err().why;
        insta::assert_snapshot!(refused(r#"{"owner":{"fix":"1"}}"#), @r#"changes "owner", which "original" has fixed"#);
        insta::assert_snapshot!(refused(r#"{"size":{"fix":"1"}}"#), @r#"changes "size", which "original" calls "n""#);
    }
}
