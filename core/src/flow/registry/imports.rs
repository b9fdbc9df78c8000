//! What is read of another registry: what is new there waits for a review, what is gone there goes here.

use http::{Extensions, StatusCode};
use serde_json::{Value, json};

use crate::body::{Reply, Whole};
use crate::control::answer::{Fault, answer};
use crate::control::registry::entry::{Entry, OFFICIAL, Status};
use crate::control::registry::wrongs;
use crate::control::who::Operator;
use crate::gateway::Gateway;
use crate::ports::{Host, NamedByStranger, RecordKey};

/// The collection of the registries that entries came from: when what is known of them was changed there last.
const SOURCES: &str = "registry-source";
/// How many pages of another registry are read in one import.
const PAGES: usize = 400;

/// Which part of another registry is asked for.
struct Part<'p> {
    base: &'p str,
    search: Option<&'p str>,
    /// What has changed from then on.
    since: Option<&'p str>,
    /// Whether it may lie in the own network.
    is_trusted: bool,
}

impl<H: Host> Gateway<H> {
    pub(super) async fn import_entries(&self, by: &Operator, said: &Value) -> Result<Reply, Fault> {
        let url = said["url"].as_str().and_then(|url| url::Url::parse(url).ok());
        let url = url.filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let url = url.ok_or_else(|| Fault::field("url", "expected the URL of a registry"))?;
        let base = url.as_str().trim_end_matches('/');
        let search = said["search"].as_str();
        if search.is_some_and(|search| search.len() > 100 || search.contains(char::is_control))
            || base.len() > 300
        {
            return Err(Fault::field("search", "expected less: at most 100 bytes, of a URL of at most 300"));
        }
        let store = self.record_store()?;
        let source = RecordKey::new(SOURCES, format!("{base} {}", search.unwrap_or_default()));
        let since = store.get(source.clone()).await?;
        let is_trusted = self.snapshot().config.registry.sources.iter().any(|known| known == base);
        let part = Part { base, search, since: since.as_deref(), is_trusted };
        let (mut cursor, mut counts, mut newest) = (None::<String>, [0_usize; 3], since.clone());
        for _ in 0..PAGES {
            let page = self.other_page(&part, cursor.as_deref()).await?;
            for item in page["servers"].as_array().into_iter().flatten() {
                if let Some(updated) = item["_meta"][OFFICIAL]["updatedAt"].as_str() {
                    newest = newest.max(Some(updated.to_owned()));
                }
                counts[self.take_in(by, item, base).await?] += 1;
            }
            cursor =
                page["metadata"]["nextCursor"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        // What was not read to its end is read from the same place again.
        if cursor.is_none() && newest != since {
            store.replace(source, since, newest, None).await?;
        }
        let [pending, same, refused] = counts;
        let told = json!({ "pending": pending, "unchanged": same, "refused": refused, "complete": cursor.is_none() });
        Ok(answer(StatusCode::OK, &told))
    }

    /// Takes one entry of another registry in; tells whether it waits for a review, is nothing new, or is none.
    async fn take_in(&self, by: &Operator, item: &Value, base: &str) -> Result<usize, Fault> {
        let server = &item["server"];
        if !wrongs(server).is_empty() {
            return Ok(2);
        }
        let official = &item["_meta"][OFFICIAL];
        let status: Status = serde_json::from_value(official["status"].clone()).unwrap_or_default();
        let now = self.host().now();
        let mut new = Entry::new(server.clone(), &by.principal, now);
        new.source = Some(base.to_owned());
        new.status = status;
        let Ok(place) = super::place(new.name(), new.version()) else { return Ok(2) };
        let is_its = |there: &Entry| there.source.as_deref() == Some(base);
        let there = self.entry(&place).await?;
        let goes =
            status == Status::Deleted && there.as_ref().is_some_and(|there| is_its(there) && there.counts());
        if goes {
            self.withhold(&place, by).await?;
        }
        let written = self.swap_entry(&place, |there| match there {
            // What came from elsewhere is not this registry's to change.
            Some(there) if !is_its(&there) => Ok(None),
            Some(mut there) => Ok(there.take(server.clone(), status, now).then_some(there)),
            None => Ok(Some(new.clone())),
        });
        let is_new = written.await?.is_some();
        if goes {
            self.list_in_force(&place, by).await?;
        }
        Ok(usize::from(!is_new))
    }

    async fn other_page(&self, part: &Part<'_>, cursor: Option<&str>) -> Result<Value, Fault> {
        let failed = |why: String| Fault::new(StatusCode::BAD_GATEWAY, "other-registry", why);
        let base = part.base;
        let url = format!("{base}/v0.1/servers?{}", query(part, cursor));
        let mut request =
            http::Request::get(&url).body(Whole::default()).map_err(|error| failed(error.to_string()))?;
        if !part.is_trusted {
            let mut marks = Extensions::new();
            marks.insert(NamedByStranger);
            *request.extensions_mut() = marks;
        }
        let (head, text) = self.exchange(request).await.map_err(failed)?;
        if head.status != StatusCode::OK {
            return Err(failed(format!("{base} answers HTTP {}", head.status.as_u16())));
        }
        serde_json::from_slice(&text)
            .map_err(|_| failed(format!("{base} answers with something else than JSON")))
    }
}

/// Writes what is asked of another registry's list.
fn query(part: &Part<'_>, cursor: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", "50");
    for (key, value) in [("search", part.search), ("updated_since", part.since), ("cursor", cursor)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}
