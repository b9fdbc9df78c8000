//! Whether something is a server.json: what the schema of 2025-12-11 says of its shape, and what a registry demands besides.
//!
//! **What the schema refuses is refused here, and nothing else by [`shape`]**; [`demands`] refuses what the schema only
//! describes: versions that are ranges, addresses that are none.

use serde_json::{Map, Value};
use url::Url;

/// The publisher's own part of `_meta`.
pub(crate) const PUBLISHER: &str = "io.modelcontextprotocol.registry/publisher-provided";
/// The longest that part may be, in bytes.
const LONGEST_OF_PUBLISHER: usize = 4096;
/// The most packages, and the most remotes.
const MOST: usize = 100;

/// What is wrong with a server.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field, such as `packages[0].transport.url`; empty for the whole.
    pub field: String,
    /// What was expected.
    pub message: String,
}

/// Returns everything that is wrong with a server.json, by field.
pub fn wrongs(server: &Value) -> Vec<Wrong> {
    let wrong = shape(server);
    if wrong.is_empty() { demands(server) } else { wrong }
}

/// Returns what the schema refuses.
pub(crate) fn shape(server: &Value) -> Vec<Wrong> {
    let mut check = Check::default();
    check.server(server);
    check.wrong
}

#[derive(Default)]
struct Check {
    wrong: Vec<Wrong>,
}

impl Check {
    fn say(&mut self, field: &str, message: impl Into<String>) {
        self.wrong.push(Wrong { field: field.to_owned(), message: message.into() });
    }

