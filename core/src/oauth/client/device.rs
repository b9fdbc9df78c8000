//! A user's consent by a code that they enter on a page of the authorization server (RFC 8628), where no browser brings anything
//! back: what that is asked with, what is said, and when it is asked again.
//!
//! **A device's code is shown where it was got**: elsewhere somebody could redeem what the user has consented to.

use std::fmt;

use http::StatusCode;
use url::Url;

use super::server::is_for_browsers;
use super::token::{NoToken, is_token, refusal, seconds};
use super::{AuthorizationServer, Scopes, TokenRequest};
use crate::oauth::address::{is_same_host, may_follow, parse};
use crate::wire::json::Json;

/// The longest code that a user is shown, in bytes.
const LONGEST: usize = 64;
/// How long a code is good for, and for how long one is believed to be, in seconds.
const LIFE: u64 = 900;
const LONGEST_LIFE: u64 = 3600;
/// How often an authorization server is asked, the rarest that it is, and how much rarer where it wants that, in seconds
/// (RFC 8628 §3.2, §3.5).
const INTERVAL: u64 = 5;
const RAREST: u64 = 60;

/// What an authorization server says of a code for a user.
#[derive(PartialEq, Eq)]
pub(crate) struct DeviceCode {
    /// What the tokens are got for, once the user has consented.
    pub(crate) code: String,
    /// What the user enters.
    pub(crate) user_code: String,
    /// Where.
    pub(crate) page: String,
    /// How long it is good for, in seconds.
    pub(crate) lifetime: u64,
    /// How often is asked whether the user has consented, in seconds.
    pub(crate) interval: u64,
}

/// Shows no code.
impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCode").field("page", &self.page).finish_non_exhaustive()
    }
}

/// Returns where an authorization server is asked for a code, or why it is not; `configured` is where the configuration says.
pub(crate) fn device_endpoint(
    server: &AuthorizationServer,
    configured: Option<&str>,
) -> Result<Url, &'static str> {
    let endpoint = match configured {
        Some(configured) => parse(configured),
        None => Some(server.device_endpoint.clone().ok_or(
            "it gives no codes for users to enter (`device_authorization_endpoint`); if it does, set \
             `auth.oauth.device_authorization_endpoint`",
        )?),
    };
    endpoint
        .filter(|endpoint| is_same_host(&server.token_endpoint, endpoint))
        .ok_or("it gives codes for users to enter on another host than it makes tokens")
}

impl TokenRequest {
    /// Begins the request for a code that a user enters (RFC 8628 §3.1).
    pub(crate) fn for_device(
        scopes: &Scopes,
        resource: Option<&str>,
        parameters: &[(String, String)],
    ) -> Self {
        let mut request = Self::empty();
        request.about_what(scopes, resource);
        for (name, value) in parameters {
            request.add(name, value);
        }
        request
    }
}

impl DeviceCode {
    /// Reads the answer of the endpoint that was asked (RFC 8628 §3.2).
    pub(crate) fn read(status: StatusCode, text: &[u8], endpoint: &Url) -> Result<Self, NoToken> {
        let json = Json::check(text).ok().filter(|json| json.is_object());
        let Some(json) = json.filter(|json| status.is_success() && json.get("device_code").is_some()) else {
            return Err(refusal(status, json));
        };
        let text = |name: &str| json.get(name).and_then(Json::as_str);
        let page = |name: &str| {
            let page = parse(&text(name)?)?;
            (is_for_browsers(&page) && may_follow(endpoint, &page)).then_some(page)
        };
        let number = |name: &str| json.get(name).and_then(seconds);
        let read = || {
            Some(Self {
                code: text("device_code").filter(|code| is_token(code))?.into_owned(),
                user_code: text("user_code").filter(|code| (1..=LONGEST).contains(&code.len()))?.into_owned(),
                page: page("verification_uri_complete").or_else(|| page("verification_uri"))?.into(),
                lifetime: number("expires_in").unwrap_or(LIFE).min(LONGEST_LIFE),
                interval: number("interval").unwrap_or(INTERVAL).clamp(1, RAREST),
            })
        };
        read().ok_or_else(|| NoToken::Failed("answers with no code that a user could enter".into()))
    }
}

/// Returns how often an authorization server is asked from now on that has given no tokens, in seconds; nothing where the user
/// can consent no more.
pub(crate) fn interval_after(interval: u64, why: &NoToken) -> Option<u64> {
    let rarer = match why {
        NoToken::Refused(code) if code == "authorization_pending" => 0,
        NoToken::Refused(code) if code == "slow_down" => INTERVAL,
        NoToken::Failed(_) => INTERVAL,
        _ => return None,
    };
    Some((interval + rarer).min(RAREST))
}

#[cfg(test)]
mod tests {
    use super::super::Named;
    use super::*;

    fn read(status: u16, text: &str) -> Result<DeviceCode, NoToken> {
        let endpoint = Url::parse("https://idp.example/device").expect("a URL");
        DeviceCode::read(StatusCode::from_u16(status).expect("a status"), text.as_bytes(), &endpoint)
    }

