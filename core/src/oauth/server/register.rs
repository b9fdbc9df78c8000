//! Clients that register themselves (RFC 7591): what they say goes into their id, and nothing is kept.

use http::StatusCode;

use super::answer::{Failure, private};
use super::client::{Client, Method, is_allowed};
use super::{Authority, redirect};
use crate::body::Reply;
use crate::ports::Entropy;
use crate::session::SignInPart;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;

/// How long a registration counts, in milliseconds.
const LIFETIME: u64 = 365 * 24 * 60 * 60_000;
/// The most bytes of a client's redirect URIs together: they are in its id.
const ROOM: usize = 3 << 10;

impl<E: Entropy> Authority<'_, E> {
    /// Registers a client, or says what is wrong with what it says of itself.
    pub(crate) fn register(&self, body: &[u8]) -> Reply {
        match self.registration(body) {
            Ok(client) => self.registered_as(&client),
            Err(failure) => failure.reply(),
        }
    }

    fn registration(&self, body: &[u8]) -> Result<Client, Failure> {
        let wrong = |why: &str| Failure::new("invalid_client_metadata", why);
        let json = Json::check(body)
            .ok()
            .filter(|json| json.is_object())
            .ok_or_else(|| wrong("the body is no JSON object"))?;
        let fields = json.object().map_err(|_| wrong("the body says something twice"))?;
        let client = Client::described(&fields, Method::ClientSecretBasic).map_err(|why| {
            let of_redirects = why.contains("redirect");
            Failure::new(if of_redirects { "invalid_redirect_uri" } else { "invalid_client_metadata" }, why)
        })?;
        if client.redirects.iter().map(String::len).sum::<usize>() > ROOM {
            return Err(Failure::new("invalid_redirect_uri", "the redirect URIs are too long"));
        }
        if !client.redirects.iter().all(|uri| is_allowed(self.settings, uri)) {
            return Err(Failure::new(
                "invalid_redirect_uri",
                "this gateway's policy does not allow such a client",
            ));
        }
        debug_assert!(
            client.redirects.iter().all(|uri| redirect::destination(uri).is_ok()),
            "they are checked"
        );
        Ok(Client { expires: self.now + LIFETIME, ..client })
    }

    fn registered_as(&self, client: &Client) -> Reply {
        let id = self.seal(SignInPart::Client, client);
        let list = |texts: &[&str]| {
            format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(","))
        };
        let redirects: Vec<_> = client.redirects.iter().map(String::as_str).collect();
        let mut out = ObjectWriter::default();
        out.string("client_id", &id).member("client_id_issued_at", &(self.now / 1000).to_string());
        if client.method != Method::None {
            out.string("client_secret", &self.secret_of(&id));
            out.member("client_secret_expires_at", &(client.expires / 1000).to_string());
        }
        if let Some(name) = &client.name {
            out.string("client_name", name);
        }
        out.member("redirect_uris", &list(&redirects));
        out.string("token_endpoint_auth_method", client.method.as_str());
        let grants: &[&str] =
            if client.refreshes { &["authorization_code", "refresh_token"] } else { &["authorization_code"] };
        out.member("grant_types", &list(grants)).member("response_types", r#"["code"]"#);
        private(StatusCode::CREATED, out.finish())
    }
}
