//! Secrets in the admin API: what a request says, and what is said of a secret. **Never its value.**

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::answer::{Fault, moment};
use super::request::{expect_json, object};
use crate::secrets::{Replacing, Secret, SecretName, SecretRecord};
use crate::wire::json::Json;

/// A value that a secret is to have.
pub(crate) struct NewValue {
    pub(crate) value: Secret,
    pub(crate) replacing: Replacing,
}

impl NewValue {
    /// Reads the body of a request to set a secret. No error repeats any of it.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        expect_json(headers)?;
        // What is wrong with it, is said without the keys: a value may have come to stand there.
        let refused = |_| Fault::new(StatusCode::BAD_REQUEST, "malformed", EXPECTED);
        let object = object(body, &["value", "rotate"]).map_err(refused)?;
        let value = object.get("value").and_then(Json::as_str);
        let value = value.ok_or_else(|| Fault::field("value", "expected a text"))?;
        let value = Secret::new(value.into_owned()).map_err(|odd| Fault::field("value", &odd.to_string()))?;
        let replacing = match object.get("rotate").map(Json::text) {
            None | Some("false") => Replacing::AtOnce,
            Some("true") => Replacing::Rotating,
            Some(_) => return Err(Fault::field("rotate", "expected true or false")),
        };
        Ok(Self { value, replacing })
    }
}

const EXPECTED: &str = "expected a JSON object with `value`, a text, and perhaps `rotate`, true or false";

/// Reads the name of a secret in a path.
pub(crate) fn name(text: &str) -> Result<SecretName, Fault> {
    SecretName::parse(text).map_err(|odd| Fault::field("name", &odd.to_string()))
}

/// Makes the fault of a secret that is not there.
pub(crate) fn missing(name: &SecretName) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "no-secret", format!("there is no secret {:?}", name.as_str()))
}

/// Describes a secret, and who needs it.
pub fn described(record: &SecretRecord, used_by: &[&str]) -> Value {
    json!({
        "name": record.name,
        "version": record.version,
        "created": record.created.map(moment),
        "changed": record.changed.map(moment),
        "has_previous": record.has_previous,
        "used_by": used_by,
    })
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn check(body: &str) -> String {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        match NewValue::read(&headers, body.as_bytes()) {
            Ok(NewValue { value, replacing }) => format!("{} {replacing:?}", value.reveal()),
            Err(fault) => format!("{} {}", fault.status.as_u16(), fault.detail),
        }
    }

    #[test]
    fn values_are_read_and_errors_repeat_nothing() {
        insta::assert_snapshot!(check(r#"{"value":"s3cret"}"#), @"s3cret AtOnce");
        insta::assert_snapshot!(check(r#"{"value":"s3cret","rotate":true}"#), @"s3cret Rotating");
        insta::assert_snapshot!(check(r#"{"value":"s3cret","rotate":false}"#), @"s3cret AtOnce");
        insta::assert_snapshot!(check(r#"{"value":""}"#), @"400 value: the value is empty");
        insta::assert_snapshot!(check(r#"{"value":7}"#), @"400 value: expected a text");
        for odd in [
            r#"{"s3cret":"s3cret"}"#,
            r#"{"value":"s3cret","rotate":"s3cret"}"#,
            "s3cret",
            r#"["s3cret"]"#,
            r#"{"value":"s3cret","value":"s3cret"}"#,
        ] {
            let said = check(odd);
            assert!(said.starts_with("400 ") && !said.contains("s3cret"), "{said}");
        }
        assert_eq!(
            NewValue::read(&HeaderMap::new(), b"{}").err().map(|fault| fault.status.as_u16()),
            Some(415)
        );
    }
}
