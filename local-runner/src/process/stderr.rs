//! What a process says on standard error: into the log, bounded, and its last words kept for when it ends.
//!
//! **A process cannot forge log lines, move the terminal's cursor or flood the log.**

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;

use portcullis_core::names::ServerName;
use portcullis_core::secrets::Veil;

use super::journal::Journal;
use super::lines::{Line, Lines};

/// The longest line that is logged whole, in bytes.
const LINE_LIMIT: usize = 4 << 10;
/// The longest last words, in characters.
const WORDS_LIMIT: usize = 300;
/// How many lines are logged in one window.
const LINES_PER_WINDOW: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// The last line that was not blank. Cheap to clone; every clone sees the same.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<String>>);

impl LastWords {
    fn set(&self, line: &str) {
        let words = line.chars().take(WORDS_LIMIT).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Returns the words, where there were any.
    pub(super) fn heard(&self) -> Option<String> {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!words.is_empty()).then(|| words.clone())
    }
}

/// Logs each line of `source` until it ends, without the secrets that the process was given.
pub(super) async fn log(
    server: ServerName,
    source: impl AsyncRead + Unpin,
    words: LastWords,
    veil: Veil,
    mut journal: Option<Journal>,
) {
    let mut lines = Lines::new(source, LINE_LIMIT);
    let mut pace = Pace::default();
    while let Ok(Some(line)) = lines.next().await {
        let line = printable(&line);
        let line = veil.over(&line);
        if !line.is_empty() {
            words.set(&line);
        }
        if pace.admits(Instant::now()) {
            report(&server, pace.take_left_out());
            tracing::info!(target: "upstream", %server, "{line}");
            if let Some(journal) = &mut journal {
                journal.write(&line);
            }
        }
    }
    report(&server, pace.take_left_out());
}

fn report(server: &ServerName, left_out: u64) {
    if left_out > 0 {
        tracing::info!(target: "upstream", %server, "... {left_out} lines left out");
    }
}

/// Returns a line as text that cannot act on what shows it: whatever is invisible or moves the cursor is spelled out.
fn printable(line: &Line) -> String {
    let (bytes, mark) = match line {
        Line::Whole(bytes) => (bytes, ""),
        Line::Cut(bytes) => (bytes, "..."),
    };
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len() + mark.len());
    for character in text.trim_end().chars() {
        match character {
            '\t' => shown.push(' '),
            _ if is_active(character) => {
                let _ = write!(shown, "{}", character.escape_unicode());
            }
            _ => shown.push(character),
        }
    }
    shown + mark
}

/// Whether a character is a control, or changes how others are read: zero-width, bidirectional, line separators, tags.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// How many lines a process may log in a while.
#[derive(Debug, Default)]
struct Pace {
    began: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl Pace {
    /// Decides whether a line that comes at `now` is logged; counts those that are not.
    fn admits(&mut self, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            self.began = Some(now);
            self.logged = 0;
        }
        let admitted = self.logged < LINES_PER_WINDOW;
        if admitted {
            self.logged += 1;
        } else {
            self.left_out += 1;
        }
        admitted
    }

    /// Returns how many lines were left out since the last time.
    fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn spells_out_what_acts() {
        check("plain — ünïcode 日本", "plain — ünïcode 日本");
        check("a\tb  \r", "a b");
        check("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}");
        check("a\rb", "a\\u{d}b");
        check("a\u{85}b\u{2028}c\u{202e}d\u{e0041}", "a\\u{85}b\\u{2028}c\\u{202e}d\\u{e0041}");
    }

    #[test]
    fn marks_a_cut() {
        assert_eq!(printable(&Line::Cut(Bytes::from_static(b"abc\xff"))), "abc\u{fffd}...");
    }

    #[test]
    fn keeps_last_words_short() {
        let words = LastWords::default();
        assert_eq!(words.heard(), None);
        words.set(&"é".repeat(1000));
        assert_eq!(words.heard().map(|words| words.chars().count()), Some(WORDS_LIMIT));
    }

    #[test]
    fn a_flood_is_counted_rather_than_logged() {
        let mut pace = Pace::default();
        let began = Instant::now();
        let admitted = (0..1000).filter(|_| pace.admits(began)).count();
        assert_eq!((admitted, pace.take_left_out()), (200, 800));
        assert!(pace.admits(began + WINDOW));
        assert_eq!(pace.take_left_out(), 0);
    }

    fn check(line: &str, expected: &str) {
        assert_eq!(printable(&Line::Whole(Bytes::copy_from_slice(line.as_bytes()))), expected);
    }
}
