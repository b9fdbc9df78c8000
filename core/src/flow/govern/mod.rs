//! What a gateway answers that governs: each operation of `control/operations/governing.rs`, one arm each.

mod activity;
mod difference;
mod entries;
mod evaluations;
mod fleet;
mod instances;
mod inventory;
mod me;
mod once;
mod overview;
mod simulate;
mod theirs;
mod tools;
mod trying;

use super::control::Asked;
use crate::body::Reply;
use crate::control::answer::{Fault, answer};
use crate::control::operations::{Governing, openapi};
use crate::gateway::Gateway;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Does what an operation is.
    pub(super) async fn govern(&self, does: Governing, asked: &Asked<'_>) -> Result<Reply, Fault> {
        match does {
            Governing::Describe => Ok(answer(http::StatusCode::OK, &openapi::document())),
            Governing::ShowMe => Ok(self.show_me(asked)),
            Governing::ShowOverview => self.show_overview(asked).await,
            Governing::ShowServers => self.show_servers(asked).await,
            Governing::ShowServer => self.show_server(asked).await,
            Governing::ShowAgents => self.show_agents(asked).await,
            Governing::ShowAgent => self.show_agent(asked).await,
            Governing::ShowGroups => self.show_groups(asked).await,
            Governing::ShowVariants => self.show_variants(asked).await,
            Governing::ShowGroup => self.show_group(asked).await,
            Governing::ShowVariant => self.show_variant(asked).await,
            Governing::Writing(does) => self.write_entry(does, asked).await,
            Governing::ShowTools => self.show_tools(asked).await,
            Governing::Simulate => self.simulate_for(asked).await,
            Governing::CallTool => self.call_tool(asked).await,
            Governing::ShowStatistics => self.show_statistics(asked).await,
            Governing::Watch => self.watch_traffic(asked).await,
            Governing::ShowIdentities => self.show_identities(asked).await,
            Governing::Compare => self.compare(asked).await,
            Governing::CompareVersions => self.compare_versions(asked).await,
            Governing::ShowHosted => self.show_hosted(asked).await,
            Governing::ShowEvaluations => self.show_evaluations(asked).await,
            Governing::ShowEvaluation => self.show_evaluation(asked).await,
            Governing::KeepEvaluation => self.keep_evaluation(asked).await,
            Governing::Explain => self.explain_for(asked).await,
            Governing::ShowSessions => self.show_sessions(asked).await,
            Governing::Fleet(order) => self.order(order, asked).await,
            Governing::EndSession => self.end_session_of(asked.value(), asked).await,
            Governing::ShowInstances => self.show_instances(asked).await,
            Governing::RemoveInstance => self.remove_instance(asked).await,
            Governing::Reviewing(does) => self.reviewing(does, asked).await,
            // These have a door of their own.
            Governing::Listing(_) => Err(Fault::nowhere()),
        }
    }
}
