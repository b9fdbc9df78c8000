//! What holds for all variants of all schemas (of the kinds that are generated here), told by a validator that is not
//! ours.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::testing::{tool, variant};
use super::{Call, Recipe};
use crate::config::{Argument, Fixed, Variant, Wording};
use crate::sorted::SortedMap;
use crate::wire::json::Json;

const NAMES: [&str; 5] = ["a", "b", "c", "owner", "Owner"];

/// An argument: its schema, and values that fit it.
fn argument() -> impl Strategy<Value = (Value, Vec<Value>)> {
    prop_oneof![
        Just((json!({"type": "string"}), vec![json!("x"), json!("y"), json!("")])),
        Just((json!({"type": "integer", "minimum": 0}), vec![json!(0), json!(1), json!(7)])),
        Just((
            json!({"enum": ["x", 1, null], "description": "One of three"}),
            vec![json!("x"), json!(1), json!(null)]
        )),
        Just((json!({"$ref": "#/$defs/flag"}), vec![json!(true), json!(false), json!(true)])),
        Just((json!(true), vec![json!("x"), json!([1]), json!({"a": 1})])),
    ]
}

/// A schema with these arguments, and rules about which go together.
fn schema() -> impl Strategy<Value = (Value, SortedMap<String, Vec<Value>>)> {
    let arguments = prop::collection::btree_map(prop::sample::select(&NAMES[..]), argument(), 1..5);
    let names =
        Just(NAMES.to_vec()).prop_shuffle().prop_map(|names| (names[0], names[1], names[2], names[3]));
    (arguments, any::<[bool; 9]>(), names).prop_map(|(arguments, has, (one, two, three, four))| {
        let value = |name: &str, index: usize| arguments.get(name).map_or(json!("x"), |(_, v)| v[index].clone());
        let (first, second) = (|name: &str| value(name, 0), |name: &str| value(name, 1));
        let properties: Map<_, _> =
            arguments.iter().map(|(name, (schema, _))| ((*name).to_owned(), schema.clone())).collect();
        let mut schema = json!({"type": "object", "properties": properties, "$defs": {"flag": {"type": "boolean"}}});
        let rules = [
            ("required", json!([one, two])),
            ("additionalProperties", json!(false)),
            ("dependentRequired", json!({one: [two], three: [four]})),
            ("anyOf", json!([{"required": [one]}, {"required": [three]}])),
            ("oneOf", json!([{"properties": {two: {"const": first(two)}}, "required": [two]}, {"properties": {two: {"enum": [second(two)]}}, "required": [two]}, {"required": ["zzz"]}])),
            ("if", json!({"properties": {one: {"enum": [first(one)]}}, "required": [one]})),
            ("not", json!({"required": [three, four]})),
            ("dependentSchemas", json!({four: {"required": [two]}})),
            ("allOf", json!([{"$ref": "#/$defs/more"}])),
        ];
        for ((key, rule), has) in rules.into_iter().zip(has) {
            if has {
                schema[key] = rule;
            }
        }
        if has[5] {
            schema["then"] = json!({"required": [three]});
        }
        schema["$defs"]["more"] = json!({"properties": {four: {"enum": [first(four)]}}, "minProperties": 1});
        let values = arguments.into_iter().map(|(name, (_, values))| (name.to_owned(), values));
        (schema, values.collect())
    })
}

