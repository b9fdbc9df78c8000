//! What a host provides. Each trait is one capability of the platform; [`Host`] is all of them.
//!
//! **Nothing in this crate reads a clock, randomness, the environment or a file except through these traits.**

mod stores;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::approval::Sighting;
use crate::audit::{Entry, Page, Query, Unreadable, Verdicts};
use crate::body::{Body, Reply, Whole};
use crate::config::{Audit, Command};
#[cfg(feature = "control")]
use crate::control::Asset;
use crate::control::StoreError;
use crate::error::Unreachable;
use crate::gateway::SealKeys;
use crate::metrics::{Gauge, Metrics};
use crate::names::ServerName;
use crate::oauth::{PrivateKey, PublicKey};
use crate::observe::{Ended, Exchange, Operation, Side, SpanContext};
use crate::pipe::PipeEnd;
use crate::quota::{Counted, Exhausted, Hold};
use crate::sorted::SortedMap;
use crate::upstream::lock;

pub use stores::{
    ConfigStore, ConnectionStore, KeyStore, KeyWrap, RecordKey, RecordStore, SecretStore, TokenFamilies,
};

/// The chunks of a body, in order; an error ends them.
pub type Chunks = BoxStream<'static, Result<Bytes, Unreachable>>;

/// The time, as the platform has it.
pub trait Clock {
    /// Returns milliseconds since the Unix epoch.
    fn now(&self) -> u64;

    /// Completes once `duration` has passed.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// Cryptographically secure randomness.
pub trait Entropy {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// A signature, and what it is said to be of.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'s> {
    /// The key that is said to have made it; the key tells how.
    pub key: &'s PublicKey,
    /// What is signed.
    pub message: &'s [u8],
    /// The signature as a token has it (RFC 7518 §3.3, §3.4; RFC 8037 §3.1).
    pub signature: &'s [u8],
}

/// Signatures of others.
pub trait Signatures {
    /// Tells whether a key has made a signature of a message; a key that is none has made none.
    fn verifies(&self, signed: &Signed<'_>) -> impl Future<Output = bool> + Send;
}

/// The ways to an MCP server.
pub trait Upstream {
    /// Sends one HTTP request and returns the head of its answer with the body still streaming.
    ///
    /// **Redirects are not followed**: the caller decides where credentials may go. Dropping the body closes it. A request may
    /// say that its address is a stranger's ([`NamedByStranger`]).
    fn fetch(
        &self,
        request: http::Request<Whole>,
    ) -> impl Future<Output = Result<http::Response<Chunks>, Unreachable>> + Send;

    /// Starts `command` as a subprocess speaking newline-delimited JSON and ties it to `end`.
    ///
    /// The host writes what [`PipeEnd::next`] yields to standard input, feeds each line of standard output to
    /// [`PipeEnd::receive`], calls [`PipeEnd::leave`] once it writes nothing more, and [`PipeEnd::close`] when the
    /// process has gone. When `next` yields nothing
    /// more, the host stops the process: closed stdin, then TERM, then KILL.
    /// A line of more than `longest` bytes ends the process.
    /// Hosts that cannot start processes answer [`Unreachable`].
    fn launch(
        &self,
        server: &ServerName,
        command: &Command,
        end: PipeEnd,
        longest: usize,
    ) -> impl Future<Output = Result<(), Unreachable>> + Send;
}

/// Work that outlives the answer that began it.
pub trait Background {
    /// Runs `work` to its end, as the platform allows.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static);

    /// Runs `work`, which lasts for as long as a connection does. A platform that waits for what was begun by a request
    /// does not wait for this.
    fn spawn_lasting(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work);
    }
}

/// Where what comes by one request meets the flow of another that waits for it.
///
/// A platform whose requests all come to one process uses [`Meetings`]; one that has an owner elsewhere (a Durable
/// Object) sends the message there.
pub trait Rendezvous {
    /// Waits for the one message that is delivered at `place`. **It can be delivered from the time of this call on**,
    /// not only from the first poll; once the future is dropped it can no longer be.
    fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send;

