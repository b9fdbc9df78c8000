//! Reads `staticOauth`: clients that were registered by hand, and the hosts whose servers they sign in at.
//!
//! MCPX calls it `client_credentials` where a user signs in, once for all callers: there it is the authorization code with a
//! client that is known. **What cannot be carried over is said**, and its servers are left without a credential.

use url::Url;

use super::super::endpoint::parse_url;
use super::super::file::AuthEntry;
use super::super::item::{At, Fields, Item};
use super::super::native_sign_on::{OAuthEntry, Unresolved};
use super::super::node::Value;
use super::super::problem::{Place, Report, quote};
use super::super::template::{Follows, escape, is_variable_name};
use crate::oauth::client::{ClientAuth, is_scope};

/// Clients by the hosts that they are for.
#[derive(Debug, Clone, Default)]
pub(super) struct StaticOAuth(Vec<(String, Client)>);

/// A client that was registered by hand.
#[derive(Debug, Clone)]
pub(in crate::config) struct Client {
    id: String,
    /// Nothing where its users enter a code.
    secret: Option<String>,
    device_endpoint: Option<String>,
    scopes: Vec<String>,
    token_auth: Option<ClientAuth>,
    /// The variables that it needs.
    inputs: Vec<String>,
}

impl StaticOAuth {
    /// Returns the client for the server at a URL: an exact host wins, then the longest that a `*.` stands before.
    pub(super) fn client_of(&self, url: &str) -> Option<&Client> {
        let url = Url::parse(url).ok()?;
        let host = normal(url.host_str()?);
        let exact = self.0.iter().find(|(pattern, _)| *pattern == host);
        let within = |pattern: &str| {
            let suffix = pattern.strip_prefix("*.")?;
            let rest = host.strip_suffix(suffix)?;
            (rest.is_empty() || rest.ends_with('.')).then_some(suffix.len())
        };
        let wide = || {
            let found = self.0.iter().filter_map(|one| Some((within(&one.0)?, one)));
            found.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, one)| one)
        };
        exact.or_else(wide).map(|(_, client)| client)
    }
}

impl Client {
    /// Returns what signs in at a server, and the variables that it needs. Its texts stand where the server's URL does.
    pub(in crate::config) fn entry(&self, place: &Place) -> (At<AuthEntry>, &[String]) {
        let scopes = (!self.scopes.is_empty()).then_some(&*self.scopes);
        let secret = self.secret.as_deref();
        let mut oauth = OAuthEntry::of_everyone(place, (&self.id, secret), scopes, self.token_auth);
        let endpoint = self.device_endpoint.as_ref();
        oauth.device_endpoint =
            endpoint.map(|url| At { value: escape(url, Follows::Nothing), place: place.clone() });
        (At { place: place.clone(), value: AuthEntry::OAuth(Box::new(oauth)) }, &self.inputs)
    }
}

/// Reads the section.
pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> StaticOAuth {
    let Some(mut fields) = item.fields(report) else { return StaticOAuth::default() };
    let mapping = fields.take("mapping").and_then(|item| item.pairs(report)).unwrap_or_default();
    let providers = fields.take("providers").and_then(|item| item.fields(report));
    fields.warn_ignored(report);
    let providers = providers.map(Fields::rest).unwrap_or_default().into_iter();
    let providers: Vec<_> =
        providers.map(|(name, item)| (name.value, read_provider(&item, report))).collect();
    let mut clients = Vec::new();
    for (host, name) in mapping {
        if let Some((_, client)) = providers.iter().find(|(known, _)| *known == name.value) {
            clients.extend(client.clone().map(|client| (normal(&host.value), client)));
        } else {
            let shown = quote(&name.value);
            report
                .warn(&name.place, format!("no provider is named {shown}; what is said of it has no effect"));
        }
    }
    StaticOAuth(clients)
}

/// How a provider signs somebody in.
#[derive(Debug, Clone, Copy)]
enum Method {
    Code,
    Device,
}

