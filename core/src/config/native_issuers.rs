//! Reads whose tokens are taken: `auth.issuers`.

use super::endpoint::parse_url;
use super::item::{At, Item};
use super::node::Value;
use super::policy::{Introspection, Issuer};
use super::problem::{Place, Report};
use crate::front::gate::is_loopback;
use crate::secrets::SecretName;

/// The longest name of an issuer.
const NAME: usize = 32;

/// Reads issuers by their names.
pub(super) fn read_issuers(item: &Item<'_>, report: &mut Report<'_>) -> Vec<Issuer> {
    let Some(entries) = item.fields(report) else { return Vec::new() };
    let mut issuers: Vec<(Place, Issuer)> = Vec::new();
    for (name, item) in entries.rest() {
        let Some(issuer) = read_issuer(&name, &item, report) else { continue };
        if let Some((_, other)) = issuers.iter().find(|(_, other)| other.url == issuer.url) {
            report.error(&name.place, format!("this is the issuer {:?} again", other.name));
            report.hint("give one of them all audiences and scopes");
            continue;
        }
        issuers.push((name.place, issuer));
    }
    issuers.into_iter().map(|(_, issuer)| issuer).collect()
}

fn read_issuer(name: &At<String>, item: &Item<'_>, report: &mut Report<'_>) -> Option<Issuer> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.value.is_empty() || name.value.len() > NAME || !name.value.chars().all(is_plain) {
        report.error(&name.place, "an issuer's name has letters, digits, `-` and `_`, at most 32 of them");
        report.hint("it becomes part of the names of those who sign in: `user:NAME:SUBJECT`");
        return None;
    }
    let mut fields = item.fields(report)?;
    let place = item.place();
    let url = fields.take("url").and_then(|item| item.text(report));
    let keys = fields.take("keys").and_then(|item| item.text(report));
    let audience = fields.take("audience").map(|item| several(&item, report)).unwrap_or_default();
    let audience_claim = fields.take("audience_claim").and_then(|item| item.text(report));
    let scopes = fields.take("scopes").map(|item| several(&item, report)).unwrap_or_default();
    let introspection = fields.take("introspection").map(|item| read_introspection(&item, report));
    fields.finish(report);
    let Some(url) = url else {
        report.error(&place, "the issuer's `url` is missing");
        report.hint(
            "write it as the provider does, to the letter: it is compared with the `iss` of each token",
        );
        return None;
    };
    check_issuer(&url.value, &url, report)?;
    if let Some(keys) = &keys {
        check_url(&keys.value, keys, report)?;
    }
    if let Some(claim) = audience_claim.as_ref().filter(|_| audience.is_empty()) {
        report.error(&claim.place, "a claim of the issuer's own for the audience needs an `audience`");
        report.hint("write the value that the claim has in tokens for this gateway");
        return None;
    }
    check_scopes(&scopes, report)?;
    Some(Issuer {
        name: name.value.clone(),
        url: url.value,
        keys: keys.map(|keys| keys.value),
        audience: audience.into_iter().map(|text| text.value).collect(),
        audience_claim: audience_claim.map(|claim| claim.value),
        scopes: scopes.into_iter().map(|text| text.value).collect(),
        introspection: match introspection {
            None => None,
            Some(read) => Some(read?),
        },
    })
}

fn read_introspection(item: &Item<'_>, report: &mut Report<'_>) -> Option<Introspection> {
    let mut fields = item.fields(report)?;
    let place = item.place();
    let url = fields.take("url").and_then(|item| item.text(report));
    let client_id = fields.take("client_id").and_then(|item| item.text(report));
    let client_secret = fields.take("client_secret").map(|item| read_secret(&item, report));
    fields.finish(report);
    if let Some(url) = &url {
        check_url(&url.value, url, report)?;
    }
    let (Some(client_id), Some(client_secret)) = (client_id, client_secret) else {
        report.error(
            &place,
            "to be asked about tokens, the provider has to know the gateway: `client_id` and `client_secret`",
        );
        report.hint("register a confidential client for the gateway there");
        return None;
    };
    let At { value: client_secret, place } = client_secret?;
    Some(Introspection {
        url: url.map(|url| url.value),
        client_id: client_id.value,
        client_secret,
        place: (place.at.line, place.at.column),
    })
}

/// Reads a reference to a secret, and nothing else: whatever else stands there may be one itself.
pub(super) fn read_secret(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<SecretName>> {
    if !matches!(item.node.value, Value::Map(_)) {
        item.mismatch("`{ secret: NAME }`", report);
        return None;
    }
    let mut fields = item.fields(report)?;
    let name = fields.take("secret").and_then(|item| item.text(report));
    fields.finish(report);
    let At { value, place } = name?;
    let name = SecretName::parse(&value).map_err(|odd| report.error(&place, odd.to_string())).ok()?;
    Some(At { value: name, place })
}

/// Checks scopes (RFC 6749 §3.3).
pub(super) fn check_scopes(scopes: &[At<String>], report: &mut Report<'_>) -> Option<()> {
    for scope in scopes {
        let is_token = |b: u8| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~');
        if scope.value.is_empty() || !scope.value.bytes().all(is_token) {
            report.error(&scope.place, "a scope has no spaces, quotes and backslashes");
            report.hint("write each scope as an element of its own: `scopes: [mcp:use, profile]`");
            return None;
        }
    }
    Some(())
}

/// Reads one text or several.
pub(super) fn several(item: &Item<'_>, report: &mut Report<'_>) -> Vec<At<String>> {
    item.one_or_several().iter().filter_map(|item| item.text(report)).collect()
}

/// Checks the name of an issuer, which is a URL and has no query (RFC 8414 §2).
pub(super) fn check_issuer(text: &str, written: &At<String>, report: &mut Report<'_>) -> Option<()> {
    let url = check_url(text, written, report)?;
    if url.query().is_some() {
        report.error(&written.place, "an issuer has no query (`?...`)");
        return None;
    }
    Some(())
}

/// Checks an address at which a provider is asked: over TLS, but on this machine.
fn check_url(text: &str, written: &At<String>, report: &mut Report<'_>) -> Option<url::Url> {
    let url = parse_url(text, written, report)?;
    if url.scheme() != "https" && !url.host_str().is_some_and(is_loopback) {
        report.error(&written.place, "an identity provider is asked over https alone");
        report.hint("whoever can change its answers, or read what it is sent, could sign in as anybody");
        return None;
    }
    Some(url)
}
