//! What governed gateways ask of the control plane: to enrol, for their snapshot, and to be heard.
//!
//! **Who asks is proved before anything is told**, and one who is not a gateway of the fleet learns nothing, not even which
//! gateways there are. A gateway that waits holds nothing but its request.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::{self, Body, Reply};
use crate::control::answer::{Fault, kept_from_caches};
use crate::control::fleet::asked::{Enrols, Step, no_enrolment, poll, unknown};
use crate::control::fleet::member::{Content, Member, Own, Pending, Report};
use crate::control::fleet::rollout::Course;
use crate::control::fleet::{
    ENROLMENT, Enrolment, Proof, SIGNATURE, SNAPSHOT, bytes_of, signature_of, text_of,
};
use crate::control::{Ahead, Document, Managed};
use crate::endpoint;
use crate::gateway::Gateway;
use crate::oauth::PublicKey;
use crate::ports::{Host, Place, RecordKey, RecordStore, Signed};
use crate::session::Purpose;
use crate::upstream::lock;

/// The largest body of a gateway's request, in bytes.
const LARGEST: usize = 1 << 20;
/// The largest one of a gateway of the fleet that forwards its trail.
const LARGEST_TRAIL: usize = 32 << 20;
/// How often it is looked whether there is something else for a gateway that waits.
const LOOK: Duration = Duration::from_secs(1);
/// For how long a nonce is remembered: longer than its time could count.
const REMEMBERED: u64 = 600_000;
/// How often a record is written again that somebody else has written meanwhile.
const ATTEMPTS: usize = 10;

/// The collections of the fleet.
pub(super) const FLEET: &str = "fleet";
pub(super) const GATEWAY: &str = "gateway";
pub(super) const ENROLMENTS: &str = "enrolment";
pub(super) const ROLLOUTS: &str = "rollout";
const NONCES: &str = "fleet-nonce";

impl<H: Host> Gateway<H> {
    /// Answers a request of a governed gateway, or of one that wants to be.
    pub(super) async fn answer_fleet(&self, head: &Parts, body: Body, step: Step) -> Reply {
        let governs = matches!(&*lock(&self.0.managed), Managed::ByStore(known) if known.governed.is_none());
        let Some(records) = self.host().records().filter(|_| governs) else { return endpoint::not_found() };
        // There is a fleet once somebody who may has made the first enrolment.
        let own = match read::<Own>(&**records, FLEET, "own").await {
            Ok(Some(own)) => own,
            Ok(None) => return endpoint::not_found(),
            Err(fault) => return fault.reply(),
        };
        if head.method.as_str() != step.method() {
            return endpoint::only(step.method());
        }
        let answered = async {
            let with = (&**records, &own);
            let is_large = step == Step::Trail && self.may_be_member(&**records, head).await?;
            let body = body.collect(if is_large { LARGEST_TRAIL } else { LARGEST }).await?;
            match step {
                Step::Enrol => self.enrol(with, head, &body).await,
                Step::Snapshot => self.give_snapshot(with, head, &body).await,
                Step::Report => self.take_report(with, head, &body).await,
                Step::Trail => {
                    let member = self.proven(with, head, &body).await?;
                    self.take_trail(&**records, &member, (head, &body)).await
                }
            }
        };
        let answered = answered.await;
        let refused = answered.as_ref().err().filter(|fault| fault.status.is_client_error());
        if step == Step::Enrol || refused.is_some() {
            self.record_gateway(head, refused.map(|fault| (fault.status, &*fault.detail)));
        }
        answered.unwrap_or_else(|fault| fault.reply())
    }

    /// Takes a gateway into the fleet that shows an enrolment which waits, and uses that up.
    async fn enrol(
        &self,
        (records, own): (&dyn RecordStore, &Own),
        head: &Parts,
        body: &Bytes,
    ) -> Result<Reply, Fault> {
        let asked = Enrols::read(body).filter(|asked| asked.fleet == own.fleet).ok_or_else(no_enrolment)?;
        let key = RecordKey::new(ENROLMENTS, &*asked.enrolment);
        let text = records.get(key.clone()).await?.ok_or_else(no_enrolment)?;
        let pending: Pending = understood(&text)?;
        let now = self.host().now();
        // By the token's key, and by that of the gateway: it is there, and nobody has put another in its place.
        let signatures = signatures(&head.headers, 2);
        let signed = [&*pending.key, &*asked.key].into_iter().zip(&signatures);
        for (key, signature) in signed {
            if !self.has_signed(key, (ENROLMENT, body), signature).await {
                return Err(no_enrolment());
            }
        }
        if signatures.len() != 2 || pending.expires <= now {
            return Err(no_enrolment());
        }
        if !records.replace(key, Some(text), None, None).await? {
            return Err(no_enrolment());
        }
        let member = Member {
            id: crate::control::fleet::new_id(self.host()),
            name: pending.name,
            labels: pending.labels,
            key: asked.key.clone(),
            host: asked.host,
            program: asked.program,
            enrolled: now,
            by: pending.by,
            issued: None,
            seen: now,
            report: None,
        };
        if !write(records, (GATEWAY, &member.id), None, &member).await? {
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the gateway was not kept"));
        }
        tracing::info!(gateway = %member.id, name = %member.name, "a gateway has joined the fleet");
        let said = Enrolment { gateway: member.id, for_key: asked.key, key: own.key.clone() };
        let said = serde_json::to_vec(&said).expect("texts are JSON");
        self.signed_answer(own, ENROLMENT, said).await
    }

