//! Callers with tokens of identity providers: an issuer's keys are read when they are needed, and its token is verified; of
//! a token that says nothing by itself, the issuer is asked.
//!
//! **Nothing that a token says is believed before its signature is verified**, but for which of the configured issuers it
//! claims to be of. No address that stands in a token is ever asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future;
use http::{StatusCode, header};

use crate::config::{Introspection, Issuer};
use crate::endpoint;
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{Bearer, Denial, Proof};
use crate::oauth::answers::{Answers, TokenHash};
use crate::oauth::client::TokenRequest;
use crate::oauth::held::{HeldKeys, Taken, Wanted, max_age};
use crate::oauth::issuer::{Sought, address, metadata_urls};
use crate::oauth::server::{Access, is_access_token};
use crate::oauth::{Claims, ClientAuth, Expected, KeySet, LONGEST, NotAToken, Token, resource};
use crate::ports::{Host, Signed};
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// How long it is not asked again where questions about tokens go, in milliseconds.
const METADATA: u64 = 10 * 60_000;

/// An issuer, and where its keys are where the configuration says so.
type At = (String, Option<String>);

/// What is known of issuers: their keys, and what they have said of tokens.
#[derive(Default)]
pub(crate) struct Issuers {
    slots: Mutex<SortedMap<At, Arc<Slot>>>,
    answers: Mutex<Answers>,
}

/// How many tokens an issuer is asked about at a time: whoever makes them up must not turn the gateway against it.
const QUESTIONS: usize = 64;
/// The longest answer about a token, in bytes.
const ANSWER: usize = 16 << 10;
/// How often it is logged that an issuer cannot be asked, in milliseconds.
const REMINDER: u64 = 10_000;
/// How long keys that still count are held back while an issuer is asked for new ones.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Slot {
    held: Mutex<HeldKeys>,
    /// Held while they are read.
    reading: Arc<futures::lock::Mutex<()>>,
    /// How many tokens it is being asked about.
    questions: AtomicUsize,
    /// When it was last logged that it cannot be asked, in milliseconds since the Unix epoch.
    reminded: AtomicU64,
    /// Where it is asked about tokens, and until when its metadata is taken to say so.
    introspection: Mutex<Option<(String, u64)>>,
}

impl Issuers {
    fn slot(&self, issuer: &Issuer) -> Arc<Slot> {
        let key = (issuer.url.clone(), issuer.keys.clone());
        lock(&self.slots).entry(key).or_default().clone()
    }

    /// Lets go of the issuers that are configured no more.
    pub(crate) fn keep_only(&self, issuers: &[Issuer]) {
        let is_there =
            |(url, keys): &At| issuers.iter().any(|issuer| issuer.url == *url && issuer.keys == *keys);
        lock(&self.slots).retain(|key, _| is_there(key));
        lock(&self.answers).forget();
    }
}

impl<H: Host> Gateway<H> {
    /// Tells who bears a token that is presented at an endpoint, by its path; or why nobody does.
    pub(super) async fn prove(
        &self,
        text: &str,
        tag: Option<Arc<str>>,
        (path, snapshot): (&str, &Snapshot),
    ) -> Result<Proof, Denial> {
        if is_access_token(text) {
            return self.prove_own(text, tag, (path, snapshot));
        }
        let issuers = &snapshot.config.auth.issuers;
        let (issuer, claims) = match Token::parse(text) {
            Ok(token) => self.verified(&token, (path, snapshot)).await?,
            Err(NotAToken::Opaque) if may_be_known(text) && issuers.iter().any(is_asked) => {
                self.told(text, (path, snapshot)).await?
            }
            Err(error) => return Err(wrong(&error)),
        };
        let lacks = |scope: &&String| !claims.scopes.contains(scope);
        if issuer.scopes.iter().any(|scope| lacks(&scope)) {
            return Err(Denial::Scope(issuer.scopes.join(" ").into()));
        }
        let mut bearer = Bearer::new(&claims, &snapshot.config.policy, issuer);
        if snapshot.acts_on_behalf() {
            bearer = bearer.keeping(text, &issuer.url, None);
        }
        Ok(Proof::of_bearer(&issuer.principal(&claims.subject), bearer, tag))
    }

