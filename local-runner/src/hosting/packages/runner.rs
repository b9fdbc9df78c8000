//! Which package a command of `npx` or `uvx` means.
//!
//! **Only what names one version is understood**, and only with the options that ask nothing: anything else is a command like
//! any other.

use std::path::Path;

use portcullis_core::config::{Command, Package, Registry};

/// Returns the package that a command runs, and the arguments that follow it.
pub(crate) fn of_command(command: &Command) -> Option<(Package, &[String])> {
    let program = Path::new(&command.program).file_name()?.to_str()?;
    let (registry, silent): (_, &[&str]) = match program {
        "npx" => (Registry::Npm, &["-y", "--yes"]),
        "uvx" => (Registry::Pypi, &[]),
        _ => return None,
    };
    let options = command.args.iter().take_while(|arg| silent.contains(&arg.as_str())).count();
    let (spec, rest) = command.args.get(options..)?.split_first()?;
    let (name, version) = match registry {
        Registry::Npm => spec.rsplit_once('@').filter(|(name, _)| !name.is_empty())?,
        Registry::Pypi => spec.split_once("==").or_else(|| spec.split_once('@'))?,
    };
    let is_exact = version.starts_with(|c: char| c.is_ascii_digit())
        && version.contains('.')
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '!'))
        && !version.split('.').any(|part| matches!(part, "x" | "X" | ""));
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '/' | '.' | '-' | '_');
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@') && name.chars().all(of_a_name);
    let package = Package { registry, name: name.to_owned(), version: version.to_owned(), integrity: None };
    (is_exact && is_name && !name.contains("..")).then_some((package, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: Option<(&str, &str, &[&str])>) {
        let command = Command {
            program: words[0].to_owned(),
            args: words[1..].iter().map(|word| (*word).to_owned()).collect(),
            ..Command::default()
        };
        let found = of_command(&command);
        let found = found.as_ref().map(|(package, rest)| {
            let rest: Vec<_> = rest.iter().map(String::as_str).collect();
            (&*package.name, &*package.version, rest)
        });
        assert_eq!(found, expected.map(|(name, version, rest)| (name, version, rest.to_vec())), "{words:?}");
    }

    #[test]
    fn what_names_one_version_is_understood() {
        check(&["npx", "-y", "@a/b@1.2.3", "x", "-y"], Some(("@a/b", "1.2.3", &["x", "-y"])));
        check(&["/usr/bin/npx", "b@1.2.3-rc.1"], Some(("b", "1.2.3-rc.1", &[])));
        check(&["uvx", "b==1.2", "--flag"], Some(("b", "1.2", &["--flag"])));
        check(&["uvx", "b@1.2"], Some(("b", "1.2", &[])));
    }

    #[test]
    fn what_may_mean_another_one_tomorrow_is_not() {
        for words in [
            &["npx", "-y", "@a/b"][..],
            &["npx", "b@latest"],
            &["npx", "b@^1.2.3"],
            &["npx", "b@1.x"],
            &["npx", "b@1"],
            &["npx", "-p", "b@1.2.3", "c"],
            &["npx", "git+ssh://host/b@1.2.3"],
            &["npx", "../b@1.2.3"],
            &["npx"],
            &["uvx", "--from", "b==1.2", "c"],
            &["uvx", "b>=1.2"],
            &["node", "b@1.2.3"],
        ] {
            check(words, None);
        }
    }
}
