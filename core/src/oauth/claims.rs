//! What a verified token says of its bearer, and whether it was made for this gateway, now.

use std::borrow::Cow;

use crate::wire::json::{Json, Object};

/// By how much clocks may differ, in milliseconds.
const LEEWAY: u64 = 60_000;
/// The longest subject, in bytes.
const SUBJECT: usize = 255;
/// The longest chain of those who act for a bearer, one for the other (RFC 8693 §4.1).
const ACTORS: usize = 4;
/// The last second since 1970 that is looked at: what is later is no time.
const LAST: f64 = 253_402_300_799.0;

/// What a token has to say of itself to be taken.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// Its issuer, exactly (RFC 9207 §2.4: no normalisation).
    pub issuer: &'e str,
    /// The claim that says for whom it is made; usually `aud`.
    pub audience_claim: &'e str,
    /// For whom it may be made: one of these, exactly.
    pub audiences: &'e [String],
    /// Now, in milliseconds since the Unix epoch.
    pub now: u64,
}

/// What a token says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who its bearer is, to its issuer.
    pub subject: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it ends, in milliseconds since the Unix epoch; that clocks may differ is in it.
    pub expires: u64,
    payload: String,
}

/// Why a token that is truly its issuer's lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its payload is no object, says something twice, or says what it must not.
    #[error("the token's payload is malformed")]
    Malformed,
    /// Another issuer made it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is not for this gateway (RFC 8707).
    #[error("the token is not for this gateway: its audience is another")]
    Audience,
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// It says nothing of its end.
    #[error("the token never expires: it has no `exp`")]
    Endless,
    /// Its issuer says that it counts no more, or never did.
    #[error("the token is unknown, expired or revoked")]
    Inactive,
    /// More act for its bearer, one for the other, than are taken (RFC 8693 §4.1).
    #[error("the token has been passed on too often: its chain of actors (`act`) is too long")]
    Delegated,
    /// It is nobody's.
    #[error("the token says nothing of its bearer: it has no `sub`")]
    Nobody,
}

impl Claims {
    /// Reads the payload of a token whose signature has been verified.
    pub fn read(payload: &str, expected: &Expected<'_>) -> Result<Self, Unfit> {
        let fields = fields(payload)?;
        let subject = fields.get("sub").and_then(Json::as_str);
        Self::checked(payload, &fields, (Some(expected.issuer), subject), expected)
    }

    /// Reads what an issuer says of a token that it was asked about (RFC 7662 §2.2). Who says nothing of a user speaks of
    /// the client itself.
    pub fn of_answer(answer: &str, expected: &Expected<'_>) -> Result<Self, Unfit> {
        let fields = fields(answer)?;
        let text = |name: &str| fields.get(name).and_then(Json::as_str);
        if fields.get("active").is_none_or(|active| active.text().trim() != "true") {
            return Err(Unfit::Inactive);
        }
        let issuer = fields.get("iss").map(|_| expected.issuer);
        let subject = if fields.get("sub").is_some() { text("sub") } else { text("client_id") };
        Self::checked(answer, &fields, (issuer, subject), expected)
    }

    fn checked(
        payload: &str,
        fields: &Object<'_>,
        (issuer, subject): (Option<&str>, Option<Cow<'_, str>>),
        expected: &Expected<'_>,
    ) -> Result<Self, Unfit> {
        if fields.get("iss").and_then(Json::as_str).as_deref() != issuer {
            return Err(Unfit::Issuer);
        }
        let is_ours = |audience: &Cow<'_, str>| expected.audiences.iter().any(|ours| *ours == **audience);
        if !fields.get(expected.audience_claim).is_some_and(|audience| texts(audience).iter().any(is_ours)) {
            return Err(Unfit::Audience);
        }
        let expires = time(fields, "exp")?.ok_or(Unfit::Endless)?.saturating_add(LEEWAY);
        if expires <= expected.now {
            return Err(Unfit::Expired);
        }
        if time(fields, "nbf")?.is_some_and(|begins| begins > expected.now.saturating_add(LEEWAY)) {
            return Err(Unfit::Early);
        }
        if std::iter::successors(fields.get("act"), |act| act.get("act")).nth(ACTORS).is_some() {
            return Err(Unfit::Delegated);
        }
        let subject = subject.filter(|subject| !subject.is_empty()).ok_or(Unfit::Nobody)?;
        if subject.len() > SUBJECT || subject.chars().any(char::is_control) {
            return Err(Unfit::Malformed);
        }
        Ok(Self {
            subject: subject.into_owned(),
            scopes: scopes(fields),
            expires,
            payload: payload.to_owned(),
        })
    }

    /// Tells whether a claim has a value, or has it among others. A name with dots leads into objects, where no claim is
    /// called so.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let found = find(Json::known(&self.payload), name);
        found.is_some_and(|claim| texts(claim).iter().any(|text| *text == value))
    }

