//! The trails of a fleet at its control plane: taken from the gateways that forward them, and read with its own one.
//!
//! **What a gateway is told to be taken is kept**: the texts lie there before it is noted that they were taken, and by that note it
//! is known where they lie. **Whoever reads sees each line once**, in the order in which it was taken, after a moment in which
//! what was taken before it is sure to be there.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::control::Asked;
use super::fleet::{FLEET, understood, write};
use crate::audit::{Gathering, Order, Page, Query, Unreadable, Verdict, Verdicts, Verifier};
use crate::body::Reply;
use crate::control::Managed;
use crate::control::answer::{Fault, answer, kept_from_caches};
use crate::control::fleet::forwarded::{Batch, Forwarded, Part, Position, gateway_of};
use crate::control::fleet::member::Member;
use crate::control::fleet::merged::{Both, Reached, Side, merged};
use crate::control::fleet::new_id;
use crate::control::operations::Reach;
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host, Place, RecordKey, RecordStore};
use crate::sorted::SortedMap;
use crate::upstream::lock;

/// What is known of each gateway's trail, the texts of parts, and the parts with the earliest first, and with the latest.
const TRAILS: &str = "fleet-trail";
const TEXTS: &str = "fleet-trail-text";
const EARLIEST: &str = "fleet-trail-earliest";
const LATEST: &str = "fleet-trail-latest";

/// The most bytes of a text that one record has: every store takes so many.
const PIECE: usize = 200_000;
/// How many parts are listed at a time.
const PAGE: usize = 200;
/// How many parts one request reads, and at how many it looks, where requests may take their time, and where not.
const READS: [(usize, usize); 2] = [(1000, 20_000), (32, 1000)];
/// After how long what was taken is shown: whatever was taken before it is there by then. In milliseconds.
const SETTLED: u64 = 1000;
/// How far a gateway's clock may be ahead, in milliseconds.
const AHEAD: u64 = 3_600_000;
/// How often it is tried again to note what was taken, while others do the same.
const ATTEMPTS: usize = 5;

impl<H: Host> Gateway<H> {
    /// Takes what a gateway sends of its trail, and tells it up to where that was taken.
    pub(super) async fn take_trail(
        &self,
        records: &dyn RecordStore,
        member: &Member,
        (head, body): (&Parts, &Bytes),
    ) -> Result<Reply, Fault> {
        let malformed = || Fault::new(StatusCode::BAD_REQUEST, "malformed", "these are no lines of a trail");
        let batch = Batch::read(body).ok_or_else(malformed)?;
        let days = self.snapshot().config.audit.keep_days;
        let key = RecordKey::new(TRAILS, &*member.id);
        for _ in 0..ATTEMPTS {
            let text = records.get(key.clone()).await?;
            let known: Forwarded = text.as_deref().map(understood).transpose()?.unwrap_or_default();
            let known = known.of_gateway(&member.name);
            let Some(mut taken) = known.take(&member.id, &batch, (self.host().now(), days)) else {
                return Ok(up_to(&known));
            };
            // What was noted last may not be listed yet, if the end came in between.
            list(records, &known.latest).await?;
            for (part, text) in taken.known.latest.iter_mut().zip(&taken.texts) {
                part.place = format!("{}/{:012}/{}", part.writer, part.first, new_id(self.host()));
                part.pieces = keep(records, part, text).await?;
            }
            // That may have taken its time, and whoever follows has gone past the moment when it began.
            let kept = std::mem::take(&mut taken.known.latest);
            if let Some(later) = known.take(&member.id, &batch, (self.host().now(), days)) {
                taken.known = later.known;
            }
            for (part, Part { place, pieces, .. }) in taken.known.latest.iter_mut().zip(kept) {
                (part.place, part.pieces) = (place, pieces);
            }
            if write(records, (TRAILS, &member.id), text, &taken.known).await? {
                list(records, &taken.known.latest).await?;
                if let Some(wrong) = taken.wrong {
                    tracing::warn!(gateway = %member.name, %wrong, "the trail of a gateway does not go on where it ended");
                    let wrong = format!("the trail of the gateway {}: {wrong}", member.name);
                    self.record_gateway(head, Some((StatusCode::CONFLICT, &wrong)));
                }
                return Ok(up_to(&taken.known));
            }
            for part in &taken.known.latest {
                forget(records, part).await?;
            }
        }
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "others write what is known of this trail"))
    }

    /// Returns everything that can be read here.
    pub(super) fn readable_trail(&self) -> Result<Arc<dyn AuditQuery>, Fault> {
        Ok(Arc::new(self.trails(Of::All)?))
    }

    /// Returns what can be read here by who asks.
    pub(super) async fn readable(&self, asked: &Asked<'_>, of: Of) -> Result<Readable<H>, Fault> {
        if asked.reach == Reach::All {
            return Ok(Readable::All(self.trails(of)?));
        }
        Ok(Readable::Theirs(self.trail_of(asked, of).await?))
    }

    /// Returns the trails that can be read here: where this gateway governs others, theirs too.
    pub(super) fn trails(&self, of: Of) -> Result<Trails<H>, Fault> {
        let own = self.own_trail()?.clone();
        let governs = matches!(&*lock(&self.0.managed), Managed::ByStore(known) if known.governed.is_none());
        let records = self.host().records().filter(|_| governs).cloned();
        Ok(Trails { gateway: self.clone(), own, records, of })
    }
}

