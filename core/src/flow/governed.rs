//! Being governed: joining a fleet, taking the snapshots that its control plane gives, and telling it how things are.
//!
//! **No call waits for any of it.** What is taken is kept before it is noted as taken, so that whatever ends in the middle is
//! begun again; and where the control plane is silent, or says what this gateway does not take, it goes on with what it has.

use std::time::Duration;

use futures::future::{self, Either};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use url::Url;

use crate::body::{Body, Whole};
use crate::control::answer::in_short;
use crate::control::fleet::{
    ENROLMENT, Enrolment, EnrolmentToken, Judged, Membership, Proof, SIGNATURE, SNAPSHOT, Signer, Snapshot,
    bytes_of, fingerprint, signature_of, text_of,
};
use crate::control::{
    Appended, Document, InStore, Managed, Revision, Revoked, Stamp, digest, understand_text,
};
use crate::gateway::Gateway;
use crate::metrics::Totals;
use crate::oauth::PublicKey;
use crate::ports::{Host, RecordKey, Signed};
use crate::session::Purpose;
use crate::upstream::handshake::shorten;
use crate::upstream::lock;

/// For how long the control plane is asked to hold a question, in seconds.
const WAIT: u64 = 20;
/// How long an answer may take besides.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 << 20;
/// How long the pauses are after failures: the first, and the longest, in milliseconds.
const PAUSES: (u64, u64) = (500, 30_000);
/// How long the pause is where the control plane has not let wait.
const AT_LEAST: Duration = Duration::from_secs(5);
/// Where the membership lies.
const MEMBERSHIP: (&str, &str) = ("membership", "own");

/// What came of a look at the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Governed {
    /// There is nothing else for this gateway.
    Same,
    /// This version is in force now.
    InForce(u64),
    /// This version is not in force, because of what is said.
    Refused(u64, String),
}

/// Why a gateway is not governed, or not for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotGoverned(pub String);

impl From<crate::control::StoreError> for NotGoverned {
    fn from(error: crate::control::StoreError) -> Self {
        Self(format!("the gateway's store {error}"))
    }
}

impl<H: Host> Gateway<H> {
    /// Returns what is noted of the fleet that this gateway is in; nothing where it is in none.
    pub async fn membership(&self) -> Result<Option<Membership>, NotGoverned> {
        Ok(self.noted_membership().await?.map(|(_, membership)| membership))
    }

    async fn noted_membership(&self) -> Result<Option<(String, Membership)>, NotGoverned> {
        let none = || NotGoverned("this gateway's host keeps no records".into());
        let records = self.host().records().ok_or_else(none)?;
        let Some(text) = records.get(RecordKey::new(MEMBERSHIP.0, MEMBERSHIP.1)).await? else {
            return Ok(None);
        };
        let membership = serde_json::from_str(&text);
        let membership =
            membership.map_err(|_| NotGoverned("what is noted of its fleet cannot be understood".into()))?;
        Ok(Some((text, membership)))
    }

    async fn note_membership(&self, read: Option<String>, next: &Membership) -> Result<bool, NotGoverned> {
        let none = || NotGoverned("this gateway's host keeps no records".into());
        let records = self.host().records().ok_or_else(none)?;
        let text = serde_json::to_string(next).expect("texts and numbers are JSON");
        Ok(records.replace(RecordKey::new(MEMBERSHIP.0, MEMBERSHIP.1), read, Some(text), None).await?)
    }

