//! The stores against an emulator of DynamoDB: what each promises, with many writers at once, and on a way on which
//! requests are throttled and answers lost.

mod configurations;
mod connections;
mod counts;
mod shared;
mod trail;
mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_tests::aws::{Asked, Emulator, Fault, Flaky};

use super::Table;
use crate::aws::Account;

/// The time at which tests begin, in milliseconds since the Unix epoch: noon, and so far ahead that the emulator, which has a
/// clock of its own, removes nothing.
const NOW: u64 = 4_102_488_000_000;

/// A table of a test's own, and what the time is.
#[derive(Clone)]
struct Place {
    name: String,
    clock: Arc<AtomicU64>,
}

impl Place {
    /// Makes an empty table.
    fn new() -> Self {
        Self { name: Emulator::shared().table(), clock: Arc::new(AtomicU64::new(NOW)) }
    }

    /// Returns the table as another instance has it: with connections of its own.
    fn table(&self) -> Table {
        self.at(Emulator::shared().url().to_owned())
    }

    /// Returns the table as an instance has it on whose way to it things go wrong.
    fn flaky(&self, fate: impl FnMut(&Asked) -> Fault + Send + 'static) -> (Table, Flaky) {
        let flaky = Flaky::before(Emulator::shared(), fate);
        (self.at(flaky.url()), flaky)
    }

    fn at(&self, url: String) -> Table {
        let clock = Arc::clone(&self.clock);
        Table::new(Account::of_emulator(url).dynamodb(), self.name.as_str(), move || {
            clock.load(Ordering::SeqCst)
        })
    }

    /// Lets time pass.
    fn pass(&self, millis: u64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    /// Returns how many items there are whose first key begins so.
    fn items(&self, begins: &str) -> Vec<serde_json::Value> {
        let what = serde_json::json!({"TableName": self.name, "ConsistentRead": true});
        let all = Emulator::shared().ask("Scan", &what);
        let items = all["Items"].as_array().expect("items").iter();
        items
            .filter(|item| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with(begins)))
            .cloned()
            .collect()
    }

    /// Removes an item, as whoever may write everything can.
    fn remove(&self, pk: &str, sk: &str) {
        let key = serde_json::json!({"pk": {"S": pk}, "sk": {"S": sk}});
        Emulator::shared().ask("DeleteItem", &serde_json::json!({"TableName": self.name, "Key": key}));
    }
}

/// Lets `first` happen to the first request of an operation, and nothing to all others.
fn at_first(operation: &'static str, first: Fault) -> impl FnMut(&Asked) -> Fault + Send {
    let mut first = Some(first);
    move |asked| if asked.operation == operation { first.take().unwrap_or(Fault::None) } else { Fault::None }
}
