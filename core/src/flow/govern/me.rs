//! Who asks, and what this gateway is.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::body::Reply;
use crate::control::Managed;
use crate::control::answer::{answer, moment};
use crate::flow::control::Asked;
use crate::gateway::Gateway;
use crate::oauth::resource;
use crate::ports::{Host, Place};
use crate::upstream::lock;

impl<H: Host> Gateway<H> {
    pub(super) fn show_me(&self, asked: &Asked<'_>) -> Reply {
        let operator = asked.operator;
        let mut said = json!({
            "principal": operator.principal,
            "role": operator.role,
            "agents": operator.agents,
            "gateway": self.described_gateway(),
            "sign_in": self.snapshot().config.console.sign_in.is_some(),
        });
        if let Some(name) = &operator.name {
            said["name"] = json!(name);
        }
        answer(StatusCode::OK, &said)
    }

    fn described_gateway(&self) -> Value {
        let snapshot = self.snapshot();
        let mut said = Map::new();
        said.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        let host = match self.host().place() {
            Place::Process => "local",
            Place::Owner | Place::Isolate => "worker",
            Place::Function => "function",
        };
        said.insert("host".into(), host.into());
        match &*lock(&self.0.managed) {
            Managed::ByStore(_) => said.insert("configured_by".into(), "store".into()),
            Managed::ByFiles(source) => {
                said.insert("source".into(), source.as_str().into());
                said.insert("configured_by".into(), "files".into())
            }
        };
        if let Some(public) = &snapshot.config.gateway.public_url {
            said.insert("public_url".into(), resource::base(public).into());
        }
        // Where a clock stands still until the first request, that is no time.
        if snapshot.since > 0 {
            said.insert("started".into(), moment(snapshot.since).into());
        }
        Value::Object(said)
    }
}
