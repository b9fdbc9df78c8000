//! What clients say of themselves, and what nobody should believe of that.

use bytes::Bytes;
use http::header;

use super::{APP, CALLBACK};
use crate::testing::{Answer, json_answer};

/// What the client says of itself at its URL.
pub(super) fn document(request: &http::Request<Bytes>) -> Answer {
    match request.uri().path() {
        "/client.json" => json_answer(
            200,
            format!(
                r#"{{"client_id":"{APP}","client_name":"The <b>App</b>","redirect_uris":["{CALLBACK}","http://127.0.0.1/cb"]}}"#
            ),
        ),
        "/lies.json" => {
            json_answer(200, format!(r#"{{"client_id":"{APP}","redirect_uris":["{CALLBACK}"]}}"#))
        }
        "/large.json" => json_answer(200, " ".repeat(33 << 10)),
        _ => {
            let mut answer = json_answer(302, "")?;
            answer.headers_mut().insert(header::LOCATION, "http://169.254.169.254/".parse().expect("ASCII"));
            Ok(answer)
        }
    }
}
