//! Maps and sets, made item by item, and slices that are sorted by their places.
//!
//! `collect` sorts what it makes them of, with a sort that is compiled for each type of map: a Worker's size is bounded.
//! So is `sort` for each type of item. What no request waits for is sorted here.

use std::cmp::Ordering;

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

/// Sorts a slice; items that are equal stay in their order.
pub(crate) fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    sort_places(&mut order, &|one, other| compare(&items[one], &items[other]));
    for place in 0..items.len() {
        let mut from = order[place];
        // What stood at an earlier place has been swapped away from there.
        while from < place {
            from = order[from];
        }
        items.swap(place, from);
    }
}

/// Sorts a slice by what its items are.
pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// The one sort there is, whatever stands at the places.
fn sort_places(places: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|one, other| compare(*one, *other));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library_does(mut items: Vec<(u8, u32)>) {
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort_by(&mut items, |one, other| one.0.cmp(&other.0));
            prop_assert_eq!(&items, &expected);
            expected.sort_unstable();
            sort(&mut items);
            prop_assert_eq!(items, expected);
        }
    }
}
