//! Where a configuration needs secrets.

use super::file::ServerEntry;
use super::item::At;
use super::policy::Auth;
use super::problem::{Problem, Severity};
use super::server::is_enabled;
use super::template::secrets_in;
use crate::secrets::SecretName;

/// A place at which a configuration needs a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// The secret.
    pub name: SecretName,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) field: String,
    /// What is so until there is one.
    pub(super) until: &'static str,
}

impl SecretUse {
    /// Says that there is no such secret.
    pub fn missing(&self) -> Problem {
        let SecretUse { name, file, line, column, field, until } = self.clone();
        let message =
            format!("there is no secret {name:?} yet; {until} until there is", name = name.as_str());
        let hint = Some(format!("portcullis secrets set {name}"));
        Problem { severity: Severity::Warning, file, line, column, field, message, hint, server: None }
    }
}

/// Returns where a server needs secrets; nowhere where it is not served.
pub(super) fn uses<'e>(file: &'e str, entry: &'e ServerEntry) -> impl Iterator<Item = SecretUse> + 'e {
    let pairs = entry.env.iter().flatten().chain(entry.headers.iter().flatten());
    let texts = pairs.map(|(_, text)| text).chain(entry.auth.iter().flat_map(|auth| auth.value.texts()));
    texts.filter(|_| is_enabled(entry)).flat_map(move |At { value, place }| {
        secrets_in(value).map(move |name| SecretUse {
            name,
            file: file.to_owned(),
            line: place.at.line,
            column: place.at.column,
            field: place.field.clone(),
            until: "the server is down",
        })
    })
}

