//! A user who is asked for an account in the middle of a call: their agent calls, they visit a page, and it calls again.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::browser::Browser;
use crate::gateway::{Builder, Gateway};
use crate::http::Request;
use crate::provider::Provider;
use crate::stand_in::{StandIn, of};
use crate::upstream::Upstream;

/// What is configured for a server that takes tokens alone: it is called `s`.
pub fn servers(server: &Upstream) -> Value {
    json!({ "s": { "url": server.url(), "auth": { "oauth": {} } } })
}

/// An agent that can have its user visit pages.
pub fn agent(gateway: &Gateway) -> Agent {
    Agent::modern(gateway.url()).capabilities(json!({ "elicitation": { "url": {} } }))
}

/// Calls the server's tool; answers the result.
pub fn ask(agent: &Agent) -> Value {
    agent.result("tools/call", json!({ "name": "s__whoami", "arguments": {} }))
}

/// Calls again as somebody who has visited the page.
pub fn ask_again(agent: &Agent, asked: &Value) -> Value {
    let answers = json!({ "connect": { "action": "accept" } });
    let state = &asked["requestState"];
    let params =
        json!({ "name": "s__whoami", "arguments": {}, "inputResponses": answers, "requestState": state });
    agent.result("tools/call", params)
}

/// Where the user of an agent is to go.
#[track_caller]
pub fn link(asked: &Value) -> String {
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let question = &asked["inputRequests"]["connect"];
    assert_eq!(
        (&question["method"], &question["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url"))
    );
    of(&question["params"], "url")
}

/// Somebody who has signed in at a gateway and is connected at a server, whose agent calls.
#[derive(Debug)]
pub struct Connected {
    /// The gateway, where people sign in.
    pub front: StandIn,
    /// Their agent.
    pub agent: Agent,
    browser: Browser,
}

impl Connected {
    /// Connects somebody at a server, at a gateway that is set up further.
    pub fn at(server: &Upstream, further: impl FnOnce(Builder) -> Builder) -> Self {
        let front = StandIn::set_up(Provider::behind, &servers(server), further);
        let client = front.register(1);
        let mut browser = Browser::default();
        let back = front.sign_in(&client, 1, |url| browser.sign_in(url));
        let agent = agent(&front.gateway).bearer(&of(&front.redeem(&client, &back), "access_token"));
        let mut connected = Self { front, agent, browser };
        let asked = connected.ask();
        connected.consent(&asked);
        connected
    }

    /// The request of a call.
    pub fn call(&self) -> Request {
        self.agent.post("tools/call", json!({ "name": "s__whoami", "arguments": {} }))
    }

    /// Calls.
    pub fn ask(&self) -> Value {
        self.agent.ask("tools/call", json!({ "name": "s__whoami", "arguments": {} }))
    }

    /// Goes where a call has asked them to.
    #[track_caller]
    pub fn consent(&mut self, asked: &Value) {
        let page = self.browser.visit(&link(&asked["result"]));
        assert!(page.contains("<title>Connected</title>"), "{page}");
    }

    /// Calls, and answers as whom at the server; or else what came instead.
    pub fn whoami(&self) -> String {
        let said = self.ask();
        said["result"]["content"][0]["text"].as_str().map_or_else(|| said.to_string(), str::to_owned)
    }
}
