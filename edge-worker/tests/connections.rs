//! The objects that keep connections, in the runtime that Cloudflare's platform has, behind the same store that the Worker has.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::ports::ConnectionStore as _;
use portcullis_core::testing::{
    Memory, Rotating, connection_key, connection_store, gateway, json_answer, refresh_race,
};
use portcullis_core::{Drawers, Messenger};
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::http::Request;
use serde_json::json;

/// The way to the objects of a Worker: each errand on a connection of its own, so that those made at once arrive at once.
#[derive(Clone)]
struct Objects {
    url: String,
}

impl Objects {
    fn send(&self, drawer: &str, errand: String) -> String {
        let url = format!("{}/{}", self.url, drawer.replace(' ', "%20"));
        let answer = Request::post(&url).body(errand).send();
        assert_eq!(answer.status, 200);
        answer.text()
    }
}

impl Messenger for Objects {
    fn bring(&self, drawer: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>> {
        let (own, (sender, answer)) = (self.clone(), oneshot::channel());
        std::thread::spawn(move || sender.send(own.send(&drawer, errand)));
        async move { Ok(answer.await.expect("the object answers")) }.boxed()
    }
}

/// The same, which has its answer before anything else happens: for a host whose time passes when nothing does.
struct AtOnce(Objects);

impl Messenger for AtOnce {
    fn bring(&self, drawer: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>> {
        std::future::ready(Ok(self.0.send(&drawer, errand))).boxed()
    }
}

/// The same, which brings everything to somebody else's.
struct Astray(Objects);

impl Messenger for Astray {
    fn bring(&self, _: String, errand: String) -> BoxFuture<'static, Result<String, StoreError>> {
        self.0.bring("of somebody else".into(), errand)
    }
}

fn worker() -> (Gateway, Objects) {
    let worker = Gateway::with("version: 1\n").on(Host::Edge).of_worker("objects", json!(true));
    let worker = worker.until(Readiness::Listening).start();
    let url = worker.url_of("/objects/CONNECTIONS");
    (worker, Objects { url })
}

#[test]
fn the_objects_keep_what_stores_of_connections_have_to_keep() {
    let (_worker, objects) = worker();
    futures::executor::block_on(connection_store(&Drawers::new(objects)));
}

#[test]
fn of_gateways_with_the_same_objects_one_refreshes() {
    let (_worker, objects) = worker();
    let host = Memory::new(|_| json_answer(404, ""));
    host.keep_connections(Arc::new(Drawers::new(AtOnce(objects))));
    host.run(refresh_race(&[gateway(&host, &[]), gateway(&host, &[]), gateway(&host, &[])], "ana"));
}

#[test]
fn an_errand_of_one_principal_does_not_reach_anothers_object() {
    let (_worker, objects) = worker();
    let store = Drawers::new(objects.clone());
    let host = Memory::new(|_| json_answer(404, ""));
    host.keep_connections(Arc::new(Drawers::new(AtOnce(objects.clone()))));
    let key = connection_key("ana", "git");
    host.run(gateway(&host, &[]).connect(&key, &Rotating::default().consent(60))).unwrap();
    let astray = Drawers::new(Astray(objects.clone()));
    assert_eq!(futures::executor::block_on(astray.get(key.clone())), Ok(None));
    assert!(futures::executor::block_on(store.get(key)).unwrap().is_some());
}
