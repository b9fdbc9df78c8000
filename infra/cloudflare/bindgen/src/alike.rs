//! The order of a module's functions: those that are alike stand together.
//!
//! A compressor finds again what stood within the last 32 KiB. So each place is given to the function that has the largest
//! part in common with those that stand there. Knows bytes only, and nothing of what they mean.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// How the order is looked for. Which way is best by a hair depends on the module.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// How far back a compressor finds something again, more or less: in bytes.
    pub reach: usize,
    /// So many pieces more are taken to be in a function and nowhere else: a small one is not alike by accident.
    pub doubt: f64,
}

/// The ways that are tried.
pub const WAYS: [Way; 8] = [
    Way { reach: 31_000, doubt: 4.0 },
    Way { reach: 31_000, doubt: 5.0 },
    Way { reach: 32_000, doubt: 4.0 },
    Way { reach: 32_000, doubt: 5.0 },
    Way { reach: 33_000, doubt: 4.0 },
    Way { reach: 33_000, doubt: 5.0 },
    Way { reach: 34_000, doubt: 4.0 },
    Way { reach: 34_000, doubt: 5.0 },
];

/// The length of the pieces that are compared, in bytes.
const PIECE: usize = 6;
/// What more functions than that have says of none what it is like.
const COMMON: usize = 300;

/// Returns the order in which functions that are alike stand together.
pub fn in_order(functions: &[Vec<u8>], way: Way) -> Vec<usize> {
    let mut search = Search::of(functions, way);
    let mut order = Vec::with_capacity(functions.len());
    while let Some(next) = search.nearest() {
        order.push(next);
        search.place(next);
    }
    order
}

/// What has been placed, and how like it everything else is.
struct Search<'a> {
    way: Way,
    functions: &'a [Vec<u8>],
    /// The pieces that each function has in common with others.
    pieces: Vec<Vec<usize>>,
    /// The functions that have each piece.
    owners: Vec<Vec<usize>>,
    /// How many of the functions in reach have each piece.
    in_reach: Vec<usize>,
    /// How many of its pieces are in reach, for each function.
    known: Vec<usize>,
    unplaced: BTreeSet<usize>,
    /// The functions placed last, and their bytes together.
    reach: VecDeque<usize>,
    bytes: usize,
}

impl<'a> Search<'a> {
    fn of(functions: &'a [Vec<u8>], way: Way) -> Self {
        let mut numbers = HashMap::new();
        let mut owners: Vec<Vec<usize>> = Vec::new();
        let mut pieces: Vec<Vec<usize>> = Vec::new();
        for (function, body) in functions.iter().enumerate() {
            let mut own = BTreeSet::new();
            for piece in body.windows(PIECE) {
                let number = *numbers.entry(piece).or_insert(owners.len());
                if number == owners.len() {
                    owners.push(Vec::new());
                }
                if own.insert(number) {
                    owners[number].push(function);
                }
            }
            pieces.push(own.into_iter().collect());
        }
        for own in &mut pieces {
            own.retain(|piece| (2..=COMMON).contains(&owners[*piece].len()));
        }
        Search {
            way,
            functions,
            pieces,
            in_reach: vec![0; owners.len()],
            owners,
            known: vec![0; functions.len()],
            unplaced: (0..functions.len()).collect(),
            reach: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Returns the function that is most like those in reach, and of equals the first; `None` once all have a place.
    fn nearest(&self) -> Option<usize> {
        #[expect(clippy::cast_precision_loss, reason = "a function has few pieces")]
        let likeness = |function: usize| {
            self.known[function] as f64 / (self.pieces[function].len() as f64 + self.way.doubt)
        };
        let all = self.unplaced.iter().map(|&function| (likeness(function), function));
        all.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, function)| function)
    }

    /// Gives the next place to a function, and forgets those that are no longer in reach of it.
    fn place(&mut self, function: usize) {
        self.unplaced.remove(&function);
        self.reach.push_back(function);
        self.bytes += self.functions[function].len();
        for &piece in &self.pieces[function] {
            self.in_reach[piece] += 1;
            if self.in_reach[piece] == 1 {
                self.owners[piece].iter().for_each(|&owner| self.known[owner] += 1);
            }
        }
        while self.bytes > self.way.reach && self.reach.len() > 1 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(function) = self.reach.pop_front() else { return };
        self.bytes -= self.functions[function].len();
        for &piece in &self.pieces[function] {
            self.in_reach[piece] -= 1;
            if self.in_reach[piece] == 0 {
                self.owners[piece].iter().for_each(|&owner| self.known[owner] -= 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_are_alike_stand_together() {
        let functions =
            [b"abcdefghij-1", b"0123456789-1", b"abcdefghij-2", b"0123456789-2"].map(|body| body.to_vec());
        assert_eq!(in_order(&functions, WAYS[3]), [0, 2, 1, 3]);
    }

    #[test]
    fn every_function_has_one_place() {
        let functions: Vec<Vec<u8>> =
            (0..200_usize).map(|n| vec![u8::try_from(n % 7).unwrap(); n * 10]).collect();
        let mut order = in_order(&functions, WAYS[3]);
        order.sort_unstable();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
    }
}
