//! The function behind another emulator of its platform: `cargo lambda watch`.

use std::net::TcpStream;
use std::process::Command;

use portcullis_tests::agent::Agent;
use portcullis_tests::process::Background;
use portcullis_tests::toolbox;
use portcullis_tests::upstream::{Upstream, free_port};
use portcullis_tests::wait;
use serde_json::json;

/// The function behind the emulator; both end with this.
struct Watched {
    url: String,
    _processes: [Background; 2],
}

impl Watched {
    fn before(upstream: &Upstream, answers: &str) -> Self {
        let folder = toolbox::scratch().keep();
        let origin = format!("http://127.0.0.1:{}", free_port());
        let (_, port) = origin.rsplit_once(':').expect("a port");
        let mut emulator = Command::new(toolbox::cargo_lambda());
        emulator.args([
            "lambda",
            "watch",
            "--only-lambda-apis",
            "-A",
            "127.0.0.1",
            "-P",
            port,
            "--manifest-path",
        ]);
        emulator.arg(toolbox::repository("lambda/Cargo.toml"));
        let emulator = Background::start(emulator.current_dir(&folder));
        let is_there = || TcpStream::connect(origin.trim_start_matches("http://")).ok();
        assert!(wait::until(wait::PATIENCE, is_there).is_some(), "it said:\n{}", emulator.log());

        let config = format!("version: 1\nservers:\n  s: {{ url: '{}' }}\n", upstream.url());
        std::fs::write(folder.join("portcullis.yaml"), config).expect("the folder can be written");
        let mut function = Command::new(toolbox::bootstrap());
        function.current_dir(&folder).envs([
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bootstrap"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_RUNTIME_API", &format!("{origin}/.rt/bootstrap")),
            ("PORTCULLIS_ANSWERS", answers),
            ("PORTCULLIS_CONFIG", "portcullis.yaml"),
            ("PORTCULLIS_INSECURE", "1"),
            ("PORTCULLIS_SEAL_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ]);
        let function = Background::start(&function);
        Self { url: format!("{origin}/lambda-url/bootstrap/mcp"), _processes: [emulator, function] }
    }
}

#[test]
fn both_eras_are_served_behind_cargo_lambda() {
    for (era, answers) in [("modern", "streamed"), ("legacy", "whole")] {
        let upstream = Upstream::fixture(&["--era", era]);
        let function = Watched::before(&upstream, answers);
        for agent in [Agent::modern(&function.url), Agent::legacy(&function.url)] {
            assert!(agent.tools().contains(&"s__echo".to_owned()));
            let answer = agent.call("s__echo", &json!({ "n": 1 }));
            assert_eq!(answer["structuredContent"], json!({ "n": 1 }), "{answer}");
        }
    }
}

#[test]
fn what_streams_arrives_while_the_call_goes_on() {
    let upstream = Upstream::fixture(&["--era", "modern"]);
    let function = Watched::before(&upstream, "streamed");
    let an_hour = json!({ "ms": 3_600_000 });
    let params = json!({ "name": "s__sleep", "arguments": an_hour, "_meta": { "progressToken": "p" } });
    let mut events = Agent::modern(&function.url).post("tools/call", params).send().events();
    let first = events.find(|event| !event.data.is_empty()).expect("an event").json();
    assert_eq!(first["method"], "notifications/progress", "{first}");
}
