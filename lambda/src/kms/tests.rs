//! Keys against an emulator of KMS, and on a way to it on which requests are refused and lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::oauth::connection::ConnectionKey;
use portcullis_core::ports::KeyWrap as _;
use portcullis_core::testing::{connection_key, key_wrap};
use portcullis_tests::aws::{Asked, Emulator, Fault, Flaky};

use super::Kms;
use crate::aws::Account;

/// Longer than an opened key is kept, in milliseconds.
const LATER: u64 = 10 * 60 * 1000;

/// What wraps under these keys, as one environment has it: it has opened nothing yet.
fn kms(url: String, keys: &[&str]) -> Kms {
    kms_at(url, keys, &Arc::default())
}

fn kms_at(url: String, keys: &[&str], clock: &Arc<AtomicU64>) -> Kms {
    let (keys, clock) = (keys.iter().map(|key| (*key).to_owned()).collect(), clock.clone());
    Kms::new(Account::of_emulator(url), keys, move || clock.load(Ordering::SeqCst))
}

fn emulator() -> String {
    Emulator::shared().url().to_owned()
}

fn flaky(fate: impl FnMut(&Asked) -> Fault + Send + 'static) -> Flaky {
    Flaky::before(Emulator::shared(), fate)
}

fn ana() -> ConnectionKey {
    connection_key("ana@example.com", "tickets")
}

/// Shows what becomes of opening a key of a connection.
async fn opens(kms: &Kms, key: ConnectionKey, wrapped: &str) -> String {
    match kms.unwrap(key, wrapped.to_owned()).await {
        Ok(Some(_)) => "opens".into(),
        Ok(None) => "lost".into(),
        Err(error) => error.0,
    }
}

#[tokio::test]
async fn it_wraps_keys_as_keys_have_to_be_wrapped() {
    key_wrap(&kms(emulator(), &[&Emulator::shared().kms_key()])).await;
}

#[tokio::test]
async fn what_one_environment_wraps_another_opens_for_the_same_connection() {
    let key = Emulator::shared().kms_key();
    let made = kms(emulator(), &[&key]).generate(ana()).await.unwrap();
    let other = kms(emulator(), &[&key]);
    assert_eq!(other.unwrap(ana(), made.wrapped.clone()).await.unwrap().unwrap().plain, made.plain);
    assert_eq!(
        opens(&kms(emulator(), &[&key]), connection_key("bob", "tickets"), &made.wrapped).await,
        "lost"
    );
}

