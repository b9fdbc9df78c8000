//! Lines of a byte stream, bounded.
//!
//! **A line costs time linear in its length, and memory only until it is handed over.**

use std::io;
use std::mem;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// As much as a pipe holds on Linux.
const BUFFER: usize = 64 << 10;

/// Reads lines of at most `limit` bytes.
pub(crate) struct Lines<R> {
    source: BufReader<R>,
    limit: usize,
    /// The beginning of the line that is being read.
    partial: Vec<u8>,
    /// Whether the rest of the line has been given up.
    skipping: bool,
}

/// One line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// All of it.
    Whole(Bytes),
    /// The first bytes of a line that is longer than the limit; the rest is skipped.
    Cut(Bytes),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads `source`, in lines of at most `limit` bytes.
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self { source: BufReader::with_capacity(BUFFER, source), limit, partial: Vec::new(), skipping: false }
    }

    /// Reads the next line; what follows the last newline is a line too. Yields nothing at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let chunk = self.source.fill_buf().await?;
            if chunk.is_empty() {
                return Ok((!self.partial.is_empty()).then(|| Line::Whole(release(&mut self.partial))));
            }
            let newline = memchr::memchr(b'\n', chunk);
            let piece = &chunk[..newline.unwrap_or(chunk.len())];
            let used = newline.map_or(chunk.len(), |at| at + 1);
            let room = self.limit - self.partial.len();
            let skipped = mem::replace(&mut self.skipping, false);
            let cut = !skipped && piece.len() > room;
            if !skipped {
                self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            self.skipping = (skipped || cut) && newline.is_none();
            self.source.consume(used);
            if cut {
                return Ok(Some(Line::Cut(release(&mut self.partial))));
            }
            if newline.is_some() && !skipped {
                return Ok(Some(Line::Whole(release(&mut self.partial))));
            }
        }
    }
}

/// Hands the bytes over without what a growing buffer reserved.
fn release(buffer: &mut Vec<u8>) -> Bytes {
    Bytes::from(mem::take(buffer).into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_lines() {
        check(&["a\nbc\n"], &["a", "bc"]).await;
        check(&["a\n\nb"], &["a", "", "b"]).await;
        check(&[""], &[]).await;
    }

    #[tokio::test]
    async fn does_not_depend_on_chunks() {
        check(&["a", "b\nc", "\n", "d"], &["ab", "c", "d"]).await;
        check(&["12345", "678", "9\nab\n"], &["12345678…", "ab"]).await;
    }

    #[tokio::test]
    async fn cuts_what_is_too_long() {
        check(&["12345678\n"], &["12345678"]).await;
        check(&["123456789\nab\n"], &["12345678…", "ab"]).await;
        check(&["123456789"], &["12345678…"]).await;
        check(&["123456789", "123456789", "\n\nx"], &["12345678…", "", "x"]).await;
    }

    #[tokio::test]
    async fn keeps_no_memory_of_a_large_line() {
        let source = [vec![b'x'; 1 << 20], b"\nsmall\n".to_vec()].concat();
        let mut lines = Lines::new(source.as_slice(), 4 << 20);
        let large = lines.next().await.unwrap();
        assert!(matches!(large, Some(Line::Whole(line)) if line.len() == 1 << 20));
        assert_eq!(lines.partial.capacity(), 0);
    }

    /// Lines of at most 8 bytes; a cut one is marked.
    async fn check(chunks: &[&str], expected: &[&str]) {
        let (mut near, far) = tokio::io::duplex(1);
        let text = chunks.concat();
        let write = async move {
            tokio::io::AsyncWriteExt::write_all(&mut near, text.as_bytes()).await.unwrap();
        };
        let whole = chunks.concat();
        let ((), bytewise) = tokio::join!(write, read(far));
        assert_eq!(bytewise, expected, "byte by byte");
        assert_eq!(read(whole.as_bytes()).await, expected, "at once");
        let pieces =
            chunks.iter().fold(Box::new(tokio::io::empty()) as Box<dyn AsyncRead + Unpin>, |all, piece| {
                Box::new(tokio::io::AsyncReadExt::chain(all, piece.as_bytes()))
            });
        assert_eq!(read(pieces).await, expected, "in chunks");
    }

    async fn read(source: impl AsyncRead + Unpin) -> Vec<String> {
        let mut lines = Lines::new(source, 8);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(match line {
                Line::Whole(line) => String::from_utf8_lossy(&line).into_owned(),
                Line::Cut(line) => format!("{}…", String::from_utf8_lossy(&line)),
            });
        }
        all
    }
}
