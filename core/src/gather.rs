//! Maps and sets, made item by item.
//!
//! `collect` sorts what it makes them of, with a sort that is compiled for each type of map: a Worker's size is bounded.

/// An iterator of what goes into a map or a set.
pub(crate) trait Gather: Iterator + Sized {
    /// Puts all items into a new map or set; of those with equal keys the last counts.
    fn gathered<C: Default + Extend<Self::Item>>(self) -> C {
        let mut all = C::default();
        all.extend(self);
        all
    }
}

impl<I: Iterator> Gather for I {}
