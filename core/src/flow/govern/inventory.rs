//! What there is: servers, agents, groups and variants, as the configuration has them and as they are.
//!
//! **What is in force is told, and how it is written besides**: where the newest version was refused, the two differ.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::control::Asked;
use crate::body::Reply;
use crate::catalog::Scope;
use crate::config::{self, Agent, Section, Source, Variant, Written, written};
use crate::control::answer::{Fault, answer, tag};
use crate::control::evaluation::{Evaluation, newest};
use crate::control::inventory::{Known, agent, group, variant};
use crate::control::listing::Listing;
use crate::control::operations::Reach;
use crate::control::{Document, Managed};
use crate::endpoint;
use crate::gateway::{Gateway, Readiness, Snapshot};
use crate::identity::{Somebody, suppose};
use crate::names::ServerName;
use crate::ports::{Host, Place};
use crate::sorted::{self, SortedSet};
use crate::upstream::lock;

/// What is configured, and how it is written.
pub(super) struct Inventory {
    pub(super) snapshot: Arc<Snapshot>,
    sources: Vec<Source>,
    /// The newest version, where it is the store's.
    version: Option<u64>,
}

impl Inventory {
    fn written(&self, section: Section) -> Vec<Written> {
        written(&self.sources, section)
    }

    /// Returns the servers that some agent of these reaches.
    pub(super) fn reached<'a>(&self, agents: impl Iterator<Item = &'a str>) -> SortedSet<String> {
        let of = agents.filter_map(|name| self.known_as(name));
        of.flat_map(|agent| self.servers_of(&agent)).collect()
    }

    /// Returns the agent that somebody of this agent is.
    pub(super) fn known_as(&self, name: &str) -> Option<Arc<Agent>> {
        let config = &self.snapshot.config;
        let somebody = Somebody { agent: Some(name), ..Somebody::default() };
        Some(suppose(&config.policy, &config.auth, &somebody).ok()?.agent.clone())
    }

    fn servers_of(&self, agent: &Agent) -> Vec<String> {
        let rules = self.snapshot.acl.rules(agent.key());
        let names = self.snapshot.servers.keys().map(ToString::to_string);
        names.filter(|name| rules.may_reach(name)).collect()
    }

    fn server(&self, name: &str, readiness: &[Readiness], written: &[Written], reach: Reach) -> Value {
        let config = self.snapshot.config.servers.iter().find(|(known, _)| is_same(known.as_str(), name));
        let server = self.snapshot.servers.values().find(|server| is_same(server.name.as_str(), name));
        let known = Known {
            name,
            config: config.map(|(_, config)| config),
            server: server.map(|server| &**server),
            readiness: readiness.iter().find(|of| is_same(&of.server, name)),
            written: find(written, name),
        };
        known.described(reach)
    }

    /// Returns the name of every server, in force or not, as far as it concerns who asks.
    fn names_of_servers(
        &self,
        (readiness, written): (&[Readiness], &[Written]),
        asked: &Asked<'_>,
    ) -> Vec<String> {
        let in_force = readiness.iter().map(|of| of.server.clone());
        let configured = self.snapshot.config.servers.keys().map(ToString::to_string);
        let names = distinct(in_force.chain(configured).chain(written.iter().map(|of| of.name.clone())));
        if asked.reach == Reach::All {
            return names;
        }
        let reached = self.reached(asked.operator.agents.iter().map(|agent| &**agent));
        names.into_iter().filter(|name| reached.contains(name)).collect()
    }

    /// Describes each agent that concerns who asks.
    fn agents(&self, asked: &Asked<'_>) -> Vec<(String, Value)> {
        let written = self.written(Section::Agents);
        let policy = &self.snapshot.config.policy;
        let names = if asked.reach == Reach::Own {
            distinct(asked.operator.agents.iter().map(ToString::to_string))
        } else {
            let in_force = policy.agents.iter().chain([&policy.default]).map(|agent| agent.name.to_string());
            distinct(in_force.chain(written.iter().map(|of| of.name.clone())))
        };
        let describe = |name: String| {
            let own = policy.agents.iter().chain([&policy.default]).find(|agent| is_same(&agent.name, &name));
            let known = if asked.reach == Reach::Own { self.known_as(&name) } else { own.cloned() };
            let servers = known.map(|agent| self.servers_of(&agent)).unwrap_or_default();
            let servers: Vec<_> = servers.iter().map(String::as_str).collect();
            let item = agent(own.map(|own| &**own), &name, find(&written, &name), &servers, asked.reach);
            (name, item)
        };
        names.into_iter().map(describe).collect()
    }

    fn groups(&self) -> Vec<(String, Value)> {
        let written = self.written(Section::Groups);
        let groups = &self.snapshot.config.policy.groups;
        let in_force = groups.values().map(|group| group.name.clone());
        let describe = |name: String| {
            let of = groups.values().find(|group| is_same(&group.name, &name));
            let item = group(of, &name, find(&written, &name));
            (name, item)
        };
        distinct(in_force.chain(written.iter().map(|of| of.name.clone()))).into_iter().map(describe).collect()
    }

    fn variants(&self) -> Vec<(String, Value)> {
        let written = self.written(Section::Variants);
        let variants = &self.snapshot.config.variants;
        let named = |of: &Variant| format!("{}/{}", of.server, of.name);
        let in_force = variants.iter().map(named);
        let describe = |name: String| {
            let of = variants.iter().find(|of| is_same(&named(of), &name));
            let item = variant(of, &name, find(&written, &name));
            (name, item)
        };
        distinct(in_force.chain(written.iter().map(|of| of.name.clone()))).into_iter().map(describe).collect()
    }
}