/// Returns where issuers, and signing in, need secrets.
pub(super) fn uses_of_auth(file: &str, auth: &Auth) -> Vec<SecretUse> {
    let asked = auth.issuers.iter().filter_map(|issuer| Some((issuer, issuer.introspection.as_ref()?)));
    let uses = asked.map(|(issuer, asked)| SecretUse {
        name: asked.client_secret.clone(),
        file: file.to_owned(),
        line: asked.place.0,
        column: asked.place.1,
        field: format!("auth.issuers.{}.introspection.client_secret", issuer.name),
        until: "opaque tokens of the issuer are refused",
    });
    let sign_in = auth.sign_in.iter().filter_map(|sign_in| Some((sign_in, sign_in.client_secret.clone()?)));
    let own = sign_in.map(|(sign_in, name)| SecretUse {
        name,
        file: file.to_owned(),
        line: sign_in.place.0,
        column: sign_in.place.1,
        field: "auth.sign_in.client_secret".to_owned(),
        until: "nobody can sign in",
    });
    uses.chain(own).collect()
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
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a }, X-B: b }"), @"
        x-a: [a]
        3:58: servers.s.headers.X-A.secret
        ");
        insta::assert_snapshot!(check("url: https://a.example, headers: { Authorization: 'Bearer ${secret:prod/a}-${TOKEN}' }"), @"
        authorization: Bearer [prod/a]-t0ken
        3:58: servers.s.headers.Authorization
        ");
        insta::assert_snapshot!(check("url: https://a.example, auth: { header: { name: X-Key, value: { secret: a } } }"), @"
        x-key: [a]
        3:80: servers.s.auth.header.value.secret
        ");
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: { secret: a } }"), @"
        authorization: Bearer [a]
        3:58: servers.s.auth.bearer.secret
        ");
        insta::assert_snapshot!(check("url: https://a.example, auth: { oauth: { client_id: me, client_secret: { secret: a } } }"), @"3:89: servers.s.auth.oauth.client_secret.secret");
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: '${TOKEN}' }"), @"");
        insta::assert_snapshot!(check("command: x, env: { A: { secret: a }, B: '${secret:b}', C: c }"), @"
        A=[a]
        B=[b]
        3:40: servers.s.env.A.secret
        3:48: servers.s.env.B
        ");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a } }, enabled: false"), @"x-a: [a]");
    }

    #[test]
    fn signing_in_needs_its_secret() {
        let text = "version: 1\ngateway: { public_url: 'https://gw.test' }\nauth:\n  issuers: { corp: { url: 'https://idp.test' } }\n  \
                    sign_in: { issuer: corp, client_id: me, client_secret: { secret: idp } }\n";
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text: text.to_owned() }], &|_| None);
        let missing: Vec<_> = parsed.secrets.iter().map(|one| one.missing().to_string()).collect();
        insta::assert_snapshot!(missing.join("\n"), @r#"
        p.yaml:5:68: warning: auth.sign_in.client_secret: there is no secret "idp" yet; nobody can sign in until there is
          hint: portcullis secrets set idp
        "#);
    }

    #[test]
    fn what_is_no_use_of_a_secret_is_refused() {
        insta::assert_snapshot!(check("url: 'https://a.example/${secret:a}'"), @"p.yaml:3:13: error: servers.s.url: a secret can stand in `headers`, `auth` and `env` alone, where nobody is shown it");
        insta::assert_snapshot!(check("command: [x, '${secret:a}']"), @"p.yaml:3:21: error: servers.s.command[1]: a secret can stand in `headers`, `auth` and `env` alone, where nobody is shown it");
        insta::assert_snapshot!(check("command: x, env: { A: { secret: '-a' }, B: { secret: a, x: 1 }, C: {} }"), @"
        p.yaml:3:40: error: servers.s.env.A.secret: expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`
        p.yaml:3:51: error: servers.s.env.B: expected a text or `{ secret: NAME }`, found a map
        p.yaml:3:75: error: servers.s.env.C: expected a text or `{ secret: NAME }`, found a map
        ");
        insta::assert_snapshot!(check("command: x, env: { A: '${secret:a b}' }"), @"p.yaml:3:30: error: servers.s.env.A: `${secret:` begins a reference to a secret; expected the name of a secret: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, the first a letter or a digit, no `..`");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: { secret: a }, x-a: b }"), @"p.yaml:3:63: error: servers.s.headers.x-a: this header stands here twice; case makes no difference");
        insta::assert_snapshot!(check("url: https://a.example, headers: { X-A: a }, auth: { header: { name: x-a, value: b } }"), @"p.yaml:3:77: error: servers.s.auth.header.name: this header stands here twice; case makes no difference");
        insta::assert_snapshot!(check("url: https://a.example, headers: { Host: { secret: a }, X-B: \"${secret:b}\\n\" }"), @"
        p.yaml:3:43: error: servers.s.headers.Host: the gateway sets the header `host` itself
        p.yaml:3:69: error: servers.s.headers.X-B: the value has characters that a header cannot have
        ");
        insta::assert_snapshot!(check("url: https://a.example, auth: {}"), @"p.yaml:3:38: error: servers.s.auth: expected one of `header`, `bearer` and `oauth`");
        insta::assert_snapshot!(check("url: https://a.example, auth:"), @"p.yaml:3:36: error: servers.s.auth: expected a map, found nothing");
        insta::assert_snapshot!(check("url: https://a.example, auth: { header: { name: a }, x: 1 }"), @r#"
        p.yaml:3:48: error: servers.s.auth.header: a header needs `name` and `value`
        p.yaml:3:61: error: servers.s.auth.x: unknown key "x"; known: header, bearer, oauth
        "#);
        insta::assert_snapshot!(check("url: https://a.example, auth: { bearer: a, header: { name: a, value: b } }"), @"p.yaml:3:38: error: servers.s.auth: expected one of `header`, `bearer` and `oauth`");
        insta::assert_snapshot!(check("command: x, auth: { bearer: a }"), @"p.yaml:3:26: error: servers.s.auth: `auth` belongs to a server with `url`");
    }

    #[test]
    fn references_of_foreign_files_are_their_own() {
        let text = r#"{"mcpServers": {"s": {"url": "https://a.example", "headers": {"X": "${secret:a}"}}}}"#;
        let parsed = parse(&[Source { path: "mcp.json".to_owned(), text: text.to_owned() }], &|_| None);
        insta::assert_snapshot!(parsed.problems[0].message, @"a reference in this text is none of ${NAME}, ${env:NAME}, ${workspaceFolder} and ${userHome}");
        assert!(parsed.secrets.is_empty());
    }
}
