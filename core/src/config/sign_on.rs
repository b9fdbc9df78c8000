//! How the gateway signs in at a server: `auth.oauth`, as it is read, checked and resolved.
//!
//! **What proves the client stands for itself alone**: with a secret or with a key, never both.

use super::endpoint::parse_url;
use super::item::{At, Item};
use super::native::read_value;
use super::native_issuers::check_issuer;
use super::problem::{Place, Report, quote};
use super::server::Context;
use super::template::Expanded;
use crate::oauth::client::{ClientAuth, is_scope};
use crate::secrets::{Part, SecretText};

/// How the gateway signs in at a server, as itself, for all agents alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOn {
    /// What the gateway is called at the authorization server.
    pub client_id: String,
    /// What proves that it is that.
    pub credential: ClientCredential,
    /// The scopes that it asks for, and no others; nothing where the server says what it needs.
    pub scopes: Option<Vec<String>>,
    /// The authorization server, to the letter; nothing where the server says which.
    pub issuer: Option<String>,
    /// How a secret is sent; nothing where the authorization server says how.
    pub token_auth: Option<ClientAuth>,
    /// What the server is called at the authorization server; nothing where that is its URL, or what it says.
    pub resource: Option<String>,
}

/// What proves who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCredential {
    /// A client secret.
    Secret(SecretText),
    /// A private key in PEM, which signs assertions.
    PrivateKey(SecretText),
}

impl SignOn {
    /// Returns the text with the secret that it needs.
    pub(crate) fn secret(&self) -> &SecretText {
        let (ClientCredential::Secret(text) | ClientCredential::PrivateKey(text)) = &self.credential;
        text
    }
}

/// What stands in `auth.oauth`.
#[derive(Debug, Clone)]
pub(super) struct OAuthEntry {
    place: Place,
    client_id: At<String>,
    pub(super) client_secret: Option<At<String>>,
    pub(super) private_key: Option<At<String>>,
    scopes: Option<Vec<At<String>>>,
    issuer: Option<At<String>>,
    token_auth: Option<At<ClientAuth>>,
    resource: Option<At<String>>,
}