fn up_to(known: &Forwarded) -> Reply {
    kept_from_caches(answer(StatusCode::OK, &json!({ "cursor": known.cursor })))
}

/// Keeps the text of a part; returns how many records it has.
async fn keep(records: &dyn RecordStore, part: &Part, text: &str) -> Result<usize, Fault> {
    let (mut rest, mut pieces) = (text, 0);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
        let key = RecordKey::new(TEXTS, format!("{}/{pieces}", part.place));
        records.replace(key, None, Some(piece.to_owned()), Some(part.until)).await?;
        (rest, pieces) = (after, pieces + 1);
    }
    Ok(pieces)
}

/// Removes the text of a part that was not taken.
async fn forget(records: &dyn RecordStore, part: &Part) -> Result<(), Fault> {
    for piece in 0..part.pieces {
        let key = RecordKey::new(TEXTS, format!("{}/{piece}", part.place));
        let read = records.get(key.clone()).await?;
        records.replace(key, read, None, None).await?;
    }
    Ok(())
}

/// Lists parts, where they are not listed yet.
async fn list(records: &dyn RecordStore, parts: &[Part]) -> Result<(), Fault> {
    for part in parts {
        let text = serde_json::to_string(part).expect("texts and numbers are JSON");
        for (collection, key) in [EARLIEST, LATEST].into_iter().zip(part.keys()) {
            let key = RecordKey::new(collection, key);
            records.replace(key, None, Some(text.clone()), Some(part.until)).await?;
        }
    }
    Ok(())
}

/// Whose entries are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Of {
    /// Of all.
    #[default]
    All,
    /// Of this gateway alone, and of none that it governs.
    Own,
    /// Of the gateway of that name or id.
    Gateway(String),
}

impl Of {
    /// Reads whose entries a query of a URL wants; returns what else it says.
    pub(super) fn read(query: &str) -> (Self, String) {
        let mut of = Self::All;
        let mut rest = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name == "gateway" {
                of = Self::named(&value);
            } else {
                rest.append_pair(&name, &value);
            }
        }
        (of, rest.finish())
    }

    /// Those of the gateway of that name or id; without one, of this gateway.
    pub(super) fn named(name: &str) -> Self {
        if name.is_empty() { Self::Own } else { Self::Gateway(name.to_owned()) }
    }
}

/// The trails that can be read at a gateway.
pub(super) struct Trails<H: Host> {
    gateway: Gateway<H>,
    own: Arc<dyn AuditQuery>,
    records: Option<Arc<dyn RecordStore>>,
    of: Of,
}

/// What is known of the gateways' trails, by their ids.
type Known = SortedMap<String, Forwarded>;

