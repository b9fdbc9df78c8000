use std::sync::atomic::AtomicUsize;

use futures::{FutureExt as _, future};
use portcullis_core::audit::{Arguments, Entry, Order, Query, Verdict};
use portcullis_core::config::Audit;
use portcullis_core::ports::{AuditQuery, AuditSink};
use tokio::sync::Notify;

use super::*;
use crate::table::search::Reader;
use crate::table::trail::{Room, Sink};

/// Returns an entry of the `n`th second.
pub(super) fn entry(n: u64) -> Entry {
    Entry {
        time: NOW + n * 1000,
        agent: Some(format!("agent {}", n % 3).into()),
        server: (!n.is_multiple_of(4)).then(|| "git".into()),
        name: Some(format!("t{n}").into()),
        method: "tools/call",
        ..Entry::default()
    }
}

/// Returns the trail as an instance reads it that has nothing to write itself.
pub(super) fn reader(place: &Place) -> Reader {
    Reader::new(place.table(), Sink::new(place.table()))
}

/// Writes entries as one environment, those of each invocation together.
pub(super) async fn write(sink: &Sink, invocations: &[&[u64]]) {
    for numbers in invocations {
        numbers.iter().for_each(|n| sink.record(entry(*n)));
        sink.flush().await.unwrap();
    }
}

/// Returns the lines that are asked for, page after page.
pub(super) async fn lines(reader: &Reader, mut query: Query) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = reader.page(query.clone()).await.unwrap();
        assert!(page.lines.len() <= query.limit);
        all.extend(page.lines);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return all,
        }
    }
}

/// Returns the names in lines, such as `t1`.
pub(super) fn names(lines: &[String]) -> Vec<&str> {
    let name = |line: &'_ String| line.find("\"name\":\"").map(|at| at + 8);
    lines.iter().filter_map(|line| line[name(line)?..].split('"').next()).collect()
}