/// What a variant says of the arguments that have that many values to choose from, and what they are called then.
fn said(
    values: &SortedMap<String, Vec<Value>>,
    choices: &[u8],
    prefix: &str,
) -> (SortedMap<String, Argument>, SortedMap<String, Vec<Value>>) {
    let (mut arguments, mut left) = (SortedMap::new(), SortedMap::new());
    for ((name, values), choice) in values.iter().zip(choices) {
        let value = values[1].to_string();
        let nothing = Argument::default();
        let renamed = format!("{prefix}{name}");
        let argument = match choice % 7 {
            0 => Argument { fix: Some(value), ..nothing },
            1 => Argument { default: Some(value), ..nothing },
            2 => Argument { rename: Some(renamed.clone()), ..nothing },
            3 => Argument { rename: Some(renamed.clone()), default: Some(value), ..nothing },
            4 => Argument { one_of: Some(values[..2].iter().map(Value::to_string).collect()), ..nothing },
            5 => Argument { describe: Some(Wording::Append("More.".into())), ..nothing },
            _ => {
                left.insert(name.clone(), values.clone());
                continue;
            }
        };
        let kept = if argument.one_of.is_some() { values[..2].to_vec() } else { values.clone() };
        if argument.fix.is_none() {
            left.insert(argument.rename.clone().unwrap_or_else(|| name.clone()), kept);
        }
        arguments.insert(name.clone(), argument);
    }
    (arguments, left)
}

fn fixed() -> impl Strategy<Value = Fixed> {
    prop::sample::select(vec![Fixed::Gone, Fixed::Noted])
}

fn shown(recipe: &Recipe, original: &str) -> Value {
    let item: Value = serde_json::from_str(&recipe.item(original).unwrap()).unwrap();
    item["inputSchema"].clone()
}

fn called(recipe: &Recipe, original: &str, arguments: &str) -> Result<String, String> {
    let json = Json::check(arguments.as_bytes()).unwrap();
    Call::new(recipe, original).arguments(Some(json)).map_err(|refusal| refusal.to_string())
}

/// Arguments by the names that are shown, each there or not.
fn arguments(left: &SortedMap<String, Vec<Value>>, choices: &[u8]) -> Value {
    let chosen = left.iter().zip(choices).filter(|(_, choice)| **choice % 4 < 3);
    Value::Object(
        chosen
            .map(|((name, values), c)| (name.clone(), values[usize::from(c % 4) % values.len()].clone()))
            .collect(),
    )
}

