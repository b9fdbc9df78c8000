//! The registry's own door, `/v0.1/`: who reads and writes there, and which page may see the answer.
//!
//! **Nobody reads more than they may reach**, unless the registry is everybody's; and nobody writes whose key or role does not say so.

mod added;
mod entries;
mod imports;
mod reviews;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::body::{self, Body, Reply};
use crate::control::answer::{Fault, answer};
use crate::control::operations::{Does, Governing, Listing, Operation, Place};
use crate::control::registry::entry::key;
use crate::control::registry::list::{self, Asked};
use crate::control::registry::{self};
use crate::control::who::{Operator, Role};
use crate::endpoint;
use crate::gateway::Gateway;
use crate::identity::AuthKind;
use crate::identity::Identity;
use crate::ports::Host;

/// The longest key of a record, in bytes.
const LONGEST: usize = 512;

/// Who comes to this door.
enum Caller {
    /// Who has the admin credential or has signed in.
    Governor(Operator),
    /// Who proves what agents prove.
    Agent(Arc<Identity>),
}

/// Who reads the registry.
enum Reader {
    /// Who sees all of it.
    All,
    /// Who sees what it may reach.
    Agent(Arc<Identity>),
    /// Who sees what their agents may reach.
    Member(Vec<Arc<str>>),
}

/// Who writes to it.
struct Writer {
    /// Under whose name.
    by: Operator,
    /// Whether it is somebody who governs, and not an agent that only publishes.
    governs: bool,
}

impl Caller {
    /// Returns what the trail calls them, and by what they are known.
    fn named(&self) -> (Arc<str>, AuthKind) {
        match self {
            Self::Governor(by) if by.session.is_some() => (by.principal.clone(), AuthKind::Session),
            Self::Governor(by) => (by.principal.clone(), AuthKind::Admin),
            Self::Agent(who) => (who.principal.clone().unwrap_or_default(), who.auth),
        }
    }

    fn into_reader(self) -> Reader {
        match self {
            Self::Governor(by) if by.role == Role::Member => Reader::Member(by.agents),
            Self::Governor(_) => Reader::All,
            Self::Agent(who) => Reader::Agent(who),
        }
    }
}

impl<H: Host> Gateway<H> {
    /// Tells whether a page of any origin may read what is asked, and forgets the origin then: a registry that is everybody's.
    pub(super) fn is_for_any_origin(&self, head: &mut Parts) -> bool {
        let reads = matches!(head.method, Method::GET | Method::OPTIONS);
        let is_so = reads
            && head.uri.path().starts_with(registry::ROOT)
            && self.0.snapshot.load().config.registry.public;
        if is_so {
            head.headers.remove(header::ORIGIN);
        }
        is_so
    }

