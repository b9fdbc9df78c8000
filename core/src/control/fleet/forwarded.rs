//! The trails that governed gateways forward, as their control plane keeps them: what a gateway sends, where its chains are, and
//! which parts of them lie where.
//!
//! **A line counts once, and under the gateway that has proved to send it.** It is taken where it goes on from what was taken
//! before; one that does not begins a chain of its own, so that what is missing, or said otherwise now, is seen. What was taken is
//! changed by nothing that a gateway sends later.

use serde::{Deserialize, Serialize};

use crate::audit::{Beside, Chain, FIRST, Head, Link, Query, Reach, Row, Segment, digest};

/// How many lines come at once, and how long the place is that a gateway says they reach to, in bytes: what nobody sends who forwards
/// their trail. Without bounds one gateway could keep its control plane busy, or fill what it reads of all.
const MOST: (usize, usize) = (1000, 1 << 10);
/// The longest decision that an entry has, in bytes, with room to spare.
const LONGEST_DECISION: usize = 32;
/// How many chains of one gateway are told apart: those that were written to last.
const CHAINS: usize = 200;
/// What moments are taken from where the latest is to come first.
const LATEST: u64 = 999_999_999_999_999;

/// What a gateway sends of its trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// Up to where it knows that its trail was taken.
    pub(crate) after: Option<String>,
    /// Up to where it is with these lines; nothing where it only asks.
    pub(crate) next: Option<String>,
    pub(crate) lines: Vec<String>,
}

/// What stands before the lines.
#[derive(Serialize, Deserialize)]
struct Before {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    next: Option<String>,
}

impl Batch {
    /// Returns the bytes that are sent: one line of JSON, and the lines of the trail as they are.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let before = Before { after: self.after.clone(), next: self.next.clone() };
        let mut text = serde_json::to_string(&before).expect("texts are JSON");
        for line in &self.lines {
            text.push('\n');
            text.push_str(line);
        }
        text.into_bytes()
    }

    /// Reads such bytes; nothing where they are something else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split('\n');
        let Before { after, next } = serde_json::from_str(lines.next()?).ok()?;
        let lines: Vec<_> = lines.take(MOST.0 + 1).collect();
        let is_sound = lines.len() <= MOST.0 && next.as_ref().is_none_or(|next| next.len() <= MOST.1);
        is_sound.then(|| Self { after, next, lines: lines.into_iter().map(str::to_owned).collect() })
    }
}

/// Lines of one chain that were taken at once, and where they lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Whose chain it is: the gateway's id, and which of its chains.
    pub(crate) writer: String,
    /// The number of the first line.
    pub(crate) first: u64,
    pub(crate) beside: Beside,
    /// What the keys of the text begin with, and how many records it has.
    pub(crate) place: String,
    pub(crate) pieces: usize,
    /// Until when it is kept.
    pub(crate) until: u64,
}

impl Part {
    /// Returns its key among those of which the earliest comes first, and among those of which the latest does.
    pub(crate) fn keys(&self) -> [String; 2] {
        [self.beside.at, LATEST.saturating_sub(self.beside.at)].map(|at| format!("{at:015}/{}", self.writer))
    }

    /// Tells whether a line may be in it that is wanted.
    pub(crate) fn may_hold(&self, query: &Query) -> bool {
        let Self { writer, first, beside, .. } = self;
        Segment { writer: writer.clone(), first: *first, beside: beside.clone() }.may_hold(query)
    }

    /// Returns the id of the gateway.
    pub(crate) fn gateway(&self) -> &str {
        gateway_of(&self.writer)
    }

    /// Returns the place of one of its lines.
    pub(crate) fn position(&self, id: u64) -> Position {
        Position { at: self.beside.at, writer: self.writer.clone(), id }
    }
}

/// Tells whether a line says no more of what is kept of each than one that a gateway writes.
fn is_sound(link: &Link, text: &str) -> bool {
    let decision = Row::read(text).map(|row| row.searched().decision.len());
    link.prev.len() == FIRST.len() && decision.is_some_and(|length| length <= LONGEST_DECISION)
}

/// Returns the id of the gateway whose chain a writer is.
pub(crate) fn gateway_of(writer: &str) -> &str {
    writer.split('n').next().unwrap_or_default()
}

/// A place among all lines that were taken, in the order in which that was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) at: u64,
    pub(crate) writer: String,
    pub(crate) id: u64,
}

impl Position {
    /// Returns the place after everything that was taken up to a moment.
    pub(crate) fn after_all(at: u64) -> Self {
        // No writer's name comes after this one.
        Self { at, writer: "~".into(), id: 0 }
    }

