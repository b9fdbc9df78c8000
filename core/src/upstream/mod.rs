//! The servers behind the gateway: what is known of each, and the links to it.
//!
//! A [`Link`] is one way of being known to a server. **Agents that a server can ask nothing share one; an agent that
//! can be asked gets a link of its own to a session-based server**, for its session or, where it has none, for its
//! call, so that no question, root or notification can reach another agent.

pub(crate) mod approved;
pub(crate) mod circuit;
pub(crate) mod compose;
pub(crate) mod handshake;
pub(crate) mod lane;
pub(crate) mod pauses;
mod signal;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::channel::{mpsc, oneshot};
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::catalog::inspect::Suspect;
use crate::catalog::{Kind, Offer, tells_of_changes};
use crate::config::{self, Consent, SignOn, Whose};
use crate::error::{Lack, Unreachable};
use crate::flow::Remarks;
use crate::flow::secrets::SecretHeaders;
use crate::flow::sign_on::SignedIn;
use crate::limits::Turns;
use crate::names::ServerName;
use crate::oauth::connect::EVERYONE;
use crate::oauth::connection::Token;
use crate::observe::Lasting;
use crate::pipe::Pipe;
use crate::secrets::SecretText;
use crate::session::Interaction;
use crate::sorted::{SortedMap, SortedSet};
use crate::wire::version::Version;
use approved::Approved;
use circuit::Circuit;
use handshake::Introduction;
use lane::{Carried, Lanes};
use pauses::BEFORE_A_SERVER;
pub(crate) use signal::Signal;

/// The most links to one server that belong to single sessions.
const OWN_LINKS: usize = 256;

/// How often a process that stops soon is started again without a pause.
const QUICK_RESTARTS: u32 = 3;

/// One server, as long as its configuration stays the same.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: ServerName,
    /// What tells it from every other server of this process, those that had its name before among them.
    pub(crate) address: String,
    /// What a sealed handle knows it by: the same on every instance, and another one once its name means another server.
    pub(crate) identity: String,
    /// What it is known by whomever it acts for: another once its name means another server.
    pub(crate) known_as: Arc<str>,
    /// Whose connection goes along with what is sent there, where users connect there and it is somebody's.
    pub(crate) acts_for: Option<Arc<str>>,
    pub(crate) settings: config::Server,
    /// After how long without a request its process is stopped, in milliseconds, where it does.
    pub(crate) idle: Option<u64>,
    /// Whether its process was stopped because nobody needs it.
    pub(crate) paused: AtomicBool,
    /// For whom it acts, where it acts for one principal alone.
    pub(crate) user: Option<Arc<str>>,
    /// Where it is, if it is reached over HTTP.
    pub(crate) target: Option<Target>,
    /// The link that agents share.
    pub(crate) shared: Arc<Link>,
    /// What is served of what it offers, once that is known.
    pub(crate) offer: ArcSwapOption<Offer>,
    /// What it was approved to offer, and what it does offer.
    pub(crate) approved: Approved,
    /// Tells the server's keeper that something has happened.
    pub(crate) nudge: mpsc::UnboundedSender<Nudge>,
    /// Whether agents' calls reach it.
    pub(crate) circuit: Circuit,
    /// Fired when the first attempt to discover the server is over.
    pub(crate) settled: Signal,
    /// The gateways that it is or leads to, as it says in its answers.
    pub(crate) behind: Mutex<SortedSet<String>>,
    /// Whether its process ends when it is asked in the stateless era first.
    #[cfg(feature = "hosting")]
    pub(crate) dies_of_probe: AtomicBool,
    /// Whether it is known to speak HTTP+SSE.
    pub(crate) speaks_sse: AtomicBool,
    /// Whether its items are listed; what it last offered keeps its names in any case.
    pub(crate) listed: AtomicBool,
    /// Whether what it offers is what the server offered that had its name before.
    pub(crate) inherited: AtomicBool,
    /// Whether a server of the stateless era has turned out to offer no sessions besides.
    pub(crate) has_no_sessions: AtomicBool,
    /// The resources that the server tells of, by its own URI.
    pub(crate) watched: futures::lock::Mutex<SortedMap<String, Watch>>,
    /// What has been said of its lists.
    pub(crate) remarks: Mutex<SortedMap<Kind, Remarks>>,
    /// What has been said of suspicious texts.
    pub(crate) warned: Mutex<SortedSet<Suspect>>,
    /// Held while its lists are read where it has no keeper.
    pub(crate) reading: futures::lock::Mutex<()>,
    /// When a refresh was last asked for, in milliseconds since the Unix epoch.
    refresh_asked: AtomicU64,
    /// The calls that run there, and those that wait.
    pub(crate) turns: Turns,
    own: Mutex<SortedMap<u64, Arc<Link>>>,
    pub(crate) lanes: Lanes,
    /// The secret headers that it refused last and whose values before it took.
    pub(crate) refused: Mutex<Option<SecretHeaders>>,
    /// What is held of signing in there.
    pub(crate) signed_in: SignedIn,
    /// The token of a connection that was presented last.
    pub(crate) presented: Mutex<Option<Token>>,
    /// The token that it has found wanting last.
    pub(crate) wanting: Mutex<Option<Wanting>>,
    /// Whether it waits for its user, and lists how it is connected in place of what it offers.
    pub(crate) awaits_consent: AtomicBool,
    status: Mutex<Status>,
}

