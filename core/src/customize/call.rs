//! The arguments of a call, from what a caller knows to what the server knows.
//!
//! **No name of the server's is reached but by the name that is shown for it.** Some servers match names without case,
//! so a name that differs in case alone counts as the same one, unless the server itself tells the two apart.

use std::borrow::Cow;
use std::sync::Arc;

use super::rule::{Rule, Value};
use super::{Recipe, item};
use crate::catalog::replace_member;
use crate::config::{ItemKind, Narrowing};
use crate::error::{Refusal, code};
use crate::names::without_case;
use crate::sorted::{SortedMap, SortedSet};
use crate::wire::json::{Json, Object};
use crate::wire::message::ObjectWriter;

/// How a variant is called: everything that is known before a call comes.
#[derive(Debug)]
pub(crate) struct Call {
    /// The name that the server knows it by.
    pub(crate) name: Arc<str>,
    /// What is left of its results; nothing where they stay as they are.
    pub(crate) narrowing: Option<Arc<Narrowing>>,
    kind: ItemKind,
    rules: Vec<Rule>,
    /// The server's arguments that no rule is about.
    free: SortedSet<String>,
    /// Which rule is about a name of the server's, by the name without case.
    guarded: SortedMap<String, usize>,
}

/// What a request for completion says to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Completed {
    /// The parameter `argument`, as JSON text.
    pub(crate) argument: String,
    /// The parameter `context`, as JSON text, where there is one.
    pub(crate) context: Option<String>,
}

impl Call {
    /// Prepares the calls of what the server lists with this text.
    pub(super) fn new(recipe: &Recipe, original: &str) -> Self {
        let rules: Vec<_> = recipe.rules.iter().filter(|rule| rule.matters()).cloned().collect();
        let mut free = item::arguments(original, recipe.kind);
        free.retain(|name| rules.iter().all(|rule| *rule.server != **name));
        let guarded = rules.iter().enumerate().map(|(index, rule)| (without_case(&rule.server), index));
        Self {
            name: recipe.from.clone(),
            narrowing: recipe.narrowing.clone(),
            kind: recipe.kind,
            guarded: guarded.collect(),
            rules,
            free,
        }
    }

    /// Returns the arguments that the server gets, as JSON text, or refuses those of the caller.
    pub(crate) fn arguments(&self, arguments: Option<Json<'_>>) -> Result<String, Refusal> {
        self.translate(arguments, |rule| &rule.server)
    }

    /// Returns the values that the server gets by the names that are shown, for whoever judges the call; what is fixed,
    /// and so is not shown, by the server's names.
    pub(crate) fn judged(&self, arguments: Option<Json<'_>>) -> Result<String, Refusal> {
        self.translate(arguments, |rule| if rule.is_fixed() { &rule.server } else { &rule.shown })
    }

    fn translate(
        &self,
        arguments: Option<Json<'_>>,
        name_of: impl Fn(&Rule) -> &str,
    ) -> Result<String, Refusal> {
        let given = match arguments {
            Some(given) if given.is_object() => object(given, "`arguments`")?,
            Some(given) if !given.is_null() => return Err(invalid("`arguments` must be an object")),
            _ => Object::default(),
        };
        let size = arguments.map_or(0, |given| given.text().len());
        let mut out = ObjectWriter::with_capacity(size + 64 * self.rules.len() + 2);
        let mut present = vec![false; self.rules.len()];
        for (name, value) in given.iter() {
            match self.meant(name)? {
                Meant::Other => {
                    out.member(name, value.text());
                }
                Meant::Nothing => {}
                Meant::Rule(index) => {
                    let rule = &self.rules[index];
                    if let Some(check) = rule.broken(self.kind, value) {
                        return Err(invalid(format!("argument {name:?} must be {}", check.expected())));
                    }
                    present[index] = true;
                    out.member(name_of(rule), value.text());
                }
            }
        }
        for (rule, present) in self.rules.iter().zip(present) {
            match &rule.value {
                Value::Fixed(value) => {
                    out.member(name_of(rule), value);
                }
                Value::Default(value) if !present => {
                    out.member(name_of(rule), value);
                }
                Value::Default(_) | Value::Callers => {}
            }
        }
        Ok(out.finish())
    }

