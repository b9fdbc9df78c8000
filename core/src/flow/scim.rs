//! SCIM 2.0: what an identity provider says of users and groups, and what that ends at once.
//!
//! **Its token counts here alone, and nothing else counts here**: no session, no admin credential. **What takes access away is in
//! force when it is answered**, here at once; a failure before that is answered as one, so that the provider tries again.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::directory::read;
use crate::body::{Body, Reply, empty};
use crate::config::Scim;
use crate::control::answer::kept_from_caches;
use crate::control::scim::{
    Directory, Former, Kind, Place, Refused, Wanted, answer, asks_alone, described, is_active, list, made,
    name_of, patched, provider, resource_types, schemas, subject, tag_of,
};
use crate::control::session::new_id;
use crate::endpoint;
use crate::front::admin::AdminKey;
use crate::gateway::Gateway;
use crate::ports::{Host, RecordKey, RecordStore};
use crate::wire::http as names;

/// Where it is noted which resource has a name that none shares.
const NAMES: &str = "scim-name";
/// How long a name is kept for a resource that is about to be written, in milliseconds.
const KEPT_FOR: u64 = 60_000;
/// How often a change is tried that others make at the same time.
const ATTEMPTS: usize = 8;

/// A request of the identity provider's.
struct Asking<'a> {
    head: &'a Parts,
    scim: &'a Scim,
    wanted: Wanted,
    /// What the URLs of resources begin with.
    base: String,
    store: &'a dyn RecordStore,
}

/// Which resource has a name.
#[derive(Serialize, Deserialize)]
struct Claim {
    id: String,
    at: u64,
}

type Attributes = Map<String, Value>;

/// An answer, and the name of whom it concerns.
type Done = Result<(Reply, Option<String>), Refused>;

impl<H: Host> Gateway<H> {
    /// Answers a request of the identity provider.
    pub(super) async fn provision(&self, head: &Parts, body: Body) -> Reply {
        let snapshot = self.snapshot();
        let Some(scim) = &snapshot.config.console.scim else { return endpoint::not_found() };
        let unavailable = |why: &str| Refused::new(StatusCode::SERVICE_UNAVAILABLE, why);
        let _place = match self.take_place() {
            Ok(place) => place,
            Err(refusal) => return unavailable(&refusal.message).reply(),
        };
        if let Err(refusal) = self.is_recordable() {
            return unavailable(&refusal.message).reply();
        }
        if let Err(refused) = self.is_provider(scim, &head.headers).await {
            self.record_provisioning(head, None, Err((refused.status, &refused.detail)));
            return refused.reply();
        }
        let Some(store) = self.host().records() else {
            return unavailable("this gateway's host keeps no records").reply();
        };
        let done = match Wanted::read(head.uri.query()) {
            Ok(wanted) => {
                let base = endpoint::base(head, &snapshot).unwrap_or_default();
                let asking = Asking { head, scim, wanted, base, store: &**store };
                self.provisioned(&asking, body).await
            }
            Err(refused) => Err(refused),
        };
        let is_written = head.method != Method::GET && !asks_alone(head.uri.path());
        match done {
            Ok((reply, name)) => {
                if is_written {
                    self.record_provisioning(head, name.as_deref(), Ok(()));
                }
                kept_from_caches(reply)
            }
            Err(refused) => {
                if is_written {
                    self.record_provisioning(head, None, Err((refused.status, &refused.detail)));
                }
                refused.reply()
            }
        }
    }

    /// Lets in who presents the token.
    async fn is_provider(&self, scim: &Scim, headers: &HeaderMap) -> Result<(), Refused> {
        let values = self.secret_value(&scim.token).await.map_err(|why| {
            tracing::error!(%why, "the identity provider cannot be let in");
            Refused::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token cannot be compared: its secret cannot be read",
            )
        })?;
        let is_it = |value: &str| AdminKey::new(value).is_some_and(|token| token.is_in(headers));
        let is_current = is_it(values.current.reveal());
        if is_current | values.previous.as_ref().is_some_and(|previous| is_it(previous.reveal())) {
            return Ok(());
        }
        Err(Refused::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong"))
    }

