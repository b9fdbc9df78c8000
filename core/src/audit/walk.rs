//! The way through the segments of a trail, from its newest to its oldest line or back, that the host goes step by step.
//!
//! **It says what to list and what to read; it reads nothing itself.** A walk may be broken off between two steps: it
//! tells the place where another goes on. A step that was told has to be done, and at least two of them: the first one may
//! only lead to where the walk was before.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::chain::Head;
use super::query::{Gathering, Order, Page, Query, Unreadable};
use super::segment::{DAY, Place, Segment};
use super::verdict::{Verdict, Verdicts};
use super::verify::Verifier;
use crate::sorted::SortedMap;

/// How much later than it happened an entry may have been written, in milliseconds: as long as a queue keeps what it
/// could not deliver.
const LATE: u64 = 4 * DAY;

/// How far a writer's clock may be ahead of that of who reads, in milliseconds.
const AHEAD: u64 = 60_000;

/// What a host is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To list the segments of a day, which is named by a moment of it, and to tell them by `listed`.
    List(u64),
    /// To read the text of a segment, and to tell it by `read`.
    Read(Segment),
    /// Nothing: all has been seen.
    End,
}

/// What goes through segments step by step.
pub trait Steps {
    /// Returns what to do next.
    fn step(&mut self) -> Step;

    /// Takes the segments of the day that was to be listed, in any order.
    fn listed(&mut self, segments: Vec<Segment>);

    /// Takes the text of the segment that was to be read.
    fn read(&mut self, segment: &Segment, text: &str);
}

/// The way through the segments.
#[derive(Debug)]
struct Walk {
    query: Query,
    /// The days still to list, in milliseconds since the Unix epoch, the first one last.
    days: Vec<u64>,
    /// The day that is being listed.
    day: Option<u64>,
    /// The segments still to read, the first one last.
    segments: Vec<Segment>,
    start: Option<Place>,
    /// How far the walk has come.
    at: Option<Place>,
    /// The newest place that has been seen.
    newest: Option<Place>,
}

impl Walk {
    /// Begins to look for what is asked for, at the moment `now`; nothing was written before `floor`.
    fn new(query: Query, floor: u64, now: u64) -> Result<Self, Unreadable> {
        let start =
            query.cursor.as_ref().map(|text| Place::parse(text).ok_or(Unreadable::Cursor)).transpose()?;
        let (mut from, mut to) = (floor.max(query.since.unwrap_or_default()), now.saturating_add(AHEAD));
        if let Some(until) = query.until {
            to = to.min(until.saturating_add(LATE));
        }
        match (query.order, &start) {
            (Order::Newest, Some(start)) => to = to.min(start.at.saturating_sub(u64::from(start.id == 0))),
            (Order::Oldest, Some(start)) => {
                from = from.max(start.at);
                to = to.max(from);
            }
            (_, None) => {}
        }
        // The day of an end belongs to it, whatever the hour.
        let mut days: Vec<_> = (from / DAY..=to / DAY).map(|day| day * DAY).collect();
        if from > to {
            days.clear();
        }
        if query.order == Order::Oldest {
            days.reverse();
        }
        Ok(Self { query, days, day: None, segments: Vec::new(), at: start.clone(), start, newest: None })
    }

    /// Returns what to do next.
    fn step(&mut self) -> Step {
        if let Some(segment) = self.segments.pop() {
            return Step::Read(segment);
        }
        match self.days.pop() {
            Some(day) => {
                let before = Place::before(day);
                self.at = Some(match (self.query.order, self.at.take()) {
                    // Broken off now, this day comes next.
                    (Order::Oldest, Some(at)) => at.max(before),
                    (Order::Oldest, None) => before,
                    (Order::Newest, Some(at)) => at.min(Place::before(day + DAY)),
                    (Order::Newest, None) => Place::before(day + DAY),
                });
                self.day = Some(day);
                Step::List(day)
            }
            None => Step::End,
        }
    }

    /// Takes the segments of the day that was to be listed, in any order.
    fn listed(&mut self, mut segments: Vec<Segment>) {
        segments.sort_by_key(|segment| segment.place(segment.first));
        segments.dedup();
        let newest = segments.last().map(|segment| segment.place(segment.beside.last));
        self.newest = self.newest.take().max(newest);
        let is_ahead = |segment: &Segment| match (self.query.order, &self.start) {
            (_, None) => true,
            (Order::Newest, Some(start)) => segment.place(segment.first) < *start,
            (Order::Oldest, Some(start)) => segment.place(segment.beside.last) > *start,
        };
        segments.retain(|segment| is_ahead(segment) && segment.may_hold(&self.query));
        if self.query.order == Order::Oldest {
            segments.reverse();
        }
        let day = self.day.take();
        if let (Order::Newest, Some(day), true) = (self.query.order, day, segments.is_empty()) {
            self.at = self.at.take().map(|at| at.min(Place::before(day)));
        }
        self.segments = segments;
    }