fn step(arguments: SortedMap<String, Argument>, name: &str, from: &str, fixed: Fixed) -> Variant {
    Variant { arguments, name: name.into(), from: from.into(), fixed, ..variant("{}") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_fits_what_is_shown_fits_what_the_server_wants(
        (schema, values) in schema(),
        choices in prop::array::uniform5(any::<u8>()),
        again in prop::array::uniform5(any::<u8>()),
        given in prop::collection::vec(prop::array::uniform5(any::<u8>()), 1..6),
        fixed in fixed(),
    ) {
        let original = tool(&schema.to_string());
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (first, left) = said(&values, &choices, "n_");
        let inner = Recipe::compile(&step(first, "inner", "original", fixed), None).unwrap();
        let (second, left) = said(&left, &again, "m_");
        let outer = Recipe::compile(&step(second, "outer", "inner", fixed), Some(&inner));
        prop_assume!(outer.is_ok());
        let outer = outer.unwrap();
        let shown = shown(&outer, &original);
        prop_assert!(jsonschema::meta::is_valid(&shown), "{}", shown);
        let shown_validator = jsonschema::validator_for(&shown).unwrap();
        for given in given {
            let given = arguments(&left, &given);
            let called = called(&outer, &original, &given.to_string()).unwrap();
            let called: Value = serde_json::from_str(&called).unwrap();
            if shown_validator.is_valid(&given) {
                prop_assert!(validator.is_valid(&called), "{} is shown, takes {}, comes to {}", shown, given, called);
            } else if fixed == Fixed::Gone {
                prop_assert!(!validator.is_valid(&called), "{} is shown, refuses {}, which comes to {}", shown, given, called);
            }
        }
    }

    #[test]
    fn two_variants_are_one_after_the_other(
        (schema, values) in schema(),
        choices in prop::array::uniform5(any::<u8>()),
        again in prop::array::uniform5(any::<u8>()),
        given in prop::array::uniform5(any::<u8>()),
    ) {
        let original = tool(&schema.to_string());
        let (first, left) = said(&values, &choices, "n_");
        let inner = Recipe::compile(&step(first, "inner", "original", Fixed::Gone), None).unwrap();
        let (second, left) = said(&left, &again, "m_");
        let second = step(second, "outer", "inner", Fixed::Gone);
        let both = Recipe::compile(&second, Some(&inner));
        prop_assume!(both.is_ok());
        let both = both.unwrap();
        let outer = Recipe::compile(&second, None).unwrap();
        let between = inner.item(&original).unwrap();
        prop_assert_eq!(both.item(&original).unwrap(), outer.item(&between).unwrap());
        let given = arguments(&left, &given).to_string();
        let one_by_one = called(&outer, &between, &given).and_then(|given| called(&inner, &original, &given));
        let value = |outcome: Result<String, String>| outcome.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        prop_assert_eq!(value(called(&both, &original, &given)), value(one_by_one));
    }

    #[test]
    fn what_is_fixed_arrives_whatever_is_sent(
        name in prop::sample::select(&["owner", "grün", "a\"b"][..]),
        sent in prop::collection::vec((any::<u8>(), "[a-z]{0,3}"), 0..4),
        open in any::<bool>(),
    ) {
        let schema = if open { json!({"type": "object"}) } else { json!({"type": "object", "properties": {name: {}, "x": {}}}) };
        let original = tool(&schema.to_string());
        let said = [(name.to_owned(), Argument { fix: Some("\"acme\"".into()), ..Argument::default() })];
        let recipe = Recipe::compile(&step(said.into(), "v", "original", Fixed::Gone), None).unwrap();
        let members: Vec<_> = sent.iter().map(|(how, value)| format!("{}:\"{value}\"", spelled(name, *how))).collect();
        let text = format!("{{{}}}", members.join(","));
        if let Ok(text) = called(&recipe, &original, &text) {
            let json = Json::check(text.as_bytes()).unwrap();
            let arrived: Vec<_> = json.members().map(|(key, value)| (key.to_lowercase(), value.text())).collect();
            prop_assert_eq!(arrived, [(name.to_owned(), "\"acme\"")]);
        } else {
            prop_assert!(sent.len() > 1, "{} is refused", text);
        }
    }

    #[test]
    fn a_renamed_argument_comes_back_as_it_was(values in prop::array::uniform3("[a-z\\\\\"é]{0,4}"), turn in 0usize..6) {
        let orders = [["a", "b", "c"], ["a", "c", "b"], ["b", "a", "c"], ["b", "c", "a"], ["c", "a", "b"], ["c", "b", "a"]];
        let names = ["a", "b", "c"];
        let original = tool(r#"{"type":"object","properties":{"a":{},"b":{},"c":{}}}"#);
        let said = names.iter().zip(orders[turn]);
        let said = said.map(|(name, new)| ((*name).to_owned(), Argument { rename: Some(new.into()), ..Argument::default() }));
        let recipe = Recipe::compile(&step(said.collect(), "v", "original", Fixed::Gone), None).unwrap();
        let given: Map<_, _> = orders[turn].iter().zip(&values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let expected: Map<_, _> = names.iter().zip(&values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let came = called(&recipe, &original, &Value::Object(given).to_string()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&came).unwrap(), Value::Object(expected));
    }
}

/// Returns a key, each letter in one case or the other, as it is or escaped.
fn spelled(name: &str, how: u8) -> String {
    let letter = |(index, letter): (usize, char)| {
        let letter = if how >> (index % 4) & 1 == 1 { letter.to_uppercase().next().unwrap() } else { letter };
        match how >> (4 + index % 4) & 1 {
            1 => format!("\\u{:04X}", u32::from(letter)),
            _ if letter == '"' => "\\\"".into(),
            _ => letter.to_string(),
        }
    };
    format!("\"{}\"", name.chars().enumerate().map(letter).collect::<String>())
}