    pub(crate) fn to_text(&self) -> String {
        format!("{}.{}.{}", self.at, self.writer, self.id)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (at, writer, id) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?.parse().ok()?);
        let is_one = parts.next().is_none() && at <= LATEST && writer.len() <= 64;
        is_one.then(|| Self { at, writer: writer.to_owned(), id })
    }

    /// Returns a key that comes before those of everything that was taken at its moment, in either order.
    pub(crate) fn before_its_moment(&self, latest_first: bool) -> String {
        format!("{:015}", if latest_first { LATEST - self.at } else { self.at })
    }
}

/// A chain of which something was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) writer: String,
    pub(crate) reach: Reach,
}

/// What is known of the trail of one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Forwarded {
    /// What the gateway is called.
    pub(crate) name: String,
    /// Up to where it was taken, as the gateway says it.
    pub(crate) cursor: Option<String>,
    /// When something was taken last; no two parts have the same moment.
    #[serde(default)]
    at: u64,
    /// For how many days it was kept at the least.
    #[serde(default)]
    pub(crate) days: Option<u32>,
    /// How many chains there were.
    #[serde(default)]
    begun: u64,
    /// The chains, the one that was written to last at the end.
    #[serde(default)]
    pub(crate) chains: Vec<Known>,
    /// What was taken last: it may not be listed yet.
    #[serde(default)]
    pub(crate) latest: Vec<Part>,
}

/// What becomes of lines that are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) known: Forwarded,
    /// The texts of the parts, which have no place yet.
    pub(crate) texts: Vec<String>,
    /// What is wrong with them, in words.
    pub(crate) wrong: Option<String>,
}