/// What was read of what gateways have sent: lines, with the ids of the gateways.
#[derive(Default)]
struct Found {
    lines: Vec<String>,
    from: Vec<String>,
    next: Option<String>,
    follow: Option<String>,
}

/// A page, and of which gateway each of its lines is; nothing for this one's.
pub(super) type Told = (Page, Vec<Option<String>>);

/// A trail as far as somebody may read it.
pub(super) enum Readable<H: Host> {
    /// All that there is.
    All(Trails<H>),
    /// What is theirs, wherever it was recorded.
    Theirs(Arc<dyn AuditQuery>),
}

impl<H: Host> Readable<H> {
    /// Returns a page, and whose lines it has.
    pub(super) async fn read(&self, query: Query) -> Result<Told, Unreadable> {
        match self {
            Self::All(trails) => trails.read(query).await,
            Self::Theirs(trail) => {
                let page = trail.page(query).await?;
                let from = vec![None; page.lines.len()];
                Ok((page, from))
            }
        }
    }

    /// Returns a page as it is told: with the names of the gateways whose lines it has, where it has any of others.
    pub(super) async fn told(&self, query: Query) -> Result<String, Unreadable> {
        let (page, from) = self.read(query).await?;
        let mut text = page.to_json();
        if from.iter().any(Option::is_some) {
            let names: Vec<_> = from.iter().map(|name| name.as_deref().unwrap_or_default()).collect();
            text.truncate(text.len() - 1);
            text.push_str(",\"gateways\":");
            text.push_str(&json!(names).to_string());
            text.push('}');
        }
        Ok(text)
    }
}

impl<H: Host> AuditQuery for Trails<H> {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        async move { Ok(self.read(query).await?.0) }.boxed()
    }

    fn verify(&self, cursor: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        self.check(cursor).boxed()
    }
}