    /// Returns what a request to complete an argument of a prompt says to the server.
    pub(crate) fn completion(
        &self,
        argument: Json<'_>,
        context: Option<Json<'_>>,
    ) -> Result<Completed, Refusal> {
        let named = object(argument, "`argument`")?;
        let name = named.get("name").and_then(Json::as_str);
        let name = name.ok_or_else(|| invalid("`argument.name` must be a string"))?;
        let argument = match self.meant(&name)? {
            Meant::Other => argument.text().to_owned(),
            Meant::Nothing => return Err(unknown(&name)),
            Meant::Rule(index) => replace_member(argument.text(), "name", &self.rules[index].server),
        };
        let context = context.filter(|context| context.is_object());
        let members =
            context.map_or_else(|| Ok(Object::default()), |context| object(context, "`context`"))?;
        let arguments = self.arguments(members.get("arguments"))?;
        if context.is_none() && arguments == "{}" {
            return Ok(Completed { argument, context: None });
        }
        let mut out = ObjectWriter::with_capacity(arguments.len() + 64);
        for (key, value) in members.iter().filter(|(key, _)| *key != "arguments") {
            out.member(key, value.text());
        }
        out.member("arguments", &arguments);
        Ok(Completed { argument, context: Some(out.finish()) })
    }

    /// Tells what the name of a caller's argument means.
    fn meant(&self, name: &str) -> Result<Meant, Refusal> {
        if let Some(index) = self.rules.iter().position(|rule| *rule.shown == *name && !rule.is_fixed()) {
            return Ok(Meant::Rule(index));
        }
        if self.free.contains(name) {
            return Ok(Meant::Other);
        }
        match self.guarded.get(&without_case(name)).map(|index| &self.rules[*index]) {
            None => Ok(Meant::Other),
            Some(rule) if rule.is_fixed() => Ok(Meant::Nothing),
            Some(_) => Err(unknown(name)),
        }
    }
}

/// What the name of a caller's argument means.
enum Meant {
    /// The argument of a rule.
    Rule(usize),
    /// An argument that is fixed, whatever is sent.
    Nothing,
    /// What nothing is said about.
    Other,
}

fn object<'a>(json: Json<'a>, what: &str) -> Result<Object<'a>, Refusal> {
    let object = json.object().map_err(|error| invalid(format!("{error} in {what}")))?;
    // Such a key is no text, and what a server makes of it cannot be known. It alone is kept with its quotes.
    let halved = |key: &Cow<'_, str>| matches!(key, Cow::Borrowed(key) if key.starts_with('"'));
    if object.iter().any(|(key, _)| halved(key)) {
        return Err(invalid(format!("a key in {what} has half a surrogate pair")));
    }
    Ok(object)
}

