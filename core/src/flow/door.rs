//! The agents' door: who sends a request is told before its body is read, and its credentials go no further.
//!
//! **What a caller presents is taken out of the request here**: nothing behind the door could pass it on to a server. Where a
//! server acts on behalf of whoever signed in, their token stays with what it proves, to be exchanged (ADR 0033).

use std::sync::Arc;

use http::request::Parts;
use http::{Method, header};

use crate::body::Reply;
use crate::config::Issuer;
use crate::endpoint;
use crate::front::{Caller, Piped};
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{
    Denial, Evidence, Identity, KeyRing, Proof, Shown, authenticate, identify, key_header, knows,
};
use crate::oauth::resource;
use crate::ports::Host;
use crate::session::Session;
use crate::sorted::SortedMap;
use crate::upstream::lock;

impl<H: Host> Gateway<H> {
    /// Tells who sends a request, or refuses it. What it proves stays with it, for what it may begin.
    pub(super) async fn let_in(
        &self,
        head: &mut Parts,
        snapshot: &Snapshot,
    ) -> Result<Arc<Identity>, Box<Reply>> {
        let (auth, policy) = (&snapshot.config.auth, &snapshot.config.policy);
        let vouched = head.extensions.get::<Proof>().cloned();
        let proof = match vouched {
            // What a channel began ends with it, also where its token has ended before.
            Some(proof) if proof.is_over(self.host().now()) && !ends_channel(head) => {
                Err(Denial::Wrong("the token has expired".into()))
            }
            Some(proof) if !proof.is_current(auth) && !ends_channel(head) => Err(Denial::Unseen),
            Some(proof) => Ok(proof),
            None => self.proof(head, snapshot).await,
        };
        #[cfg(feature = "control")]
        let proof = match proof {
            Ok(proof) if self.may_have_left(snapshot, &proof) => {
                let principal = proof.stands_with().cloned().unwrap_or_default();
                Box::pin(self.still_there(snapshot, &principal)).await.map(|()| proof)
            }
            judged => judged,
        };
        let known = proof.and_then(|proof| Ok((identify(policy, &proof)?, proof)));
        let own = [key_header(auth, policy.dialect), auth.tag_header.clone(), Some(header::AUTHORIZATION)];
        for name in own.into_iter().flatten() {
            head.headers.remove(name);
        }
        match known {
            Ok((who, proof)) => {
                head.extensions.insert(proof);
                Ok(Arc::new(who))
            }
            Err(denial) => {
                tracing::debug!(path = head.uri.path(), reason = %denial.refusal(), "not let in");
                self.record_exchange(head, None, Err(&denial.refusal()));
                let described = challenge(head, snapshot, &denial);
                Err(Box::new(denial.reply(auth, policy.dialect, described.as_deref())))
            }
        }
    }

    /// Tells what a request proves.
    async fn proof(&self, head: &Parts, snapshot: &Snapshot) -> Result<Proof, Denial> {
        let (auth, policy) = (&snapshot.config.auth, &snapshot.config.policy);
        let shown = {
            let evidence = Evidence::of(&head.headers, auth, policy.dialect)?;
            authenticate(auth, &self.0.keys.load(), &evidence, self.host().now())?
        };
        match shown {
            Shown::Proved(proof) => Ok(proof),
            // Few callers have tokens, and what it takes is no part of what all others wait in.
            Shown::Token(token, tag) => Box::pin(self.prove(token, tag, (head.uri.path(), snapshot))).await,
        }
    }

    /// Returns the caller, now that it is known which client it says it is.
    pub(super) fn of_client(&self, caller: Caller, client: Option<Arc<str>>) -> Caller {
        let tag = caller.who.tag.clone();
        let caller = self.claiming(caller, client, tag);
        caller.record.identified(&caller.who);
        caller
    }

    /// Returns the caller with what its session began with. Its agent is found anew, as the policy in force has it.
    pub(super) fn of_session(&self, caller: Caller, session: Session) -> Caller {
        let trusted = self.0.snapshot.load().config.auth.tag_header.is_some();
        let tag = session.owner.tag.clone().filter(|_| trusted);
        let caller = self.claiming(caller, session.client.clone(), tag);
        caller.record.identified(&caller.who);
        Caller { session: Some(Arc::new(session)), ..caller }
    }