    /// Joins the fleet of the control plane at `url` by a token, as a gateway on that kind of host. **The token is used up,
    /// also where the answer is lost.**
    pub async fn join(&self, url: &str, token: &str, host: &str) -> Result<Membership, NotGoverned> {
        let url = safe_url(url)?;
        let token =
            EnrolmentToken::parse(token).ok_or_else(|| NotGoverned("this is no enrolment token".into()))?;
        if self.noted_membership().await?.is_some() {
            return Err(NotGoverned("this gateway is in a fleet already".into()));
        }
        let mut seed = [0; 32];
        self.host().fill(&mut seed);
        let unable = |error| NotGoverned(format!("a key for the fleet {error}"));
        let own = self.host().sign_with_seed(seed, Vec::new()).await.map_err(unable)?.key;
        let asks = json!({
            "enrolment": token.id,
            "fleet": token.fleet,
            "key": text_of(&own),
            "host": host,
            "program": env!("CARGO_PKG_VERSION"),
        });
        let body = asks.to_string().into_bytes();
        let message = [ENROLMENT.as_bytes(), &body].concat();
        let by_token = self.host().sign_with_seed(token.seed, message.clone()).await.map_err(unable)?;
        let by_own = self.host().sign_with_seed(seed, message).await.map_err(unable)?;
        let mut request = http::Request::new(Whole::from(body));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, address(&url, "/fleet/v1/enrol")?);
        let signatures = format!("{}, {}", text_of(&by_token.signature), text_of(&by_own.signature));
        put(&mut request, HeaderName::from_static(SIGNATURE), &signatures)?;
        let (status, signature, body) = self.asked_of_plane(request, PATIENCE).await?;
        if status != StatusCode::OK {
            return Err(NotGoverned(said(&url, status, &body)));
        }
        let other = || NotGoverned(format!("{url} is not the control plane that made this token"));
        let told: Enrolment = serde_json::from_slice(&body).map_err(|_| other())?;
        let key: [u8; 32] =
            bytes_of(&told.key).filter(|key| fingerprint(key) == token.fleet).ok_or_else(other)?;
        if !self.is_planes(&key, (ENROLMENT, &body), signature.as_deref()).await
            || told.for_key != text_of(&own)
        {
            return Err(other());
        }
        let membership = Membership {
            url,
            gateway: told.gateway,
            name: String::new(),
            seed: self.0.sealer.seal(self.host(), Purpose::Fleet, &seed),
            fleet: token.fleet,
            key: told.key,
            next: None,
            number: 0,
            digest: String::new(),
            version: 0,
            refused: None,
        };
        if self.note_membership(None, &membership).await? {
            Ok(membership)
        } else {
            Err(NotGoverned("another process has joined a fleet for this gateway".into()))
        }
    }

    /// Has nobody but the control plane say what this gateway serves.
    pub fn governed_by(&self, url: &str) {
        if let Managed::ByStore(InStore { governed, .. }) = &mut *lock(&self.0.managed) {
            *governed = Some(url.to_owned());
        }
    }

    /// Takes note that the control plane is found elsewhere now. It is still known by its key alone.
    pub async fn find_plane_at(&self, url: &str) -> Result<(), NotGoverned> {
        let url = safe_url(url)?;
        while let Some((read, known)) = self.noted_membership().await? {
            if known.url == url {
                break;
            }
            let next = Membership { url: url.clone(), ..known };
            if self.note_membership(Some(read), &next).await? {
                break;
            }
        }
        Ok(())
    }

    /// Joins the fleet of the control plane at `url`, where this gateway is in none, and has nobody else say what it serves.
    pub async fn enter(&self, url: &str, token: Option<&str>, host: &str) -> Result<Membership, NotGoverned> {
        self.governed_by(url);
        if let Some(known) = self.membership().await? {
            self.find_plane_at(url).await?;
            return Ok(known);
        }
        let none = || NotGoverned("this gateway is in no fleet yet, and has no enrolment token".into());
        self.join(url, token.ok_or_else(none)?, host).await
    }

    /// Asks the control plane once, and tells it how things are, where nobody can wait for it; joins its fleet before that.
    pub async fn attend(&self, url: &str, token: Option<&str>, host: &str) -> Result<Governed, NotGoverned> {
        self.enter(url, token, host).await?;
        let looked = self.pull(0).await;
        let rejected = looked.as_ref().err().filter(|(_, is_theirs)| *is_theirs).map(|(why, _)| &*why.0);
        self.report(rejected).await?;
        let sent = self.send_trail(&mut None).await;
        let governed = looked.map_err(|(why, _)| why)?;
        sent.map(|_| governed)
    }

    /// Follows the control plane for as long as the gateway runs, and forwards the audit trail to it.
    pub async fn follow_fleet(&self) {
        future::join(self.follow_plane(), self.forward_trail()).await;
    }

    async fn follow_plane(&self) {
        let (mut pause, mut trouble, mut rejected) = (PAUSES.0, String::new(), None);
        // What is there is told first, so that the control plane knows of it.
        loop {
            let began = self.host().now();
            let looked = self.pull(WAIT).await;
            let came_back_at_once =
                matches!(looked, Ok(Governed::Same)) && self.host().now() < began + PAUSES.0;
            rejected = looked
                .as_ref()
                .err()
                .filter(|(_, is_theirs)| *is_theirs)
                .map(|(why, _)| why.0.clone())
                .or(rejected.filter(|_| looked.is_err()));
            let told = self.report(rejected.as_deref()).await;
            let failed = looked.err().map(|(why, _)| why).or(told.err());
            match failed {
                None => {
                    (pause, trouble) = (PAUSES.0, String::new());
                    // A control plane that runs only while it answers has nobody wait.
                    if came_back_at_once {
                        self.host().sleep(AT_LEAST).await;
                    }
                }
                Some(NotGoverned(why)) => {
                    if why != trouble {
                        tracing::warn!(%why, "the control plane cannot be followed for now: the gateway goes on with what it has");
                        trouble = why;
                    }
                    let mut jitter = [0; 8];
                    self.host().fill(&mut jitter);
                    let wait = pause / 2 + u64::from_le_bytes(jitter) % pause.max(1);
                    self.host().sleep(Duration::from_millis(wait)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Asks the control plane once, which may wait for so many seconds, and takes what it gives. With an error comes whether
    /// it is about what was given. **What was refused is tried once more when the gateway has begun anew**: until then what it
    /// depends on stays as it is, the environment and the program.
    pub async fn pull(&self, wait: u64) -> Result<Governed, (NotGoverned, bool)> {
        let ours = |error| (error, false);
        let (read, known) = self.own_membership().await.map_err(ours)?;
        let again = known.refused.is_some() && !self.has_asked();
        let (number, wait) = if again { (0, 0) } else { (known.number, wait) };
        let target = format!("/fleet/v1/snapshot?version={number}&wait={wait}");
        let request = self.proven_request(&known, (Method::GET, &target), Vec::new()).await.map_err(ours)?;
        let patience = PATIENCE + Duration::from_secs(wait);
        let (status, signature, body) = self.asked_of_plane(request, patience).await.map_err(ours)?;
        match status {
            StatusCode::NOT_MODIFIED => {
                self.note_asked();
                return Ok(Governed::Same);
            }
            StatusCode::OK => {}
            _ => return Err((NotGoverned(said(&known.url, status, &body)), false)),
        }
        let signer = self.signer(&known, &body, signature.as_deref()).await;
        let judged = known.judge(&body, signer);
        self.note_asked();
        match (judged, Snapshot::read(&body).filter(|_| again)) {
            (Judged::Same, Some(snapshot)) => {
                self.take(snapshot, Membership { refused: None, ..known }, read).await.map_err(ours)
            }
            (Judged::Same, None) => Ok(Governed::Same),
            (Judged::Refused(why), _) => {
                let why = format!("what came from {} {why}", known.url);
                Err((NotGoverned(why), true))
            }
            (Judged::Take(snapshot, next), _) => self.take(*snapshot, *next, read).await.map_err(ours),
        }
    }

    /// Tells whether the control plane has given something since this gateway began.
    fn has_asked(&self) -> bool {
        matches!(&*lock(&self.0.managed), Managed::ByStore(known) if known.asked)
    }

    fn note_asked(&self) {
        if let Managed::ByStore(known) = &mut *lock(&self.0.managed) {
            known.asked = true;
        }
    }

    /// Tells who has signed a snapshot.
    async fn signer(&self, known: &Membership, body: &[u8], signature: Option<&[u8]>) -> Option<Signer> {
        for (key, signer) in [(Some(&known.key), Signer::Pinned), (known.next.as_ref(), Signer::Next)] {
            if let Some(key) = key.and_then(|key| bytes_of(key))
                && self.is_planes(&key, (SNAPSHOT, body), signature).await
            {
                return Some(signer);
            }
        }
        None
    }

    /// Keeps what was given, puts it in force, and notes that.
    async fn take(
        &self,
        snapshot: Snapshot,
        next: Membership,
        read: String,
    ) -> Result<Governed, NotGoverned> {
        let version = snapshot.version;
        // First, and whatever becomes of the configuration: a key that was revoked counts no more.
        self.take_keys(&snapshot).await?;
        let strangers = match &*lock(&self.0.managed) {
            Managed::ByStore(known) => known.strangers,
            Managed::ByFiles(origin) => return Err(NotGoverned(format!("this gateway serves {origin}"))),
        };
        let parsed = self.means(strangers, |means| understand_text(&snapshot.document, means));
        if parsed.is_refused() {
            let reason = in_short(&parsed.problems);
            tracing::error!(version, %reason, "the configuration stays as it is: what the control plane gives has errors here");
            let next = Membership { refused: Some(reason.clone()), ..next };
            self.note_membership(Some(read), &next).await?;
            return Ok(Governed::Refused(version, reason));
        }
        self.keep_document(&snapshot, &next.url).await?;
        // Where another process has noted something meanwhile, that is looked at with the next question.
        self.note_membership(Some(read), &next).await?;
        Ok(Governed::InForce(version))
    }

    async fn take_keys(&self, snapshot: &Snapshot) -> Result<(), NotGoverned> {
        let Some(store) = self.host().keys() else { return Ok(()) };
        let known = store.all().await?;
        for key in &snapshot.keys {
            let kept = known.iter().find(|kept| kept.record.id == key.id);
            if kept.is_none() {
                store.add(key.clone()).await?;
            }
            let revokes = key.revoked.filter(|_| kept.is_some_and(|kept| kept.record.revoked.is_none()));
            if let Some(at) = revokes
                && store.revoke(key.id.to_string(), at).await? == Revoked::Unknown
            {
                tracing::warn!(key = %key.id, "a key that was revoked is not there");
            }
        }
        self.read_keys(&**store).await.map_err(|fault| NotGoverned(fault.detail))?;
        Ok(())
    }

    async fn keep_document(&self, snapshot: &Snapshot, url: &str) -> Result<(), NotGoverned> {
        let none = || NotGoverned("this gateway's host keeps no configurations".into());
        let store = self.host().configurations().ok_or_else(none)?;
        let text = Document::kept(&snapshot.document).to_text();
        loop {
            let newest = store.newest().await?;
            if let Some(newest) = newest.as_ref().filter(|newest| newest.stamp.digest == digest(&text)) {
                self.look_again(newest);
                return Ok(());
            }
            let stamp = Stamp {
                version: newest.map_or(0, |newest| newest.stamp.version) + 1,
                at: self.host().now(),
                by: format!("fleet:{url}"),
                note: format!(
                    "version {} of the control plane, snapshot {}",
                    snapshot.version, snapshot.number
                ),
                digest: digest(&text),
            };
            let next = Revision { stamp, text: text.clone() };
            if store.append(next.clone()).await? == Appended::Done {
                self.look_again(&next);
                return Ok(());
            }
        }
    }

    /// Tells the control plane how things are.
    pub async fn report(&self, rejected: Option<&str>) -> Result<(), NotGoverned> {
        let known = self.own_membership().await?.1;
        let servers: Vec<_> = self.readiness().into_iter().map(|server| {
            json!({ "name": server.server, "status": server.status, "reason": server.reason, "tools": server.tools })
        }).collect();
        let body = json!({
            "number": known.number,
            "version": known.version,
            "refused": known.refused,
            "rejected": rejected,
            "servers": servers,
            "counts": self.counts(),
            "program": env!("CARGO_PKG_VERSION"),
        });
        self.tell_plane((Method::POST, "/fleet/v1/report"), body.to_string().into_bytes()).await.map(|_| ())
    }

    async fn own_membership(&self) -> Result<(String, Membership), NotGoverned> {
        let none = || NotGoverned("this gateway is in no fleet".into());
        self.noted_membership().await?.ok_or_else(none)
    }

    /// Tells the control plane something; returns what it answers.
    pub(super) async fn tell_plane(
        &self,
        to: (Method, &str),
        body: Vec<u8>,
    ) -> Result<bytes::Bytes, NotGoverned> {
        let known = self.own_membership().await?.1;
        let request = self.proven_request(&known, to, body).await?;
        let (status, _, body) = self.asked_of_plane(request, PATIENCE).await?;
        if status.is_success() { Ok(body) } else { Err(NotGoverned(said(&known.url, status, &body))) }
    }

    /// Returns what has been counted since the gateway began, as far as somebody counts.
    fn counts(&self) -> serde_json::Value {
        let mut said = serde_json::Map::new();
        let observer = self.host().observer();
        if let Some(metrics) = observer.as_ref().and_then(|observer| observer.metrics(&mut Vec::new())) {
            let Totals { requests, errors, .. } = metrics.totals();
            said.insert("requests".into(), requests.into());
            said.insert("errors".into(), errors.into());
        }
        if let Some(trail) = self.host().audit() {
            let state = trail.state();
            said.insert("recorded".into(), state.recorded.into());
            said.insert("lost".into(), state.lost.into());
        }
        said.into()
    }

    /// Makes a request that proves to come from this gateway.
    async fn proven_request(
        &self,
        known: &Membership,
        (method, target): (Method, &str),
        body: Vec<u8>,
    ) -> Result<http::Request<Whole>, NotGoverned> {
        let lost = || {
            NotGoverned("the gateway's key in its fleet cannot be opened: its seal key is another one".into())
        };
        let seed = self.0.sealer.open(Purpose::Fleet, &known.seed).and_then(|seed| seed.try_into().ok());
        let mut nonce = [0; 16];
        self.host().fill(&mut nonce);
        let gateway = known.gateway.clone();
        let mut proof = Proof { gateway, time: self.host().now(), nonce, signature: Vec::new() };
        let url = address(&known.url, target)?;
        // As the control plane sees it: its own path, whatever stands in front of that.
        let message = proof.message(&known.fleet, (&method, target), &body);
        proof.signature =
            self.host().sign_with_seed(seed.ok_or_else(lost)?, message).await.map_err(|_| lost())?.signature;
        let mut request = http::Request::new(Whole::from(body));
        (*request.method_mut(), *request.uri_mut()) = (method, url);
        put(&mut request, header::AUTHORIZATION, &proof.header())?;
        Ok(request)
    }

    async fn asked_of_plane(
        &self,
        mut request: http::Request<Whole>,
        patience: Duration,
    ) -> Result<(StatusCode, Option<Vec<u8>>, bytes::Bytes), NotGoverned> {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = request.uri().to_string();
        let exchange = async {
            let response =
                self.host().fetch(request).await.map_err(|error| NotGoverned(shorten(&error.message)))?;
            let (head, chunks) = response.into_parts();
            let signature = head.headers.get(SIGNATURE).and_then(|text| signature_of(text.to_str().ok()?));
            let body = Body::Stream(chunks).collect(LARGEST).await;
            Ok((head.status, signature, body.map_err(|error| NotGoverned(error.to_string()))?))
        };
        let limit = std::pin::pin!(self.host().sleep(patience));
        match future::select(std::pin::pin!(exchange), limit).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(NotGoverned(format!("{url} does not answer"))),
        }
    }

    async fn is_planes(
        &self,
        key: &[u8; 32],
        (purpose, body): (&str, &[u8]),
        signature: Option<&[u8]>,
    ) -> bool {
        let Some(signature) = signature else { return false };
        let (key, message) = (PublicKey::Ed25519(*key), [purpose.as_bytes(), body].concat());
        self.host().verifies(&Signed { key: &key, message: &message, signature }).await
    }
}

/// Returns the URL of a control plane without a slash at its end; what it says is secret on the way.
fn safe_url(url: &str) -> Result<String, NotGoverned> {
    let parsed = Url::parse(url).map_err(|error| NotGoverned(format!("{url} is no URL: {error}")))?;
    let is_near = match parsed.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if parsed.scheme() == "https" || (parsed.scheme() == "http" && is_near) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    Err(NotGoverned(format!("{url} is not https: configurations and keys would be read on the way")))
}

fn address(url: &str, target: &str) -> Result<http::Uri, NotGoverned> {
    format!("{url}{target}").parse().map_err(|_| NotGoverned(format!("{url} is no URL")))
}

fn put(request: &mut http::Request<Whole>, name: HeaderName, value: &str) -> Result<(), NotGoverned> {
    let value =
        HeaderValue::from_str(value).map_err(|_| NotGoverned("a signature is no header's value".into()))?;
    request.headers_mut().insert(name, value);
    Ok(())
}

fn said(url: &str, status: StatusCode, body: &[u8]) -> String {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match said["detail"].as_str() {
        Some(detail) => format!("{url} answers: {}", shorten(detail)),
        None => format!("{url} answers HTTP {}", status.as_u16()),
    }
}