    async fn provisioned(&self, asking: &Asking<'_>, body: Body) -> Done {
        let place =
            Place::find(asking.head.uri.path()).ok_or_else(|| Refused::nowhere(asking.head.uri.path()))?;
        let base = &asking.base;
        let fixed = |all: Vec<Value>, id: Option<&str>| {
            if asking.wanted.filter.is_some() {
                return Err(Refused::new(StatusCode::FORBIDDEN, "what is fixed is not filtered"));
            }
            let Some(id) = id else { return Ok((answer(StatusCode::OK, &list(all.len(), 1, all)), None)) };
            let one = all.iter().find(|one| one["id"].as_str().is_some_and(|own| own == id));
            Ok((answer(StatusCode::OK, one.ok_or_else(Refused::unknown)?), None))
        };
        match (&place, &asking.head.method) {
            (Place::Provider, &Method::GET) => Ok((answer(StatusCode::OK, &provider(base)), None)),
            (Place::Types(id), &Method::GET) => fixed(resource_types(base), *id),
            (Place::Schemas(id), &Method::GET) => fixed(schemas(base), *id),
            (Place::All(kind), &Method::GET) => self.find_resources(asking, *kind).await,
            (Place::All(kind), &Method::POST) => {
                let said = self.said(asking, body).await?;
                self.make_resource(asking, *kind, &said).await
            }
            (Place::Search(kind), &Method::POST) => {
                let wanted = Wanted::of(&self.said(asking, body).await?)?;
                let (base, &Asking { head, scim, store, .. }) = (base.clone(), asking);
                self.find_resources(&Asking { head, scim, wanted, base, store }, *kind).await
            }
            (Place::One(kind, id), &Method::GET) => {
                let text = resource(asking, *kind, id).await?;
                let unchanged = names_tag(&asking.head.headers, &header::IF_NONE_MATCH, &text) == Some(true);
                if unchanged {
                    return Ok((tagged(empty(StatusCode::NOT_MODIFIED), &text), None));
                }
                Ok((shown(asking, *kind, (id, &text), StatusCode::OK)?, None))
            }
            (Place::One(kind, id), &Method::PUT) => {
                let said = self.said(asking, body).await?;
                self.change(asking, *kind, id, |_| made(*kind, &said)).await
            }
            (Place::One(kind, id), &Method::PATCH) => {
                let said = self.said(asking, body).await?;
                self.change(asking, *kind, id, |kept| patched(*kind, kept, &said)).await
            }
            (Place::One(kind, id), &Method::DELETE) => self.remove_resource(asking, *kind, id).await,
            (other, _) => Ok((endpoint::only(other.methods()), None)),
        }
    }