    /// Delivers a message to whoever waits at `place`; returns whether anybody did.
    fn deliver(&self, place: u64, message: Bytes) -> impl Future<Output = bool> + Send;
}

/// Where requests are counted, for limits that hold across them.
///
/// A platform whose requests all come to one process uses [`Tallies`](crate::quota::Tallies).
pub trait Quotas {
    /// Takes one from each count, or nothing. A host that cannot reach its counts answers
    /// [`Exceeded::Unknown`](crate::quota::Exceeded::Unknown).
    fn take(&self, counted: &[Counted], now: u64) -> impl Future<Output = Result<Hold, Exhausted>> + Send;
}

/// Someone who is told of every request: to count, to trace, to write it down.
///
/// **Called while requests are answered**: it returns at once, waits for nothing and takes no lock that others hold.
pub trait Observe: Send + Sync {
    /// Returns nanoseconds since some fixed moment; never fewer than before.
    fn ticks(&self) -> u64;

    /// Takes note that an operation begins; returns its place in a trace where it gets one.
    fn begin(&self, side: Side, parent: Option<SpanContext>) -> Option<SpanContext>;

    /// Takes note of an operation that is over.
    fn end(&self, operation: &Operation<'_>);

    /// Takes note of an HTTP request whose answer is about to go out.
    fn answered(&self, exchange: &Exchange);

    /// Takes note of a session that is over.
    fn session_ended(&self, session: &Ended<'_>);

    /// Returns the counters, where it keeps some, and adds what only the platform knows of the moment to `gauges`.
    fn metrics(&self, gauges: &mut Vec<Gauge>) -> Option<&Metrics>;
}

/// Where the audit trail goes.
///
/// **Called while requests are answered**: it returns at once and waits for nothing. What it makes of an entry then takes
/// no longer than a draft ([`Entry::draft`]).
pub trait AuditSink: Send + Sync {
    /// Returns nanoseconds since some fixed moment; never fewer than before.
    fn ticks(&self) -> u64;

    /// Returns milliseconds since the Unix epoch.
    fn now(&self) -> u64;

    /// Takes an entry of something that is over. One that there is no room for is lost, and counted.
    fn record(&self, entry: Entry);

    /// Takes other settings; one that has none ignores them.
    fn configure(&self, _settings: &Audit) {}

    /// Tells whether entries cannot be recorded for now, or soon will not be.
    fn is_failing(&self) -> bool;

    /// Returns how it is with the trail, for people.
    fn state(&self) -> AuditState;
}

/// Where the audit trail is read again.
pub trait AuditQuery: Send + Sync {
    /// Returns a page of the entries that are asked for.
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>>;

    /// Reads chains, from the beginning or from where an earlier check told to go on, and says what they are.
    fn verify(&self, cursor: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>>;
}

/// What kind of place a gateway runs in, and so what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// A process: it runs until it is stopped, and every request comes to it. It keeps its servers known in the
    /// background, and holds sessions, parked calls and streams itself.
    #[default]
    Process,
    /// One of many, to which all requests of one session, or of one principal, come; it is put away while nobody asks.
    /// It holds what they need, learns of servers from the [`CatalogStore`], and keeps them known only while somebody
    /// listens.
    Owner,
    /// One of many, to which any request may come, and in which nothing runs between requests. It learns of servers from
    /// the [`CatalogStore`], and hands requests that need an owner to one of the host's [`Owners`]; where there are none,
    /// what needs one is not offered.
    Isolate,
    /// One of many, to which any request may come, and which is frozen between requests. It learns of servers from the
    /// [`CatalogStore`], and keeps them known only while somebody listens, for as long as that request lasts. It holds
    /// nothing beyond a request, and has nobody to hand it to: what needs an owner is not offered.
    Function,
}

/// In a request's extensions: when the platform ends the request, in milliseconds since the Unix epoch. Streams end
/// before that, and what is not answered by then is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub u64);

/// In a request's extensions: the front passes on nothing before the answer is whole, and no more than so many bytes.
/// There is no listening then, and every answer is one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undivided(pub usize);

/// In the extensions of a request that is fetched: somebody whom nobody configured has named where it goes. A host that could
/// reach networks of others' than the public one connects to no address within them, whatever a name leads to when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedByStranger;

/// Where what may be used only once is taken note of, for all instances.
///
/// A place that every use comes to needs none: it remembers by itself.
pub trait Once: Send + Sync {
    /// Takes note that `stamp` is used; tells whether this is the first time. The note may be lost after `until`, in
    /// milliseconds since the Unix epoch.
    fn take(&self, stamp: &str, until: u64) -> BoxFuture<'_, Result<bool, Unreachable>>;

    /// Strikes the note out, so that `stamp` can be used once more.
    fn give_back(&self, stamp: &str) -> BoxFuture<'_, Result<(), Unreachable>>;
}

/// The owners of what must outlive a request, where that is not this process.
pub trait Owners: Send + Sync {
    /// Hands a request to the owner of that name, which answers it by
    /// [`Gateway::serve_handed`](crate::Gateway::serve_handed). Dropping the answer's body tells the owner that nobody
    /// reads on.
    ///
    /// The same name is the same owner. Names begin with the principal, so that what one principal does is apart from
    /// what others do.
    fn hand_over(
        &self,
        owner: String,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>>;

    /// Hands over a request whose answer is a stream on which an agent listens for as long as it likes. An owner may put
    /// it to rest ([`Rest`](crate::Rest)).
    fn open_stream(
        &self,
        owner: String,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, Unreachable>> {
        self.hand_over(owner, request)
    }

    /// Returns the keys that an owner seals with, where they are not those of this instance.
    fn keys_of(&self, _owner: &str) -> Option<SealKeys> {
        None
    }

    /// Takes a place among what an owner answers at a time, before anything of a request is read, and waits for it within
    /// reason; it is given back when it is dropped. Returns nothing where the owner has too much to do.
    fn place_at(&self, _owner: &str, _whole: Answered) -> BoxFuture<'static, Option<OwnersPlace>> {
        Box::pin(std::future::ready(Some(Box::new(()) as OwnersPlace)))
    }
}

/// A place among what an owner answers at a time.
pub type OwnersPlace = Box<dyn std::any::Any + Send>;

/// How an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It ends once there is nothing more to say.
    Whole,
    /// It is a stream on which an agent listens for as long as it likes.
    Listening,
}

/// A gateway that is an identity's own, as a host that makes such keeps it.
#[cfg(feature = "control")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// By what it is known.
    pub id: String,
    /// The principal whose it is.
    pub principal: String,
    /// Whether it runs.
    pub runs: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made: u64,
    /// When it was asked last, in milliseconds since the Unix epoch; nothing where that is not known any more.
    pub asked: Option<u64>,
    /// How many requests it is answering.
    pub requests: usize,
}

/// The gateways that are identities' own, for whoever governs.
#[cfg(feature = "control")]
pub trait Instances: Send + Sync {
    /// Returns all of them, also those that were put away, by their ids.
    fn list(&self) -> BoxFuture<'_, Result<Vec<InstanceRecord>, StoreError>>;

