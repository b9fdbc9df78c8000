//! Keeping what servers offer: one keeper per server reads its lists, again when they change or grow old, and tries
//! again, ever more slowly, while it does not answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{self, Either};

use crate::catalog::inspect::{Suspect, Suspects};
use crate::catalog::{Item, Kind, Offer, Room, View, capability, read_page};
use crate::error::{Unreachable, code};
use crate::front::Caller;
use crate::gateway::{Gateway, Keeper, SETTLING, Snapshot};
use crate::identity::Identity;
use crate::pipe::Wait;
use crate::ports::{Host, Place};
use crate::upstream::compose::Ask;
use crate::upstream::pauses::BEFORE_A_SERVER;
use crate::upstream::{Nudge, Server, Status, lock};
use crate::wire::json::{Json, quote};
use crate::wire::message::{self, Message};
use crate::wire::version::Era;

/// How often it is looked whether anybody listens, where servers are kept only for those.
const LOOK: Duration = Duration::from_secs(15);
/// How often in a function, which is not frozen before that.
const LOOK_OF_FUNCTION: Duration = Duration::from_millis(200);
/// The least time between two readings of a server's lists.
const BREATH: Duration = Duration::from_millis(100);
/// The most pages that one list may have.
const PAGES: usize = 1000;
/// The most items that one list may have.
const ITEMS: usize = 100_000;
/// A list may have the bytes of a message of the greatest length, divided by this: it is kept in several forms.
const FORMS: usize = 8;
/// How many bytes it may have in any case.
const LEAST_LIST: usize = 1 << 20;
/// The longest cursor that is sent back, in bytes.
const CURSOR: usize = 16 << 10;
/// How much of what is wrong with a list is logged.
const REMARKS: usize = 10;
/// How many findings about one server's texts are logged.
const WARNINGS: usize = 1000;
/// How long a list is taken for current at least, in milliseconds, whatever the server says.
const LEAST_TTL: u64 = 1000;

/// What is wrong with a list, for the operator.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    first: Vec<String>,
    more: usize,
}

impl Remarks {
    fn add(&mut self, remark: &impl ToString) {
        if self.first.len() < REMARKS {
            self.first.push(remark.to_string());
        } else {
            self.more += 1;
        }
    }

    /// Logs what has not been said of the list as it was read last.
    fn tell(self, server: &Server, kind: Kind) {
        let mut told = lock(&server.remarks);
        if told.get(&kind).is_some_and(|before| *before == self) {
            return;
        }
        for remark in &self.first {
            tracing::warn!(server = %server.name, list = kind.method(), remark, "a list is not as it should be");
        }
        if self.more > 0 {
            tracing::warn!(server = %server.name, list = kind.method(), more = self.more, "there is more wrong with it");
        }
        told.insert(kind, self);
    }
}

/// Logs what is suspicious and has not been said of the server; where and what, never the text.
fn warn(server: &Server, suspects: &Suspects) {
    let mut warned = lock(&server.warned);
    for suspect in &suspects.first {
        if warned.len() >= WARNINGS || !warned.insert(suspect.clone()) {
            continue;
        }
        let Suspect { item, finding } = suspect;
        let what = finding.what.code();
        tracing::warn!(server = %server.name, item, "where" = finding.place, what, "a text of the server is suspicious");
        if warned.len() == WARNINGS {
            tracing::warn!(server = %server.name, "suspicious texts of this server are no longer logged; doctor lists them");
        }
    }
}

impl<H: Host> Gateway<H> {
    /// Begins to keep servers, each until its shared link is given up; in a place that is put away while nobody asks, and
    /// where they act for a user, only while somebody listens.
    pub(crate) fn begin(&self, keepers: Vec<Keeper>) {
        if self.keeps_apart(&self.snapshot()) {
            return;
        }
        let place = self.host().place();
        let keepers = keepers.into_iter().filter(|(server, _)| !server.is_stand_in());
        #[cfg(feature = "hosting")]
        let keepers = keepers.inspect(|(server, _)| {
            if let Some(idle) = server.idle.filter(|_| place == Place::Process) {
                self.pause_when_idle(server, idle);
            }
        });
        let (lasting, waiting): (Vec<_>, Vec<_>) =
            keepers.partition(|(server, _)| place == Place::Process && server.user.is_none());
        for (server, mut nudges) in lasting {
            let (gateway, given_up) = (self.clone(), server.shared.given_up.wait());
            self.host().spawn(async move {
                future::select(std::pin::pin!(gateway.keep(&server, &mut nudges)), given_up).await;
            });
        }
        if place != Place::Isolate && !waiting.is_empty() {
            lock(&self.0.asleep).extend(waiting);
            self.wake_keepers();
        }
    }