/// A token of a connection that a server has found wanting.
#[derive(Debug, Clone)]
pub(crate) struct Wanting {
    pub(crate) token: Token,
    /// What its user has to do.
    pub(crate) lack: Lack,
    /// When that was first found, in milliseconds since the Unix epoch.
    pub(crate) since: u64,
}

/// Which server, whatever its settings: by its name and, where it acts for one user alone, that user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    pub(crate) name: ServerName,
    pub(crate) user: Option<Arc<str>>,
}

/// Where requests over HTTP go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) uri: http::Uri,
    /// What every request carries; credentials among it.
    pub(crate) headers: http::HeaderMap,
}

/// What a server's keeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// Its lists may be too old.
    Stale,
    /// It says that its lists have changed.
    Changed,
    /// The connection that told of changes has ended.
    Disconnected,
}

/// Whether a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Status {
    /// It has not answered yet, and its first attempt is still running.
    #[default]
    Starting,
    /// It answers.
    Up,
    /// It does not, and why.
    Down(Unreachable),
}

/// Whose link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Every agent's that cannot be asked anything.
    Shared,
    /// One legacy session's: its nonce, and what it may be asked.
    Session(u64, Interaction),
    /// A stateless agent's that may be asked this, for one call at a time.
    Lane(Interaction),
}

/// One way of being known to a server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) owner: Owner,
    /// What was agreed on with the server, while it holds.
    pub(crate) current: ArcSwapOption<Established>,
    /// Held during a handshake, so that there is one at a time.
    pub(crate) handshake: futures::lock::Mutex<Attempts>,
    /// When it was last used, in milliseconds since the Unix epoch.
    pub(crate) used: AtomicU64,
    /// The call that it carries, where it is a lane.
    pub(crate) carried: Carried,
    /// Fired when it is given up: what is heard over it ends.
    pub(crate) given_up: Signal,
}

/// How the last handshakes went.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) failures: u32,
    /// How often in a row its process stopped soon after the handshake.
    pub(crate) crashes: u32,
    /// When the last one succeeded, in milliseconds since the Unix epoch.
    pub(crate) made: u64,
    /// No earlier than this is the next one made, in milliseconds since the Unix epoch.
    pub(crate) not_before: u64,
    pub(crate) last: Option<Unreachable>,
}

/// What was agreed on with a server.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) version: Version,
    pub(crate) session: Option<HeaderValue>,
    /// Whether the session is another instance's, which others use as well: it is not ended here.
    pub(crate) is_borrowed: bool,
    pub(crate) pipe: Option<Pipe>,
    pub(crate) introduction: Introduction,
    /// The session's time, where it is one.
    pub(crate) _lasting: Lasting,
}

impl Established {
    /// Returns what another instance has agreed on with a server over HTTP.
    pub(crate) fn known(offer: &Offer, session: Option<HeaderValue>) -> Self {
        let introduction = offer.introduction.clone();
        let (version, is_borrowed) = (offer.version, session.is_some());
        Self { version, session, is_borrowed, pipe: None, introduction, _lasting: Lasting::default() }
    }

    /// Tells whether there is a session that ends with this instance's agreement.
    pub(crate) fn has_own_session(&self) -> bool {
        self.session.is_some() && !self.is_borrowed
    }
}

/// A resource that a server tells of.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The agreement under which it was asked to.
    pub(crate) established: Weak<Established>,
    /// Ends the stream of its own that a stateless server tells it on.
    pub(crate) stop: Option<oneshot::Sender<()>>,
}

