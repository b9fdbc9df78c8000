//! A gateway with a policy. Its agents are told apart by a tag, or by a key; whoever is neither may do nothing.

use portcullis_tests::agent::{Agent, LEGACY};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::http::Response;
use portcullis_tests::scenario::with_id;
use portcullis_tests::wait;
use serde_json::{Value, json};

/// The header that carries a tag.
const TAG: &str = "x-lunar-consumer-tag";

/// A file with these servers, agents (each is known by its own name as a tag) and further sections.
pub(crate) fn governed(servers: &Value, agents: &Value, more: &Value) -> String {
    let mut file = json!({ "version": 1, "servers": servers, "auth": { "trust_tags": true } });
    for (name, agent) in agents.as_object().expect("agents by name") {
        file["agents"][name] = agent.clone();
        file["agents"][name]["match"] = json!([{ "tag": name }]);
    }
    file["agents"]["default"] = json!({ "deny": ["*"] });
    for (key, value) in more.as_object().into_iter().flatten() {
        file[key] = value.clone();
    }
    file.to_string()
}

/// A stateless agent of that tag.
pub(crate) fn modern(url: &str, tag: &str) -> Agent {
    Agent::modern(url).header(TAG, tag)
}

/// An agent of that tag in a session.
pub(crate) fn legacy(url: &str, tag: &str) -> Agent {
    modern(url, tag).handshake(LEGACY)
}

/// Both.
pub(crate) fn both(url: &str, tag: &str) -> [Agent; 2] {
    [modern(url, tag), legacy(url, tag)]
}

/// Puts another file in force, and waits until it is.
pub(crate) fn reload(gateway: &Gateway, file: &str) {
    let count = || gateway.log().matches("the configuration was read again").count();
    let before = count();
    gateway.write("portcullis.yaml", file);
    wait::expect("the policy is in force", || count() > before);
}

/// All that the answer to a request tells; its id is the same for all.
pub(crate) fn asked(agent: &Agent, method: &str, params: Value) -> String {
    told(with_id(agent.post(method, params), &json!(7)).send())
}

/// All that a response tells, but for its date.
pub(crate) fn told(response: Response) -> String {
    let headers =
        ["content-type", "content-length", "www-authenticate", "retry-after", "allow", "mcp-session-id"];
    let headers: Vec<_> = headers.iter().map(|name| response.header(name).map(str::to_owned)).collect();
    let status = response.status;
    format!("{status} {headers:?} {}", response.text())
}

/// A key for an agent, once the gateway takes it.
pub(crate) fn key(gateway: &Gateway, agent: &str) -> String {
    let made = gateway.cli(&["keys", "create", "--agent", agent, "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stderr));
    let key = made["key"].as_str().expect("a key").to_owned();
    gateway.begin_anew();
    let taken = || Agent::modern(gateway.url()).bearer(&key).post("nothing", json!({})).send().status != 401;
    wait::expect("the key is taken", taken);
    key
}
