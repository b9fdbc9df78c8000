//! Entries that gateways have forwarded, each with the name of the gateway that has proved to send it: what is taken out of the
//! page that names them says whose they are, too.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::json;

use super::forwarded::Trails;
use crate::audit::{Page, Query, Unreadable, Verdicts};
use crate::ports::{AuditQuery, Host};

/// What the name stands after; no entry that a gateway writes has it.
const MEMBER: &str = "forwarded_by";

/// Trails of which every forwarded entry says by whom it was.
pub(super) struct Labelled<H: Host>(pub(super) Trails<H>);

impl<H: Host> AuditQuery for Labelled<H> {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        async move {
            let (mut page, from) = self.0.read(query).await?;
            for (line, name) in page.lines.iter_mut().zip(from) {
                if let Some(name) = name {
                    *line = labelled(line, &name);
                }
            }
            Ok(page)
        }
        .boxed()
    }

    fn verify(&self, cursor: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        self.0.verify(cursor)
    }
}

/// Returns an entry with the name after all that it says itself: of two members of one name, readers take the last. What is no
/// object is left as it is.
fn labelled(line: &str, name: &str) -> String {
    let Some(said) = line.trim_end().strip_suffix('}') else { return line.to_owned() };
    let comma = if said.trim_end().ends_with('{') { "" } else { "," };
    format!("{said}{comma}\"{MEMBER}\":{}}}", json!(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_by_whom_it_was_forwarded() {
        assert_eq!(labelled(r#"{"id":1}"#, "eu-1"), r#"{"id":1,"forwarded_by":"eu-1"}"#);
        assert_eq!(labelled("{}", "a\"b"), r#"{"forwarded_by":"a\"b"}"#);
        assert_eq!(labelled("torn", "eu-1"), "torn");
    }
}