    /// Gives a gateway what is for it, once that is something else than it has.
    async fn give_snapshot(
        &self,
        with: (&dyn RecordStore, &Own),
        head: &Parts,
        body: &Bytes,
    ) -> Result<Reply, Fault> {
        let mut member = self.proven(with, head, body).await?;
        let (known, wait) = poll(head.uri.query())?;
        let began = self.host().now();
        // Where requests cost for as long as they last, nobody waits.
        let until = if self.host().place() == Place::Process { began + wait } else { began };
        loop {
            let own = read::<Own>(with.0, FLEET, "own").await?.ok_or_else(unknown)?;
            if let Some(bytes) = self.issue_for((with.0, &own), &member, known).await? {
                return self.signed_answer(&own, SNAPSHOT, bytes).await;
            }
            if self.host().now() >= until {
                return Ok(kept_from_caches(body::empty(StatusCode::NOT_MODIFIED)));
            }
            self.host().sleep(LOOK).await;
            // It may have been removed meanwhile.
            member = read(with.0, GATEWAY, &member.id).await?.ok_or_else(unknown)?;
        }
    }

    /// Returns the bytes of what is for a gateway that has the snapshot `known`; nothing where it has that.
    async fn issue_for(
        &self,
        (records, own): (&dyn RecordStore, &Own),
        member: &Member,
        known: u64,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let (store, _) = self.stored()?;
        let newest = store.newest().await?.map_or(0, |newest| newest.stamp.version);
        let course = read::<Course>(records, FLEET, "course").await?.unwrap_or_default();
        let version = course.version_for(&member.name, &member.labels, newest);
        let Some(revision) = store.revision(version).await? else { return Ok(None) };
        let keys = self.key_store()?.all().await?.into_iter().map(|kept| kept.record).collect();
        let keys = self.whose_owners_are_there(keys).await?;
        let next_key = own.next.as_ref().map(|(key, _)| key.clone());
        let mut document = revision.text;
        if let Some((version, agents)) = course.ahead_at(&member.name, &member.labels, newest)
            && let Some(ahead) = store.revision(version).await?
        {
            let ahead = Ahead { version, agents, document: Box::new(Document::kept(&ahead.text)) };
            document = Document { ahead: Some(ahead), ..Document::kept(&document) }.to_text();
        }
        let content = Content { version, document, keys, next_key };
        let mut member = member.clone();
        for _ in 0..ATTEMPTS {
            let Some((snapshot, noted)) = member.issue(content.clone(), known, self.host().now()) else {
                return Ok(None);
            };
            let Some(noted) = noted else { return Ok(Some(snapshot.to_bytes())) };
            let Some(text) = records.get(RecordKey::new(GATEWAY, &*member.id)).await? else {
                return Err(unknown());
            };
            let now: Member = understood(&text)?;
            // Somebody else has issued meanwhile: what is for the gateway is decided again.
            if now.issued != member.issued {
                member = now;
                continue;
            }
            let next = Member { issued: noted.issued, ..now };
            if write(records, (GATEWAY, &member.id), Some(text), &next).await? {
                return Ok(Some(snapshot.to_bytes()));
            }
        }
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "others write what is known of this gateway"))
    }

    /// Takes note of what a gateway says of itself.
    async fn take_report(
        &self,
        with: (&dyn RecordStore, &Own),
        head: &Parts,
        body: &Bytes,
    ) -> Result<Reply, Fault> {
        let member = self.proven(with, head, body).await?;
        let report: Report = serde_json::from_slice(body)
            .map_err(|error| Fault::new(StatusCode::BAD_REQUEST, "malformed", error.to_string()))?;
        for _ in 0..ATTEMPTS {
            let Some(text) = with.0.get(RecordKey::new(GATEWAY, &*member.id)).await? else {
                return Err(unknown());
            };
            let known: Member = understood(&text)?;
            let next = Member { seen: self.host().now(), report: Some(report.clone()), ..known };
            if write(with.0, (GATEWAY, &member.id), Some(text), &next).await? {
                return Ok(kept_from_caches(body::empty(StatusCode::NO_CONTENT)));
            }
        }
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "others write what is known of this gateway"))
    }

    /// Tells whether a request names a gateway of the fleet. It proves nothing: that is seen by the body.
    async fn may_be_member(&self, records: &dyn RecordStore, head: &Parts) -> Result<bool, Fault> {
        let Some(proof) = shown(head) else { return Ok(false) };
        Ok(read::<Member>(records, GATEWAY, &proof.gateway).await?.is_some())
    }

    /// Returns the gateway that a request proves to come from; the proof counts once.
    async fn proven(
        &self,
        (records, own): (&dyn RecordStore, &Own),
        head: &Parts,
        body: &Bytes,
    ) -> Result<Member, Fault> {
        let proof = shown(head).ok_or_else(unknown)?;
        let member: Member = read(records, GATEWAY, &proof.gateway).await?.ok_or_else(unknown)?;
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let message = proof.message(&own.fleet, (&head.method, target), body);
        let key = bytes_of(&member.key).map(PublicKey::Ed25519).ok_or_else(unknown)?;
        let signed = Signed { key: &key, message: &message, signature: &proof.signature };
        let now = self.host().now();
        if !self.host().verifies(&signed).await || !proof.is_fresh(now) {
            return Err(unknown());
        }
        let nonce = RecordKey::new(NONCES, format!("{}/{}", member.id, text_of(&proof.nonce)));
        let first = records.replace(nonce, None, Some("1".to_owned()), Some(now + REMEMBERED)).await?;
        if first { Ok(member) } else { Err(unknown()) }
    }

    /// Tells whether a key has signed a body for a purpose.
    async fn has_signed(&self, key: &str, (purpose, body): (&str, &[u8]), signature: &[u8]) -> bool {
        let Some(key) = bytes_of(key).map(PublicKey::Ed25519) else { return false };
        let message = [purpose.as_bytes(), body].concat();
        self.host().verifies(&Signed { key: &key, message: &message, signature }).await
    }

    /// Answers with what the control plane's key signs for a purpose.
    async fn signed_answer(&self, own: &Own, purpose: &str, said: Vec<u8>) -> Result<Reply, Fault> {
        let lost =
            || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "fleet-key", "the fleet's key cannot be opened");
        let seed = self.0.sealer.open(Purpose::Fleet, &own.seed).and_then(|seed| seed.try_into().ok());
        let message = [purpose.as_bytes(), &said].concat();
        let signed = self.host().sign_with_seed(seed.ok_or_else(lost)?, message).await.map_err(|_| lost())?;
        let text = String::from_utf8(said).expect("JSON is UTF-8");
        let mut reply = kept_from_caches(body::json(StatusCode::OK, text));
        let signature =
            HeaderValue::from_str(&text_of(&signed.signature)).expect("base64 is a header's value");
        reply.headers_mut().insert(HeaderName::from_static(SIGNATURE), signature);
        Ok(reply)
    }
}

