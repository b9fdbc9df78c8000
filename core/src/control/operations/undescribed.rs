//! What is told of an operation where nobody asks: nothing. A gateway that is only governed does not carry the words.

/// What an operation is to those who use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Description;

/// Where a parameter is sent, what it is, what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Param;

pub(super) const fn param(_name: &'static str, _kind: &'static str, _says: &'static str) -> Param {
    Param
}

pub(super) const fn about(_says: &'static str) -> Description {
    Description
}

impl Description {
    pub(super) const fn takes(self, _body: &'static str) -> Self {
        self
    }

    pub(super) const fn or_yaml(self) -> Self {
        self
    }

    pub(super) const fn gives(self, _answers: &'static [(u16, &'static str)]) -> Self {
        self
    }

    pub(super) const fn asks(self, _query: &'static [Param]) -> Self {
        self
    }

    pub(super) const fn heeds(self) -> Self {
        self
    }

    pub(super) const fn needs_condition(self) -> Self {
        self
    }
}