    fn check(members: &str) -> String {
        let code = read(200, &format!(r#"{{"device_code":"c","user_code":"A-B",{members}}}"#));
        code.map_or_else(
            |why| format!("{why:?}"),
            |code| {
                format!(
                    "{} at {} within {} every {}",
                    code.user_code, code.page, code.lifetime, code.interval
                )
            },
        )
    }

    #[test]
    fn a_user_is_told_a_code_and_a_page() {
        insta::assert_snapshot!(check(r#""verification_uri":"https://idp.example/go","expires_in":600,"interval":7"#), @"A-B at https://idp.example/go within 600 every 7");
        insta::assert_snapshot!(check(r#""verification_uri":"https://idp.example/go","verification_uri_complete":"https://login.example/go?c=A-B""#), @"A-B at https://login.example/go?c=A-B within 900 every 5");
        insta::assert_snapshot!(check(r#""verification_uri":"https://idp.example/go","expires_in":"9999999","interval":0"#), @"A-B at https://idp.example/go within 3600 every 1");
        assert!(!format!("{:?}", read(200, r#"{"device_code":"s3cret","user_code":"s3cret","verification_uri":"https://idp.example"}"#)).contains("s3cret"));
    }

    #[test]
    fn nobody_is_led_where_no_browser_has_business() {
        for page in [
            "javascript:alert(1)",
            "data:text/html,x",
            "http://idp.example/x",
            "https://me:pw@idp.example",
            "https://10.0.0.1/x",
            "https://router.lan/x",
            "vscode://x",
            "/x",
            "",
        ] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(check(&format!(r#""verification_uri":"{page}""#)), @r#"Failed("answers with no code that a user could enter")"#);
            }
            let whole = format!(
                r#""verification_uri":"https://idp.example/go","verification_uri_complete":"{page}""#
            );
            assert!(check(&whole).starts_with("A-B at https://idp.example/go "), "{page}");
        }
    }

    #[test]
    fn an_answer_without_a_code_says_why() {
        let check = |status, text: &str| format!("{:?}", read(status, text).expect_err("no code"));
        insta::assert_snapshot!(check(400, r#"{"error":"invalid_scope"}"#), @r#"Refused("invalid_scope")"#);
        insta::assert_snapshot!(check(401, r#"{"error":"invalid_client"}"#), @r#"Client("invalid_client")"#);
        // As GitHub says it.
        insta::assert_snapshot!(check(200, r#"{"error":"device_flow_disabled"}"#), @r#"Refused("device_flow_disabled")"#);
        insta::assert_snapshot!(check(200, "device_code=c&user_code=A"), @r#"Failed("answers with an error")"#);
        insta::assert_snapshot!(check(503, r#"{"device_code":"c"}"#), @r#"Failed("answers HTTP 503")"#);
        for odd in [
            r#""user_code":"""#,
            r#""user_code":1"#,
            r#""x":1"#,
            &format!(r#""user_code":"{}""#, "x".repeat(65)),
        ] {
            let text = format!(r#"{{"device_code":"c","verification_uri":"https://idp.example",{odd}}}"#);
            assert!(check(200, &text).contains("no code that a user"), "{odd}");
        }
        assert!(
            check(200, r#"{"device_code":" ","user_code":"A","verification_uri":"https://idp.example"}"#)
                .contains("no code")
        );
    }

    #[test]
    fn it_is_asked_again_as_rarely_as_it_wants() {
        let refused = |interval, code: &str| interval_after(interval, &NoToken::Refused(code.into()));
        assert_eq!(refused(5, "authorization_pending"), Some(5));
        assert_eq!(refused(5, "slow_down"), Some(10));
        assert_eq!(refused(58, "slow_down"), Some(60));
        assert_eq!(interval_after(5, &NoToken::Failed("answers HTTP 502".into())), Some(10));
        for end in ["access_denied", "expired_token", "invalid_grant", "incorrect_device_code"] {
            assert_eq!(refused(5, end), None);
        }
        assert_eq!(interval_after(5, &NoToken::Client("x".into())), None);
    }

    #[test]
    fn a_code_is_got_where_tokens_are_made() {
        let check = |metadata: &str, configured| {
            let text = format!(
                r#"{{"issuer":"https://idp.example","token_endpoint":"https://idp.example/token"{metadata}}}"#
            );
            let server = AuthorizationServer::read(text.as_bytes(), "https://idp.example", Named::Here)
                .expect("metadata");
            device_endpoint(&server, configured).map_or_else(str::to_owned, String::from)
        };
        let named = r#","device_authorization_endpoint":"https://codes.example/device""#;
        let own = named.replace("codes.example", "idp.example");
        assert_eq!(check(&own, None), "https://idp.example/device");
        assert_eq!(
            check(named, None),
            "it gives codes for users to enter on another host than it makes tokens"
        );
        assert_eq!(check("", Some("https://idp.example/login/device")), "https://idp.example/login/device");
        assert_eq!(check(named, Some("https://idp.example:8443/d")), "https://idp.example:8443/d");
        insta::assert_snapshot!(check("", None), @"it gives no codes for users to enter (`device_authorization_endpoint`); if it does, set `auth.oauth.device_authorization_endpoint`");
        for other in ["https://idp.example.evil.example/d", "http://idp.example/d", "idp.example"] {
            assert_eq!(
                check("", Some(other)),
                "it gives codes for users to enter on another host than it makes tokens"
            );
        }
    }

    #[test]
    fn a_code_is_asked_for_with_what_the_token_is_for() {
        let check = |scopes: &str, resource, parameters: &[(&str, &str)]| {
            let parameters: Vec<_> =
                parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let request = TokenRequest::for_device(&Scopes::parse(scopes), resource, &parameters)
                .of_public_client("me");
            let request = request.to("https://idp.example/device").expect("a request");
            String::from_utf8(request.into_body().into_bytes().to_vec()).expect("ASCII")
        };
        insta::assert_snapshot!(check("b a", Some("https://a.example"), &[("audience", "x y")]), @"scope=a+b&resource=https%3A%2F%2Fa.example&audience=x+y&client_id=me");
        insta::assert_snapshot!(check("", None, &[]), @"client_id=me");
    }
}