impl Forwarded {
    /// Has it be of a gateway that is called so now.
    pub(crate) fn of_gateway(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Takes lines of the gateway with that id; nothing where they do not begin where what was taken ends.
    pub(crate) fn take(&self, id: &str, batch: &Batch, (now, days): (u64, u32)) -> Option<Taken> {
        let next = batch.next.clone().filter(|_| batch.after == self.cursor)?;
        let mut known = Self { cursor: Some(next), latest: Vec::new(), ..self.clone() };
        known.days = Some(known.days.map_or(days, |known| known.min(days)));
        let (mut gathered, mut wrong): (Vec<(String, u64, String)>, _) = (Vec::new(), None);
        for line in &batch.lines {
            let Some(link) = Link::read(line.as_bytes()).filter(|link| is_sound(link, line)) else {
                wrong.get_or_insert_with(|| "what came is no line of a trail".to_owned());
                continue;
            };
            let writer = known.goes_on(id, &link, digest(line.as_bytes()), &mut wrong);
            match gathered.iter_mut().find(|(known, ..)| *known == writer) {
                Some((.., text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                None => gathered.push((writer, link.id, format!("{line}\n"))),
            }
        }
        let mut texts = Vec::with_capacity(gathered.len());
        for (writer, first, text) in gathered {
            known.at = now.max(known.at + 1);
            let beside = Segment::of(&writer, known.at, first, text.lines()).beside;
            let chain = known.chains.iter_mut().find(|known| known.writer == writer);
            if let Some(reach) = chain.map(|known| &mut known.reach).filter(|reach| reach.began == 0) {
                reach.began = known.at;
            }
            let until = now + u64::from(days) * 86_400_000;
            known.latest.push(Part { writer, first, beside, place: String::new(), pieces: 0, until });
            texts.push(text);
        }
        Some(Taken { known, texts, wrong })
    }

    /// Has a line go on from the chain that it follows, or begin another; returns whose chain that is.
    fn goes_on(&mut self, id: &str, link: &Link, hash: String, wrong: &mut Option<String>) -> String {
        let follows =
            |known: &Known| known.reach.head.chain == Chain { last: link.id - 1, hash: link.prev.clone() };
        let at = self.chains.iter().position(|known| link.id > 0 && follows(known));
        let mut known = if let Some(at) = at {
            self.chains.remove(at)
        } else {
            if !self.chains.is_empty() && link.id != 1 {
                wrong.get_or_insert_with(|| format!("entry {} follows none that was sent before", link.id));
            }
            self.begun += 1;
            let writer = if self.begun == 1 { id.to_owned() } else { format!("{id}n{}", self.begun) };
            let head = Head { first: link.clone(), chain: Chain::default() };
            Known { writer, reach: Reach { head, began: 0 } }
        };
        known.reach.head.chain = Chain { last: link.id, hash };
        let writer = known.writer.clone();
        self.chains.push(known);
        if self.chains.len() > CHAINS {
            self.chains.remove(0);
        }
        writer
    }

    /// Returns what people call a chain.
    pub(crate) fn called(&self, writer: &str) -> String {
        format!("{} {writer}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Entry, Verifier, Writing};

    const ID: &str = "00000000000000aa";

    fn lines(chain: &mut Chain, many: usize) -> Vec<String> {
        let line =
            |id, prev: &str| Entry::own(id, "audit/lost", "x".into()).line(id, prev, &Writing::default());
        (0..many).map(|_| chain.add(line)).collect()
    }

    fn batch(after: Option<&str>, next: &str, lines: &[String]) -> Batch {
        Batch { after: after.map(Into::into), next: Some(next.into()), lines: lines.to_vec() }
    }

    #[test]
    fn a_batch_is_read_as_it_was_sent() {
        let sent = batch(None, "3", &lines(&mut Chain::default(), 3));
        assert_eq!(Batch::read(&sent.to_bytes()), Some(sent));
        assert_eq!(Batch::read(b"{}"), Some(Batch::default()));
        assert_eq!(Batch::read(b"3"), None);
        let many = |many: usize| {
            Batch::read(&[&b"{}"[..], &vec![b'\n'; many]].concat()).map(|batch| batch.lines.len())
        };
        assert_eq!((many(1000), many(1001)), (Some(1000), None));
        assert_eq!(Batch::read(&batch(None, &"9".repeat(2000), &[]).to_bytes()), None);
    }

    #[test]
    fn what_no_gateway_writes_is_not_kept() {
        let long = "x".repeat(2000);
        for line in [
            r#"{"id":1,"prev":""}"#.to_owned(),
            format!(r#"{{"id":1,"prev":"{long}"}}"#),
            format!(r#"{{"id":1,"prev":"{FIRST}","decision":"{long}"}}"#),
            String::new(),
        ] {
            let taken = Forwarded::default().take(ID, &batch(None, "1", &[line]), (5, 30)).unwrap();
            assert!(taken.wrong.is_some() && taken.known.chains.is_empty() && taken.known.latest.is_empty());
        }
    }

    #[test]
    fn what_does_not_go_on_is_a_chain_of_its_own() {
        let (mut chain, known) = (Chain::default(), Forwarded::default());
        let all = lines(&mut chain, 6);
        let first = known.take(ID, &batch(None, "2", &all[..2]), (5, 30)).unwrap();
        assert_eq!(first.wrong, None);
        assert_eq!(first.known.take(ID, &batch(None, "2", &all[..2]), (6, 30)), None, "it was taken already");
        let gap = first.known.take(ID, &batch(Some("2"), "6", &all[4..]), (5, 30)).unwrap();
        assert_eq!(gap.wrong.as_deref(), Some("entry 5 follows none that was sent before"));
        let writers: Vec<_> =
            gap.known.chains.iter().map(|known| (&*known.writer, known.reach.began)).collect();
        assert_eq!(writers, [(ID, 5), ("00000000000000aan2", 6)]);
        let other = lines(&mut Chain { last: 6, hash: digest(b"forged") }, 1);
        let forged = gap.known.take(ID, &batch(Some("6"), "7", &other), (5, 30)).unwrap();
        assert_eq!(forged.wrong.as_deref(), Some("entry 7 follows none that was sent before"));
        assert!(forged.known.latest.iter().all(|part| part.gateway() == ID));
    }

    proptest! {
        #[test]
        fn however_lines_are_sent_each_chain_is_whole(
            sizes in prop::collection::vec((1..4usize, 0..2usize, any::<bool>()), 1..20),
        ) {
            let (mut chains, mut known) = ([Chain::default(), Chain::default()], Forwarded::default());
            let mut kept: Vec<(String, String)> = Vec::new();
            for (many, which, again) in sizes {
                let sent = lines(&mut chains[which], many);
                let next = format!("{}", kept.len() + 1);
                let after = known.cursor.clone();
                let sent = batch(after.as_deref(), &next, &sent);
                let taken = known.take(ID, &sent, (7, 30)).unwrap();
                kept.extend(taken.known.latest.iter().map(|part| part.writer.clone()).zip(taken.texts));
                known = taken.known;
                if again {
                    prop_assert_eq!(known.take(ID, &sent, (8, 30)), None);
                }
            }
            for chain in &known.chains {
                let mut verifier = Verifier::new(Some(chain.reach.head.clone()));
                let own = kept.iter().filter(|(writer, _)| *writer == chain.writer);
                own.flat_map(|(_, text)| text.lines()).for_each(|line| verifier.push(line.as_bytes()));
                prop_assert_eq!(verifier.finish().map(|found| found.hash).ok(), Some(chain.reach.head.chain.hash.clone()));
            }
        }

        #[test]
        fn places_are_ordered_as_keys_are(times in any::<[u32; 2]>()) {
            let [one, other] = times.map(|at| Position::after_all(at.into()));
            let keys = |latest| (one.before_its_moment(latest), other.before_its_moment(latest));
            let (asc, desc) = (keys(false), keys(true));
            prop_assert_eq!(one.cmp(&other), asc.0.cmp(&asc.1));
            prop_assert_eq!(other.at.cmp(&one.at), desc.0.cmp(&desc.1));
            prop_assert_eq!(Position::parse(&one.to_text()), Some(one));
        }
    }
}
