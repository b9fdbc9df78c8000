//! The walkthrough for AWS: every command of it that needs no account is run, against the function behind what stands for
//! its platform, with a table in an emulator.
//!
//! That the package is built as the page says is checked by `tests/run lambda`, which builds it for this machine.

use portcullis_tests::aws::Emulator;
use portcullis_tests::gateway::{Gateway, Host, Readiness};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::walkthrough::Walkthrough;

/// Commands that need an account, or that something else runs, by their beginning.
const OTHERS: [&str; 4] = ["aws ", "bash infra/aws/build.sh", "sam ", "terraform "];

/// Where the page says that the function is.
const PLACE: &str = "https://portcullis.example.on.aws";

/// A function on a table of its own, as the stack sets it up.
fn function() -> Gateway {
    let emulator = Emulator::shared();
    let function = Gateway::with("").configured_remotely().until(Readiness::Listening).on(Host::Lambda);
    [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", emulator.url()),
        // Where the emulator makes tables.
        ("AWS_REGION", "eu-west-1"),
        ("PORTCULLIS_ADMIN_KEY", "try-it"),
        ("PORTCULLIS_INSECURE", ""),
        ("PORTCULLIS_TABLE", &emulator.table()),
    ]
    .into_iter()
    .fold(function, |function, (name, value)| function.env(name, value))
    .start()
}

#[test]
fn the_walkthrough_works() {
    let mut page = Walkthrough::read("docs/deploy-aws.md");
    let upstream = Upstream::fixture(&["--era", "modern"]);
    page.write(upstream.url());
    let function = function();
    page.is_at(&function.url_of(""), &[PLACE]);
    let commands = page.commands();
    let is_ours = |command: &&String| !OTHERS.iter().any(|other| command.starts_with(other));
    let ours: Vec<_> = commands.iter().filter(is_ours).collect();
    for command in &ours {
        page.follow(command);
    }
    assert!(ours.len() >= 8, "only {} commands were run", ours.len());
    for other in OTHERS {
        assert!(commands.iter().any(|command| command.starts_with(other)), "the page has no {other:?}");
    }
}