impl OAuthEntry {
    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let grant = fields.take("grant");
        let is_named = grant.is_some();
        let is_known = |text: &str| (text == "client_credentials").then_some(());
        let grant = grant.and_then(|item| item.parsed("`client_credentials`", report, is_known));
        let client_id = fields.take("client_id");
        let is_called = client_id.is_some();
        let client_id =
            client_id.and_then(|item| item.filled_text("what the gateway is called there", report));
        let client_secret = fields.take("client_secret").and_then(|item| read_value(&item, report));
        let private_key = fields.take("private_key").and_then(|item| read_value(&item, report));
        let scopes = fields.take("scopes").and_then(|item| item.texts(report));
        let issuer = fields.take("issuer").and_then(|item| item.text(report));
        let token_auth = fields.take("token_auth").and_then(|item| {
            item.parsed("`client_secret_basic` or `client_secret_post`", report, parse_token_auth)
        });
        let resource = fields.take("resource").and_then(|item| item.text(report));
        fields.finish(report);
        let place = item.place();
        for (key, is_there) in [("grant", is_named), ("client_id", is_called)] {
            if !is_there {
                report.error(&place, format!("the key `{key}` is missing"));
                report.hint(EXAMPLE);
            }
        }
        grant?;
        let client_id = client_id?;
        Some(Self { place, client_id, client_secret, private_key, scopes, issuer, token_auth, resource })
    }

    /// Resolves it; nothing where something is wrong or cannot be known.
    pub(super) fn resolve(&self, context: &Context<'_>, report: &mut Report<'_>) -> Option<SignOn> {
        let client_id = context.expand(&self.client_id, report);
        let credential = self.resolve_credential(context, report);
        let issuer = self.issuer.as_ref().map(|issuer| resolve_issuer(issuer, context, report));
        let resource = self.resource.as_ref().map(|resource| {
            let text = context.expand(resource, report)?;
            parse_url(&text, resource, report).map(|_| text)
        });
        let mut is_right = true;
        for odd in self.scopes.iter().flatten().filter(|scope| !is_scope(&scope.value)) {
            report
                .error(&odd.place, format!("{} is no scope: it has a space, or is empty", quote(&odd.value)));
            is_right = false;
        }
        if let Some(token_auth) = self.token_auth.as_ref().filter(|_| self.client_secret.is_none()) {
            report
                .error(&token_auth.place, "`token_auth` says how `client_secret` is sent, and there is none");
            is_right = false;
        }
        let scopes = |scopes: &Vec<At<String>>| scopes.iter().map(|scope| scope.value.clone()).collect();
        let sign_on = SignOn {
            client_id: client_id?,
            credential: credential?,
            scopes: self.scopes.as_ref().map(scopes),
            issuer: match issuer {
                Some(issuer) => Some(issuer?),
                None => None,
            },
            token_auth: self.token_auth.as_ref().map(|token_auth| token_auth.value),
            resource: match resource {
                Some(resource) => Some(resource?),
                None => None,
            },
        };
        is_right.then_some(sign_on)
    }

    fn resolve_credential(&self, context: &Context<'_>, report: &mut Report<'_>) -> Option<ClientCredential> {
        let (text, kind): (_, fn(SecretText) -> ClientCredential) =
            match (&self.client_secret, &self.private_key) {
                (Some(secret), None) => (secret, ClientCredential::Secret),
                (None, Some(key)) => (key, ClientCredential::PrivateKey),
                _ => {
                    report.error(&self.place, "expected either `client_secret` or `private_key`");
                    report.hint(EXAMPLE);
                    return None;
                }
            };
        let text = match context.expand_with_secrets(text, report)? {
            Expanded::Plain(text) => SecretText::new(vec![Part::Text(text)]),
            Expanded::Secret(text) => text,
        };
        Some(kind(text))
    }
}

const EXAMPLE: &str = "for example `oauth: { grant: client_credentials, client_id: portcullis, client_secret: { secret: tickets } }`";

fn resolve_issuer(issuer: &At<String>, context: &Context<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = context.expand(issuer, report)?;
    check_issuer(&text, issuer, report)?;
    Some(text)
}

