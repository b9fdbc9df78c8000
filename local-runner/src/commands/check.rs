//! `check`: every problem of a configuration, and what a policy comes to in the cases of a file.

use std::process::ExitCode;

use portcullis_core::config::Severity;
use portcullis_core::control::described;
use serde_json::{Value, json};

use super::cases::{self, Tried};
use super::{counted, report, say, secrets};
use crate::cli::Check;
use crate::data;
use crate::source::{self, Found};

pub(super) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let mut found = source::find(args.config.as_deref())?;
    if let Ok(folder) = data::folder(args.data_dir.clone()) {
        found.parsed.problems.extend(secrets::missing(&found.parsed.secrets, &folder));
    }
    let problems = &found.parsed.problems;
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    // What a configuration comes to that is refused, is no policy to try.
    let cases = args.cases.as_ref().filter(|_| !found.parsed.is_refused());
    let tried = cases.map(|file| cases::run(file, &found.parsed.config)).transpose()?;
    let failed = tried.as_ref().map_or(0, |tried| tried.problems.len());
    if args.json {
        say_json(&found, args.cases.as_ref().map(|_| cases_as_json(tried.as_ref())));
    } else {
        report(problems);
        let warnings = problems.len() - errors;
        say(format_args!(
            "{}: {}, {}, {}",
            found.origin,
            counted(found.parsed.config.servers.len(), "server"),
            counted(errors, "error"),
            counted(warnings, "warning"),
        ));
        let needed: Vec<_> = found.parsed.config.secrets().iter().map(ToString::to_string).collect();
        if !needed.is_empty() {
            say(format_args!("needs {}: {}", counted(needed.len(), "secret"), needed.join(", ")));
        }
        match (&args.cases, &tried) {
            (Some(file), Some(tried)) => {
                report(&tried.problems);
                say(format_args!(
                    "{}: {} of {} passed",
                    file.display(),
                    tried.passed,
                    counted(tried.passed + failed, "case"),
                ));
            }
            (Some(file), None) => {
                say(format_args!("{}: not tried, as the configuration has errors", file.display()));
            }
            (None, _) => {}
        }
    }
    Ok(ExitCode::from(u8::from(errors + failed > 0)))
}

fn say_json(found: &Found, cases: Option<Value>) {
    let servers: Vec<_> = found.parsed.config.servers.keys().map(ToString::to_string).collect();
    let problems: Vec<_> = found.parsed.problems.iter().map(described).collect();
    let secrets = found.parsed.config.secrets();
    let mut said =
        json!({ "config": found.origin, "servers": servers, "secrets": secrets, "problems": problems });
    if let Some(cases) = cases {
        said["cases"] = cases;
    }
    say(format_args!("{said:#}"));
}

fn cases_as_json(tried: Option<&Tried>) -> Value {
    let Some(tried) = tried else { return json!({ "tried": false }) };
    let problems: Vec<_> = tried.problems.iter().map(described).collect();
    json!({ "tried": true, "passed": tried.passed, "failed": problems.len(), "problems": problems })
}
