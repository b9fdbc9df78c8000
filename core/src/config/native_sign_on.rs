//! Reads and resolves `auth.oauth`: how the gateway signs in at a server, or how its users do.
//!
//! **A key that would have no effect is refused**, and so is a parameter that would change what the flow itself says.

use super::endpoint::parse_url;
use super::item::{At, Item};
use super::native::read_value;
use super::native_issuers::check_issuer;
use super::native_on_behalf::OnBehalfEntry;
use super::problem::{Place, Report, quote};
use super::server::Context;
use super::sign_on::{ClientCredential, Consent, ConsentBy, Pkce, Registered, ResourceName, SignOn, Whose};
use super::template::Expanded;
use crate::oauth::client::{ClientAuth, is_scope};
use crate::secrets::{Part, SecretText};

/// What the flow says itself where it asks for consent, and what would say it in another way (RFC 9101, response modes).
const OWN_PARAMETERS: [&str; 13] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "resource",
    "request",
    "request_uri",
];
const EXAMPLE: &str = "for example `oauth: { grant: client_credentials, client_id: portcullis, client_secret: { secret: tickets } }`";
const GRANTS: &str =
    "`authorization_code`, `device_code`, `client_credentials`, `token_exchange` or `id_jag`";
const NO_RESOURCE: &str = "none";

/// Names and texts, as they are written.
type Parameters = Vec<(At<String>, At<String>)>;

/// How a token is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
    TokenExchange,
    IdJag,
}

impl Grant {
    /// Tells whether users consent, and the gateway does not sign in by itself.
    fn is_consent(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }
}

/// How a server is signed in at.
pub(super) enum SigningIn {
    /// By the gateway, as itself or on behalf of whoever signed in.
    ByItself(SignOn),
    /// By its users.
    ByConsent(Consent),
}

/// What stands in `auth.oauth`.
#[derive(Debug, Clone)]
pub(super) struct OAuthEntry {
    place: Place,
    pub(super) grant: Grant,
    pub(super) whose: Option<At<Whose>>,
    pub(super) client_id: Option<At<String>>,
    pub(super) client_secret: Option<At<String>>,
    pub(super) private_key: Option<At<String>>,
    pub(super) scopes: Option<Vec<At<String>>>,
    issuer: Option<At<String>>,
    pub(super) token_auth: Option<At<ClientAuth>>,
    resource: Option<At<String>>,
    parameters: Option<At<Parameters>>,
    pkce: Option<At<Pkce>>,
    pub(super) device_endpoint: Option<At<String>>,
    on_behalf: OnBehalfEntry,
}