/// Reads a provider; nothing where it is not carried over.
fn read_provider(item: &Item<'_>, report: &mut Report<'_>) -> Option<Client> {
    let mut fields = item.fields(report)?;
    let method = fields.take("authMethod");
    let method =
        method.map(|item| item.parsed("`client_credentials` or `device_flow`", report, parse_method));
    let Some(method) = method else {
        report.error(&item.place(), "a provider needs an `authMethod`");
        return None;
    };
    let method = method?.value;
    let mut inputs = Vec::new();
    let credentials = fields.take("credentials");
    let credentials = credentials.and_then(|item| read_credentials(&item, (method, &mut inputs), report));
    let scopes = fields.take("scopes").and_then(|item| item.texts(report)).unwrap_or_default();
    let (mut token_auth, mut device_endpoint) = (None, None);
    match method {
        Method::Code => {
            token_auth = fields.take("tokenAuthMethod").map(|item| read_token_auth(&item, report));
        }
        Method::Device => {
            device_endpoint = fields.take("endpoints").map(|item| read_device_endpoint(&item, report));
        }
    }
    fields.warn_ignored(report);
    if item.node.entry("credentials").is_none() {
        report.error(&item.place(), "a provider needs `credentials`");
    }
    let odd: Vec<_> = scopes.iter().filter(|scope| !is_scope(&scope.value)).collect();
    for odd in &odd {
        report.error(&odd.place, format!("{} is no scope: it has a space, or is empty", quote(&odd.value)));
    }
    if !odd.is_empty() {
        return None;
    }
    let token_auth = match token_auth {
        Some(token_auth) => Some(token_auth?),
        None => None,
    };
    let device_endpoint = device_endpoint.transpose().ok()?.flatten();
    let (id, secret) = credentials?;
    let scopes = scopes.into_iter().map(|scope| scope.value).collect();
    Some(Client { id, secret, device_endpoint, scopes, token_auth, inputs })
}

fn parse_method(text: &str) -> Option<Method> {
    match text {
        "client_credentials" | "authorization_code" => Some(Method::Code),
        "device_flow" => Some(Method::Device),
        _ => None,
    }
}

fn read_token_auth(item: &Item<'_>, report: &mut Report<'_>) -> Option<ClientAuth> {
    let text = item.text(report)?;
    match &*text.value {
        "client_secret_basic" => Some(ClientAuth::Basic),
        "client_secret_post" => Some(ClientAuth::Post),
        _ => {
            let message =
                "this `tokenAuthMethod` is not carried over: the provider's servers are sent no credential";
            report.warn(&text.place, message);
            report.hint(
                "use `client_secret_basic` or `client_secret_post`; a native file can have a `private_key`",
            );
            None
        }
    }
}

/// Reads where a code is got that users enter, where that is said; nothing where it is wrong. Everything else the
/// authorization server says itself.
fn read_device_endpoint(item: &Item<'_>, report: &mut Report<'_>) -> Result<Option<String>, Unresolved> {
    let mut fields = item.fields(report).ok_or(Unresolved)?;
    let endpoint = fields.take("deviceAuthorizationUrl");
    fields.warn_ignored(report);
    let Some(endpoint) = endpoint else { return Ok(None) };
    let text = endpoint.text(report).ok_or(Unresolved)?;
    parse_url(&text.value, &text, report).map(|_| Some(text.value)).ok_or(Unresolved)
}

/// Reads a client's id and its secret, as references or as they are.
fn read_credentials(
    item: &Item<'_>,
    (method, inputs): (Method, &mut Vec<String>),
    report: &mut Report<'_>,
) -> Option<(String, Option<String>)> {
    let mut fields = item.fields(report)?;
    let mut value =
        |plain, reference| read_one(&mut fields, (plain, reference), (item, &mut *inputs), report);
    let id = value("clientId", "clientIdEnv");
    let secret = match method {
        Method::Code => Some(value("clientSecret", "clientSecretEnv")?),
        Method::Device => None,
    };
    fields.warn_ignored(report);
    Some((id?, secret))
}