    /// Begins to keep the servers that nobody keeps, if somebody listens who may reach them. One that tells of nothing need
    /// not be kept: its lists are read again when they are old.
    pub(super) fn wake_keepers(&self) {
        if !self.is_heard() {
            return;
        }
        let (snapshot, keys, now) = (self.snapshot(), self.0.keys.load(), self.host().now());
        let listens = |who: &Identity, server: &Server| {
            let who = who.under(&snapshot.config, &keys, now);
            who.is_some_and(|who| !snapshot.is_anothers(&server.name, &who))
        };
        let concerns = |server: &Server| {
            if let Some(user) = &server.user {
                return self.0.hub.hears(user);
            }
            snapshot.is_shared(server) || self.0.hub.any(|heard| listens(&heard.who.0, server))
        };
        let waking: Vec<_> = lock(&self.0.asleep)
            .extract_if(.., |(server, _)| server.may_tell_of_changes() && concerns(server))
            .collect();
        for keeper in waking {
            self.host().spawn(self.clone().keep_while_heard(keeper));
        }
    }

    /// Keeps a server until nobody listens any more. What it says unasked goes to one of those who share a session with
    /// it: so here it gets a session of its own.
    async fn keep_while_heard(self, (server, mut nudges): Keeper) {
        if let Some(unheard) = server.shared.current.swap(None) {
            self.leave(&server, unheard);
        }
        let given_up = server.shared.given_up.wait();
        {
            let deserted = std::pin::pin!(self.deserted(server.user.as_deref()));
            let keeping = std::pin::pin!(self.keep(&server, &mut nudges));
            future::select(keeping, future::select(given_up, deserted)).await;
        }
        if server.shared.given_up.has_fired() {
            return;
        }
        if let Some(established) = server.shared.current.swap(None) {
            self.leave(&server, established);
        }
        lock(&self.0.asleep).push((server, nudges));
        self.wake_keepers();
    }

    /// Waits until nobody listens any more, or a user does not; for ever in a place that lasts, but for a user.
    pub(super) async fn deserted(&self, user: Option<&str>) {
        let look = match self.host().place() {
            Place::Process if user.is_none() => return future::pending().await,
            Place::Function => LOOK_OF_FUNCTION,
            Place::Process | Place::Owner | Place::Isolate => LOOK,
        };
        while user.map_or_else(|| self.0.hub.open() > 0, |user| self.0.hub.hears(user)) {
            self.host().sleep(look).await;
        }
    }

    /// Keeps the offer of one server for as long as the gateway lives.
    pub(crate) async fn keep(&self, server: &Arc<Server>, nudges: &mut mpsc::UnboundedReceiver<Nudge>) {
        let mut failures = 0u32;
        loop {
            match self.discover(server).await {
                Ok(offer) => {
                    failures = 0;
                    self.share_change(server, &offer).await;
                    self.has_read(server, offer);
                }
                Err(error) => {
                    failures += 1;
                    self.down(server, error, failures);
                }
            }
            // A server that never stops changing is read a few times a second, not all the time.
            self.host().sleep(BREATH).await;
            let nudge = if failures == 0 { nudges.next().await } else { self.pause(failures, nudges).await };
            if nudge.is_none() {
                return;
            }
            // The lists are read once for all that has happened so far.
            while nudges.try_recv().is_ok() {}
        }
    }

    /// Waits before the next attempt.
    async fn pause(&self, failures: u32, nudges: &mut mpsc::UnboundedReceiver<Nudge>) -> Option<Nudge> {
        let mut pause = std::pin::pin!(self.host().sleep(BEFORE_A_SERVER.after(failures - 1)));
        loop {
            match future::select(&mut pause, nudges.next()).await {
                // A server that has only just failed is not tried sooner because somebody asks for it.
                Either::Right((Some(Nudge::Stale | Nudge::Disconnected), _)) => {}
                Either::Right((nudge, _)) => return nudge,
                Either::Left(_) => return Some(Nudge::Stale),
            }
        }
    }

