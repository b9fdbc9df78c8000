//! Finding entries of the audit trail: by time, by agent, by server.
//!
//! The indexes tell keys in the order of time, spread over some shards; the lines are read by their keys. **What an index
//! names and the table no longer has is not there**, nor is what is no longer kept.
//!
//! An index may show an entry a moment later than another that happened after it, and clocks differ. So whoever follows
//! the trail is shown only what is some seconds old: what comes late comes in its order all the same.

use std::collections::VecDeque;

use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use portcullis_core::audit::{self, Gathering, Page, Query, Unreadable, Verdicts};
use portcullis_core::ports::AuditQuery;

use super::check::Check;
use super::item::{Item, PK, SK, text};
use super::scribe::{SHARDS, index_key};
use super::trail::Sink;
use super::{Order, Stretch, Table, Trouble};

/// How many keys are read from a shard at once, and how many lines.
const TOGETHER: usize = 100;
/// How often lines are read for one page: it may come out short, or empty, although more follow.
const ROUNDS: usize = 20;
/// What the cursors of those begin with who follow the trail.
const FOLLOWING: &str = "f";
/// How old entries are that are shown to those, in milliseconds.
const SETTLED: u64 = 3000;

/// The trail in the table.
#[derive(Debug)]
pub(crate) struct Reader {
    table: Table,
    sink: Sink,
}

impl Reader {
    /// Reads it from this table, with what this environment has still to write.
    pub(crate) fn new(table: Table, sink: Sink) -> Self {
        Self { table, sink }
    }

    async fn find(&self, query: Query) -> Result<Page, Unreadable> {
        let cursor = query.cursor.as_deref().map(Cursor::parse).transpose()?;
        let mut way = Way::new(&query, cursor.as_ref(), self.table.now());
        let mut page = Gathering::new(&query);
        let (mut newest, mut last) = (None, cursor.as_ref().map(|cursor| cursor.at.clone()));
        let mut goes_on = true;
        for _ in 0..ROUNDS {
            let places = way.next(&self.table).await?;
            goes_on = !places.is_empty();
            newest = newest.max(places.iter().map(|place| place.at.clone()).max());
            let lines = self.lines(&places).await?;
            for (place, line) in places.iter().zip(lines) {
                if page.is_full() {
                    break;
                }
                last = Some(place.at.clone());
                if let Some(line) = line.filter(|line| query.matches(line)) {
                    page.take(line);
                }
            }
            if page.is_full() || !goes_on {
                break;
            }
        }
        let is_following = cursor.is_some_and(|cursor| cursor.is_following);
        let next = last.clone().filter(|_| goes_on).map(|at| Cursor { at, is_following }.to_text());
        let follow = match query.order {
            audit::Order::Newest => newest,
            audit::Order::Oldest => last,
        };
        let follow = follow.map(|at| Cursor { at, is_following: true }.to_text());
        Ok(Page { lines: page.into_lines(), next, follow })
    }

    /// Reads the lines at these places, in their order; nothing where there is none.
    async fn lines(&self, places: &[Place]) -> Result<Vec<Option<String>>, Trouble> {
        let keys = places.iter().map(|place| (place.pk.clone(), place.sk.clone())).collect();
        let items = self.table.load_all(keys).await?;
        let is_at = |place: &Place, item: &&Item| {
            text(item, PK) == Some(&place.pk) && text(item, SK) == Some(&place.sk)
        };
        let line = |place: &Place| {
            let item = items.iter().find(|item| is_at(place, item))?;
            text(item, "line").map(str::to_owned)
        };
        Ok(places.iter().map(line).collect())
    }
}

impl AuditQuery for Reader {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        async move {
            // Whoever reads finds what this environment has done; what cannot be written is said elsewhere.
            let _ = self.sink.flush().await;
            self.find(query).await
        }
        .boxed()
    }

    fn verify(&self, cursor: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        async move {
            let _ = self.sink.flush().await;
            Check::begin(cursor.as_deref())?.run(&self.table).await
        }
        .boxed()
    }
}

/// Where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    /// The place after which: the key of an entry in the order of time.
    at: String,
    /// Whether only what has settled is shown.
    is_following: bool,
}

impl Cursor {
    fn to_text(&self) -> String {
        format!("{}{}", if self.is_following { FOLLOWING } else { "" }, self.at.replace('#', "."))
    }

