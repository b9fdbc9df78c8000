//! What is asked of the registry's lists, and which part of the entries answers it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::entry::{Entry, OFFICIAL, Review, Status, latest, shown};
use super::version::Version;
use crate::audit::parse_time;
use crate::control::answer::Fault;
use crate::control::operations::number;

/// How many entries are shown at a time, and at most.
const LISTED: (usize, usize) = (30, 100);
/// The same for who reviews.
const REVIEWED: (usize, usize) = (100, 1000);

/// Which versions are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Wanted {
    #[default]
    All,
    Latest,
    Exactly(String),
}

/// What a list is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The name and the version after which it goes on.
    after: Option<(String, String)>,
    limit: usize,
    search: Option<String>,
    since: Option<u64>,
    version: Wanted,
    /// Whether it has what was deleted.
    deleted: bool,
}

impl Asked {
    /// Reads a query. Parameters that are not known are passed over, as those of later editions have to be.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Fault> {
        let mut asked = Self {
            after: None,
            limit: LISTED.0,
            search: None,
            since: None,
            version: Wanted::All,
            deleted: false,
        };
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "cursor" if !value.is_empty() => {
                    let read = read_cursor(&value);
                    asked.after =
                        Some(read.ok_or_else(|| Fault::field("cursor", "expected a cursor of this API"))?);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    let limit: usize =
                        limit.ok_or_else(|| Fault::field("limit", "expected a number from 1"))?;
                    asked.limit = limit.min(LISTED.1);
                }
                "search" if !value.is_empty() => asked.search = Some(value.to_lowercase()),
                "updated_since" => {
                    let time = moment(&value);
                    let expected = "expected a time such as 2026-07-28T12:00:00Z";
                    asked.since = Some(time.ok_or_else(|| Fault::field("updated_since", expected))?);
                    asked.deleted = true;
                }
                "version" if value == "latest" => asked.version = Wanted::Latest,
                "version" if !value.is_empty() => asked.version = Wanted::Exactly(value.into_owned()),
                "include_deleted" => asked.deleted |= value == "true",
                _ => {}
            }
        }
        Ok(asked)
    }

    /// Returns the same for the versions of one server, all at once.
    fn of_versions(self) -> Self {
        Self { after: None, limit: usize::MAX, search: None, since: None, version: Wanted::All, ..self }
    }

    fn has(&self, entry: &Entry, is_latest: bool) -> bool {
        let is_wanted = match &self.version {
            Wanted::All => true,
            Wanted::Latest => is_latest,
            Wanted::Exactly(version) => entry.version() == version,
        };
        is_wanted
            && (self.deleted || entry.status != Status::Deleted)
            && self.since.is_none_or(|since| entry.updated >= since)
            && self.search.as_ref().is_none_or(|text| entry.name().to_lowercase().contains(text.as_str()))
    }
}

/// Which entries somebody reviews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reviews {
    /// The key after which the list goes on.
    after: Option<String>,
    limit: usize,
    review: Option<Review>,
}

impl Reviews {
    /// Reads a query.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Fault> {
        let mut asked = Self { after: None, limit: REVIEWED.0, review: None };
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "cursor" => {
                    let read = read_cursor(&value);
                    let (name, version) =
                        read.ok_or_else(|| Fault::field("cursor", "expected a cursor of this API"))?;
                    asked.after = Some(super::entry::key(&name, &version));
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=REVIEWED.1).contains(limit));
                    let expected = format!("expected a number from 1 to {}", REVIEWED.1);
                    asked.limit = limit.ok_or_else(|| Fault::field("limit", &expected))?;
                }
                "review" => {
                    let review = serde_json::from_value(Value::from(&*value));
                    let expected = "expected one of pending, approved, rejected";
                    asked.review = Some(review.map_err(|_| Fault::field("review", expected))?);
                }
                _ => return Err(Fault::field(&key, "unknown parameter; known: cursor, limit, review")),
            }
        }
        Ok(asked)
    }

    /// Returns the entries that are asked for, out of all in the order of their keys, and where the list goes on.
    pub(crate) fn of<'e>(&self, entries: &'e [Entry]) -> (Vec<&'e Entry>, Option<String>) {
        let is_meant = |entry: &&Entry| {
            self.after.as_ref().is_none_or(|after| entry.key() > *after)
                && self.review.is_none_or(|review| entry.state() == review)
        };
        let mut meant = entries.iter().filter(is_meant);
        let page: Vec<_> = meant.by_ref().take(self.limit).collect();
        let next = meant.next().and_then(|_| page.last().map(|last| cursor(last)));
        (page, next)
    }
}

