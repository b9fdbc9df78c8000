//! The objects that note how far families of tokens have come, in the runtime that Cloudflare's platform has.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::{FutureExt as _, executor};
use portcullis_core::control::StoreError;
use portcullis_core::ports::TokenFamilies;
use portcullis_core::testing::token_families;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::http::{Request, Response};
use portcullis_tests::wait;
use serde_json::json;

/// The way to the objects of a Worker: each request on a connection of its own, so that those made at once arrive at once.
struct Objects {
    url: String,
    _worker: Gateway,
}

impl Objects {
    fn new() -> Self {
        let worker = Gateway::with("version: 1\n").on(Host::Edge).of_worker("objects", json!(true));
        let worker = worker.until(Readiness::Listening).start();
        Self { url: worker.url_of("/objects/FAMILIES"), _worker: worker }
    }

    fn of(&self, family: &str) -> String {
        format!("{}/{family}", self.url)
    }
}

/// Sends a request, and reads its answer.
fn sent<T: Send + 'static>(
    request: Request,
    read: impl FnOnce(Response) -> T + Send + 'static,
) -> BoxFuture<'static, Result<T, StoreError>> {
    let (sender, answer) = oneshot::channel();
    std::thread::spawn(move || sender.send(read(request.send())));
    async move { Ok(answer.await.expect("the object answers")) }.boxed()
}

impl TokenFamilies for Objects {
    fn noted(&self, family: String) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        sent(Request::get(&self.of(&family)), |answer| answer.json().as_str().map(str::to_owned))
    }

    fn note(
        &self,
        family: String,
        read: Option<String>,
        next: String,
        until: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        sent(Request::post(&self.of(&family)).json(&json!([read, next, until])), |answer| {
            assert!(matches!(answer.status, 200 | 409), "{}", answer.status);
            answer.status == 200
        })
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    now.as_millis().try_into().expect("it is before a distant future")
}

#[test]
fn the_objects_note_what_stores_of_families_have_to_note() {
    let objects = Objects::new();
    executor::block_on(token_families(&objects, ["a", "b"], now() + 600_000));
}

#[test]
fn what_has_ended_is_forgotten() {
    let objects = Objects::new();
    let noted = || executor::block_on(objects.noted("a".into()));
    let note = |read: Option<&str>, next: &str, until| {
        executor::block_on(objects.note("a".into(), read.map(str::to_owned), next.into(), until))
    };
    assert_eq!(note(None, "1", now() + 600_000), Ok(true));
    assert_eq!(noted(), Ok(Some("1".into())));
    assert_eq!(note(Some("1"), "2", now() + 1), Ok(true));
    wait::expect("the object to forget", || noted() == Ok(None));
}
