//! The admin API: who may use it, what the store is asked, and what is put in force.
//!
//! **A configuration with an error is not stored, and one that the store has takes the place of a good one only where it is
//! one.** Without an admin credential there are no such paths.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::trail::Reading;
use crate::body::{Body, Reply};
use crate::config::{Parsed, Problem, Processes, Severity};
use crate::control::answer::{Fault, answer, described, in_short, key, stamped, tag, whole};
use crate::control::decide::{Write, write};
use crate::control::operations::{self, Does, Place, Reach};
use crate::control::request::{Condition, NewKey, Pushed, Rollback, page};
use crate::control::who::Operator;
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
    /// What the host says of the request.
    #[cfg(feature = "control")]
    pub(super) extensions: &'r http::Extensions,
    pub(super) query: Option<&'r str>,
    pub(super) body: Bytes,
    /// Who asks.
    pub(super) operator: &'r Operator,
    /// How far they may.
    pub(super) reach: Reach,
    /// What the names in the path's pattern stand for, as they are spelt in the path.
    pub(super) values: Vec<&'r str>,
}

impl<'r> Asked<'r> {
    /// Returns what the last name of the path stands for, as it is spelt there.
    pub(super) fn value(&self) -> &'r str {
        self.values.last().copied().unwrap_or_default()
    }

    /// Returns the number that the path ends with.
    pub(super) fn number(&self) -> Result<u64, Fault> {
        operations::number(self.value()).ok_or_else(Fault::nowhere)
    }

    /// Tells whether what concerns an agent is theirs to see and change.
    pub(super) fn reaches_agent(&self, agent: &str) -> bool {
        self.reach == Reach::All || self.operator.agents.iter().any(|own| **own == *agent)
    }

    /// Tells whether a key is theirs to see and revoke.
    fn reaches_key(&self, key: &KeyRecord) -> bool {
        self.reach == Reach::All || key.owner.as_ref() == Some(&self.operator.principal)
    }

    /// Tells whether what is a principal's is theirs to see and change.
    pub(super) fn reaches_principal(&self, principal: &str) -> bool {
        self.reach == Reach::All || *self.operator.principal == *principal
    }
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
        match self.operator(head).await {
            None => endpoint::not_found(),
            Some(Ok(operator)) => self.administer_for(head, body, &operator).await,
            Some(Err(fault)) => fault.reply(),
        }
    }

    /// Answers a request of somebody who governs.
    pub(super) async fn administer_for(&self, head: &Parts, body: Body, operator: &Operator) -> Reply {
        let done = self.administered(head, body, operator).await;
        let reads = head.method == Method::GET;
        match done {
            Ok(reply) => {
                if !reads {
                    self.record_administration(head, operator, Ok(()));
                }
                reply
            }
            Err(fault) => {
                self.record_administration(head, operator, Err((fault.status, &fault.detail)));
                fault.reply()
            }
        }
    }

    async fn administered(&self, head: &Parts, body: Body, operator: &Operator) -> Result<Reply, Fault> {
        let place = Place::find(head.uri.path()).ok_or_else(Fault::nowhere)?;
        let Some(operation) = place.operation(head.method.as_str()) else {
            return Ok(endpoint::only(&place.allowed()));
        };
        let reach = operation.audience.reach(operator.role).ok_or_else(|| Fault::role(operator.role))?;
        let limit = self.0.snapshot.load().config.gateway.request_limit;
        let body = body.collect(limit).await?;
        let asked = Asked {
            headers: &head.headers,
            #[cfg(feature = "control")]
            extensions: &head.extensions,
            query: head.uri.query(),
            body,
            operator,
            reach,
            values: place.values,
        };
        #[cfg(feature = "control")]
        return Box::pin(self.done_once((operation, head), &asked)).await;
        #[cfg(not(feature = "control"))]
        self.done(operation.does, &asked).await
    }

    /// Does what an operation is.
    pub(super) async fn done(&self, does: Does, asked: &Asked<'_>) -> Result<Reply, Fault> {
        match does {
            Does::ShowConfiguration => self.show_newest(asked).await,
            Does::Push => self.push(asked).await,
            Does::ShowVersions => self.show_history(asked).await,
            Does::ShowVersion => self.show_version(asked.number()?).await,
            Does::RollBack => self.roll_back(asked).await,
            Does::Check => self.check(asked).await,
            Does::ShowKeys => self.show_keys(asked).await,
            Does::MakeKey => self.make_key(asked).await,
            Does::RevokeKey => self.revoke_key(asked).await,
            Does::ShowApprovals => self.show_approvals().await,
            Does::ShowApproval => self.show_approval(asked.value()).await,
            Does::Approve => self.approve(asked.value(), asked).await,
            Does::ForgetApproval => self.forget_approval(asked.value(), asked).await,
            Does::ShowConnections => self.show_connections(asked).await,
            Does::EndConnections => self.end_connections(asked).await,
            Does::ShowSecrets => self.show_secrets().await,
            Does::SetSecret => self.set_secret(asked.value(), asked).await,
            Does::RemoveSecret => self.remove_secret(asked.value()).await,
            Does::ReadTrail => self.read_trail(asked, Reading::Page).await,
            Does::ExportTrail => self.read_trail(asked, Reading::Export).await,
            Does::VerifyTrail => self.read_trail(asked, Reading::Verify).await,
            #[cfg(feature = "control")]
            Does::Govern(does) => Box::pin(self.govern(does, asked)).await,
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
    pub(super) async fn store(
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
    pub(super) async fn examined(
        &self,
        document: &Document,
        strangers: Strangers,
    ) -> Result<Vec<Problem>, Fault> {
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

    async fn show_keys(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let now = self.host().now();
        let kept = self.key_store()?.all().await?;
        let reached = kept.iter().filter(|kept| asked.reaches_key(&kept.record));
        let keys: Vec<_> = reached.map(|kept| key(kept, now)).collect();
        Ok(answer(StatusCode::OK, &json!({ "keys": keys })))
    }

    async fn make_key(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let NewKey { agent, expires, comment } = NewKey::read(asked.headers, &asked.body)?;
        let now = self.host().now();
        if expires.is_some_and(|expires| expires <= now) {
            return Err(Fault::field("expires", "expected a time to come"));
        }
        if !asked.reaches_agent(&agent) {
            return Err(Fault::new(StatusCode::NOT_FOUND, "no-agent", "you have no agent of that name"));
        }
        let secret = ApiKey::generate(self.host());
        let hash = secret.hash();
        let (id, agent) = (hash.id().into(), agent.into());
        let owner = (asked.reach == Reach::Own).then(|| asked.operator.principal.clone());
        let created_by = Some(asked.operator.principal.clone());
        let record =
            KeyRecord { id, agent, hash, created: now, expires, revoked: None, comment, owner, created_by };
        let store = self.key_store()?;
        store.add(record.clone()).await?;
        self.read_keys(store).await?;
        let is_known = knows(&self.0.snapshot.load().config.policy, &record.agent);
        let mut said = key(&Kept { record, used: None }, now);
        said["key"] = secret.reveal().into();
        said["agent_known"] = is_known.into();
        Ok(answer(StatusCode::CREATED, &said))
    }

    async fn revoke_key(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (id, now) = (asked.value(), self.host().now());
        let store = self.key_store()?;
        let unknown = || Fault::new(StatusCode::NOT_FOUND, "no-key", "there is no key with that id");
        if asked.reach == Reach::Own {
            let is_theirs = |kept: &Kept| *kept.record.id == *id && asked.reaches_key(&kept.record);
            store.all().await?.iter().find(|kept| is_theirs(kept)).ok_or_else(unknown)?;
        }
        let revoked = store.revoke(id.to_owned(), now).await?;
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
