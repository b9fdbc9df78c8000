//! A trail for hosts that keep nothing themselves: whoever answers a request makes messages of entries, and one writer
//! makes lines of messages.
//!
//! **A message may come twice, and in any order; its entry is written once.** Messages name their source and their number
//! there, and the writer remembers which it has taken. **What a writer has to remember and what it has written must be
//! stored together**, before anybody is told that the messages have been taken.
//!
//! Lines are gathered before they are cut into segments, so that few messages at a time do not make many small ones. A
//! segment too is stored before it is copied to where it is read: then it is the same however often that is tried.

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Head, Link, digest};
use super::entry::{Entry, Writing};
use super::seen::Seen;
use super::segment::{DAY, Segment, is_name};
use super::walk::Reach;
use crate::sorted::{SortedMap, SortedSet};
use crate::wire::json::Json;

/// What a line that has no place in a chain yet has in its stead. It follows the time, in which it cannot stand.
const UNCHAINED: &str = ",\"id\":0,\"prev\":\"\",";
/// The longest message, in bytes: a queue takes 128 kB.
const MESSAGE: usize = 120_000;
/// How many bytes of lines a segment has at most, unless one line alone has more.
const SEGMENT: usize = 1 << 20;
/// How long it is remembered which messages of a source have been taken, in milliseconds: longer than any queue tries.
const REMEMBERED: u64 = 15 * DAY;

/// What tells a message from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where it was made.
    pub source: String,
    /// Which one it is there.
    pub number: u64,
}

/// An entry on its way to the writer. It is redacted already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its key.
    pub key: Key,
    line: String,
}

impl Message {
    /// Returns the message as text.
    pub fn to_text(&self) -> String {
        let Key { source, number } = &self.key;
        format!("{{\"source\":\"{source}\",\"number\":{number},\"entry\":{}}}", self.line)
    }

    /// Reads a message; nothing where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let json = Json::check(text.as_bytes()).ok().filter(|json| json.is_object())?;
        let source = json.get("source")?.as_str().filter(|source| is_name(source))?.into_owned();
        let key = Key { source, number: json.get("number")?.as_u64()? };
        let line = json.get("entry")?.text();
        let (time, _) = line.split_once(UNCHAINED)?;
        let is_line = time.starts_with("{\"time\":\"") && time.len() < 40 && !line.contains(['\n', '\r']);
        is_line.then(|| Self { key, line: line.to_owned() })
    }

    /// Returns the line at its place in a chain.
    fn chained(&self, id: u64, prev: &str) -> String {
        let (time, rest) = self.line.split_once(UNCHAINED).unwrap_or((&self.line, ""));
        format!("{time},\"id\":{id},\"prev\":\"{prev}\",{rest}")
    }
}

/// Makes messages of entries.
#[derive(Debug)]
pub struct Producer {
    source: String,
    next: u64,
}

impl Producer {
    /// Makes a source of its own, named by randomness.
    pub fn new(random: [u8; 10]) -> Self {
        let source = random.iter().fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        Self { source, next: 1 }
    }

    /// Makes a message of an entry. Arguments that are too long for one are left out, as their digest is not.
    pub fn message(&mut self, entry: &Entry, writing: &Writing) -> Message {
        let mut line = entry.line(0, "", writing);
        if line.len() > MESSAGE {
            line = entry.line(0, "", &Writing { arguments: false, ..writing.clone() });
        }
        let key = Key { source: self.source.clone(), number: self.next };
        self.next += 1;
        Message { key, line }
    }
}

/// One writer: it holds a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    name: String,
    state: State,
    sources: SortedMap<String, Source>,
}

/// What a writer has to remember of its chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct State {
    head: Head,
    /// When the first segment was written, in milliseconds since the Unix epoch; 0 where there is none.
    began: u64,
    /// When the last one was.
    at: u64,
}

/// What has been taken of one source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Source {
    seen: Seen,
    at: u64,
}

/// Lines that stand in their places in the chain, and in no segment yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The number of the first.
    pub first: u64,
    /// The lines, each with a line break.
    pub text: String,
}

/// A segment, as it is to be stored and copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// What is known of it.
    pub segment: Segment,
    /// The lines, each with a line break.
    pub text: String,
    /// How far the chain reaches with it.
    pub reach: Reach,
}