impl<H: Host> Trails<H> {
    /// Returns what is known of the trails that are wanted; none where there is no fleet.
    async fn known(&self) -> Result<Known, Unreadable> {
        let mut known = Known::new();
        let Some(records) = self.records.as_ref().filter(|_| self.of != Of::Own) else { return Ok(known) };
        if records.get(RecordKey::new(FLEET, "own")).await.map_err(failed)?.is_none() {
            return Ok(known);
        }
        let mut after = None;
        loop {
            let page = records.page(TRAILS, after, PAGE).await.map_err(failed)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(id, _)| id.clone());
            for (id, text) in page {
                let one: Forwarded = serde_json::from_str(&text).map_err(failed)?;
                if matches!(&self.of, Of::Gateway(of) if *of != one.name && *of != id) {
                    continue;
                }
                known.insert(id, one);
            }
            if is_last {
                return Ok(known);
            }
        }
    }

    /// Returns a page, and whose lines it has.
    pub(super) async fn read(&self, query: Query) -> Result<Told, Unreadable> {
        let known = self.known().await?;
        let only = matches!(self.of, Of::Gateway(_));
        if known.is_empty() && !only {
            let page = self.own.page(query).await?;
            let from = vec![None; page.lines.len()];
            return Ok((page, from));
        }
        let given = Both::parse(query.cursor.as_deref()).ok_or(Unreadable::Cursor)?;
        let own = |limit| Query { cursor: given.0.cursor(), limit, ..query.clone() };
        let theirs = |limit| Query { limit, ..query.clone() };
        let mut one = match given.0 {
            Reached::End => Page::default(),
            _ if only => Page::default(),
            _ => self.own.page(own(query.limit)).await?,
        };
        let mut other = match given.1 {
            Reached::End => Found::default(),
            _ => self.find(&theirs(query.limit), &given.1, &known).await?,
        };
        let sides = |one: &Page, other: &Found| {
            [Side::of(&one.lines, one.next.is_some()), Side::of(&other.lines, other.next.is_some())]
        };
        let first = [one.follow.clone(), other.follow.clone()];
        let [ones, others] = sides(&one, &other);
        let order = merged(&ones, &others, query.order, query.limit);
        let of_other = order.iter().filter(|is_other| **is_other).count();
        let of_one = order.len() - of_other;
        let (mut untouched, mut untouched_other) = (false, false);
        // What is not shown now is read again then: a cursor tells the end of a page alone.
        if of_one < one.lines.len() {
            untouched = of_one == 0;
            one = if untouched { Page::default() } else { self.own.page(own(of_one)).await? };
        }
        if of_other < other.lines.len() {
            untouched_other = of_other == 0;
            let again = untouched_other.then(Found::default);
            other = match again {
                Some(none) => none,
                None => self.find(&theirs(of_other), &given.1, &known).await?,
            };
        }
        let reached = Both(
            reached((&one.next, &one.follow), (&given.0, untouched), query.order),
            reached((&other.next, &other.follow), (&given.1, untouched_other), query.order),
        );
        let goes_on = one.next.is_some() || other.next.is_some() || untouched || untouched_other;
        let follow = match query.order {
            Order::Newest => Both(at(first[0].clone()), at(first[1].clone())),
            Order::Oldest => reached.clone(),
        };
        let next = goes_on.then(|| reached.to_cursor());
        let [ones, others] = sides(&one, &other).map(|side| Side { goes_on: false, ..side });
        let order = merged(&ones, &others, query.order, usize::MAX);
        let called = |id: String| known.get(&id).map_or(id, |known| known.name.clone());
        let (mut own, mut theirs) = (one.lines.into_iter(), other.lines.into_iter().zip(other.from));
        let (lines, from) = order
            .into_iter()
            .filter_map(|is_other| {
                if !is_other {
                    return Some((own.next()?, None));
                }
                theirs.next().map(|(line, id)| (line, Some(called(id))))
            })
            .unzip();
        Ok((Page { lines, next, follow: Some(follow.to_cursor()) }, from))
    }

    /// Finds lines that gateways have sent.
    async fn find(&self, query: &Query, reached: &Reached, known: &Known) -> Result<Found, Unreadable> {
        let start = match reached {
            Reached::At(text) => Some(Position::parse(text).ok_or(Unreadable::Cursor)?),
            Reached::Start | Reached::End => None,
        };
        let settled = self.gateway.host().now().saturating_sub(SETTLED);
        let (mut reads, mut looks) = self.bounds();
        let (mut found, mut page) = (Found::default(), Gathering::new(query));
        let mut listing = Listing::new(self, query, start.as_ref(), known);
        let mut last: Option<Position> = None;
        let is_newest = query.order == Order::Newest;
        'parts: while let Some(part) = listing.next().await? {
            if part.beside.at > settled {
                if is_newest {
                    continue;
                }
                break;
            }
            if is_newest && query.since.is_some_and(|since| part.beside.at.saturating_add(AHEAD) < since) {
                break;
            }
            if looks == 0 || reads == 0 {
                found.next = last.as_ref().map(Position::to_text);
                break;
            }
            looks -= 1;
            if known.get(part.gateway()).is_some() && part.may_hold(query) {
                reads -= 1;
                let text = self.text(&part).await?;
                let mut lines: Vec<_> = (part.first..).zip(text.split_terminator('\n')).collect();
                if is_newest {
                    lines.reverse();
                }
                for (id, line) in lines {
                    let at = part.position(id);
                    let is_ahead = start.as_ref().is_none_or(|start| is_ahead(&at, start, is_newest));
                    if is_ahead && query.matches(line) {
                        if page.is_full() {
                            found.next = last.as_ref().map(Position::to_text);
                            break 'parts;
                        }
                        page.take(line.to_owned());
                        found.from.push(part.gateway().to_owned());
                    }
                    if is_ahead {
                        last = Some(at);
                    }
                }
            }
            last = Some(part.position(if is_newest { part.first } else { part.beside.last }));
        }
        found.lines = page.into_lines();
        let all = Position::after_all(settled);
        found.follow = match (query.order, &found.next) {
            (Order::Oldest, Some(next)) => Some(next.clone()),
            (Order::Oldest, None) => start.max(Some(all)).map(|place| place.to_text()),
            (Order::Newest, _) => Some(all.to_text()),
        };
        Ok(found)
    }

    fn bounds(&self) -> (usize, usize) {
        READS[usize::from(self.gateway.host().place() != Place::Process)]
    }

    /// Reads the text of a part; nothing where it is kept no more.
    async fn text(&self, part: &Part) -> Result<String, Unreadable> {
        let Some(records) = &self.records else { return Ok(String::new()) };
        let mut text = String::new();
        for piece in 0..part.pieces {
            let key = RecordKey::new(TEXTS, format!("{}/{piece}", part.place));
            text.push_str(&records.get(key).await.map_err(failed)?.unwrap_or_default());
        }
        Ok(text)
    }

    /// Checks all chains, this gateway's own ones first.
    async fn check(&self, cursor: Option<String>) -> Result<Verdicts, Unreadable> {
        let given = Both::parse(cursor.as_deref()).ok_or(Unreadable::Cursor)?;
        if given.0 != Reached::End && !matches!(self.of, Of::Gateway(_)) {
            let mut verdicts = self.own.verify(given.0.cursor()).await?;
            let is_over = verdicts.next.is_none();
            if is_over && self.known().await?.is_empty() {
                return Ok(verdicts);
            }
            if !is_over || self.gateway.host().place() != Place::Process {
                let own = verdicts.next.map_or(Reached::End, Reached::At);
                verdicts.next = Some(Both(own, Reached::Start).to_cursor());
                return Ok(verdicts);
            }
            let theirs = self.check_theirs(&Reached::Start).await?;
            verdicts.writers.extend(theirs.writers);
            return Ok(Verdicts { next: theirs.next, ..verdicts });
        }
        self.check_theirs(&given.1).await
    }

    /// Checks what gateways have sent, from where an earlier check was broken off.
    async fn check_theirs(&self, reached: &Reached) -> Result<Verdicts, Unreadable> {
        // Before anything is listed: what comes meanwhile lies beyond.
        let known = self.known().await?;
        let now = self.gateway.host().now();
        let mut verifiers: SortedMap<String, Verifier> = SortedMap::new();
        let mut start = None;
        if let Reached::At(text) = reached {
            let paused: (String, SortedMap<String, Verifier>) =
                serde_json::from_str(text).map_err(|_| Unreadable::Cursor)?;
            start = Some(Position::parse(&paused.0).ok_or(Unreadable::Cursor)?);
            verifiers = paused.1;
        } else {
            for one in known.values() {
                let kept_from = now.saturating_sub(u64::from(one.days.unwrap_or_default()) * 86_400_000);
                for chain in &one.chains {
                    let head = Some(chain.reach.head.clone());
                    let is_whole = chain.reach.began > kept_from;
                    let begin = if is_whole { Verifier::new } else { Verifier::from_what_is_kept };
                    verifiers.insert(chain.writer.clone(), begin(head));
                }
            }
        }
        let is_bounded = self.gateway.host().place() != Place::Process;
        let mut reads = self.bounds().0;
        let query = Query { order: Order::Oldest, ..Query::default() };
        let mut listing = Listing::new(self, &query, start.as_ref(), &known);
        while let Some(part) = listing.next().await? {
            if start.as_ref().is_some_and(|start| part.position(part.beside.last) <= *start) {
                continue;
            }
            let text = self.text(&part).await?;
            if let Some(verifier) = verifiers.get_mut(&part.writer) {
                text.split_terminator('\n').for_each(|line| verifier.push(line.as_bytes()));
            }
            reads = reads.saturating_sub(usize::from(is_bounded));
            if reads == 0 {
                let paused = (part.position(part.beside.last).to_text(), verifiers);
                let paused = serde_json::to_string(&paused).map_err(failed)?;
                let next = Some(Both(Reached::End, Reached::At(paused)).to_cursor());
                return Ok(Verdicts { writers: Vec::new(), next });
            }
        }
        let verdict = |(writer, verifier): (String, Verifier)| Verdict {
            writer: known.get(gateway_of(&writer)).map_or(writer.clone(), |known| known.called(&writer)),
            outcome: verifier.finish().map_err(|breach| breach.to_string()),
        };
        Ok(Verdicts { writers: verifiers.into_iter().map(verdict).collect(), next: None })
    }
}

