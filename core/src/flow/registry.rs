//! The registry: who reads and writes it, where its entries lie, and what comes from another one.
//!
//! **What is approved is in force before it is shown**: where the configuration is the store's it is part of its next version, so
//! that a fleet knows it by the snapshot; else this gateway reads it from its records.

use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::control::NextVersion;
use crate::body::{self, Body, CollectError, Reply, Whole};
use crate::catalog::Scope;
use crate::control::answer::{Fault, answer};
use crate::control::registry::entry::{Entry, Review, Status, digest, key, reviewed};
use crate::control::registry::list::{self, Asked};
use crate::control::registry::own::{self, Served};
use crate::control::registry::path::At;
use crate::control::registry::{identities, translate, wrongs};
use crate::control::who::{Operator, Role};
use crate::control::{Document, Managed};
use crate::endpoint;
use crate::gateway::{Gateway, Snapshot};
use crate::identity::Identity;
use crate::listing::Approved;
use crate::ports::{Host, NamedByStranger, RecordKey};
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// The collection of entries, and that of the registries that some came from.
const ENTRIES: &str = "registry";
const SOURCES: &str = "registry-source";
/// How many records are read at a time, and how many entries there may be.
const READ: (usize, usize) = (500, 20_000);
/// How often a record is written that somebody else was quicker with.
const ATTEMPTS: usize = 5;
/// How many pages of another registry are read in one import.
const PAGES: usize = 400;

/// Who reads the registry.
enum Reader {
    /// Who sees all of it.
    All,
    /// Who sees what it may reach.
    Agent(Arc<Identity>),
}

/// Who writes to it.
enum Writer {
    Governor(Operator),
    /// An agent whose keys may publish, with its principal.
    Publisher(String),
}

impl Writer {
    fn name(&self) -> &str {
        match self {
            Self::Governor(operator) => &operator.principal,
            Self::Publisher(principal) => principal,
        }
    }
}

impl<H: Host> Gateway<H> {
    /// Tells whether a page of any origin may read what is asked, and forgets the origin then: a registry that is everybody's.
    pub(super) fn is_for_any_origin(&self, head: &mut Parts) -> bool {
        let reads = matches!(head.method, Method::GET | Method::OPTIONS);
        let is_so = reads
            && head.uri.path().starts_with(crate::control::registry::ROOT)
            && self.0.snapshot.load().config.registry.public;
        if is_so {
            head.headers.remove(header::ORIGIN);
        }
        is_so
    }

