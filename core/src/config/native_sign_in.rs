//! Reads how the gateway stands in as the authorization server: `auth.sign_in`.

use super::item::{At, Item};
use super::native_issuers::{check_scopes, read_secret, several};
use super::policy::{Issuer, SignIn};
use super::problem::Report;
use crate::acl::Glob;

/// The scope that asks for an ID token (OIDC Core 1.0 §3.1.2.1).
pub(super) const OPENID: &str = "openid";

/// Reads the section; nothing where it is wrong.
pub(super) fn read_sign_in(item: &Item<'_>, issuers: &[Issuer], report: &mut Report<'_>) -> Option<SignIn> {
    let place = item.place();
    let mut fields = item.fields(report)?;
    let issuer = fields.take("issuer").and_then(|item| item.text(report));
    let client_id = fields.take("client_id").and_then(|item| item.text(report));
    let secret = fields.take("client_secret").map(|item| read_secret(&item, report));
    let scopes = fields.take("scopes").map(|item| several(&item, report));
    let allow = fields.take("clients").map(|item| read_clients(&item, report));
    fields.finish(report);
    let (Some(issuer), Some(client_id)) = (issuer, client_id) else {
        report.error(&place, "`sign_in` needs an `issuer` and a `client_id`");
        report.hint("`issuer` is the name of one in `auth.issuers`; `client_id` is what that provider calls the gateway");
        return None;
    };
    if !issuers.iter().any(|known| known.name == issuer.value) {
        report.error(&issuer.place, format!("no issuer in `auth.issuers` is called {:?}", issuer.value));
        return None;
    }
    let client_secret = match secret {
        Some(secret) => Some(secret?),
        None => None,
    };
    let scopes = scopes.unwrap_or_else(|| vec![At { value: OPENID.to_owned(), place: place.clone() }]);
    check_scopes(&scopes, report)?;
    if !scopes.iter().any(|scope| scope.value == OPENID) {
        report.error(
            &place,
            "the `scopes` of `sign_in` lack `openid`: without it the provider does not say who signs in",
        );
        return None;
    }
    Some(SignIn {
        issuer: issuer.value,
        client_id: client_id.value,
        place: client_secret.as_ref().map_or((0, 0), |secret| (secret.place.at.line, secret.place.at.column)),
        client_secret: client_secret.map(|secret| secret.value),
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
        allow: allow.unwrap_or(Some(Vec::new()))?,
    })
}

/// Reads which clients may ask. An empty list would allow nobody, and is refused as one that allows anybody would be worse.
fn read_clients(item: &Item<'_>, report: &mut Report<'_>) -> Option<Vec<Glob>> {
    let mut fields = item.fields(report)?;
    let allow = fields.take("allow").map(|item| (item.place(), several(&item, report)));
    fields.finish(report);
    let Some((place, patterns)) = allow else { return Some(Vec::new()) };
    if patterns.is_empty() {
        report
            .error(&place, "no client is allowed: list patterns of URLs, or leave `allow` out to allow any");
        return None;
    }
    Some(patterns.iter().map(|pattern| Glob::new(&pattern.value)).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::access::tests as access;

    #[test]
    fn how_the_gateway_stands_in_is_read() {
        let issuers = "issuers: { corp: { url: 'https://idp.test', audience: x } }";
        let within = |sign_in: &str| format!("auth: {{ {issuers}, required: true, sign_in: {sign_in} }}");
        let public = "gateway: { public_url: 'https://gw.test' }\n";
        let whole = "{ issuer: corp, client_id: me, client_secret: { secret: idp }, scopes: [openid, groups], clients: { allow: 'https://*.example' } }";
        let config = access::config(&format!("{public}{}", within(whole)));
        assert_eq!(config.secrets().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["idp"]);
        insta::assert_debug_snapshot!(config.auth.sign_in, @r#"
        Some(
            SignIn {
                issuer: "corp",
                client_id: "me",
                client_secret: Some(
                    SecretName(
                        "idp",
                    ),
                ),
                place: (
                    7,
                    151,
                ),
                scopes: [
                    "openid",
                    "groups",
                ],
                allow: [
                    Glob(
                        "https://*.example",
                    ),
                ],
            },
        )
        "#);
        let check = |sign_in: &str| access::check(&format!("{public}{}", within(sign_in)));
        insta::assert_snapshot!(check("{ issuer: corp, client_id: me }"), @"");
        insta::assert_snapshot!(check("{ issuer: other, client_id: me }"), @r#"p.yaml:7:105: error: auth.sign_in.issuer: no issuer in `auth.issuers` is called "other""#);
        insta::assert_snapshot!(check("{ issuer: corp }"), @"
        p.yaml:7:95: error: auth.sign_in: `sign_in` needs an `issuer` and a `client_id`
          hint: `issuer` is the name of one in `auth.issuers`; `client_id` is what that provider calls the gateway
        ");
        insta::assert_snapshot!(check("{ issuer: corp, client_id: me, client_secret: s3cret }"), @"p.yaml:7:141: error: auth.sign_in.client_secret: expected `{ secret: NAME }`, found a text");
        insta::assert_snapshot!(check("{ issuer: corp, client_id: me, scopes: [groups] }"), @"p.yaml:7:95: error: auth.sign_in: the `scopes` of `sign_in` lack `openid`: without it the provider does not say who signs in");
        insta::assert_snapshot!(check("{ issuer: corp, client_id: me, clients: { allow: [], deny: x } }"), @r#"
        p.yaml:7:144: error: auth.sign_in.clients.allow: no client is allowed: list patterns of URLs, or leave `allow` out to allow any
        p.yaml:7:148: error: auth.sign_in.clients.deny: unknown key "deny"; known: allow
        "#);
        insta::assert_snapshot!(access::check(&within("{ issuer: corp, client_id: me }")), @"
        p.yaml:6:7: error: auth: `sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine
          hint: it is the issuer that agents see, and where the identity provider sends people back to
        ");
        let http = "gateway: { public_url: 'http://gw.test' }\n";
        insta::assert_snapshot!(access::check(&format!("{http}{}", within("{ issuer: corp, client_id: me }"))), @"
        p.yaml:7:7: error: auth: `sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine
          hint: it is the issuer that agents see, and where the identity provider sends people back to
        ");
    }
}