    /// Returns the values of a claim, none where it is not there.
    #[cfg(feature = "control")]
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let found = find(Json::known(&self.payload), name);
        found.map(texts).unwrap_or_default().into_iter().map(Cow::into_owned).collect()
    }

    /// Returns claims of which the values are known, and nothing else of their token.
    #[cfg(feature = "control")]
    pub(crate) fn known(values: &[(String, Vec<String>)]) -> Self {
        let all = values.iter().map(|(name, values)| (name.clone(), values.clone().into()));
        let payload = serde_json::Value::Object(all.collect()).to_string();
        Self { subject: String::new(), scopes: Vec::new(), expires: 0, payload }
    }
}

fn fields(payload: &str) -> Result<Object<'_>, Unfit> {
    let json = Json::check(payload.as_bytes()).map_err(|_| Unfit::Malformed)?;
    let object = Some(json).filter(|json| json.is_object()).ok_or(Unfit::Malformed)?;
    object.object().map_err(|_| Unfit::Malformed)
}

fn find<'j>(json: Json<'j>, name: &str) -> Option<Json<'j>> {
    json.get(name).or_else(|| {
        name.match_indices('.').find_map(|(dot, _)| find(json.get(&name[..dot])?, &name[dot + 1..]))
    })
}

/// Returns the texts of a claim, which may be one or several; a number or a truth value is its own text.
fn texts(claim: Json<'_>) -> Vec<Cow<'_, str>> {
    let text = |value: Json<'_>| match value.as_str() {
        Some(text) => Some(text.into_owned()),
        None if value.is_object() || value.is_array() || value.is_null() => None,
        None => Some(value.text().to_owned()),
    };
    let own = |value| text(value).map(Cow::Owned);
    if claim.is_array() {
        claim.elements().filter_map(own).collect()
    } else {
        own(claim).into_iter().collect()
    }
}