    /// Answers a request to the registry.
    pub(super) async fn registry(&self, head: &mut Parts, body: Body) -> Reply {
        let path = head.uri.path().to_owned();
        let Some(place) = Place::find(&path) else { return endpoint::not_found() };
        let is_public = self.0.snapshot.load().config.registry.public;
        let mut reply = if head.method == Method::OPTIONS {
            body::empty(StatusCode::NO_CONTENT)
        } else {
            let done = match place.operation(head.method.as_str()) {
                Some(operation) => self.at_registry(head, body, (&place, operation)).await,
                None => Ok(endpoint::only(&place.allowed())),
            };
            done.unwrap_or_else(|fault| refused(&fault))
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

    async fn at_registry(
        &self,
        head: &mut Parts,
        body: Body,
        (place, operation): (&Place<'_>, &Operation),
    ) -> Result<Reply, Fault> {
        let Does::Govern(Governing::Listing(does)) = operation.does else { return Err(Fault::nowhere()) };
        let names = names(&place.values)?;
        if reads(does) && self.0.snapshot.load().config.registry.public {
            return self.read_registry(head, (does, &names), &Reader::All).await;
        }
        match self.caller(head).await? {
            Ok(caller) => self.at_registry_for(head, body, (does, &names), caller).await,
            Err(refused) => Ok(*refused),
        }
    }

    async fn at_registry_for(
        &self,
        head: &Parts,
        body: Body,
        (does, names): (Listing, &[String]),
        caller: Caller,
    ) -> Result<Reply, Fault> {
        if reads(does) {
            return self.read_registry(head, (does, names), &caller.into_reader()).await;
        }
        let (principal, auth) = caller.named();
        let done = match self.writer(caller) {
            Ok(writer) => self.write_registry(body, (does, names), &writer).await,
            Err(fault) => Err(fault),
        };
        let outcome = done.as_ref().map(|_| ()).map_err(|fault| (fault.status, &*fault.detail));
        self.record_governing(head, (&principal, auth), outcome);
        done
    }

    /// Returns who comes; the answer where nobody who is let in does.
    async fn caller(&self, head: &mut Parts) -> Result<Result<Caller, Box<Reply>>, Fault> {
        if self.0.admin_key.load_full().is_some_and(|admin| admin.is_in(&head.headers)) {
            return Ok(Ok(Caller::Governor(Operator::admin())));
        }
        if let Some(signed_in) = self.signed_in(head).await {
            return signed_in.map(|operator| Ok(Caller::Governor(operator)));
        }
        let snapshot = self.snapshot();
        Ok(self.let_in(head, &snapshot).await.map(Caller::Agent))
    }

    /// Returns the writer that a caller is, or why it is none.
    fn writer(&self, caller: Caller) -> Result<Writer, Fault> {
        let who = match caller {
            Caller::Governor(by) if matches!(by.role, Role::Admin | Role::Operator) => {
                return Ok(Writer { by, governs: true });
            }
            Caller::Governor(by) => return Err(Fault::role(by.role)),
            Caller::Agent(who) => who,
        };
        let publish = &self.0.snapshot.load().config.registry.publish;
        let may = publish.iter().any(|agent| agent.eq_ignore_ascii_case(&who.agent.name));
        match &who.principal {
            Some(principal) if may => {
                let (principal, role) = (principal.clone(), Role::Member);
                Ok(Writer { by: Operator { principal, role, ..Operator::admin() }, governs: false })
            }
            Some(_) => {
                Err(Fault::forbidden("the configuration's `registry.publish` does not name this agent"))
            }
            None => Err(Fault::stranger()),
        }
    }

    async fn write_registry(
        &self,
        body: Body,
        (does, names): (Listing, &[String]),
        writer: &Writer,
    ) -> Result<Reply, Fault> {
        let said = self.registry_body(body).await?;
        match (does, names) {
            (Listing::PublishServer, _) => self.publish(writer, said).await,
            (Listing::ChangeServerStatus, [name, version]) => {
                self.change_status(writer, &place(name, version)?, &said).await
            }
            (Listing::DeleteServerVersion, [name, version]) => {
                let said = json!({ "status": "deleted" });
                self.change_status(writer, &place(name, version)?, &said).await
            }
            (Listing::ChangeAllServerStatuses, [name]) => self.change_all(writer, name, &said).await,
            _ => Err(Fault::nowhere()),
        }
    }

    async fn registry_body(&self, body: Body) -> Result<Value, Fault> {
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        let body = body.collect(limit).await?;
        json_body(&body)
    }

    async fn read_registry(
        &self,
        head: &Parts,
        (does, names): (Listing, &[String]),
        reader: &Reader,
    ) -> Result<Reply, Fault> {
        let asked = Asked::read(head.uri.query())?;
        let unknown =
            || Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such server in the registry");
        let said = match (does, names) {
            (Listing::ListVersions, [name]) => {
                let versions = self.seen_entries(head, reader, &place(name, "")?).await?;
                let page = list::versions(versions, asked);
                if page["metadata"]["count"] == 0 {
                    return Err(unknown());
                }
                page
            }
            (Listing::ShowServerVersion, [name, version]) => {
                let versions = self.seen_entries(head, reader, &place(name, "")?).await?;
                list::version(versions, version, &asked).ok_or_else(unknown)?
            }
            _ => list::page(self.seen_entries(head, reader, "").await?, &asked),
        };
        Ok(answer(StatusCode::OK, &said))
    }
}

/// Tells whether nothing is changed by it.
fn reads(does: Listing) -> bool {
    matches!(does, Listing::ListServers | Listing::ListVersions | Listing::ShowServerVersion)
}

/// Returns the names in a path, decoded.
fn names(values: &[&str]) -> Result<Vec<String>, Fault> {
    values.iter().map(|value| endpoint::decode(value).ok_or_else(gone)).collect()
}

/// Returns the key of an entry; nothing lies under one that no record can have.
fn place(name: &str, version: &str) -> Result<String, Fault> {
    let key = key(name, version);
    if key.len() <= LONGEST && !key.contains(char::is_control) { Ok(key) } else { Err(gone()) }
}

/// Reads a body; one that is not there says nothing.
fn json_body(body: &[u8]) -> Result<Value, Fault> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body)
        .map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "malformed", "the body is not JSON"))
}

fn gone() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such entry in the registry")
}

fn busy(what: &str) -> Fault {
    let detail = format!("others write {what} all the time: try again");
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
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