impl OAuthEntry {
    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let grant = fields.take("grant").map(|item| item.parsed(GRANTS, report, parse_grant));
        let whose = fields.take("for");
        let whose = whose.and_then(|item| item.parsed("`user` or `everyone`", report, parse_whose));
        // What proves who the client is must not pass for absent where it says nothing.
        let client_id = fields.take_even_null("client_id");
        let client_id =
            client_id.and_then(|item| item.filled_text("what the gateway is called there", report));
        let mut value = |key| fields.take_even_null(key).and_then(|item| read_value(&item, report));
        let (client_secret, private_key) = (value("client_secret"), value("private_key"));
        let scopes = fields.take("scopes").and_then(|item| item.texts(report));
        let issuer = fields.take("issuer").and_then(|item| item.text(report));
        let token_auth = fields.take("token_auth").and_then(|item| {
            item.parsed("`client_secret_basic` or `client_secret_post`", report, parse_token_auth)
        });
        let resource = fields.take("resource").and_then(|item| item.text(report));
        let parameters = fields.take("parameters");
        let parameters =
            parameters.and_then(|item| Some(At { place: item.place(), value: item.pairs(report)? }));
        let pkce = fields.take("pkce").and_then(|item| item.parsed("`assumed`", report, parse_pkce));
        let device_endpoint = fields.take("device_authorization_endpoint").and_then(|item| item.text(report));
        let on_behalf = OnBehalfEntry::read(&mut fields, report);
        fields.finish(report);
        Some(Self {
            place: item.place(),
            grant: grant.map_or(Some(Grant::AuthorizationCode), |read| Some(read?.value))?,
            whose,
            client_id,
            client_secret,
            private_key,
            scopes,
            issuer,
            token_auth,
            resource,
            parameters,
            pkce,
            device_endpoint,
            on_behalf: on_behalf?,
        })
    }

    /// Returns the texts in which a secret may stand.
    pub(super) fn secret_texts(&self) -> impl Iterator<Item = &At<String>> {
        self.client_secret.iter().chain(&self.private_key).chain(self.on_behalf.texts())
    }

    /// Returns what signs everybody in with one connection, as a client that was registered by hand: its id and its secret.
    /// Without one, users enter a code.
    pub(super) fn of_everyone(
        place: &Place,
        (id, secret): (&str, Option<&str>),
        scopes: Option<&[String]>,
        token_auth: Option<ClientAuth>,
    ) -> Self {
        let text = |text: &str| At { value: text.to_owned(), place: place.clone() };
        Self {
            place: place.clone(),
            grant: if secret.is_some() { Grant::AuthorizationCode } else { Grant::DeviceCode },
            whose: Some(At { value: Whose::Everyone, place: place.clone() }),
            client_id: Some(text(id)),
            client_secret: secret.map(text),
            private_key: None,
            scopes: scopes.map(|scopes| scopes.iter().map(|scope| text(scope)).collect()),
            issuer: None,
            token_auth: token_auth.map(|value| At { value, place: place.clone() }),
            resource: None,
            parameters: None,
            pkce: None,
            device_endpoint: None,
            on_behalf: OnBehalfEntry::default(),
        }
    }

    /// Resolves it; nothing where something is wrong or cannot be known.
    pub(super) fn resolve(&self, context: &Context<'_>, report: &mut Report<'_>) -> Option<SigningIn> {
        let is_right = [
            self.check_grant(report),
            self.check_client(report),
            self.check_scopes(report),
            self.check_parameters(report),
            self.on_behalf.check(self.grant, (&self.place, self.issuer.as_ref()), report),
        ];
        let client_id = resolved(self.client_id.as_ref(), |id| resolve_client_id(id, context, report));
        let credential = resolved(self.client_secret.as_ref().or(self.private_key.as_ref()), |text| {
            let text = resolve_secret(text, context, report)?;
            Some(match self.client_secret {
                Some(_) => ClientCredential::Secret(text),
                None => ClientCredential::PrivateKey(text),
            })
        });
        let issuer = resolved(self.issuer.as_ref(), |issuer| resolve_issuer(issuer, context, report));
        let resource = resolved(self.resource.as_ref(), |name| resolve_resource(name, context, report));
        let device_endpoint = resolved(self.device_endpoint.as_ref(), |endpoint| {
            let text = context.expand(endpoint, report)?;
            parse_url(&text, endpoint, report).map(|_| text)
        });
        let parameters = self.resolve_parameters(context, report);
        let grant = self.on_behalf.resolve(self.grant, context, report);
        if is_right.contains(&false) {
            return None;
        }
        let (client_id, credential) = (client_id.ok()?, credential.ok()?);
        let (issuer, resource) = (issuer.ok()?, resource.ok()?);
        let token_auth = self.token_auth.as_ref().map(|token_auth| token_auth.value);
        let scopes = self.scopes.as_ref().map(|scopes| values(scopes));
        Some(match self.grant {
            Grant::AuthorizationCode | Grant::DeviceCode => SigningIn::ByConsent(Consent {
                whose: self.whose.as_ref().map_or(Whose::User, |whose| whose.value),
                client: client_id.map(|client_id| Registered { client_id, credential, token_auth }),
                scopes,
                issuer,
                resource,
                parameters: parameters?,
                by: match self.grant {
                    Grant::DeviceCode => ConsentBy::Device(device_endpoint.ok()?),
                    _ => ConsentBy::Code(self.pkce.as_ref().map_or(Pkce::Stated, |pkce| pkce.value)),
                },
            }),
            Grant::ClientCredentials | Grant::TokenExchange | Grant::IdJag => SigningIn::ByItself(SignOn {
                grant: grant.ok()?,
                client_id: client_id?,
                credential: credential?,
                scopes,
                issuer,
                token_auth,
                resource,
            }),
        })
    }

    /// Checks that what is written goes with the grant.
    fn check_grant(&self, report: &mut Report<'_>) -> bool {
        let before = report.mark();
        let (consents, code) = ("s `authorization_code` and `device_code`", " `authorization_code`");
        let is_code = self.grant == Grant::AuthorizationCode;
        let (is_consent, is_device) = (self.grant.is_consent(), self.grant == Grant::DeviceCode);
        let keys = [
            ("for", self.whose.as_ref().map(|whose| &whose.place), is_consent, consents),
            ("parameters", self.parameters.as_ref().map(|all| &all.place), is_consent, consents),
            ("pkce", self.pkce.as_ref().map(|pkce| &pkce.place), is_code, code),
            (
                "device_authorization_endpoint",
                self.device_endpoint.as_ref().map(|endpoint| &endpoint.place),
                is_device,
                " `device_code`",
            ),
        ];
        for (key, place, belongs, grants) in keys {
            if let Some(place) = place.filter(|_| !belongs) {
                report.error(place, format!("`{key}` belongs to the grant{grants}"));
            }
        }
        if self.client_id.is_none() && !is_code {
            report.error(&self.place, "the key `client_id` is missing");
            report.hint(if is_device { "register the gateway at the authorization server" } else { EXAMPLE });
        }
        report.mark() == before
    }

    /// Checks what the client is called and what proves that it is that.
    fn check_client(&self, report: &mut Report<'_>) -> bool {
        let unheard = self.token_auth.as_ref().filter(|_| self.client_secret.is_none());
        if let Some(token_auth) = unheard {
            report
                .error(&token_auth.place, "`token_auth` says how `client_secret` is sent, and there is none");
        }
        let is_one = match (&self.client_secret, &self.private_key) {
            (Some(_), Some(_)) => false,
            (None, None) => self.grant.is_consent(),
            (Some(credential), None) | (None, Some(credential)) => {
                if self.client_id.is_none() && self.grant == Grant::AuthorizationCode {
                    report
                        .error(&credential.place, "a credential goes with a `client_id`, and there is none");
                    return false;
                }
                true
            }
        };
        if !is_one {
            report.error(&self.place, "expected either `client_secret` or `private_key`");
            report.hint(EXAMPLE);
        }
        is_one && unheard.is_none()
    }

    fn check_scopes(&self, report: &mut Report<'_>) -> bool {
        let odd: Vec<_> = self.scopes.iter().flatten().filter(|scope| !is_scope(&scope.value)).collect();
        for odd in &odd {
            report
                .error(&odd.place, format!("{} is no scope: it has a space, or is empty", quote(&odd.value)));
        }
        odd.is_empty()
    }

    fn check_parameters(&self, report: &mut Report<'_>) -> bool {
        let names = self.parameters.iter().flat_map(|parameters| &parameters.value).map(|(name, _)| name);
        let mut is_right = true;
        for name in names {
            let why = if !is_parameter_name(&name.value) {
                format!("{} is no name of a parameter: letters, digits, `_`, `-` and `.`", quote(&name.value))
            } else if is_own_parameter(&name.value) {
                format!("the gateway says {} itself", quote(&name.value))
            } else {
                continue;
            };
            report.error(&name.place, why);
            is_right = false;
        }
        is_right
    }

    fn resolve_parameters(
        &self,
        context: &Context<'_>,
        report: &mut Report<'_>,
    ) -> Option<Vec<(String, String)>> {
        let written = self.parameters.iter().flat_map(|parameters| &parameters.value);
        let expanded: Vec<_> =
            written.map(|(name, text)| Some((name.value.clone(), context.expand(text, report)?))).collect();
        expanded.into_iter().collect()
    }
}