/// Returns a time, which is in seconds, in milliseconds.
fn time(fields: &Object<'_>, name: &str) -> Result<Option<u64>, Unfit> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let seconds: f64 = value.text().trim().parse().map_err(|_| Unfit::Malformed)?;
    if !(0.0..=LAST).contains(&seconds) {
        return Err(Unfit::Malformed);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within bounds")]
    Ok(Some((seconds * 1000.0) as u64))
}

/// Returns the scopes: `scope` as a text (RFC 8693 §4.2), or `scp` as a text or a list, as Entra and Okta have it.
fn scopes(fields: &Object<'_>) -> Vec<String> {
    let claim = fields.get("scope").or_else(|| fields.get("scp"));
    let all = claim.map(texts).unwrap_or_default();
    all.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty()).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn read(payload: &str) -> Result<Claims, Unfit> {
        let audiences = ["https://mcp.example/mcp".to_owned(), "api://mcp".to_owned()];
        Claims::read(
            payload,
            &Expected {
                issuer: "https://idp.example",
                audience_claim: "aud",
                audiences: &audiences,
                now: NOW,
            },
        )
    }

    fn with(more: &str) -> String {
        format!(r#"{{"iss":"https://idp.example","sub":"me","aud":"api://mcp","exp":1800000600{more}}}"#)
    }

    #[test]
    fn a_token_for_this_gateway_lets_in() {
        let claims = read(&with(r#","scope":"mcp:use  files","nbf":1800000060"#)).expect("it is taken");
        assert_eq!((&*claims.subject, claims.expires), ("me", 1_800_000_600_000 + LEEWAY));
        assert_eq!(claims.scopes, ["mcp:use", "files"]);
        assert_eq!(read(&with(r#","scp":["a","b c"]"#)).expect("it is taken").scopes, ["a", "b", "c"]);
        let several = with("").replace(r#""api://mcp""#, r#"["other","https://mcp.example/mcp"]"#);
        assert!(read(&several).is_ok());
        assert!(read(&with("").replace("1800000600", "1799999941")).is_ok(), "clocks differ");
    }

    #[test]
    fn another_one_does_not() {
        let check = |payload: &str, expected| assert_eq!(read(payload), Err(expected), "{payload}");
        let without = |member: &str| with("").replace(member, "");
        check(&with("").replace("idp.example", "idp.example/"), Unfit::Issuer);
        check(&without(r#""iss":"https://idp.example","#), Unfit::Issuer);
        check(&with("").replace("api://mcp", "api://mcp/"), Unfit::Audience);
        check(&with("").replace(r#""api://mcp""#, r#"{"api://mcp":1}"#), Unfit::Audience);
        check(&without(r#""aud":"api://mcp","#), Unfit::Audience);
        check(&with("").replace("1800000600", "1799999940"), Unfit::Expired);
        check(&without(r#","exp":1800000600"#), Unfit::Endless);
        for exp in ["\"1800000600\"", "-1", "1e300", "null", "[]"] {
            check(&with("").replace("1800000600", exp), Unfit::Malformed);
        }
        check(&with(r#","nbf":1800000061"#), Unfit::Early);
        check(&without(r#""sub":"me","#), Unfit::Nobody);
        check(&with("").replace(r#""me""#, r#""""#), Unfit::Nobody);
        check(&with("").replace(r#""me""#, "7"), Unfit::Nobody);
        check(&with("").replace("\"me\"", r#""a\u0000b""#), Unfit::Malformed);
        check(&with("").replace("me", &"m".repeat(256)), Unfit::Malformed);
        check(&with(r#","sub":"you""#), Unfit::Malformed);
        check("[]", Unfit::Malformed);
        check("{", Unfit::Malformed);
    }

    #[test]
    fn a_chain_of_actors_has_an_end() {
        let chain = |actors: usize| {
            let begin = r#"{"sub":"agent","act":"#.repeat(actors);
            read(&with(&format!(r#","act":{begin}{{}}{}"#, "}".repeat(actors))))
        };
        assert!(chain(0).is_ok() && chain(3).is_ok());
        for actors in [4, 5, 100] {
            assert_eq!(chain(actors), Err(Unfit::Delegated), "{actors}");
        }
    }

    #[test]
    fn what_an_issuer_says_of_a_token_is_read() {
        let check = |answer: &str| {
            let audiences = ["api://mcp".to_owned()];
            let expected = Expected {
                issuer: "https://idp.example",
                audience_claim: "aud",
                audiences: &audiences,
                now: NOW,
            };
            Claims::of_answer(answer, &expected).map(|claims| claims.subject)
        };
        let good = r#"{"active":true,"client_id":"robot","sub":"ann","aud":"api://mcp","exp":1800000600}"#;
        assert_eq!(check(good).as_deref(), Ok("ann"));
        assert_eq!(check(&good.replace(r#""sub":"ann","#, "")).as_deref(), Ok("robot"));
        assert_eq!(check(&good.replace("ann", "")), Err(Unfit::Nobody));
        for inactive in [good.replace("true", "false"), good.replace("true", r#""true""#), "{}".into()] {
            assert_eq!(check(&inactive), Err(Unfit::Inactive));
        }
        let of = |issuer: &str| good.replacen('{', &format!(r#"{{"iss":"{issuer}","#), 1);
        assert_eq!(check(&of("https://idp.example")).as_deref(), Ok("ann"));
        assert_eq!(check(&of("https://evil.example")), Err(Unfit::Issuer));
        assert_eq!(check(&good.replace("api://mcp", "api://other")), Err(Unfit::Audience));
        assert_eq!(check(&good.replace(r#","exp":1800000600"#, "")), Err(Unfit::Endless));
        assert_eq!(check("[]"), Err(Unfit::Malformed));
    }

    #[test]
    fn an_audience_may_stand_in_another_claim() {
        let audiences = ["the-client".to_owned()];
        let check = |payload: &str| {
            let expected = Expected {
                issuer: "https://idp.example",
                audience_claim: "client_id",
                audiences: &audiences,
                now: NOW,
            };
            Claims::read(payload, &expected).is_ok()
        };
        assert!(check(&with(r#","client_id":"the-client""#)));
        assert!(!check(&with(r#","client_id":"another""#)));
        assert!(!check(&with("")));
    }

    #[test]
    fn a_claim_has_a_value_alone_or_among_others() {
        let more = r#","groups":["eng","ops"],"tier":2,"staff":true,"realm_access":{"roles":["admin"]},"a.b":{"c":"x"},"https://x.example/y":"z","none":null"#;
        let claims = read(&with(more)).expect("it is taken");
        let pairs = [
            ("groups", "eng"),
            ("groups", "ops"),
            ("tier", "2"),
            ("staff", "true"),
            ("realm_access.roles", "admin"),
            ("a.b.c", "x"),
            ("https://x.example/y", "z"),
            ("sub", "me"),
        ];
        for (name, value) in pairs {
            assert!(claims.has(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("groups", "en"),
            ("groups", "[]"),
            ("none", "null"),
            ("realm_access", "roles"),
            ("", ""),
            ("gone", "x"),
        ] {
            assert!(!claims.has(name, value), "{name} {value}");
        }
    }
}