    /// Returns the lines of a segment that are ahead, with their places, in the order that was asked for.
    fn ahead<'t>(&self, segment: &Segment, text: &'t str) -> Vec<(Place, &'t str)> {
        let is_ahead = |place: &Place| match (self.query.order, &self.start) {
            (_, None) => true,
            (Order::Newest, Some(start)) => place < start,
            (Order::Oldest, Some(start)) => place > start,
        };
        let lines = (segment.first..).map(|id| segment.place(id)).zip(text.lines());
        let mut lines: Vec<_> = lines.filter(|(place, _)| is_ahead(place)).collect();
        if self.query.order == Order::Newest {
            lines.reverse();
        }
        lines
    }

    /// Returns whether anything may follow.
    fn goes_on(&self) -> bool {
        !self.days.is_empty() || !self.segments.is_empty()
    }
}

/// A page that is being found.
#[derive(Debug)]
pub struct Search {
    walk: Walk,
    page: Gathering,
    is_cut: bool,
}

impl Search {
    /// Begins to look for what is asked for, at the moment `now`; nothing was written before `floor`.
    pub fn new(query: Query, floor: u64, now: u64) -> Result<Self, Unreadable> {
        let page = Gathering::new(&query);
        Ok(Self { walk: Walk::new(query, floor, now)?, page, is_cut: false })
    }

    /// Returns the page as far as it has come.
    pub fn finish(self) -> Page {
        let Self { walk, page, is_cut } = self;
        let cursor = |place: &Place| place.to_cursor();
        let next = walk.at.as_ref().filter(|_| is_cut || walk.goes_on()).map(cursor);
        let follow = match walk.query.order {
            Order::Newest => walk.newest.as_ref().map(cursor),
            Order::Oldest => walk.at.as_ref().map(cursor),
        };
        Page { lines: page.into_lines(), next, follow }
    }
}

impl Steps for Search {
    fn step(&mut self) -> Step {
        if self.page.is_full() || self.is_cut { Step::End } else { self.walk.step() }
    }

    fn listed(&mut self, segments: Vec<Segment>) {
        self.walk.listed(segments);
    }

    fn read(&mut self, segment: &Segment, text: &str) {
        for (place, line) in self.walk.ahead(segment, text) {
            if self.page.is_full() {
                self.is_cut = true;
                return;
            }
            if self.walk.query.matches(line) {
                self.page.take(line.to_owned());
            }
            self.walk.at = Some(place);
        }
    }
}

/// How far a writer's chain reaches, and since when there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// What the writer knows of its chain.
    pub head: Head,
    /// When its first segment was written, in milliseconds since the Unix epoch.
    pub began: u64,
}

/// A check of chains whose lines lie in segments.
#[derive(Debug)]
pub struct Check {
    walk: Walk,
    verifiers: SortedMap<String, Verifier>,
}

/// A check that is to go on elsewhere.
#[derive(Serialize, Deserialize)]
struct Paused {
    place: String,
    verifiers: SortedMap<String, Verifier>,
}

impl Check {
    /// Begins to check the chains of these writers, or goes on where another check was broken off. Nothing that was
    /// written before `floor` is kept any more. **The reaches have to be asked for before anything is listed.**
    pub fn new(
        reaches: &SortedMap<String, Reach>,
        cursor: Option<&str>,
        (floor, now): (u64, u64),
    ) -> Result<Self, Unreadable> {
        let paused = match cursor {
            None => None,
            Some(text) => {
                let text = URL_SAFE_NO_PAD.decode(text).map_err(|_| Unreadable::Cursor)?;
                Some(serde_json::from_slice::<Paused>(&text).map_err(|_| Unreadable::Cursor)?)
            }
        };
        let begin = |reach: &Reach| {
            let head = Some(reach.head.clone());
            if reach.began < floor { Verifier::from_what_is_kept(head) } else { Verifier::new(head) }
        };
        let (cursor, verifiers) = match paused {
            Some(Paused { place, verifiers }) => (Some(place), verifiers),
            None => (None, reaches.iter().map(|(name, reach)| (name.clone(), begin(reach))).collect()),
        };
        let first = reaches.values().map(|reach| reach.began).min().unwrap_or(now);
        let query = Query { order: Order::Oldest, cursor, ..Query::default() };
        Ok(Self { walk: Walk::new(query, floor.max(first), now)?, verifiers })
    }