    fn object<'v>(&mut self, at: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        if !value.is_object() {
            self.say(at, "expected an object");
        }
        value.as_object()
    }

    fn text<'v>(&mut self, at: &str, value: &'v Value) -> Option<&'v str> {
        if !value.is_string() {
            self.say(at, "expected a text");
        }
        value.as_str()
    }

    /// Checks the members that are there and have to be texts.
    fn texts(&mut self, at: &str, object: &Map<String, Value>, keys: &[&str]) {
        for key in keys {
            if let Some(value) = object.get(*key) {
                self.text(&below(at, key), value);
            }
        }
    }

    fn flags(&mut self, at: &str, object: &Map<String, Value>, keys: &[&str]) {
        for key in keys {
            if object.get(*key).is_some_and(|value| !value.is_boolean()) {
                self.say(&below(at, key), "expected true or false");
            }
        }
    }

    fn required(&mut self, at: &str, object: &Map<String, Value>, keys: &[&str]) {
        for key in keys.iter().filter(|key| !object.contains_key(**key)) {
            self.say(&below(at, key), "is missing");
        }
    }

    fn one_of(&mut self, at: &str, value: &Value, known: &[&str]) {
        if !value.as_str().is_some_and(|text| known.contains(&text)) {
            self.say(at, format!("expected one of {}", known.join(", ")));
        }
    }

    fn each(&mut self, at: &str, value: &Value, mut check: impl FnMut(&mut Self, &str, &Value)) {
        let Some(items) = value.as_array() else { return self.say(at, "expected a list") };
        for (index, item) in items.iter().enumerate() {
            check(self, &format!("{at}[{index}]"), item);
        }
    }

    /// Checks that a text has from `least` to `most` characters.
    fn length(&mut self, at: &str, value: &Value, (least, most): (usize, usize)) {
        let Some(text) = self.text(at, value) else { return };
        if !(least..=most).contains(&text.chars().count()) {
            self.say(at, format!("expected {least} to {most} characters"));
        }
    }

    fn server(&mut self, value: &Value) {
        let Some(server) = self.object("", value) else { return };
        self.required("", server, &["name", "description", "version"]);
        if let Some(name) = server.get("name") {
            self.length("name", name, (3, 200));
            if name.as_str().is_some_and(|name| !is_name(name)) {
                self.say("name", "expected NAMESPACE/NAME of letters, digits, `.`, `-`, and in the name `_`");
            }
        }
        for (key, bounds) in [("description", (1, 100)), ("title", (1, 100)), ("version", (0, 255))] {
            if let Some(text) = server.get(key) {
                self.length(key, text, bounds);
            }
        }
        self.texts("", server, &["$schema", "websiteUrl"]);
        for (key, value) in server {
            match key.as_str() {
                "repository" => self.repository(value),
                "icons" => self.each("icons", value, Self::icon),
                "packages" => self.each("packages", value, Self::package),
                "remotes" => self.each("remotes", value, Self::remote),
                "_meta" => {
                    let meta = self.object("_meta", value);
                    if let Some(own) = meta.and_then(|meta| meta.get(PUBLISHER)) {
                        self.object(&below("_meta", PUBLISHER), own);
                    }
                }
                _ => {}
            }
        }
    }

    fn repository(&mut self, value: &Value) {
        let at = "repository";
        let Some(repository) = self.object(at, value) else { return };
        self.required(at, repository, &["url", "source"]);
        self.texts(at, repository, &["url", "source", "id", "subfolder"]);
    }

    fn icon(&mut self, at: &str, value: &Value) {
        let Some(icon) = self.object(at, value) else { return };
        self.required(at, icon, &["src"]);
        if let Some(src) = icon.get("src") {
            self.length(&below(at, "src"), src, (0, 255));
        }
        if let Some(kind) = icon.get("mimeType") {
            let known = ["image/png", "image/jpeg", "image/jpg", "image/svg+xml", "image/webp"];
            self.one_of(&below(at, "mimeType"), kind, &known);
        }
        if let Some(theme) = icon.get("theme") {
            self.one_of(&below(at, "theme"), theme, &["light", "dark"]);
        }
        if let Some(sizes) = icon.get("sizes") {
            self.each(&below(at, "sizes"), sizes, |check, at, size| {
                if !size.as_str().is_some_and(is_size) {
                    check.say(at, "expected WIDTHxHEIGHT or any");
                }
            });
        }
    }

    fn package(&mut self, at: &str, value: &Value) {
        let Some(package) = self.object(at, value) else { return };
        self.required(at, package, &["registryType", "identifier", "transport"]);
        self.texts(at, package, &["registryType", "identifier", "registryBaseUrl", "runtimeHint"]);
        if let Some(version) = package.get("version") {
            let at = below(at, "version");
            match self.text(&at, version) {
                Some("") => self.say(&at, "expected a version"),
                Some("latest") => self.say(&at, "expected one version, not `latest`"),
                _ => {}
            }
        }
        if let Some(hash) = package.get("fileSha256") {
            let is_hex = |text: &str| {
                text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            };
            if !hash.as_str().is_some_and(is_hex) {
                self.say(&below(at, "fileSha256"), "expected 64 hexadecimal digits in lower case");
            }
        }
        if let Some(transport) = package.get("transport") {
            let at = below(at, "transport");
            if transport.get("type").and_then(Value::as_str) != Some("stdio") {
                self.http(&at, transport, "stdio, streamable-http, sse");
            }
        }
        for key in ["runtimeArguments", "packageArguments"] {
            if let Some(arguments) = package.get(key) {
                self.each(&below(at, key), arguments, Self::argument);
            }
        }
        if let Some(variables) = package.get("environmentVariables") {
            self.each(&below(at, "environmentVariables"), variables, Self::key_value);
        }
    }

    fn remote(&mut self, at: &str, value: &Value) {
        self.http(at, value, "streamable-http, sse");
        if let Some(variables) = value.get("variables") {
            self.inputs(&below(at, "variables"), variables);
        }
    }

    fn http(&mut self, at: &str, value: &Value, known: &str) {
        let Some(transport) = self.object(at, value) else { return };
        self.required(at, transport, &["type", "url"]);
        if let Some(kind) = transport.get("type")
            && !matches!(kind.as_str(), Some("streamable-http" | "sse"))
        {
            self.say(&below(at, "type"), format!("expected one of {known}"));
        }
        if let Some(url) = transport.get("url")
            && !url.as_str().is_some_and(is_url_template)
        {
            self.say(&below(at, "url"), "expected a URL with http or https");
        }
        if let Some(headers) = transport.get("headers") {
            self.each(&below(at, "headers"), headers, Self::key_value);
        }
    }

    fn argument(&mut self, at: &str, value: &Value) {
        let Some(argument) = self.object(at, value) else { return };
        self.input_with_variables(at, value);
        self.flags(at, argument, &["isRepeated"]);
        match argument.get("type").and_then(Value::as_str) {
            Some("positional") => {
                self.texts(at, argument, &["valueHint"]);
                if !argument.contains_key("valueHint") && !argument.contains_key("value") {
                    self.say(&below(at, "value"), "expected a value, or a valueHint that names it");
                }
            }
            Some("named") => {
                self.required(at, argument, &["name"]);
                self.texts(at, argument, &["name"]);
            }
            _ => self.say(&below(at, "type"), "expected one of positional, named"),
        }
    }

    fn key_value(&mut self, at: &str, value: &Value) {
        let Some(pair) = self.object(at, value) else { return };
        self.required(at, pair, &["name"]);
        self.texts(at, pair, &["name"]);
        self.input_with_variables(at, value);
    }

    fn input_with_variables(&mut self, at: &str, value: &Value) {
        self.input(at, value);
        if let Some(variables) = value.get("variables") {
            self.inputs(&below(at, "variables"), variables);
        }
    }

    fn inputs(&mut self, at: &str, value: &Value) {
        let Some(inputs) = self.object(at, value) else { return };
        for (name, input) in inputs {
            self.input(&below(at, name), input);
        }
    }

    fn input(&mut self, at: &str, value: &Value) {
        let Some(input) = self.object(at, value) else { return };
        self.texts(at, input, &["description", "value", "default", "placeholder"]);
        self.flags(at, input, &["isRequired", "isSecret"]);
        if let Some(format) = input.get("format") {
            self.one_of(&below(at, "format"), format, &["string", "number", "boolean", "filepath"]);
        }
        if let Some(choices) = input.get("choices") {
            self.each(&below(at, "choices"), choices, |check, at, choice| {
                check.text(at, choice);
            });
        }
    }
}