    /// Tells whose a signed token is, and what it says.
    async fn verified<'s>(
        &self,
        token: &Token<'_>,
        (path, snapshot): (&str, &'s Snapshot),
    ) -> Result<(&'s Issuer, Claims), Denial> {
        let issuers = &snapshot.config.auth.issuers;
        let named = token.issuer();
        let issuer = issuers.iter().find(|issuer| Some(&*issuer.url) == named.as_deref());
        let issuer = issuer.ok_or_else(|| wrong(&"the token is of an issuer whose tokens are not taken"))?;
        if !self.is_signed(issuer, token).await? {
            return Err(wrong(&"the token's signature is wrong"));
        }
        let audiences = audiences(issuer, path, snapshot);
        let expected = expected(issuer, &audiences, self.host().now());
        let claims = Claims::read(&token.payload, &expected).map_err(|unfit| wrong(&unfit))?;
        Ok((issuer, claims))
    }

    /// Tells whose a token is that says nothing by itself, and what its issuer says of it. The issuers that can be asked are
    /// asked one after the other.
    async fn told<'s>(
        &self,
        text: &str,
        (path, snapshot): (&str, &'s Snapshot),
    ) -> Result<(&'s Issuer, Claims), Denial> {
        let mut refusal = None;
        for issuer in &snapshot.config.auth.issuers {
            let Some(introspection) = &issuer.introspection else { continue };
            let hash = TokenHash::of(&issuer.url, text);
            let (known, refused) = {
                let (answers, now) = (lock(&self.0.issuers.answers), self.host().now());
                (answers.known(hash, now), answers.refused(hash, now))
            };
            if let Some(unfit) = refused {
                refusal = Some(refusal.unwrap_or_else(|| wrong(&unfit)));
                continue;
            }
            let is_new = known.is_none();
            let answer = match known {
                Some(answer) => answer,
                None => match self.ask_about(text, issuer, introspection).await {
                    Ok(answer) => answer,
                    Err(why) => {
                        self.remind(issuer, &why);
                        refusal = Some(Denial::Unavailable(issuer.name.as_str().into()));
                        continue;
                    }
                },
            };
            let (audiences, now) = (audiences(issuer, path, snapshot), self.host().now());
            match Claims::of_answer(&answer, &expected(issuer, &audiences, now)) {
                Ok(claims) => {
                    if is_new {
                        lock(&self.0.issuers.answers).keep(hash, answer, &claims, now);
                    }
                    return Ok((issuer, claims));
                }
                Err(unfit) => {
                    lock(&self.0.issuers.answers).refuse(hash, unfit, now);
                    refusal = Some(refusal.unwrap_or_else(|| wrong(&unfit)));
                }
            }
        }
        Err(refusal.unwrap_or_else(|| wrong(&"it is no signed token")))
    }

    /// Asks an issuer about a token (RFC 7662 §2.1).
    async fn ask_about(
        &self,
        token: &str,
        issuer: &Issuer,
        introspection: &Introspection,
    ) -> Result<Arc<str>, String> {
        let slot = self.0.issuers.slot(issuer);
        let _asking = Asking::begin(&slot.questions).ok_or("it is being asked about too many tokens")?;
        let url = match &introspection.url {
            Some(url) => url.clone(),
            None => self.introspection_of(issuer).await?,
        };
        let secret = self.secret_value(&introspection.client_secret).await?;
        let client = (&*introspection.client_id, secret.current.reveal());
        let question = TokenRequest::about(token).with_secret(ClientAuth::Basic, client.0, client.1);
        let (head, answer) = self.exchange(question.to(&url)?).await?;
        if head.status != StatusCode::OK {
            return Err(format!("{url} answers HTTP {}", head.status.as_u16()));
        }
        if answer.len() > ANSWER {
            return Err(format!("{url} answers with more than {ANSWER} bytes"));
        }
        std::str::from_utf8(&answer).map(Into::into).map_err(|_| format!("{url} answers with no text"))
    }

