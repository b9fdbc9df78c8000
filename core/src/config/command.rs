//! Checks of what is started as a subprocess.
//!
//! **What a description can make the machine run is its `command`, and nothing it says elsewhere**: no option in the
//! program's place, no variable that loads code, no folder outside the configuration's unless it is spelt out.

use super::denied::is_denied;
use super::file::{CommandEntry, ServerEntry};
use super::item::At;
use super::model::Command;
use super::problem::{Report, quote};
use super::server::Context;
use super::template::{Expanded, is_variable_name};
use crate::secrets::SecretText;
use crate::sorted::SortedMap;

/// Resolves a command with all that belongs to it.
pub(super) fn resolve_command(
    command: &CommandEntry,
    entry: &ServerEntry,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Command> {
    let separate = entry.args.as_deref().unwrap_or_default();
    if let Some(host) = entry.host.as_ref().filter(|host| host.value.has_package()) {
        report.error(&host.place, "a package is started by its own program, not by `command`");
        report.hint("write what follows the program in `args`");
        return None;
    }
    let (program, args) = match command {
        CommandEntry::Program(program) => (Some(program), separate),
        CommandEntry::Line(line) => {
            if let Some(first) = separate.first() {
                report.error(&first.place, "`args` goes with a `command` that is the program alone");
                report.hint("append the arguments to the list in `command`");
            }
            (line.first(), line.get(1..).unwrap_or_default())
        }
    };
    let program = program.and_then(|program| resolve_program(program, context, report));
    let command = resolve_rest(args, entry, context, report);
    Some(Command { program: program?, ..command? })
}

/// Resolves a server that is an image or a package, with all that belongs to it; it has no program of its own.
pub(super) fn resolve_hosted(
    entry: &ServerEntry,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Command> {
    let args = entry.args.as_deref().unwrap_or_default();
    if let Some(first) =
        args.first().filter(|_| entry.host.as_ref().is_some_and(|host| !host.value.has_package()))
    {
        report.error(&first.place, "`args` follow a program or a package, and an image has its own command");
        report.hint("write the whole `command` that is to run in the image");
        return None;
    }
    resolve_rest(args, entry, context, report)
}

/// Resolves what belongs to a program.
fn resolve_rest(
    args: &[At<String>],
    entry: &ServerEntry,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Command> {
    let args: Vec<_> = args.iter().map(|arg| context.expand(arg, report)).collect();
    let env = resolve_env(entry, context, report);
    let image = entry.host.as_ref().is_some_and(|host| host.value.has_image());
    let cwd = match &entry.cwd {
        // Such a folder is not the machine's.
        Some(cwd) if image => context.expand(cwd, report).map(Some),
        Some(cwd) => resolve_folder(cwd, context, report).map(Some),
        None => Some(None),
    };
    #[cfg(feature = "hosting")]
    let hosting = match &entry.host {
        Some(host) => host.value.resolve(context, report).map(|hosting| Some(Box::new(hosting))),
        None => Some(None),
    };
    let (env, secret_env) = env?;
    let args = args.into_iter().collect::<Option<_>>()?;
    Some(Command {
        args,
        env,
        secret_env,
        cwd: cwd?,
        #[cfg(feature = "hosting")]
        hosting: hosting?,
        ..Command::default()
    })
}

fn resolve_program(program: &At<String>, context: &Context<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = context.expand(program, report)?;
    if text.trim().is_empty() {
        report.error(&program.place, "the program is empty");
    } else if text.starts_with('-') {
        report.error(&program.place, "a program does not begin with `-`");
        report.hint("the first text of `command` is the program; options come after it");
    } else if text.contains(char::is_whitespace) && !text.contains(['/', '\\']) {
        report.error(&program.place, "the program contains a space, and no shell splits it");
        report
            .hint("write the program and each argument as a text of its own: `command: [npx, -y, a-server]`");
    } else {
        return Some(text);
    }
    None
}

/// Variables whose values are known, and those that need secrets.
type Environment = (SortedMap<String, String>, SortedMap<String, SecretText>);

fn resolve_env(entry: &ServerEntry, context: &Context<'_>, report: &mut Report<'_>) -> Option<Environment> {
    let allowed = entry.allow_env.as_deref().unwrap_or_default();
    for name in allowed.iter().filter(|name| !is_denied(&name.value)) {
        let message = format!("{} needs no permission: it is not refused", quote(&name.value));
        report.warn(&name.place, message);
    }
    let pairs = entry.env.as_deref().unwrap_or_default();
    let resolved: Vec<_> = pairs
        .iter()
        .map(|(name, value)| {
            let name = check_env_name(name, allowed, report);
            let value = context.expand_with_secrets(value, report);
            Some((name?, value?))
        })
        .collect();
    let mut env = Environment::default();
    for (name, value) in resolved.into_iter().collect::<Option<Vec<_>>>()? {
        match value {
            Expanded::Plain(text) => drop(env.0.insert(name, text)),
            Expanded::Secret(text) => drop(env.1.insert(name, text)),
        }
    }
    Some(env)
}

fn check_env_name(name: &At<String>, allowed: &[At<String>], report: &mut Report<'_>) -> Option<String> {
    let shown = quote(&name.value);
    if !is_variable_name(&name.value) {
        report.error(&name.place, format!("{shown} is no name of an environment variable"));
        report.hint("a name has letters, digits and `_`, and does not begin with a digit");
        return None;
    }
    if is_denied(&name.value) && !allowed.iter().any(|allowed| allowed.value == name.value) {
        report.error(&name.place, format!("{shown} can make a program run other code, and is refused"));
        report.hint(format!(
            "remove it; or, knowing that, add `allow_env: [{}]` to the server in a native file",
            name.value
        ));
        return None;
    }
    Some(name.value.clone())
}

/// Resolves a folder: an absolute one stays, a relative one begins at the configuration's folder and stays within it.
pub(super) fn resolve_folder(
    cwd: &At<String>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    let text = context.expand(cwd, report)?;
    if text.is_empty() {
        report.error(&cwd.place, "the folder is empty");
        return None;
    }
    if text.starts_with('~') {
        report.error(&cwd.place, "`~` is not replaced, since no shell is involved");
        report.hint("write `${HOME}` instead");
        return None;
    }
    if is_absolute(&text) {
        return Some(text);
    }
    if escapes(&text) {
        report.error(&cwd.place, "a relative folder may not leave the folder of the configuration");
        report.hint("write an absolute path where the folder lies elsewhere");
        return None;
    }
    Some(match context.folder {
        "" => text,
        folder => format!("{}/{text}", folder.trim_end_matches('/')),
    })
}

/// Returns whether a folder stands for itself wherever the configuration lies.
pub(super) fn is_absolute(path: &str) -> bool {
    let drive = path.as_bytes();
    path.starts_with(['/', '\\'])
        || matches!(drive, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

fn escapes(path: &str) -> bool {
    let mut depth = 0_usize;
    path.split(['/', '\\']).any(|part| match part {
        "" | "." => false,
        ".." if depth == 0 => true,
        ".." => {
            depth -= 1;
            false
        }
        _ => {
            depth += 1;
            false
        }
    }) || path.as_bytes().get(1) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_folders_stay_inside() {
        for path in ["..", "a/../..", "./../x", "a\\..\\..", "a/b/../../..", "C:x"] {
            assert!(escapes(path), "{path}");
        }
        for path in [".", "a", "a/..", "a/../b", "..a", "./a//b"] {
            assert!(!escapes(path), "{path}");
        }
    }

    #[test]
    fn absolute_folders_are_told_apart() {
        assert!(is_absolute("/a"));
        assert!(is_absolute("C:\\a"));
        assert!(is_absolute("\\\\host\\share"));
        assert!(!is_absolute("a/b"));
        assert!(!is_absolute("C:a"));
    }
}
