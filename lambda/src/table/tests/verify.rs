use portcullis_core::audit::{Order, Query, Unreadable};
use portcullis_core::ports::AuditQuery;

use super::trail::{chains, entry, lines, names, reader, write};
use super::*;
use crate::table::search::Reader;
use crate::table::trail::Sink;

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

/// Returns the key of the only writer's lines.
fn writer(place: &Place) -> String {
    place.items("trail#").remove(0)["pk"]["S"].as_str().unwrap().to_owned()
}

/// Writes six lines, has something done to them, and says what the check finds.
async fn after(change: impl FnOnce(&Place, &str)) -> String {
    let place = Place::new();
    write(&Sink::new(place.table()), &[&[1], &[2, 3], &[4, 5, 6]]).await;
    change(&place, &writer(&place));
    chains(&place).await.join("; ")
}

fn line(n: u64) -> String {
    format!("e#{n:012}")
}

#[tokio::test]
async fn what_was_done_to_a_chain_is_told() {
    assert_eq!(after(|_, _| ()).await, "6 from 1 to 6");
    assert_eq!(
        after(|place, pk| place.remove(pk, &line(1))).await,
        "line 1, entry 1: was removed, with everything up to entry 1"
    );
    assert_eq!(
        after(|place, pk| place.remove(pk, &line(4))).await,
        "line 4, entry 4: was removed, with everything up to entry 4"
    );
    assert_eq!(
        after(|place, pk| [5, 6].iter().for_each(|n| place.remove(pk, &line(*n)))).await,
        "line 5, entry 5: is missing, as is everything up to the last one, entry 6: the end was cut off"
    );
    assert_eq!(
        after(|place, pk| place.remove(pk, "#head")).await,
        "it is not known how far the chain reaches: that was removed"
    );
    let altered = after(|place, pk| {
        let mut item =
            place.items("trail#").into_iter().find(|item| item["sk"]["S"] == line(3).as_str()).unwrap();
        item["line"]["S"] = item["line"]["S"].as_str().unwrap().replace("agent 0", "agent 1").into();
        assert_eq!(item["pk"]["S"], pk);
        Emulator::shared().ask("PutItem", &serde_json::json!({"TableName": place.name, "Item": item}));
    });
    assert_eq!(altered.await, "line 3, entry 3: was altered");
}

#[tokio::test]
async fn what_is_no_longer_kept_is_no_breach_and_what_is_gone_is() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    write(&sink, &[&[1], &[2, 3]]).await;
    place.pass(20 * DAY);
    write(&sink, &[&[4], &[5, 6]]).await;
    assert_eq!(chains(&place).await, ["6 from 1 to 6"]);
    place.pass(15 * DAY);
    // The platform has not removed them yet.
    assert_eq!(place.items("trail#").len(), 7);
    assert_eq!(chains(&place).await, ["3 from 4 to 6"]);
    assert_eq!(names(&lines(&reader(&place), Query::default()).await), ["t6", "t5", "t4"]);
    // It removes them in any order.
    place.remove(&writer(&place), &line(2));
    assert_eq!(chains(&place).await, ["3 from 4 to 6"]);
    place.remove(&writer(&place), &line(5));
    assert_eq!(chains(&place).await, ["line 2, entry 5: was removed, with everything up to entry 5"]);
    place.pass(20 * DAY);
    assert!(chains(&place).await.is_empty());
    assert!(lines(&reader(&place), Query::default()).await.is_empty());
}

#[tokio::test]
async fn a_beginning_that_would_still_be_kept_is_missed() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    write(&sink, &[&[]]).await;
    place.pass(20 * DAY);
    write(&sink, &[&[1], &[2]]).await;
    place.pass(15 * DAY);
    assert_eq!(chains(&place).await, ["2 from 1 to 2"]);
    place.remove(&writer(&place), &line(1));
    assert_eq!(chains(&place).await, ["line 1, entry 1: was removed, with everything up to entry 1"]);
}

#[tokio::test]
async fn a_check_of_many_chains_goes_on_by_its_cursor() {
    let place = Place::new();
    for n in 0..40 {
        place.pass(1);
        write(&Sink::new(place.table()), &[&[n]]).await;
    }
    assert_eq!(chains(&place).await, ["1 from 1 to 1"; 40]);
    let first = reader(&place).verify(None).await.unwrap();
    assert!(first.next.is_some() && first.writers.len() < 40);
    for cursor in ["", "e30", "?", "eyJhZnRlciI6IiMiLCJvcGVuIjpudWxsfQ"] {
        assert_eq!(reader(&place).verify(Some(cursor.into())).await, Err(Unreadable::Cursor), "{cursor}");
    }
}