    /// Returns where an issuer's metadata says that it is asked about tokens.
    async fn introspection_of(&self, issuer: &Issuer) -> Result<String, String> {
        let slot = self.0.issuers.slot(issuer);
        let known = lock(&slot.introspection).clone();
        if let Some((url, _)) = known.filter(|(_, until)| self.host().now() < *until) {
            return Ok(url);
        }
        let url = self.find(issuer, Sought::Introspection).await?;
        *lock(&slot.introspection) = Some((url.clone(), self.host().now() + METADATA));
        Ok(url)
    }

    /// Tells who bears an access token of the gateway's own, which counts for as long as the gateway stands in before the
    /// same provider.
    fn prove_own(
        &self,
        text: &str,
        tag: Option<Arc<str>>,
        (path, snapshot): (&str, &Snapshot),
    ) -> Result<Proof, Denial> {
        let (auth, policy) = (&snapshot.config.auth, &snapshot.config.policy);
        let wrong = || Denial::Wrong("the access token is unknown, over, or for another endpoint".into());
        // What an agent on HTTP+SSE posts belongs to its stream.
        let path = if path == endpoint::MESSAGES { endpoint::SSE } else { path };
        let public = snapshot.config.gateway.public_url.as_ref();
        let audiences = resource::audiences(&Issuer::default(), public, path);
        let access = Access::open(text, &self.0.sealer, (&audiences, self.host().now())).ok_or_else(wrong)?;
        let issuer = auth.issuer_of_sign_in().filter(|issuer| issuer.has_named(&access.principal));
        if !issuer.is_some_and(|issuer| access.bearer.is_of(issuer)) || !access.bearer.suits(policy) {
            return Err(wrong());
        }
        Ok(Proof::of_bearer(&access.principal, access.bearer, tag))
    }

    /// Logs that an issuer cannot be asked, once in a while.
    fn remind(&self, issuer: &Issuer, why: &str) {
        let (slot, now) = (self.0.issuers.slot(issuer), self.host().now());
        let last = slot.reminded.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= REMINDER
            && slot.reminded.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due {
            tracing::warn!(issuer = %issuer.url, reason = %why, "an identity provider cannot be asked about tokens");
        }
    }

    /// Tells whether one of an issuer's keys has signed a token. Where none of those that are known has, they are read
    /// again: the issuer may have a new one.
    pub(super) async fn is_signed(&self, issuer: &Issuer, token: &Token<'_>) -> Result<bool, Denial> {
        let (keys, read) = self.keys_of(issuer, Wanted::Current).await?;
        if self.is_signed_by(&keys, token).await {
            return Ok(true);
        }
        let (keys, read_again) = self.keys_of(issuer, Wanted::After(read)).await?;
        Ok(read_again > read && self.is_signed_by(&keys, token).await)
    }

    async fn is_signed_by(&self, keys: &KeySet, token: &Token<'_>) -> bool {
        for key in keys.of_token(token) {
            let signed = Signed { key: &key.key, message: token.signed, signature: &token.signature };
            if self.host().verifies(&signed).await {
                return true;
            }
        }
        false
    }