    pub(super) fn up(&self, server: &Arc<Server>, offer: Offer) {
        let count = |kind| offer.items(kind).len();
        let (tools, prompts, resources) = (count(Kind::Tools), count(Kind::Prompts), count(Kind::Resources));
        let version = offer.version;
        if server.circuit.heard(self.host().now()) {
            tracing::info!(server = %server.name, "server answers again");
        }
        server.serve(Arc::new(offer));
        server.awaits_consent.store(false, Ordering::Relaxed);
        server.inherited.store(false, Ordering::Relaxed);
        server.listed.store(true, Ordering::Relaxed);
        self.snapshot().views.invalidate();
        if server.set_status(Status::Up) != Status::Up {
            tracing::info!(server = %server.name, %version, tools, prompts, resources, "server is up");
        }
        self.views_changed();
        self.tell_unknown_names();
    }

    /// Notes that a server does not answer. What it offered stays listed through a first failure, so that a restart
    /// does not make every agent lose its tools for a second.
    pub(super) fn down(&self, server: &Arc<Server>, error: Unreachable, failures: u32) {
        if self.0.stopping.load(Ordering::Relaxed) {
            return;
        }
        if error.lack.is_some() && server.user.is_some() {
            return self.awaits_consent(server, error);
        }
        let repeated =
            matches!(server.set_status(Status::Down(error.clone())), Status::Down(before) if before == error);
        if repeated {
            tracing::debug!(server = %server.name, reason = %error.message, "server is still down");
        } else {
            tracing::warn!(server = %server.name, reason = %error.message, "server is down; its tools are left out until it answers");
        }
        if failures > 1 && server.listed.swap(false, Ordering::Relaxed) {
            self.snapshot().views.invalidate();
            self.views_changed();
        }
    }

    /// Reads a server's lists now.
    pub(crate) async fn refresh(&self, server: &Arc<Server>) -> Result<(), Unreachable> {
        let offer = self.discover(server).await?;
        self.has_read(server, offer);
        Ok(())
    }

