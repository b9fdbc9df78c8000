//! What is told of the chains of a trail, as one JSON document.

use super::verify::Verified;
use crate::wire::json::Json;
use crate::wire::message::ObjectWriter;

/// What one writer's chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whose chain it is.
    pub writer: String,
    /// What it is, or the first place where it does not hold, in words.
    pub outcome: Result<Verified, String>,
}

/// What the chains of a trail are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// The chains that have been read to their ends.
    pub writers: Vec<Verdict>,
    /// The cursor with which the check goes on, where more has to be read than one request may.
    pub next: Option<String>,
}

impl Verdict {
    /// Returns the verdict as a JSON object: `whole`, and `entries`, `first`, `last`, `remarks` and `hash`, or `breach`.
    pub fn to_json(&self) -> String {
        let mut out = ObjectWriter::default();
        out.string("writer", &self.writer);
        match &self.outcome {
            Ok(found) => {
                let remarks: Vec<_> = found.remarks.iter().map(u64::to_string).collect();
                out.member("whole", "true").member("entries", &found.entries.to_string());
                out.member("first", &found.reach.0.to_string()).member("last", &found.reach.1.to_string());
                out.member("remarks", &format!("[{}]", remarks.join(","))).string("hash", &found.hash);
            }
            Err(breach) => {
                out.member("whole", "false").string("breach", breach);
            }
        }
        out.finish()
    }

    fn read(json: Json<'_>) -> Option<Self> {
        let number = |key| json.get(key).and_then(Json::as_u64);
        let text = |key| Some(json.get(key)?.as_str()?.into_owned());
        let outcome = if json.get("whole")?.as_bool()? {
            let remarks = json.get("remarks")?.elements().map(Json::as_u64).collect::<Option<_>>()?;
            let reach = (number("first")?, number("last")?);
            Ok(Verified { entries: number("entries")?, reach, hash: text("hash")?, remarks })
        } else {
            Err(text("breach")?)
        };
        Some(Self { writer: text("writer")?, outcome })
    }
}

impl Verdicts {
    /// Returns the verdicts as one JSON document: `writers` and `cursor`.
    pub fn to_json(&self) -> String {
        let writers: Vec<_> = self.writers.iter().map(Verdict::to_json).collect();
        let mut out = ObjectWriter::default();
        out.member("writers", &format!("[{}]", writers.join(",")));
        if let Some(cursor) = &self.next {
            out.string("cursor", cursor);
        }
        out.finish()
    }

    /// Reads what [`Verdicts::to_json`] has written; nothing where it is something else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let json = Json::check(text).ok()?;
        let writers = json.get("writers")?.elements().map(Verdict::read).collect::<Option<_>>()?;
        let next = json.get("cursor").and_then(Json::as_str).map(Into::into);
        Some(Self { writers, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let whole = Verified { entries: 3, reach: (2, 4), hash: "ab".into(), remarks: vec![3] };
        let verdicts = Verdicts {
            writers: vec![
                Verdict { writer: "one".into(), outcome: Ok(whole) },
                Verdict { writer: "two".into(), outcome: Err("line 1 \"x\"".into()) },
            ],
            next: Some("on".into()),
        };
        insta::assert_snapshot!(verdicts.to_json(), @r#"{"writers":[{"writer":"one","whole":true,"entries":3,"first":2,"last":4,"remarks":[3],"hash":"ab"},{"writer":"two","whole":false,"breach":"line 1 \"x\""}],"cursor":"on"}"#);
        assert_eq!(Verdicts::parse(verdicts.to_json().as_bytes()), Some(verdicts));
        assert_eq!(Verdicts::parse(b"{}"), None);
    }
}
