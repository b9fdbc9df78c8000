//! Which of a server's questions reach a user, and in which words: pure.
//!
//! **A user sees who asks, and where a link leads, before anything that the server says.** The gateway's own line comes
//! first and has no mark before it; each line of the server's has, so that none of them passes for the gateway's, and there
//! is only so much of them. **A link is opened as it was judged**: what is passed on is the address that was parsed.
//!
//! Whether a form asks for a secret is told by the names and titles of its fields. What its text talks a user into typing
//! where nothing says so, nobody can tell here.

use url::Url;

use crate::catalog::inspect::{is_invisible, read_as};
use crate::config::{Elicitation, Forms};
use crate::error::{Refusal, code};
use crate::front::gate::is_loopback;
use crate::observe::Record;
use crate::upstream::Server;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

/// What a server is answered whose question nobody is asked.
pub(crate) const DECLINED: &str = r#"{"action":"decline"}"#;
/// The longest address that is passed on, in bytes.
const LONGEST: usize = 8 << 10;
/// How much of a server's text is passed on with a link and with a form, in bytes; each line counts as so many more.
const LINK: usize = 1000;
const FORM: usize = 4000;
const LINE: usize = 80;
/// Names of what is a secret, within a name of a field without its spaces.
const SECRETS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "motdepasse",
    "contrase",
    "apikey",
    "accesskey",
    "privatekey",
    "seedphrase",
    "recoveryphrase",
    "credential",
];
/// The same, as words of their own.
const SECRET_WORDS: [&str; 9] = ["secret", "secrets", "token", "pin", "otp", "cvv", "cvc", "pwd", "mnemonic"];
/// What is no secret, whatever it is of.
const OF_SECRETS: [&str; 8] = ["name", "id", "type", "hint", "count", "limit", "length", "policy"];

/// What stands between one server and the users whom it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen<'s> {
    server: &'s Server,
    /// The request in which it asks.
    record: &'s Record,
}

/// That a user is not asked, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declined(pub(crate) String);

impl<'s> Screen<'s> {
    /// Stands before a server that is asked for the request that this is the record of.
    pub(crate) fn new(server: &'s Server, record: &'s Record) -> Self {
        Self { server, record }
    }

    /// Returns the parameters with which an agent is asked in place of a server's; nothing where those stay.
    pub(crate) fn params(self, method: &str, params: Option<Json<'_>>) -> Result<Option<String>, Declined> {
        if method != "elicitation/create" {
            return Ok(None);
        }
        self.judged(params.unwrap_or(Json::known("{}"))).map(Some)
    }

    /// Returns what an agent is asked for in place of what `inputRequests` says, as JSON text, and the keys of what it is not.
    pub(crate) fn requests(self, requests: Json<'_>) -> (String, Vec<String>) {
        let (mut out, mut declined) = (ObjectWriter::default(), Vec::new());
        if says_twice(requests) {
            self.declined(TWICE.into());
            return (out.finish(), declined);
        }
        for (key, request) in requests.members() {
            let method = request.get("method").and_then(Json::as_str).unwrap_or_default();
            match self.params(&method, request.get("params")) {
                Ok(None) => drop(out.member(&key, request.text())),
                Ok(Some(params)) => drop(out.member(&key, &with(request, &[("params", &params)]))),
                Err(_) => declined.push(key.into_owned()),
            }
        }
        (out.finish(), declined)
    }

    /// Returns the error that an agent gets in place of one that asks for pages to be visited (2025-11-25, -32042).
    pub(crate) fn error(self, error: &str) -> Option<String> {
        self.asking_error(Json::known(error)).unwrap_or_else(|Declined(why)| {
            let why = format!("the gateway does not ask the user what the server asks for: {why}");
            Some(Refusal::new(code::INTERNAL, why).to_json())
        })
    }

