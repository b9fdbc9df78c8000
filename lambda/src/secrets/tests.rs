//! Secrets against an emulator of Secrets Manager, and on a way to it on which requests are throttled, refused and lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::ports::SecretStore as _;
use portcullis_core::secrets::{Replacing, Secret, SecretName};
use portcullis_core::{AdminKey, SealKeys, testing};
use portcullis_tests::aws::{Asked, Emulator, Fault, Flaky};
use serde_json::{Value, json};

use super::Manager;
use super::own::{Origin, Own};
use super::store::Store;
use crate::aws::Account;

/// A prefix of a test's own.
fn prefix() -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    format!("{}-{}/servers/", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

fn manager(url: String) -> Arc<Manager> {
    Arc::new(Manager::new(Account::of_emulator(url)))
}

/// The secrets of a prefix, as one environment has them.
fn store(prefix: &str) -> Store {
    Store::new(manager(Emulator::of_secrets().url().to_owned()), prefix.to_owned(), None)
}

/// The same on a way on which things go wrong.
fn flaky(prefix: &str, fate: impl FnMut(&Asked) -> Fault + Send + 'static) -> (Store, Flaky) {
    let flaky = Flaky::before(Emulator::of_secrets(), fate);
    (Store::new(manager(flaky.url()), prefix.to_owned(), None), flaky)
}

/// Lets this happen to every request of an operation.
fn at(operation: &'static str, fault: Fault) -> impl FnMut(&Asked) -> Fault + Send {
    move |asked| if asked.operation == operation { fault.clone() } else { Fault::None }
}

fn ask(operation: &str, what: &Value) -> Value {
    Emulator::of_secrets().ask_secrets(operation, what)
}

fn name(name: &str) -> SecretName {
    SecretName::parse(name).unwrap()
}

fn secret(value: &str) -> Secret {
    Secret::new(value.into()).unwrap()
}

async fn set(store: &Store, value: &str, replacing: Replacing) -> Result<String, String> {
    let record = store.set(name("a"), secret(value), replacing, 1).await;
    record.map(|record| record.map_or("none".into(), |record| record.version)).map_err(|error| error.0)
}

/// Shows the two values of the secret `a`, or why there are none.
async fn values(store: &Store) -> String {
    match store.values(name("a")).await {
        Ok(None) => "none".into(),
        Ok(Some(values)) => {
            let previous = values.previous.as_ref().map_or("-", Secret::reveal);
            format!("{} {previous}", values.current.reveal())
        }
        Err(error) => error.0,
    }
}

#[tokio::test]
async fn it_keeps_what_stores_of_secrets_have_to_keep() {
    testing::secret_store(&store(&prefix())).await;
}

#[tokio::test]
async fn it_does_so_where_every_other_request_is_throttled() {
    let throttle = |asked: &Asked| {
        if asked.number.is_multiple_of(2) { Fault::Error("ThrottlingException") } else { Fault::None }
    };
    let (store, flaky) = flaky(&prefix(), throttle);
    testing::secret_store(&store).await;
    assert!(flaky.asked() > 40, "{}", flaky.asked());
}

#[tokio::test]
async fn an_answer_that_is_lost_sets_nothing_twice() {
    let prefix = prefix();
    let mut is_over = false;
    let lose = move |asked: &Asked| {
        let is_first = asked.operation == "PutSecretValue" && !std::mem::replace(&mut is_over, true);
        if is_first { Fault::AnswerLost } else { Fault::None }
    };
    let (store, _flaky) = flaky(&prefix, lose);
    set(&store, "one", Replacing::AtOnce).await.unwrap();
    set(&store, "two", Replacing::Rotating).await.unwrap();
    assert_eq!(values(&store).await, "two one");
}

#[tokio::test]
async fn a_rotation_by_somebody_else_has_both_values() {
    let prefix = prefix();
    let store = store(&prefix);
    let id = format!("{prefix}a");
    ask("CreateSecret", &json!({ "Name": id, "SecretString": "one" }));
    assert_eq!(values(&store).await, "one -");
    ask("PutSecretValue", &json!({ "SecretId": id, "SecretString": "two" }));
    assert_eq!(values(&store).await, "two one");
    set(&store, "three", Replacing::Rotating).await.unwrap();
    assert_eq!(values(&store).await, "three two");
    set(&store, "four", Replacing::AtOnce).await.unwrap();
    assert_eq!(values(&store).await, "four -");
}

#[tokio::test]
async fn a_removed_secret_is_gone_until_it_is_set_again_and_has_no_former_value_then() {
    let prefix = prefix();
    let store = store(&prefix);
    set(&store, "one", Replacing::AtOnce).await.unwrap();
    assert_eq!(store.remove(name("a")).await, Ok(true));
    let described = ask("DescribeSecret", &json!({ "SecretId": format!("{prefix}a") }));
    assert!(described["DeletedDate"].is_number(), "it can be restored: {described}");
    assert_eq!(values(&store).await, "none");
    assert_eq!(store.list().await, Ok(Vec::new()));
    assert_eq!(set(&store, "two", Replacing::Rotating).await.as_deref(), Ok("none"));
    assert_eq!(values(&store).await, "none", "a rotation restores nothing");
    set(&store, "two", Replacing::AtOnce).await.unwrap();
    assert_eq!(values(&store).await, "two -");
    assert_eq!(store.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_set_again_stays_removed() {
    let prefix = prefix();
    set(&store(&prefix), "one", Replacing::AtOnce).await.unwrap();
    store(&prefix).remove(name("a")).await.unwrap();
    let (denied, _flaky) = flaky(&prefix, at("PutSecretValue", Fault::Error("AccessDeniedException")));
    let error = set(&denied, "two", Replacing::AtOnce).await.unwrap_err();
    assert!(error.contains("secretsmanager:PutSecretValue"), "{error}");
    assert_eq!(values(&store(&prefix)).await, "none");
}

#[tokio::test]
async fn all_pages_are_listed_and_nothing_beside_the_prefix() {
    let prefix = prefix();
    for number in 0..205 {
        let id = format!("{prefix}{number:03}");
        ask("CreateSecret", &json!({ "Name": id, "SecretString": "x" }));
    }
    for beside in
        [format!("x{prefix}a"), format!("{prefix}.no-name"), prefix.replace("/servers/", "/gateway/a")]
    {
        ask("CreateSecret", &json!({ "Name": beside, "SecretString": "x" }));
    }
    ask("CreateSecret", &json!({ "Name": format!("{prefix}without-value") }));
    let (store, flaky) = flaky(&prefix, |_| Fault::None);
    let names: Vec<_> =
        store.list().await.unwrap().into_iter().map(|record| String::from(record.name)).collect();
    assert_eq!(names, (0..205).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    assert_eq!(flaky.asked(), 3, "pages");
}

#[tokio::test]
async fn every_error_says_what_to_do_and_nothing_secret() {
    let prefix = prefix();
    set(&store(&prefix), "zx-31415926", Replacing::AtOnce).await.unwrap();
    let read = async |fault: Fault| {
        let (store, _flaky) = flaky(&prefix, at("GetSecretValue", fault));
        values(&store).await
    };
    insta::assert_snapshot!(read(Fault::Error("AccessDeniedException")).await, @"Secrets Manager refuses: the function's role needs secretsmanager:GetSecretValue for the secret");
    insta::assert_snapshot!(read(Fault::Error("DecryptionFailure")).await, @"Secrets Manager answers DecryptionFailure to GetSecretValue");
    insta::assert_snapshot!(read(Fault::Lost).await, @"Secrets Manager is out of reach");

    let write = async |operation, fault: Fault| {
        let (store, _flaky) = flaky(&prefix, at(operation, fault));
        set(&store, "zx-27182818", Replacing::AtOnce).await.unwrap_err()
    };
    insta::assert_snapshot!(write("PutSecretValue", Fault::Error("AccessDeniedException")).await, @"Secrets Manager refuses: the function's role needs secretsmanager:PutSecretValue for the secret");
    insta::assert_snapshot!(write("UpdateSecretVersionStage", Fault::Error("InvalidParameterException")).await, @"Secrets Manager answers InvalidParameterException to UpdateSecretVersionStage; the new value is in force, and the one before is still kept: set it once more");
    let (store, _flaky) = flaky(&prefix, at("ListSecrets", Fault::Error("AccessDeniedException")));
    insta::assert_snapshot!(store.list().await.unwrap_err().0, @"Secrets Manager refuses: the function's role needs secretsmanager:ListSecrets for the secret");
}

#[tokio::test]
async fn a_value_that_is_no_text_is_said_to_be_none() {
    let prefix = prefix();
    let put = |value: Value| {
        let mut what = json!({ "SecretId": format!("{prefix}a") });
        what.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        ask("PutSecretValue", &what);
    };
    ask("CreateSecret", &json!({ "Name": format!("{prefix}a"), "SecretString": "x" }));
    put(json!({ "SecretBinary": "eA==" }));
    insta::assert_snapshot!(values(&store(&prefix)).await, @"Secrets Manager has a value that cannot be used: it is binary; put it as a text");
    put(json!({ "SecretString": "a\0b" }));
    insta::assert_snapshot!(values(&store(&prefix)).await, @"Secrets Manager has a value that cannot be used: the value contains a NUL character");
}

/// The two seal keys of the tests, as AWS makes the first one: 42 letters or digits, and `A=`.
const SEALS: [&str; 2] =
    ["k3Zq0b8T1xYc5LrWm9GvN2sHpD7fJ4aE6uKiQoXthVA=", "zZ9yY8xX7wW6vV5uU4tT3sS2rR1qQ0pPoOnNmMlLkKA="];

fn kept(prefix: &str) -> Own {
    let secret = |name: &str| format!("{prefix}{name}");
    Own { seal_keys: Origin::Secret(secret("seal")), admin_key: Some(Origin::Secret(secret("admin"))) }
}

/// Shows which of the keys there are: the one that seals first.
async fn own(prefix: &str) -> String {
    let read = kept(prefix).read(Some(&manager(Emulator::of_secrets().url().to_owned()))).await;
    let known = |key: &[u8; 32]| {
        let found = SEALS.iter().position(|text| SealKeys::parse(text).unwrap().first == *key);
        found.map_or("?".to_owned(), |number| number.to_string())
    };
    match read {
        Ok(keys) => {
            let all = std::iter::once(&keys.seal_keys.first).chain(&keys.seal_keys.others);
            all.map(known).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn a_seal_key_that_was_rotated_still_opens() {
    let prefix = prefix();
    let [seal, admin] = ["seal", "admin"].map(|name| format!("{prefix}{name}"));
    insta::assert_snapshot!(own(&prefix).await, @"PORTCULLIS_SEAL_KEY_SECRET: there is no such secret, or it has no value");
    ask("CreateSecret", &json!({ "Name": seal, "SecretString": SEALS[0] }));
    insta::assert_snapshot!(own(&prefix).await, @"PORTCULLIS_ADMIN_KEY_SECRET: there is no such secret, or it has no value");
    ask("CreateSecret", &json!({ "Name": admin, "SecretString": " \n" }));
    insta::assert_snapshot!(own(&prefix).await, @"PORTCULLIS_ADMIN_KEY_SECRET: the secret is blank");
    ask("PutSecretValue", &json!({ "SecretId": admin, "SecretString": "the admin's key" }));
    insta::assert_snapshot!(own(&prefix).await, @"0");
    let put = |value: &str| ask("PutSecretValue", &json!({ "SecretId": seal, "SecretString": value }));
    put(SEALS[1]);
    insta::assert_snapshot!(own(&prefix).await, @"1 0");
    put(&format!("{},{}", SEALS[0], SEALS[1]));
    insta::assert_snapshot!(own(&prefix).await, @"0 1");
    put("changeme");
    insta::assert_snapshot!(own(&prefix).await, @"PORTCULLIS_SEAL_KEY_SECRET: expected base64 of 32 bytes, several separated by commas; make one with `openssl rand -base64 32`");
    put(SEALS[1]);
    insta::assert_snapshot!(own(&prefix).await, @"1");
}

#[tokio::test]
async fn own_keys_that_cannot_be_read_are_named_by_their_variable() {
    for (fault, why) in [
        (Fault::Error("AccessDeniedException"), "needs secretsmanager:GetSecretValue"),
        (Fault::Lost, "out of reach"),
    ] {
        let flaky = Flaky::before(Emulator::of_secrets(), move |_| fault.clone());
        let error = kept("any/").read(Some(&manager(flaky.url()))).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("_KEY_SECRET: Secrets Manager") && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_asked_before_something_is_needed() {
    let flaky = Flaky::before(Emulator::of_secrets(), |_| Fault::None);
    let manager = manager(flaky.url());
    let store = Store::new(manager.clone(), prefix(), None);
    let given = Own {
        seal_keys: Origin::Given(SealKeys::parse(SEALS[0]).unwrap()),
        admin_key: AdminKey::new("the admin's key").map(Origin::Given),
    };
    assert!(!given.is_kept());
    let keys = given.read(Some(&manager)).await.unwrap();
    assert!(keys.admin_key.is_some() && manager.client.get().is_none());
    assert_eq!(flaky.asked(), 0);
    assert_eq!(values(&store).await, "none");
    assert_eq!(flaky.asked(), 2, "its two values");
}

#[tokio::test]
async fn new_secrets_have_the_deployments_key() {
    let prefix = prefix();
    let key = "arn:aws:kms:eu-west-1:123456789012:key/k";
    let manager = manager(Emulator::of_secrets().url().to_owned());
    set(&Store::new(manager, prefix.clone(), Some(key.to_owned())), "one", Replacing::AtOnce).await.unwrap();
    let described = ask("DescribeSecret", &json!({ "SecretId": format!("{prefix}a") }));
    assert_eq!(described["KmsKeyId"], key);
}
