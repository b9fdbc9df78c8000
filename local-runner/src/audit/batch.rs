//! Lines that are written together, one after the other in one text.

/// The lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Each line ends with a line break.
    text: String,
    /// Where each of them ends, after its line break.
    ends: Vec<usize>,
}

impl Batch {
    /// Adds the line that `write` appends to the text.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.text.push('\n');
        self.ends.push(self.text.len());
    }

    /// Returns how many lines there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns all of them as they stand in a file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the lines, without their line breaks.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..end - 1])
    }

    /// Removes the lines and keeps their memory for others, within reason.
    pub(super) fn clear(&mut self) {
        /// How much is kept, in bytes.
        const KEPT: usize = 1 << 20;
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.ends.clear();
    }
}
