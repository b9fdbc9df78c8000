use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::{FutureExt as _, future};
use portcullis_core::ports::{CatalogStore, Once, RecordKey, RecordStore as _, TokenFamilies as _};

use super::*;
use crate::table::catalog::{Catalog, Read};
use crate::table::families::Families;
use crate::table::once::Used;
use crate::table::records::Records;

/// Reads servers, and counts how often.
fn reader(times: &Arc<AtomicUsize>, text: &'static str) -> Read {
    let times = Arc::clone(times);
    Arc::new(move |_| {
        times.fetch_add(1, Ordering::SeqCst);
        async move { Some(Bytes::from_static(text.as_bytes())) }.boxed()
    })
}

fn nobody() -> Read {
    Arc::new(|_| future::ready(None).boxed())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_reads_for_all() {
    let (place, times) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    assert_eq!(Catalog::new(place.table(), nobody()).published().await, None);
    let all = (0..8).map(|_| {
        let catalog = Catalog::new(place.table(), reader(&times, "known"));
        tokio::spawn(async move { catalog.refresh(None).await.unwrap() })
    });
    let read: Vec<_> = future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((read, times.load(Ordering::SeqCst)), (vec![Bytes::from("known"); 8], 1));
    assert_eq!(Catalog::new(place.table(), nobody()).published().await, Some("known".into()));
}

#[tokio::test]
async fn a_lease_ends_where_its_holder_is_gone() {
    let (place, times) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    let never: Read = Arc::new(|_| future::pending().boxed());
    let frozen = Catalog::new(place.table(), never);
    let mut frozen = tokio::spawn(async move { frozen.refresh(None).await });
    let is_leased = || place.items("catalog").iter().any(|item| item["sk"]["S"] == "lease");
    while !is_leased() {
        tokio::task::yield_now().await;
    }
    let other = Catalog::new(place.table(), reader(&times, "known"));
    let mut other = tokio::spawn(async move { other.refresh(None).await.unwrap() });
    assert!((&mut frozen).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    assert_eq!(times.load(Ordering::SeqCst), 0);
    place.pass(16_000);
    assert_eq!(other.await.unwrap(), "known");
    frozen.abort();
}

#[tokio::test]
async fn what_was_read_earlier_never_takes_the_place_of_what_was_read_later() {
    let place = Place::new();
    let (go, gone) = futures::channel::oneshot::channel::<()>();
    let gone = gone.shared();
    let slow: Read = Arc::new(move |_| {
        let gone = gone.clone();
        async move { gone.await.ok().map(|()| Bytes::from("early")) }.boxed()
    });
    let (early, times) = (Catalog::new(place.table(), slow), Arc::new(AtomicUsize::new(0)));
    let early = tokio::spawn(async move { early.refresh(None).await });
    while place.items("catalog").is_empty() {
        tokio::task::yield_now().await;
    }
    place.pass(16_000);
    let late = Catalog::new(place.table(), reader(&times, "late"));
    assert_eq!(late.refresh(None).await.unwrap(), "late");
    go.send(()).unwrap();
    early.await.unwrap().unwrap();
    assert_eq!(late.published().await, Some("late".into()));
}

#[tokio::test]
async fn a_server_that_has_changed_is_read_whatever_others_have_read() {
    let (place, times) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    Catalog::new(place.table(), reader(&times, "before")).refresh(None).await.unwrap();
    place.pass(1);
    let after: Read =
        Arc::new(|changed| future::ready(changed.map(|changed| format!("{changed} anew").into())).boxed());
    let catalog = Catalog::new(place.table(), after);
    assert_eq!(catalog.refresh(Some("git")).await.unwrap(), "git anew");
    assert_eq!(Catalog::new(place.table(), nobody()).published().await, Some("git anew".into()));
}

#[tokio::test]
async fn what_is_known_for_too_long_is_not_known() {
    let (place, times) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    let catalog = Catalog::new(place.table(), reader(&times, "known"));
    catalog.refresh(None).await.unwrap();
    place.pass(25 * 60 * 60 * 1000);
    assert_eq!(catalog.published().await, None);
}

#[tokio::test]
async fn a_catalog_that_cannot_be_had_is_said() {
    let place = Place::new();
    let (table, _flaky) = place.flaky(|_| Fault::Error("AccessDeniedException"));
    let catalog = Catalog::new(table, nobody());
    assert_eq!(catalog.published().await, None);
    let error = catalog.refresh(None).await.unwrap_err();
    assert_eq!(error.message, "the table answers AccessDeniedException");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_use_a_stamp_one_is_the_first() {
    let place = Place::new();
    let all = (0..12).map(|_| {
        let used = Used::new(place.table());
        tokio::spawn(async move { used.take("stamp", NOW + 60_000).await.unwrap() })
    });
    let first = future::join_all(all).await.into_iter().map(Result::unwrap).filter(|is_first| *is_first);
    assert_eq!(first.count(), 1);
    assert!(Used::new(place.table()).take("another", NOW + 60_000).await.unwrap());
    place.pass(61_000);
    // The platform has not removed the note yet: it does not count all the same.
    assert_eq!(place.items("once#stamp").len(), 1);
    assert!(Used::new(place.table()).take("stamp", NOW + 120_000).await.unwrap());
    assert!(!Used::new(place.table()).take("stamp", NOW + 120_000).await.unwrap());
}

#[tokio::test]
async fn a_stamp_is_used_once_wherever_answers_are_lost() {
    for fault in [Fault::AnswerLost, Fault::Lost, Fault::Error("ThrottlingException")] {
        let place = Place::new();
        let (table, _flaky) = place.flaky(at_first("PutItem", fault));
        let used = Used::new(table);
        assert!(used.take("stamp", NOW + 60_000).await.unwrap());
        assert!(!used.take("stamp", NOW + 60_000).await.unwrap());
    }
}

#[tokio::test]
async fn only_who_has_taken_a_stamp_gives_it_back() {
    let place = Place::new();
    let (one, other) = (Used::new(place.table()), Used::new(place.table()));
    assert!(one.take("stamp", NOW + 60_000).await.unwrap());
    other.give_back("stamp").await.unwrap();
    assert!(!other.take("stamp", NOW + 60_000).await.unwrap());
    one.give_back("stamp").await.unwrap();
    assert!(other.take("stamp", NOW + 60_000).await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_noted_is_an_error() {
    let place = Place::new();
    let (table, _flaky) = place.flaky(|_| Fault::Error("AccessDeniedException"));
    assert!(Used::new(table).take("stamp", NOW + 60_000).await.is_err());
}

#[tokio::test]
async fn the_table_notes_token_families() {
    let place = Place::new();
    portcullis_core::testing::token_families(&Families::new(place.table()), ["a", "b/#"], NOW + 60_000).await;
    place.pass(61_000);
    assert_eq!(Families::new(place.table()).noted("a".into()).await, Ok(None), "its time is over");
}

#[tokio::test]
async fn the_table_keeps_records() {
    let place = Place::new();
    let records = Records::new(place.table());
    portcullis_core::testing::record_store(&records).await;
    let key = || RecordKey::new("session", "s");
    assert_eq!(records.replace(key(), None, Some("1".into()), Some(NOW + 60_000)).await, Ok(true));
    place.pass(61_000);
    assert_eq!(records.get(key()).await, Ok(None), "its time is over");
    let next = records.replace(key(), None, Some("2".into()), Some(NOW + 120_000));
    assert_eq!(next.await, Ok(true), "another may take its place, although it is still there");
}

#[tokio::test]
async fn a_family_is_noted_once_wherever_answers_are_lost() {
    for fault in [Fault::AnswerLost, Fault::Lost, Fault::Error("ThrottlingException")] {
        let place = Place::new();
        for (read, next) in [(None, "1"), (Some("1"), "2")] {
            let (table, _flaky) = place.flaky(at_first("PutItem", fault.clone()));
            let note = async |families: Families| {
                families.note("f".into(), read.map(str::to_owned), next.into(), NOW + 60_000).await
            };
            assert_eq!(note(Families::new(table)).await, Ok(true), "{fault:?}");
            let same = note(Families::new(place.table())).await;
            assert_eq!(same, Ok(false), "another that notes the same comes too late");
        }
    }
}
