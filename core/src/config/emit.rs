//! Writes native YAML: deterministic, one way for every value, quoted wherever a reader could see something else.

use std::fmt::Write;

use super::file::{AuthEntry, CommandEntry, HttpKind, ServerEntry};
use super::item::At;
use super::native_sign_on::{Grant, OAuthEntry};
use super::quantity::format_duration;
use super::sign_on::Whose;
use crate::oauth::client::ClientAuth;

/// A file that is being written.
pub(super) struct Document {
    head: String,
    servers: String,
    described: usize,
    sections: String,
}

impl Document {
    /// Begins a file.
    pub(super) fn begin() -> Self {
        let head = "# ${NAME} in a text is replaced by an environment variable of the gateway.\nversion: 1\n";
        Self { head: head.to_owned(), servers: String::new(), described: 0, sections: String::new() }
    }

    /// Adds a comment between servers.
    pub(super) fn comment(&mut self, text: &str) {
        let _ = writeln!(self.servers, "  # {}", plain_line(text));
    }

    /// Adds a server, and where it comes from.
    pub(super) fn server(&mut self, name: &str, origin: &str, entry: &ServerEntry) {
        self.comment(&format!("from {origin}"));
        self.described += 1;
        let _ = writeln!(self.servers, "  {}:", scalar(name));
        let command = entry.command.as_ref().map(|command| match command {
            CommandEntry::Program(program) => {
                list(std::iter::once(program).chain(entry.args.iter().flatten()))
            }
            CommandEntry::Line(line) => list(line.iter().chain(entry.args.iter().flatten())),
        });
        self.field("command", command);
        self.pairs("env", entry.env.as_deref());
        self.field("allow_env", entry.allow_env.as_deref().filter(|names| !names.is_empty()).map(list));
        self.field("cwd", entry.cwd.as_ref().map(|text| scalar(&text.value)));
        self.field("url", entry.url.as_ref().map(|text| scalar(&text.value)));
        let sse = entry.transport.as_ref().filter(|kind| kind.value == HttpKind::Sse);
        self.field("transport", sse.map(|_| "sse".to_owned()));
        self.pairs("headers", entry.headers.as_deref());
        if let Some(AuthEntry::OAuth(oauth)) = entry.auth.as_ref().map(|auth| &auth.value) {
            self.oauth(oauth);
        }
        self.field("timeout", entry.timeout.as_ref().map(|timeout| format_duration(timeout.value)));
        self.field("cache", entry.cache.as_ref().map(|cache| format_duration(cache.value)));
        self.field("enabled", entry.enabled.as_ref().map(|enabled| enabled.value.to_string()));
    }

    /// Adds what comes after the servers.
    pub(super) fn sections(&mut self, text: &str) {
        self.sections.push_str(text);
    }

    /// Ends the file and returns its text.
    pub(super) fn finish(self) -> String {
        let servers = if self.described == 0 { "servers: {}\n" } else { "servers:\n" };
        format!("{}{servers}{}{}", self.head, self.servers, self.sections)
    }

    fn field(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            let _ = writeln!(self.servers, "    {key}: {value}");
        }
    }

    /// Adds how a server is signed in at, as far as foreign files can say it.
    fn oauth(&mut self, oauth: &OAuthEntry) {
        let text = |text: &Option<At<String>>| text.as_ref().map(|text| scalar(&text.value));
        let everyone = oauth.whose.as_ref().filter(|whose| whose.value == Whose::Everyone);
        let token_auth = oauth.token_auth.as_ref().map(|token_auth| match token_auth.value {
            ClientAuth::Basic => "client_secret_basic".to_owned(),
            ClientAuth::Post => "client_secret_post".to_owned(),
        });
        let device = (oauth.grant == Grant::DeviceCode).then(|| "device_code".to_owned());
        let fields = [
            ("grant", device),
            ("for", everyone.map(|_| "everyone".to_owned())),
            ("client_id", text(&oauth.client_id)),
            ("client_secret", text(&oauth.client_secret)),
            ("scopes", oauth.scopes.as_ref().map(list)),
            ("device_authorization_endpoint", text(&oauth.device_endpoint)),
            ("token_auth", token_auth),
        ];
        self.servers.push_str("    auth:\n      oauth:\n");
        for (key, value) in fields {
            if let Some(value) = value {
                let _ = writeln!(self.servers, "        {key}: {value}");
            }
        }
    }

    fn pairs(&mut self, key: &str, pairs: Option<&[(At<String>, At<String>)]>) {
        let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else { return };
        let _ = writeln!(self.servers, "    {key}:");
        for (name, value) in pairs {
            let _ = writeln!(self.servers, "      {}: {}", scalar(&name.value), scalar(&value.value));
        }
    }
}

fn list<'t>(texts: impl IntoIterator<Item = &'t At<String>>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| scalar(&text.value)).collect();
    format!("[{}]", texts.join(", "))
}

/// Returns a text as one line that can stand in a comment.
pub(super) fn plain_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| is_plain(*c)).collect()
}

/// Writes a text, plain where it cannot be taken for anything else.
pub(super) fn scalar(text: &str) -> String {
    if is_unmistakable(text) { text.to_owned() } else { quoted(text) }
}

/// Returns whether a text is safe without quotes, in YAML 1.1 too.
fn is_unmistakable(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '@' | '+'))
        && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn quoted(text: &str) -> String {
    quoted_but(text, is_plain)
}

/// Writes a text between double quotes; what `is_plain` does not take is written as its number.
pub(super) fn quoted_but(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if is_plain(c) => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Returns whether a character shows as itself.
pub(super) fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') || (!c.is_ascii() && c.is_alphanumeric())
}