/// The parts that gateways have sent, one after the other in the order that is asked for.
struct Listing<'t> {
    records: Option<&'t Arc<dyn RecordStore>>,
    is_newest: bool,
    /// After which key is listed next; nothing once all is.
    after: Option<String>,
    /// What is known to be taken, and may not be listed, by keys in this order.
    unlisted: Vec<(String, Part)>,
    /// What comes next, the first one last.
    parts: Vec<Part>,
    /// The key of what came last.
    last: Option<String>,
}

impl<'t> Listing<'t> {
    fn new<H: Host>(trails: &'t Trails<H>, query: &Query, start: Option<&Position>, known: &Known) -> Self {
        let is_newest = query.order == Order::Newest;
        let since =
            query.since.filter(|_| !is_newest).map(|at| Position::after_all(at.saturating_sub(AHEAD)));
        let from = start.cloned().max(since);
        let after = from.map_or(String::new(), |from| from.before_its_moment(is_newest));
        let key = |part: &Part| part.keys()[usize::from(is_newest)].clone();
        let latest = known.values().flat_map(|known| &known.latest);
        let mut unlisted: Vec<_> = latest.map(|part| (key(part), part.clone())).collect();
        unlisted.retain(|(key, _)| *key > after);
        unlisted.sort_by(|(one, _), (other, _)| other.cmp(one));
        let records = trails.records.as_ref();
        Self { records, is_newest, after: Some(after), unlisted, parts: Vec::new(), last: None }
    }

