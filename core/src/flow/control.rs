//! The admin API: who may use it, what the store is asked, and what is put in force.
//!
//! **A configuration with an error is not stored, and one that the store has takes the place of a good one only where it is
//! one.** Without an admin credential there are no such paths.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::body::{Body, CollectError, Reply};
use crate::config::{Parsed, Problem, Processes, Severity};
use crate::control::answer::{Fault, answer, described, in_short, key, stamped, tag, whole};
use crate::control::decide::{Write, write};
use crate::control::request::{Condition, NewKey, Pushed, Resource, Rollback, page};
use crate::control::who::{Operator, Role};
use crate::control::{
    Appended, Document, InStore, Kept, Managed, Means, Revision, Revoked, Stamp, Strangers, understand,
    understand_text,
};
use crate::endpoint;
use crate::gateway::Gateway;
use crate::identity::{ApiKey, KeyRecord, KeyRing, knows};
use crate::ports::{ConfigStore, Host, KeyStore};
use crate::succession::Changes;
use crate::upstream::lock;

/// What came of a look at what the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is in force already, or was refused before.
    Same,
    /// It is in force now, and has changed this; these are its problems.
    InForce(Changes, Vec<Problem>),
    /// It is refused for these problems, and what was in force still is.
    Refused(Vec<Problem>),
}

/// A request whose body is there.
pub(super) struct Asked<'r> {
    pub(super) headers: &'r HeaderMap,
    pub(super) query: Option<&'r str>,
    pub(super) body: Bytes,
    /// Who asks.
    pub(super) operator: &'r Operator,
}

/// What somebody has the next version say.
pub(super) struct NextVersion<'o> {
    pub(super) document: Document,
    pub(super) note: String,
    pub(super) by: &'o Operator,
}

impl<H: Host> Gateway<H> {
    /// Puts the newest version of the store in force, unless it is already or cannot be. Never goes back to an older one.
    ///
    /// For hosts whose store may have been written to by another instance: they look from time to time.
    pub fn look_again(&self, newest: &Revision) -> Looked {
        let mut managed = lock(&self.0.managed);
        let Managed::ByStore(known) = &mut *managed else { return Looked::Same };
        if known.knows(&newest.stamp) {
            return Looked::Same;
        }
        let Stamp { version, .. } = newest.stamp;
        let parsed = self.means(known.strangers, |means| understand_text(&newest.text, means));
        if parsed.is_refused() {
            let reason = in_short(&parsed.problems);
            tracing::error!(version, %reason, "the configuration stays as it is: the newest version has errors");
            known.refuse(&newest.stamp, reason);
            return Looked::Refused(parsed.problems);
        }
        known.took(&newest.stamp);
        let changes = self.reload(parsed.config);
        tracing::info!(version, "another version of the configuration is in force");
        Looked::InForce(changes, parsed.problems)
    }

    /// Returns the version that the store's configuration has in force, and which newer one was refused and why; nothing
    /// where the configuration is not the store's.
    pub fn version_in_force(&self) -> Option<(u64, Option<(u64, String)>)> {
        match &*lock(&self.0.managed) {
            Managed::ByFiles(_) => None,
            Managed::ByStore(known) => {
                let refused = known.refused.as_ref();
                Some((known.version, refused.map(|refused| (refused.version, refused.reason.clone()))))
            }
        }
    }