    /// Ends one and removes all that it held; tells whether there was one. Its identity's next request makes another.
    fn remove(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// What all instances know of the servers, kept by one of them.
///
/// The text is the gateway's own ([`Gateway::catalog`](crate::Gateway::catalog)); it can be read by whoever can read the
/// store, and holds no credentials in the clear.
pub trait CatalogStore: Send + Sync {
    /// Returns what was published last; nothing where nothing was, or it cannot be had.
    fn published(&self) -> BoxFuture<'static, Option<Bytes>>;

    /// Has the one that keeps it bring it up to date and publish it; returns what is published then. `changed` is what a
    /// server is known by there ([`Gateway::catalog`](crate::Gateway::catalog)) whose lists have changed.
    fn refresh(&self, changed: Option<&str>) -> BoxFuture<'static, Result<Bytes, Unreachable>>;
}

/// Where an [`Owner`](Place::Owner) writes down what it must still know after it was put away.
pub trait Notebook: Send + Sync {
    /// Writes a note, in place of another with the same key; it may be lost after `until`, in milliseconds since the
    /// Unix epoch.
    fn write(&self, key: &str, value: &str, until: u64);

    /// Strikes out a note, where there is one.
    fn strike(&self, key: &str);

    /// Returns all notes: key, value, and until when they count.
    fn read(&self) -> Vec<(String, String, u64)>;
}

/// What servers say of themselves, written down; and where approvals lie that are not part of a configuration in a store.
pub trait Definitions: Send + Sync {
    /// Keeps the approval of a server in place of the one before; without one there is none from now on.
    fn approve(&self, server: String, approval: Option<String>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes note of what a server says; returns at once.
    fn seen(&self, sighting: Sighting);
}

/// How it is with the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditState {
    /// Why entries cannot be recorded, where they cannot.
    pub trouble: Option<String>,
    /// How many wait to be recorded.
    pub waiting: usize,
    /// How many have been recorded.
    pub recorded: usize,
    /// How many there was no room for.
    pub lost: usize,
}

/// Why nothing was signed. It repeats nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// The platform signs nothing.
    #[error("cannot be used: this gateway's host signs nothing; use `client_secret`")]
    Impossible,
    /// The key is none.
    #[error("is no private key that can sign")]
    Key,
}

/// What the key of a seed has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedSigned {
    /// The key's public half.
    pub key: [u8; 32],
    /// The signature.
    pub signature: Vec<u8>,
}

/// Everything a platform gives to the gateway. Cheap to clone.
pub trait Host:
    Clock + Entropy + Signatures + Upstream + Background + Rendezvous + Quotas + Clone + Send + Sync + 'static
{
    /// Returns where configurations lie; nowhere, unless the platform says otherwise.
    fn configurations(&self) -> Option<&Arc<dyn ConfigStore>> {
        None
    }

    /// Returns where API keys lie; nowhere, unless the platform says otherwise.
    fn keys(&self) -> Option<&Arc<dyn KeyStore>> {
        None
    }

    /// Returns where the records of the control plane lie; nowhere, unless the platform says otherwise.
    fn records(&self) -> Option<&Arc<dyn RecordStore>> {
        None
    }

    /// Returns the files of the console; none, unless the platform says otherwise.
    #[cfg(feature = "control")]
    fn assets(&self) -> &'static [Asset] {
        &[]
    }