/// Returns the page of the entries that is asked for. The entries are all that the caller sees.
pub(crate) fn page(mut entries: Vec<Entry>, asked: &Asked) -> Value {
    crate::sorted::sort_by(&mut entries, |one, other| place(one).cmp(&place(other)));
    let mut list = Vec::new();
    let mut next = None;
    'all: for versions in entries.chunk_by(|one, other| one.name() == other.name()) {
        let newest = latest(&versions.iter().collect::<Vec<_>>());
        for (index, entry) in versions.iter().enumerate() {
            let is_after = asked.after.as_ref().is_none_or(|(name, version)| place(entry) > (name, version));
            let is_latest = newest == Some(index);
            if !is_after || !asked.has(entry, is_latest) {
                continue;
            }
            if list.len() == asked.limit {
                next = Some(());
                break 'all;
            }
            list.push((cursor(entry), shown(entry, is_latest)));
        }
    }
    let next = next.and_then(|()| Some(list.last()?.0.clone()));
    let servers: Vec<_> = list.into_iter().map(|(_, shown)| shown).collect();
    let mut metadata = json!({ "count": servers.len() });
    if let Some(next) = next {
        metadata["nextCursor"] = next.into();
    }
    json!({ "servers": servers, "metadata": metadata })
}

/// Returns the versions of one server that are asked for, what was published last first.
pub(crate) fn versions(entries: Vec<Entry>, asked: Asked) -> Value {
    let mut page = page(entries, &asked.of_versions());
    if let Some(servers) = page["servers"].as_array_mut() {
        let age = |one: &Value| {
            let published = one["_meta"][OFFICIAL]["publishedAt"].as_str().unwrap_or_default().to_owned();
            (published, Version::of(one["server"]["version"].as_str().unwrap_or_default()))
        };
        crate::sorted::sort_by(servers, |one, other| age(other).cmp(&age(one)));
    }
    page
}

/// Returns one version of a server out of all that the caller sees of it; the newest where that is asked for.
pub(crate) fn version(mut versions: Vec<Entry>, wanted: &str, asked: &Asked) -> Option<Value> {
    crate::sorted::sort_by(&mut versions, |one, other| place(one).cmp(&place(other)));
    let newest = latest(&versions.iter().collect::<Vec<_>>());
    let is_meant = |(index, entry): &(usize, &Entry)| match wanted {
        "latest" => newest == Some(*index),
        _ => entry.version() == wanted,
    };
    let (index, entry) = versions.iter().enumerate().find(is_meant)?;
    (asked.deleted || entry.status != Status::Deleted).then(|| shown(entry, newest == Some(index)))
}

/// Reads a time of RFC 3339, in UTC or with an offset.
fn moment(text: &str) -> Option<u64> {
    parse_time(text).or_else(|| {
        let (time, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let number = |text: &str, most: u64| number(text).filter(|number| *number <= most && text.len() == 2);
        let offset_of = (number(hours, 23)? * 60 + number(minutes, 59)?) * 60_000;
        let at = parse_time(&format!("{time}Z"))?;
        match offset.as_bytes().first()? {
            // A plus that was not encoded in a query is a space.
            b'+' | b' ' => at.checked_sub(offset_of),
            b'-' => at.checked_add(offset_of),
            _ => None,
        }
    })
}

fn place(entry: &Entry) -> (&str, &str) {
    (entry.name(), entry.version())
}

fn cursor(entry: &Entry) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}\n{}", entry.name(), entry.version()))
}