fn parse_token_auth(text: &str) -> Option<ClientAuth> {
    match text {
        "client_secret_basic" => Some(ClientAuth::Basic),
        "client_secret_post" => Some(ClientAuth::Post),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Problem, Source, Transport, parse};

    const WHOLE: &str = "grant: client_credentials, client_id: me";

    /// Shows how a server is signed in at, or what is wrong with that.
    fn check(oauth: &str) -> String {
        check_server(&format!("auth: {{ oauth: {{ {oauth} }} }}"))
    }

    fn check_server(fields: &str) -> String {
        let text = format!("version: 1\nservers:\n  s: {{ url: https://a.example/mcp, {fields} }}\n");
        let env = |name: &str| (name == "ID").then(|| "me-too".to_owned());
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text }], &env);
        let problems =
            parsed.problems.iter().map(|problem| Problem { hint: None, ..problem.clone() }.to_string());
        let shown = parsed.config.servers.values().filter_map(|server| match &server.transport {
            Transport::Http(endpoint) => Some(format!("{:?}", endpoint.sign_on.as_ref()?)),
            _ => None,
        });
        let needed = parsed.secrets.iter().map(|one| format!("needs {}", one.name));
        problems.chain(shown).chain(needed).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_client_signs_in_with_a_secret_or_a_key() {
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: {{ secret: a }}")), @r#"
        SignOn { client_id: "me", credential: Secret([SecretName("a")]), scopes: None, issuer: None, token_auth: None, resource: None }
        needs a
        "#);
        insta::assert_snapshot!(check("grant: client_credentials, client_id: '${ID}', private_key: { secret: k }, scopes: [x.read], issuer: https://idp.example/t/, resource: https://a.example"), @r#"
        SignOn { client_id: "me-too", credential: PrivateKey([SecretName("k")]), scopes: Some(["x.read"]), issuer: Some("https://idp.example/t/"), token_auth: None, resource: Some("https://a.example") }
        needs k
        "#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: '${{ID}}', token_auth: client_secret_post, scopes: []")), @r#"SignOn { client_id: "me", credential: Secret([]), scopes: Some([]), issuer: None, token_auth: Some(Post), resource: None }"#);
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        insta::assert_snapshot!(check(""), @"
        p.yaml:3:51: error: servers.s.auth.oauth: the key `grant` is missing
        p.yaml:3:51: error: servers.s.auth.oauth: the key `client_id` is missing
        ");
        insta::assert_snapshot!(check(WHOLE), @"p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, private_key: b")), @"p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check("grant: password, client_id: '', client_secret: a"), @r#"
        p.yaml:3:60: error: servers.s.auth.oauth.grant: expected `client_credentials`, found "password"
        p.yaml:3:81: error: servers.s.auth.oauth.client_id: expected what the gateway is called there, found an empty text
        "#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, x: 1")), @r#"p.yaml:3:113: error: servers.s.auth.oauth.x: unknown key "x"; known: grant, client_id, client_secret, private_key, scopes, issuer, token_auth, resource"#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, private_key: {{ secret: k }}, token_auth: client_secret_post")), @"p.yaml:3:135: error: servers.s.auth.oauth.token_auth: `token_auth` says how `client_secret` is sent, and there is none");
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, token_auth: tls_client_auth")), @r#"p.yaml:3:125: error: servers.s.auth.oauth.token_auth: expected `client_secret_basic` or `client_secret_post`, found "tls_client_auth""#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, scopes: ['a b', '']")), @r#"
        p.yaml:3:122: error: servers.s.auth.oauth.scopes[0]: "a b" is no scope: it has a space, or is empty
        p.yaml:3:129: error: servers.s.auth.oauth.scopes[1]: "" is no scope: it has a space, or is empty
        "#);
        insta::assert_snapshot!(check_server(&format!("headers: {{ authorization: x }}, auth: {{ oauth: {{ {WHOLE}, client_secret: a }} }}")), @"p.yaml:3:47: error: servers.s.headers.authorization: `auth.oauth` sets this header itself");
        insta::assert_snapshot!(check_server("auth: { oauth: {}, bearer: x }"), @"p.yaml:3:42: error: servers.s.auth: expected one of `header`, `bearer` and `oauth`");
    }

    #[test]
    fn an_issuer_is_a_url_over_tls() {
        let issuer = |url: &str| check(&format!("{WHOLE}, client_secret: {{ secret: a }}, issuer: '{url}'"));
        insta::assert_snapshot!(issuer("idp.example"), @"p.yaml:3:133: error: servers.s.auth.oauth.issuer: this is no URL: relative URL without a base");
        insta::assert_snapshot!(issuer("ftp://idp.example"), @"p.yaml:3:133: error: servers.s.auth.oauth.issuer: expected an http or https URL");
        insta::assert_snapshot!(issuer("https://idp.example/?x=1"), @"p.yaml:3:133: error: servers.s.auth.oauth.issuer: an issuer has no query (`?...`)");
        insta::assert_snapshot!(issuer("https://me:s3cret@idp.example"), @"p.yaml:3:133: error: servers.s.auth.oauth.issuer: the URL contains credentials");
        assert!(issuer("http://idp.example").contains("over https alone"));
        for here in ["http://127.0.0.1:9", "http://localhost:9/t", "http://[::1]", "https://idp.example"] {
            assert!(issuer(here).starts_with("SignOn"), "{here}");
        }
    }
}