impl Attempts {
    /// Notes a failed handshake: the next may come after a while.
    pub(crate) fn failed(&mut self, error: Unreachable, now: u64) {
        self.not_before = now + BEFORE_A_SERVER.millis_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(error);
    }

    /// Notes a process that stopped soon after its handshake: the first few times it is started again at once.
    pub(crate) fn crashed(&mut self, error: Unreachable, now: u64) {
        self.crashes += 1;
        if self.crashes > QUICK_RESTARTS {
            self.failed(error, now);
        }
    }

    /// Returns the last error while it is too early to try again.
    pub(crate) fn too_early(&self, now: u64) -> Option<Unreachable> {
        self.last.clone().filter(|_| now < self.not_before)
    }
}

impl Link {
    fn new(owner: Owner) -> Arc<Self> {
        Arc::new(Self {
            owner,
            current: ArcSwapOption::empty(),
            handshake: futures::lock::Mutex::default(),
            used: AtomicU64::new(0),
            carried: Carried::default(),
            given_up: Signal::default(),
        })
    }

    /// Tells whether this is what was agreed on last.
    pub(crate) fn holds(&self, established: &Arc<Established>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, established))
    }

    /// Forgets what was agreed on, if it is still this; a newer agreement stays.
    pub(crate) fn forget(&self, established: &Arc<Established>) {
        if self.holds(established) {
            self.current.store(None);
        }
    }
}

impl Server {
    /// Makes a server that nothing is known of yet, and what its keeper listens to. `edition` tells it from
    /// servers that had its name before.
    pub(crate) fn new(
        name: ServerName,
        settings: config::Server,
        edition: u64,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Nudge>) {
        Self::of(None, name, settings, edition)
    }

    /// Makes the server of one user in the same way.
    pub(crate) fn of_user(
        user: Arc<str>,
        name: ServerName,
        settings: config::Server,
        edition: u64,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Nudge>) {
        Self::of(Some(user), name, settings, edition)
    }

    fn of(
        user: Option<Arc<str>>,
        name: ServerName,
        settings: config::Server,
        edition: u64,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Nudge>) {
        let (nudge, nudges) = mpsc::unbounded();
        let target = match &settings.transport {
            config::Transport::Stdio(_) => None,
            // A URL that is no URI cannot be asked anything: every request to it fails with its reason.
            config::Transport::Http(endpoint) | config::Transport::Sse(endpoint) => {
                let uri: http::Uri = endpoint.url.as_str().parse().unwrap_or_default();
                let mut headers = endpoint.headers.clone();
                if let Some(Ok(host)) = uri.authority().map(|a| HeaderValue::from_str(a.as_str())) {
                    headers.insert(http::header::HOST, host);
                }
                Some(Target { uri, headers })
            }
        };
        let speaks_sse = AtomicBool::new(matches!(settings.transport, config::Transport::Sse(_)));
        let server = Self {
            address: match &user {
                None => format!("{name}#{edition}"),
                Some(user) => format!("{name}#{edition}@{user}"),
            },
            identity: identity(&name, &settings.transport, user.as_deref()),
            known_as: identity(&name, &settings.transport, None).into(),
            acts_for: match settings.consent().map(|(_, consent)| consent.whose) {
                Some(Whose::Everyone) => Some(EVERYONE.into()),
                Some(Whose::User) => user.clone(),
                None => None,
            },
            idle: settings
                .hosting()
                .and_then(|hosting| hosting.idle)
                .and_then(|idle| idle.as_millis().try_into().ok()),
            paused: AtomicBool::new(false),
            name,
            settings,
            user,
            target,
            shared: Link::new(Owner::Shared),
            offer: ArcSwapOption::empty(),
            approved: Approved::default(),
            nudge,
            circuit: Circuit::default(),
            settled: Signal::default(),
            behind: Mutex::default(),
            #[cfg(feature = "hosting")]
            dies_of_probe: AtomicBool::new(false),
            speaks_sse,
            listed: AtomicBool::new(false),
            inherited: AtomicBool::new(false),
            has_no_sessions: AtomicBool::new(false),
            watched: futures::lock::Mutex::default(),
            remarks: Mutex::default(),
            warned: Mutex::default(),
            reading: futures::lock::Mutex::default(),
            refresh_asked: AtomicU64::new(0),
            turns: Turns::default(),
            own: Mutex::default(),
            lanes: Lanes::default(),
            refused: Mutex::default(),
            signed_in: SignedIn::default(),
            presented: Mutex::default(),
            wanting: Mutex::default(),
            awaits_consent: AtomicBool::new(false),
            status: Mutex::default(),
        };
        (Arc::new(server), nudges)
    }

