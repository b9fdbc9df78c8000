//! Packages of npm: installed by npm, without their scripts, each by a digest that the registry has told.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use portcullis_core::config::Package;
use portcullis_core::sorted::SortedMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::{Part, Record, Start, here};
use super::{shown, tool};

/// Where packages lie.
const MODULES: &str = "node_modules";

#[derive(Deserialize)]
struct Lock {
    packages: SortedMap<String, Locked>,
}

/// A package as the lockfile has it.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the lockfile's")]
#[serde(rename_all = "camelCase")]
struct Locked {
    #[serde(default)]
    version: String,
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    has_install_script: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    in_bundle: bool,
}

/// Installs a package into an empty folder.
pub(super) async fn install(package: &Package, folder: &Path) -> anyhow::Result<Record> {
    let manifest = json!({ "private": true, "dependencies": { &package.name: &package.version } });
    fs::write(folder.join("package.json"), manifest.to_string()).context("cannot write package.json")?;
    let options = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--no-update-notifier"];
    let args = [&["install"], &options[..], &["--loglevel=error", "--install-links=false"]].concat();
    tool::run("npm", &args, folder).await?;
    let lock = fs::read_to_string(folder.join("package-lock.json")).context("npm has written no lockfile")?;
    let lock: Lock = serde_json::from_str(&lock).context("npm's lockfile is not as expected")?;
    let own = format!("{MODULES}/{}", package.name);
    let found = lock.packages.get(own.as_str()).context("npm has not installed it")?;
    ensure!(
        found.version == package.version,
        "{} was asked for, and npm has installed {}",
        shown(package),
        found.version
    );
    let integrity = found.integrity.clone().context("the registry tells no digest of it")?;
    let (parts, scripts) = parts(&lock, folder)?;
    let manifest = fs::read_to_string(folder.join(&own).join("package.json")).context("its package.json")?;
    let manifest: Value = serde_json::from_str(&manifest).context("its package.json is no JSON")?;
    let program = bin(&manifest, &package.name)?;
    let start = start(folder, &format!("{own}/{program}"))?;
    Ok(Record::new(package, integrity, parts, scripts, start))
}

/// Returns all packages of a lockfile that were installed, and those with scripts that were not run. One that comes from
/// elsewhere than a registry is refused: nothing tells what it should be.
fn parts(lock: &Lock, folder: &Path) -> anyhow::Result<(Vec<Part>, Vec<String>)> {
    let (mut parts, mut scripts) = (Vec::new(), Vec::new());
    for (at, locked) in lock.packages.iter().filter(|(at, _)| !at.is_empty()) {
        // One for other machines is in the lockfile alone.
        if locked.optional && !folder.join(at).exists() {
            continue;
        }
        ensure!(!locked.link, "{at} is a link to a folder, and not a package of a registry");
        let name = at.strip_prefix(MODULES).and_then(|at| at.strip_prefix('/')).unwrap_or(at);
        let integrity = match &locked.integrity {
            Some(integrity) => integrity.clone(),
            // Its archive is that of the package around it.
            None if locked.in_bundle => String::new(),
            None => bail!(
                "{name} comes from elsewhere than a registry, so that no digest tells what it should be"
            ),
        };
        if locked.has_install_script {
            scripts.push(name.to_owned());
        }
        parts.push(Part { at: name.to_owned(), version: locked.version.clone(), integrity });
    }
    Ok((parts, scripts))
}

/// Returns the file of a package's program: its only one, or the one of its name.
fn bin(manifest: &Value, name: &str) -> anyhow::Result<String> {
    let own = name.rsplit('/').next().unwrap_or(name);
    let found = match &manifest["bin"] {
        Value::String(file) => Some(file.as_str()),
        Value::Object(all) if all.len() == 1 => all.values().next().and_then(Value::as_str),
        Value::Object(all) => match all.get(own).and_then(Value::as_str) {
            None if !all.is_empty() => {
                let names: Vec<_> = all.keys().map(String::as_str).collect();
                bail!("it has several programs, and none is called {own}: {}", names.join(", "));
            }
            found => found,
        },
        _ => None,
    };
    let file = found.with_context(|| format!("{name} has no program (`bin`)"))?.trim_start_matches("./");
    let is_within = !file.is_empty() && !file.starts_with('/') && !file.split('/').any(|part| part == "..");
    ensure!(is_within, "its program {file:?} lies outside of it");
    Ok(file.to_owned())
}

/// Says how a file of a package is run: by node, unless it says itself that it is something else's.
fn start(folder: &Path, file: &str) -> anyhow::Result<Start> {
    let content = fs::read(folder.join(file)).with_context(|| format!("its program {file} is missing"))?;
    let first = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let is_nodes = !first.starts_with("#!") || first.contains("node");
    ensure!(
        is_nodes,
        "its program {file} is not run by node, but by {:?}",
        first.trim_start_matches("#!").trim()
    );
    Ok(Start { program: "node".to_owned(), args: vec![here(file)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bin_of: Value, expected: &str) {
        let found = bin(&json!({ "bin": bin_of }), "@a/server-b");
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn the_program_is_the_only_one_or_the_one_of_its_name() {
        check(json!("./cli.js"), "cli.js");
        check(json!({ "other": "dist/index.js" }), "dist/index.js");
        check(json!({ "other": "a.js", "server-b": "b.js" }), "b.js");
        check(
            json!({ "x": "a.js", "y": "b.js" }),
            "it has several programs, and none is called server-b: x, y",
        );
        check(json!({}), "@a/server-b has no program (`bin`)");
        check(Value::Null, "@a/server-b has no program (`bin`)");
        check(json!("../../x.js"), "its program \"../../x.js\" lies outside of it");
        check(json!("/bin/sh"), "its program \"/bin/sh\" lies outside of it");
    }

    #[test]
    fn what_comes_from_elsewhere_is_refused() {
        let folder = std::env::temp_dir();
        let check = |locked: Value| {
            let lock: Lock =
                serde_json::from_value(json!({ "packages": { "": {}, "node_modules/x": locked } }))
                    .expect("a lock");
            parts(&lock, &folder)
                .map(|(parts, scripts)| (parts.len(), scripts))
                .map_err(|error| error.to_string())
        };
        let known = json!({ "version": "1.0.0", "integrity": "sha512-x" });
        assert_eq!(check(known.clone()), Ok((1, Vec::new())));
        let mut script = known.clone();
        script["hasInstallScript"] = json!(true);
        assert_eq!(check(script), Ok((1, vec!["x".to_owned()])));
        let mut absent = known;
        absent["optional"] = json!(true);
        assert_eq!(check(absent), Ok((0, Vec::new())));
        assert!(check(json!({ "version": "1.0.0" })).is_err_and(|error| error.contains("elsewhere")));
        assert!(check(json!({ "link": true })).is_err_and(|error| error.contains("link")));
        assert_eq!(check(json!({ "version": "1", "inBundle": true })), Ok((1, Vec::new())));
    }
}
