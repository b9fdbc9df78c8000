//! Filters (RFC 7644 §3.4.2.2): read whole or refused, and which resource one takes.
//!
//! **What is not understood is refused, and never guessed**: a filter that is read otherwise than it was meant would tell the
//! provider that somebody is not there.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::Refused;
use super::resource::{Kind, member, without_urn};
use crate::audit::parse_time;

/// How deep a filter may be nested.
const DEEPEST: usize = 8;
/// The longest filter, in bytes.
const LONGEST: usize = 4096;

/// Which resources are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// One of the values of an attribute is taken by the rest.
    Within(String, Box<Self>),
    /// An attribute has some value.
    Present(String),
    /// An attribute has a value that stands so to this one.
    Compared(String, By, Value),
}

/// How a value stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Equal,
    Unequal,
    Contains,
    Begins,
    Ends,
    More,
    AtLeast,
    Less,
    AtMost,
}

impl By {
    const ALL: [(&'static str, Self); 9] = [
        ("eq", Self::Equal),
        ("ne", Self::Unequal),
        ("co", Self::Contains),
        ("sw", Self::Begins),
        ("ew", Self::Ends),
        ("gt", Self::More),
        ("ge", Self::AtLeast),
        ("lt", Self::Less),
        ("le", Self::AtMost),
    ];
}

impl Filter {
    /// Reads a filter.
    pub(crate) fn read(text: &str) -> Result<Self, Refused> {
        if text.len() > LONGEST {
            return Err(Refused::bad("invalidFilter", format!("a filter has at most {LONGEST} bytes")));
        }
        let mut reader = Reader { rest: text, depth: 0 };
        let filter = reader.any()?;
        if reader.rest.trim().is_empty() { Ok(filter) } else { Err(reader.odd()) }
    }

    /// Tells whether a resource, or a part of one, is asked for.
    pub(crate) fn takes(&self, of: &Map<String, Value>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.takes(of)),
            Self::Any(any) => any.iter().any(|one| one.takes(of)),
            Self::Not(one) => !one.takes(of),
            Self::Within(name, one) => member(of, name).is_some_and(|found| {
                each(found).any(|value| value.as_object().is_some_and(|v| one.takes(v)))
            }),
            Self::Present(path) => values(of, path).any(|value| !value.is_null()),
            // What is not there is unequal to everything.
            Self::Compared(path, By::Unequal, given) => {
                !values(of, path).any(|found| compare(path, found, given) == Some(Ordering::Equal))
            }
            Self::Compared(path, by, given) => values(of, path).any(|found| holds(path, *by, found, given)),
        }
    }

    /// Returns the attribute and the value where the filter says that they are equal, and nothing else.
    pub(crate) fn equality(&self) -> Option<(&str, &Value)> {
        match self {
            Self::Compared(path, By::Equal, given) => Some((path, given)),
            _ => None,
        }
    }

    /// Returns the name that a resource has to have, where it is asked for by that alone.
    pub(crate) fn named(&self, kind: Kind) -> Option<&str> {
        let (path, given) = self.equality()?;
        given.as_str().filter(|_| path.eq_ignore_ascii_case(kind.name()))
    }
}

/// Returns the values at a path: of an attribute, or of what lies in it.
fn values<'v>(of: &'v Map<String, Value>, path: &'v str) -> impl Iterator<Item = &'v Value> {
    let (name, sub) = path.split_once('.').map_or((path, None), |(name, sub)| (name, Some(sub)));
    let found = member(of, name).into_iter().flat_map(each);
    found.filter_map(move |found| match found {
        Value::Object(members) => member(members, sub.unwrap_or("value")),
        plain => sub.is_none().then_some(plain),
    })
}