    /// Returns where secrets lie; nowhere, unless the platform says otherwise.
    fn secrets(&self) -> Option<&Arc<dyn SecretStore>> {
        None
    }

    /// Signs a message with a private key: as a token has it (RFC 7518 §3.3, §3.4). A platform that cannot says so, unless
    /// it says otherwise.
    fn sign(&self, _key: PrivateKey, _message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, NotSigned>> {
        Box::pin(std::future::ready(Err(NotSigned::Impossible)))
    }

    /// Signs a message with the Ed25519 key of a seed (RFC 8032); returns the key's public half and the signature. A platform
    /// that cannot says so, unless it says otherwise.
    fn sign_with_seed(
        &self,
        _seed: [u8; 32],
        _message: Vec<u8>,
    ) -> BoxFuture<'_, Result<SeedSigned, NotSigned>> {
        Box::pin(std::future::ready(Err(NotSigned::Impossible)))
    }

    /// Returns where connections lie; nowhere, unless the platform says otherwise.
    fn connections(&self) -> Option<&Arc<dyn ConnectionStore>> {
        None
    }

    /// Returns what wraps the keys of connections; the gateway's seal keys do, unless the platform says otherwise.
    fn key_wrap(&self) -> Option<&Arc<dyn KeyWrap>> {
        None
    }