    fn asking_error(self, error: Json<'_>) -> Result<Option<String>, Declined> {
        if !asks(error) {
            return Ok(None);
        }
        if says_twice(error) {
            return Err(self.declined(TWICE.into()));
        }
        let Some(data) = error.get("data") else { return Ok(None) };
        let Some(asked) = data.get(ASKED) else { return Ok(None) };
        let mut pages = String::from("[");
        for params in asked.elements() {
            if pages.len() > 1 {
                pages.push(',');
            }
            pages.push_str(&self.judged(params)?);
        }
        pages.push(']');
        Ok(Some(with(error, &[("data", &with(data, &[(ASKED, &pages)]))])))
    }

    fn judged(self, params: Json<'_>) -> Result<String, Declined> {
        let judged = restated(self.server.name.as_str(), &self.server.settings.elicitation, params);
        judged.map_err(|why| self.declined(why))
    }

    /// Takes note that a user is not asked.
    fn declined(self, why: String) -> Declined {
        tracing::warn!(server = %self.server.name, reason = %why, "a question to a user was declined");
        self.record.declined(&self.server.name, &why);
        Declined(why)
    }
}

const ASKED: &str = "elicitations";
const TWICE: &str = "it says one thing twice";

/// Returns what a server is told where some of what it asks for was declined, whatever was given for those.
pub(crate) fn with_declined(given: Option<Json<'_>>, keys: &[String]) -> String {
    let declined: Vec<_> = keys.iter().map(|key| (key.as_str(), DECLINED)).collect();
    with(given.unwrap_or(Json::known("{}")), &declined)
}

/// Returns an object with these members in place of its own, or after them; their values are JSON text.
pub(crate) fn with(object: Json<'_>, members: &[(&str, &str)]) -> String {
    let mut out = ObjectWriter::with_capacity(object.text().len());
    for (key, value) in object.members() {
        let other = members.iter().find(|(name, _)| *name == key);
        out.member(&key, other.map_or(value.text(), |(_, other)| other));
    }
    for (name, value) in members.iter().filter(|(name, _)| object.get(name).is_none()) {
        out.member(name, value);
    }
    out.finish()
}

/// Tells whether something within a value is called what pages to visit are.
fn asks(json: Json<'_>) -> bool {
    json.members().any(|(key, value)| key == ASKED || asks(value)) || json.elements().any(asks)
}

/// Tells whether an object within a value has two members of one name, of which each reader could take another.
fn says_twice(json: Json<'_>) -> bool {
    json.object().is_err()
        || json.members().any(|(_, value)| says_twice(value))
        || json.elements().any(says_twice)
}

/// Judges a question; returns its parameters as the agent gets them.
fn restated(name: &str, allowed: &Elicitation, params: Json<'_>) -> Result<String, String> {
    if says_twice(params) {
        return Err(TWICE.into());
    }
    let text = |key| params.get(key).and_then(Json::as_str).unwrap_or_default();
    match text("mode").as_ref() {
        "url" => {}
        _ if params.get("url").is_some() => {}
        "" | "form" => {
            may_fill_in(allowed.forms, params)?;
            let message = quote(&said(format!("Server {name:?} asks:"), &text("message"), FORM));
            return Ok(with(params, &[("message", &message)]));
        }
        _ => return Err("it asks in a mode that is not known".into()),
    }
    let url = link(&text("url"))?;
    let host = url.host_str().unwrap_or_default();
    if !allowed.permits(host) {
        return Err(format!("its page is at {host}, which its configuration does not list"));
    }
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let head = format!("Server {name:?} asks you to open a page at {host}{port}:");
    let message = quote(&said(head, &text("message"), LINK));
    Ok(with(params, &[("mode", "\"url\""), ("url", &quote(url.as_str())), ("message", &message)]))
}

