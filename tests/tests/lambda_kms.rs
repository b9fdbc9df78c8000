//! The function whose users' connections lie sealed under keys that KMS wraps, which an emulator stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::aws::{Emulator, Fault, Flaky};
use portcullis_tests::consent::Connected;
use portcullis_tests::gateway::{Builder, Host};
use portcullis_tests::http::Request;
use portcullis_tests::provider::Provider;
use portcullis_tests::stand_in::of;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wait;
use serde_json::{Value, json};

const VARIABLE: &str = "PORTCULLIS_CONNECTION_KMS_KEY";

/// KMS with a key of a test's own, and the table that a function's environments share.
struct Place {
    key: String,
    table: String,
    is_away: Arc<AtomicBool>,
    way: Flaky,
}

impl Place {
    fn new() -> Self {
        let emulator = Emulator::shared();
        let is_away = Arc::<AtomicBool>::default();
        let fate = {
            let is_away = is_away.clone();
            move |_: &_| if is_away.load(Ordering::SeqCst) { Fault::Lost } else { Fault::None }
        };
        Self { key: emulator.kms_key(), table: emulator.table(), is_away, way: Flaky::before(emulator, fate) }
    }

    /// A function whose way to KMS is this one, and which is not told of a key yet.
    fn set_up(&self, function: Builder) -> Builder {
        function.on(Host::Lambda).sharing(&self.table).env("AWS_ENDPOINT_URL_KMS", &self.way.url())
    }

    /// The one connection of a user that there is, as it lies in the table.
    fn connection(&self) -> Value {
        let found = Emulator::shared().ask("Scan", &json!({ "TableName": self.table }));
        let is_one = |item: &&Value| {
            let record = item["record"]["S"].as_str().unwrap_or_default();
            of(&item["pk"], "S").starts_with("connection#") && record.contains("user:corp:ann")
        };
        let items = found["Items"].as_array().expect("items").iter().filter(is_one).collect::<Vec<_>>();
        let [only] = items[..] else { panic!("{items:?}") };
        only.clone()
    }

    fn sealed(&self) -> String {
        of(&self.connection()["sealed"], "S")
    }
}

#[test]
fn a_connection_is_sealed_under_a_key_that_kms_wraps_for_it_alone() {
    let place = Place::new();
    let granting = Provider::start();
    let server = Upstream::protected(2, granting.issuer());
    let user = Connected::at(&server, |function| place.set_up(function).env(VARIABLE, &place.key));
    let own = format!("ann of {}", granting.issuer());
    let busy = || {
        let told = Request::get(&user.front.gateway.url_of("/.function/environments")).send().json();
        let told = told.as_array().expect("a list").clone();
        told.iter().filter(|one| one["requests"].as_u64() > Some(0)).count()
    };
    user.front.gateway.begin_anew();
    wait::expect("two environments that have never seen its user", || {
        assert_eq!(user.whoami(), own, "{}", user.front.gateway.log());
        busy() >= 2
    });

    let connection = place.connection();
    let sealed = of(&connection["sealed"], "S");
    let wrapped = sealed.strip_prefix("1.kms:").and_then(|rest| rest.split_once('.'));
    let (wrapped, _) = wrapped.unwrap_or_else(|| panic!("{sealed}"));
    let digest = |name: &str| of(&connection[name], "S").rsplit_once('#').expect("a key").1.to_owned();
    let opening = |context: Value| {
        // As KMS takes it: with the other alphabet, and padded.
        let blob = wrapped.replace('-', "+").replace('_', "/");
        let blob = format!("{blob}{}", "=".repeat((4 - blob.len() % 4) % 4));
        json!({ "CiphertextBlob": blob, "KeyId": place.key, "EncryptionContext": context })
    };
    let context =
        json!({ "portcullis": "connection", "principal": digest("pk"), "connection": digest("sk") });
    let opened = Emulator::shared().ask_kms("Decrypt", &opening(context.clone()));
    assert_eq!(of(&opened, "Plaintext").len(), 44, "32 bytes");
    for (name, value) in
        [("principal", digest("sk")), ("connection", digest("pk")), ("portcullis", "secret".into())]
    {
        let mut other = context.clone();
        other[name] = value.into();
        let refused = Emulator::shared().refusal_of_kms("Decrypt", &opening(other));
        assert!(refused.ends_with("InvalidCiphertextException"), "{refused}");
    }
    let said = user.front.gateway.log();
    assert!(!said.contains(wrapped) && !said.contains(&of(&opened, "Plaintext")));
}

#[test]
fn connections_of_before_open_and_kms_that_is_away_locks_nobody_out() {
    let place = Place::new();
    // Each token is due at once, so that there is something to write.
    let granting = Provider::of_short_tokens(2);
    let server = Upstream::protected(2, granting.issuer());
    let mut user = Connected::at(&server, |function| place.set_up(function));
    assert!(!place.sealed().contains("kms:"), "{}", place.sealed());
    assert_eq!(place.way.asked(), 0);

    user.front.gateway.restart_with(VARIABLE, &place.key);
    let own = format!("ann of {}", granting.issuer());
    wait::expect("its key to be wrapped by KMS", || {
        assert_eq!(user.whoami(), own, "{}", user.front.gateway.log());
        place.sealed().starts_with("1.kms:")
    });

    place.is_away.store(true, Ordering::SeqCst);
    let (before, asked) = (place.connection(), granting.asked("refresh"));
    let is_clear =
        |said: &str| said.contains("the store of connections has its keys in KMS, which is out of reach");
    wait::expect("its token to be due", || {
        let said = user.whoami();
        assert!(is_clear(&said) || said == own, "{said}");
        is_clear(&said)
    });
    // Those that come next have opened nothing, and do not know the server.
    user.front.gateway.begin_anew();
    let said = user.whoami();
    assert!(is_clear(&said), "{said}");
    assert_eq!((place.connection(), granting.asked("refresh")), (before, asked), "nothing has changed");
    place.is_away.store(false, Ordering::SeqCst);
    wait::expect("its calls to go on", || user.whoami() == own);
    assert_eq!(granting.asked("revoked"), 0);
}
