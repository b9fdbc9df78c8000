//! What another configuration would change: the trail is read, as much of it as one request may, and tried.

use http::StatusCode;
use serde_json::to_value;

use super::super::control::Asked;
use crate::audit::{LONGEST_PAGE, Order, Query};
use crate::body::Reply;
use crate::catalog::Scope;
use crate::control::answer::{Fault, answer};
use crate::control::trial::{Trial, Tried};
use crate::control::{Strangers, understand};
use crate::gateway::Gateway;
use crate::ports::{Host, Place};
use crate::simulate::NotSeen;

/// How many pages of the trail one request tries.
const PAGES: usize = 50;

impl<H: Host> Gateway<H> {
    pub(super) async fn simulate_for(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let now = self.host().now();
        let Trial { tried, since, cursor } = Trial::read(asked.headers, &asked.body, now)?;
        let trail = self.readable_trail()?;
        if self.host().place() != Place::Process {
            self.learn(&self.snapshot(), &Scope::All, None).await;
        }
        let mut simulation = match tried {
            Tried::Draft(document) => {
                let strangers = self.stored().map_or(Strangers::Admitted, |(_, strangers)| strangers);
                self.examined(&document, strangers).await?;
                self.simulate(self.means(strangers, |means| understand(&document, means)).config)
            }
            Tried::Definition { server, tool } => {
                self.simulate_approval(&server, tool.as_deref()).map_err(|why| {
                    let field = if why == NotSeen::NoTool { "approve.tool" } else { "approve.server" };
                    Fault::field(field, &why.to_string())
                })?
            }
        };
        let mut query = Query {
            since: Some(since),
            order: Order::Newest,
            limit: LONGEST_PAGE,
            cursor,
            ..Query::default()
        };
        for _ in 0..PAGES {
            let page = trail.page(query.clone()).await?;
            for line in &page.lines {
                simulation.take(line);
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        let mut report = simulation.finish();
        report.next = query.cursor;
        Ok(answer(StatusCode::OK, &to_value(report).unwrap_or_default()))
    }
}