    /// Returns what the chains are, or where the check goes on.
    pub fn finish(self) -> Verdicts {
        let place = self.walk.at.as_ref().filter(|_| self.walk.goes_on()).map(Place::to_cursor);
        if let Some(place) = place {
            let paused = Paused { place, verifiers: self.verifiers };
            let text = serde_json::to_vec(&paused).unwrap_or_default();
            return Verdicts { writers: Vec::new(), next: Some(URL_SAFE_NO_PAD.encode(text)) };
        }
        let verdict = |(writer, verifier): (String, Verifier)| Verdict {
            writer,
            outcome: verifier.finish().map_err(|breach| breach.to_string()),
        };
        Verdicts { writers: self.verifiers.into_iter().map(verdict).collect(), next: None }
    }
}

impl Steps for Check {
    fn step(&mut self) -> Step {
        self.walk.step()
    }

    fn listed(&mut self, segments: Vec<Segment>) {
        self.walk.listed(segments);
    }

    fn read(&mut self, segment: &Segment, text: &str) {
        let verifier = self.verifiers.get_mut(&segment.writer);
        if let Some(verifier) = verifier {
            text.lines().for_each(|line| verifier.push(line.as_bytes()));
        }
        self.walk.at = Some(segment.place(segment.beside.last));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Batch, Decision, Entry, Producer, Writer, Writing, key_prefix, path_prefix};

    const NOW: u64 = 1_785_240_000_000;

    /// Segments of two writers over some days, and what their chains are.
    struct Store {
        batches: Vec<Batch>,
        reaches: SortedMap<String, Reach>,
        now: u64,
    }

    impl Store {
        fn new(pauses: &[u64]) -> Self {
            Self::of(pauses, 2)
        }

        /// Makes the segments of one writer or two.
        fn of(pauses: &[u64], count: usize) -> Self {
            let mut writers = [Writer::new("a"), Writer::new("b")];
            let mut producer = Producer::new([0; 10]);
            let (mut batches, mut now) = (Vec::new(), NOW);
            for (n, pause) in pauses.iter().enumerate() {
                now += pause;
                let text = |count: usize| {
                    let agent = format!("agent{}", (n + count) % 3);
                    let decision = if n.is_multiple_of(2) { Decision::Allowed } else { Decision::Denied };
                    let entry = Entry {
                        time: now - count as u64,
                        agent: Some(agent.into()),
                        decision,
                        ..Entry::default()
                    };
                    producer.message(&entry, &Writing::default()).to_text()
                };
                let texts: Vec<_> = (0..=n % 4).map(text).collect();
                let writer = &mut writers[n % 3 % count];
                let pieces = writer.write(texts.iter().map(String::as_str), now).pieces;
                batches.extend(writer.cut(pieces, now));
            }
            let reach = |batch: &Batch| (batch.segment.writer.clone(), batch.reach.clone());
            let reaches = batches.iter().map(reach).collect();
            Self { batches, reaches, now }
        }

        /// Lists a day by keys as a store does, half of the time by paths.
        fn list(&self, day: u64) -> Vec<Segment> {
            let by_key = (day / DAY).is_multiple_of(2);
            let prefix = if by_key { key_prefix(day) } else { path_prefix(day) };
            let name = |segment: &Segment| if by_key { segment.key() } else { segment.path() };
            let named = self.batches.iter().map(|batch| (name(&batch.segment), batch.segment.beside_text()));
            let mut found: Vec<_> = named.filter(|(key, _)| key.starts_with(&prefix)).collect();
            found.sort();
            found.iter().map(|(key, beside)| Segment::parse(key, beside).unwrap()).collect()
        }

        fn text(&self, segment: &Segment) -> &str {
            let batch =
                self.batches.iter().find(|batch| batch.segment == *segment).expect("a segment that is there");
            &batch.text
        }

        /// Reads page after page, each with so many steps.
        fn pages(&self, mut query: Query, steps: usize) -> (Vec<String>, Option<String>) {
            let mut lines = Vec::new();
            for _ in 0..10_000 {
                let mut search = Search::new(query.clone(), NOW, self.now).unwrap();
                for _ in 0..steps {
                    match search.step() {
                        Step::List(day) => search.listed(self.list(day)),
                        Step::Read(segment) => search.read(&segment, self.text(&segment)),
                        Step::End => break,
                    }
                }
                let page = search.finish();
                assert!(page.lines.len() <= query.limit);
                lines.extend(page.lines);
                match page.next {
                    Some(next) => query.cursor = Some(next),
                    None => return (lines, page.follow),
                }
            }
            panic!("the pages do not end");
        }

        fn all(&self) -> Vec<String> {
            let lines = self.batches.iter().flat_map(|batch| batch.text.lines());
            lines.map(str::to_owned).collect()
        }

