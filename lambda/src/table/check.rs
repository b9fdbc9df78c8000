//! Checking the chains of the audit trail, writer by writer.
//!
//! **What is known of a chain's ends**: the table knows how far each chain reaches, and since when it may have lost its
//! beginning to time. So it is told where lines are missing that were written, at the end too; at the beginning as long as
//! the first line would still be kept. Lines that are there and not yet counted are no breach: the environment that wrote
//! them was killed in between. A writer of which everything is removed leaves no trace here; against that helps only a
//! copy elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::audit::{Chain, Head, Unreadable, Verdict, Verdicts, Verifier, is_name};
use serde::{Deserialize, Serialize};

use super::item::{Item, SK, TTL, number, text};
use super::scribe::{HEAD, WRITERS, line_key, lines_of};
use super::trail::LONGER;
use super::{Order, Stretch, Table, Trouble, garbled};

/// How many requests one step of a check makes at most.
const REQUESTS: usize = 50;
/// How many writers are read at once.
const WRITERS_TOGETHER: usize = 100;
/// How many lines are read at once.
const LINES_TOGETHER: usize = 1000;

/// A check, or where it goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Check {
    /// The writer whose chain was checked last.
    after: String,
    /// The chain that is being checked.
    open: Option<Open>,
}

/// A chain that is being checked.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    writer: String,
    /// The second key of the line that was read last.
    last: String,
    /// Nothing where it is not known how far the chain reaches, and should be.
    verifier: Option<Verifier>,
}

impl Check {
    /// Begins, or goes on where another step has told to.
    pub(crate) fn begin(cursor: Option<&str>) -> Result<Self, Unreadable> {
        let Some(text) = cursor else { return Ok(Self::default()) };
        let text = URL_SAFE_NO_PAD.decode(text).map_err(|_| Unreadable::Cursor)?;
        let check: Self = serde_json::from_slice(&text).map_err(|_| Unreadable::Cursor)?;
        let is_after = check.after.is_empty() || is_name(&check.after);
        let is_open = check.open.as_ref().is_none_or(|open| is_name(&open.writer));
        if is_after && is_open { Ok(check) } else { Err(Unreadable::Cursor) }
    }

    /// Reads on; returns the chains that were read to their ends, and where to go on.
    pub(crate) async fn run(mut self, table: &Table) -> Result<Verdicts, Unreadable> {
        let (mut verdicts, mut left) = (Vec::new(), REQUESTS);
        loop {
            if self.open.is_none() {
                let writers = self.writers(table).await?;
                if writers.is_empty() {
                    return Ok(Verdicts { writers: verdicts, next: None });
                }
                for writer in writers {
                    if left == 0 {
                        break;
                    }
                    left = left.saturating_sub(1);
                    self.after.clone_from(&writer.name);
                    self.open = open(table, writer).await?;
                    verdicts.extend(self.read(table, &mut left).await?);
                    if self.open.is_some() {
                        break;
                    }
                }
            } else {
                verdicts.extend(self.read(table, &mut left).await?);
            }
            if left == 0 {
                let text = serde_json::to_vec(&self).unwrap_or_default();
                return Ok(Verdicts { writers: verdicts, next: Some(URL_SAFE_NO_PAD.encode(text)) });
            }
        }
    }

    /// Returns some of the writers that come next, in the order in which they began.
    async fn writers(&self, table: &Table) -> Result<Vec<Known>, Trouble> {
        let least = format!("w#{}", self.after);
        let stretch = Stretch {
            index: None,
            key: WRITERS,
            between: (&least, "w#~"),
            order: Order::Rising,
            most: WRITERS_TOGETHER,
        };
        let found = table.query_all(stretch).await?;
        Ok(found.iter().filter_map(Known::of).filter(|known| known.name != self.after).collect())
    }

    /// Reads on in the chain that is open; returns the verdict once it was read to its end.
    async fn read(&mut self, table: &Table, left: &mut usize) -> Result<Option<Verdict>, Trouble> {
        let Some(Open { writer, last, verifier }) = &mut self.open else { return Ok(None) };
        let key = lines_of(writer);
        let mut after = None;
        loop {
            if *left == 0 {
                return Ok(None);
            }
            *left -= 1;
            let stretch = Stretch {
                index: None,
                key: &key,
                between: (last, "e#~"),
                order: Order::Rising,
                most: LINES_TOGETHER,
            };
            let (items, next) = table.query(&stretch, after).await?;
            for item in &items {
                let (Some(place), Some(line)) = (text(item, SK), text(item, "line")) else { continue };
                if place > last.as_str() {
                    if let Some(verifier) = verifier {
                        verifier.push(line.as_bytes());
                    }
                    place.clone_into(last);
                }
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        let open = self.open.take();
        Ok(open.map(|Open { writer, verifier, .. }| {
            let outcome = match verifier {
                Some(verifier) => verifier.finish().map_err(|breach| breach.to_string()),
                None => Err("it is not known how far the chain reaches: that was removed".to_owned()),
            };
            Verdict { writer, outcome }
        }))
    }
}

/// A writer that the table knows of.
#[derive(Debug)]
struct Known {
    name: String,
    /// Until when at least the table keeps how far its chain reaches, in milliseconds since the Unix epoch.
    until: u64,
}

impl Known {
    fn of(item: &Item) -> Option<Self> {
        let name = text(item, SK)?.strip_prefix("w#")?.to_owned();
        let until = number(item, TTL)?.saturating_mul(1000).saturating_sub(LONGER);
        Some(Self { name, until })
    }
}

/// Begins with a chain: how far it reaches is read before its lines. Nothing where none of it is kept any more.
async fn open(table: &Table, writer: Known) -> Result<Option<Open>, Trouble> {
    let Known { name, until } = writer;
    let (key, last) = (lines_of(&name), line_key(0));
    let verifier = match table.load(&key, HEAD).await? {
        Some(head) => {
            let (Some(reached), Some(hash)) = (number(&head, "last"), text(&head, "hash")) else {
                return Err(garbled(&key, HEAD));
            };
            let chain = Chain { last: reached, hash: hash.to_owned() };
            let known = Some(Head { chain, ..Head::default() });
            let is_first_kept =
                number(&head, "first").is_none_or(|until| until.saturating_mul(1000) > table.now());
            if is_first_kept { Verifier::new(known) } else { Verifier::from_what_is_kept(known) }
        }
        None if until > table.now() => return Ok(Some(Open { writer: name, last, verifier: None })),
        None => {
            let between = (last.as_str(), "e#~");
            let stretch = Stretch { index: None, key: &key, between, order: Order::Rising, most: 1 };
            if table.query_all(stretch).await?.is_empty() {
                return Ok(None);
            }
            Verifier::from_what_is_kept(None)
        }
    };
    Ok(Some(Open { writer: name, last, verifier: Some(verifier) }))
}