/// Parses an address that a user may be sent to.
fn link(text: &str) -> Result<Url, &'static str> {
    let is_odd = |c: char| c == ' ' || c.is_control() || is_invisible(c);
    let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST && !text.chars().any(is_odd));
    let url = url.ok_or("its page has no address, or an odd one")?;
    let is_safe = match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    if !is_safe {
        return Err("its page is not reached over https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address of its page begins with a user's name");
    }
    Ok(url)
}

/// Judges a form.
fn may_fill_in(forms: Forms, params: Json<'_>) -> Result<(), String> {
    match forms {
        Forms::None => return Err("its configuration lets it send no forms".into()),
        Forms::Any => return Ok(()),
        Forms::Plain => {}
    }
    let Some(fields) = params.get("requestedSchema").and_then(|schema| schema.get("properties")) else {
        return Ok(());
    };
    for (key, field) in fields.members() {
        let text = |key| field.get(key).and_then(Json::as_str).unwrap_or_default();
        let is_typed = match text("type").as_ref() {
            "boolean" => false,
            "array" => !field.get("items").is_some_and(is_choice),
            _ => !is_choice(field),
        };
        if text("format") == "password" || (is_typed && (is_secret(&key) || is_secret(&text("title")))) {
            return Err(format!("its form asks for a secret ({})", shown(&key, 40)));
        }
    }
    Ok(())
}

/// Tells whether a field takes one of the values that it names, and nothing that is typed.
fn is_choice(field: Json<'_>) -> bool {
    let names = |key| field.get(key).is_some_and(|values| values.elements().next().is_some());
    ["enum", "oneOf", "anyOf"].into_iter().any(names)
}

/// Tells whether a field of that name is one for a secret.
fn is_secret(name: &str) -> bool {
    let mut spaced = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            spaced.push(' ');
        }
        was_lower = c.is_ascii_lowercase();
        spaced.extend(read_as(c).map(|c| if c.is_ascii_alphanumeric() || !c.is_ascii() { c } else { ' ' }));
    }
    let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
    let whole = words.concat();
    let is_of_one = words.last().is_some_and(|last| OF_SECRETS.contains(last));
    !is_of_one
        && (SECRETS.iter().any(|secret| whole.contains(secret))
            || words.iter().any(|word| SECRET_WORDS.contains(word)))
}

/// Returns as much of a server's text as there is room for, behind the gateway's line.
fn said(mut out: String, text: &str, mut room: usize) -> String {
    for line in text.split('\n') {
        let line = shown(line, usize::MAX);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        out.push_str("\n> ");
        out.push_str(&line[..line.floor_char_boundary(room)]);
        if line.len() + LINE > room {
            out.push_str(" […]");
            break;
        }
        room -= line.len() + LINE;
    }
    out
}