/// Reads what a gateway proves itself by.
fn shown(head: &Parts) -> Option<Proof> {
    Proof::parse(head.headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// Reads the signatures of a request, of which there are exactly so many.
fn signatures(headers: &HeaderMap, many: usize) -> Vec<Vec<u8>> {
    let text = headers.get(SIGNATURE).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let read: Option<Vec<_>> = text.split(", ").map(signature_of).collect();
    read.filter(|read| read.len() == many).unwrap_or_default()
}

/// Reads a record.
pub(super) async fn read<T: DeserializeOwned>(
    records: &dyn RecordStore,
    collection: &'static str,
    key: &str,
) -> Result<Option<T>, Fault> {
    let text = records.get(RecordKey::new(collection, key)).await?;
    text.map(|text| understood(&text)).transpose()
}

/// Understands a record.
pub(super) fn understood<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let detail = format!("a record of the fleet cannot be understood: {error}");
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "record", detail)
    })
}

/// Writes a record where what was read is still there.
pub(super) async fn write<T: Serialize>(
    records: &dyn RecordStore,
    (collection, key): (&'static str, &str),
    read: Option<String>,
    next: &T,
) -> Result<bool, Fault> {
    let next = serde_json::to_string(next).expect("what the fleet notes is JSON");
    Ok(records.replace(RecordKey::new(collection, key), read, Some(next), None).await?)
}