    async fn discover(&self, server: &Arc<Server>) -> Result<Offer, Unreachable> {
        let established = self.establish(server, &server.shared).await?;
        let mut offer = Offer::new(established.version, established.introduction.clone(), self.host().now());
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| capability(&established.introduction, kind.capability()).is_some());
        let lists = kinds.map(|kind| async move { (kind, self.list(server, kind).await) });
        let (mut read, mut failure) = (0, None);
        for (kind, list) in future::join_all(lists).await {
            match list {
                Ok((items, ttl)) => {
                    read += 1;
                    offer.set_items(kind, items);
                    offer.ttl = offer.ttl.min(ttl);
                }
                Err(error) => {
                    // One list that fails does not take the others with it.
                    tracing::warn!(server = %server.name, list = kind.method(), reason = %error.message, "cannot read a list");
                    let inherited = server.inherited.load(Ordering::Relaxed);
                    let before = server.seen().filter(|_| !inherited);
                    offer.set_items(kind, before.map_or(Vec::new(), |before| before.items(kind).to_vec()));
                    failure.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failure.filter(|_| read == 0) {
            return Err(error);
        }
        if established.version.era() == Era::Legacy || offer.ttl == u64::MAX {
            offer.ttl = u64::try_from(server.settings.cache.as_millis()).unwrap_or(u64::MAX);
        }
        offer.ttl = offer.ttl.max(LEAST_TTL);
        offer.inspect(server.seen().as_deref());
        warn(server, &offer.suspects);
        Ok(offer)
    }

    /// Reads a whole list, page after page; a cursor that comes again ends it.
    async fn list(&self, server: &Arc<Server>, kind: Kind) -> Result<(Vec<Item>, u64), Unreachable> {
        let mut items = Vec::new();
        let mut remarks = Remarks::default();
        let mut names = BTreeSet::new();
        let mut cursors = BTreeSet::new();
        let mut ttl = u64::MAX;
        let mut cursor: Option<String> = None;
        let mut room = Room { items: ITEMS, bytes: (self.limits().message / FORMS).max(LEAST_LIST) };
        for _ in 0..PAGES {
            let mut ask = Ask::own(kind.method());
            if let Some(cursor) = &cursor {
                ask = ask.with("cursor", quote(cursor));
            }
            let Some(page) = self.result(server, &ask).await? else { break };
            let result =
                Json::check(page.as_bytes()).map_err(|e| server.error(format!("sent invalid JSON: {e}")))?;
            let (mut more, skipped) =
                read_page(kind, result, &mut names, &mut room).map_err(|why| server.error(why))?;
            for skipped in skipped {
                remarks.add(&skipped);
            }
            items.append(&mut more);
            if let Some(own) = result.get("ttlMs").and_then(Json::as_u64) {
                ttl = ttl.min(own);
            }
            cursor = result.get("nextCursor").and_then(Json::as_str).map(std::borrow::Cow::into_owned);
            let end = match &cursor {
                None => break,
                Some(next) if next.len() > CURSOR => Some("its cursor is too long; it is cut there"),
                Some(next) if !cursors.insert(next.clone()) => {
                    Some("its pages go in circles; it is cut there")
                }
                Some(_) if room.is_full() => break,
                Some(_) => None,
            };
            if let Some(end) = end {
                remarks.add(&end);
                cursor = None;
                break;
            }
        }
        if room.is_full() || cursor.is_some() {
            remarks.add(&"it is too long; it is cut");
        }
        remarks.tell(server, kind);
        Ok((items, ttl))
    }

    /// Asks and returns the result as JSON text; nothing where the server does not know the method.
    pub(crate) async fn result(
        &self,
        server: &Arc<Server>,
        ask: &Ask<'_>,
    ) -> Result<Option<String>, Unreachable> {
        let mut asked = self.ask(server, &server.shared, ask, Wait::Own).await?;
        let body = std::mem::replace(&mut asked.body, super::ask::AnswerBody::Nothing);
        let whole =
            self.within(server, server.settings.timeout, self.message_of(body, server, asked.id)).await?;
        asked.cancel.disarm();
        let json = Json::check(&whole).map_err(|e| server.error(format!("sent invalid JSON: {e}")))?;
        match message::parse(json) {
            Ok(Message::Response { outcome: Ok(result), .. }) => Ok(Some(result.text().to_owned())),
            Ok(Message::Response { outcome: Err(error), .. }) => {
                let code = error.get("code").and_then(|c| c.text().parse::<i64>().ok());
                if code == Some(code::METHOD_NOT_FOUND) {
                    return Ok(None);
                }
                let text = error.get("message").and_then(Json::as_str).unwrap_or_default();
                let text = crate::upstream::handshake::shorten(&text);
                Err(server.error(format!("refused {}: {text}", ask.method)))
            }
            _ => Err(server.error(format!("answered {} with something that is no answer", ask.method))),
        }
    }

    /// Says which servers agents no longer wait for.
    pub(crate) async fn name_the_late(self) {
        self.host().sleep(Duration::from_millis(SETTLING)).await;
        let snapshot = self.snapshot();
        let awaited = snapshot.servers.values().filter(|_| !self.keeps_apart(&snapshot));
        for server in awaited.filter(|server| server.status() == Status::Starting) {
            tracing::warn!(server = %server.name, "server has not answered yet; its tools are left out until it does");
        }
    }

    /// Returns what an endpoint shows, once every server of it has answered or failed, or the time for that is up.
    pub(crate) async fn view(&self, snapshot: &Snapshot, caller: &Caller) -> Arc<View> {
        let scope = &caller.scope;
        if self.host().place() != Place::Process {
            self.learn(snapshot, scope, Some(&caller.who)).await;
            return snapshot.view(scope, &caller.who, &caller.comes_through(), self.host().now());
        }
        if snapshot.user.is_some() {
            self.learn(snapshot, scope, Some(&caller.who)).await;
        }
        let is_kept = |server: &&Arc<Server>| !server.settings.is_per_user();
        let is_shown = |server: &&Arc<Server>| snapshot.includes(scope, &server.name);
        let shown = || snapshot.servers.values().filter(is_kept).filter(is_shown);
        if shown().any(|server| !server.settled.has_fired()) {
            let left = (snapshot.since + SETTLING).saturating_sub(self.host().now());
            let settled = future::join_all(shown().map(|server| server.settled.wait()));
            let timeout = std::pin::pin!(self.host().sleep(Duration::from_millis(left)));
            future::select(settled, timeout).await;
        }
        let now = self.host().now();
        for server in shown() {
            let stale = server.offer.load().as_ref().is_some_and(|offer| offer.is_stale(now));
            if stale && server.begin_refresh(now) {
                let _ = server.nudge.unbounded_send(Nudge::Stale);
            }
        }
        snapshot.view(scope, &caller.who, &caller.comes_through(), now)
    }
}
