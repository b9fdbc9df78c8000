use portcullis_core::Gateway;
use portcullis_core::config::Config;
use portcullis_core::oauth::connection::{Stored, Swapped, Version};
use portcullis_core::ports::ConnectionStore;
use portcullis_core::testing::{Rotating, connection_key, connection_store, gateway_on, refresh_race};
use portcullis_native::HttpClient;

use super::*;
use crate::host::{Function, Reading, Stores};
use crate::table::connections::Connections;
use crate::underway::Underway;

/// Returns a gateway as another environment has it.
fn gateway(table: Table) -> Gateway<Function> {
    let connections: Arc<dyn ConnectionStore> = Arc::new(Connections::new(table));
    let stores = Stores { connections: Some(connections), ..Stores::default() };
    let (reading, underway) = (Reading::default(), Underway::default());
    gateway_on(Function::new(HttpClient::default(), stores, reading, underway), Config::default())
}

#[tokio::test]
async fn the_table_keeps_what_stores_of_connections_have_to_keep() {
    connection_store(&Connections::new(Place::new().table())).await;
}

#[tokio::test]
async fn it_does_so_where_answers_are_lost() {
    for operation in ["PutItem", "GetItem", "Query"] {
        for fault in [Fault::AnswerLost, Fault::Lost, Fault::Error("ThrottlingException")] {
            let place = Place::new();
            let (table, _flaky) = place.flaky(at_first(operation, fault));
            connection_store(&Connections::new(table)).await;
        }
    }
}

#[tokio::test]
async fn a_swap_whose_answer_is_lost_is_known_as_its_own() {
    let place = Place::new();
    let key = connection_key("ana", "tickets");
    gateway(place.table()).connect(&key, &Rotating::default().consent(60)).await.unwrap();
    let store = Connections::new(place.table());
    let before = store.get(key.clone()).await.unwrap().unwrap();
    let next = Stored { version: Version(5), ..before.clone() };
    let (table, _flaky) = place.flaky(at_first("PutItem", Fault::AnswerLost));
    let swapped = Connections::new(table).swap(key.clone(), Some(before.version), Some(next.clone())).await;
    assert_eq!(swapped, Ok(Swapped::Done));
    assert_eq!(store.get(key).await, Ok(Some(next)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_environments_with_one_table_one_refreshes() {
    let place = Place::new();
    let gateways: Vec<_> = (0..4).map(|_| gateway(place.table())).collect();
    refresh_race(&gateways, "ana").await;
    assert!(place.items("connection#").is_empty());
}

#[tokio::test]
async fn the_table_shows_no_token_and_each_principal_has_a_key_of_its_own() {
    let place = Place::new();
    let gateway = gateway(place.table());
    for principal in ["ana", "bob"] {
        gateway.connect(&connection_key(principal, "git"), &Rotating::default().consent(60)).await.unwrap();
    }
    let items = place.items("connection");
    let text = serde_json::to_string(&items).unwrap();
    assert!(
        text.contains("https://git.test/mcp") && !text.contains("access 1") && !text.contains("refresh 1")
    );
    let keys: std::collections::BTreeSet<_> =
        place.items("connection#").iter().map(|item| item["pk"]["S"].to_string()).collect();
    assert_eq!(keys.len(), 2);
}
