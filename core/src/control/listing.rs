//! Which part of a list is asked for, and that part.
//!
//! **A cursor is the key of the last item that was given**: what comes or goes meanwhile moves nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Fault, answer};
use crate::body::Reply;
use crate::sorted;

/// How many items are given where nothing is said, and at most.
const LISTED: (usize, usize) = (100, 1000);

/// How a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    after: Option<String>,
    most: usize,
    others: Vec<(String, String)>,
}

impl Listing {
    /// Reads a query that may have these parameters besides `limit` and `cursor`, each once.
    pub(crate) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Fault> {
        let mut listing = Self { after: None, most: LISTED.0, others: Vec::new() };
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "cursor" => listing.after = Some(decoded(&value)?),
                "limit" => {
                    let number = value.parse().ok().filter(|number| (1..=LISTED.1).contains(number));
                    let expected =
                        || Fault::field("limit", &format!("expected a number from 1 to {}", LISTED.1));
                    listing.most = number.ok_or_else(expected)?;
                }
                key if known.contains(&key) => listing.others.push((key.to_owned(), value.into_owned())),
                _ => {
                    let known = [known, &["limit", "cursor"]].concat().join(", ");
                    return Err(Fault::field(&key, &format!("unknown parameter; known: {known}")));
                }
            }
        }
        Ok(listing)
    }

    /// Returns another parameter; of several, the last one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.others.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Answers with the part of a list that is asked for; each item comes with what it is ordered by.
    pub(crate) fn answer(&self, items: Vec<(String, Value)>) -> Reply {
        answer(StatusCode::OK, &self.part(items))
    }

    /// Returns that part, as it is answered.
    pub(crate) fn part(&self, mut items: Vec<(String, Value)>) -> Value {
        sorted::sort_by(&mut items, |one, other| one.0.cmp(&other.0));
        let from = items.partition_point(|(key, _)| self.after.as_ref().is_some_and(|after| key <= after));
        let mut rest = items.split_off(from);
        let is_cut = rest.len() > self.most;
        rest.truncate(self.most);
        let next = rest.last().filter(|_| is_cut).map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        let items: Vec<_> = rest.into_iter().map(|(_, item)| item).collect();
        json!({ "items": items, "next": next })
    }
}

fn decoded(cursor: &str) -> Result<String, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Fault::field("cursor", "is none of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(query: &str) -> String {
        let items = ["c", "a", "d", "b"].map(|name| (name.to_owned(), Value::from(name))).to_vec();
        match Listing::read(Some(query), &["agent"]) {
            Ok(listing) => {
                let crate::body::Body::Full(whole) = listing.answer(items).into_body() else {
                    return String::new();
                };
                String::from_utf8_lossy(&whole.into_bytes()).into_owned()
            }
            Err(fault) => fault.detail,
        }
    }

    #[test]
    fn a_list_is_given_part_by_part() {
        insta::assert_snapshot!(part(""), @r#"{"items":["a","b","c","d"],"next":null}"#);
        insta::assert_snapshot!(part("limit=3"), @r#"{"items":["a","b","c"],"next":"Yw"}"#);
        insta::assert_snapshot!(part("limit=3&cursor=Yw"), @r#"{"items":["d"],"next":null}"#);
        insta::assert_snapshot!(part("limit=1&cursor=YmI"), @r#"{"items":["c"],"next":"Yw"}"#);
        insta::assert_snapshot!(part("limit=0"), @"limit: expected a number from 1 to 1000");
        insta::assert_snapshot!(part("cursor=!"), @"cursor: is none of this list");
        insta::assert_snapshot!(part("agents=a"), @"agents: unknown parameter; known: agent, limit, cursor");
    }
}