/// Checks all chains, step after step.
pub(super) async fn verdicts(place: &Place) -> Vec<Verdict> {
    let (reader, mut cursor, mut all) = (reader(place), None, Vec::new());
    loop {
        let verdicts = reader.verify(cursor).await.unwrap();
        all.extend(verdicts.writers);
        cursor = verdicts.next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// Says what each chain is: how many entries it has, or what is wrong.
pub(super) async fn chains(place: &Place) -> Vec<String> {
    let said = |verdict: Verdict| match verdict.outcome {
        Ok(found) => format!("{} from {} to {}", found.entries, found.reach.0, found.reach.1),
        Err(breach) => breach,
    };
    verdicts(place).await.into_iter().map(said).collect()
}

#[tokio::test]
async fn what_is_recorded_is_found_and_its_chain_holds() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    write(&sink, &[&[1], &[], &[2, 3, 4], &[5]]).await;
    let found = lines(&reader(&place), Query::default()).await;
    assert_eq!(names(&found), ["t5", "t4", "t3", "t2", "t1"]);
    assert_eq!(chains(&place).await, ["5 from 1 to 5"]);
    assert_eq!((sink.state().recorded, sink.state().waiting, sink.state().lost), (5, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_environments_write_at_once_each_its_own_chain() {
    let place = Place::new();
    let writers = (0..8).map(|writer| {
        let sink = Sink::new(place.table());
        tokio::spawn(async move {
            for n in 0..10 {
                let first = writer * 100 + n * 3;
                let numbers: Vec<_> = (first..=first + n % 3).collect();
                write(&sink, &[&numbers]).await;
            }
        })
    });
    future::join_all(writers).await.into_iter().for_each(Result::unwrap);
    assert_eq!(chains(&place).await, ["19 from 1 to 19"; 8]);
    let found = lines(&reader(&place), Query { limit: 50, ..Query::default() }).await;
    let numbers: Vec<u64> = names(&found).iter().map(|name| name[1..].parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|later, earlier| later > earlier), "{numbers:?}");
    assert_eq!(numbers.len(), 8 * 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_while_others_write_finds_chains_that_hold() {
    let place = Place::new();
    let writers = (0..4).map(|_| {
        let sink = Sink::new(place.table());
        tokio::spawn(async move { write(&sink, &[&[1], &[2, 3], &[4], &[5], &[6, 7], &[8]]).await })
    });
    let mut writers = future::join_all(writers);
    while (&mut writers).now_or_never().is_none() {
        assert!(verdicts(&place).await.iter().all(|verdict| verdict.outcome.is_ok()));
    }
    assert_eq!(chains(&place).await, ["8 from 1 to 8"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_environment_that_answers_many_requests_at_once_has_one_chain() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    let requests = (0..40).map(|n| {
        let sink = sink.clone();
        tokio::spawn(async move { write(&sink, &[&[n]]).await })
    });
    future::join_all(requests).await.into_iter().for_each(Result::unwrap);
    assert_eq!(chains(&place).await, ["40 from 1 to 40"]);
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_written_once() {
    let faults = [
        Fault::Error("ThrottlingException"),
        Fault::Error("TransactionConflictException"),
        Fault::Error("InternalServerError"),
        Fault::Lost,
        Fault::AnswerLost,
    ];
    for fault in faults {
        for number in 0..6 {
            let place = Place::new();
            let fault = fault.clone();
            let (table, _flaky) =
                place.flaky(move |asked| if asked.number == number { fault.clone() } else { Fault::None });
            write(&Sink::new(table), &[&[1], &[2, 3]]).await;
            assert_eq!(chains(&place).await, ["3 from 1 to 3"], "request {number}");
            assert_eq!(place.items("trail#").len(), 4);
        }
    }
}

/// What becomes of the request during which an environment is killed, and of all that it might send after it.
fn killed_at(
    number: usize,
    fault: Fault,
    killed: &Arc<Notify>,
) -> impl FnMut(&Asked) -> Fault + Send + use<> {
    let killed = Arc::clone(killed);
    move |asked| {
        if asked.number < number {
            return Fault::None;
        }
        killed.notify_one();
        if asked.number == number { fault.clone() } else { Fault::Lost }
    }
}

/// Writes until done or killed; returns whether it was killed.
async fn write_until(killed: &Notify, sink: Sink, invocations: &[&[u64]]) -> bool {
    tokio::select! {
        () = write(&sink, invocations) => false,
        () = killed.notified() => true,
    }
}

/// Kills an environment during each of its requests, before or after the table has done it. What it had told the table
/// is there, in order and without a hole, and what it had not is lost: nobody can tell that there was more.
#[tokio::test]
async fn an_environment_that_is_killed_loses_its_last_entries_and_nothing_else() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut kept = Vec::new();
        for number in 0.. {
            let (place, killed) = (Place::new(), Arc::new(Notify::new()));
            let (table, _flaky) = place.flaky(killed_at(number, fault.clone(), &killed));
            let was_killed = write_until(&killed, Sink::new(table), &[&[1], &[2, 3]]).await;
            write(&Sink::new(place.table()), &[&[9]]).await;
            let found = lines(&reader(&place), Query::default()).await;
            let found = names(&found);
            assert!(
                found.strip_prefix(&["t9"]).is_some_and(|rest| ["t3", "t2", "t1"].ends_with(rest)),
                "{found:?}"
            );
            assert!(verdicts(&place).await.iter().all(|verdict| verdict.outcome.is_ok()));
            kept.push(found.len() - 1);
            if !was_killed {
                break;
            }
        }
        // The writer is made known, a line, how far it reaches; two lines, how far; and at last nothing kills it.
        let expected = if fault == Fault::Lost { [0, 0, 1, 1, 3, 3] } else { [0, 1, 1, 3, 3, 3] };
        assert_eq!(kept, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_flush_that_is_given_up_is_made_up_for_by_the_next_one() {
    for number in 0..6 {
        let (place, given_up) = (Place::new(), Arc::new(Notify::new()));
        let mut first = Some(Arc::clone(&given_up));
        let (table, _flaky) = place.flaky(move |asked| {
            if asked.number == number
                && let Some(first) = first.take()
            {
                first.notify_one();
                return Fault::AnswerLost;
            }
            Fault::None
        });
        let sink = Sink::new(table);
        for numbers in [&[1, 2][..], &[3], &[4]] {
            write_until(&given_up, sink.clone(), &[numbers]).await;
        }
        sink.flush().await.unwrap();
        assert_eq!(chains(&place).await, ["4 from 1 to 4"], "request {number}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_waits_and_is_told() {
    let (place, works) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    let does_work = Arc::clone(&works);
    let (table, _flaky) = place.flaky(move |_| match does_work.load(Ordering::SeqCst) {
        0 => Fault::Error("AccessDeniedException"),
        _ => Fault::None,
    });
    let sink = Sink::new(table);
    sink.record(entry(1));
    assert_eq!(sink.flush().await, Err("the table answers AccessDeniedException".to_owned()));
    assert!(sink.is_failing());
    assert_eq!((sink.state().waiting, sink.state().recorded), (1, 0));
    works.store(1, Ordering::SeqCst);
    sink.record(entry(2));
    sink.flush().await.unwrap();
    assert!(!sink.is_failing());
    assert_eq!((sink.state().waiting, sink.state().recorded), (0, 2));
    assert_eq!(chains(&place).await, ["2 from 1 to 2"]);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_lost_and_told() {
    let place = Place::new();
    let sink = Sink::with_room(place.table(), Room { entries: 60, arguments: 0 });
    (0..31).for_each(|n| sink.record(entry(n)));
    assert!(sink.is_failing());
    (31..64).for_each(|n| sink.record(entry(n)));
    sink.flush().await.unwrap();
    assert_eq!((sink.state().recorded, sink.state().lost), (61, 4));
    let query = Query { method: Some("audit/lost".into()), ..Query::default() };
    let told = lines(&reader(&place), query).await;
    assert!(told.len() == 1 && told[0].contains("4 entries were lost"), "{told:?}");
}

#[tokio::test]
async fn of_arguments_that_there_is_no_room_for_the_digest_is_kept() {
    let place = Place::new();
    let sink = Sink::with_room(place.table(), Room { entries: 60, arguments: 25 });
    sink.configure(&Audit { arguments: true, ..Audit::default() });
    let with = |n| Entry { arguments: Arguments::Text(r#"{"a":"12"}"#.into()), ..entry(n) };
    (0..4).for_each(|n| sink.record(with(n)));
    sink.flush().await.unwrap();
    sink.record(with(4));
    let own = Reader::new(place.table(), sink);
    let found = lines(&own, Query { order: Order::Oldest, ..Query::default() }).await;
    assert!(found.iter().all(|line| line.contains("\"args_digest\":")));
    let has_arguments: Vec<_> = found.iter().map(|line| line.contains("\"args\":")).collect();
    assert_eq!(has_arguments, [true, true, false, false, true]);
}

#[tokio::test]
async fn where_another_has_written_another_chain_begins() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    write(&sink, &[&[1]]).await;
    let mut other =
        place.items("trail#").into_iter().find(|item| item["sk"]["S"] == "e#000000000001").unwrap();
    other["sk"]["S"] = "e#000000000002".into();
    Emulator::shared().ask("PutItem", &serde_json::json!({"TableName": place.name, "Item": other}));
    place.pass(1);
    write(&sink, &[&[2, 3], &[4]]).await;
    let found = lines(&reader(&place), Query::default()).await;
    assert_eq!(names(&found)[..3], ["t4", "t3", "t2"]);
    assert_eq!(chains(&place).await, ["line 2, entry 1: is not in its place", "3 from 1 to 3"]);
}

#[tokio::test]
async fn settings_say_what_is_written_and_for_how_long() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    let settings = Audit { arguments: true, keep_days: 7, ..Audit::default() };
    sink.configure(&settings);
    let with = |text: String| Entry { arguments: Arguments::Text(text.into()), ..entry(1) };
    // What is escaped grows: it would not fit into an item with others.
    let long = format!("\"{}\"", "\u{202e}".repeat(21_000));
    sink.record(with(r#"{"a":"b"}"#.into()));
    sink.record(with(long));
    sink.flush().await.unwrap();
    let query = Query { order: Order::Oldest, ..Query::default() };
    let found = lines(&reader(&place), query).await;
    assert!(found[0].contains(r#""args":{"a":"b"}"#), "{}", found[0]);
    assert!(found[1].len() < 1000 && found[1].contains("\"args_digest\""), "{}", found[1].len());
    let kept = place.items("trail#");
    let until = (NOW / 1000 + 7 * 86_400).to_string();
    assert!(kept.iter().all(|item| item["ttl"]["N"] == until.as_str()));
    assert_eq!(chains(&place).await, ["2 from 1 to 2"]);
}