    /// Reads what a request says.
    async fn said(&self, asking: &Asking<'_>, body: Body) -> Result<Value, Refused> {
        if !matches!(&*names::media_type(&asking.head.headers), "application/scim+json" | "application/json")
        {
            let why = "Content-Type must be application/scim+json";
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        let body = body
            .collect(limit)
            .await
            .map_err(|error| Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        serde_json::from_slice(&body).map_err(|_| Refused::bad("invalidSyntax", "the body is no JSON"))
    }

    /// Lists the resources of a kind, or those that a filter takes.
    async fn find_resources(&self, asking: &Asking<'_>, kind: Kind) -> Done {
        let Asking { wanted, base, store, .. } = asking;
        let named = wanted.filter.as_ref().and_then(|filter| filter.named(kind));
        let mut found = Vec::new();
        if let Some(name) = named {
            // This is what providers ask before anything else, of each of their users.
            if let Some(claim) = store.get(name_key(kind, kind.name(), name)).await?
                && let Some(Claim { id, .. }) = read_claim(&claim)
                && let Some(text) = store.get(RecordKey::new(kind.collection(), &*id)).await?
            {
                found.push(described(kind, (&id, &text), base)?);
            }
        } else {
            let all = read(*store, kind.collection(), |id, text| Some(described(kind, (id, text), base)));
            found = all.await?.into_iter().collect::<Result<_, _>>()?;
        }
        if let Some(filter) = &wanted.filter {
            found.retain(|one| one.as_object().is_some_and(|one| filter.takes(one)));
        }
        let all = found.len();
        let part = found.into_iter().skip(wanted.first - 1).take(wanted.most);
        let part = part.map(|one| wanted.shown(one)).collect();
        Ok((answer(StatusCode::OK, &list(all, wanted.first, part)), None))
    }

    async fn make_resource(&self, asking: &Asking<'_>, kind: Kind, said: &Value) -> Done {
        let mut kept = made(kind, said)?;
        if kind == Kind::User {
            kept.entry("active").or_insert(true.into());
        }
        let (id, now) = (new_id(self.host()), self.host().now());
        let name = name_of_resource(kind, &kept);
        if let Err(refused) = self.claim_names(asking, kind, &id, &kept).await {
            give_up_names(asking, kind, &id, &kept).await?;
            return Err(refused);
        }
        stamp(&mut kept, now, now);
        let text = text_of(&kept);
        let key = RecordKey::new(kind.collection(), &*id);
        if !asking.store.replace(key, None, Some(text.clone()), None).await? {
            return Err(Refused::taken("id"));
        }
        // Who is there and in no group is as who was never heard of; most are made so.
        if kind == Kind::Group || !is_active(&kept) || self.is_known_otherwise(asking.scim, &kept) {
            self.take_effect(asking).await?;
        }
        Ok((shown(asking, kind, (&id, &text), StatusCode::CREATED)?, name))
    }

    /// Makes something else of a resource.
    async fn change(
        &self,
        asking: &Asking<'_>,
        kind: Kind,
        id: &str,
        how: impl Fn(&Attributes) -> Result<Attributes, Refused>,
    ) -> Done {
        for _ in 0..ATTEMPTS {
            let before = resource(asking, kind, id).await?;
            unmet(&asking.head.headers, &before)?;
            let mut kept = attributes(&before)?;
            let mut next = how(&kept)?;
            let name = name_of_resource(kind, &next);
            self.claim_names(asking, kind, id, &next).await?;
            self.leave_behind(asking, kind, (&kept, Some(&next))).await?;
            let created = kept.remove("created").and_then(|at| at.as_u64()).unwrap_or_default();
            kept.remove("changed");
            let text = if kept == next {
                before
            } else {
                stamp(&mut next, created, self.host().now());
                let text = text_of(&next);
                let key = RecordKey::new(kind.collection(), id);
                if !asking.store.replace(key, Some(before), Some(text.clone()), None).await? {
                    continue;
                }
                text
            };
            // Also where nothing has changed: what an earlier request began may not have come to its end.
            self.take_effect(asking).await?;
            return Ok((shown(asking, kind, (id, &text), StatusCode::OK)?, name));
        }
        Err(Refused::new(StatusCode::CONFLICT, "others change this resource at the same time; try again"))
    }

    async fn remove_resource(&self, asking: &Asking<'_>, kind: Kind, id: &str) -> Done {
        for _ in 0..ATTEMPTS {
            let before = resource(asking, kind, id).await?;
            unmet(&asking.head.headers, &before)?;
            let kept = attributes(&before)?;
            self.leave_behind(asking, kind, (&kept, None)).await?;
            let key = RecordKey::new(kind.collection(), id);
            if asking.store.replace(key, Some(before), None, None).await? {
                give_up_names(asking, kind, id, &kept).await?;
                self.take_effect(asking).await?;
                if kind == Kind::User {
                    self.end_connections_of_gone(asking.scim, &kept).await?;
                }
                return Ok((empty(StatusCode::NO_CONTENT), name_of_resource(kind, &kept)));
            }
        }
        Err(Refused::new(StatusCode::CONFLICT, "others change this resource at the same time; try again"))
    }

    /// Has the names of a resource be its own, or says which another has.
    async fn claim_names(
        &self,
        asking: &Asking<'_>,
        kind: Kind,
        id: &str,
        kept: &Attributes,
    ) -> Result<(), Refused> {
        for own in own_names(asking.scim, kind, kept) {
            self.claim_name(asking, kind, own, id).await?;
        }
        Ok(())
    }

    async fn claim_name(
        &self,
        asking: &Asking<'_>,
        kind: Kind,
        (attribute, value): (&str, &str),
        id: &str,
    ) -> Result<(), Refused> {
        let (store, now) = (asking.store, self.host().now());
        for _ in 0..ATTEMPTS {
            let before = store.get(name_key(kind, attribute, value)).await?;
            if let Some(claim) = before.as_deref().and_then(read_claim).filter(|claim| claim.id != id) {
                let other = store.get(RecordKey::new(kind.collection(), claim.id)).await?;
                let has_it = match other.as_deref().map(attributes).transpose()? {
                    Some(other) => {
                        let own = other.get(attribute).and_then(Value::as_str);
                        own.is_some_and(|own| {
                            name_key(kind, attribute, own) == name_key(kind, attribute, value)
                        })
                    }
                    None => claim.at + KEPT_FOR > now,
                };
                if has_it {
                    return Err(Refused::taken(attribute));
                }
            }
            let claim = Claim { id: id.to_owned(), at: now };
            let claim = serde_json::to_string(&claim).expect("it has a text and a number alone");
            if store.replace(name_key(kind, attribute, value), before, Some(claim), None).await? {
                return Ok(());
            }
        }
        Err(Refused::taken(attribute))
    }

    /// Keeps in mind what a user was called who is removed, or is called otherwise from now on.
    async fn leave_behind(
        &self,
        asking: &Asking<'_>,
        kind: Kind,
        (kept, next): (&Attributes, Option<&Attributes>),
    ) -> Result<(), Refused> {
        let by = asking.scim.subject;
        let before = subject(kept, by).filter(|_| kind == Kind::User);
        if let Some(before) = before.filter(|before| next.and_then(|next| subject(next, by)) != Some(before))
        {
            self.keep_in_mind_who_left(asking.store, &Former::new(by, before)).await?;
        }
        Ok(())
    }

    /// Puts a change in force: who has left is let in no more, and their sessions end.
    async fn take_effect(&self, asking: &Asking<'_>) -> Result<(), Refused> {
        self.directory_changed(asking.store).await?;
        let ended = self.end_sessions_of_the_gone().await;
        ended.map_err(|fault| Refused::new(fault.status, fault.detail))
    }

    /// Tells whether the directory says something of somebody by now.
    fn is_known_otherwise(&self, scim: &Scim, kept: &Attributes) -> bool {
        let principal = subject(kept, scim.subject).map(|subject| format!("user:{}:{subject}", scim.issuer));
        principal.is_some_and(|principal| self.directory().has(scim, &principal))
    }

    /// Ends what somebody has at servers who is removed.
    async fn end_connections_of_gone(&self, scim: &Scim, kept: &Attributes) -> Result<(), Refused> {
        let Some(subject) = subject(kept, scim.subject) else { return Ok(()) };
        if self.host().connections().is_none() {
            return Ok(());
        }
        let mut theirs: Vec<_> =
            self.connections(None).await?.into_iter().map(|one| one.key.principal).collect();
        theirs.retain(|principal| Directory::is_called(scim, principal, subject));
        theirs.dedup();
        for principal in theirs {
            self.disconnect_all(&principal).await?;
        }
        Ok(())
    }
}

/// Returns the attributes of a resource that no other may share, with their values.
fn own_names<'k>(
    scim: &Scim,
    kind: Kind,
    kept: &'k Attributes,
) -> impl Iterator<Item = (&'static str, &'k str)> {
    let subject = (kind == Kind::User).then(|| name_of(scim.subject));
    let names = [Some(kind.name()), subject.filter(|subject| *subject != kind.name())];
    names.into_iter().flatten().filter_map(|name| Some((name, kept.get(name)?.as_str()?)))
}

/// Lets others have the names of a resource.
async fn give_up_names(asking: &Asking<'_>, kind: Kind, id: &str, kept: &Attributes) -> Result<(), Refused> {
    for (attribute, value) in own_names(asking.scim, kind, kept) {
        let claim = asking.store.get(name_key(kind, attribute, value)).await?;
        if claim.as_deref().and_then(read_claim).is_some_and(|claim| claim.id == id) {
            // Where another has taken it meanwhile, it is that one's.
            asking.store.replace(name_key(kind, attribute, value), claim, None, None).await?;
        }
    }
    Ok(())
}

/// Returns a resource as it is kept.
async fn resource(asking: &Asking<'_>, kind: Kind, id: &str) -> Result<String, Refused> {
    let is_one = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !is_one {
        return Err(Refused::unknown());
    }
    let kept = asking.store.get(RecordKey::new(kind.collection(), id)).await?;
    kept.ok_or_else(Refused::unknown)
}

fn attributes(text: &str) -> Result<Attributes, Refused> {
    let broken =
        |_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "a resource that is kept cannot be read");
    serde_json::from_str(text).map_err(broken)
}