    /// Works with what this host can do for a configuration.
    pub(super) fn means<T>(&self, strangers: Strangers, work: impl FnOnce(&Means<'_>) -> T) -> T {
        let env = |name: &str| self.host().variable(name);
        let processes =
            if self.host().starts_processes() { Processes::Started } else { Processes::NeverStarted };
        work(&Means { env: &env, processes, strangers })
    }

    /// Answers a request to the admin API.
    pub(super) async fn administer(&self, head: &Parts, body: Body) -> Reply {
        let operator = match self.operator(head).await {
            None => return endpoint::not_found(),
            Some(Ok(operator)) => operator,
            Some(Err(fault)) => return fault.reply(),
        };
        let done = self.administered(head, body, &operator).await;
        let reads = head.method == Method::GET;
        match done {
            Ok(reply) => {
                if !reads {
                    self.record_administration(head, &operator, Ok(()));
                }
                reply
            }
            Err(fault) => {
                self.record_administration(head, &operator, Err((fault.status, &fault.detail)));
                fault.reply()
            }
        }
    }

    async fn administered(&self, head: &Parts, body: Body, operator: &Operator) -> Result<Reply, Fault> {
        let nowhere = || {
            Fault::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path of the admin API")
        };
        let resource = Resource::find(head.uri.path()).ok_or_else(nowhere)?;
        let allowed = resource.methods();
        if !allowed.split(", ").any(|method| method == head.method.as_str()) {
            return Ok(endpoint::only(allowed));
        }
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        may(operator, resource)?;
        let body = body.collect(limit).await.map_err(|error| {
            let status = match error {
                CollectError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                CollectError::Broken(_) => StatusCode::BAD_REQUEST,
            };
            Fault::new(status, "body", error.to_string())
        })?;
        let asked = Asked { headers: &head.headers, query: head.uri.query(), body, operator };
        match resource {
            Resource::Config if head.method == Method::GET => self.show_newest(&asked).await,
            Resource::Config => self.push(&asked).await,
            Resource::Versions => self.show_history(&asked).await,
            Resource::Version(version) => self.show_version(version).await,
            Resource::Rollback => self.roll_back(&asked).await,
            Resource::Check => self.check(&asked).await,
            Resource::Keys if head.method == Method::GET => self.show_keys().await,
            Resource::Keys => self.make_key(&asked).await,
            Resource::Key(id) => self.revoke_key(id).await,
            #[cfg(feature = "control")]
            Resource::Fleet(order) => self.order(order, &head.method, &asked).await,
            Resource::Approvals => self.show_approvals().await,
            Resource::Approval(name) if head.method == Method::GET => self.show_approval(name).await,
            Resource::Approval(name) if head.method == Method::PUT => self.approve(name, &asked).await,
            Resource::Approval(name) => self.forget_approval(name, &asked).await,
            Resource::Connections => self.show_connections().await,
            Resource::ConnectionsOf(principal) => self.end_connections(principal).await,
            Resource::Secrets => self.show_secrets().await,
            Resource::Secret(name) if head.method == Method::PUT => self.set_secret(name, &asked).await,
            Resource::Secret(name) => self.remove_secret(name).await,
            #[cfg(feature = "control")]
            Resource::Sessions => self.show_sessions(&asked).await,
            #[cfg(feature = "control")]
            Resource::Session(id) => self.end_session_of(id, &asked).await,
        }
    }

    /// Returns where the configuration lies, and whether strangers may be served; refuses where it is not the store's.
    pub(super) fn stored(&self) -> Result<(&dyn ConfigStore, Strangers), Fault> {
        let strangers = match &*lock(&self.0.managed) {
            Managed::ByStore(known) => known.strangers,
            Managed::ByFiles(origin) => {
                let detail = format!(
                    "this gateway serves {origin}: change that file, or start the gateway with `--config remote` to \
                     configure it from elsewhere"
                );
                return Err(Fault::new(StatusCode::CONFLICT, "configured-by-files", detail));
            }
        };
        let none =
            || Fault::new(StatusCode::NOT_FOUND, "no-store", "this gateway's host keeps no configurations");
        Ok((&**self.host().configurations().ok_or_else(none)?, strangers))
    }

    /// Returns where the keys lie.
    pub(super) fn key_store(&self) -> Result<&dyn KeyStore, Fault> {
        let none = || Fault::new(StatusCode::NOT_FOUND, "no-store", "this gateway's host keeps no keys");
        Ok(&**self.host().keys().ok_or_else(none)?)
    }

    async fn show_newest(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (store, _) = self.stored()?;
        let newest = store.newest().await?;
        let version = newest.as_ref().map_or(0, |newest| newest.stamp.version);
        let known = asked.headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        if known.is_some_and(|known| known.trim_start_matches("W/") == format!("\"{version}\"")) {
            return Ok(tag(crate::body::empty(StatusCode::NOT_MODIFIED), Some(version)));
        }
        Ok(match newest {
            Some(newest) => revealed(&newest),
            None => tag(answer(StatusCode::OK, &whole(None, &Document::default())), Some(0)),
        })
    }

    async fn show_version(&self, version: u64) -> Result<Reply, Fault> {
        let (store, _) = self.stored()?;
        let found = store.revision(version).await?;
        found.as_ref().map(revealed).ok_or_else(|| Fault::no_version(version))
    }

    async fn show_history(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (store, _) = self.stored()?;
        let (before, most) = page(asked.query)?;
        let stamps = store.history(before, most).await?;
        let next = stamps.last().map(|last| last.version).filter(|last| *last > 1);
        let versions: Vec<_> = stamps.iter().map(stamped).collect();
        Ok(answer(StatusCode::OK, &json!({ "versions": versions, "next": next })))
    }

    async fn push(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (store, strangers) = self.stored()?;
        let condition = Condition::required(asked.headers)?;
        let Pushed { mut document, note } = Pushed::read(asked.headers, &asked.body)?;
        let newest = store.newest().await?;
        document.keep_approvals(newest.as_ref());
        self.store(store, (newest, condition, strangers), NextVersion { document, note, by: asked.operator })
            .await
    }

    async fn roll_back(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (store, strangers) = self.stored()?;
        let condition = Condition::of(asked.headers)?.unwrap_or(Condition::Any);
        let Rollback { to, note } = Rollback::read(asked.headers, &asked.body)?;
        let earlier = store.revision(to).await?.ok_or_else(|| Fault::no_version(to))?;
        let newest = store.newest().await?;
        let mut document = Document::kept(&earlier.text);
        document.keep_approvals(newest.as_ref());
        self.store(store, (newest, condition, strangers), NextVersion { document, note, by: asked.operator })
            .await
    }

    /// Stores a document as the next version, and puts it in force.
    async fn store(
        &self,
        store: &dyn ConfigStore,
        (newest, condition, strangers): (Option<Revision>, Condition, Strangers),
        NextVersion { document, note, by }: NextVersion<'_>,
    ) -> Result<Reply, Fault> {
        if let Managed::ByStore(InStore { governed: Some(url), .. }) = &*lock(&self.0.managed) {
            let detail = format!("{url} says what this gateway serves: change it there");
            return Err(Fault::new(StatusCode::CONFLICT, "governed", detail));
        }
        let by = (&*by.principal, note, self.host().now());
        let next = match write(newest.as_ref().map(|newest| &newest.stamp), condition, document.to_text(), by)
        {
            Write::Conflict(newest) => return Err(Fault::conflict(newest)),
            Write::Unchanged(stamp) => {
                let problems = self.examined(&document, strangers).await?;
                newest.inspect(|newest| self.put_in_force(newest));
                return Ok(written(StatusCode::OK, &stamp, false.into(), &problems));
            }
            Write::Store(next) => next,
        };
        let problems = self.examined(&document, strangers).await?;
        if let Appended::Behind(newest) = store.append(next.clone()).await? {
            return Err(Fault::conflict(newest));
        }
        self.put_in_force(&next);
        let status = if next.stamp.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
        Ok(written(status, &next.stamp, true.into(), &problems))
    }

    /// Stores a document as the version after `newest`, and puts it in force; tells whether it still was the newest.
    pub(super) async fn store_next(
        &self,
        store: &dyn ConfigStore,
        newest: Revision,
        strangers: Strangers,
        said: NextVersion<'_>,
    ) -> Result<bool, Fault> {
        match self.store(store, (Some(newest), Condition::Any, strangers), said).await {
            Ok(_) => Ok(true),
            Err(fault) if fault.status == StatusCode::PRECONDITION_FAILED => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Puts a version in force that has just been examined, also where it was refused before.
    fn put_in_force(&self, revision: &Revision) {
        if let Managed::ByStore(known) = &mut *lock(&self.0.managed) {
            known.refused = None;
        }
        self.look_again(revision);
    }

    /// Returns what is to be said of a document that can be served; refuses one with an error.
    async fn examined(&self, document: &Document, strangers: Strangers) -> Result<Vec<Problem>, Fault> {
        let problems = self.problems_of(document, strangers).await;
        if has_error(&problems) { Err(Fault::invalid(&problems)) } else { Ok(problems) }
    }

    /// Returns what is wrong with a document, secrets that are not there included.
    async fn problems_of(&self, document: &Document, strangers: Strangers) -> Vec<Problem> {
        let Parsed { mut problems, secrets, .. } = self.means(strangers, |means| understand(document, means));
        problems.extend(self.missing_secrets(&secrets).await);
        problems
    }

    /// Says what would be said of a configuration if it were pushed.
    async fn check(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let strangers = self.stored().map_or(Strangers::Admitted, |(_, strangers)| strangers);
        let pushed = Pushed::read(asked.headers, &asked.body)?;
        let problems = self.problems_of(&pushed.document, strangers).await;
        let said = json!({ "valid": !has_error(&problems), "problems": listed(&problems) });
        Ok(answer(StatusCode::OK, &said))
    }

    async fn show_keys(&self) -> Result<Reply, Fault> {
        let now = self.host().now();
        let keys: Vec<_> = self.key_store()?.all().await?.iter().map(|kept| key(kept, now)).collect();
        Ok(answer(StatusCode::OK, &json!({ "keys": keys })))
    }

    async fn make_key(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let NewKey { agent, expires, comment } = NewKey::read(asked.headers, &asked.body)?;
        let now = self.host().now();
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Fault::field("expires", "expected a time to come"));
        }
        let secret = ApiKey::generate(self.host());
        let hash = secret.hash();
        let (id, agent) = (hash.id().into(), agent.into());
        let record = KeyRecord { id, agent, hash, created: now, expires, revoked: None, comment };
        let store = self.key_store()?;
        store.add(record.clone()).await?;
        self.read_keys(store).await?;
        let is_known = knows(&self.0.snapshot.load().config.policy, &record.agent);
        let mut said = key(&Kept { record, used: None }, now);
        said["key"] = secret.reveal().into();
        said["agent_known"] = is_known.into();
        Ok(answer(StatusCode::CREATED, &said))
    }

    async fn revoke_key(&self, id: &str) -> Result<Reply, Fault> {
        let now = self.host().now();
        let store = self.key_store()?;
        let revoked = store.revoke(id.to_owned(), now).await?;
        let unknown = || Fault::new(StatusCode::NOT_FOUND, "no-key", "there is no key with that id");
        if revoked == Revoked::Unknown {
            return Err(unknown());
        }
        let kept = self.read_keys(store).await?;
        let kept = kept.iter().find(|kept| *kept.record.id == *id).ok_or_else(unknown)?;
        Ok(answer(StatusCode::OK, &key(kept, now)))
    }

    /// Puts the keys in force that the store has now; returns them.
    pub(super) async fn read_keys(&self, store: &dyn KeyStore) -> Result<Vec<Kept>, Fault> {
        let mut kept = store.all().await?;
        loop {
            self.set_keys(KeyRing::new(kept.iter().map(|kept| kept.record.clone())));
            let now = store.all().await?;
            // Somebody else may have put older ones in force meanwhile, or newer ones that this undid.
            if records(&now).eq(records(&kept)) {
                return Ok(now);
            }
            kept = now;
        }
    }
}

/// Refuses who may not use a resource.
fn may(operator: &Operator, resource: Resource<'_>) -> Result<(), Fault> {
    let _ = resource;
    match operator.role {
        Role::Admin => Ok(()),
        #[cfg(feature = "control")]
        _ if matches!(resource, Resource::Sessions | Resource::Session(_)) => Ok(()),
        // Who may order what, is decided with the order.
        #[cfg(feature = "control")]
        Role::Operator | Role::Auditor if matches!(resource, Resource::Fleet(_)) => Ok(()),
        _ => Err(Fault::forbidden("this needs the role `admin`")),
    }
}

fn records(kept: &[Kept]) -> impl Iterator<Item = &KeyRecord> {
    kept.iter().map(|kept| &kept.record)
}

fn revealed(revision: &Revision) -> Reply {
    let said = whole(Some(&revision.stamp), &Document::kept(&revision.text));
    tag(answer(StatusCode::OK, &said), Some(revision.stamp.version))
}

fn written(status: StatusCode, stamp: &Stamp, changed: Value, problems: &[Problem]) -> Reply {
    let mut said = stamped(stamp);
    said["changed"] = changed;
    said["problems"] = listed(problems);
    tag(answer(status, &said), Some(stamp.version))
}

fn listed(problems: &[Problem]) -> Value {
    problems.iter().map(described).collect()
}

fn has_error(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}
