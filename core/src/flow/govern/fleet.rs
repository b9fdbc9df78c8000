//! What those who govern order of the fleet: who may enrol, who is no longer in it, and which version goes where.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::body::Reply;
use crate::control::answer::{Fault, answer, moment};
use crate::control::fleet::asked::{NewEnrolment, to_all};
use crate::control::fleet::member::{Member, Own, Pending};
use crate::control::fleet::rollout::{Course, Plan, Rollout};
use crate::control::fleet::{EnrolmentToken, fingerprint, is_id, new_id, text_of};
use crate::control::operations::Order;
use crate::control::session::part_of_list;
use crate::flow::control::Asked;
use crate::flow::fleet::{ENROLMENTS, FLEET, GATEWAY, ROLLOUTS, read, understood, write};
use crate::gateway::Gateway;
use crate::ports::{Host, RecordKey, RecordStore};
use crate::session::Purpose;

/// How many records are read at a time.
const PAGE: usize = 500;

impl<H: Host> Gateway<H> {
    /// Does what is ordered.
    pub(super) async fn order(&self, order: Order, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let id = asked.value();
        if !id.is_empty() && !is_id(id) {
            return Err(Fault::nowhere());
        }
        match order {
            Order::ShowGateways => self.show_gateways(asked).await,
            Order::ShowGateway => self.show_gateway(id).await,
            Order::RemoveGateway => self.remove_record(GATEWAY, id, "gateway").await,
            Order::ShowEnrolments => self.show_enrolments(asked).await,
            Order::MakeEnrolment => self.make_enrolment(asked).await,
            Order::WithdrawEnrolment => self.remove_record(ENROLMENTS, id, "enrolment").await,
            Order::ShowRollouts => self.show_rollouts(asked).await,
            Order::BeginRollout => self.begin_rollout(asked).await,
            Order::ShowRollout => self.show_rollout(id).await,
            Order::PromoteRollout => self.promote_rollout(id, asked).await,
            Order::AbortRollout => self.abort_rollout(id, asked).await,
        }
    }

    /// Returns the control plane's own keys, made where there are none.
    async fn own_keys(&self, records: &dyn RecordStore) -> Result<Own, Fault> {
        if let Some(own) = read(records, FLEET, "own").await? {
            return Ok(own);
        }
        let mut seed = [0; 32];
        self.host().fill(&mut seed);
        let unable =
            |error| Fault::new(StatusCode::NOT_IMPLEMENTED, "no-signing", format!("a fleet {error}"));
        let key = self.host().sign_with_seed(seed, Vec::new()).await.map_err(unable)?.key;
        let seed = self.0.sealer.seal(self.host(), Purpose::Fleet, &seed);
        let own = Own { fleet: fingerprint(&key), seed, key: text_of(&key), next: None };
        if write(records, (FLEET, "own"), None, &own).await? {
            return Ok(own);
        }
        // Somebody else was first.
        read(records, FLEET, "own").await?.ok_or_else(|| {
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the fleet's key was not kept")
        })
    }

    /// Makes a token by which one gateway can enrol, once.
    async fn make_enrolment(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let now = self.host().now();
        let NewEnrolment { name, labels, expires } = NewEnrolment::read(asked.headers, &asked.body, now)?;
        self.stored()?;
        let records = self.record_store()?;
        if all::<Member>(records, GATEWAY).await?.iter().any(|member| member.name == name) {
            let detail =
                format!("there is a gateway {name:?} already: remove it first, or choose another name");
            return Err(Fault::new(StatusCode::CONFLICT, "name", detail));
        }
        let own = self.own_keys(records).await?;
        let token = EnrolmentToken::generate(self.host(), own.fleet.clone());
        let unable =
            |error| Fault::new(StatusCode::NOT_IMPLEMENTED, "no-signing", format!("a fleet {error}"));
        let key = self.host().sign_with_seed(token.seed, Vec::new()).await.map_err(unable)?.key;
        let by = asked.operator.principal.to_string();
        let pending =
            Pending { id: token.id.clone(), name, labels, key: text_of(&key), made: now, expires, by };
        let text = serde_json::to_string(&pending).expect("texts and numbers are JSON");
        let kept = records
            .replace(RecordKey::new(ENROLMENTS, &*pending.id), None, Some(text), Some(expires))
            .await?;
        if !kept {
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the enrolment was not kept"));
        }
        let mut said = pending.described();
        said["token"] = token.reveal().into();
        said["fleet"] = own.fleet.into();
        Ok(answer(StatusCode::CREATED, &said))
    }

    /// Lists the enrolments that wait.
    async fn show_enrolments(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let now = self.host().now();
        let pending = all::<Pending>(self.record_store()?, ENROLMENTS).await?;
        let waiting = pending.iter().filter(|pending| pending.expires > now);
        listed(asked, waiting.map(Pending::described).collect())
    }

    /// Removes what is known of an enrolment, or of a gateway: what that one proves counts no more.
    async fn remove_record(&self, collection: &'static str, id: &str, what: &str) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        let key = RecordKey::new(collection, id);
        // It may be written at the same time.
        while let Some(text) = records.get(key.clone()).await? {
            if records.replace(key.clone(), Some(text), None, None).await? {
                return Ok(answer(StatusCode::OK, &json!({ "id": id, "removed": true })));
            }
        }
        Err(Fault::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}")))
    }