fn read_one(
    fields: &mut Fields<'_>,
    (plain, reference): (&'static str, &'static str),
    (credentials, inputs): (&Item<'_>, &mut Vec<String>),
    report: &mut Report<'_>,
) -> Option<String> {
    match (fields.take(plain), fields.take(reference)) {
        (Some(item), None) => match &item.node.value {
            Value::Map(_) => read_typed(&item, inputs, report),
            _ => item.text(report).map(|text| escape(&text.value, Follows::Nothing)),
        },
        (None, Some(item)) => refer(item.text(report)?, inputs, report),
        _ => {
            report.error(&credentials.place(), format!("credentials need either `{plain}` or `{reference}`"));
            None
        }
    }
}

/// Reads `{ type: literal, value }` or `{ type: envRef, envName }`.
fn read_typed(item: &Item<'_>, inputs: &mut Vec<String>, report: &mut Report<'_>) -> Option<String> {
    let mut fields = item.fields(report)?;
    let kind = fields.take("type").and_then(|item| item.text(report)).map(|kind| kind.value);
    let (value, name) = (fields.take("value"), fields.take("envName"));
    fields.finish(report);
    match (kind.as_deref(), value, name) {
        (Some("literal"), Some(value), None) => {
            value.text(report).map(|text| escape(&text.value, Follows::Nothing))
        }
        (Some("envRef"), None, Some(name)) => refer(name.text(report)?, inputs, report),
        _ => {
            item.mismatch("a text, `{ type: literal, value }` or `{ type: envRef, envName }`", report);
            None
        }
    }
}

fn refer(name: At<String>, inputs: &mut Vec<String>, report: &mut Report<'_>) -> Option<String> {
    if !is_variable_name(&name.value) {
        let message = format!("{} is no name of an environment variable", quote(&name.value));
        report.error(&name.place, message);
        return None;
    }
    let reference = format!("${{{}}}", name.value);
    inputs.push(name.value);
    Some(reference)
}

/// Returns a host, or a pattern of hosts, in the form in which they are compared.
fn normal(host: &str) -> String {
    let lower = host.trim().to_ascii_lowercase();
    lower.strip_suffix('.').map(str::to_owned).unwrap_or(lower)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{env, shown, source};
    use crate::config::{Source, Transport, import, parse, to_yaml};

    const OPEN: &str = "permissions: { default: { block: [] } }\n";
    const PROVIDER: &str =
        "authMethod: client_credentials, scopes: [repo, 'read:org'], tokenAuthMethod: client_secret_post";

    fn sources(servers: &str, section: &str) -> [Source; 2] {
        let servers = format!("{{\"mcpServers\": {{{servers}}}}}");
        [source("mcp.json", &servers), source("app.yaml", &format!("{OPEN}staticOauth: {section}\n"))]
    }

    /// Shows how the server of a host is signed in at, and what is wrong.
    fn check(section: &str) -> String {
        let parsed = parse(&sources(r#""s": {"url": "https://api.github.test/mcp"}"#, section), &env);
        let consents = parsed.config.servers.values().map(|server| match &server.transport {
            Transport::Http(endpoint) => endpoint.consent.as_ref().map(|consent| format!("{consent:?}")),
            _ => None,
        });
        let consents = consents.map(|consent| consent.unwrap_or_else(|| "nothing".into()));
        [shown(&parsed.problems)]
            .into_iter()
            .filter(|text| !text.is_empty())
            .chain(consents)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn with(credentials: &str) -> String {
        check(&format!(
            "{{ mapping: {{ '*.github.test': gh }}, providers: {{ gh: {{ {PROVIDER}, credentials: {{ {credentials} }} }} }} }}"
        ))
    }

    fn of(provider: &str) -> String {
        check(&format!("{{ mapping: {{ api.github.test: gh }}, providers: {{ gh: {{ {provider} }} }} }}"))
    }

    #[test]
    fn a_client_signs_everybody_in_at_its_hosts() {
        insta::assert_snapshot!(with("clientId: me, clientSecret: 's3${x}'"), @r#"Consent { whose: Everyone, client: Some(Registered { client_id: "me", credential: Some(Secret([])), token_auth: Some(Post) }), scopes: Some(["repo", "read:org"]), issuer: None, resource: None, parameters: [], by: Code(Stated) }"#);
        let references = with("clientIdEnv: TOKEN, clientSecretEnv: TOKEN");
        assert_eq!(
            with(
                "clientId: { type: envRef, envName: TOKEN }, clientSecret: { type: envRef, envName: TOKEN }"
            ),
            references
        );
        assert_eq!(with("clientId: { type: literal, value: s3cret }, clientSecretEnv: TOKEN"), references);
        insta::assert_snapshot!(references, @r#"Consent { whose: Everyone, client: Some(Registered { client_id: "s3cret", credential: Some(Secret([])), token_auth: Some(Post) }), scopes: Some(["repo", "read:org"]), issuer: None, resource: None, parameters: [], by: Code(Stated) }"#);
        insta::assert_snapshot!(of("authMethod: authorization_code, scopes: [], credentials: { clientIdEnv: TOKEN, clientSecretEnv: TOKEN }"), @r#"Consent { whose: Everyone, client: Some(Registered { client_id: "s3cret", credential: Some(Secret([])), token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [], by: Code(Stated) }"#);
    }

    #[test]
    fn a_server_waits_for_the_variables_of_its_client() {
        insta::assert_snapshot!(with("clientIdEnv: NONE, clientSecretEnv: BLANK"), @"
        mcp.json:1:17: error: mcpServers.s: waits for input: not set, or empty, in the environment: BLANK, NONE
          hint: set them for the gateway
        ");
    }

    #[test]
    fn what_is_no_client_is_said_and_never_repeated() {
        insta::assert_snapshot!(with("clientId: s3cret"), @"
        app.yaml:2:179: error: staticOauth.providers.gh.credentials: credentials need either `clientSecret` or `clientSecretEnv`
        nothing
        ");
        insta::assert_snapshot!(with("clientId: a, clientIdEnv: b, clientSecret: [s3cret]"), @"
        app.yaml:2:179: error: staticOauth.providers.gh.credentials: credentials need either `clientId` or `clientIdEnv`
        app.yaml:2:224: error: staticOauth.providers.gh.credentials.clientSecret: expected a text, found a list
        nothing
        ");
        insta::assert_snapshot!(with("clientId: { type: secret, value: s3cret }, clientSecretEnv: s3-cret"), @r#"
        app.yaml:2:191: error: staticOauth.providers.gh.credentials.clientId: expected a text, `{ type: literal, value }` or `{ type: envRef, envName }`, found a map
        app.yaml:2:241: error: staticOauth.providers.gh.credentials.clientSecretEnv: "s3-cret" is no name of an environment variable
        nothing
        "#);
        insta::assert_snapshot!(of("credentials: {}"), @"
        app.yaml:2:67: error: staticOauth.providers.gh: a provider needs an `authMethod`
        nothing
        ");
        insta::assert_snapshot!(of("authMethod: client_credentials"), @"
        app.yaml:2:67: error: staticOauth.providers.gh: a provider needs `credentials`
        nothing
        ");
        insta::assert_snapshot!(of("authMethod: password"), @r#"
        app.yaml:2:81: error: staticOauth.providers.gh.authMethod: expected `client_credentials` or `device_flow`, found "password"
        nothing
        "#);
        insta::assert_snapshot!(of("authMethod: client_credentials, scopes: ['a b'], credentials: { clientId: a, clientSecret: b }, x: 1"), @r#"
        app.yaml:2:110: error: staticOauth.providers.gh.scopes[0]: "a b" is no scope: it has a space, or is empty
        app.yaml:2:165: warning: staticOauth.providers.gh.x: the key "x" has no meaning here and is ignored
        nothing
        "#);
        insta::assert_snapshot!(check("{ mapping: { api.github.test: gl }, providers: {}, x: 1 }"), @r#"
        app.yaml:2:44: warning: staticOauth.mapping."api.github.test": no provider is named "gl"; what is said of it has no effect
        app.yaml:2:65: warning: staticOauth.x: the key "x" has no meaning here and is ignored
        nothing
        "#);
    }

    #[test]
    fn who_enters_a_code_at_a_provider_is_asked_to_here() {
        insta::assert_snapshot!(of("authMethod: device_flow, credentials: { clientIdEnv: TOKEN }, scopes: [repo], endpoints: { deviceAuthorizationUrl: 'https://github.test/device/$code', tokenUrl: 'https://github.test/token' }"), @r#"
        app.yaml:2:220: warning: staticOauth.providers.gh.endpoints.tokenUrl: the key "tokenUrl" has no meaning here and is ignored
        Consent { whose: Everyone, client: Some(Registered { client_id: "s3cret", credential: None, token_auth: None }), scopes: Some(["repo"]), issuer: None, resource: None, parameters: [], by: Device(Some("https://github.test/device/$code")) }
        "#);
        insta::assert_snapshot!(of("authMethod: device_flow, credentials: { clientId: a, clientSecret: b }, scopes: []"), @r#"
        app.yaml:2:122: warning: staticOauth.providers.gh.credentials.clientSecret: the key "clientSecret" has no meaning here and is ignored
        Consent { whose: Everyone, client: Some(Registered { client_id: "a", credential: None, token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [], by: Device(None) }
        "#);
        insta::assert_snapshot!(of("authMethod: device_flow, credentials: { clientId: a }, endpoints: { deviceAuthorizationUrl: 'github.test' }"), @"
        app.yaml:2:161: error: staticOauth.providers.gh.endpoints.deviceAuthorizationUrl: this is no URL: relative URL without a base
          hint: write it whole, such as `https://mcp.example.com/mcp`
        nothing
        ");
        insta::assert_snapshot!(of("authMethod: device_flow, credentials: {}"), @"
        app.yaml:2:107: error: staticOauth.providers.gh.credentials: credentials need either `clientId` or `clientIdEnv`
        nothing
        ");
    }

    #[test]
    fn what_cannot_be_carried_over_leaves_its_servers_without_a_credential() {
        insta::assert_snapshot!(of("authMethod: client_credentials, credentials: { clientId: a, clientSecret: b }, tokenAuthMethod: private_key_jwt"), @"
        app.yaml:2:165: warning: staticOauth.providers.gh.tokenAuthMethod: this `tokenAuthMethod` is not carried over: the provider's servers are sent no credential
          hint: use `client_secret_basic` or `client_secret_post`; a native file can have a `private_key`
        nothing
        ");
    }

    #[test]
    fn the_nearest_host_wins() {
        let provider =
            |id: &str| format!("{id}: {{ {PROVIDER}, credentials: {{ clientId: {id}, clientSecret: b }} }}");
        let mapping = "'*.test': a, '*.GitHub.test.': b, api.github.test: c, '*hub.test': d";
        let providers = ["a", "b", "c", "d"].map(provider).join(", ");
        let section = format!("{{ mapping: {{ {mapping} }}, providers: {{ {providers} }} }}");
        let check = |url: &str| {
            let parsed = parse(&sources(&format!(r#""s": {{"url": "{url}"}}"#), &section), &env);
            let Transport::Http(endpoint) = &parsed.config.servers["s"].transport else { panic!("{url}") };
            endpoint.consent.as_ref().and_then(|consent| Some(consent.client.as_ref()?.client_id.clone()))
        };
        assert_eq!(check("https://API.github.test./mcp").as_deref(), Some("c"));
        assert_eq!(check("https://github.test:8443").as_deref(), Some("b"));
        assert_eq!(check("https://x.y.github.test/mcp").as_deref(), Some("b"));
        assert_eq!(check("https://mygithub.test/mcp").as_deref(), Some("a"));
        assert_eq!(check("https://test/$").as_deref(), Some("a"));
        for other in ["https://github.test.example", "https://example/api.github.test", "http://127.0.0.1"] {
            assert_eq!(check(other), None, "{other}");
        }
    }

    #[test]
    fn a_server_keeps_the_credential_that_it_has() {
        let section = format!(
            "{{ mapping: {{ a.test: p }}, providers: {{ p: {{ {PROVIDER}, credentials: {{ clientIdEnv: TOKEN, clientSecretEnv: TOKEN }} }} }} }}"
        );
        let parsed = parse(
            &sources(
                r#""s": {"url": "https://a.test", "headers": {"authorization": "x"}}, "t": {"command": "x"}"#,
                &section,
            ),
            &env,
        );
        insta::assert_snapshot!(shown(&parsed.problems), @"mcp.json:1:60: warning: mcpServers.s.headers.authorization: the server keeps this credential; `staticOauth` has another for its host");
        assert_eq!(parsed.config.servers.len(), 2);
    }

    #[test]
    fn it_is_written_natively() {
        let section = format!(
            "{{ mapping: {{ a.test: p, b.test: q, c.test: r }}, providers: {{ r: {{ authMethod: device_flow, credentials: {{ clientId: me }}, endpoints: {{ deviceAuthorizationUrl: 'https://c.test/$code' }} }}, p: {{ {PROVIDER}, credentials: {{ clientIdEnv: TOKEN, clientSecretEnv: TOKEN }} }}, q: {{ authMethod: client_credentials, credentials: {{ clientId: '1', clientSecret: '$$' }} }} }} }}"
        );
        let servers = r#""s": {"url": "https://a.test"}, "t": {"url": "https://b.test"}, "u": {"url": "https://c.test"}"#;
        let files = sources(servers, &section);
        let written = to_yaml(&import(&files));
        insta::assert_snapshot!(written, @r#"
        # ${NAME} in a text is replaced by an environment variable of the gateway.
        version: 1
        servers:
          # from mcp.json:1
          s:
            url: "https://a.test"
            auth:
              oauth:
                for: everyone
                client_id: "${TOKEN}"
                client_secret: "${TOKEN}"
                scopes: [repo, "read:org"]
                token_auth: client_secret_post
          # from mcp.json:1
          t:
            url: "https://b.test"
            auth:
              oauth:
                for: everyone
                client_id: "1"
                client_secret: "$$$"
          # from mcp.json:1
          u:
            url: "https://c.test"
            auth:
              oauth:
                grant: device_code
                for: everyone
                client_id: me
                device_authorization_endpoint: "https://c.test/$code"
        agents:
          # from app.yaml:1
          default:
            allow: ["*"]
        "#);
        let (before, after) = (parse(&files, &env), parse(&[source("p.yaml", &written)], &env));
        assert_eq!(before.config.servers, after.config.servers);
        assert_eq!((before.config.servers.len(), after.problems), (3, Vec::new()));
    }
}