    fn parse(text: &str) -> Result<Self, Unreadable> {
        let (at, is_following) = text.strip_prefix(FOLLOWING).map_or((text, false), |at| (at, true));
        let parts: Vec<_> = at.split('.').collect();
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        match parts[..] {
            [time, writer, id]
                if time.len() == 15
                    && is_number(time)
                    && audit::is_name(writer)
                    && id.len() == 12
                    && is_number(id) =>
            {
                Ok(Self { at: parts.join("#"), is_following })
            }
            _ => Err(Unreadable::Cursor),
        }
    }
}

/// The place of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    at: String,
    pk: String,
    sk: String,
}

/// The way through the places of entries, over all shards.
#[derive(Debug)]
struct Way {
    index: (&'static str, &'static str, &'static str),
    between: (String, String),
    /// Where it began, if not at an end.
    start: Option<String>,
    order: Order,
    shards: Vec<Shard>,
}

/// What is known of one shard.
#[derive(Debug)]
struct Shard {
    key: String,
    places: VecDeque<Place>,
    after: Option<Item>,
    has_ended: bool,
}

impl Way {
    fn new(query: &Query, cursor: Option<&Cursor>, now: u64) -> Self {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (index, value) = match (named(&query.agent), named(&query.server)) {
            (Some(agent), _) => (("by_agent", "agent", "at"), agent),
            (None, Some(server)) => (("by_server", "server", "at"), server),
            (None, None) => (("by_time", "trail", "at"), String::new()),
        };
        let time = |time: u64| format!("{time:015}");
        let mut least = query.since.map_or_else(|| "0".to_owned(), time);
        let mut greatest = query.until.map_or_else(|| "~".to_owned(), time);
        let order = match query.order {
            audit::Order::Newest => Order::Falling,
            audit::Order::Oldest => Order::Rising,
        };
        if let Some(cursor) = cursor {
            match order {
                Order::Falling => greatest = greatest.min(cursor.at.clone()),
                Order::Rising => least = least.max(cursor.at.clone()),
            }
            if cursor.is_following {
                greatest = greatest.min(time(now.saturating_sub(SETTLED)));
            }
        }
        let has_ended = least > greatest;
        let shard =
            |shard| Shard { key: index_key(&value, shard), places: VecDeque::new(), after: None, has_ended };
        let start = cursor.map(|cursor| cursor.at.clone());
        Self { index, between: (least, greatest), start, order, shards: (0..SHARDS).map(shard).collect() }
    }

    /// Returns the next places in their order; none where none is left.
    async fn next(&mut self, table: &Table) -> Result<Vec<Place>, Trouble> {
        let mut next = Vec::new();
        while next.len() < TOGETHER {
            self.fill(table).await?;
            let heads = self.shards.iter_mut().filter(|shard| !shard.places.is_empty());
            let first = match self.order {
                Order::Falling => heads.max_by(|one, other| one.places[0].at.cmp(&other.places[0].at)),
                Order::Rising => heads.min_by(|one, other| one.places[0].at.cmp(&other.places[0].at)),
            };
            match first.and_then(|shard| shard.places.pop_front()) {
                Some(place) => next.push(place),
                None => break,
            }
        }
        Ok(next)
    }

    /// Reads on in those shards of which nothing is left.
    async fn fill(&mut self, table: &Table) -> Result<(), Trouble> {
        while self.shards.iter().any(Shard::is_empty) {
            let (index, order, start) = (self.index, self.order, self.start.as_deref());
            let (least, greatest) = (self.between.0.as_str(), self.between.1.as_str());
            let reading = self.shards.iter_mut().filter(|shard| shard.is_empty()).map(async |shard| {
                let stretch = Stretch {
                    index: Some(index),
                    key: &shard.key,
                    between: (least, greatest),
                    order,
                    most: TOGETHER,
                };
                let (items, after) = table.query(&stretch, shard.after.take()).await?;
                let places = items.iter().filter_map(Place::of);
                shard.places = places.filter(|place| Some(place.at.as_str()) != start).collect();
                shard.has_ended = after.is_none();
                shard.after = after;
                Ok::<_, Trouble>(())
            });
            future::try_join_all(reading).await?;
        }
        Ok(())
    }
}

impl Shard {
    /// Tells whether there may be more than is known.
    fn is_empty(&self) -> bool {
        self.places.is_empty() && !self.has_ended
    }
}

impl Place {
    fn of(item: &Item) -> Option<Self> {
        let value = |name| text(item, name).map(str::to_owned);
        Some(Self { at: value("at")?, pk: value(PK)?, sk: value(SK)? })
    }
}

impl From<Trouble> for Unreadable {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble.to_string())
    }
}
