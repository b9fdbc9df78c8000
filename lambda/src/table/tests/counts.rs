use std::time::Duration;

use futures::future;
use portcullis_core::config::{AgentLimits, Rate};
use portcullis_core::quota::{Counted, Exceeded, Exhausted, Hold};

use super::*;
use crate::host::Counts as _;
use crate::table::counts::Counts;
use crate::underway::Underway;

fn daily(most: u64) -> AgentLimits {
    AgentLimits { daily: Some(most), ..AgentLimits::default() }
}

fn at_a_time(most: u32) -> AgentLimits {
    AgentLimits { concurrency: Some(most), ..AgentLimits::default() }
}

fn counted(key: &str, limits: &AgentLimits) -> Counted {
    Counted { key: key.into(), limits: limits.clone() }
}

fn counts(table: Table) -> (Counts, Underway) {
    let underway = Underway::default();
    (Counts::new(table, underway.clone()), underway)
}

/// Says what came of taking.
fn said(taken: &Result<Hold, Exhausted>) -> String {
    match taken {
        Ok(_) => "taken".to_owned(),
        Err(no) => format!("{} {:?} {:?}", no.key, no.limit, no.retry_after),
    }
}

/// Takes so often from each of several instances at once; returns how often it was taken, and why it was not.
async fn race(place: &Place, instances: usize, times: usize, of: &[Counted]) -> (usize, Vec<Exceeded>) {
    let takers = (0..instances).map(|_| {
        let ((counts, _), of) = (counts(place.table()), of.to_vec());
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for _ in 0..times {
                outcomes.push(counts.take(&of, NOW).await.map(std::mem::forget).map_err(|no| no.limit));
            }
            outcomes
        })
    });
    let outcomes = future::join_all(takers).await.into_iter().flat_map(Result::unwrap);
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
    (taken.len(), refused.into_iter().filter_map(Result::err).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_callers_as_many_are_let_through_as_the_limit_says() {
    for limits in [daily(20), at_a_time(20)] {
        let place = Place::new();
        let (taken, refused) = race(&place, 6, 6, &[counted("agent a", &limits)]).await;
        assert_eq!((taken, refused.len()), (20, 16), "{refused:?}");
        assert!(!refused.contains(&Exceeded::Unknown), "{refused:?}");
    }
    let place = Place::new();
    let rate = AgentLimits {
        rate: Some(Rate { count: 10, period: Duration::from_mins(1) }),
        ..AgentLimits::default()
    };
    assert_eq!(race(&place, 6, 3, &[counted("agent a", &rate)]).await.0, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_counts_all_are_taken_or_none() {
    let place = Place::new();
    let both = [counted("wide", &daily(100)), counted("narrow", &daily(9))];
    let (taken, refused) = race(&place, 6, 4, &both).await;
    assert_eq!((taken, refused), (9, vec![Exceeded::Daily; 15]));
    assert_eq!(race(&place, 1, 100, &both[..1]).await.0, 91);
}

#[tokio::test]
async fn what_has_run_is_given_back_and_what_was_never_given_back_ends() {
    let place = Place::new();
    let (one, underway) = counts(place.table());
    let (other, _) = counts(place.table());
    let of = [counted("agent a", &at_a_time(1)), counted("tool b", &at_a_time(5))];
    let held = one.take(&of, NOW).await;
    assert_eq!([said(&held), said(&other.take(&of, NOW).await)], ["taken", "agent a Concurrency 1s"]);
    drop(held);
    underway.ended().await;
    let again = other.take(&of, NOW).await;
    assert_eq!(said(&again), "taken");
    // Its instance is killed: nothing is given back.
    std::mem::forget(again);
    assert_eq!(said(&one.take(&of, NOW + 14 * 60_000).await), "agent a Concurrency 1s");
    place.pass(16 * 60_000);
    assert_eq!(said(&one.take(&of, NOW + 16 * 60_000).await), "taken");
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused() {
    let place = Place::new();
    for fault in [Fault::Error("ThrottlingException"), Fault::Error("AccessDeniedException"), Fault::Lost] {
        let (table, _flaky) = place.flaky(move |_| fault.clone());
        let taken = counts(table).0.take(&[counted("agent a", &daily(5))], NOW).await;
        assert_eq!(said(&taken), "agent a Unknown 1s");
    }
    assert!(place.items("count#").is_empty());
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_counted_once() {
    let faults = [
        Fault::Error("ThrottlingException"),
        Fault::Error("TransactionConflictException"),
        Fault::Lost,
        Fault::AnswerLost,
    ];
    for fault in faults {
        for (operation, of) in [("PutItem", 1), ("TransactWriteItems", 2)] {
            let place = Place::new();
            let (table, _flaky) = place.flaky(at_first(operation, fault.clone()));
            let all = [counted("a", &daily(2)), counted("b", &daily(9))];
            let (flaky, _) = counts(table);
            assert_eq!(said(&flaky.take(&all[..of], NOW).await), "taken", "{fault:?}");
            let (straight, _) = counts(place.table());
            assert_eq!(said(&straight.take(&all[..of], NOW).await), "taken", "{fault:?}");
            assert_eq!(said(&straight.take(&all[..of], NOW).await), "a Daily 43200s", "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_instance_that_counts_alone_asks_once_for_each_request() {
    let place = Place::new();
    let (table, flaky) = place.flaky(|_| Fault::None);
    let (alone, _) = counts(table);
    for _ in 0..5 {
        assert!(alone.take(&[counted("a", &daily(9))], NOW).await.is_ok());
    }
    assert_eq!(flaky.asked(), 5);
}

#[tokio::test]
async fn a_count_that_says_nothing_any_more_is_forgotten() {
    let place = Place::new();
    let of = [counted("a", &daily(1))];
    let (one, _) = counts(place.table());
    assert_eq!(said(&one.take(&of, NOW).await), "taken");
    let ttl = place.items("count#")[0]["ttl"]["N"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(ttl, NOW / 1000 + 43_201);
    // The platform removes it at some time.
    place.remove("count#a", "now");
    assert_eq!(said(&one.take(&of, NOW + 86_400_000).await), "taken");
    assert_eq!(said(&one.take(&of, NOW + 86_400_001).await), "a Daily 43199.999s");
}