/// What became of messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// What is to be stored.
    pub pieces: Vec<Piece>,
    /// What is to be remembered of the sources that were concerned, in place of what was.
    pub sources: Vec<(String, String)>,
    /// The sources of which nothing has to be remembered any more.
    pub forgotten: Vec<String>,
    /// How many messages had been taken before.
    pub repeated: usize,
}

impl Writer {
    /// Makes a writer whose chain is empty.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: State::default(), sources: SortedMap::new() }
    }

    /// Makes a writer that goes on where its state says, and knows what has been taken of its sources; nothing where a
    /// text is not what was to be remembered.
    pub fn restore(
        name: &str,
        state: &str,
        sources: impl IntoIterator<Item = (String, String)>,
    ) -> Option<Self> {
        let read = |(name, text): (String, String)| {
            let (at, seen) = text.split_once(' ')?;
            Some((name, Source { at: at.parse().ok()?, seen: Seen::parse(seen)? }))
        };
        let sources = sources.into_iter().map(read).collect::<Option<_>>()?;
        Some(Self { name: name.to_owned(), state: serde_json::from_str(state).ok()?, sources })
    }

    /// Returns what is to be remembered of the chain, as text.
    pub fn state(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }

    /// Makes lines of the messages that have not been taken before, at the moment `now`. A text that is no message leaves
    /// an entry that says so.
    pub fn write<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>, now: u64) -> Written {
        let mut written = Written::default();
        let (mut fresh, mut concerned, mut unreadable) = (Vec::new(), SortedSet::new(), 0_usize);
        for text in texts {
            let Some(message) = Message::parse(text) else {
                unreadable += 1;
                continue;
            };
            let source = self.sources.entry(message.key.source.clone()).or_default();
            source.at = now;
            if source.seen.insert(message.key.number) {
                concerned.insert(message.key.source.clone());
                fresh.push(message);
            } else {
                written.repeated += 1;
            }
        }
        let mut lines: Vec<_> =
            fresh.iter().map(|m| self.state.head.chain.add(|id, prev| m.chained(id, prev))).collect();
        if unreadable > 0 {
            let what = format!("{unreadable} messages were lost: they were no entries");
            let own = Entry::own(now, "audit/lost", what);
            let line = |id, prev: &str| own.line(id, prev, &Writing::default());
            lines.push(self.state.head.chain.add(line));
        }
        written.pieces = self.pieces(lines);
        let remembered = |name: String| {
            let text = format!("{} {}", now, self.sources.get(&name)?.seen.to_text());
            Some((name, text))
        };
        written.sources = concerned.into_iter().filter_map(remembered).collect();
        if !written.pieces.is_empty() {
            written.forgotten = self.forget(now);
        }
        written
    }

    fn pieces(&self, lines: Vec<String>) -> Vec<Piece> {
        let first = self.state.head.chain.last + 1 - lines.len() as u64;
        let mut pieces: Vec<Piece> = Vec::new();
        for (next, line) in (first..).zip(lines) {
            let line = line + "\n";
            match pieces.last_mut().filter(|piece| piece.text.len() + line.len() <= SEGMENT) {
                Some(piece) => piece.text.push_str(&line),
                None => pieces.push(Piece { first: next, text: line }),
            }
        }
        pieces
    }

    /// Makes segments of all pieces that are in none yet, in their order, at the moment `now`.
    pub fn cut(&mut self, pieces: impl IntoIterator<Item = Piece>, now: u64) -> Vec<Batch> {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match joined.last_mut().filter(|last| last.text.len() + piece.text.len() <= SEGMENT) {
                Some(last) => last.text.push_str(&piece.text),
                None => joined.push(piece),
            }
        }
        joined.into_iter().map(|piece| self.segment(piece, now)).collect()
    }

    fn segment(&mut self, piece: Piece, now: u64) -> Batch {
        let Piece { first, text } = piece;
        // No two segments are written in the same millisecond, whatever the clock does.
        self.state.at = now.max(self.state.at + 1);
        let mut lines = text.lines();
        if self.state.began == 0 {
            self.state.began = self.state.at;
            let link = lines.next().and_then(|line| Link::read(line.as_bytes()));
            self.state.head.first = link.unwrap_or(Head::default().first);
        }
        let segment = Segment::of(&self.name, self.state.at, first, text.lines());
        let hash = text.lines().next_back().map(|line| digest(line.as_bytes())).unwrap_or_default();
        let chain = Chain { last: segment.beside.last, hash };
        let head = Head { first: self.state.head.first.clone(), chain };
        Batch { segment, text, reach: Reach { head, began: self.state.began } }
    }

    fn forget(&mut self, now: u64) -> Vec<String> {
        let is_old = |source: &Source| source.at.saturating_add(REMEMBERED) < now;
        let old: Vec<_> =
            self.sources.iter().filter(|(_, source)| is_old(source)).map(|(name, _)| name.clone()).collect();
        for name in &old {
            self.sources.remove(name);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::Arguments;
    use crate::audit::{FIRST, verify};

    const NOW: u64 = 1_785_240_000_123;

    fn entry(n: u64) -> Entry {
        Entry { time: NOW + n, method: "tools/call", name: Some(format!("t{n}").into()), ..Entry::default() }
    }

    fn messages(producer: &mut Producer, count: u64) -> Vec<String> {
        (0..count).map(|n| producer.message(&entry(n), &Writing::default()).to_text()).collect()
    }

    fn all(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    fn write(writer: &mut Writer, texts: &[String], now: u64) -> Written {
        writer.write(texts.iter().map(String::as_str), now)
    }

    #[test]
    fn a_message_becomes_the_line_of_its_entry() {
        let mut producer = Producer::new([7; 10]);
        let message = producer.message(&entry(1), &Writing::default());
        insta::assert_snapshot!(message.to_text(), @r#"{"source":"07070707070707070707","number":1,"entry":{"time":"2026-07-28T12:00:00.124Z","id":0,"prev":"","gateway":"","auth":"anonymous","method":"tools/call","name":"t1","decision":"allowed","duration_ms":0.000}}"#);
        let mut writer = Writer::new("main");
        let written = write(&mut writer, &[message.to_text()], NOW);
        let line = entry(1).line(1, FIRST, &Writing::default()) + "\n";
        assert_eq!(written.pieces, [Piece { first: 1, text: line.clone() }]);
        assert_eq!(written.sources, [("07070707070707070707".to_owned(), format!("{NOW} 1"))]);
        let batch = writer.cut(written.pieces, NOW).remove(0);
        insta::assert_snapshot!(batch.segment.key(), @"audit/2026-07-28/43199876/main/000000000001");
        assert_eq!((batch.text, batch.reach.began, batch.reach.head.chain.last), (line, NOW, 1));
    }

    #[test]
    fn what_comes_again_is_written_once() {
        let mut writer = Writer::new("main");
        let texts = messages(&mut Producer::new([1; 10]), 5);
        assert_eq!(write(&mut writer, &texts[..3], NOW).repeated, 0);
        let again = write(&mut writer, &texts, NOW);
        assert_eq!((again.repeated, again.pieces[0].first), (3, 4));
        assert_eq!(write(&mut writer, &texts, NOW + 9), Written { repeated: 5, ..Written::default() });
    }

    #[test]
    fn what_is_no_message_leaves_an_entry() {
        let mut writer = Writer::new("main");
        let good = messages(&mut Producer::new([1; 10]), 1).remove(0);
        let bad = ["", "{}", "[]", "no JSON"].map(str::to_owned);
        let changed = [
            ("\"id\":0", "\"id\":7"),
            ("\"number\":1", "\"number\":-1"),
            ("\"source\":\"", "\"source\":\"/"),
        ];
        let changed = changed.map(|(from, to)| good.replacen(from, to, 1));
        let broken = good.replacen("{\"time\"", "{\n\"time\"", 1);
        let texts: Vec<_> = [good].into_iter().chain(bad).chain(changed).chain([broken]).collect();
        let pieces = write(&mut writer, &texts, NOW).pieces;
        let text = all(&pieces);
        let head = writer.cut(pieces, NOW).remove(0).reach.head;
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.contains("\"method\":\"audit/lost\"") && text.contains("8 messages were lost"),
            "{text}"
        );
        assert!(verify(text.lines(), Some(&head)).is_ok());
    }

    #[test]
    fn long_lines_make_several_segments() {
        let mut producer = Producer::new([1; 10]);
        let long =
            Entry { arguments: Arguments::Text(format!("\"{}\"", "a".repeat(60_000)).into()), ..entry(1) };
        let writing = Writing { arguments: true, ..Writing::default() };
        let texts: Vec<_> = (0..40).map(|_| producer.message(&long, &writing).to_text()).collect();
        let mut writer = Writer::new("main");
        let (some, rest) = texts.split_at(3);
        let pieces: Vec<_> =
            [some, rest].into_iter().flat_map(|t| write(&mut writer, t, NOW).pieces).collect();
        assert_eq!(pieces.iter().map(|piece| piece.first).collect::<Vec<_>>(), [1, 4, 21, 38]);
        let batches = writer.cut(pieces, NOW);
        let reach: Vec<_> = batches.iter().map(|b| (b.segment.first, b.segment.beside.last)).collect();
        assert_eq!(reach, [(1, 3), (4, 20), (21, 37), (38, 40)]);
        // In the same millisecond, and yet each at a moment of its own.
        let moments: Vec<_> = batches.iter().map(|batch| batch.segment.beside.at).collect();
        assert_eq!(moments, [NOW, NOW + 1, NOW + 2, NOW + 3]);
        // Escapes make it longer than a message may be.
        let longer = Entry {
            arguments: Arguments::Text(format!("\"{}\"", "\\u001b".repeat(10_000)).into()),
            ..entry(1)
        };
        assert!(producer.message(&longer, &writing).to_text().len() < 128_000);
        let longest = Entry { error: Some("\u{1b}".repeat(900).into()), ..longer };
        assert!(producer.message(&longest, &writing).to_text().len() < 128_000);
    }

    #[test]
    fn sources_that_have_gone_are_forgotten() {
        let mut writer = Writer::new("main");
        let old = messages(&mut Producer::new([1; 10]), 1);
        write(&mut writer, &old, NOW);
        let later = write(&mut writer, &messages(&mut Producer::new([2; 10]), 1), NOW + REMEMBERED + 1);
        assert_eq!(later.forgotten, ["01010101010101010101"]);
    }

    /// What happens to a delivery.
    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Taken,
        /// Nothing was stored: the writer has gone before.
        Lost,
        /// All was stored, and nobody was told.
        Unheard,
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(
            deliveries in prop::collection::vec(
                (prop::collection::vec((0..3_usize, 0..12_usize), 0..8),
                 prop::sample::select(vec![Fate::Taken, Fate::Lost, Fate::Unheard]),
                 any::<bool>()),
                0..20,
            ),
        ) {
            let sent: Vec<_> = (0..3).map(|n| messages(&mut Producer::new([n; 10]), 12)).collect();
            let (mut state, mut sources) = (Writer::new("main").state(), SortedMap::new());
            let (mut pieces, mut batches) = (Vec::new(), Vec::new());
            // In the end all that was not told to be taken comes again.
            let rest = (0..3).flat_map(|source| (0..12).map(move |number| (source, number))).collect();
            for (keys, fate, is_cut) in deliveries.into_iter().chain([(rest, Fate::Taken, true)]) {
                let mut writer = Writer::restore("main", &state, sources.clone()).unwrap();
                let texts: Vec<_> = keys.iter().map(|(source, number)| sent[*source][*number].clone()).collect();
                let written = write(&mut writer, &texts, NOW);
                if matches!(fate, Fate::Lost) {
                    continue;
                }
                sources.extend(written.sources);
                pieces.extend(written.pieces);
                if is_cut {
                    batches.extend(writer.cut(pieces.drain(..), NOW));
                }
                state = writer.state();
            }
            let stored: String = batches.iter().map(|batch| batch.text.as_str()).collect();
            let verified = verify(stored.lines(), batches.last().map(|batch| &batch.reach.head)).unwrap();
            prop_assert_eq!((verified.entries, verified.reach), (36, (1, 36)));
            for n in 0..12 {
                prop_assert_eq!(stored.matches(&format!("\"t{n}\"")).count(), 3);
            }
        }
    }
}
