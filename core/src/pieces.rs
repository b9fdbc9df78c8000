//! Messages in few pieces: the large spans of what came in are among them without a copy.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, BufMut as _, Bytes};

/// From this size on a span is shared rather than copied, in bytes.
pub(crate) const SHARED: usize = 16 << 10;

/// A message that is all there, in pieces whose bounds mean nothing. Clones share its bytes.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// Empty only where everything is.
    first: Bytes,
    /// None of them empty.
    rest: VecDeque<Bytes>,
}

impl Whole {
    /// Returns how many bytes these are.
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    /// Tells whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Returns all of it as one; a single piece is not copied.
    pub fn into_bytes(mut self) -> Bytes {
        let all = self.remaining();
        self.copy_to_bytes(all)
    }
}

impl<T: Into<Bytes>> From<T> for Whole {
    fn from(bytes: T) -> Self {
        Self { first: bytes.into(), rest: VecDeque::new() }
    }
}

impl From<Whole> for Vec<u8> {
    fn from(whole: Whole) -> Self {
        whole.into_bytes().into()
    }
}

impl Buf for Whole {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = std::iter::once(&self.first).chain(&self.rest).filter(|piece| !piece.is_empty());
        let filled = slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }

    fn advance(&mut self, mut count: usize) {
        while count >= self.first.len() && !self.first.is_empty() {
            count -= self.first.len();
            self.first = self.rest.pop_front().unwrap_or_default();
        }
        self.first.advance(count);
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if len <= self.first.len() {
            let bytes = self.first.slice(..len);
            self.advance(len);
            return bytes;
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.put(self.take(len));
        bytes.into()
    }
}

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Everything but the end.
    done: Vec<Bytes>,
    /// How many bytes those are.
    done_len: usize,
    /// The end, to which short spans are copied.
    open: Vec<u8>,
}

impl Pieces {
    /// Returns how many bytes these are.
    pub(crate) fn len(&self) -> usize {
        self.done_len + self.open.len()
    }

    /// Returns the end, for something to be written to it.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// Returns the pieces.
    pub(crate) fn into_vec(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }

    /// Returns all of it.
    pub(crate) fn into_whole(mut self) -> Whole {
        if self.done.is_empty() {
            return self.open.into();
        }
        self.close();
        let mut rest = VecDeque::from(self.done);
        Whole { first: rest.pop_front().unwrap_or_default(), rest }
    }

    /// Makes room for what will be copied of a chunk of that size.
    pub(crate) fn expect(&mut self, chunk: usize) {
        self.open.reserve(chunk.min(SHARED) + 64);
    }

    /// Appends a copy.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
    }

    /// Appends a span of a chunk, which is shared where it is large.
    pub(crate) fn share(&mut self, chunk: &Bytes, span: Range<usize>) {
        if span.len() < SHARED {
            return self.copy(&chunk[span]);
        }
        self.close();
        self.done_len += span.len();
        self.done.push(chunk.slice(span));
    }

    /// Appends all of another.
    pub(crate) fn append(&mut self, other: Self) {
        if self.len() == 0 {
            *self = other;
            return;
        }
        self.close();
        self.done_len += other.len();
        self.done.extend(other.into_vec());
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done_len += self.open.len();
            self.done.push(std::mem::take(&mut self.open).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_spans_are_not_copied() {
        let chunk = Bytes::from(vec![b'x'; SHARED + 8]);
        let mut pieces = Pieces::default();
        pieces.copy(b"<");
        pieces.share(&chunk, 2..6);
        pieces.share(&chunk, 4..SHARED + 4);
        pieces.copy(b">");
        assert_eq!(pieces.len(), SHARED + 6);
        let pieces = pieces.into_vec();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[0], "<xxxx");
        assert_eq!(pieces[1].as_ptr(), chunk[4..].as_ptr());
        assert_eq!(pieces[2], ">");
    }

    #[test]
    fn becomes_one() {
        let chunk = Bytes::from(vec![b'x'; SHARED]);
        let mut single = Pieces::default();
        single.share(&chunk, 0..SHARED);
        assert_eq!(single.into_whole().into_bytes().as_ptr(), chunk.as_ptr());
        let (mut one, mut two) = (Pieces::default(), Pieces::default());
        one.copy(b"a");
        two.share(&chunk, 0..SHARED);
        two.copy(b"b");
        one.append(two);
        assert_eq!(one.len(), SHARED + 2);
        assert_eq!(one.into_whole().into_bytes(), [b"a", &chunk[..], b"b"].concat());
    }

    #[test]
    fn is_read_in_any_steps() {
        let chunk = Bytes::from((0..SHARED).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
        let mut pieces = Pieces::default();
        pieces.copy(b"before");
        pieces.share(&chunk, 0..SHARED);
        pieces.copy(b"after");
        let whole = pieces.into_whole();
        let expected = whole.clone().into_bytes();
        assert_eq!((whole.len(), expected.len()), (SHARED + 11, SHARED + 11));
        for step in [1, 6, 7, SHARED, SHARED + 7] {
            let (mut left, mut read) = (whole.clone(), Vec::new());
            while left.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = left.chunks_vectored(&mut slices);
                assert_eq!(&*slices[0], left.chunk());
                assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
                read.extend_from_slice(&left.copy_to_bytes(step.min(left.remaining())));
            }
            assert_eq!(read, expected, "in steps of {step}");
            assert!(left.is_empty());
        }
        let single = Whole::from(chunk.clone());
        assert_eq!(single.into_bytes().as_ptr(), chunk.as_ptr());
        assert_eq!(Whole::default().chunks_vectored(&mut [IoSlice::new(&[])]), 0);
    }
}