fn stamp(kept: &mut Attributes, created: u64, changed: u64) {
    kept.insert("created".into(), created.into());
    kept.insert("changed".into(), changed.into());
}

fn text_of(kept: &Attributes) -> String {
    serde_json::to_string(kept).expect("it was JSON")
}

fn read_claim(text: &str) -> Option<Claim> {
    serde_json::from_str(text).ok()
}

fn name_of_resource(kind: Kind, kept: &Attributes) -> Option<String> {
    kept.get(kind.name()).and_then(Value::as_str).map(str::to_owned)
}

/// Returns where it is noted which resource has a name. Names are the same in any case, ids are not.
fn name_key(kind: Kind, attribute: &str, value: &str) -> RecordKey {
    let value = if attribute == kind.name() { value.to_lowercase() } else { value.to_owned() };
    RecordKey::new(NAMES, crate::control::digest(&format!("{} {attribute} {value}", kind.collection())))
}

/// Tells whether a header names the tag of what is kept; nothing where there is no such header.
fn names_tag(headers: &HeaderMap, name: &HeaderName, text: &str) -> Option<bool> {
    let tag = tag_of(text);
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let said = headers.get(name)?.to_str().unwrap_or_default();
    Some(said.trim() == "*" || said.split(',').any(|one| strong(one) == strong(&tag)))
}

/// Refuses a change of something else than what is kept.
fn unmet(headers: &HeaderMap, text: &str) -> Result<(), Refused> {
    match names_tag(headers, &header::IF_MATCH, text) {
        Some(false) => Err(Refused::new(
            StatusCode::PRECONDITION_FAILED,
            "the resource is another than the request builds on",
        )),
        _ => Ok(()),
    }
}

fn shown(asking: &Asking<'_>, kind: Kind, kept: (&str, &str), status: StatusCode) -> Result<Reply, Refused> {
    let said = described(kind, kept, &asking.base)?;
    let location = said["meta"]["location"].as_str().and_then(|at| HeaderValue::from_str(at).ok());
    let mut reply = tagged(answer(status, &asking.wanted.shown(said)), kept.1);
    if let Some(location) = location {
        let name = if status == StatusCode::CREATED { header::LOCATION } else { header::CONTENT_LOCATION };
        reply.headers_mut().insert(name, location);
    }
    Ok(reply)
}

fn tagged(mut reply: Reply, text: &str) -> Reply {
    if let Ok(tag) = HeaderValue::from_str(&tag_of(text)) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    reply
}
