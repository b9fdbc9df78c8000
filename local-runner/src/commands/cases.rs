//! The cases of a policy that `check --cases` tries. Core decides them; no server runs.

use std::path::PathBuf;

use portcullis_core::acl::Acl;
use portcullis_core::config::{Config, Problem, read_cases};
use portcullis_core::explain::judge;
use portcullis_native::now;

use crate::source;

/// What the cases of a file came to.
pub(super) struct Tried {
    /// How many came to what is expected.
    pub(super) passed: usize,
    /// What is wrong with the file, or with what the others came to.
    pub(super) problems: Vec<Problem>,
}

/// Tries all cases of a file.
pub(super) fn run(file: &PathBuf, config: &Config) -> anyhow::Result<Tried> {
    let sources = source::load(std::slice::from_ref(file))?;
    let acl = Acl::new(&config.policy);
    let mut tried = Tried { passed: 0, problems: Vec::new() };
    for source in &sources {
        let (cases, problems) = read_cases(source);
        tried.problems.extend(problems);
        for case in &cases {
            match judge(config, &acl, case, now()).problem {
                None => tried.passed += 1,
                problem => tried.problems.extend(problem),
            }
        }
    }
    tried.problems.sort_by_key(|problem| (problem.line, problem.column));
    Ok(tried)
}
