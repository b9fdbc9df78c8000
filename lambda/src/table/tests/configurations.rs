use futures::future;
use portcullis_core::control::{Appended, Revision, Stamp, digest};
use portcullis_core::ports::{ConfigStore, KeyStore};
use portcullis_core::testing::{config_store, key, key_store};

use super::*;
use crate::table::configurations::Configurations;
use crate::table::keys::Keys;

fn revision(version: u64, by: &str, text: &str) -> Revision {
    let (by, text) = (by.to_owned(), text.to_owned());
    Revision { stamp: Stamp { version, at: NOW, by, note: String::new(), digest: digest(&text) }, text }
}

/// Returns a text that cannot be made much shorter.
fn noise(bytes: usize) -> String {
    (0..=bytes / 64).map(|n| digest(&n.to_string())).collect()
}

#[tokio::test]
async fn it_is_a_store_of_configurations() {
    let place = Place::new();
    config_store(&Configurations::new(place.table())).await;
}

#[tokio::test]
async fn it_is_a_store_of_keys() {
    let place = Place::new();
    key_store(&Keys::new(place.table())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_one_writes_each_version() {
    let place = Place::new();
    let writers = (0..8).map(|writer| {
        let store = Configurations::new(place.table());
        tokio::spawn(async move {
            let mut written = Vec::new();
            while written.len() < 5 {
                let next = store.newest().await.unwrap().map_or(1, |newest| newest.stamp.version + 1);
                let by = format!("writer {writer}");
                if store.append(revision(next, &by, &format!("{next} by {writer}"))).await
                    == Ok(Appended::Done)
                {
                    written.push((next, by));
                }
            }
            written
        })
    });
    let mut written: Vec<_> = future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    written.sort();
    let stored = Configurations::new(place.table()).history(u64::MAX, 100).await.unwrap();
    let stored: Vec<_> = stored.into_iter().rev().map(|stamp| (stamp.version, stamp.by)).collect();
    assert_eq!(written, stored);
    assert_eq!(stored.iter().map(|(version, _)| *version).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_text_lies_in_parts_and_is_never_seen_half_written() {
    let place = Place::new();
    let text = noise(1_500_000);
    let (table, _flaky) = place.flaky(|asked| match asked.operation.as_str() {
        "PutItem" => Fault::Error("AccessDeniedException"),
        _ => Fault::None,
    });
    assert!(Configurations::new(table).append(revision(1, "a", &text)).await.is_err());
    let store = Configurations::new(place.table());
    assert_eq!(store.newest().await, Ok(None));
    assert!(place.items("text#").len() > 2);
    assert_eq!(store.append(revision(1, "b", &text)).await, Ok(Appended::Done));
    assert_eq!(Configurations::new(place.table()).newest().await, Ok(Some(revision(1, "b", &text))));
    let part = place.items("text#").remove(0);
    place.remove(part["pk"]["S"].as_str().unwrap(), part["sk"]["S"].as_str().unwrap());
    let error = Configurations::new(place.table()).newest().await.unwrap_err();
    assert!(error.to_string().starts_with("the table holds something else at text#"), "{error}");
}

/// Appends a version on a way on which something goes wrong.
async fn append_with(fate: impl FnMut(&Asked) -> Fault + Send + 'static) -> (Appended, usize) {
    let place = Place::new();
    let (table, flaky) = place.flaky(fate);
    let appended = Configurations::new(table).append(revision(1, "a", "text")).await.unwrap();
    assert_eq!(place.items("config").len(), 1);
    (appended, flaky.asked())
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_tried_again_and_written_once() {
    for fault in [
        Fault::Error("ThrottlingException"),
        Fault::Error("ProvisionedThroughputExceededException"),
        Fault::Error("InternalServerError"),
        Fault::Error("TransactionConflictException"),
        Fault::Lost,
        Fault::AnswerLost,
    ] {
        // The newest is asked for, the text written, and the version, of which the first attempt fails.
        let appended = append_with(at_first("PutItem", fault.clone())).await;
        assert_eq!(appended, (Appended::Done, 4), "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_throttled_for_long_is_given_up_in_words() {
    let place = Place::new();
    let (table, flaky) = place.flaky(|_| Fault::Error("ThrottlingException"));
    let error = Configurations::new(table).newest().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), flaky.asked()), ("the table answers ThrottlingException", 6));
}

#[tokio::test]
async fn what_the_table_does_not_take_of_a_batch_is_sent_again() {
    let place = Place::new();
    let (table, _flaky) = place.flaky(at_first("BatchWriteItem", Fault::FirstOnly));
    let text = noise(800_000);
    let store = Configurations::new(table);
    assert_eq!(store.append(revision(1, "a", &text)).await, Ok(Appended::Done));
    assert_eq!(Configurations::new(place.table()).revision(1).await, Ok(Some(revision(1, "a", &text))));
}

#[tokio::test]
async fn a_key_is_made_once_and_revoked_once_wherever_answers_are_lost() {
    use portcullis_core::control::Revoked;
    let place = Place::new();
    let record = key(1).1;
    let (table, _flaky) = place.flaky(at_first("PutItem", Fault::AnswerLost));
    assert_eq!(Keys::new(table).add(record.clone()).await, Ok(()));
    let again = Keys::new(place.table()).add(record.clone()).await;
    assert!(again.is_err_and(|error| error.to_string().contains("already")));
    let (table, _flaky) = place.flaky(at_first("PutItem", Fault::AnswerLost));
    assert_eq!(Keys::new(table).revoke(record.id.to_string(), NOW).await, Ok(Revoked::Now));
    assert_eq!(Keys::new(place.table()).revoke(record.id.to_string(), NOW).await, Ok(Revoked::Before));
    let at_once = (0..8).map(|_| {
        let keys = Keys::new(place.table());
        async move { keys.revoke(key(2).1.id.to_string(), NOW).await.unwrap() }
    });
    Keys::new(place.table()).add(key(2).1).await.unwrap();
    let outcomes = future::join_all(at_once).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Revoked::Now).count(), 1, "{outcomes:?}");
}
