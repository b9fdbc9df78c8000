//! What `bridge` takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{address, lifetime};

/// Where the credential is read unless an option says so.
pub(crate) const TOKEN: &str = "PORTCULLIS_BRIDGE_TOKEN";

/// The command and what surrounds it.
#[derive(Debug, Args)]
pub(crate) struct Bridge {
    /// The stdio server and its arguments, after `--`
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required_unless_present = "health")]
    pub(crate) command: Vec<String>,
    /// The port to listen on, at all addresses
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// One address to listen on instead, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// The path of the endpoint
    #[arg(long, value_name = "PATH", default_value = "/mcp", value_parser = path)]
    pub(crate) path: String,
    /// The variable that holds the credential which callers send [default: `PORTCULLIS_BRIDGE_TOKEN`]
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    pub(crate) token_env: Option<String>,
    /// A file that holds the credential
    #[arg(long, env = "PORTCULLIS_BRIDGE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Serve others than this machine although nothing asks them who they are
    #[arg(long)]
    pub(crate) allow_anonymous: bool,
    /// The URL that callers know the endpoint by: requests for another host are refused, but for the health checks
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) public_url: Option<url::Url>,
    /// A variable that the server gets: one of this process by its name, or NAME=VALUE
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(crate) env: Vec<(String, Option<String>)>,
    /// A variable whose value is read from a file, such as a mounted secret; it is not shown in logs
    #[arg(long, value_name = "NAME=FILE", value_parser = variable_file)]
    pub(crate) env_file: Vec<(String, PathBuf)>,
    /// How long the server may take to answer a request
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = lifetime)]
    pub(crate) timeout: Duration,
    /// How long running requests may take once the bridge is told to stop
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = lifetime)]
    pub(crate) grace: Duration,
    /// Ask the bridge that runs here whether it is ready, and exit with 0 or 1
    #[arg(long)]
    pub(crate) health: bool,
}

fn path(text: &str) -> Result<String, String> {
    let is_path =
        |text: &str| text.parse::<http::uri::PathAndQuery>().is_ok_and(|found| found.path() == text);
    if text.starts_with('/') && is_path(text) && !["/healthz", "/readyz"].contains(&text) {
        return Ok(text.to_owned());
    }
    Err("expected a path such as /mcp, without a query, that is not one of the health checks".to_owned())
}

fn url(text: &str) -> Result<url::Url, String> {
    let found =
        url::Url::parse(text).ok().filter(|url| url.has_host() && ["http", "https"].contains(&url.scheme()));
    found.ok_or_else(|| "expected a URL such as https://tools.example.com/mcp".to_owned())
}

fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
    if name.is_empty() {
        return Err("expected NAME or NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value))
}

fn variable_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_plain_and_not_those_of_the_health_checks() {
        assert_eq!(path("/tools/mcp"), Ok("/tools/mcp".to_owned()));
        for wrong in ["", "mcp", "/mcp?x=1", "/mcp#x", "/a b", "/healthz", "/readyz"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_are_named_or_given() {
        assert_eq!(variable("TZ"), Ok(("TZ".to_owned(), None)));
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), Some("b=c".to_owned()))));
        assert_eq!(variable_file("A=/run/a"), Ok(("A".to_owned(), "/run/a".into())));
        for wrong in ["=x", ""] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
        for wrong in ["A", "A=", "=x"] {
            assert!(variable_file(wrong).is_err(), "{wrong}");
        }
    }
}