    /// Answers a request to the registry.
    pub(super) async fn registry(&self, head: &mut Parts, body: Body) -> Reply {
        let Some(at) = At::find(head.uri.path()) else { return endpoint::not_found() };
        let is_public = self.0.snapshot.load().config.registry.public;
        let mut reply = if head.method == Method::OPTIONS {
            body::empty(StatusCode::NO_CONTENT)
        } else {
            match self.registry_answer(head, body, &at).await {
                Ok(reply) => reply,
                Err(fault) => refused(&fault),
            }
        };
        if is_public && matches!(head.method, Method::GET | Method::OPTIONS) {
            // All of it is anybody's, and nothing of a browser's own goes along with `*`.
            let headers = reply.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, OPTIONS"));
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type"),
            );
        }
        reply
    }

    async fn registry_answer(&self, head: &mut Parts, body: Body, at: &At) -> Result<Reply, Fault> {
        if !at.methods().split(", ").any(|method| method == head.method.as_str()) {
            return Ok(endpoint::only(at.methods()));
        }
        if head.method == Method::GET {
            let reader = match self.reader(head).await {
                Ok(reader) => reader,
                Err(refused) => return Ok(*refused),
            };
            return self.read_registry(head, at, &reader).await;
        }
        let writer = match self.writer(head).await? {
            Ok(writer) => writer,
            Err(refused) => return Ok(*refused),
        };
        let said = self.registry_body(body).await?;
        let done = match at {
            At::Publish => self.publish(&writer, said).await,
            At::Status(name, version) => self.change_status(&writer, &key(name, version), &said).await,
            At::Version(name, version) => {
                self.change_status(&writer, &key(name, version), &json!({ "status": "deleted" })).await
            }
            At::AllStatus(name) => self.change_all(&writer, name, &said).await,
            At::Servers | At::Versions(_) => Ok(endpoint::only("GET")),
        };
        let outcome = done.as_ref().map(|_| ()).map_err(|fault| (fault.status, &*fault.detail));
        if let Writer::Governor(operator) = &writer {
            self.record_administration(head, operator, outcome);
        }
        done
    }

    async fn registry_body(&self, body: Body) -> Result<Value, Fault> {
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        let body = body.collect(limit).await.map_err(|error| {
            let status = match error {
                CollectError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                CollectError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            Fault::new(status, "body", error.to_string())
        })?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body)
            .map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "malformed", "the body is not JSON"))
    }

    /// Returns who governs by a request, where somebody does; who does not is no stranger here.
    async fn governor(&self, head: &Parts) -> Option<Operator> {
        if self.0.admin_key.load_full().is_some_and(|admin| admin.is_in(&head.headers)) {
            return Some(Operator::admin());
        }
        self.signed_in(head).await?.ok().filter(|operator| operator.role != Role::Member)
    }

    async fn reader(&self, head: &mut Parts) -> Result<Reader, Box<Reply>> {
        let snapshot = self.snapshot();
        if snapshot.config.registry.public || self.governor(head).await.is_some() {
            return Ok(Reader::All);
        }
        self.let_in(head, &snapshot).await.map(Reader::Agent)
    }

    async fn writer(&self, head: &mut Parts) -> Result<Result<Writer, Box<Reply>>, Fault> {
        let snapshot = self.snapshot();
        if let Some(operator) = self.governor(head).await {
            return may_write(&operator).map(|()| Ok(Writer::Governor(operator)));
        }
        let who = match self.let_in(head, &snapshot).await {
            Ok(who) => who,
            Err(refused) => return Ok(Err(refused)),
        };
        let (key, publish) = (who.agent.key(), &snapshot.config.registry.publish);
        match &who.principal {
            Some(principal) if publish.iter().any(|agent| agent.eq_ignore_ascii_case(key)) => {
                Ok(Ok(Writer::Publisher(principal.to_string())))
            }
            Some(_) => Err(forbidden()),
            None => Err(Fault::stranger()),
        }
    }

    /// Returns every entry whose key begins so.
    async fn entries(&self, beginning: &str) -> Result<Vec<Entry>, Fault> {
        let Some(store) = self.host().records() else { return Ok(Vec::new()) };
        let (mut after, mut entries) = ((!beginning.is_empty()).then(|| beginning.to_owned()), Vec::new());
        loop {
            let page = store.page(ENTRIES, after.clone(), READ.0).await?;
            let Some((last, _)) = page.last() else { return Ok(entries) };
            after = Some(last.clone());
            let before = entries.len();
            let whole = page.len();
            let meant = page.into_iter().filter(|(key, _)| key.starts_with(beginning));
            entries.extend(meant.filter_map(|(_, text)| Entry::read(&text)));
            if entries.len() - before < whole && !beginning.is_empty() || entries.len() >= READ.1 {
                return Ok(entries);
            }
        }
    }

    /// Returns what a reader sees.
    async fn seen_entries(
        &self,
        head: &Parts,
        reader: &Reader,
        beginning: &str,
    ) -> Result<Vec<Entry>, Fault> {
        let snapshot = self.snapshot();
        let stored: Vec<_> = self.entries(beginning).await?.into_iter().filter(Entry::is_shown).collect();
        let mut seen = own_entries(head, &snapshot, reader, &stored);
        if matches!(reader, Reader::All) {
            let is_new = |entry: &Entry| !seen.iter().any(|own: &Entry| own.key() == entry.key());
            let others: Vec<_> = stored.into_iter().filter(is_new).collect();
            seen.extend(others);
        }
        seen.retain(|entry| entry.key().starts_with(beginning));
        Ok(seen)
    }

    async fn read_registry(&self, head: &Parts, at: &At, reader: &Reader) -> Result<Reply, Fault> {
        let asked = Asked::read(head.uri.query())?;
        let unknown =
            || Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such server in the registry");
        let said = match at {
            At::Versions(name) => {
                let versions = self.seen_entries(head, reader, &key(name, "")).await?;
                let page = list::page(versions, &asked.of_versions());
                if page["metadata"]["count"] == 0 {
                    return Err(unknown());
                }
                page
            }
            At::Version(name, version) => {
                let versions = self.seen_entries(head, reader, &key(name, "")).await?;
                list::version(versions, version, &asked).ok_or_else(unknown)?
            }
            _ => list::page(self.seen_entries(head, reader, "").await?, &asked),
        };
        Ok(answer(StatusCode::OK, &said))
    }

    /// Writes an entry in place of the one that is there, if one is; one writer at a time.
    async fn swap_entry(
        &self,
        key: &str,
        change: impl Fn(Option<Entry>) -> Result<Option<Entry>, Fault>,
    ) -> Result<Option<Entry>, Fault> {
        let store = self.record_store()?;
        for _ in 0..ATTEMPTS {
            let read = store.get(RecordKey::new(ENTRIES, key)).await?;
            let Some(next) = change(read.as_deref().and_then(Entry::read))? else { return Ok(None) };
            if store.replace(RecordKey::new(ENTRIES, key), read, Some(next.to_text()), None).await? {
                return Ok(Some(next));
            }
        }
        Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "others write this entry all the time: try again",
        ))
    }

    async fn publish(&self, writer: &Writer, server: Value) -> Result<Reply, Fault> {
        check(&server)?;
        let now = self.host().now();
        let new = Entry::new(server, writer.name(), now);
        let key = new.key();
        let written = self.swap_entry(&key, |there| match there {
            Some(there) if there.server == new.server => Ok(Some(there)),
            Some(there) if there.review == Review::Rejected && there.by == new.by => Ok(Some(new.clone())),
            Some(_) => {
                let detail =
                    "this version was published already, and a version is never changed: publish another";
                Err(Fault::new(StatusCode::BAD_REQUEST, "published", detail))
            }
            None => Ok(Some(new.clone())),
        });
        let mut entry = written.await?.unwrap_or(new);
        if let Writer::Governor(operator) = writer
            && entry.review == Review::Pending
        {
            entry = self.approve_entry(operator, &entry, None).await?;
        }
        Ok(answer(StatusCode::OK, &crate::control::registry::entry::shown(&entry, false)))
    }

    async fn change_status(&self, writer: &Writer, key: &str, said: &Value) -> Result<Reply, Fault> {
        let entry = self.become_status(writer, key, said).await?;
        Ok(answer(StatusCode::OK, &crate::control::registry::entry::shown(&entry, false)))
    }

    async fn become_status(&self, writer: &Writer, key: &str, said: &Value) -> Result<Entry, Fault> {
        let status: Status = serde_json::from_value(said["status"].clone())
            .map_err(|_| Fault::field("status", "expected one of active, deprecated, deleted"))?;
        let message = said["statusMessage"].as_str().map(str::to_owned);
        if message.as_ref().is_some_and(|message| message.chars().count() > 500) {
            return Err(Fault::field("statusMessage", "expected at most 500 characters"));
        }
        let now = self.host().now();
        let unknown =
            || Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such version in the registry");
        let written = self.swap_entry(key, |there| {
            let mut entry = there.ok_or_else(unknown)?;
            // Whose it is not does not learn that it is there.
            if matches!(writer, Writer::Publisher(principal) if *principal != entry.by) {
                return Err(unknown());
            }
            entry.become_status(status, message.clone(), now);
            Ok(Some(entry))
        });
        let entry = written.await?.ok_or_else(unknown)?;
        if let Writer::Governor(operator) = writer {
            self.list_in_force(&entry, operator).await?;
        } else if !self.is_stored() {
            self.read_listed().await?;
        }
        Ok(entry)
    }

    async fn change_all(&self, writer: &Writer, name: &str, said: &Value) -> Result<Reply, Fault> {
        let mut changed = Vec::new();
        for entry in self.entries(&key(name, "")).await? {
            let entry = self.become_status(writer, &entry.key(), said).await?;
            changed.push(crate::control::registry::entry::shown(&entry, false));
        }
        if changed.is_empty() {
            return Err(Fault::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "there is no such server in the registry",
            ));
        }
        Ok(answer(StatusCode::OK, &json!({ "updatedCount": changed.len(), "servers": changed })))
    }

    fn is_stored(&self) -> bool {
        matches!(&*lock(&self.0.managed), Managed::ByStore(_))
    }

    /// Approves what waits of an entry, as it was shown: `digest` is what the reviewer saw.
    async fn approve_entry(&self, by: &Operator, entry: &Entry, shown: Option<&str>) -> Result<Entry, Fault> {
        let (now, place) = (self.host().now(), entry.key());
        let written = self.swap_entry(&place, |there| {
            let mut entry = there.ok_or_else(gone)?;
            let Some(waiting) = entry.waiting().or_else(|| (!entry.is_shown()).then_some(&entry.server))
            else {
                return Ok(Some(entry));
            };
            if shown.is_some_and(|shown| shown != digest(waiting)) {
                let detail = "the entry is not what was shown: look at it again";
                return Err(Fault::new(StatusCode::PRECONDITION_FAILED, "conflict", detail));
            }
            let identities = identities::of(waiting);
            entry.approve(&by.principal, identities, now);
            Ok(Some(entry))
        });
        let entry = written.await?.ok_or_else(gone)?;
        self.list_in_force(&entry, by).await?;
        Ok(entry)
    }

    /// Has strict mode know what is approved of an entry.
    async fn list_in_force(&self, entry: &Entry, by: &Operator) -> Result<(), Fault> {
        if !self.is_stored() {
            return self.read_listed().await;
        }
        let approved = entry.counts().then(|| {
            Approved { digest: digest(&entry.server), identities: entry.identities.clone() }.to_text()
        });
        let (store, strangers) = self.stored()?;
        for _ in 0..ATTEMPTS {
            let newest = store.newest().await?.ok_or_else(|| {
                let detail = "nothing was pushed to this gateway yet, and what the registry has approved is part of what is";
                Fault::new(StatusCode::CONFLICT, "no-version", detail)
            })?;
            let mut document = Document::kept(&newest.text);
            let before = match &approved {
                Some(text) => document.listed.insert(entry.key(), text.clone()),
                None => document.listed.remove(&entry.key()),
            };
            if before == approved {
                return Ok(());
            }
            let note = format!("registry: {}", entry.key());
            if self.store_next(store, newest, strangers, NextVersion { document, note, by }).await? {
                return Ok(());
            }
        }
        Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "others write versions all the time: try again",
        ))
    }

    /// Puts in force what the records say is approved, for a gateway that is configured by files.
    pub async fn look_at_registry(&self) {
        if !self.is_stored()
            && let Err(fault) = self.read_listed().await
        {
            tracing::error!(reason = %fault.detail, "what the registry has approved cannot be read");
        }
    }

    async fn read_listed(&self) -> Result<(), Fault> {
        let approved: SortedMap<_, _> = self
            .entries("")
            .await?
            .into_iter()
            .filter(Entry::counts)
            .map(|entry| {
                (entry.key(), Approved { digest: digest(&entry.server), identities: entry.identities })
            })
            .collect();
        self.set_listed(approved);
        Ok(())
    }

    /// Answers what the admin API says of the registry: `rest` is what follows `registry` in the path.
    pub(super) async fn govern_registry(
        &self,
        head: &Parts,
        body: Body,
        operator: &Operator,
        rest: &str,
    ) -> Result<Reply, Fault> {
        if operator.role == Role::Member {
            return Err(forbidden());
        }
        let parts: Vec<_> = rest.split('/').filter(|part| !part.is_empty()).collect();
        match (parts.as_slice(), &head.method) {
            ([], &Method::GET) => self.show_reviews(head.uri.query()).await,
            (["imports"], &Method::POST) => {
                may_write(operator)?;
                let said = self.registry_body(body).await?;
                self.import_registry(operator, &said).await
            }
            ([name, version, "approve" | "reject"], &Method::POST) => {
                may_write(operator)?;
                let said = self.registry_body(body).await?;
                let place = endpoint::decode(name).zip(endpoint::decode(version)).ok_or_else(gone)?;
                self.review(operator, &key(&place.0, &place.1), (rest.ends_with("/approve"), &said)).await
            }
            ([] | ["imports"] | [_, _, "approve" | "reject"], _) => {
                Ok(endpoint::only(if parts.is_empty() { "GET" } else { "POST" }))
            }
            _ => Err(gone()),
        }
    }

    async fn show_reviews(&self, query: Option<&str>) -> Result<Reply, Fault> {
        let wanted = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(key, _)| key == "status")
            .map(|(_, status)| status.into_owned());
        let entries = self.entries("").await?;
        let known: Vec<_> = entries.iter().filter(|entry| entry.is_shown()).map(Entry::name).collect();
        let items = entries.iter().map(|entry| reviewed(entry, &known));
        let items: Vec<_> = items
            .filter(|item| {
                let review = &item["_meta"][crate::control::registry::entry::OWN]["review"];
                wanted.as_ref().is_none_or(|wanted| review == wanted.as_str())
            })
            .collect();
        Ok(answer(StatusCode::OK, &json!({ "items": items })))
    }

    async fn review(
        &self,
        by: &Operator,
        key: &str,
        (approves, said): (bool, &Value),
    ) -> Result<Reply, Fault> {
        let now = self.host().now();
        let store = self.record_store()?;
        let text = store.get(RecordKey::new(ENTRIES, key)).await?;
        let there = text.as_deref().and_then(Entry::read).ok_or_else(gone)?;
        let entry = if approves {
            let shown = said["digest"].as_str();
            let shown =
                shown.ok_or_else(|| Fault::field("digest", "expected the digest of what is approved"))?;
            self.approve_entry(by, &there, Some(shown)).await?
        } else {
            let rejected = self.swap_entry(key, |there| {
                let mut entry = there.ok_or_else(gone)?;
                entry.reject(&by.principal, now);
                Ok(Some(entry))
            });
            let entry = rejected.await?.ok_or_else(gone)?;
            self.list_in_force(&entry, by).await?;
            entry
        };
        let mut told = reviewed(&entry, &[]);
        told["settings"] = if approves { translate::settings(&entry.server).into() } else { Value::Null };
        Ok(answer(StatusCode::OK, &told))
    }

    async fn import_registry(&self, by: &Operator, said: &Value) -> Result<Reply, Fault> {
        let url = said["url"].as_str().and_then(|url| url::Url::parse(url).ok());
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty());
        let url = url.ok_or_else(|| Fault::field("url", "expected the URL of a registry"))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let search = said["search"].as_str();
        let store = self.record_store()?;
        let source = RecordKey::new(SOURCES, format!("{base} {}", search.unwrap_or_default()));
        let since = store.get(source.clone()).await?;
        let is_trusted = self.snapshot().config.registry.sources.contains(&base);
        let (mut cursor, mut counts, mut newest) = (None::<String>, [0_usize; 3], since.clone());
        for _ in 0..PAGES {
            let page =
                self.other_page(&base, (search, since.as_deref(), cursor.as_deref()), is_trusted).await?;
            for item in page["servers"].as_array().into_iter().flatten() {
                let official = &item["_meta"][crate::control::registry::entry::OFFICIAL];
                if let Some(updated) = official["updatedAt"].as_str() {
                    newest = newest.max(Some(updated.to_owned()));
                }
                counts[self.take_in(by, item, &base).await?] += 1;
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
        let official = &item["_meta"][crate::control::registry::entry::OFFICIAL];
        let status: Status = serde_json::from_value(official["status"].clone()).unwrap_or_default();
        let now = self.host().now();
        let mut new = Entry::new(server.clone(), &by.principal, now);
        new.source = Some(base.to_owned());
        new.status = status;
        let place = new.key();
        let before = self.swap_entry(&place, |there| match there {
            // What came from elsewhere is not this registry's to change.
            Some(there) if there.source.as_deref() != Some(base) => Ok(None),
            Some(mut there) => Ok(there.take(server.clone(), status, now).then_some(there)),
            None => Ok(Some(new.clone())),
        });
        let Some(entry) = before.await? else { return Ok(1) };
        if !entry.counts() && !entry.identities.is_empty() {
            self.list_in_force(&entry, by).await?;
        }
        Ok(0)
    }

    async fn other_page(
        &self,
        base: &str,
        (search, since, cursor): (Option<&str>, Option<&str>, Option<&str>),
        is_trusted: bool,
    ) -> Result<Value, Fault> {
        let failed = |why: String| Fault::new(StatusCode::BAD_GATEWAY, "other-registry", why);
        let url = format!("{base}/v0.1/servers?{}", query(search, since, cursor));
        let mut request =
            http::Request::get(&url).body(Whole::default()).map_err(|error| failed(error.to_string()))?;
        if !is_trusted {
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

/// Returns the entries of the servers that are served, as far as a reader may reach them.
fn own_entries(head: &Parts, snapshot: &Snapshot, reader: &Reader, stored: &[Entry]) -> Vec<Entry> {
    let Some(base) = endpoint::base(head, snapshot) else { return Vec::new() };
    let base = base.trim_end_matches('/').trim_end_matches("/mcp");
    let mut own: Vec<Entry> = Vec::new();
    for (name, server) in snapshot.servers.iter().filter(|(_, server)| server.unapproved().is_none()) {
        let scope = Scope::Server(name.clone());
        if matches!(reader, Reader::Agent(who) if !snapshot.has_anything_for(who, &scope)) {
            continue;
        }
        let seen = server.seen();
        let info =
            seen.as_ref().and_then(|seen| serde_json::from_str(seen.introduction.info.as_deref()?).ok());
        let served = Served { name: name.as_str(), path: endpoint::path(&scope), info };
        let listed = snapshot.config.listed.entry_of(&server.settings);
        let listed = listed.and_then(|key| stored.iter().find(|entry| entry.key() == key));
        let entry = own::entry(&served, base, listed, snapshot.since);
        if !own.iter().any(|other| other.key() == entry.key()) {
            own.push(entry);
        }
    }
    own
}

/// Writes what is asked of another registry's list.
fn query(search: Option<&str>, since: Option<&str>, cursor: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", "50");
    for (key, value) in [("search", search), ("updated_since", since), ("cursor", cursor)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

fn check(server: &Value) -> Result<(), Fault> {
    let wrong = wrongs(server);
    let Some(first) = wrong.first() else { return Ok(()) };
    let errors =
        wrong.iter().map(|wrong| json!({ "field": wrong.field, "message": wrong.message })).collect();
    let mut fault = Fault::field(&first.field, &first.message);
    fault.errors = errors;
    Err(fault)
}

/// Refuses who only reads.
fn may_write(operator: &Operator) -> Result<(), Fault> {
    if matches!(operator.role, Role::Admin | Role::Operator) { Ok(()) } else { Err(forbidden()) }
}

fn forbidden() -> Fault {
    Fault::new(StatusCode::FORBIDDEN, "forbidden", "your role does not allow that")
}

fn gone() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such entry in the registry")
}

/// The answer to a request that is refused, as clients of registries read it.
fn refused(fault: &Fault) -> Reply {
    let said = json!({
        "error": fault.detail,
        "title": fault.status.canonical_reason().unwrap_or_default(),
        "status": fault.status.as_u16(),
        "detail": fault.detail,
        "errors": fault.errors,
    });
    let mut reply = answer(fault.status, &said);
    if fault.status == StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}