fn read_cursor(text: &str) -> Option<(String, String)> {
    let plain = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (name, version) = plain.split_once('\n')?;
    Some((name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let of = |name: &str, version: &str, updated, status| {
            let server = json!({ "name": name, "version": version, "description": "d" });
            Entry { status, updated, ..Entry::new(server, "ana", 1) }
        };
        vec![
            of("b.example/x", "1.10.0", 50, Status::Active),
            of("b.example/x", "1.9.0", 20, Status::Active),
            of("b.example/x", "2.0.0", 60, Status::Deleted),
            of("a.example/Weather", "1.0.0", 10, Status::Deprecated),
            of("a.example-b/x", "1.0.0", 30, Status::Active),
        ]
    }

    fn names(page: &Value) -> String {
        let list = page["servers"].as_array().unwrap().iter();
        let line = |one: &Value| {
            let newest = one["_meta"][super::super::entry::OFFICIAL]["isLatest"] == true;
            format!(
                "{}@{}{}",
                one["server"]["name"].as_str().unwrap(),
                one["server"]["version"].as_str().unwrap(),
                if newest { "*" } else { "" }
            )
        };
        list.map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_has_what_was_asked_for() {
        let check = |query: &str| match Asked::read(Some(query)) {
            Ok(asked) => names(&page(entries(), &asked)),
            Err(fault) => fault.detail,
        };
        insta::assert_snapshot!(check(""), @"a.example-b/x@1.0.0* a.example/Weather@1.0.0* b.example/x@1.10.0* b.example/x@1.9.0");
        insta::assert_snapshot!(check("version=latest&unknown=1"), @"a.example-b/x@1.0.0* a.example/Weather@1.0.0* b.example/x@1.10.0*");
        insta::assert_snapshot!(check("version=1.9.0"), @"b.example/x@1.9.0");
        insta::assert_snapshot!(check("search=WEATH"), @"a.example/Weather@1.0.0*");
        insta::assert_snapshot!(check("updated_since=1970-01-01T00:00:00.050Z"), @"b.example/x@1.10.0* b.example/x@2.0.0");
        insta::assert_snapshot!(check("updated_since=yesterday"), @"updated_since: expected a time such as 2026-07-28T12:00:00Z");
        insta::assert_snapshot!(check("limit=0"), @"limit: expected a number from 1");
        insta::assert_snapshot!(check("cursor=%2e%2e"), @"cursor: expected a cursor of this API");
        assert!(check("include_deleted=true").contains("b.example/x@2.0.0"));
    }

    #[test]
    fn pages_have_each_entry_once_in_any_size() {
        let whole = names(&page(entries(), &Asked::read(None).unwrap()));
        for limit in 1..6 {
            let (mut all, mut query) = (Vec::new(), format!("limit={limit}"));
            loop {
                let page = page(entries(), &Asked::read(Some(&query)).unwrap());
                all.push(names(&page));
                let Some(next) = page["metadata"]["nextCursor"].as_str() else { break };
                query = format!("limit={limit}&cursor={next}");
            }
            assert_eq!(all.join(" "), whole);
        }
    }

    #[test]
    fn times_have_an_offset_or_none() {
        let noon = moment("2026-07-28T12:00:00Z");
        assert!(noon.is_some());
        for same in
            ["2026-07-28T12:00:00+00:00", "2026-07-28T14:30:00.000000+02:30", "2026-07-28T14:30:00 02:30"]
        {
            assert_eq!(moment(same), noon, "{same}");
        }
        assert_eq!(moment("2026-07-28T11:00:00-01:00"), noon);
        for odd in [
            "2026-07-28T12:00:00",
            "2026-07-28T12:00:00+2:00",
            "2026-07-28T12:00:00+24:00",
            "+00:00",
            "é00:00",
        ] {
            assert_eq!(moment(odd), None, "{odd}");
        }
    }

    #[test]
    fn of_versions_the_last_one_comes_first() {
        let of_one = || entries().into_iter().filter(|entry| entry.name() == "b.example/x").collect();
        let all = |query: &str| names(&versions(of_one(), Asked::read(Some(query)).unwrap()));
        insta::assert_snapshot!(all("limit=1"), @"b.example/x@1.10.0* b.example/x@1.9.0");
        insta::assert_snapshot!(all("include_deleted=true"), @"b.example/x@2.0.0 b.example/x@1.10.0* b.example/x@1.9.0");
    }

    #[test]
    fn the_latest_is_not_one_that_was_deleted() {
        let of = |wanted: &str, query: &str| {
            let versions = entries().into_iter().filter(|entry| entry.name() == "b.example/x").collect();
            let asked = Asked::read(Some(query)).unwrap();
            version(versions, wanted, &asked).map(|one| one["server"]["version"].as_str().unwrap().to_owned())
        };
        assert_eq!(of("latest", "").as_deref(), Some("1.10.0"));
        assert_eq!(of("2.0.0", ""), None);
        assert_eq!(of("2.0.0", "include_deleted=true").as_deref(), Some("2.0.0"));
    }
}