    /// Returns an issuer's keys. They are read once for all who need them at a time; those that still count are used
    /// meanwhile, so that an issuer that does not answer keeps nobody waiting.
    async fn keys_of(&self, issuer: &Issuer, wanted: Wanted) -> Result<Taken, Denial> {
        let unavailable = |why: String| {
            tracing::warn!(issuer = %issuer.url, reason = %why, "an identity provider's keys cannot be read");
            Denial::Unavailable(issuer.name.as_str().into())
        };
        let slot = self.0.issuers.slot(issuer);
        let known = || lock(&slot.held).known(wanted, self.host().now());
        if let Some(known) = known() {
            return known.map_err(unavailable);
        }
        let counting = lock(&slot.held).counting(self.host().now());
        if let (Wanted::Current, Some(counting)) = (wanted, counting) {
            self.read_soon(issuer, &slot).await;
            return Ok(lock(&slot.held).counting(self.host().now()).unwrap_or(counting));
        }
        let _one_at_a_time = slot.reading.lock().await;
        if let Some(known) = known() {
            return known.map_err(unavailable);
        }
        let outcome = self.keys_at(issuer).await;
        let now = self.host().now();
        let mut held = lock(&slot.held);
        held.take(outcome, now);
        held.outcome(now).map_err(unavailable)
    }

    /// Begins to read an issuer's keys, unless somebody does, and waits for a moment.
    async fn read_soon(&self, issuer: &Issuer, slot: &Arc<Slot>) {
        let Some(turn) = slot.reading.try_lock_owned() else { return };
        let (gateway, issuer, slot) = (self.clone(), issuer.clone(), slot.clone());
        let (done, read) = oneshot::channel();
        self.host().spawn(async move {
            let outcome = gateway.keys_at(&issuer).await;
            if let Err(why) = &outcome {
                gateway.remind(&issuer, why);
            }
            lock(&slot.held).take(outcome, gateway.host().now());
            drop(turn);
            let _ = done.send(());
        });
        future::select(read, std::pin::pin!(self.host().sleep(GRACE))).await;
    }

    /// Reads an issuer's keys, and for how long they are good.
    async fn keys_at(&self, issuer: &Issuer) -> Result<(KeySet, Option<u64>), String> {
        let url = match &issuer.keys {
            Some(url) => url.clone(),
            None => self.find(issuer, Sought::Keys).await?,
        };
        let (headers, text) = self.public_document(&url).await?;
        let keys = KeySet::parse(&text).ok_or_else(|| format!("{url} is no JWK set"))?;
        if keys.is_empty() {
            // It has answered: what it had before counts no more.
            tracing::warn!(issuer = %issuer.url, url, "an identity provider has no key that verifies RS256, ES256 or EdDSA");
        }
        let cached = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
        Ok((keys, cached.and_then(max_age)))
    }

    /// Asks an issuer's metadata for an address.
    async fn find(&self, issuer: &Issuer, sought: Sought) -> Result<String, String> {
        let mut first = None;
        for url in metadata_urls(&issuer.url) {
            let found = self.public_document(url.as_str()).await;
            match found.and_then(|(_, text)| address(&text, &issuer.url, sought)) {
                Ok(url) => return Ok(url.into()),
                Err(why) => first = first.or(Some(why)),
            }
        }
        Err(first.unwrap_or_else(|| "its URL is none".into()))
    }
}

/// A question to an issuer that is under way.
struct Asking<'s>(&'s AtomicUsize);

impl<'s> Asking<'s> {
    fn begin(questions: &'s AtomicUsize) -> Option<Self> {
        let asking = Self(questions);
        (questions.fetch_add(1, Ordering::Relaxed) < QUESTIONS).then_some(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_asked(issuer: &Issuer) -> bool {
    issuer.introspection.is_some()
}

/// Tells whether a text may be a token of somebody's (RFC 6750 §2.1).
fn may_be_known(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn wrong(why: &dyn std::fmt::Display) -> Denial {
    Denial::Wrong(why.to_string().into())
}

fn audiences(issuer: &Issuer, path: &str, snapshot: &Snapshot) -> Vec<String> {
    resource::audiences(issuer, snapshot.config.gateway.public_url.as_ref(), path)
}

fn expected<'e>(issuer: &'e Issuer, audiences: &'e [String], now: u64) -> Expected<'e> {
    Expected { issuer: &issuer.url, audience_claim: issuer.audience_claim(), audiences, now }
}