#[tokio::test]
async fn pages_are_the_filter_of_all() {
    let place = Place::new();
    let sinks: Vec<_> = (0..5).map(|_| Sink::new(place.table())).collect();
    for (n, sink) in (0..20).zip(sinks.iter().cycle()) {
        write(sink, &[&[n, n + 20, n + 40]]).await;
    }
    let reader = reader(&place);
    let mut all = lines(&reader, Query { order: Order::Oldest, ..Query::default() }).await;
    assert_eq!(names(&all), (0..60).map(|n| format!("t{n}")).collect::<Vec<_>>());
    let named = [(None, None), (Some("agent 1"), None), (None, Some("git")), (Some("agent 2"), Some("git"))];
    let unnamed = [(Some(""), None), (None, Some(""))];
    let others = [
        (None, None, 100, None),
        (Some(NOW + 10_000), Some(NOW + 40_000), 7, None),
        (Some(NOW + 90_000), Some(NOW), 7, None),
        (None, Some(NOW + 20_000), 1000, Some("t7")),
    ];
    for order in [Order::Oldest, Order::Newest] {
        for (agent, server) in named.into_iter().chain(unnamed) {
            for (since, until, limit, tool) in others {
                let text = |text: Option<&str>| text.map(str::to_owned);
                let (agent, server, tool) = (text(agent), text(server), text(tool));
                let query = Query { agent, server, tool, since, until, order, limit, ..Query::default() };
                let expected: Vec<_> = all.iter().filter(|line| query.matches(line)).cloned().collect();
                assert_eq!(lines(&reader, query.clone()).await, expected, "{query:?}");
            }
        }
        all.reverse();
    }
}

#[tokio::test]
async fn who_follows_sees_what_has_settled_in_its_order() {
    let place = Place::new();
    let (one, other) = (Sink::new(place.table()), Sink::new(place.table()));
    assert_eq!(reader(&place).page(Query::default()).await.unwrap(), portcullis_core::audit::Page::default());
    write(&one, &[&[1]]).await;
    place.pass(4_000);
    let follow = async |cursor: Option<String>| {
        let query = Query { order: Order::Oldest, cursor, ..Query::default() };
        let page = reader(&place).page(query).await.unwrap();
        assert_eq!(page.next, None);
        (names(&page.lines).join(" "), page.follow)
    };
    let first = reader(&place).page(Query::default()).await.unwrap();
    // The third is there before the second, which an environment has still to write.
    write(&one, &[&[3]]).await;
    place.pass(1_000);
    let (seen, cursor) = follow(first.follow).await;
    assert_eq!(seen, "");
    write(&other, &[&[2]]).await;
    place.pass(1_500);
    let (seen, cursor) = follow(cursor).await;
    assert_eq!(seen, "t2 t3");
    assert_eq!(follow(cursor).await.0, "");
}

#[tokio::test]
async fn a_reader_finds_what_its_own_environment_has_still_to_write() {
    let place = Place::new();
    let sink = Sink::new(place.table());
    portcullis_core::ports::AuditSink::record(&sink, entry(1));
    let found = lines(&Reader::new(place.table(), sink), Query::default()).await;
    assert_eq!(names(&found), ["t1"]);
}

#[tokio::test]
async fn what_the_table_does_not_read_of_a_batch_is_read_again() {
    let place = Place::new();
    write(&Sink::new(place.table()), &[&[1], &[2], &[3]]).await;
    let (table, _flaky) = place.flaky(at_first("BatchGetItem", Fault::FirstOnly));
    let found = lines(&Reader::new(table.clone(), Sink::new(table)), Query::default()).await;
    assert_eq!(names(&found), ["t3", "t2", "t1"]);
}

#[tokio::test]
async fn a_trail_that_cannot_be_read_says_why() {
    let place = Place::new();
    let (table, _flaky) = place.flaky(|_| Fault::Error("AccessDeniedException"));
    let reader = Reader::new(table.clone(), Sink::new(table));
    let failed = Unreadable::Failed("the table answers AccessDeniedException".into());
    assert_eq!(reader.page(Query::default()).await, Err(failed.clone()));
    assert_eq!(reader.verify(None).await, Err(failed));
    for cursor in ["", "7", "f", "000000000000001.#.000000000001", "000000000000001.a.1"] {
        let query = Query { cursor: Some(cursor.into()), ..Query::default() };
        assert_eq!(reader.page(query).await, Err(Unreadable::Cursor), "{cursor}");
    }
}
