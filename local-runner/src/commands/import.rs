//! `import`: other programs' files in the native format, or a file to begin with.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_core::config::{self, Severity};

use super::{counted, report, say};
use crate::cli::Import;
use crate::source;

pub(super) fn run(args: &Import) -> anyhow::Result<ExitCode> {
    if args.files.is_empty() {
        write(args, config::STARTER, "a file to begin with")?;
        return Ok(ExitCode::SUCCESS);
    }
    let imported = config::import(&source::load(&args.files)?);
    report(&imported.problems);
    write(args, &config::to_yaml(&imported), &counted(imported.servers().count(), "server"))?;
    let lost = imported.problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(lost)))
}

fn write(args: &Import, text: &str, what: &str) -> anyhow::Result<()> {
    let Some(path) = &args.output else {
        say(text.trim_end());
        return Ok(());
    };
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).open(path).with_context(|| {
            format!("cannot write {} (a file that is there is not replaced)", path.display())
        })?;
    file.write_all(text.as_bytes())?;
    eprintln!("wrote {} with {what}", path.display());
    Ok(())
}