/// Something is wrong, or cannot be known.
pub(super) struct Unresolved;

/// Resolves what is written, where something is.
pub(super) fn resolved<T>(
    written: Option<&At<String>>,
    resolve: impl FnOnce(&At<String>) -> Option<T>,
) -> Result<Option<T>, Unresolved> {
    written.map(|written| resolve(written).ok_or(Unresolved)).transpose()
}

fn values(texts: &[At<String>]) -> Vec<String> {
    texts.iter().map(|text| text.value.clone()).collect()
}

/// Resolves what a client is called.
pub(super) fn resolve_client_id(
    id: &At<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    let text = context.expand(id, report)?;
    if text.is_empty() {
        report.error(&id.place, "nothing is left of what the gateway is called there");
        return None;
    }
    Some(text)
}

/// Resolves what proves who a client is.
pub(super) fn resolve_secret(
    text: &At<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<SecretText> {
    Some(match context.expand_with_secrets(text, report)? {
        Expanded::Plain(text) => SecretText::new(vec![Part::Text(text)]),
        Expanded::Secret(text) => text,
    })
}

/// Resolves the name of an authorization server.
pub(super) fn resolve_issuer(
    issuer: &At<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    let text = context.expand(issuer, report)?;
    check_issuer(&text, issuer, report)?;
    Some(text)
}

fn resolve_resource(
    name: &At<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<ResourceName> {
    let text = context.expand(name, report)?;
    if text == NO_RESOURCE {
        return Some(ResourceName::None);
    }
    parse_url(&text, name, report).map(|_| ResourceName::Is(text))
}

/// Tells whether a text may be a parameter's name (RFC 6749, appendix A).
fn is_parameter_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn is_own_parameter(name: &str) -> bool {
    OWN_PARAMETERS.iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn parse_grant(text: &str) -> Option<Grant> {
    match text {
        "authorization_code" => Some(Grant::AuthorizationCode),
        "device_code" => Some(Grant::DeviceCode),
        "client_credentials" => Some(Grant::ClientCredentials),
        "token_exchange" => Some(Grant::TokenExchange),
        "id_jag" => Some(Grant::IdJag),
        _ => None,
    }
}

fn parse_whose(text: &str) -> Option<Whose> {
    match text {
        "user" => Some(Whose::User),
        "everyone" => Some(Whose::Everyone),
        _ => None,
    }
}

fn parse_pkce(text: &str) -> Option<Pkce> {
    (text == "assumed").then_some(Pkce::Assumed)
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
            Transport::Http(endpoint) => match (&endpoint.sign_on, &endpoint.consent) {
                (Some(sign_on), None) => Some(format!("{sign_on:?}")),
                (None, Some(consent)) => Some(format!("{consent:?}")),
                _ => None,
            },
            _ => None,
        });
        let secrets = parsed.config.secrets();
        let needed = secrets.iter().map(|name| format!("needs {name}"));
        problems.chain(shown).chain(needed).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_client_signs_in_with_a_secret_or_a_key() {
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: {{ secret: a }}")), @r#"
        SignOn { grant: ClientCredentials, client_id: "me", credential: Secret([SecretName("a")]), scopes: None, issuer: None, token_auth: None, resource: None }
        needs a
        "#);
        insta::assert_snapshot!(check(
            "grant: client_credentials, client_id: '${ID}', private_key: { secret: k }, scopes: [x.read], issuer: https://idp.example/t/, resource: https://a.example"
        ), @r#"
        SignOn { grant: ClientCredentials, client_id: "me-too", credential: PrivateKey([SecretName("k")]), scopes: Some(["x.read"]), issuer: Some("https://idp.example/t/"), token_auth: None, resource: Some(Is("https://a.example")) }
        needs k
        "#);
        insta::assert_snapshot!(check(&format!(
            "{WHOLE}, client_secret: '${{ID}}', token_auth: client_secret_post, scopes: [], resource: none"
        )), @r#"SignOn { grant: ClientCredentials, client_id: "me", credential: Secret([]), scopes: Some([]), issuer: None, token_auth: Some(Post), resource: Some(None) }"#);
    }

    #[test]
    fn the_gateway_acts_on_behalf_of_whoever_signed_in() {
        const CLIENT: &str = "client_id: me, client_secret: { secret: a }";
        const PROVIDER: &str = "issuer: https://idp.example, client_id: portal, client_secret: { secret: b }";
        insta::assert_snapshot!(check(&format!(
            "grant: token_exchange, {CLIENT}, issuer: https://idp.example, audience: '${{ID}}'"
        )), @r#"
        p.yaml:3:3: warning: servers.s: this server acts on behalf of whoever signed in, and nobody can
        SignOn { grant: TokenExchange { subject: AccessToken, audience: Some("me-too") }, client_id: "me", credential: Secret([SecretName("a")]), scopes: None, issuer: Some("https://idp.example"), token_auth: None, resource: None }
        needs a
        "#);
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, identity_provider: {{ {PROVIDER} }}")), @r#"
        p.yaml:3:3: warning: servers.s: this server acts on behalf of whoever signed in, and nobody can
        SignOn { grant: IdJag { subject: IdToken, provider: IdentityProvider { issuer: "https://idp.example", client_id: "portal", credential: Secret([SecretName("b")]) } }, client_id: "me", credential: Secret([SecretName("a")]), scopes: None, issuer: None, token_auth: None, resource: None }
        needs a
        needs b
        "#);
        insta::assert_snapshot!(check(&format!("grant: token_exchange, {CLIENT}")), @"p.yaml:3:51: error: servers.s.auth.oauth: the key `issuer` is missing: a caller's token is shown to no other");
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, audience: a")), @"
        p.yaml:3:51: error: servers.s.auth.oauth: the key `identity_provider` is missing
        p.yaml:3:123: error: servers.s.auth.oauth.audience: `audience` belongs to the grant `token_exchange`
        ");
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, subject_token_type: saml, audience: ''")), @r#"
        p.yaml:3:133: error: servers.s.auth.oauth.subject_token_type: expected `access_token`, `id_token` or `jwt`, found "saml"
        p.yaml:3:149: error: servers.s.auth.oauth.audience: expected for whom the token is to be, found an empty text
        "#);
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, identity_provider: {{}}")), @"
        p.yaml:3:132: error: servers.s.auth.oauth.identity_provider: the key `issuer` is missing
        p.yaml:3:132: error: servers.s.auth.oauth.identity_provider: the key `client_id` is missing
        p.yaml:3:132: error: servers.s.auth.oauth.identity_provider: expected either `client_secret` or `private_key`
        ");
        insta::assert_snapshot!(check(&format!(
            "{CLIENT}, grant: client_credentials, subject_token_type: jwt, audience: a, identity_provider: {{ {PROVIDER}, private_key: k }}"
        )), @"
        p.yaml:3:145: error: servers.s.auth.oauth.subject_token_type: `subject_token_type` belongs to the grants `token_exchange` and `id_jag`
        p.yaml:3:160: error: servers.s.auth.oauth.audience: `audience` belongs to the grant `token_exchange`
        p.yaml:3:182: error: servers.s.auth.oauth.identity_provider: `identity_provider` belongs to the grant `id_jag`
        ");
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, identity_provider: {{ {PROVIDER}, x: 1 }}")), @r#"p.yaml:3:212: error: servers.s.auth.oauth.identity_provider.x: unknown key "x"; known: issuer, client_id, client_secret, private_key"#);
        insta::assert_snapshot!(check(&format!("grant: id_jag, {CLIENT}, identity_provider: {{ {PROVIDER}, private_key: k }}")), @"p.yaml:3:132: error: servers.s.auth.oauth.identity_provider: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check(&format!(
            "grant: id_jag, {CLIENT}, identity_provider: {{ issuer: http://idp.example, client_id: '${{NONE:-}}', private_key: {{ secret: k }} }}"
        )), @"
        p.yaml:3:142: error: servers.s.auth.oauth.identity_provider.issuer: an identity provider is asked over https alone
        p.yaml:3:173: error: servers.s.auth.oauth.identity_provider.client_id: nothing is left of what the gateway is called there
        ");
    }

    #[test]
    fn users_sign_in_where_nothing_else_is_said() {
        insta::assert_snapshot!(check(""), @"Consent { whose: User, client: None, scopes: None, issuer: None, resource: None, parameters: [], by: Code(Stated) }");
        insta::assert_snapshot!(check(
            "grant: authorization_code, for: everyone, scopes: [x.read], issuer: https://idp.example, resource: none"
        ), @r#"Consent { whose: Everyone, client: None, scopes: Some(["x.read"]), issuer: Some("https://idp.example"), resource: Some(None), parameters: [], by: Code(Stated) }"#);
        insta::assert_snapshot!(check("client_id: '${ID}'"), @r#"Consent { whose: User, client: Some(Registered { client_id: "me-too", credential: None, token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [], by: Code(Stated) }"#);
        insta::assert_snapshot!(check(
            "client_id: me, client_secret: { secret: a }, token_auth: client_secret_post, for: user"
        ), @r#"
        Consent { whose: User, client: Some(Registered { client_id: "me", credential: Some(Secret([SecretName("a")])), token_auth: Some(Post) }), scopes: None, issuer: None, resource: None, parameters: [], by: Code(Stated) }
        needs a
        "#);
        insta::assert_snapshot!(check(
            "client_id: me, private_key: { secret: k }, resource: https://a.example"
        ), @r#"
        Consent { whose: User, client: Some(Registered { client_id: "me", credential: Some(PrivateKey([SecretName("k")])), token_auth: None }), scopes: None, issuer: None, resource: Some(Is("https://a.example")), parameters: [], by: Code(Stated) }
        needs k
        "#);
        insta::assert_snapshot!(check("client_id: me, pkce: assumed"), @r#"Consent { whose: User, client: Some(Registered { client_id: "me", credential: None, token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [], by: Code(Assumed) }"#);
        insta::assert_snapshot!(check("pkce: none"), @r#"p.yaml:3:59: error: servers.s.auth.oauth.pkce: expected `assumed`, found "none""#);
        insta::assert_snapshot!(check(
            "parameters: { access_type: offline, prompt: consent, audience: '${ID}', max_age: 60 }"
        ), @r#"Consent { whose: User, client: None, scopes: None, issuer: None, resource: None, parameters: [("access_type", "offline"), ("prompt", "consent"), ("audience", "me-too"), ("max_age", "60")], by: Code(Stated) }"#);
    }

    #[test]
    fn where_callers_can_sign_in_nothing_is_wrong_with_acting_on_behalf() {
        let text = "version: 1\ngateway: { public_url: 'https://gw.example' }\n\
                    auth: { required: true, issuers: { corp: { url: 'https://idp.example' } } }\n\
                    servers:\n  s: { url: 'https://a.example', auth: { oauth: { grant: token_exchange, \
                    issuer: 'https://idp.example', client_id: me, client_secret: a } } }\n";
        let parsed = parse(&[Source { path: "p.yaml".to_owned(), text: text.to_owned() }], &|_| None);
        assert_eq!(parsed.problems, []);
    }

    #[test]
    fn users_enter_a_code_where_that_is_said() {
        insta::assert_snapshot!(check("grant: device_code, client_id: me, for: everyone, parameters: { audience: a }"), @r#"Consent { whose: Everyone, client: Some(Registered { client_id: "me", credential: None, token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [("audience", "a")], by: Device(None) }"#);
        insta::assert_snapshot!(check("grant: device_code, client_id: me, device_authorization_endpoint: 'https://idp.example/${ID}'"), @r#"Consent { whose: User, client: Some(Registered { client_id: "me", credential: None, token_auth: None }), scopes: None, issuer: None, resource: None, parameters: [], by: Device(Some("https://idp.example/me-too")) }"#);
        insta::assert_snapshot!(check("grant: device_code, pkce: assumed, device_authorization_endpoint: idp.example"), @"
        p.yaml:3:51: error: servers.s.auth.oauth: the key `client_id` is missing
        p.yaml:3:79: error: servers.s.auth.oauth.pkce: `pkce` belongs to the grant `authorization_code`
        p.yaml:3:119: error: servers.s.auth.oauth.device_authorization_endpoint: this is no URL: relative URL without a base
        ");
        insta::assert_snapshot!(check("device_authorization_endpoint: 'https://idp.example/device', client_id: '${ID}'"), @"p.yaml:3:84: error: servers.s.auth.oauth.device_authorization_endpoint: `device_authorization_endpoint` belongs to the grant `device_code`");
    }

    #[test]
    fn a_server_acts_for_its_users_unless_one_connection_serves_all() {
        let check = |oauth: &str, url: &str| {
            let text = format!("version: 1\nservers:\n  s: {{ {url}, auth: {{ oauth: {{ {oauth} }} }} }}\n");
            let parsed = parse(&[Source { path: "p.yaml".to_owned(), text }], &|_| None);
            parsed.config.servers["s"].is_per_user()
        };
        assert!(
            check("", "url: https://a.example")
                && check("for: user", "url: https://a.example, transport: sse")
        );
        let client = "client_id: me, client_secret: a";
        let provider = "issuer: https://idp.example, client_id: me, client_secret: a";
        let id_jag = format!("grant: id_jag, {client}, identity_provider: {{ {provider} }}");
        assert!(check(&id_jag, "url: https://a.example"));
        let exchange = format!("grant: token_exchange, {client}, issuer: https://idp.example");
        assert!(check(&exchange, "url: https://a.example"));
        assert!(!check("for: everyone", "url: https://a.example"));
        assert!(!check(&format!("{WHOLE}, client_secret: a"), "url: https://a.example"));
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        insta::assert_snapshot!(check("grant: client_credentials"), @"
        p.yaml:3:51: error: servers.s.auth.oauth: the key `client_id` is missing
        p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`
        ");
        insta::assert_snapshot!(check(WHOLE), @"p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, private_key: b")), @"p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check("client_id: me, client_secret: a, private_key: b"), @"p.yaml:3:51: error: servers.s.auth.oauth: expected either `client_secret` or `private_key`");
        insta::assert_snapshot!(check("grant: password, client_id: '', client_secret: a, for: me"), @r#"
        p.yaml:3:60: error: servers.s.auth.oauth.grant: expected `authorization_code`, `device_code`, `client_credentials`, `token_exchange` or `id_jag`, found "password"
        p.yaml:3:81: error: servers.s.auth.oauth.client_id: expected what the gateway is called there, found an empty text
        p.yaml:3:108: error: servers.s.auth.oauth.for: expected `user` or `everyone`, found "me"
        "#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, x: 1")), @r#"p.yaml:3:113: error: servers.s.auth.oauth.x: unknown key "x"; known: grant, for, client_id, client_secret, private_key, scopes, issuer, token_auth, resource, parameters, pkce, device_authorization_endpoint, subject_token_type, audience, identity_provider"#);
        insta::assert_snapshot!(check(&format!(
            "{WHOLE}, private_key: {{ secret: k }}, token_auth: client_secret_post"
        )), @"p.yaml:3:135: error: servers.s.auth.oauth.token_auth: `token_auth` says how `client_secret` is sent, and there is none");
        insta::assert_snapshot!(check("client_id: me, token_auth: client_secret_post"), @"p.yaml:3:80: error: servers.s.auth.oauth.token_auth: `token_auth` says how `client_secret` is sent, and there is none");
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, token_auth: tls_client_auth")), @r#"p.yaml:3:125: error: servers.s.auth.oauth.token_auth: expected `client_secret_basic` or `client_secret_post`, found "tls_client_auth""#);
        insta::assert_snapshot!(check(&format!("{WHOLE}, client_secret: a, scopes: ['a b', '']")), @r#"
        p.yaml:3:122: error: servers.s.auth.oauth.scopes[0]: "a b" is no scope: it has a space, or is empty
        p.yaml:3:129: error: servers.s.auth.oauth.scopes[1]: "" is no scope: it has a space, or is empty
        "#);
        insta::assert_snapshot!(check(&format!(
            "{WHOLE}, client_secret: a, for: everyone, parameters: {{ a: b }}, pkce: assumed"
        )), @"
        p.yaml:3:118: error: servers.s.auth.oauth.for: `for` belongs to the grants `authorization_code` and `device_code`
        p.yaml:3:140: error: servers.s.auth.oauth.parameters: `parameters` belongs to the grants `authorization_code` and `device_code`
        p.yaml:3:156: error: servers.s.auth.oauth.pkce: `pkce` belongs to the grant `authorization_code`
        ");
        insta::assert_snapshot!(check("client_secret: { secret: a }"), @"p.yaml:3:78: error: servers.s.auth.oauth.client_secret.secret: a credential goes with a `client_id`, and there is none");
        insta::assert_snapshot!(check("private_key: { secret: a }"), @"p.yaml:3:76: error: servers.s.auth.oauth.private_key.secret: a credential goes with a `client_id`, and there is none");
        insta::assert_snapshot!(check("client_id: , client_secret: , private_key:"), @"
        p.yaml:3:62: error: servers.s.auth.oauth.client_id: expected what the gateway is called there, found nothing
        p.yaml:3:79: error: servers.s.auth.oauth.client_secret: expected a text, found nothing
        p.yaml:3:94: error: servers.s.auth.oauth.private_key: expected a text, found nothing
        ");
        insta::assert_snapshot!(check("client_id: '${NONE:-}'"), @"p.yaml:3:64: error: servers.s.auth.oauth.client_id: nothing is left of what the gateway is called there");
        insta::assert_snapshot!(check("resource: a.example"), @"p.yaml:3:63: error: servers.s.auth.oauth.resource: this is no URL: relative URL without a base");
        insta::assert_snapshot!(check_server(&format!(
            "headers: {{ authorization: x }}, auth: {{ oauth: {{ {WHOLE}, client_secret: a }} }}"
        )), @"p.yaml:3:47: error: servers.s.headers.authorization: `auth.oauth` sets this header itself");
        insta::assert_snapshot!(check_server("headers: { Authorization: x }, auth: { oauth: {} }"), @"p.yaml:3:47: error: servers.s.headers.Authorization: `auth.oauth` sets this header itself");
        insta::assert_snapshot!(check_server("auth: { oauth: {}, bearer: x }"), @"p.yaml:3:42: error: servers.s.auth: expected one of `header`, `bearer` and `oauth`");
        insta::assert_snapshot!(check_server("auth: { oauth: }"), @"p.yaml:3:49: error: servers.s.auth.oauth: expected a map, found nothing");
    }

    #[test]
    fn parameters_change_nothing_that_the_flow_says() {
        for own in super::OWN_PARAMETERS {
            let said = check(&format!("parameters: {{ {own}: x }}"));
            assert!(said.ends_with(&format!("the gateway says {own:?} itself")), "{said}");
        }
        insta::assert_snapshot!(check("parameters: { Scope: x, 'a b': x, '': x, 'a&b': x }"), @r#"
        p.yaml:3:67: error: servers.s.auth.oauth.parameters.Scope: the gateway says "Scope" itself
        p.yaml:3:77: error: servers.s.auth.oauth.parameters."a b": "a b" is no name of a parameter: letters, digits, `_`, `-` and `.`
        p.yaml:3:87: error: servers.s.auth.oauth.parameters."": "" is no name of a parameter: letters, digits, `_`, `-` and `.`
        p.yaml:3:94: error: servers.s.auth.oauth.parameters."a&b": "a&b" is no name of a parameter: letters, digits, `_`, `-` and `.`
        "#);
        insta::assert_snapshot!(check("parameters: { a: [b], c: { d: e }, f: '${secret:g}', h: '${NONE}' }"), @"
        p.yaml:3:70: error: servers.s.auth.oauth.parameters.a: expected a text, found a list
        p.yaml:3:78: error: servers.s.auth.oauth.parameters.c: expected a text, found a map
        ");
        insta::assert_snapshot!(check("parameters: { h: '${secret:g}', i: '${NONE}' }"), @"
        p.yaml:3:70: error: servers.s.auth.oauth.parameters.h: a secret can stand in `headers`, `auth` and `env` alone, where nobody is shown it
        p.yaml:3:88: error: servers.s.auth.oauth.parameters.i: the environment variable NONE is not set
        ");
        insta::assert_snapshot!(check("parameters: [a]"), @"p.yaml:3:65: error: servers.s.auth.oauth.parameters: expected a map, found a list");
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