    /// Lists the gateways of the fleet.
    async fn show_gateways(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        let (course, newest) = self.fleet_course(records).await?;
        let now = self.host().now();
        let described =
            |member: &Member| member.described(course.version_for(&member.name, &member.labels, newest), now);
        listed(asked, all(records, GATEWAY).await?.iter().map(described).collect())
    }

    /// Shows one gateway.
    async fn show_gateway(&self, id: &str) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        let none = || Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such gateway");
        let member: Member = read(records, GATEWAY, id).await?.ok_or_else(none)?;
        let (course, newest) = self.fleet_course(records).await?;
        let wanted = course.version_for(&member.name, &member.labels, newest);
        Ok(answer(StatusCode::OK, &member.described(wanted, self.host().now())))
    }

    async fn fleet_course(&self, records: &dyn RecordStore) -> Result<(Course, u64), Fault> {
        let newest = match self.stored() {
            Ok((store, _)) => store.newest().await?.map_or(0, |newest| newest.stamp.version),
            Err(_) => 0,
        };
        Ok((read(records, FLEET, "course").await?.unwrap_or_default(), newest))
    }

    /// Lists the rollouts: the open one first, then those that have ended, the newest first.
    async fn show_rollouts(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        let (course, _) = self.fleet_course(records).await?;
        let mut ended = all::<Rollout>(records, ROLLOUTS).await?;
        ended.sort_by_key(|rollout| std::cmp::Reverse(rollout.began));
        listed(asked, course.open.iter().chain(&ended).map(described).collect())
    }

    /// Shows one rollout.
    async fn show_rollout(&self, id: &str) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        let (course, _) = self.fleet_course(records).await?;
        let found = match course.open.filter(|open| open.id == id) {
            Some(open) => Some(open),
            None => read(records, ROLLOUTS, id).await?,
        };
        let found = found.ok_or_else(no_rollout)?;
        Ok(answer(StatusCode::OK, &described(&found)))
    }

    /// Begins a rollout.
    async fn begin_rollout(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let plan = Plan::read(asked.headers, &asked.body)?;
        self.stored()?;
        let who = (new_id(self.host()), asked.operator.principal.to_string(), self.host().now());
        let begin = |course: &Course, newest| {
            let next = course.begin(plan.clone(), newest, who.clone());
            let next = next.map_err(|why| Fault::new(StatusCode::CONFLICT, "rollout", why.to_string()))?;
            let open = next.open.clone().ok_or_else(no_rollout)?;
            Ok((next, open))
        };
        self.change_course(begin, StatusCode::CREATED).await
    }

    /// Has a rollout go on.
    async fn promote_rollout(&self, id: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let to_all = to_all(asked.headers, &asked.body)?;
        let who = (&*asked.operator.principal, self.host().now());
        let promote = |course: &Course, newest: u64| {
            if course.open.as_ref().is_some_and(|open| open.id == id && open.version > newest) {
                let detail = "the version is not pushed yet";
                return Err(Fault::new(StatusCode::CONFLICT, "rollout", detail));
            }
            course.promote(id, to_all, newest, who).ok_or_else(no_rollout)
        };
        self.change_course(promote, StatusCode::OK).await
    }

    /// Has a rollout go back.
    async fn abort_rollout(&self, id: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let who = (&*asked.operator.principal, self.host().now());
        let abort = |course: &Course, newest| course.abort(id, newest, who).ok_or_else(no_rollout);
        self.change_course(abort, StatusCode::OK).await
    }

    async fn change_course(
        &self,
        change: impl Fn(&Course, u64) -> Result<(Course, Rollout), Fault>,
        status: StatusCode,
    ) -> Result<Reply, Fault> {
        let records = self.record_store()?;
        loop {
            let text = records.get(RecordKey::new(FLEET, "course")).await?;
            let course = text.as_deref().map(understood::<Course>).transpose()?.unwrap_or_default();
            let (_, newest) = self.fleet_course(records).await?;
            let (next, rollout) = change(&course, newest)?;
            if write(records, (FLEET, "course"), text, &next).await? {
                if next.open.is_none() {
                    write(records, (ROLLOUTS, &rollout.id), None, &rollout).await?;
                }
                return Ok(answer(status, &described(&rollout)));
            }
        }
    }
}

fn no_rollout() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not-found", "there is no such rollout, or it has ended")
}

fn described(rollout: &Rollout) -> Value {
    let mut said = serde_json::to_value(rollout).unwrap_or_default();
    said["began"] = moment(rollout.began).into();
    said["ended"] = rollout.ended.map(moment).into();
    said
}

/// Answers with the part of a list that is asked for; each of its items has an id.
fn listed(asked: &Asked<'_>, mut items: Vec<Value>) -> Result<Reply, Fault> {
    let (after, most) = part_of_list(asked.query)?;
    if let Some(after) = after {
        let passed = items.iter().position(|item| item["id"] == *after).map_or(items.len(), |at| at + 1);
        items.drain(..passed);
    }
    let more = items.len() > most;
    items.truncate(most);
    let next = items.last().filter(|_| more).map(|item| item["id"].clone());
    Ok(answer(StatusCode::OK, &json!({ "items": items, "next": next })))
}

/// Reads all records of a collection.
async fn all<T: DeserializeOwned>(
    records: &dyn RecordStore,
    collection: &'static str,
) -> Result<Vec<T>, Fault> {
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = records.page(collection, after, PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        for (_, text) in &page {
            read.push(understood(text)?);
        }
        if !full {
            return Ok(read);
        }
    }
}
