//! The seal key in the keyring of the operating system: GNOME's, on a session bus of the test's own.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::gateway::{Builder, Gateway, Host, Readiness};
use portcullis_tests::keyring::{ADDRESS, Session};
use portcullis_tests::process::{self, Finished};
use portcullis_tests::scenario::text;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{toolbox, wait};
use serde_json::json;

/// Sets a secret in this data folder, where the seal key is as `setting` says.
fn set_secret(session: &Session, name: &str, data: &Path, setting: Option<&str>) -> Finished {
    let mut command = Command::new(toolbox::gateway());
    command.args(["secrets", "set", name, "--data-dir"]).arg(data);
    command.env(ADDRESS, &session.address).env_remove("PORTCULLIS_SEAL_KEY");
    command.envs(setting.map(|setting| ("PORTCULLIS_SEAL_KEY", setting)));
    process::run(command, b"zx-31415926", wait::PATIENCE)
}

/// A gateway with a server that demands a key, which is a secret.
fn gateway(session: &Session, server: &Upstream) -> Builder {
    let auth = json!({ "header": { "name": "X-Key", "value": { "secret": "k" } } });
    let config = json!({ "version": 1, "servers": { "s": { "url": server.url(), "auth": auth } } });
    Gateway::with(&config.to_string())
        .on(Host::Local)
        .env(ADDRESS, &session.address)
        .env("PORTCULLIS_SEAL_KEY", "keyring")
        .until(Readiness::Ready)
}

#[track_caller]
fn check(ran: &Finished, code: i32, says: &str) {
    assert_eq!(ran.code(), Some(code), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(says) || ran.stderr.contains(says), "{}{}", ran.stdout, ran.stderr);
}

fn seal_key(data: &Path) -> String {
    fs::read_to_string(data.join("seal.key")).expect("there is a seal key, or what stands in its place")
}

/// Tells whether a file of the folder has this text in it.
fn holds(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder).expect("the data folder is there").flatten().map(|entry| entry.path());
    let mut files = files.filter(|path| path.is_file());
    files.any(|file| {
        let bytes = fs::read(&file).expect("the file can be read");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_folders_key_moves_to_the_keyring_and_opens_what_it_sealed() {
    let session = Session::new();
    let _keyring = session.unlocked();
    let folder = toolbox::scratch();
    let key = folder.path().join("key").display().to_string();
    fs::write(&key, "zx-31415926").expect("the test's folder can be written to");
    let server = Upstream::fixture(&["--key-file", &key]);
    let gateway = gateway(&session, &server);
    let data = gateway.folder().join("data");
    check(&set_secret(&session, "k", &data, None), 0, "is set");
    let before = seal_key(&data);

    let gateway = gateway.start();
    assert_eq!(gateway.data_dir(), data);
    let answer = Agent::modern(gateway.url()).call("s__echo", &json!({ "message": "hello" }));
    assert!(text(&answer).contains("hello"), "{answer}\n{}", gateway.log());
    assert!(seal_key(&data).starts_with("keyring:"), "{}", seal_key(&data));
    assert!(!holds(&data, &before));
    let doctor = gateway.cli(&["doctor"]);
    for says in ["ok       seal key: in this user's keyring", "ok       server s: speaks"] {
        assert!(doctor.stdout.contains(says), "{}{}", doctor.stdout, doctor.stderr);
    }
}

#[test]
fn where_the_keyring_does_not_give_the_key_nothing_is_lost() {
    let session = Session::new();
    let data = toolbox::scratch();
    let data = data.path();
    check(&set_secret(&session, "k", data, Some("keyring")), 1, "no keyring can be reached");
    assert!(!data.join("seal.key").exists());

    let keyring = session.unlocked();
    check(&set_secret(&session, "k", data, Some("keyring")), 0, "is set, version 1");
    let stands_there = seal_key(data);
    // What stands in the folder is enough from now on.
    check(&set_secret(&session, "k", data, None), 0, "is set, version 2");
    session.end(keyring);

    check(&set_secret(&session, "k", data, None), 1, "no keyring can be reached");
    let keyring = session.locked();
    check(&set_secret(&session, "k", data, None), 1, "the keyring is locked: unlock it, and start again");
    session.end(keyring);
    assert_eq!(seal_key(data), stands_there);

    let keyring = session.unlocked();
    check(&set_secret(&session, "k", data, None), 0, "is set, version 3");
    session.end(keyring);
    fs::remove_dir_all(session.home.path().join(".local/share/keyrings")).expect("the keyring lies there");
    let _other = session.unlocked();
    check(&set_secret(&session, "k", data, None), 1, "should be in the keyring");
    assert_eq!(seal_key(data), stands_there);
}

#[test]
fn the_keyrings_key_is_one_of_several() {
    let session = Session::new();
    let _keyring = session.unlocked();
    let data = toolbox::scratch();
    let other = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    check(&set_secret(&session, "k", data.path(), Some(other)), 0, "version 1");
    check(&set_secret(&session, "k", data.path(), Some(&format!("keyring, {other}"))), 0, "version 2");
    let wrong = set_secret(&session, "k", data.path(), Some("keychain"));
    check(&wrong, 1, "PORTCULLIS_SEAL_KEY (or the word `keyring`)");
}
