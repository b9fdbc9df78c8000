//! When an environment looks at what is to be in force, and what it makes of a look that fails or does not end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join, pending};
use portcullis_core::control::{Revoked, Stamp, StoreError};
use portcullis_core::identity::KeyRecord;
use portcullis_core::ports::{ConfigStore as _, KeyStore};
use portcullis_core::testing::{MemoryStore, TestTrail, key};

use super::*;
use crate::event::Front;
use crate::runtime::Answer;

const CONFIG: &str = "version: 1\nauth: { required: true }\nagents: { coder: { allow: ['*'] } }\n";
const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// A store of keys that counts how often it is asked for all of them.
#[derive(Default)]
struct Watched {
    keys: MemoryStore,
    asked: AtomicUsize,
    /// Whether it does not answer.
    hangs: AtomicBool,
}

impl KeyStore for Watched {
    fn all(&self) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        async {
            // As from afar: others get their turn meanwhile.
            tokio::task::yield_now().await;
            if self.hangs.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            self.keys.all().await
        }
        .boxed()
    }

    fn add(&self, record: KeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.keys.add(record)
    }

    fn revoke(&self, id: String, at: u64) -> BoxFuture<'_, Result<Revoked, StoreError>> {
        self.keys.revoke(id, at)
    }
}

/// An environment that has begun, what its keys are in, and its audit trail.
struct Stage {
    store: Arc<Watched>,
    trail: Arc<TestTrail>,
    environment: Environment,
}

impl Stage {
    /// Begins with these keys.
    async fn with(keys: &[u8]) -> Self {
        let (store, trail) = (Arc::new(Watched::default()), Arc::new(TestTrail::default()));
        for number in keys {
            store.add(key(*number).1).await.unwrap();
        }
        let text = json!({ "files": { "portcullis.yaml": CONFIG } }).to_string();
        let digest = control::digest(&text);
        let stamp = Stamp { version: 1, at: 1, by: "somebody".into(), note: String::new(), digest };
        let configurations = MemoryStore::default();
        configurations.append(Revision { stamp, text }).await.unwrap();
        let settings = Settings::read(&|name| match name {
            "PORTCULLIS_TABLE" => Some("none".to_owned()),
            "PORTCULLIS_SEAL_KEY" => Some(format!("{}A=", "a".repeat(42))),
            _ => None,
        });
        let stores = Stores {
            configurations: Some(Arc::new(configurations)),
            keys: Some(store.clone()),
            audit: Some(trail.clone()),
            ..Stores::default()
        };
        let underway = Underway::default();
        let host = Function::new(HttpClient::default(), stores, Reading::default(), underway.clone());
        let environment = Environment::new(settings.unwrap(), host, underway, None);
        environment.gateway().await.unwrap();
        let stage = Self { store, trail, environment };
        assert_eq!(stage.asked(), 1, "the start");
        stage
    }

    /// Lets the last look be so long ago, in milliseconds.
    fn age(&self, by: u64) {
        self.environment.seen().looked = self.environment.host.now() - by;
    }

    /// How often the store was asked since the last time.
    fn asked(&self) -> usize {
        self.store.asked.swap(0, Ordering::Relaxed)
    }

    /// Asks at a path with that `Authorization`; returns the status.
    async fn status(&self, path: &str, authorization: Option<&str>) -> u64 {
        let mut request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("Mcp-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", "server/discover");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Body::Full(Bytes::from_static(DISCOVER.as_bytes()).into())).unwrap();
        let deadline = self.environment.host.now() + 60_000;
        let answering = crate::answer(&self.environment, request, Front::FunctionUrl, deadline);
        let Answer::Streamed(prelude, _) = Box::pin(answering).await else { panic!("it streams") };
        let prelude: Value = serde_json::from_slice(&prelude).unwrap();
        prelude["statusCode"].as_u64().unwrap()
    }

    async fn admits(&self, number: u8) -> bool {
        let status = self.status("/mcp", Some(&bearer(number))).await;
        assert!([200, 401].contains(&status), "{status}");
        status == 200
    }
}

fn bearer(number: u8) -> String {
    format!("Bearer {}", key(number).0.reveal())
}

#[tokio::test]
async fn a_look_that_is_cut_off_was_none() {
    let stage = Stage::with(&[1]).await;
    assert!(stage.admits(1).await);
    stage.store.revoke(key(1).1.id.to_string(), 1).await.unwrap();
    stage.age(OLD - MOMENT);
    stage.store.hangs.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(
            stage.environment.finish().now_or_never().is_none(),
            "it waits for the store, and is given up"
        );
        assert_eq!(stage.asked(), 1);
    }
    stage.store.hangs.store(false, Ordering::Relaxed);
    stage.environment.finish().await;
    assert_eq!((stage.asked(), stage.admits(1).await), (1, false));
}

#[tokio::test]
async fn what_somebody_looks_at_others_wait_for() {
    let stage = Stage::with(&[1]).await;
    stage.store.revoke(key(1).1.id.to_string(), 1).await.unwrap();
    stage.age(OLD);
    let (admitted, ()) = join(stage.admits(1), stage.environment.finish()).await;
    assert_eq!((admitted, stage.asked()), (false, 1));
}

#[tokio::test]
async fn what_cannot_be_read_is_left_alone_for_a_moment() {
    let stage = Stage::with(&[1]).await;
    stage.age(OLD);
    stage.store.keys.fail(Some("busy"));
    for _ in 0..3 {
        assert!(stage.admits(1).await && !stage.admits(2).await, "what was before counts");
        stage.environment.finish().await;
    }
    assert_eq!(stage.asked(), 1);
    stage.store.keys.fail(None);
    stage.store.revoke(key(1).1.id.to_string(), 1).await.unwrap();
    assert!(stage.environment.seen().paused > stage.environment.host.now() - PAUSE);
    stage.environment.seen().paused = 0;
    assert_eq!((stage.admits(1).await, stage.asked()), (false, 1));
}

#[tokio::test]
async fn a_key_that_others_have_made_counts_when_it_is_presented() {
    let stage = Stage::with(&[1]).await;
    stage.store.add(key(2).1).await.unwrap();
    stage.age(MOMENT);
    assert_eq!((stage.admits(2).await, stage.asked()), (true, 1));
    let decisions: Vec<_> = stage.trail.take().iter().map(|entry| entry.decision.as_str()).collect();
    assert_eq!(decisions, ["allowed"], "it was never refused");
    assert_eq!(
        (stage.admits(3).await, stage.admits(4).await, stage.asked()),
        (false, false, 0),
        "it has just been looked"
    );
}

#[tokio::test]
async fn nobody_looks_for_who_presents_no_new_key() {
    let stage = Stage::with(&[1]).await;
    stage.store.revoke(key(1).1.id.to_string(), 1).await.unwrap();
    stage.age(FRESH);
    stage.environment.finish().await;
    stage.asked();
    for (path, authorization) in [
        ("/mcp", None),
        ("/mcp", Some("Bearer something else")),
        ("/mcp", Some(&*bearer(1))),
        ("/admin/v1/keys", Some("Bearer something else")),
        ("/admin/v1/keys", Some(&*bearer(2))),
    ] {
        stage.age(MOMENT);
        let status = stage.status(path, authorization).await;
        assert!([401, 404].contains(&status), "{path} {status}");
        assert_eq!(stage.asked(), 0, "{path} {authorization:?}");
    }
}
