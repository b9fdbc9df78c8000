//! What is behind the gateway where users connect.

use bytes::Bytes;
use http::header;

use super::super::{Answer, method_and_id, modern_server};
use crate::oauth::client::authorize::challenge_of;
use crate::ports::NamedByStranger;
use crate::sorted::SortedMap;
use crate::testing::json_answer;

/// A server that takes tokens, and its authorization server.
pub(super) struct Doubles {
    /// What the tokens are good for that were given, by token.
    pub(super) tokens: SortedMap<String, String>,
    /// The verifier's challenge that came with each code.
    pub(super) challenges: SortedMap<String, String>,
    /// What was asked of them, in order.
    pub(super) seen: Vec<String>,
    /// The tokens that are refused by now.
    pub(super) refused: Vec<String>,
    /// The scope that calls need.
    pub(super) needs: Option<&'static str>,
    /// Why there are no tokens for a code that a user enters; nothing once they have consented.
    pub(super) withheld: Option<&'static str>,
    /// What their metadata says in place of what it should, by text.
    pub(super) instead: Vec<(&'static str, &'static str)>,
}

impl Default for Doubles {
    fn default() -> Self {
        Self {
            tokens: SortedMap::new(),
            challenges: SortedMap::new(),
            seen: Vec::new(),
            refused: Vec::new(),
            needs: None,
            withheld: Some("authorization_pending"),
            instead: Vec::new(),
        }
    }
}

impl Doubles {
    pub(super) fn answer(&mut self, request: &http::Request<Bytes>) -> Answer {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let is_strange = request.extensions().get::<NamedByStranger>().is_some();
        let at = (request.uri().host().unwrap_or_default(), request.uri().path());
        let document = |text: String, instead: &[(&str, &str)]| {
            json_answer(200, instead.iter().fold(text, |text, (from, to)| text.replace(from, to)))
        };
        match at {
            ("mine.test", "/mcp") => self.serve(request),
            ("mine.test", "/.well-known/oauth-protected-resource/mcp") => {
                let text = r#"{"resource":"https://mine.test/mcp","authorization_servers":["https://as.test"],"scopes_supported":["read"]}"#;
                document(text.into(), &self.instead)
            }
            ("as.test", "/.well-known/oauth-authorization-server") => {
                assert!(is_strange, "the server has named it");
                let text = r#"{"issuer":"https://as.test","authorization_endpoint":"https://as.test/auth","token_endpoint":"https://as.test/token","registration_endpoint":"https://as.test/register","code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true,"scopes_supported":["read","offline_access"]}"#;
                document(text.into(), &self.instead)
            }
            ("as.test", "/register") => {
                self.seen.push(format!("register {body}"));
                json_answer(201, r#"{"client_id":"gateway-1","token_endpoint_auth_method":"none"}"#)
            }
            ("as.test", "/device") => {
                self.seen.push(format!("device {body}"));
                let text = r#"{"device_code":"d3vice","user_code":"WDJB-<b>","verification_uri":"https://as.test/go?a=1&b","expires_in":900}"#;
                document(text.into(), &self.instead)
            }
            ("as.test", "/.well-known/openid-configuration") => json_answer(404, "no"),
            ("as.test", "/token") => self.give(&body),
            _ => {
                assert!(
                    !body.contains("t0k3n") || at.1 == "/revoke",
                    "no token goes there: {}",
                    request.uri()
                );
                assert_eq!(request.headers().get(header::AUTHORIZATION), None, "nor in a header");
                self.seen.push(format!("elsewhere: {}", request.uri()));
                modern_server(request)
            }
        }
    }

    fn serve(&mut self, request: &http::Request<Bytes>) -> Answer {
        let carried = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = carried.and_then(|value| value.strip_prefix("Bearer "));
        let known = token.filter(|token| !self.refused.iter().any(|refused| refused == token));
        let Some(scopes) = known.and_then(|token| self.tokens.get(token)) else {
            let text =
                r#"Bearer resource_metadata="https://mine.test/.well-known/oauth-protected-resource/mcp""#;
            let mut answer = json_answer(401, "no")?;
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, text.parse().expect("ASCII"));
            return Ok(answer);
        };
        let is_call = method_and_id(request).0 == "tools/call";
        if let Some(needs) = self.needs.filter(|needs| is_call && !scopes.contains(needs)) {
            let text = format!("Bearer error=\"insufficient_scope\", scope=\"{needs}\"");
            let mut answer = json_answer(403, "no")?;
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, text.parse().expect("ASCII"));
            return Ok(answer);
        }
        if is_call {
            self.seen.push(format!("call with {}", token.unwrap_or_default()));
        }
        modern_server(request)
    }

    fn give(&mut self, form: &str) -> Answer {
        let form: SortedMap<_, _> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let of = |name: &str| form.get(name).cloned().unwrap_or_default();
        self.seen.push(format!("token by {} for {}", of("grant_type"), of("resource")));
        let scopes = if of("device_code") == "d3vice" && of("client_id") == "gateway-1" {
            match self.withheld {
                Some("server") => return json_answer(502, "no"),
                // As GitHub says it.
                Some(error) => return json_answer(200, format!(r#"{{"error":"{error}"}}"#)),
                None => "read".into(),
            }
        } else if of("grant_type") == "authorization_code" {
            let asked = self.challenges.remove(&of("code")).unwrap_or_default();
            let (challenge, scopes) = asked.split_once(' ').unwrap_or_default();
            if challenge != challenge_of(&of("code_verifier")) || of("client_id") != "gateway-1" {
                return json_answer(400, r#"{"error":"invalid_grant"}"#);
            }
            scopes.to_owned()
        } else if of("refresh_token") == format!("refresh-{}", self.tokens.len()) {
            "read".into()
        } else {
            return json_answer(400, r#"{"error":"invalid_grant"}"#);
        };
        let number = self.tokens.len() + 1;
        self.tokens.insert(format!("t0k3n-{number}"), scopes);
        json_answer(
            200,
            format!(
                r#"{{"access_token":"t0k3n-{number}","refresh_token":"refresh-{number}","token_type":"Bearer","expires_in":3600}}"#
            ),
        )
    }
}