    /// Tells whether what it offers is what the server offered that had its name before.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited.load(Ordering::Relaxed)
    }

    /// Tells once whether the end of its pipe was meant, so that nobody has to see after it.
    pub(crate) fn is_put_aside(&self) -> bool {
        self.paused.swap(false, Ordering::Relaxed)
    }

    /// Tells whether it only stands for the servers of its users: it is never asked itself.
    pub(crate) fn is_stand_in(&self) -> bool {
        self.settings.is_per_user() && self.user.is_none()
    }

    /// Returns what tells it from the servers of other names and other users, whatever its settings.
    pub(crate) fn key(&self) -> ServerKey {
        ServerKey { name: self.name.clone(), user: self.user.clone() }
    }

    /// Returns the link of a session, made where there is none. Where there are too many, the one unused longest gives
    /// way to a new one, and one that is in use only where all are.
    /// Returns also the one that gave way.
    pub(crate) fn link_of(
        &self,
        nonce: u64,
        interaction: Interaction,
        now: u64,
    ) -> (Arc<Link>, Option<Arc<Link>>) {
        let mut own = lock(&self.own);
        let mut evicted = None;
        if !own.contains_key(&nonce) && own.len() >= OWN_LINKS {
            let rank = |link: &Arc<Link>| (Arc::strong_count(link) > 1, link.used.load(Ordering::Relaxed));
            let oldest = own.iter().min_by_key(|(_, link)| rank(link)).map(|(nonce, _)| *nonce);
            evicted = oldest.and_then(|nonce| own.remove(&nonce));
        }
        let link = own.entry(nonce).or_insert_with(|| Link::new(Owner::Session(nonce, interaction)));
        link.used.store(now, Ordering::Relaxed);
        (link.clone(), evicted)
    }

    /// Returns the link of a session where there is one.
    pub(crate) fn own_link(&self, nonce: u64) -> Option<Arc<Link>> {
        lock(&self.own).get(&nonce).cloned()
    }

    /// Gives up the link of a session.
    pub(crate) fn drop_link(&self, nonce: u64) -> Option<Arc<Link>> {
        lock(&self.own).remove(&nonce)
    }

    /// Tells whether there are no links but the shared one.
    pub(crate) fn has_no_links(&self) -> bool {
        lock(&self.own).is_empty() && self.lanes.is_empty()
    }

    /// Gives up the links that were last used before `time`.
    pub(crate) fn drop_idle_links(&self, time: u64) -> Vec<Arc<Link>> {
        let mut own = lock(&self.own);
        let idle: Vec<u64> =
            own.iter().filter(|(_, link)| is_idle(link, time)).map(|(nonce, _)| *nonce).collect();
        let idle = idle.into_iter().filter_map(|nonce| own.remove(&nonce));
        idle.chain(self.lanes.drop_idle(time)).collect()
    }

    /// Returns whether the server answers.
    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Notes whether the server answers; returns what was noted before.
    pub(crate) fn set_status(&self, status: Status) -> Status {
        let before = std::mem::replace(&mut *lock(&self.status), status);
        self.settled.fire();
        before
    }

    /// Takes over what the server offered that had its name before, until this one has answered.
    pub(crate) fn inherit(&self, former: &Self) {
        if let Some(seen) = former.seen() {
            self.serve(seen);
        }
        self.listed.store(former.listed.load(Ordering::Relaxed), Ordering::Relaxed);
        self.inherited.store(true, Ordering::Relaxed);
        lock(&self.behind).clone_from(&lock(&former.behind));
    }

    /// Tells whether it tells of changes, or may.
    pub(crate) fn may_tell_of_changes(&self) -> bool {
        let tells = |offer: &Arc<Offer>| tells_of_changes(&offer.introduction, offer.version);
        self.offer.load().as_ref().is_none_or(tells)
    }

    /// Tells whether it is to be read anew: its lists have grown old, or it did not answer.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let is_old = || self.offer.load().as_ref().is_none_or(|offer| offer.is_stale(now));
        self.status() != Status::Up || is_old()
    }

    /// Tells whether a refresh may be asked for: not more than once a second, and of a server that is down once in ten.
    pub(crate) fn begin_refresh(&self, now: u64) -> bool {
        let asked = self.refresh_asked.load(Ordering::Relaxed);
        let pause = if self.status() == Status::Up { 1000 } else { 10_000 };
        now.saturating_sub(asked) >= pause
            && self.refresh_asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Takes note that what was in the way may be gone: it may be asked again at once.
    pub(crate) fn tries_again(&self) {
        if let Some(mut attempts) = self.shared.handshake.try_lock() {
            attempts.last = None;
        }
        self.refresh_asked.store(0, Ordering::Relaxed);
    }

    /// Returns the headers that requests to it carry once the values of secrets are known.
    pub(crate) fn secret_headers(&self) -> &[(HeaderName, SecretText)] {
        match &self.settings.transport {
            config::Transport::Stdio(_) => &[],
            config::Transport::Http(endpoint) | config::Transport::Sse(endpoint) => &endpoint.secret_headers,
        }
    }

    /// Returns where it is and how the gateway signs in there by itself, where it does.
    pub(crate) fn sign_on(&self) -> Option<(&url::Url, &SignOn)> {
        match &self.settings.transport {
            config::Transport::Stdio(_) => None,
            config::Transport::Http(endpoint) | config::Transport::Sse(endpoint) => {
                Some((&endpoint.url, endpoint.sign_on.as_ref()?))
            }
        }
    }

    /// Returns where it is and how its users sign in there, where they do.
    pub(crate) fn consent(&self) -> Option<(&url::Url, &Consent)> {
        self.settings.consent()
    }

    /// Returns an error about this server; `message` continues "server X ...".
    pub(crate) fn error(&self, message: impl Into<String>) -> Unreachable {
        Unreachable::new(self.name.as_str(), message)
    }
}

