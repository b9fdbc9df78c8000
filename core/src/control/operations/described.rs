//! What an operation is to those who use it: what it does, takes and gives, in the notation of `notation.rs`.

/// What an operation is to those who use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Description {
    /// What it does, in one sentence without its end.
    pub(super) says: &'static str,
    /// The body, where there is one.
    pub(super) takes: Option<&'static str>,
    /// Whether the body may be one native file instead.
    pub(super) yaml: bool,
    /// The answers where it is done, by status. An empty one has no body; what does not begin with a schema is a media type.
    pub(super) answers: &'static [(u16, &'static str)],
    /// What the query may say.
    pub(super) query: &'static [Param],
    pub(super) condition: Condition,
}

/// What `If-Match` is to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    Heeded,
    Needed,
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) says: &'static str,
}

pub(super) const fn param(name: &'static str, kind: &'static str, says: &'static str) -> Param {
    Param { name, kind, says }
}

/// Begins a description.
pub(super) const fn about(says: &'static str) -> Description {
    let (condition, yaml) = (Condition::None, false);
    Description { says, takes: None, yaml, answers: &[], query: &[], condition }
}

impl Description {
    /// Says what the body is, as JSON.
    pub(super) const fn takes(mut self, body: &'static str) -> Self {
        self.takes = Some(body);
        self
    }

    /// Says that the body may be one native file as well.
    pub(super) const fn or_yaml(mut self) -> Self {
        self.yaml = true;
        self
    }

    /// Says what is answered where it is done.
    pub(super) const fn gives(mut self, answers: &'static [(u16, &'static str)]) -> Self {
        self.answers = answers;
        self
    }

    /// Says what the query may say.
    pub(super) const fn asks(mut self, query: &'static [Param]) -> Self {
        self.query = query;
        self
    }

    /// Says that `If-Match` is heeded.
    pub(super) const fn heeds(mut self) -> Self {
        self.condition = Condition::Heeded;
        self
    }

    /// Says that nothing is done without `If-Match`.
    pub(super) const fn needs_condition(mut self) -> Self {
        self.condition = Condition::Needed;
        self
    }
}
