//! Finds the few bytes of a JSON string that mean something: quotes, backslashes, and what must be escaped.
//!
//! Most strings are short, so the first bytes are looked at in words. What is longer is looked at in blocks, in loops
//! over all their bytes without a branch, which compilers turn into vector instructions.

use memchr::memchr;

/// How many bytes are looked at together, one bit of a mask for each.
const BLOCK: usize = 64;
/// How many words of eight bytes are looked at before blocks are.
const WORDS: usize = 6;

/// Walks the special bytes of a string: quotes, backslashes and control characters.
#[derive(Debug)]
pub(super) struct Specials<'b> {
    bytes: &'b [u8],
    /// Where the block begins that is being looked at.
    block: usize,
    /// Which bytes of it are special and have not been passed.
    marks: u64,
    /// Where the next block begins.
    next: usize,
}

impl<'b> Specials<'b> {
    /// Begins at `at`.
    pub(super) fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, block: at, marks: 0, next: at }
    }

    /// Returns the index of the first special byte that has not been passed.
    #[inline]
    pub(super) fn find(&mut self) -> Option<usize> {
        if self.marks == 0 {
            self.load();
        }
        (self.marks != 0).then(|| self.block + self.marks.trailing_zeros() as usize)
    }

    /// Goes on to the next block with a special byte; there is no mark where there is no such block.
    #[inline(never)]
    fn load(&mut self) {
        while self.marks == 0 && self.next < self.bytes.len() {
            self.block = self.next;
            self.marks = marks(&self.bytes[self.block..], is_special);
            self.next = self.block + BLOCK;
        }
    }

    /// Passes everything before `at`.
    #[inline]
    pub(super) fn pass(&mut self, at: usize) {
        let passed = at - self.block;
        if passed < BLOCK {
            self.marks &= u64::MAX << passed;
        } else {
            self.marks = 0;
            self.next = at;
        }
    }
}

/// Returns the index of the first special byte from `at`, or the length.
pub(super) fn find_special(bytes: &[u8], at: usize) -> usize {
    let special = |word: u64| {
        let below = word.wrapping_sub(eight(0x20)) & !word & eight(0x80);
        zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\')) | below
    };
    match find_near(bytes, at, special) {
        Ok(found) => found,
        Err(at) => Specials::new(bytes, at).find().unwrap_or(bytes.len()),
    }
}

/// Returns the index of the quote that ends the string whose text goes on at `from`, or the length. The text has been
/// checked, or will be by whoever reads it.
pub(crate) fn find_end(bytes: &[u8], from: usize) -> usize {
    let mut at = match find_near(bytes, from, |word| zeros(word ^ eight(b'"'))) {
        Ok(found) if found == bytes.len() || !is_escaped(bytes, from, found) => return found,
        Ok(escaped) => escaped + 1,
        Err(at) => at,
    };
    while at < bytes.len() {
        let mut quotes = marks(&bytes[at..], |byte| byte == b'"');
        if quotes == 0 {
            // Where one block has none, there may be none for long.
            at = (at + BLOCK).min(bytes.len());
            at = memchr(b'"', &bytes[at..]).map_or(bytes.len(), |run| at + run);
            continue;
        }
        while quotes != 0 {
            let quote = at + quotes.trailing_zeros() as usize;
            if !is_escaped(bytes, from, quote) {
                return quote;
            }
            quotes &= quotes - 1;
        }
        at += BLOCK;
    }
    bytes.len()
}

/// Tells whether the byte at `at` is escaped, of a string whose text goes on at `from`: after an odd run of backslashes.
#[inline]
pub(crate) fn is_escaped(bytes: &[u8], from: usize, at: usize) -> bool {
    let text = &bytes[from..at];
    // Most quotes follow no backslash at all.
    if text.last() != Some(&b'\\') {
        return false;
    }
    let mut run = 1;
    while run < text.len() && text[text.len() - run - 1] == b'\\' {
        run += 1;
    }
    run % 2 == 1
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// A word of eight bytes that are all this.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each byte that is zero; above the first one others may be set that are not (Mycroft, 1987).
#[inline]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(eight(1)) & !word & eight(0x80)
}

