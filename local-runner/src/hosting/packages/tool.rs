//! Running a registry's own program, with an environment in which nothing changes what it does.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};

/// Who the user is and what settings are found by that, where programs are, how the network is reached.
const KEPT: [&str; 14] = [
    "HOME",
    "LANG",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "https_proxy",
    "no_proxy",
];
/// Settings of the programs themselves about where the registry is and how it is reached, in small letters.
const SETTINGS: [&str; 11] = [
    "npm_config_registry",
    "npm_config_cafile",
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_userconfig",
    "npm_config_globalconfig",
    "pip_index_url",
    "pip_cert",
    "pip_config_file",
    "pip_proxy",
    "pip_default_timeout",
];
/// How many of its last lines are repeated where it fails.
const REPEATED: usize = 6;

/// Runs a program in a folder; returns its standard output.
///
/// # Errors
/// Says what it said last, where it fails or cannot be started.
pub(super) async fn run(program: &str, args: &[&str], folder: &Path) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(program)
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(environment(std::env::vars_os()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run `{program}`; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(REPEATED)..].join("\n  ");
        bail!("`{program}` failed ({}):\n  {last}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{program}` prints is no text"))
}

fn environment(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    let is_kept = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        KEPT.contains(&name) || SETTINGS.contains(&name.to_ascii_lowercase().as_str())
    };
    all.filter(move |(name, _)| is_kept(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_runs_or_loads_anything_is_kept() {
        let all = [
            "PATH",
            "NPM_CONFIG_REGISTRY",
            "PIP_INDEX_URL",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "npm_config_ignore_scripts",
            "npm_config_script_shell",
            "PIP_NO_BINARY",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "AWS_SECRET_ACCESS_KEY",
        ];
        let kept = environment(all.iter().map(|name| (OsString::from(name), OsString::from("x"))));
        let kept: Vec<_> = kept.map(|(name, _)| name.into_string().expect("text")).collect();
        assert_eq!(kept, ["PATH", "NPM_CONFIG_REGISTRY", "PIP_INDEX_URL"]);
    }
}