    /// Looks up what `${NAME}` in a configuration stands for; nothing does, unless the platform says otherwise.
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    /// Returns what the platform could give and was not told to, by its name there, and what is lost by that.
    fn lacks(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// Tells whether the platform can start programs, as servers with a `command` need.
    fn starts_processes(&self) -> bool {
        true
    }

    /// Returns how large a message may be that is held whole, in bytes, whatever the configuration says; as large as
    /// that, unless the platform says otherwise.
    fn largest_message(&self) -> usize {
        usize::MAX
    }

    /// Returns who observes; nobody, unless the platform says otherwise.
    fn observer(&self) -> Option<&Arc<dyn Observe>> {
        None
    }

    /// Returns where the audit trail goes; nowhere, unless the platform says otherwise.
    fn audit(&self) -> Option<&Arc<dyn AuditSink>> {
        None
    }

    /// Returns where is written down what servers say; nowhere, unless the platform says otherwise.
    fn definitions(&self) -> Option<&Arc<dyn Definitions>> {
        None
    }

    /// Returns where the audit trail is read; nowhere, unless the platform says otherwise.
    fn trail(&self) -> Option<&Arc<dyn AuditQuery>> {
        None
    }

    /// Returns what kind of place this is; a process, unless the platform says otherwise.
    fn place(&self) -> Place {
        Place::Process
    }

    /// Returns to whom an isolate hands what needs an owner; to nobody, unless the platform says otherwise.
    fn owners(&self) -> Option<&Arc<dyn Owners>> {
        None
    }

    /// Returns to whom it is handed what an identity asks that has a gateway of its own; to whom an isolate hands the rest,
    /// unless the platform says otherwise.
    fn identities(&self) -> Option<&Arc<dyn Owners>> {
        self.owners()
    }

    /// Tells whether this process is that owner's own without being handed anything, since the platform keeps owners apart, or why
    /// it is not. It is told of every owner whose request was let in.
    fn is_owned_by(&self, _owner: &str) -> Result<(), &'static str> {
        Err(
            "each identity is to have a gateway of its own, and this one makes none: its operator has to start it anew, or on a \
             host that can",
        )
    }

    /// Returns the gateways that are identities' own; there are none, unless the platform says otherwise.
    #[cfg(feature = "control")]
    fn instances(&self) -> Option<&Arc<dyn Instances>> {
        None
    }

    /// Returns where an owner writes down what it must still know after it was put away; nowhere, unless the platform
    /// says otherwise.
    fn notebook(&self) -> Option<&Arc<dyn Notebook>> {
        None
    }

    /// Returns where it is noted what was used, for all instances; nowhere, unless the platform says otherwise.
    fn once(&self) -> Option<&Arc<dyn Once>> {
        None
    }

    /// Returns where it is noted how far families of tokens have come; nowhere, unless the platform says otherwise, and then
    /// the gateway signs nobody in.
    fn token_families(&self) -> Option<&Arc<dyn TokenFamilies>> {
        None
    }

    /// Returns where instances share what they know of servers; nowhere, unless the platform says otherwise.
    fn catalog(&self) -> Option<&Arc<dyn CatalogStore>> {
        None
    }
}

/// The meeting places of one process. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Meetings(Arc<Mutex<SortedMap<u64, oneshot::Sender<Bytes>>>>);

/// A wait at a place, which ends the meeting when it is dropped.
struct Meeting {
    meetings: Meetings,
    place: u64,
    message: oneshot::Receiver<Bytes>,
}

impl Meetings {
    fn places(&self) -> MutexGuard<'_, SortedMap<u64, oneshot::Sender<Bytes>>> {
        lock(&self.0)
    }

    /// Waits as [`Rendezvous::meet`] does.
    pub fn meet(&self, place: u64) -> impl Future<Output = Bytes> + Send + use<> {
        let (sender, message) = oneshot::channel();
        self.places().insert(place, sender);
        Meeting { meetings: self.clone(), place, message }
    }

    /// Delivers as [`Rendezvous::deliver`] does.
    pub fn deliver(&self, place: u64, message: Bytes) -> bool {
        let waiting = self.places().remove(&place);
        waiting.is_some_and(|waiting| waiting.send(message).is_ok())
    }
}

impl Future for Meeting {
    type Output = Bytes;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Bytes> {
        match Pin::new(&mut self.message).poll(context) {
            Poll::Ready(Ok(message)) => Poll::Ready(message),
            // Another waits at this place now, and this one for good.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // A place is random and met at once.
        self.meetings.places().remove(&self.place);
    }
}
