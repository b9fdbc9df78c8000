//! What the authorization server says of itself (RFC 8414 §2).

use http::{HeaderValue, StatusCode, header};

use super::Authority;
use super::client::Method;
use crate::body::{Reply, json};
use crate::wire::json::quote;
use crate::wire::message::ObjectWriter;

impl<E> Authority<'_, E> {
    /// Returns the metadata document.
    pub(crate) fn metadata(&self) -> Reply {
        let list = |texts: &mut dyn Iterator<Item = &str>| {
            let quoted: Vec<_> = texts.map(quote).collect();
            format!("[{}]", quoted.join(","))
        };
        let methods = list(&mut Method::ALL.into_iter().map(Method::as_str));
        let mut out = ObjectWriter::with_capacity(1024);
        out.string("issuer", self.origin);
        for (name, path) in [
            ("authorization_endpoint", "authorize"),
            ("token_endpoint", "token"),
            ("registration_endpoint", "register"),
            ("revocation_endpoint", "revoke"),
        ] {
            out.string(name, &format!("{}/oauth/{path}", self.origin));
        }
        if !self.scopes.is_empty() {
            out.member("scopes_supported", &list(&mut self.scopes.iter().map(String::as_str)));
        }
        out.member("response_types_supported", r#"["code"]"#);
        out.member("response_modes_supported", r#"["query"]"#);
        out.member("grant_types_supported", r#"["authorization_code","refresh_token"]"#);
        out.member("token_endpoint_auth_methods_supported", &methods);
        out.member("revocation_endpoint_auth_methods_supported", &methods);
        out.member("code_challenge_methods_supported", r#"["S256"]"#);
        out.member("authorization_response_iss_parameter_supported", "true");
        out.member("client_id_metadata_document_supported", "true");
        let mut reply = json(StatusCode::OK, out.finish());
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
        reply
    }
}
