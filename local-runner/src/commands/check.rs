//! `check`: every problem of a configuration.

use std::process::ExitCode;

use portcullis_core::config::{Problem, Severity};
use serde_json::json;

use super::{counted, report, say};
use crate::cli::Check;
use crate::source;

pub(super) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let found = source::find(args.config.as_deref())?;
    let problems = &found.parsed.problems;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let config = &found.parsed.config;
    if args.json {
        let servers: Vec<_> = config.servers.keys().map(ToString::to_string).collect();
        let problems: Vec<_> = problems.iter().map(as_json).collect();
        say(format_args!(
            "{:#}",
            json!({ "config": found.origin, "servers": servers, "problems": problems })
        ));
    } else {
        report(problems);
        let warnings = problems.len() - errors;
        say(format_args!(
            "{}: {}, {}, {}",
            found.origin,
            counted(config.servers.len(), "server"),
            counted(errors, "error"),
            counted(warnings, "warning"),
        ));
    }
    Ok(ExitCode::from(u8::from(errors > 0)))
}

fn as_json(problem: &Problem) -> serde_json::Value {
    json!({
        "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    })
}