/// Looks for a byte in the next words; returns its index, or where to go on. `found` sets the high bit of each byte that
/// it looks for, and perhaps of others above the first.
#[inline]
fn find_near(bytes: &[u8], at: usize, found: impl Fn(u64) -> u64) -> Result<usize, usize> {
    let mut at = at;
    for word in bytes[at..].as_chunks().0.iter().take(WORDS) {
        let found = found(u64::from_le_bytes(*word));
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Err(at)
}

/// Returns which of the first bytes, up to a block of them, are marked: a bit each, the first one lowest.
#[inline]
fn marks(bytes: &[u8], marked: impl Fn(u8) -> bool) -> u64 {
    if let Some(block) = bytes.first_chunk() {
        return marks_of(block, marked);
    }
    let mut block = [b' '; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    marks_of(&block, marked)
}

#[inline]
fn marks_of(block: &[u8; BLOCK], marked: impl Fn(u8) -> bool) -> u64 {
    // Plain loops, which become vector instructions also where what stands in other crates is not inlined.
    let mut ones = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        ones[at] = u8::from(marked(block[at]));
        at += 1;
    }
    let words = ones.as_chunks().0;
    let mut any = 0;
    for word in words {
        any |= u64::from_le_bytes(*word);
    }
    if any == 0 {
        return 0;
    }
    let mut marks = 0;
    for word in words.iter().rev() {
        // The multiplication gathers the lowest bits of eight bytes in the highest byte.
        marks = marks << 8 | u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specials(bytes: &[u8], at: usize) -> Vec<usize> {
        let (mut walk, mut found) = (Specials::new(bytes, at), Vec::new());
        while let Some(at) = walk.find() {
            found.push(at);
            walk.pass(at + 1);
        }
        found
    }

    /// Goes byte by byte.
    fn end(bytes: &[u8], from: usize) -> usize {
        let mut at = from;
        while at < bytes.len() && bytes[at] != b'"' {
            at += 1 + usize::from(bytes[at] == b'\\');
        }
        at.min(bytes.len())
    }

    #[track_caller]
    fn check(bytes: &[u8], from: usize) {
        let expected: Vec<_> = (from..bytes.len()).filter(|at| is_special(bytes[*at])).collect();
        assert_eq!(specials(bytes, from), expected);
        assert_eq!(find_special(bytes, from), expected.first().copied().unwrap_or(bytes.len()));
        assert_eq!(find_end(bytes, from), end(bytes, from));
    }

    #[test]
    fn finds_each_byte_at_each_place() {
        for special in [b'"', b'\\', 0, 0x1f, 0x20, 0x7f, 0x80, 0xff] {
            for place in 0..3 * BLOCK {
                let mut bytes = vec![b'x'; 3 * BLOCK];
                bytes[place] = special;
                check(&bytes, 0);
                check(&bytes, place);
            }
        }
        check(b"", 0);
    }

    #[test]
    fn runs_of_backslashes_end_where_they_end() {
        for run in 0..2 * BLOCK + 3 {
            for before in [0, 1, 31, 40, 63, 64, 200] {
                let text = [&vec![b'x'; before][..], &vec![b'\\'; run], b"\"", &[b'y'; 70], b"\""].concat();
                check(&text, 0);
                check(&text, before);
                assert_eq!(is_escaped(&text, 0, before + run), run % 2 == 1);
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_going_byte_by_byte(bytes in proptest::collection::vec(
            prop_oneof![8 => Just(b'x'), 2 => Just(b'\\'), 2 => Just(b'"'), 1 => any::<u8>()], 0..300,
        ), from in 0usize..300) {
            check(&bytes, from.min(bytes.len()));
        }

        #[test]
        fn passes_what_it_is_told_to(bytes in proptest::collection::vec(
            prop_oneof![3 => Just(b'x'), 1 => Just(b'\\'), 1 => Just(b'"')], 0..300,
        ), steps in proptest::collection::vec(1usize..100, 1..40)) {
            let mut walk = Specials::new(&bytes, 0);
            let mut at = 0;
            for step in steps {
                let expected = (at..bytes.len()).find(|at| is_special(bytes[*at]));
                let found = walk.find();
                prop_assert_eq!(found, expected);
                let Some(found) = found else { break };
                at = (found + step).min(bytes.len());
                walk.pass(at);
            }
        }
    }
}