#[tokio::test]
async fn aws_is_told_whose_key_it_is_and_nobodys_name() {
    let (key, told) = (Emulator::shared().kms_key(), Arc::<std::sync::Mutex<Vec<_>>>::default());
    let way = flaky({
        let told = told.clone();
        move |asked| {
            told.lock().unwrap().push((asked.operation.clone(), asked.what["EncryptionContext"].clone()));
            Fault::None
        }
    });
    let made = kms(way.url(), &[&key]).generate(ana()).await.unwrap();
    assert_eq!(opens(&kms(way.url(), &[&key]), ana(), &made.wrapped).await, "opens");
    let told = told.lock().unwrap().clone();
    assert_eq!(
        told.iter().map(|(operation, _)| &**operation).collect::<Vec<_>>(),
        ["GenerateDataKey", "Decrypt"]
    );
    assert_eq!(told[0].1, told[1].1);
    let context = told[0].1.to_string();
    assert!(!context.contains("ana") && context.contains(r#""portcullis":"connection""#), "{context}");
    assert!(context.contains(&ana().digest()), "{context}");
}

#[tokio::test]
async fn a_key_is_opened_once_in_minutes() {
    let (key, clock) = (Emulator::shared().kms_key(), Arc::default());
    let way = flaky(|_| Fault::None);
    let own = kms_at(way.url(), &[&key], &clock);
    let made = own.generate(ana()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(opens(&own, ana(), &made.wrapped).await, "opens");
    }
    assert_eq!(
        opens(&own, connection_key("bob", "tickets"), &made.wrapped).await,
        "lost",
        "what is kept is ana's"
    );
    assert_eq!(way.asked(), 2);
    clock.fetch_add(LATER, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(opens(&own, ana(), &made.wrapped).await, "opens");
    }
    assert_eq!(way.asked(), 3);
}

/// The emulator opens whatever key it is told to open with: here it is held to that key, as AWS does.
fn opening_with(key: &str) -> Flaky {
    let key = key.to_owned();
    flaky(move |asked| {
        let is_other = asked.operation == "Decrypt" && asked.what["KeyId"] != *key;
        if is_other { Fault::Error("IncorrectKeyException") } else { Fault::None }
    })
}

#[tokio::test]
async fn another_key_wraps_and_the_one_before_opens() {
    let [old, new] = [(); 2].map(|()| Emulator::shared().kms_key());
    let made = kms(emulator(), &[&old]).generate(ana()).await.unwrap();
    let way = opening_with(&old);
    assert_eq!(opens(&kms(way.url(), &[&new, &old]), ana(), &made.wrapped).await, "opens");
    assert_eq!(opens(&kms(way.url(), &[&new]), ana(), &made.wrapped).await, "lost");
    let wrapped_with = Arc::<std::sync::Mutex<Vec<_>>>::default();
    let way = flaky({
        let wrapped_with = wrapped_with.clone();
        move |asked| {
            wrapped_with.lock().unwrap().push(asked.what["KeyId"].clone());
            Fault::None
        }
    });
    kms(way.url(), &[&new, &old]).generate(ana()).await.unwrap();
    assert_eq!(*wrapped_with.lock().unwrap(), [new]);
}

/// What becomes of opening a key where KMS answers like that.
async fn answered(fault: Fault) -> String {
    let key = Emulator::shared().kms_key();
    let made = kms(emulator(), &[&key]).generate(ana()).await.unwrap();
    let way = flaky(move |_| fault.clone());
    opens(&kms(way.url(), &[&key]), ana(), &made.wrapped).await
}

#[tokio::test]
async fn only_what_is_said_for_good_makes_a_key_lost() {
    let answered_with = async |name| answered(Fault::Error(name)).await;
    assert_eq!(answered_with("InvalidCiphertextException").await, "lost");
    assert_eq!(answered_with("IncorrectKeyException").await, "lost");
    insta::assert_snapshot!(answered_with("AccessDeniedException").await, @"has its keys in KMS, which refuses: the function's role needs kms:Decrypt for the key that PORTCULLIS_CONNECTION_KMS_KEY names");
    insta::assert_snapshot!(answered_with("DisabledException").await, @"has its keys in KMS, which cannot use them for now: a key that PORTCULLIS_CONNECTION_KMS_KEY names is disabled or to be deleted");
    insta::assert_snapshot!(answered_with("KMSInvalidStateException").await, @"has its keys in KMS, which cannot use them for now: a key that PORTCULLIS_CONNECTION_KMS_KEY names is disabled or to be deleted");
    insta::assert_snapshot!(answered_with("NotFoundException").await, @"has its keys in KMS, which does not know a key that PORTCULLIS_CONNECTION_KMS_KEY names");
    insta::assert_snapshot!(answered_with("KeyUnavailableException").await, @"has its keys in KMS, which answers KeyUnavailableException to Decrypt");
    insta::assert_snapshot!(answered(Fault::Lost).await, @"has its keys in KMS, which is out of reach");
}

#[tokio::test]
async fn what_is_throttled_or_lost_once_is_tried_again() {
    let key = Emulator::shared().kms_key();
    for fault in
        [Fault::Error("ThrottlingException"), Fault::Error("InternalFailure"), Fault::AnswerLost, Fault::Lost]
    {
        let way =
            flaky(move |asked| if asked.number.is_multiple_of(2) { fault.clone() } else { Fault::None });
        let made = kms(way.url(), &[&key]).generate(ana()).await.unwrap();
        assert_eq!(opens(&kms(way.url(), &[&key]), ana(), &made.wrapped).await, "opens");
    }
}

#[tokio::test]
async fn a_key_that_is_disabled_opens_again_once_it_is_enabled() {
    let key = Emulator::shared().kms_key();
    let made = kms(emulator(), &[&key]).generate(ana()).await.unwrap();
    let tell = |operation| Emulator::shared().ask_kms(operation, &serde_json::json!({ "KeyId": key }));
    tell("DisableKey");
    let said = opens(&kms(emulator(), &[&key]), ana(), &made.wrapped).await;
    assert!(said.contains("cannot use them for now"), "{said}");
    tell("EnableKey");
    assert_eq!(opens(&kms(emulator(), &[&key]), ana(), &made.wrapped).await, "opens");
}

#[tokio::test]
async fn nothing_is_asked_of_what_was_not_wrapped_here() {
    let way = flaky(|_| Fault::None);
    let own = kms(way.url(), &["alias/none"]);
    for odd in ["", "kms:", "kms:!", "AAAA", &format!("kms:{}", "A".repeat(10_000))] {
        assert_eq!(opens(&own, ana(), odd).await, "lost");
    }
    assert_eq!(way.asked(), 0);
}
