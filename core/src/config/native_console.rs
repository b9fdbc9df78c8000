//! Reads the section `console`: how those who govern sign in, and what makes them what.

use std::time::Duration;

use super::console::{Attribute, Console, ConsoleSignIn, DEFAULT_SESSION, Holder, Scim};
use super::item::{At, Item};
use super::native::read_duration;
use super::native_agents::read_claim;
use super::native_issuers::{check_scopes, read_secret, several};
use super::native_sign_in::OPENID;
use super::node::Value;
use super::policy::{Auth, Match, SignIn};
use super::problem::Report;
use super::secret::SecretUse;
use crate::control::Role;
use crate::secrets::SecretName;

/// How long somebody may stay signed in.
pub(super) const SESSIONS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(7 * 24));

/// The section as it is written.
#[derive(Debug, Clone, Default)]
pub(super) struct ConsoleDraft {
    sign_in: Option<At<SignInDraft>>,
    /// How the provider writes to the directory.
    scim: Option<At<ScimDraft>>,
    /// The rest.
    rest: Console,
}

/// Where people sign in.
#[derive(Debug, Clone)]
enum SignInDraft {
    /// Where agents' users do, as the same client.
    Shared,
    /// As a client of its own, at an issuer that is named there.
    Own(Box<SignIn>, At<String>),
}

/// How the provider writes to the directory.
#[derive(Debug, Clone)]
struct ScimDraft {
    token: At<SecretName>,
    issuer: Option<At<String>>,
    subject: Attribute,
}

/// Reads the section.
pub(super) fn read_console(item: &Item<'_>, report: &mut Report<'_>) -> ConsoleDraft {
    let Some(mut fields) = item.fields(report) else { return ConsoleDraft::default() };
    let sign_in = fields.take_even_null("sign_in").and_then(|item| read_sign_in(&item, report));
    let roles = fields.take_even_null("roles").map(|item| read_roles(&item, report)).unwrap_or_default();
    let members = fields.take_even_null("members").and_then(|item| item.flag(report));
    let session = fields.take_even_null("session").and_then(|item| read_duration(&item, SESSIONS, report));
    let scim = fields.take_even_null("scim").and_then(|item| read_scim(&item, report));
    fields.finish(report);
    let rest = Console {
        sign_in: None,
        roles,
        members: members.is_some_and(|members| members.value),
        session: session.map_or(DEFAULT_SESSION, |session| session.value),
        scim: None,
    };
    ConsoleDraft { sign_in, scim, rest }
}

