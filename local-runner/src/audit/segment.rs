//! Lines that are written together, one after the other in one text, and what they are searched by.

use portcullis_core::audit::Row;

use super::drafts::By;

/// The lines.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The number of the first.
    first: u64,
    /// How many there are.
    count: u64,
    /// Each line ends with a line break.
    text: String,
    /// What they are searched by.
    pub(super) by: By,
}

impl Segment {
    /// Begins a segment with the line of this number.
    pub(super) fn new(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Begins another with the line of this number, and uses the memory of this one, within reason.
    pub(super) fn begin(&mut self, first: u64) {
        /// How much is kept, in bytes.
        const KEPT: usize = 1 << 20;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.shrink_to(KEPT);
        *self = Self { first, text, ..Self::default() };
    }

    /// Adds the line that `write` appends to the text.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.text.push('\n');
        self.count += 1;
    }

    /// Adds a line that is read again.
    pub(super) fn push_read(&mut self, line: &str, row: &Row<'_>) {
        self.push(|text| text.push_str(line));
        self.by.add(&row.searched());
    }

    /// Returns the number of the first line.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the line that comes after it.
    pub(super) fn next(&self) -> u64 {
        self.first + self.count
    }

    /// Tells whether there is no line.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the lines as they stand in a file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the lines, without their line breaks.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split_terminator('\n')
    }

    /// Returns the lines after the one with this number.
    pub(super) fn after(&self, id: u64) -> Self {
        let mut rest = Self::new(self.first.max(id + 1));
        for (_, line) in (self.first..).zip(self.lines()).filter(|(at, _)| *at > id) {
            match Row::read(line) {
                Some(row) => rest.push_read(line, &row),
                None => rest.push(|text| text.push_str(line)),
            }
        }
        rest
    }
}
