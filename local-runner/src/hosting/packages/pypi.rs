//! Packages of `PyPI`: installed by pip from wheels alone, each by a digest that the registry has told.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use portcullis_core::config::Package;
use portcullis_core::sorted::SortedMap;
use serde::Deserialize;

use super::record::{Part, Record, Start, here};
use super::{shown, tool};

/// The interpreter that installs, and runs what is installed.
const PYTHON: &str = "python3";
/// Where packages lie.
const SITE: &str = "site";
/// What starts the program.
const LAUNCHER: &str = "start.py";
/// Where pip says what it did.
const REPORT: &str = "report.json";

#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    metadata: Metadata,
    download_info: Download,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    archive_info: Option<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: SortedMap<String, String>,
}

/// Installs a package into an empty folder.
pub(super) async fn install(package: &Package, folder: &Path) -> anyhow::Result<Record> {
    let version = format!("{}=={}", package.name, package.version);
    // Apart from the user's packages and what variables of Python say.
    let pip = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    let how = ["--only-binary", ":all:", "--ignore-installed", "--target", SITE, "--report", REPORT];
    tool::run(PYTHON, &[&pip[..], &how, &[&version]].concat(), folder).await?;
    let report =
        fs::read_to_string(folder.join(REPORT)).context("pip has written no report; is it 22.2 or newer?")?;
    let report: Report = serde_json::from_str(&report).context("pip's report is not as expected")?;
    // It tells from where everything came, and when.
    fs::remove_file(folder.join(REPORT)).context("pip's report cannot be removed")?;
    let parts = report.install.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?;
    let own =
        parts.iter().find(|part| part.at == plain(&package.name)).context("pip has not installed it")?;
    ensure!(
        own.version == package.version,
        "{} was asked for, and pip has installed {}",
        shown(package),
        own.version
    );
    let integrity = own.integrity.clone();
    let scripts = entry_points(&folder.join(SITE), &package.name)?;
    let (name, at) = script(&scripts, &package.name)?;
    fs::write(folder.join(LAUNCHER), launcher(&name, &at)?).context("cannot write what starts it")?;
    let interpreter =
        tool::run(PYTHON, &["-I", "-c", "import sys; print(sys._base_executable)"], folder).await?;
    let args = ["-I", "-B"].map(str::to_owned).into_iter().chain([here(LAUNCHER)]).collect();
    let start = Start { program: interpreter.trim().to_owned(), args };
    Ok(Record::new(package, integrity, parts, Vec::new(), start))
}

fn part(installed: &Installed) -> anyhow::Result<Part> {
    let Metadata { name, version } = &installed.metadata;
    let hashes = installed.download_info.archive_info.as_ref().map(|archive| &archive.hashes);
    let hash = hashes.and_then(|hashes| hashes.get("sha256"));
    let hash = hash.with_context(|| {
        format!("{name} comes from elsewhere than a registry, so that no digest tells what it should be")
    })?;
    Ok(Part { at: plain(name), version: version.clone(), integrity: format!("sha256:{hash}") })
}

/// Writes a name as `PyPI` compares it.
fn plain(name: &str) -> String {
    let same = name.to_ascii_lowercase().replace(['_', '.'], "-");
    same.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Returns the programs that a package has, and what each calls.
fn entry_points(site: &Path, name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let entries = fs::read_dir(site).context("pip has installed nothing")?;
    let is_its = |folder: &Path| {
        let folder = folder.file_name().and_then(|folder| folder.to_str()?.strip_suffix(".dist-info"));
        folder.and_then(|folder| folder.rsplit_once('-')).is_some_and(|(of, _)| plain(of) == plain(name))
    };
    let folder = entries.flatten().map(|entry| entry.path()).find(|path| is_its(path));
    let file = folder.context("pip has not said what it installed")?.join("entry_points.txt");
    let text = fs::read_to_string(file).unwrap_or_default();
    let section = text.lines().map(str::trim).skip_while(|line| *line != "[console_scripts]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    Ok(lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, at)| (name.trim().to_owned(), at.trim().to_owned()))
        .collect())
}

/// Returns the program of a package: its only one, or the one of its name.
fn script(scripts: &[(String, String)], name: &str) -> anyhow::Result<(String, String)> {
    let named = scripts.iter().find(|(script, _)| plain(script) == plain(name));
    match (named, scripts) {
        (Some(found), _) | (None, [found]) => Ok(found.clone()),
        (None, []) => bail!("{name} has no program (`console_scripts`)"),
        (None, all) => {
            let all: Vec<_> = all.iter().map(|(script, _)| script.as_str()).collect();
            bail!("it has several programs, and none is called {name}: {}", all.join(", "))
        }
    }
}

/// Returns what calls `module:function` with the packages beside it.
fn launcher(name: &str, at: &str) -> anyhow::Result<String> {
    let at = at.split('[').next().unwrap_or(at).trim();
    let (module, function) =
        at.split_once(':').with_context(|| format!("its program is {at:?}, which calls nothing"))?;
    let is_name = |text: &str| {
        let of_a_name = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        text.split('.').all(of_a_name)
    };
    ensure!(is_name(module) && is_name(function), "its program is {at:?}, which is no name");
    let first = function.split('.').next().unwrap_or(function);
    let lines = [
        "import os, sys",
        &format!("sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), {SITE:?}))"),
        &format!("sys.argv[0] = {:?}", name.replace(|c: char| !c.is_ascii_graphic(), "")),
        &format!("from {module} import {first}"),
        &format!("sys.exit({function}())"),
    ];
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scripts: &[(&str, &str)], expected: &str) {
        let scripts: Vec<_> =
            scripts.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect();
        let found = script(&scripts, "mcp-server_time").map(|(_, at)| at);
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn the_program_is_the_one_of_its_name_or_the_only_one() {
        check(&[("other", "a:b"), ("mcp-server-time", "c:d")], "c:d");
        check(&[("other", "a:b")], "a:b");
        check(&[], "mcp-server_time has no program (`console_scripts`)");
        check(
            &[("x", "a:b"), ("y", "c:d")],
            "it has several programs, and none is called mcp-server_time: x, y",
        );
    }

    #[test]
    fn a_program_is_a_name_and_no_code() {
        let text = launcher("time", "mcp_server_time.cli:App.main [cli]").expect("a launcher");
        assert!(text.ends_with("from mcp_server_time.cli import App\nsys.exit(App.main())\n"), "{text}");
        for wrong in ["module", "os;x:main", "a:b()", "a.1:b", ":b", "a:"] {
            assert!(launcher("x", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_compared_as_the_registry_does() {
        assert_eq!(plain("Mcp_Server..Time"), "mcp-server-time");
    }

    #[test]
    fn what_comes_from_elsewhere_is_refused() {
        let of = |info: &str| {
            let text =
                format!(r#"{{"metadata": {{"name": "A_b", "version": "1"}}, "download_info": {info}}}"#);
            part(&serde_json::from_str(&text).expect("an entry"))
        };
        let known = of(r#"{"archive_info": {"hashes": {"sha256": "00ff"}}}"#).expect("a part");
        assert_eq!((known.at.as_str(), known.integrity.as_str()), ("a-b", "sha256:00ff"));
        assert!(of(r#"{"dir_info": {}}"#).is_err());
        assert!(of(r#"{"vcs_info": {"vcs": "git"}, "archive_info": null}"#).is_err());
    }
}
