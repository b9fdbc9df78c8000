//! What tools there are, which of them an agent may call, and why.
//!
//! **To a member, what their agent may not call is not there.**

use http::StatusCode;
use serde_json::{Value, json};

use super::super::control::Asked;
use super::inventory::missing;
use crate::body::Reply;
use crate::catalog::{Kind, Route, Scope, View};
use crate::control::answer::{Fault, answer};
use crate::control::inventory::explained;
use crate::control::listing::Listing;
use crate::control::operations::Reach;
use crate::control::request::Question;
use crate::explain;
use crate::gateway::Gateway;
use crate::identity::{Somebody, suppose};
use crate::ports::{Host, Place};

impl<H: Host> Gateway<H> {
    pub(super) async fn show_tools(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &["agent", "server"])?;
        let agent = agent_of(listing.get("agent"), asked)?;
        let snapshot = self.snapshot();
        if self.host().place() != Place::Process {
            self.learn(&snapshot, &Scope::All, None).await;
        }
        let all = snapshot.view_of_everything();
        let own = agent.map(|agent| {
            let somebody = Somebody { agent: Some(agent), ..Somebody::default() };
            let who = suppose(&snapshot.config.policy, &snapshot.config.auth, &somebody);
            let who =
                who.map_err(|unknown| Fault::new(StatusCode::NOT_FOUND, "no-agent", unknown.to_string()))?;
            Ok::<_, Fault>(snapshot.view(&Scope::All, &who, &[], self.host().now()))
        });
        let own = own.transpose()?;
        let of_server = |route: &Route| {
            listing.get("server").is_none_or(|server| route.server.name.as_str().eq_ignore_ascii_case(server))
        };
        let mut items = Vec::new();
        for (name, route, text, is_withheld) in all.texts(Kind::Tools).filter(|tool| of_server(tool.1)) {
            let is_seen = own.as_ref().is_some_and(|own| own.find(Kind::Tools, name).is_some());
            if asked.reach == Reach::Own && !is_seen {
                continue;
            }
            let mut item = described((name, route), text, is_withheld);
            if let Some(own) = own.as_ref().filter(|_| asked.reach == Reach::All) {
                add_decision(&mut item, own, name);
            }
            items.push((format!("{}/{name}", route.server.name), item));
        }
        Ok(listing.answer(items))
    }

    pub(super) async fn explain_for(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let question = Question::read(asked.headers, &asked.body)?;
        let agent = agent_of(question.agent.as_deref(), asked)?;
        if self.host().place() != Place::Process {
            self.learn(&self.snapshot(), &Scope::All, None).await;
        }
        let who = Somebody { agent, client: question.client.as_deref(), tag: question.tag.as_deref() };
        let said = self.explain(&explain::Question {
            who,
            kind: question.kind,
            name: &question.name,
            arguments: question.arguments.as_deref(),
        });
        let said =
            said.map_err(|unknown| Fault::new(StatusCode::NOT_FOUND, "no-agent", unknown.to_string()))?;
        Ok(answer(StatusCode::OK, &explained(&said, &question.name, asked.reach)))
    }
}

/// Returns the agent that is asked about; a member asks about one of theirs, and need not name the only one.
pub(super) fn agent_of<'a>(named: Option<&'a str>, asked: &Asked<'a>) -> Result<Option<&'a str>, Fault> {
    if asked.reach == Reach::All {
        return Ok(named);
    }
    match (named, &*asked.operator.agents) {
        (Some(named), _) if asked.reaches_agent(named) => Ok(Some(named)),
        (Some(_), _) => Err(missing("agent")),
        (None, [only]) => Ok(Some(only)),
        (None, _) => Err(Fault::field("agent", "say which of your agents")),
    }
}

fn described((name, route): (&str, &Route), text: &str, is_withheld: bool) -> Value {
    let tool: Value = serde_json::from_str(text).unwrap_or_default();
    let mut said = json!({
        "name": name,
        "server": route.server.name.as_str(),
        "upstream_name": &*route.name,
        "variant": route.variant.is_some(),
        "withheld": is_withheld,
        "input_schema": tool.get("inputSchema").cloned().unwrap_or_else(|| json!({ "type": "object" })),
    });
    for key in ["title", "description"] {
        if let Some(text) = tool[key].as_str() {
            said[key] = text.into();
        }
    }
    if let Some(annotations) = tool.get("annotations") {
        said["annotations"] = annotations.clone();
    }
    said
}

fn add_decision(item: &mut Value, own: &View, name: &str) {
    let found = own.find(Kind::Tools, name);
    item["allowed"] = found.is_some().into();
    if let Some(found) = found {
        item["depends"] = found.depends.into();
        item["rule"] = (&**found.rule).into();
    } else {
        item["why"] = own.why_not(Kind::Tools, name).into();
    }
}