    fn key(&self, part: &Part) -> String {
        part.keys()[usize::from(self.is_newest)].clone()
    }

    async fn next(&mut self) -> Result<Option<Part>, Unreadable> {
        loop {
            while let Some(part) = self.parts.pop() {
                let key = self.key(&part);
                if self.last.as_ref().is_none_or(|last| key > *last) {
                    self.last = Some(key);
                    return Ok(Some(part));
                }
            }
            let Some((after, records)) = self.after.take().zip(self.records) else { return Ok(None) };
            let collection = if self.is_newest { LATEST } else { EARLIEST };
            let after = Some(after).filter(|after| !after.is_empty());
            let page = records.page(collection, after, PAGE).await.map_err(failed)?;
            self.after = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
            let mut parts = Vec::with_capacity(page.len());
            for (key, text) in page {
                let part: Part = serde_json::from_str(&text).map_err(failed)?;
                parts.push((key, part));
            }
            let is_within = |key: &String| self.after.as_ref().is_none_or(|after| key <= after);
            while let Some(unlisted) = self.unlisted.pop_if(|(key, _)| is_within(key)) {
                parts.push(unlisted);
            }
            parts.sort_by(|(one, _), (other, _)| other.cmp(one));
            self.parts = parts.into_iter().map(|(_, part)| part).collect();
        }
    }
}

/// Tells whether a place is beyond another in an order.
fn is_ahead(place: &Position, start: &Position, is_newest: bool) -> bool {
    // Of one moment the order of writers is the same whichever way the moments go.
    let by_key = |place: &Position| (place.at, place.writer.clone());
    if by_key(place) == by_key(start) {
        return if is_newest { place.id < start.id } else { place.id > start.id };
    }
    if place.at == start.at || !is_newest { by_key(place) > by_key(start) } else { place.at < start.at }
}

/// Returns how far a trail was read with a page.
fn reached(
    (next, follow): (&Option<String>, &Option<String>),
    (given, untouched): (&Reached, bool),
    order: Order,
) -> Reached {
    match (order, next) {
        _ if untouched => given.clone(),
        (_, Some(next)) => Reached::At(next.clone()),
        (Order::Newest, None) => Reached::End,
        (Order::Oldest, None) => follow.clone().map_or_else(|| given.clone(), Reached::At),
    }
}

fn at(cursor: Option<String>) -> Reached {
    cursor.map_or(Reached::Start, Reached::At)
}

fn failed(error: impl ToString) -> Unreadable {
    Unreadable::Failed(error.to_string())
}