    fn claiming(&self, caller: Caller, client: Option<Arc<str>>, tag: Option<Arc<str>>) -> Caller {
        if client == caller.who.client && tag == caller.who.tag {
            return caller;
        }
        let who = caller.who.claiming(&self.0.snapshot.load().config.policy, client, tag);
        Caller { who: Arc::new(who), ..caller }
    }

    /// Replaces the API keys that are known, all at once. Streams that were opened with a key that no longer counts end;
    /// calls that are running go on.
    pub fn set_keys(&self, mut ring: KeyRing) {
        let _one_at_a_time = lock(&self.0.reloading);
        ring.succeed(&self.0.keys.load());
        let ring = Arc::new(ring);
        self.0.keys.store(ring);
        self.end_streams_of_strangers(&self.snapshot());
    }

    /// Ends the streams of principals that would not be let in any more, or whose issuer was another `before`.
    pub(super) fn end_streams_of_strangers(&self, before: &Snapshot) {
        let (snapshot, ring, now) = (self.0.snapshot.load(), self.0.keys.load(), self.host().now());
        let (auth, policy) = (&snapshot.config.auth, &snapshot.config.policy);
        let is_agents = |principal: &str| ring.agent_of(principal, now).is_some_and(|of| knows(policy, of));
        let is_as_before = |issuer: &&Issuer| {
            let digest = issuer.digest();
            before.config.auth.issuers.iter().any(|before| before.digest() == digest)
        };
        let same: Vec<_> = auth.issuers.iter().filter(is_as_before).collect();
        let signs_in = |principal: &str| same.iter().any(|issuer| issuer.has_named(principal));
        let counts = |principal: &str| {
            let is_let_in = is_agents(principal)
                || signs_in(principal)
                || (auth.shared_key.is_some() && principal == Proof::SHARED);
            #[cfg(feature = "control")]
            let is_let_in =
                is_let_in && !self.has_left(&snapshot, ring.owner_of(principal).unwrap_or(principal));
            is_let_in
        };
        self.0.hub.keep_principals(counts);
        self.0.held.keep_callers(|proof| {
            proof.principal.as_deref().is_none_or(counts)
                && proof.is_current(auth)
                && !matches!(identify(policy, proof), Err(Denial::Unseen))
        });
    }

    /// Tells whether a request presents an API key that is not known here: it may have been made a moment ago, elsewhere. That
    /// is no use of the key, and nothing is recorded of it. The form of connecting has its key in the body, so that may be one.
    pub fn may_present_new_key<B>(&self, request: &http::Request<B>) -> bool {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let is_vouched_for = request.extensions().get::<Proof>().is_some();
        let is_form = method == Method::POST && endpoint::is_connect(uri.path());
        if is_vouched_for || method == Method::OPTIONS || !(is_form || endpoint::is_agents(uri.path())) {
            return false;
        }
        let snapshot = self.0.snapshot.load();
        let (auth, policy) = (&snapshot.config.auth, &snapshot.config.policy);
        let is_unknown = |evidence: Evidence<'_>| evidence.is_unknown_key(auth, &self.0.keys.load());
        let is_new = || Evidence::of(headers, auth, policy.dialect).is_ok_and(is_unknown);
        snapshot.gate.check(headers, uri).is_ok() && (is_form || is_new())
    }

    /// Returns when each API key was last used, in milliseconds since the Unix epoch, by its id; of those that were.
    pub fn key_uses(&self) -> SortedMap<Arc<str>, u64> {
        self.0.keys.load().uses()
    }
}

/// Tells whether a request is a channel's own, which ends what it began.
fn ends_channel(head: &Parts) -> bool {
    head.method == Method::DELETE && head.extensions.get::<Piped>().is_some()
}

/// Says where tokens for what a request asks are to be had, and with which scopes, in the words of a challenge.
fn challenge(head: &Parts, snapshot: &Snapshot, denial: &Denial) -> Option<String> {
    let auth = &snapshot.config.auth;
    if auth.issuers.is_empty() {
        return None;
    }
    let needed = match denial {
        Denial::Scope(scopes) => Some(&**scopes),
        _ => None,
    };
    let base = endpoint::base(head, snapshot);
    resource::challenge(auth, base.as_deref(), head.uri.path(), needed)
}