fn unknown(name: &str) -> Refusal {
    let name: String = name.chars().take(200).collect();
    invalid(format!("there is no argument {name:?}"))
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(code::INVALID_PARAMS, message.into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{recipe, tool};
    use super::*;

    fn call(variant: &str) -> Call {
        let original = tool(
            r#"{"type":"object","properties":{"owner":{"type":"string"},"repo":{"type":"string"},"Repo":{},"title":{"type":"string"},"size":{"type":"integer"},"é":{}},"required":["owner","title"]}"#,
        );
        Call::new(&recipe(&[variant]), &original)
    }

    #[track_caller]
    fn check(variant: &str, arguments: &str, expected: &str) {
        let json = Json::check(arguments.as_bytes()).unwrap();
        let outcome = call(variant).arguments(Some(json)).unwrap_or_else(|refusal| {
            assert_eq!(refusal.code, code::INVALID_PARAMS);
            refusal.to_string()
        });
        assert_eq!(outcome, expected, "{arguments}");
    }

    const FIXED: &str = r#"{"owner":{"fix":"\"acme\""},"repo":{"fix":"\"shop\""}}"#;

    #[test]
    fn what_is_fixed_reaches_the_server_once_whatever_is_sent() {
        let fixed = r#"{"title":"x","owner":"acme","repo":"shop"}"#;
        check(FIXED, r#"{"title":"x"}"#, fixed);
        for name in ["owner", "OWNER", "oWneR", r"\u006fwner", r"\u004fwner", "REPO", "rePo"] {
            check(FIXED, &format!(r#"{{"{name}":"evil","title":"x"}}"#), fixed);
            check(FIXED, &format!(r#"{{"title":"x","{name}":{{"owner":1}}}}"#), fixed);
        }
        check(FIXED, "{}", r#"{"owner":"acme","repo":"shop"}"#);
        check(FIXED, "null", r#"{"owner":"acme","repo":"shop"}"#);
    }

    #[test]
    fn a_name_that_the_server_itself_tells_apart_goes_through() {
        check(FIXED, r#"{"Repo":1}"#, r#"{"Repo":1,"owner":"acme","repo":"shop"}"#);
        check(r#"{"é":{"fix":"1"}}"#, r#"{"É":2,"e":3}"#, r#"{"e":3,"é":1}"#);
    }

    #[test]
    fn ambiguity_is_refused() {
        check(FIXED, r#"{"title":1,"title":2}"#, r#"duplicate key "title" in `arguments`"#);
        check(FIXED, r#"{"owner":1,"\u006fwner":2}"#, r#"duplicate key "owner" in `arguments`"#);
        check(FIXED, r#"{"a\ud800":1}"#, "a key in `arguments` has half a surrogate pair");
        check(FIXED, "[]", "`arguments` must be an object");
        check(FIXED, "\"owner\"", "`arguments` must be an object");
    }

    #[test]
    fn values_are_passed_on_as_they_are_written() {
        let variant = r#"{"title":{"rename":"name"},"size":{"default":"1.50"}}"#;
        check(
            variant,
            r#"{ "name" : "\u0041" , "n":12345678901234567890.0, "o": { "owner" : [ 1 ] } }"#,
            r#"{"title":"\u0041","n":12345678901234567890.0,"o":{ "owner" : [ 1 ] },"size":1.50}"#,
        );
        check(variant, r#"{"size":null}"#, r#"{"size":null}"#);
    }

    #[test]
    fn the_name_that_is_not_shown_is_not_taken() {
        let variant = r#"{"title":{"rename":"name"},"repo":{"rename":"owner"},"owner":{"rename":"repo"}}"#;
        check(variant, r#"{"name":1,"owner":2,"repo":3}"#, r#"{"title":1,"repo":2,"owner":3}"#);
        check(variant, r#"{"title":1}"#, r#"there is no argument "title""#);
        check(variant, r#"{"TITLE":1,"name":2}"#, r#"there is no argument "TITLE""#);
        check(r#"{"repo":{"one_of":["\"a\""]}}"#, r#"{"REPO":"b"}"#, r#"there is no argument "REPO""#);
    }

    #[test]
    fn restrictions_hold() {
        let one_of = r#"{"size":{"one_of":["1","2.50","\"a\"","9007199254740993"],"rename":"n"}}"#;
        for value in ["1", "1.0", "1e0", "2.5", "\"\\u0061\"", "9007199254740993.0"] {
            check(one_of, &format!(r#"{{"n":{value}}}"#), &format!(r#"{{"size":{value}}}"#));
        }
        for value in ["9007199254740992", "\"1\"", "null", "[1]", "3"] {
            check(
                one_of,
                &format!(r#"{{"n":{value}}}"#),
                r#"argument "n" must be one of 1, 2.50, "a", 9007199254740993"#,
            );
        }
        let range = r#"{"size":{"minimum":-1.5,"maximum":10.0}}"#;
        check(range, r#"{"size":-1.50}"#, r#"{"size":-1.50}"#);
        check(range, r#"{"size":1e1}"#, r#"{"size":1e1}"#);
        check(
            range,
            r#"{"size":10.000000000000000001}"#,
            r#"argument "size" must be a number that is at most 10"#,
        );
        check(range, r#"{"size":-2}"#, r#"argument "size" must be a number that is at least -1.5"#);
        check(range, r#"{"size":"5"}"#, r#"argument "size" must be a number that is at least -1.5"#);
        let pattern = r#"{"repo":{"pattern":"^acme/"}}"#;
        check(pattern, r#"{"repo":"acme\/x"}"#, r#"{"repo":"acme\/x"}"#);
        for value in ["\"x/acme/\"", "[\"acme/\"]", "null"] {
            let refused = r#"argument "repo" must be a text that matches "^acme/""#;
            check(pattern, &format!(r#"{{"repo":{value}}}"#), refused);
        }
    }

    #[test]
    fn a_prompts_argument_is_completed_under_the_servers_name() {
        let original =
            r#"{"name":"original","arguments":[{"name":"owner","required":true},{"name":"lang"}]}"#;
        let variant = super::super::testing::prompt(
            r#"{"owner":{"fix":"5"},"lang":{"rename":"language","one_of":["\"de\"","\"en\""]}}"#,
        );
        let call = Call::new(&Recipe::compile(&variant, None).unwrap(), original);
        let complete = |name: &str, context: Option<&str>| {
            let argument = format!(r#"{{"name":"{name}","value":"d"}}"#);
            let context = context.map(|text| Json::check(text.as_bytes()).unwrap());
            match call.completion(Json::check(argument.as_bytes()).unwrap(), context) {
                Ok(done) => format!("{} {}", done.argument, done.context.unwrap_or_default()),
                Err(refusal) => refusal.to_string(),
            }
        };
        insta::assert_snapshot!(complete("language", None), @r#"{"name":"lang","value":"d"} {"arguments":{"owner":"5"}}"#);
        insta::assert_snapshot!(complete("x", Some(r#"{"arguments":{"language":"de"},"y":1}"#)), @r#"{"name":"x","value":"d"} {"y":1,"arguments":{"lang":"de","owner":"5"}}"#);
        insta::assert_snapshot!(complete("owner", None), @r#"there is no argument "owner""#);
        insta::assert_snapshot!(complete("lang", None), @r#"there is no argument "lang""#);
        insta::assert_snapshot!(complete("x", Some(r#"{"arguments":{"language":"fr"}}"#)), @r#"argument "language" must be one of "de", "en""#);
    }
}
