//! `doctor`: what stands in the way of the gateway, and what to do about each.
//!
//! **Nothing is changed**: no key is made, no folder; a file that shows a folder can be written to is gone at once.
//! **No secret is printed**: findings name variables, files and hosts, never values, queries or headers.

mod machine;
mod running;
mod servers;

use std::process::ExitCode;

use portcullis_core::config::Severity;
use serde::Serialize;
use serde_json::json;

use super::client::Remote;
use super::{counted, say};
use crate::cli::Doctor;
use crate::data;
use crate::source::{self, Found};

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at, such as `server github`.
    subject: String,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject: subject.into(), found: found.into(), advice: None }
    }

    fn warning(subject: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, advice: Some(advice.into()), ..Self::ok(subject, found) }
    }

    fn problem(subject: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::warning(subject, found, advice) }
    }
}

pub(super) async fn run(args: Doctor) -> anyhow::Result<ExitCode> {
    let mut report = Report { json: args.json, findings: Vec::new() };
    if let Some(url) = &args.url {
        report.all(running::check(Remote::new(url, &args.credential)?).await);
        return Ok(report.end());
    }
    report.all(machine::check(&args).await);
    let folder = data::folder(args.setup.data_dir.clone()).ok();
    match source::find(args.setup.config.as_deref()) {
        Err(error) => report.add(Finding::problem(
            "configuration",
            format!("{error:#}"),
            "name one with --config, or make one with `portcullis import`",
        )),
        Ok(found) => {
            report.all(configuration(&found));
            if !found.parsed.is_refused() {
                report.all(servers::programs(&found.parsed.config));
                report.all(Box::pin(servers::check(found.parsed.config, folder.as_deref())).await);
            }
        }
    }
    Ok(report.end())
}

fn configuration(found: &Found) -> Vec<Finding> {
    let problems = &found.parsed.problems;
    if problems.is_empty() {
        let servers = found.parsed.config.servers.len();
        return vec![Finding::ok(
            "configuration",
            format!("{}: {}", found.origin, counted(servers, "server")),
        )];
    }
    let finding = |problem: &portcullis_core::config::Problem| {
        let advice = problem.hint.clone().unwrap_or_else(|| "correct the configuration there".into());
        let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
        let text = [place.as_str(), &problem.field, &problem.message];
        let text: Vec<_> = text.into_iter().filter(|part| !part.is_empty()).collect();
        match problem.severity {
            Severity::Error => Finding::problem("configuration", text.join(": "), advice),
            Severity::Warning => Finding::warning("configuration", text.join(": "), advice),
        }
    };
    problems.iter().map(finding).collect()
}

/// What has been found so far; for people it is said at once.
struct Report {
    json: bool,
    findings: Vec<Finding>,
}

impl Report {
    fn all(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.add(finding);
        }
    }

    fn add(&mut self, finding: Finding) {
        if !self.json {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Problem => "problem",
            };
            say(format_args!("{level:8} {}: {}", finding.subject, finding.found));
            if let Some(advice) = &finding.advice {
                say(format_args!("         -> {advice}"));
            }
        }
        self.findings.push(finding);
    }

    fn end(self) -> ExitCode {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
        if self.json {
            let report = json!({ "problems": problems, "warnings": warnings, "findings": self.findings });
            say(format_args!("{report:#}"));
        } else {
            say(format_args!("\n{}, {}", counted(problems, "problem"), counted(warnings, "warning")));
        }
        ExitCode::from(u8::from(problems > 0))
    }
}