fn read_scim(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<ScimDraft>> {
    let place = item.place();
    let mut fields = item.fields(report)?;
    let token = fields.take_even_null("token").map(|item| read_secret(&item, report));
    let issuer = fields.take("issuer").and_then(|item| item.text(report));
    let subject = fields.take("subject").map(|item| {
        item.parsed("`externalId` or `userName`", report, |text| match text {
            "externalId" => Some(Attribute::ExternalId),
            "userName" => Some(Attribute::UserName),
            _ => None,
        })
    });
    fields.finish(report);
    let Some(token) = token else {
        report.error(&place, "`scim` needs a `token`");
        report.hint("for example `token: { secret: scim }`: what the identity provider presents");
        return None;
    };
    let subject = match subject {
        Some(subject) => subject?.value,
        None => Attribute::ExternalId,
    };
    Some(At { value: ScimDraft { token: token?, issuer, subject }, place })
}

fn read_sign_in(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<SignInDraft>> {
    let place = item.place();
    if !matches!(item.node.value, Value::Map(_)) {
        let shared = item.parsed("`true`, or how the gateway is known to the provider", report, |text| {
            (text == "true").then_some(SignInDraft::Shared)
        });
        return shared;
    }
    let mut fields = item.fields(report)?;
    let issuer = fields.take("issuer").and_then(|item| item.text(report));
    let client_id = fields.take("client_id").and_then(|item| item.text(report));
    let secret = fields.take("client_secret").map(|item| read_secret(&item, report));
    let scopes = fields.take("scopes").map(|item| several(&item, report));
    fields.finish(report);
    let (Some(issuer), Some(client_id)) = (issuer, client_id) else {
        report.error(&place, "`sign_in` needs an `issuer` and a `client_id`, or is `true`");
        report.hint(
            "`true` has people sign in as `auth.sign_in` says; `issuer` is the name of one in `auth.issuers`",
        );
        return None;
    };
    let secret = match secret {
        Some(secret) => Some(secret?),
        None => None,
    };
    let scopes = scopes.unwrap_or_else(|| vec![At { value: OPENID.to_owned(), place: place.clone() }]);
    check_scopes(&scopes, report)?;
    if !scopes.iter().any(|scope| scope.value == OPENID) {
        report.error(&place, "the `scopes` lack `openid`: without it the provider does not say who signs in");
        return None;
    }
    let client = SignIn {
        issuer: issuer.value.clone(),
        client_id: client_id.value,
        place: secret.as_ref().map_or((0, 0), |secret| (secret.place.at.line, secret.place.at.column)),
        client_secret: secret.map(|secret| secret.value),
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
        allow: Vec::new(),
    };
    Some(At { value: SignInDraft::Own(Box::new(client), issuer), place })
}

fn read_roles(item: &Item<'_>, report: &mut Report<'_>) -> Vec<(Role, Vec<Holder>)> {
    let Some(mut fields) = item.fields(report) else { return Vec::new() };
    let mut roles = Vec::new();
    for role in Role::ALL {
        let Some(item) = fields.take_even_null(role.as_str()) else { continue };
        let holders = item.list("a list of claims", report).unwrap_or_default();
        roles.push((role, holders.iter().filter_map(|item| read_holder(item, report)).collect()));
    }
    fields.finish(report);
    roles
}

fn read_holder(item: &Item<'_>, report: &mut Report<'_>) -> Option<Holder> {
    let place = item.place();
    let mut fields = item.fields(report)?;
    let claim = fields.take_even_null("claim");
    let group = fields.take("group").and_then(|item| item.text(report));
    let mark = report.mark();
    fields.finish(report);
    let claim = match (claim, group) {
        (Some(claim), None) => claim,
        (None, Some(group)) => return Some(Holder::Group(group.value)),
        _ => {
            if report.mark() == mark {
                report.error(&place, "expected a `claim` or a `group`");
                report.hint("for example `{ claim: { groups: platform } }`");
            }
            return None;
        }
    };
    match read_claim(&claim, report)? {
        Match::Claim(name, value) => Some(Holder::Claim(name, value)),
        Match::ApiKey(_) | Match::Tag(_) | Match::Client(_) => None,
    }
}

/// Resolves the section, now that it is known who is let in.
pub(super) fn resolve_console(
    draft: &At<ConsoleDraft>,
    auth: &Auth,
    has_address: bool,
    report: &mut Report<'_>,
) -> Console {
    let ConsoleDraft { sign_in, scim, rest } = draft.value.clone();
    let at_sign_in = match sign_in.as_ref().map(|sign_in| &sign_in.value) {
        Some(SignInDraft::Own(_, issuer)) => Some(issuer.value.clone()),
        Some(SignInDraft::Shared) => auth.sign_in.as_ref().map(|client| client.issuer.clone()),
        None => None,
    };
    let scim = scim.and_then(|scim| resolve_scim(scim, auth, at_sign_in, report));
    let by_group = |(_, holders): &(Role, Vec<Holder>)| holders.iter().any(|h| matches!(h, Holder::Group(_)));
    if scim.is_none() && rest.roles.iter().any(by_group) {
        report.warn(&draft.place, "nobody is in a group: there is no `scim`, by which it is said who is");
    }
    let rest = Console { scim, ..rest };
    let Some(At { value: sign_in, place }) = sign_in else {
        if !rest.roles.is_empty() || rest.members {
            report.warn(&draft.place, "nobody signs in at the console, so nobody has a role");
            report.hint("set `console.sign_in`");
        }
        return rest;
    };
    if !has_address {
        report.error(
            &place,
            "`sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine",
        );
        report.hint("it is where the identity provider sends people back to");
    }
    if rest.roles.iter().all(|(_, holders)| holders.is_empty()) && !rest.members {
        report.warn(
            &place,
            "nobody who signs in is let in: there are no `roles`, and `members` are not let in",
        );
    }
    let sign_in = match sign_in {
        SignInDraft::Shared => {
            let shared = auth.sign_in.clone();
            if shared.is_none() {
                report.error(&place, "there is no `auth.sign_in` by which people could sign in");
                report.hint("write `sign_in: { issuer: NAME, client_id: ID }` here");
            }
            shared.map(|client| ConsoleSignIn { client, is_shared: true })
        }
        SignInDraft::Own(client, issuer) => {
            if !auth.issuers.iter().any(|known| known.name == issuer.value) {
                report.error(
                    &issuer.place,
                    format!("no issuer in `auth.issuers` is called {:?}", issuer.value),
                );
            }
            Some(ConsoleSignIn { client: *client, is_shared: false })
        }
    };
    Console { sign_in, ..rest }
}

fn resolve_scim(
    At { value: draft, place }: At<ScimDraft>,
    auth: &Auth,
    at_sign_in: Option<String>,
    report: &mut Report<'_>,
) -> Option<Scim> {
    let issuer = match (draft.issuer, at_sign_in) {
        (Some(named), _) => {
            if !auth.issuers.iter().any(|known| known.name == named.value) {
                report
                    .error(&named.place, format!("no issuer in `auth.issuers` is called {:?}", named.value));
                return None;
            }
            named.value
        }
        (None, Some(issuer)) => issuer,
        (None, None) => {
            report.error(&place, "`scim` needs an `issuer`: whose users the directory has");
            return None;
        }
    };
    let At { value: token, place } = draft.token;
    Some(Scim { token, place: (place.at.line, place.at.column), issuer, subject: draft.subject })
}

/// Returns where the console needs secrets.
pub(super) fn uses_of_console(file: &str, console: &Console) -> Vec<SecretUse> {
    let own = console.sign_in.iter().filter(|sign_in| !sign_in.is_shared);
    let used = |client: &SignIn| {
        Some(SecretUse {
            name: client.client_secret.clone()?,
            file: file.to_owned(),
            line: client.place.0,
            column: client.place.1,
            field: "console.sign_in.client_secret".to_owned(),
            until: "nobody can sign in at the console",
        })
    };
    let scim = console.scim.iter().map(|scim| SecretUse {
        name: scim.token.clone(),
        file: file.to_owned(),
        line: scim.place.0,
        column: scim.place.1,
        field: "console.scim.token".to_owned(),
        until: "the identity provider cannot say who has left",
    });
    own.filter_map(|sign_in| used(&sign_in.client)).chain(scim).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::access::tests as access;

    const BEFORE: &str = "gateway: { public_url: 'https://gw.test' }\n\
        auth: { issuers: { corp: { url: 'https://idp.test', audience: x } }, required: true, sign_in: { issuer: corp, client_id: me } }\n";

    fn check(console: &str) -> String {
        access::check(&format!("{BEFORE}console: {console}"))
    }

    #[test]
    fn who_governs_is_read() {
        let own = "{ sign_in: { issuer: corp, client_id: console, client_secret: { secret: idp } }, \
            roles: { admin: [{ claim: { groups: platform } }], auditor: [] }, members: true, session: 30m }";
        let config = access::config(&format!("{BEFORE}console: {own}"));
        assert_eq!(config.secrets().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["idp"]);
        assert_eq!(config.console.claims().collect::<Vec<_>>(), ["groups"]);
        insta::assert_debug_snapshot!((&config.console.roles, config.console.members, config.console.session), @r#"
        (
            [
                (
                    Admin,
                    [
                        Claim(
                            "groups",
                            "platform",
                        ),
                    ],
                ),
                (
                    Auditor,
                    [],
                ),
            ],
            true,
            1800s,
        )
        "#);
        insta::assert_debug_snapshot!(config.console.sign_in, @r#"
        Some(
            ConsoleSignIn {
                client: SignIn {
                    issuer: "corp",
                    client_id: "console",
                    client_secret: Some(
                        SecretName(
                            "idp",
                        ),
                    ),
                    place: (
                        8,
                        82,
                    ),
                    scopes: [
                        "openid",
                    ],
                    allow: [],
                },
                is_shared: false,
            },
        )
        "#);
        let shared = "{ sign_in: true, members: true }";
        let config = access::config(&format!("{BEFORE}console: {shared}"));
        let sign_in = config.console.sign_in.expect("one");
        assert!(
            sign_in.is_shared
                && sign_in.client.client_id == "me"
                && config.console.session.as_secs() == 8 * 3600
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said_with_its_place() {
        insta::assert_snapshot!(check("{ sign_in: true, roles: { admin: [{ claim: { groups: platform } }] } }"), @"");
        insta::assert_snapshot!(check("{ sign_in: false }"), @r#"p.yaml:8:21: error: console.sign_in: expected `true`, or how the gateway is known to the provider, found "false""#);
        insta::assert_snapshot!(check("{ sign_in: true }"), @"p.yaml:8:21: warning: console.sign_in: nobody who signs in is let in: there are no `roles`, and `members` are not let in");
        insta::assert_snapshot!(check("{ members: true }"), @"
        p.yaml:8:10: warning: console: nobody signs in at the console, so nobody has a role
          hint: set `console.sign_in`
        ");
        insta::assert_snapshot!(check("{ sign_in: { issuer: other, client_id: a, scopes: [groups] }, members: true }"), @"
        p.yaml:8:10: warning: console: nobody signs in at the console, so nobody has a role
          hint: set `console.sign_in`
        p.yaml:8:21: error: console.sign_in: the `scopes` lack `openid`: without it the provider does not say who signs in
        ");
        insta::assert_snapshot!(check("{ sign_in: { issuer: other, client_id: a }, members: true }"), @r#"p.yaml:8:31: error: console.sign_in.issuer: no issuer in `auth.issuers` is called "other""#);
        insta::assert_snapshot!(check("{ sign_in: { client_id: a }, members: 1, session: 1s }"), @r#"
        p.yaml:8:21: error: console.sign_in: `sign_in` needs an `issuer` and a `client_id`, or is `true`
          hint: `true` has people sign in as `auth.sign_in` says; `issuer` is the name of one in `auth.issuers`
        p.yaml:8:48: error: console.members: expected true or false, found "1"
        p.yaml:8:60: error: console.session: expected a duration from 1m to 168h, found "1s"
        "#);
        insta::assert_snapshot!(check("{ sign_in: true, roles: { owner: [], admin: [{}, { clam: 1 }] } }"), @r#"
        p.yaml:8:21: warning: console.sign_in: nobody who signs in is let in: there are no `roles`, and `members` are not let in
        p.yaml:8:36: error: console.roles.owner: unknown key "owner"; known: admin, operator, auditor, member
        p.yaml:8:55: error: console.roles.admin[0]: expected a `claim` or a `group`
          hint: for example `{ claim: { groups: platform } }`
        p.yaml:8:61: error: console.roles.admin[1].clam: unknown key "clam"; known: claim, group
          hint: did you mean `claim`?
        "#);
        insta::assert_snapshot!(check("{ sign_in: true, members: true, scim: { token: { secret: x } }, roles: { admin: [{ group: Ops }] } }"), @"");
        insta::assert_snapshot!(check("{ sign_in: true, roles: { admin: [{ group: Ops }, { group: A, claim: { b: c } }] } }"), @"
        p.yaml:8:10: warning: console: nobody is in a group: there is no `scim`, by which it is said who is
        p.yaml:8:60: error: console.roles.admin[1]: expected a `claim` or a `group`
          hint: for example `{ claim: { groups: platform } }`
        ");
        insta::assert_snapshot!(check("{ scim: { token: { secret: x } } }"), @"p.yaml:8:18: error: console.scim: `scim` needs an `issuer`: whose users the directory has");
        insta::assert_snapshot!(check("{ sign_in: true, members: true, scim: { issuer: other, token: { secret: x } } }"), @r#"p.yaml:8:58: error: console.scim.issuer: no issuer in `auth.issuers` is called "other""#);
        insta::assert_snapshot!(check("{ sign_in: true, members: true, scim: { subject: email, token: x } }"), @r#"
        p.yaml:8:59: error: console.scim.subject: expected `externalId` or `userName`, found "email"
        p.yaml:8:73: error: console.scim.token: expected `{ secret: NAME }`, found a text
        "#);
        insta::assert_snapshot!(check("{ sign_in: true, members: true, scim: { subject: userName } }"), @"
        p.yaml:8:48: error: console.scim: `scim` needs a `token`
          hint: for example `token: { secret: scim }`: what the identity provider presents
        ");
        insta::assert_snapshot!(check(""), @"
        p.yaml:8:8: error: console: expected a map, found nothing
          hint: remove the key, or write `{}` after it
        ");
        insta::assert_snapshot!(access::check("console: { sign_in: true, members: true }"), @"
        p.yaml:6:21: error: console.sign_in: `sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine
          hint: it is where the identity provider sends people back to
        p.yaml:6:21: error: console.sign_in: there is no `auth.sign_in` by which people could sign in
          hint: write `sign_in: { issuer: NAME, client_id: ID }` here
        ");
        insta::assert_snapshot!(access::check(&format!("{}console: {{ sign_in: true, members: true }}", BEFORE.replace("https://gw.test", "http://gw.test"))), @"
        p.yaml:7:7: error: auth: `sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine
          hint: it is the issuer that agents see, and where the identity provider sends people back to
        p.yaml:8:21: error: console.sign_in: `sign_in` needs a `gateway.public_url` without a path that begins with https, or is on this machine
          hint: it is where the identity provider sends people back to
        ");
    }
}