fn each(found: &Value) -> std::slice::Iter<'_, Value> {
    match found {
        Value::Array(values) => values.iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn holds(path: &str, by: By, found: &Value, given: &Value) -> bool {
    let within = |is_so: fn(&str, &str) -> bool| match (found.as_str(), given.as_str()) {
        (Some(found), Some(given)) => is_so(&folded(path, found), &folded(path, given)),
        _ => false,
    };
    let order = || compare(path, found, given);
    match by {
        By::Contains => within(|found, given| found.contains(given)),
        By::Begins => within(|found, given| found.starts_with(given)),
        By::Ends => within(|found, given| found.ends_with(given)),
        By::Equal => order() == Some(Ordering::Equal),
        By::Unequal => order() != Some(Ordering::Equal),
        // Truth values are equal or not, and nothing else.
        _ if found.is_boolean() => false,
        By::More => order() == Some(Ordering::Greater),
        By::AtLeast => order().is_some_and(Ordering::is_ge),
        By::Less => order() == Some(Ordering::Less),
        By::AtMost => order().is_some_and(Ordering::is_le),
    }
}

fn compare(path: &str, found: &Value, given: &Value) -> Option<Ordering> {
    match (found, given) {
        (Value::String(found), Value::String(given)) => {
            let is_time = matches!(&*path.to_lowercase(), "meta.created" | "meta.lastmodified");
            match is_time.then(|| (parse_time(found), parse_time(given))) {
                Some((Some(found), Some(given))) => Some(found.cmp(&given)),
                _ => Some(folded(path, found).cmp(&folded(path, given))),
            }
        }
        (found, given) => (found == given).then_some(Ordering::Equal),
    }
}

/// Returns a text as it is compared: ids are exact (RFC 7643 §3.1), everything else is the same in any case.
fn folded(path: &str, text: &str) -> String {
    let is_exact = ["id", "externalid", "value", "members", "members.value", "meta.version"];
    if is_exact.contains(&&*path.to_lowercase()) { text.to_owned() } else { text.to_lowercase() }
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl Reader<'_> {
    fn odd(&self) -> Refused {
        let near: String = self.rest.trim().chars().take(20).collect();
        Refused::bad("invalidFilter", format!("the filter cannot be understood before {near:?}"))
    }

    /// Takes a word where it comes next; a word ends where no letter follows.
    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some((head, tail)) = rest.split_at_checked(word.len()) else { return false };
        let ends = !tail.starts_with(|next: char| next.is_ascii_alphanumeric());
        let is_it = head.eq_ignore_ascii_case(word) && ends;
        if is_it {
            self.rest = tail;
        }
        is_it
    }

    fn sign(&mut self, sign: char) -> bool {
        let tail = self.rest.trim_start().strip_prefix(sign);
        self.rest = tail.unwrap_or(self.rest);
        tail.is_some()
    }

    fn any(&mut self) -> Result<Filter, Refused> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Refused::bad("invalidFilter", "the filter is nested too deep"));
        }
        let mut any = vec![self.all()?];
        while self.word("or") {
            any.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if any.len() == 1 { any.remove(0) } else { Filter::Any(any) })
    }

    fn all(&mut self) -> Result<Filter, Refused> {
        let mut all = vec![self.one()?];
        while self.word("and") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::All(all) })
    }

    fn one(&mut self) -> Result<Filter, Refused> {
        let before = self.rest;
        if self.word("not") && self.sign('(') {
            return Ok(Filter::Not(Box::new(self.until(')')?)));
        }
        self.rest = before;
        if self.sign('(') {
            return self.until(')');
        }
        let path = self.path()?;
        if self.sign('[') {
            return Ok(Filter::Within(path, Box::new(self.until(']')?)));
        }
        if self.word("pr") {
            return Ok(Filter::Present(path));
        }
        let by = By::ALL.into_iter().find(|(word, _)| self.word(word)).ok_or_else(|| self.odd())?.1;
        Ok(Filter::Compared(path, by, self.value()?))
    }

    fn until(&mut self, end: char) -> Result<Filter, Refused> {
        let filter = self.any()?;
        if self.sign(end) { Ok(filter) } else { Err(self.odd()) }
    }

    fn path(&mut self) -> Result<String, Refused> {
        let rest = self.rest.trim_start();
        let is_path = |b: char| b.is_ascii_alphanumeric() || ".:_-$".contains(b);
        let end = rest.find(|next| !is_path(next)).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        let path = without_urn(path);
        if !path.starts_with(|first: char| first.is_ascii_alphabetic()) || path.contains(':') {
            return Err(self.odd());
        }
        self.rest = tail;
        Ok(path.to_owned())
    }

    /// Reads a value as JSON writes it.
    fn value(&mut self) -> Result<Value, Refused> {
        let rest = self.rest.trim_start();
        let end = if rest.starts_with('"') {
            let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            texts.next().and_then(Result::ok).map(|_| texts.byte_offset()).ok_or_else(|| self.odd())?
        } else {
            rest.find(|next: char| next.is_whitespace() || ")]".contains(next)).unwrap_or(rest.len())
        };
        let value: Value = serde_json::from_str(&rest[..end]).map_err(|_| self.odd())?;
        if value.is_object() || value.is_array() {
            return Err(self.odd());
        }
        self.rest = &rest[end..];
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn takes(filter: &str) -> String {
        let user = json!({
            "id": "aB", "userName": "Ann@example.com", "active": true, "externalId": "X1",
            "emails": [{ "value": "ann@work.test", "type": "work" }, { "value": "ann@home.test", "type": "home" }],
            "meta": { "created": "2027-01-15T08:00:00.000Z" },
        });
        match Filter::read(filter) {
            Ok(filter) => filter.takes(user.as_object().expect("an object")).to_string(),
            Err(refused) => refused.detail,
        }
    }

    #[test]
    fn a_filter_takes_what_it_says() {
        for is_so in [
            r#"userName eq "ann@EXAMPLE.com""#,
            r#"USERNAME Eq "ann@example.com" and active eq true"#,
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ann""#,
            r#"id eq "aB""#,
            r#"externalId eq "X1" or externalId eq "X2""#,
            r#"emails eq "ANN@work.test""#,
            r#"emails.type eq "home""#,
            r#"emails[type eq "work" and value co "@work."]"#,
            r#"not (emails[type eq "work" and value co "@home."])"#,
            r#"userName pr and not(title pr) and (title ne "x" or active eq false)"#,
            r#"meta.created gt "2027-01-15T07:59:59Z" and meta.created le "2027-01-15T08:00:00Z""#,
            r#"userName ew ".com" and userName ge "ann""#,
        ] {
            assert_eq!(takes(is_so), "true", "{is_so}");
        }
        for is_not in [
            r#"userName eq "ann""#,
            r#"id eq "ab""#,
            r#"externalId eq "x1""#,
            r#"active eq "true""#,
            "active gt false",
            r#"title eq "x""#,
            "title pr",
            "userName eq null",
            r#"emails[type eq "work"] and emails[type eq "other"]"#,
            r#"userName eq "x" or userName eq "y" and active eq true"#,
        ] {
            assert_eq!(takes(is_not), "false", "{is_not}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let deep = format!("{}a pr{}", "(".repeat(20), ")".repeat(20));
        for odd in [
            "",
            "userName",
            "userName eq",
            "userName is \"x\"",
            "userName eq x",
            "userName eq \"x",
            "userName eq \"x\" and",
            "userName eq \"x\" userName eq \"y\"",
            "userName eq {}",
            "userName eq [1]",
            "(userName pr",
            "emails[type pr",
            "emails[]",
            "not userName pr)",
            "urn:other:userName eq \"x\"",
            "1 eq 1",
            "userName eqq \"x\"",
            &deep,
            &"a pr or ".repeat(1000),
        ] {
            assert!(Filter::read(odd).is_err(), "{odd}");
        }
    }
}