impl<H: Host> Gateway<H> {
    /// Returns what is configured.
    pub(super) async fn inventory(&self) -> Result<Inventory, Fault> {
        let snapshot = self.snapshot();
        if self.host().place() != Place::Process {
            self.learn(&snapshot, &Scope::All, None).await;
        }
        let is_by_store = matches!(&*lock(&self.0.managed), Managed::ByStore(_));
        let Some(store) = self.host().configurations().filter(|_| is_by_store) else {
            let sources = snapshot.config.files.0.to_vec();
            return Ok(Inventory { snapshot, sources, version: None });
        };
        let newest = store.newest().await?;
        let sources = newest.as_ref().map(|newest| Document::kept(&newest.text).sources());
        let version = Some(newest.map_or(0, |newest| newest.stamp.version));
        Ok(Inventory { snapshot, sources: sources.unwrap_or_default(), version })
    }

    pub(super) async fn show_servers(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let inventory = self.inventory().await?;
        let (readiness, written) = (self.readiness(), inventory.written(Section::Servers));
        let names = inventory.names_of_servers((&readiness, &written), asked);
        let describe = |name: String| {
            let item = inventory.server(&name, &readiness, &written, asked.reach);
            (name, item)
        };
        Ok(tag(listing.answer(names.into_iter().map(describe).collect()), inventory.version))
    }

    pub(super) async fn show_server(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let name = decoded(asked)?;
        let inventory = self.inventory().await?;
        let (readiness, written) = (self.readiness(), inventory.written(Section::Servers));
        let names = inventory.names_of_servers((&readiness, &written), asked);
        let name = names.iter().find(|known| is_same(known, &name)).ok_or_else(|| missing("server"))?;
        let said = inventory.server(name, &readiness, &written, asked.reach);
        Ok(tag(answer(StatusCode::OK, &said), inventory.version))
    }

    pub(super) async fn show_hosted(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let (inventory, evaluations) = (self.inventory().await?, self.evaluations().await?);
        let (readiness, written) = (self.readiness(), inventory.written(Section::Servers));
        let servers = &inventory.snapshot.config.servers;
        let hosted = servers.iter().filter(|(_, config)| config.hosting().is_some());
        let describe = |(name, config): (&ServerName, &config::Server)| {
            let mut said = inventory.server(name.as_str(), &readiness, &written, Reach::All);
            let identity = config.identity();
            let evaluation = match &identity {
                Some(identity) => newest(&evaluations, identity),
                None => evaluations.iter().find(|one| is_same(one.server(), name.as_str())),
            };
            let mut item = json!({
                "name": name.as_str(),
                "status": said["status"].take(),
                "identity": identity,
                "host": said["settings"]["host"].take(),
                "evaluation": evaluation.map(Evaluation::summary),
            });
            if let Some(reason) = said["reason"].as_str() {
                item["reason"] = reason.into();
            }
            (name.to_string(), item)
        };
        Ok(tag(listing.answer(hosted.map(describe).collect()), inventory.version))
    }

    pub(super) async fn show_agents(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let inventory = self.inventory().await?;
        Ok(tag(listing.answer(inventory.agents(asked)), inventory.version))
    }

    pub(super) async fn show_agent(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let name = decoded(asked)?;
        let inventory = self.inventory().await?;
        let agents = inventory.agents(asked);
        let (_, said) =
            agents.iter().find(|(known, _)| is_same(known, &name)).ok_or_else(|| missing("agent"))?;
        Ok(tag(answer(StatusCode::OK, said), inventory.version))
    }

    pub(super) async fn show_groups(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let inventory = self.inventory().await?;
        Ok(tag(listing.answer(inventory.groups()), inventory.version))
    }

    pub(super) async fn show_group(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (name, inventory) = (decoded(asked)?, self.inventory().await?);
        Ok(tag(one_of(&inventory.groups(), &name)?, inventory.version))
    }

    pub(super) async fn show_variants(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let inventory = self.inventory().await?;
        Ok(tag(listing.answer(inventory.variants()), inventory.version))
    }

    pub(super) async fn show_variant(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let (name, inventory) = (decoded(asked)?, self.inventory().await?);
        Ok(tag(one_of(&inventory.variants(), &name)?, inventory.version))
    }
}

fn one_of(items: &[(String, Value)], name: &str) -> Result<Reply, Fault> {
    let found = items.iter().find(|(known, _)| is_same(known, name));
    found.map(|(_, said)| answer(StatusCode::OK, said)).ok_or_else(|| missing("entry"))
}

/// Reads the name that a path ends with.
pub(super) fn decoded(asked: &Asked<'_>) -> Result<String, Fault> {
    let parts = asked.value().split('/').map(endpoint::decode);
    Ok(parts.collect::<Option<Vec<_>>>().ok_or_else(Fault::nowhere)?.join("/"))
}

pub(super) fn missing(what: &'static str) -> Fault {
    let (code, detail) = match what {
        "server" => ("no-server", "there is no server of that name"),
        "evaluation" => ("no-report", "no report is kept of a server of that name"),
        "agent" => ("no-agent", "there is no agent of that name"),
        _ => ("no-entry", "there is nothing of that name"),
    };
    Fault::new(StatusCode::NOT_FOUND, code, detail)
}

/// Names are equal without case.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn find<'w>(written: &'w [Written], name: &str) -> Option<&'w Written> {
    written.iter().find(|of| is_same(&of.name, name))
}

/// Returns names in order, each once; the spelling of the first counts.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if !all.iter().any(|known| is_same(known, &name)) {
            all.push(name);
        }
    }
    sorted::sort(&mut all);
    all
}
