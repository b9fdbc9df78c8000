//! Where a configuration needs secrets.

use super::file::ServerEntry;
use super::item::At;
use super::problem::{Problem, Severity};
use super::server::is_enabled;
use super::template::secrets_in;
use crate::secrets::SecretName;

/// A place at which a configuration needs a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// The secret.
    pub name: SecretName,
    file: String,
    line: u32,
    column: u32,
    field: String,
}

impl SecretUse {
    /// Says that there is no such secret.
    pub fn missing(&self) -> Problem {
        let SecretUse { name, file, line, column, field } = self.clone();
        let message = format!(
            "there is no secret {name:?} yet; the server is down until there is",
            name = name.as_str()
        );
        let hint = Some(format!("portcullis secrets set {name}"));
        Problem { severity: Severity::Warning, file, line, column, field, message, hint, server: None }
    }
}

/// Returns where a server needs secrets; nowhere where it is not served.
pub(super) fn uses<'e>(file: &'e str, entry: &'e ServerEntry) -> impl Iterator<Item = SecretUse> + 'e {
    let pairs = entry.env.iter().flatten().chain(entry.headers.iter().flatten());
    let pairs = pairs.chain(entry.auth.iter().map(|auth| &auth.value)).filter(|_| is_enabled(entry));
    pairs.flat_map(move |(_, At { value, place })| {
        secrets_in(value).map(move |name| SecretUse {
            name,
            file: file.to_owned(),
            line: place.at.line,
            column: place.at.column,
            field: place.field.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Problem, Source, Transport, parse};
    use crate::secrets::{Part, SecretText};

    fn shown(text: &SecretText) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Secret(name) => format!("[{name}]"),
        };
        text.parts().iter().map(part).collect()
    }

    /// Shows what one server needs, or what is wrong with it.
    fn check(fields: &str) -> String {
        let text = format!("version: 1\nservers:\n  s: {{ {fields} }}\n");
        let env = |name: &str| (name == "TOKEN").then(|| "t0ken".to_owned());
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text }], &env);
        let problems =
            parsed.problems.iter().map(|problem| Problem { hint: None, ..problem.clone() }.to_string());
        let uses = parsed.secrets.iter().map(|one| format!("{}:{}: {}", one.line, one.column, one.field));
        let needs = match parsed.config.servers.values().next().map(|server| &server.transport) {
            None => Vec::new(),
            Some(Transport::Stdio(command)) => {
                command.secret_env.iter().map(|(name, text)| format!("{name}={}", shown(text))).collect()
            }
            Some(Transport::Http(endpoint) | Transport::Sse(endpoint)) => endpoint
                .secret_headers
                .iter()
                .map(|(name, text)| format!("{name}: {}", shown(text)))
                .collect(),
        };
        problems.chain(needs).chain(uses).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn secrets_stand_in_headers_and_in_the_environment() {
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a }, X-B: b }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, headers: { Authorization: 'Bearer ${secret:prod/a}-${TOKEN}' }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { header: { name: X-Key, value: { secret: a } } }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: { secret: a } }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: '${TOKEN}' }"), @"");
        insta::assert_snapshot!(check("command: x, env: { A: { secret: a }, B: '${secret:b}', C: c }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a } }, enabled: false"), @"");
    }

    #[test]
    fn what_is_no_use_of_a_secret_is_refused() {
        insta::assert_snapshot!(check("url: 'https://a.example/${secret:a}'"), @"");
        insta::assert_snapshot!(check("command: [x, '${secret:a}']"), @"");
        insta::assert_snapshot!(check("command: x, env: { A: { secret: '-a' }, B: { secret: a, x: 1 }, C: {} }"), @"");
        insta::assert_snapshot!(check("command: x, env: { A: '${secret:a b}' }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a }, x-a: b }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: a }, auth: { header: { name: x-a, value: b } }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, headers: { Host: { secret: a }, X-B: \"${secret:b}\\n\" }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: {}"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth:"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { header: { name: a }, x: 1 }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: a, header: { name: a, value: b } }"), @"");
        insta::assert_snapshot!(check("url: https://a.example, auth: { oauth: {} }"), @"");
        insta::assert_snapshot!(check("command: x, auth: { bearer: a }"), @"");
    }

    #[test]
    fn references_of_foreign_files_are_their_own() {
        let text = r#"{"mcpServers": {"s": {"url": "https://a.example", "headers": {"X": "${secret:a}"}}}}"#;
        let parsed = parse(&[Source { path: "mcp.json".to_owned(), text: text.to_owned() }], &|_| None);
        insta::assert_snapshot!(parsed.problems[0].message, @"");
        assert!(parsed.secrets.is_empty());
    }
}
