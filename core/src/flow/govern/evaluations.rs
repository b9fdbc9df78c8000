//! What was found of servers when they were evaluated: reports that are kept, one of each server, and those that are sent.

use http::StatusCode;

use super::super::control::Asked;
use super::inventory::{decoded, missing};
use crate::body::Reply;
use crate::control::answer::{Fault, answer};
use crate::control::evaluation::{Evaluation, LARGEST, REPORTS};
use crate::control::listing::Listing;
use crate::gateway::Gateway;
use crate::names::ServerName;
use crate::ports::{Host, RecordKey};

/// How many reports are read at a time.
const READ: usize = 100;
/// How often a report is written that somebody else was quicker with.
const ATTEMPTS: usize = 5;

impl<H: Host> Gateway<H> {
    /// Returns the reports that are kept; there are none where nothing is.
    pub(in crate::flow) async fn evaluations(&self) -> Result<Vec<Evaluation>, Fault> {
        let Some(store) = self.host().records() else { return Ok(Vec::new()) };
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let page = store.page(REPORTS, after.clone(), READ).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            all.extend(page.iter().filter_map(|(_, text)| Evaluation::read(text)));
        }
    }

    pub(super) async fn show_evaluations(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let listing = Listing::read(asked.query, &[])?;
        let all = self.evaluations().await?;
        Ok(listing.answer(all.iter().map(|one| (one.server().to_owned(), one.summary())).collect()))
    }

    pub(super) async fn show_evaluation(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let name = ServerName::parse(&decoded(asked)?).map_err(|_| missing("evaluation"))?;
        let store = self.host().records().ok_or_else(|| missing("evaluation"))?;
        let kept = store.get(RecordKey::new(REPORTS, name.as_str())).await?;
        let found = kept.and_then(|text| Evaluation::read(&text)).ok_or_else(|| missing("evaluation"))?;
        Ok(answer(StatusCode::OK, found.report()))
    }

    pub(super) async fn keep_evaluation(&self, asked: &Asked<'_>) -> Result<Reply, Fault> {
        let name = decoded(asked)?;
        let server = ServerName::parse(&name).map_err(|_| missing("server"))?;
        if asked.body.len() > LARGEST {
            return Err(Fault::field("the body", &format!("expected at most {LARGEST} bytes")));
        }
        let report = serde_json::from_slice(&asked.body)
            .map_err(|_| Fault::field("the body", "expected a report, as JSON"))?;
        let report = Evaluation::of(report, Some(server.as_str()))?;
        let store = self.record_store()?;
        for _ in 0..ATTEMPTS {
            let read = store.get(RecordKey::new(REPORTS, server.as_str())).await?;
            let key = RecordKey::new(REPORTS, server.as_str());
            if store.replace(key, read, Some(report.to_text()), None).await? {
                return Ok(answer(StatusCode::OK, &report.summary()));
            }
        }
        Err(Fault::new(StatusCode::CONFLICT, "busy", "others write this report: try again"))
    }
}