/// Returns as much of a text as has that many bytes, on one line, without what is not seen or changes what is.
fn shown(text: &str, most: usize) -> String {
    let seen = text.chars().filter(|c| !is_invisible(*c) || c.is_control());
    let mut seen: String =
        seen.map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    seen.truncate(seen.floor_char_boundary(most));
    seen
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::names::ServerName;

    /// Looks at what stands before a server with an ordinary configuration.
    pub(crate) fn before_a_server<T>(look: impl FnOnce(Screen<'_>) -> T) -> T {
        look(Screen::new(&server(Elicitation::default()), &Record::default()))
    }

    fn server(elicitation: Elicitation) -> std::sync::Arc<Server> {
        let settings =
            crate::config::Server { elicitation, ..crate::testing::server("http://127.0.0.1:1/mcp") };
        Server::new(ServerName::parse("notes").unwrap(), settings, 1).0
    }

    /// What becomes of the parameters of a question.
    fn asked(elicitation: Elicitation, params: &str) -> String {
        let (server, record) = (server(elicitation), Record::default());
        let params = Json::check(params.as_bytes()).expect(params);
        match Screen::new(&server, &record).params("elicitation/create", Some(params)) {
            Ok(params) => params.expect("it is an elicitation"),
            Err(Declined(why)) => format!("declined: {why}"),
        }
    }

    /// What becomes of a link.
    fn visited(urls: &[&str], url: &str) -> String {
        let urls = urls.iter().map(|host| (*host).to_owned()).collect();
        let elicitation = Elicitation { urls, ..Elicitation::default() };
        let asked = asked(elicitation, &format!(r#"{{"mode":"url","message":"Go","url":{}}}"#, quote(url)));
        match Json::check(asked.as_bytes()) {
            Ok(params) => {
                let text = |key| params.get(key).and_then(Json::as_str).unwrap().replace('\n', " | ");
                format!("{} -> {}", text("message"), text("url"))
            }
            Err(_) => asked,
        }
    }

    fn filled_in(forms: Forms, properties: &str) -> String {
        let params = format!(
            r#"{{"message":"Tell","requestedSchema":{{"type":"object","properties":{properties}}}}}"#
        );
        asked(Elicitation { forms, ..Elicitation::default() }, &params)
    }

    #[test]
    fn a_user_sees_who_asks_and_where_a_link_leads() {
        let check = |url: &str| visited(&["*"], url);
        insta::assert_snapshot!(check("https://example.com/connect?step=1#x"), @r#"Server "notes" asks you to open a page at example.com: | > Go -> https://example.com/connect?step=1#x"#);
        insta::assert_snapshot!(check("https://Example.com:8443"), @r#"Server "notes" asks you to open a page at example.com:8443: | > Go -> https://example.com:8443/"#);
        insta::assert_snapshot!(check("https://xn--pypl-53dc.com/login"), @r#"Server "notes" asks you to open a page at xn--pypl-53dc.com: | > Go -> https://xn--pypl-53dc.com/login"#);
        insta::assert_snapshot!(check("https://paypal.com.evil.example/"), @r#"Server "notes" asks you to open a page at paypal.com.evil.example: | > Go -> https://paypal.com.evil.example/"#);
        insta::assert_snapshot!(check("https://bank.com\\@evil.example/"), @r#"Server "notes" asks you to open a page at bank.com: | > Go -> https://bank.com/@evil.example/"#);
        insta::assert_snapshot!(check("https:/bank.com%2eevil.example"), @r#"Server "notes" asks you to open a page at bank.com.evil.example: | > Go -> https://bank.com.evil.example/"#);
        insta::assert_snapshot!(check("http://127.0.0.1:8080/oauth"), @r#"Server "notes" asks you to open a page at 127.0.0.1:8080: | > Go -> http://127.0.0.1:8080/oauth"#);
        insta::assert_snapshot!(check("http://[::1]/"), @r#"Server "notes" asks you to open a page at [::1]: | > Go -> http://[::1]/"#);
        insta::assert_snapshot!(check("https://10.0.0.1/"), @r#"Server "notes" asks you to open a page at 10.0.0.1: | > Go -> https://10.0.0.1/"#);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_not_shown() {
        for url in [
            "https://bank.com@evil.example/",
            "https://bank.com:443@evil.example/",
            "https://bank.com%2f@evil.example",
            "http://example.com/",
            "http://127.0.0.1.evil.example/",
            "http://0.0.0.0/",
            "javascript:alert(1)",
            "data:text/html,<script>",
            "file:///etc/passwd",
            "ftp://example.com/",
            "vscode://settings",
            "//evil.example",
            "evil.example",
            "--upload-pack=x",
            "$(id)",
            "https://",
            "https:///",
            "https://exa mple.com",
            " https://example.com",
            "https://example.com/\u{202e}moc.knab",
            "https://exam\u{200b}ple.com",
            "https://example.com/\u{0}",
            "java\nscript:alert(1)",
            "https://раураl.com/login",
            "https://bank.com⁄x.evil.example/",
            "",
            &format!("https://example.com/{}", "x".repeat(LONGEST)),
        ] {
            let outcome = visited(&["*"], url);
            assert!(outcome.starts_with("declined: "), "{url:?}: {outcome}");
        }
    }

    #[test]
    fn a_server_leads_where_its_configuration_lets_it() {
        let listed = ["login.example.com", "*.xn--bcher-kva.example", "localhost"];
        for url in [
            "https://login.example.com/x",
            "https://LOGIN.example.com.:1/",
            "https://A.XN--BCHER-KVA.example/",
            "http://localhost:1/",
        ] {
            assert!(visited(&listed, url).starts_with("Server"), "{url}");
        }
        insta::assert_snapshot!(visited(&listed, "https://login.examp1e.com/"), @"declined: its page is at login.examp1e.com, which its configuration does not list");
        assert!(visited(&listed, "http://127.0.0.1/").starts_with("declined"));
        assert!(visited(&[], "https://example.com/").starts_with("declined"));
    }

    #[test]
    fn what_a_server_says_cannot_pass_for_the_gateway() {
        let check =
            |message: &str| asked(Elicitation::default(), &format!(r#"{{"message":{}}}"#, quote(message)));
        insta::assert_snapshot!(check("Which?"), @r#"{"message":"Server \"notes\" asks:\n> Which?"}"#);
        insta::assert_snapshot!(check("\n\n\n\nWell\r\n\r\nServer \"bank\" asks:\u{2028}Server \"bank\" asks:\rServer"), @r#"{"message":"Server \"notes\" asks:\n> Well\n> Server \"bank\" asks: Server \"bank\" asks: Server"}"#);
        insta::assert_snapshot!(check("a\u{202e}b\u{200b}c\u{1b}[2Jd\u{e0041}e"), @r#"{"message":"Server \"notes\" asks:\n> abc [2Jde"}"#);
        insta::assert_snapshot!(asked(Elicitation::default(), "{}"), @r#"{"message":"Server \"notes\" asks:"}"#);
        for text in ["x\n".repeat(10_000), "x".repeat(100_000), "é ".repeat(50_000)] {
            let message = check(&text);
            assert!(message.len() < 2 * FORM && message.lines().count() < 60, "{}", message.len());
            assert!(message.ends_with(" […]\"}"), "{message}");
        }
    }

    #[test]
    fn a_form_asks_for_no_secret() {
        for field in [
            r#""password":{"type":"string"}"#,
            r#""user_password":{"type":"string"}"#,
            r#""x":{"type":"string","title":"Your API key"}"#,
            r#""x":{"type":"string","format":"password"}"#,
            r#""apiKey":{"type":"string"}"#,
            r#""API_KEY":{"type":"string"}"#,
            r#""githubToken":{}"#,
            r#""x":{"type":"string","title":"GitHub personal access token"}"#,
            r#""pin":{"type":"integer"}"#,
            r#""client-secret":{"type":"string"}"#,
            r#""p\u0430ssword":{"type":"string"}"#,
            r#""pass\u200bword":{"type":"string"}"#,
            r#""\u0070assword":{"type":"string"}"#,
            r#""Passwort":{"type":"string"}"#,
            r#""ok":{"type":"string"},"otp":{"type":"string"}"#,
            r#""x":{"type":"string","title":"Name","title":"Password"}"#,
            r#""x":{"type":"string"},"x":{"type":"string"}"#,
            r#""password":{"type":"string","oneOf":null}"#,
            r#""password":{"type":"string","enum":[]}"#,
            r#""tokens":{"type":"array","title":"Your token","items":{"type":"string"}}"#,
        ] {
            let outcome = filled_in(Forms::Plain, &format!("{{{field}}}"));
            assert!(outcome.starts_with("declined: it"), "{field}: {outcome}");
        }
        insta::assert_snapshot!(filled_in(Forms::Plain, r#"{"api_key":{"type":"string"}}"#), @"declined: its form asks for a secret (api_key)");
    }

    #[test]
    fn other_forms_reach_the_user() {
        let plain = r#"{"name":{"type":"string"},"max_tokens":{"type":"integer"},"secret_name":{"type":"string"},
            "forget_password":{"type":"boolean"},"secretary":{"type":"string"},"auth":{"type":"string","enum":["token","password"]},
            "token":{"type":"array","items":{"anyOf":[{"const":"a","title":"A"}]}},
            "pinned":{"type":"string","title":"Pinned tokenizer"}}"#;
        assert!(filled_in(Forms::Plain, plain).starts_with(r#"{"message":"#));
        assert!(filled_in(Forms::None, plain).starts_with("declined"));
        let secret = r#"{"password":{"type":"string"}}"#;
        assert!(filled_in(Forms::Any, secret).contains(secret));
        assert_eq!(
            asked(Elicitation::default(), r#"{"mode":"telepathy"}"#),
            "declined: it asks in a mode that is not known"
        );
        assert!(asked(Elicitation::default(), r#"{"mode":null}"#).contains("asks:"));
        assert!(
            asked(Elicitation::default(), r#"{"mode":"form","mode":"url","url":"https://x.example"}"#)
                .starts_with("declined")
        );
    }

    #[test]
    fn other_questions_stay() {
        let check = |requests: &str| before_a_server(|screen| screen.requests(Json::known(requests)));
        let sampling = |screen: Screen<'_>| screen.params("sampling/createMessage", Some(Json::known("{}")));
        assert_eq!(before_a_server(sampling), Ok(None));
        let requests = r#"{"r":{"method":"roots/list"},"a":{"method":"elicitation/create","params":{"mode":"url","url":"javascript:1"}},"b":{"method":"elicitation/create","params":{"message":"?"}},"c":{"method":"x","method":"elicitation/create","params":{}}}"#;
        insta::assert_debug_snapshot!(check(requests), @r#"
        (
            "{}",
            [],
        )
        "#);
        insta::assert_debug_snapshot!(check(r#"{"a":{"method":"roots/list"},"a":{}}"#), @r#"
        (
            "{}",
            [],
        )
        "#);
        insta::assert_snapshot!(with_declined(Some(Json::known(r#"{"a":{"action":"accept"},"b":{}}"#)), &["a".into(), "c".into()]), @r#"{"a":{"action":"decline"},"b":{},"c":{"action":"decline"}}"#);
    }

    #[test]
    fn errors_that_ask_are_judged() {
        let check = |error: &str| before_a_server(|screen| screen.error(error));
        assert_eq!(check(r#"{"code":-32042,"message":"m","data":{"x":1}}"#), None);
        let page = |url: &str| format!(r#"{{"elicitationId":"e","url":"{url}","message":"Please"}}"#);
        let error =
            |pages: &str| format!(r#"{{"code":-32042,"message":"m","data":{{"elicitations":[{pages}]}}}}"#);
        insta::assert_snapshot!(check(&error(&page("https://x.example"))).unwrap(), @r#"{"code":-32042,"message":"m","data":{"elicitations":[{"elicitationId":"e","url":"https://x.example/","message":"Server \"notes\" asks you to open a page at x.example:\n> Please","mode":"url"}]}}"#);
        let both = format!("{},{}", page("https://x.example"), page("https://a@x.example"));
        insta::assert_snapshot!(check(&error(&both)).unwrap(), @r#"{"code":-32603,"message":"the gateway does not ask the user what the server asks for: the address of its page begins with a user's name"}"#);
        let twice = format!(
            r#"{{"code":-1,"data":{{"elicitations":[]}},"data":{{"elicitations":[{}]}}}}"#,
            page("https://x.example")
        );
        insta::assert_snapshot!(check(&twice).unwrap(), @r#"{"code":-32603,"message":"the gateway does not ask the user what the server asks for: it says one thing twice"}"#);
    }
}