/// Returns what a registry demands of a server.json whose shape is right.
pub(crate) fn demands(server: &Value) -> Vec<Wrong> {
    let mut check = Check::default();
    let version = server["version"].as_str().unwrap_or_default();
    if !is_single_version(version) {
        check.say("version", "expected one version such as 1.0.2, not a range and not `latest`");
    }
    let publisher = &server["_meta"][PUBLISHER];
    if publisher.to_string().len() > LONGEST_OF_PUBLISHER {
        check.say(&below("_meta", PUBLISHER), format!("expected at most {LONGEST_OF_PUBLISHER} bytes"));
    }
    let web = [("websiteUrl", &server["websiteUrl"]), ("repository.url", &server["repository"]["url"])];
    for (field, url) in web.into_iter().filter_map(|(field, url)| Some((field, url.as_str()?))) {
        if !is_web(url, &["http", "https"]) {
            check.say(field, "expected a URL with http or https");
        }
    }
    for (index, icon) in server["icons"].as_array().into_iter().flatten().enumerate() {
        if !icon["src"].as_str().is_some_and(|src| is_web(src, &["https"])) {
            check.say(&format!("icons[{index}].src"), "expected a URL with https");
        }
    }
    for (index, package) in server["packages"].as_array().into_iter().flatten().enumerate() {
        if package["version"].as_str().is_some_and(|version| !is_single_version(version)) {
            check.say(&format!("packages[{index}].version"), "expected one version, not a range");
        }
        if package["identifier"].as_str().is_none_or(|name| name.is_empty() || has_odd_characters(name)) {
            check.say(&format!("packages[{index}].identifier"), "expected a name without spaces");
        }
    }
    for (index, remote) in server["remotes"].as_array().into_iter().flatten().enumerate() {
        let url = remote["url"].as_str().unwrap_or_default();
        if !url.contains('{') && !is_web(url, &["http", "https"]) {
            check.say(&format!("remotes[{index}].url"), "expected a URL with http or https");
        }
    }
    for key in ["packages", "remotes"] {
        if server[key].as_array().is_some_and(|list| list.len() > MOST) {
            check.say(key, format!("expected at most {MOST}"));
        }
    }
    check.wrong
}

fn below(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    name.split_once('/').is_some_and(|(namespace, name)| {
        !namespace.is_empty()
            && !name.is_empty()
            && namespace.bytes().all(plain)
            && name.bytes().all(|byte| plain(byte) || byte == b'_')
    })
}

fn is_size(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text == "any" || text.split_once('x').is_some_and(|(width, height)| is_number(width) && is_number(height))
}

fn is_url_template(url: &str) -> bool {
    // As `\s` of the schema's patterns has it.
    let is_space = |c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}';
    if url.contains(is_space) {
        return false;
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty())
}

/// Tells whether a text names one version: no range, no `latest`, nothing that a path or a log could be misled by.
fn is_single_version(version: &str) -> bool {
    let is_part = |part: &str| matches!(part, "x" | "X" | "*");
    let begins_a_range = version.starts_with(['^', '~', '>', '<', '=']);
    !version.is_empty()
        && version != "latest"
        && !begins_a_range
        && !has_odd_characters(version)
        && !version.contains(['/', '|', ','])
        && !version.split('.').any(is_part)
}

fn has_odd_characters(text: &str) -> bool {
    text.chars().any(|c| c.is_whitespace() || c.is_control()) || !text.is_ascii()
}

fn is_web(url: &str, schemes: &[&str]) -> bool {
    Url::parse(url).is_ok_and(|url| schemes.contains(&url.scheme()) && url.username().is_empty())
}

#[cfg(test)]
mod tests;