        fn check(&self, floor: u64, steps: usize) -> Vec<Verdict> {
            let mut cursor: Option<String> = None;
            for _ in 0..10_000 {
                let mut check = Check::new(&self.reaches, cursor.as_deref(), (floor, self.now)).unwrap();
                for _ in 0..steps {
                    match check.step() {
                        Step::List(day) => check.listed(self.list(day)),
                        Step::Read(segment) => check.read(&segment, self.text(&segment)),
                        Step::End => break,
                    }
                }
                let verdicts = check.finish();
                if verdicts.next.is_none() {
                    return verdicts.writers;
                }
                cursor = verdicts.next;
            }
            panic!("the check does not end");
        }
    }

    fn pauses() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(prop_oneof![0..3_u64, 0..20_000_000_u64, DAY - 2..3 * DAY], 0..24)
    }

    #[test]
    fn a_cursor_is_one_of_this_trail() {
        let store = Store::new(&[0, 0, 0]);
        let query = |cursor: &str| Query { cursor: Some(cursor.into()), ..Query::default() };
        assert_eq!(Search::new(query("7"), NOW, NOW).unwrap_err(), Unreadable::Cursor);
        for cursor in ["", "e30", "?"] {
            let check = Check::new(&store.reaches, Some(cursor), (NOW, NOW));
            assert_eq!(check.unwrap_err(), Unreadable::Cursor, "{cursor}");
        }
    }

    #[test]
    fn only_what_may_hold_an_entry_is_read() {
        let store = Store::new(&[0; 12]);
        let query = Query { decision: Some("denied".into()), ..Query::default() };
        let mut search = Search::new(query, NOW, store.now).unwrap();
        let mut read = 0;
        loop {
            match search.step() {
                Step::List(day) => search.listed(store.list(day)),
                Step::Read(segment) => {
                    read += 1;
                    search.read(&segment, store.text(&segment));
                }
                Step::End => break,
            }
        }
        assert_eq!((read, store.batches.len()), (6, 12));
    }

    #[test]
    fn what_is_no_longer_kept_is_no_breach_and_what_is_gone_is() {
        let mut store = Store::new(&[0, 0, 0, DAY, DAY, DAY]);
        let is_whole = |store: &Store, floor| store.check(floor, 3).iter().all(|v| v.outcome.is_ok());
        assert!(is_whole(&store, NOW));
        let gone = store.batches.remove(0);
        assert!(!is_whole(&store, NOW) && is_whole(&store, NOW + 1));
        store.batches.insert(0, gone);
        store.batches.remove(2);
        assert!(!is_whole(&store, NOW) && !is_whole(&store, NOW + 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pages_are_the_filter_of_all(
            pauses in pauses(), oldest in any::<bool>(), limit in 1..9_usize, steps in 2..6_usize,
            agent in prop::option::of(0..4_u8), denied in any::<bool>(),
            since in prop::option::of(0..9_u64), until in prop::option::of(0..9_u64),
        ) {
            let store = Store::new(&pauses);
            let span = store.now - NOW;
            let query = Query {
                agent: agent.map(|n| format!("agent{n}")),
                decision: denied.then(|| "denied".into()),
                since: since.map(|n| NOW + span * n / 8),
                until: until.map(|n| NOW + span * n / 8),
                order: if oldest { Order::Oldest } else { Order::Newest },
                limit,
                ..Query::default()
            };
            let mut expected: Vec<_> = store.all().into_iter().filter(|line| query.matches(line)).collect();
            if !oldest {
                expected.reverse();
            }
            let (mut found, _) = store.pages(query, steps);
            // Of what two writers have written in the same millisecond, the order is the keys'.
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn what_comes_is_followed(pauses in pauses(), steps in 2..6_usize) {
            let store = Store::of(&pauses, 1);
            let mut early = Store::of(&pauses[..pauses.len() / 2], 1);
            let (mut lines, follow) = early.pages(Query::default(), 1000);
            lines.reverse();
            early.now = store.now;
            prop_assert_eq!(&lines, &early.pages(Query { order: Order::Oldest, ..Query::default() }, 1000).0);
            let (rest, _) = store.pages(Query { order: Order::Oldest, cursor: follow, ..Query::default() }, steps);
            lines.extend(rest);
            prop_assert_eq!(lines, store.all());
        }

        #[test]
        fn chains_hold_however_often_a_check_is_broken_off(pauses in pauses(), steps in 2..6_usize) {
            let store = Store::new(&pauses);
            let verdicts = store.check(0, steps);
            prop_assert_eq!(verdicts.len(), store.reaches.len());
            let entries: u64 = verdicts.iter().map(|v| v.outcome.as_ref().unwrap().entries).sum();
            prop_assert_eq!(entries, store.all().len() as u64);
        }
    }
}