/// Returns a digest of a server's name, of where it is, and of whom it acts for. The headers that requests carry are left out: credentials
/// change while a server stays. A process is what it is started with, its environment included.
fn identity(name: &ServerName, transport: &config::Transport, user: Option<&str>) -> String {
    let mut hash = Sha256::new();
    let mut take = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    take(name.as_str());
    match transport {
        config::Transport::Http(endpoint) | config::Transport::Sse(endpoint) => take(endpoint.url.as_str()),
        config::Transport::Stdio(command) => {
            take(&command.program);
            take(command.cwd.as_deref().unwrap_or_default());
            command
                .env
                .iter()
                .for_each(|(name, value)| [name, value].into_iter().for_each(|text| take(text)));
            // By name: what they stand for may change while it stays the same server.
            for (name, text) in &command.secret_env {
                take(name);
                text.names().into_iter().for_each(|secret| take(secret.as_str()));
            }
            take("args");
            command.args.iter().for_each(|arg| take(arg));
        }
    }
    if let Some(user) = user {
        // No text has this length.
        hash.update(u64::MAX.to_le_bytes());
        hash.update(user);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..12])
}

/// A link is idle when nobody has used it since `time` and nobody holds it.
fn is_idle(link: &Arc<Link>, time: u64) -> bool {
    link.used.load(Ordering::Relaxed) < time && Arc::strong_count(link) == 1
}

/// Locks a mutex; what a panicking holder left is taken as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Transport};

    fn process(args: &[&str], env: &[(&str, &str)]) -> Transport {
        Transport::Stdio(Command {
            program: "p".into(),
            args: args.iter().map(|arg| (*arg).into()).collect(),
            env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            ..Command::default()
        })
    }

    #[test]
    fn another_place_or_name_is_another_identity() {
        let url = |url: &str| crate::testing::server(url).transport;
        let name = |name: &str| ServerName::parse(name).unwrap();
        let mut all: Vec<_> = [
            url("http://a.test/mcp"),
            url("http://b.test/mcp"),
            url("http://a.test/mcp/x"),
            process(&[], &[]),
            process(&["x", "y"], &[]),
            process(&["xy"], &[]),
            process(&[], &[("x", "y")]),
            process(&[], &[("x", "z")]),
        ]
        .iter()
        .flat_map(|transport| {
            let of = |name_of: &str, user| identity(&name(name_of), transport, user);
            [of("a", None), of("b", None), of("a", Some("u")), of("a", Some("v"))]
        })
        .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn other_credentials_at_the_same_place_are_the_same_identity() {
        let mut settings = crate::testing::server("http://a.test/mcp");
        let before = Server::new(ServerName::parse("a").unwrap(), settings.clone(), 1).0;
        if let Transport::Http(endpoint) = &mut settings.transport {
            endpoint.headers.insert("x-key", HeaderValue::from_static("another"));
        }
        let after = Server::new(ServerName::parse("a").unwrap(), settings, 2).0;
        assert_eq!(before.identity, after.identity);
        assert_ne!(before.address, after.address);
    }
}
