//! What a machine gives out: few pieces, and the large spans of its input among them without a copy.

use std::ops::Range;

use bytes::Bytes;

/// From this size on a span is shared rather than copied, in bytes.
const SHARED: usize = 16 << 10;

/// Bytes in order, in pieces whose bounds mean nothing.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Everything but the end.
    done: Vec<Bytes>,
    /// The end, to which short spans are copied.
    open: Vec<u8>,
    len: usize,
}

impl Pieces {
    /// Returns how many bytes these are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the pieces.
    pub(crate) fn into_vec(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }

    /// Returns all of it as one; a single piece is not copied.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.done.is_empty() {
            return self.open.into();
        }
        self.close();
        if self.done.len() == 1 {
            return self.done.remove(0);
        }
        self.done.concat().into()
    }

    /// Makes room for what will be copied of a chunk of that size.
    pub(super) fn expect(&mut self, chunk: usize) {
        self.open.reserve(chunk.min(SHARED) + 64);
    }

    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.open.extend_from_slice(bytes);
    }

    pub(super) fn share(&mut self, chunk: &Bytes, span: Range<usize>) {
        if span.len() < SHARED {
            return self.copy(&chunk[span]);
        }
        self.close();
        self.len += span.len();
        self.done.push(chunk.slice(span));
    }

    pub(super) fn append(&mut self, other: Self) {
        if self.len == 0 {
            *self = other;
            return;
        }
        self.close();
        self.len += other.len;
        self.done.extend(other.into_vec());
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
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
        assert_eq!(single.into_bytes().as_ptr(), chunk.as_ptr());
        let (mut one, mut two) = (Pieces::default(), Pieces::default());
        one.copy(b"a");
        two.share(&chunk, 0..SHARED);
        two.copy(b"b");
        one.append(two);
        assert_eq!(one.len(), SHARED + 2);
        assert_eq!(one.into_bytes(), [b"a", &chunk[..], b"b"].concat());
    }
}
