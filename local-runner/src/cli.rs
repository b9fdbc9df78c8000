//! The command line.

mod approve;
mod audit;
mod bridge;
mod evaluate;
mod fleet;
#[cfg(target_os = "linux")]
mod gate;
mod host;
mod registry;
mod remote;
mod secrets;
mod simulate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use portcullis_core::audit::Moment;
use serde_json::value::RawValue;
use tracing_subscriber::filter::LevelFilter;

pub(crate) use approve::{Approve, History};
pub(crate) use audit::{Audit, AuditCommand, Export, Format, Query, Tail, Verify, Wanted};
pub(crate) use bridge::{Bridge, TOKEN};
pub(crate) use evaluate::Evaluate;
pub(crate) use fleet::{
    BeginRollout, Control, ENROLMENT, Enrol, Fleet, ListGateways, OfFleet, Promote, RemoveGateway,
};
#[cfg(target_os = "linux")]
pub(crate) use gate::{Gate, GateSockets};
pub(crate) use host::{Host, Inside, Instance, Logs, Prepare, Running, Stop};
pub(crate) use registry::{
    ApproveEntry, ImportEntries, ListEntries, OfRegistry, OneEntry, Publish, Registry, Review, SetStatus,
};
pub(crate) use remote::{
    AdminCredential, Connections, ConnectionsOf, EndConnections, Instances, KeysOf, ListConnections,
    ListInstances, Pull, Push, RemoveInstance, Rollback, Versions,
};
pub(crate) use secrets::{ChangeSecret, ListSecrets, Secrets, SecretsOf};
pub(crate) use simulate::Simulate;

/// One URL in front of all your MCP servers.
///
/// Without a command it serves. Without a configuration it serves a built-in demo.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, args_conflicts_with_subcommands = true, after_help = SERVE_EXAMPLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

impl Cli {
    /// Returns from which level on the command logs: what serves tells what it does, what answers once only trouble.
    pub(crate) fn log_level(&self) -> LevelFilter {
        match self.command {
            // It says itself what it found.
            Some(Command::Doctor(_)) => LevelFilter::OFF,
            _ if self.serves() => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        }
    }

    /// Tells whether the command serves agents.
    pub(crate) fn serves(&self) -> bool {
        match &self.command {
            None | Some(Command::Serve(_) | Command::Stdio(_)) => true,
            Some(Command::Bridge(args)) => !args.health,
            Some(_) => false,
        }
    }
}

const SERVE_EXAMPLE: &str = "\
Examples:
  portcullis                                        serve ./portcullis.yaml, or the demo
  portcullis serve --config ~/.cursor/mcp.json      serve the servers of an mcpServers file as it is
  portcullis check --config portcullis.yaml         find every problem of a configuration
  portcullis serve --control https://control.example.com --enrolment-file enrolment.token
                                                    serve what a control plane says

Environment, besides what stands above:
  PORTCULLIS_LOG               what is logged, such as debug or warn,upstream=info
  PORTCULLIS_SEAL_KEY          the keys that seal sessions and secrets, where several gateways share them; `keyring` keeps
                               this one's in the keyring of the operating system
  PORTCULLIS_ENROLMENT         the token by which this gateway joins a fleet (`portcullis fleet enrol`)
  PORTCULLIS_ADMIN_KEY         opens /metrics and the admin API on the main address
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces, metrics and logs go, as other OTEL_ variables say";

const BRIDGE_EXAMPLE: &str = "\
Examples:
  portcullis bridge --listen 127.0.0.1:8080 -- node server.js
  PORTCULLIS_BRIDGE_TOKEN=$(openssl rand -hex 32) portcullis bridge -- python -m mcp_server_time
  portcullis bridge --token-file /run/secrets/bridge --env-file API_TOKEN=/run/secrets/api -- ./server --stdio

In a Dockerfile:
  ENTRYPOINT [\"portcullis\", \"bridge\", \"--\"]
  CMD [\"node\", \"server.js\"]

Callers send the credential as `Authorization: Bearer`. The endpoint is /mcp, /healthz says whether the bridge lives, and
/readyz whether its server is up. The server gets PATH, HOME, the locale and the like of this environment, and what --env and
--env-file say.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the gateway over HTTP (the default command)
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(Serve),
    /// Serve the gateway on standard input and output, for clients that only speak stdio
    #[command(
        after_help = "Example, in an mcpServers file:\n  {\"command\": \"portcullis\", \"args\": [\"stdio\", \"--config\", \"portcullis.yaml\"]}"
    )]
    Stdio(Stdio),
    /// Serve one stdio server over Streamable HTTP, as the entry point of a container; it keeps nothing on a disk
    #[command(after_help = BRIDGE_EXAMPLE)]
    Bridge(Bridge),
    /// Prepare what the servers are made of that this machine hosts
    #[command(
        subcommand,
        after_help = "Examples:\n  portcullis host prepare\n  portcullis host prepare --verify"
    )]
    Host(Host),
    /// Find every problem of a configuration; exit code 1 where there is an error
    #[command(
        after_help = "Examples:\n  portcullis check --config portcullis.yaml\n  portcullis check --config portcullis.yaml --cases cases.yaml\n\nA file of cases is a list of maps such as\n  - { agent: coder, call: github/get_issue, args: { repo: shop }, expect: allowed }\nNo server has to run for them: they are decided by names alone."
    )]
    Check(Check),
    /// Check this machine, the configuration and every server; exit code 1 where there is a problem
    #[command(
        after_help = "Examples:\n  portcullis doctor --config portcullis.yaml\n  portcullis doctor --url http://127.0.0.1:9000/mcp"
    )]
    Doctor(Doctor),
    /// Start a server alone, where it can do no harm, and see what it does; exit code 1 where it is dangerous
    #[command(
        after_help = "Examples:\n  portcullis evaluate github --html github.html\n  portcullis evaluate github --calls all --record\n  portcullis evaluate github --url https://mcp.example.com\n  portcullis evaluate --list\n\nThe server gets no secret of yours and none of your files: what it finds in their place is made for it."
    )]
    Evaluate(Evaluate),
    /// Convert files of Claude Desktop, Cursor, VS Code and MCPX to the native format, or begin with a file of your own
    #[command(
        after_help = "Examples:\n  portcullis import ~/.cursor/mcp.json --output portcullis.yaml\n  portcullis import mcp.json app.yaml --output portcullis.yaml\n  portcullis import --output portcullis.yaml"
    )]
    Import(Import),
    /// List the tools that agents see
    #[command(
        after_help = "Examples:\n  portcullis tools --config portcullis.yaml --as coder\n  PORTCULLIS_KEY=pck_... portcullis tools --url http://127.0.0.1:9000/mcp --json"
    )]
    Tools(Tools),
    /// Call a tool
    #[command(after_help = "Example:\n  portcullis call demo__add --args '{\"a\": 1, \"b\": 2}'")]
    Call(Call),
    /// Say what an agent may do with a tool, by which rule, and where it stands; exit code 1 where it may not
    #[command(
        after_help = "Examples:\n  portcullis explain --as coder github__create_issue --args '{\"repo\": \"shop\"}'\n  portcullis explain --as coder github/create_issue\n  portcullis explain --client Cursor --resource repo://readme"
    )]
    Explain(Explain),
    /// Say what a draft would change of the calls that were recorded; exit code 1 where one would be refused, or may be
    #[command(
        after_help = "Examples:\n  portcullis simulate --config draft.yaml\n  portcullis simulate --config draft.yaml --since 24h --json\n  portcullis simulate --config draft/ --url https://mcp.example.com\n  portcullis simulate --approve tickets --tool create_ticket"
    )]
    Simulate(Simulate),
    /// Approve what a server says of itself; what it says otherwise from then on is held back
    #[command(
        after_help = "Examples:\n  portcullis approve\n  portcullis approve tickets\n  portcullis approve tickets --diff\n  portcullis approve tickets --tool create_ticket --yes\n  portcullis approve tickets --url https://mcp.example.com\n\nBound are all tools, prompts, resources and templates, the instructions, and the command or URL. What becomes of what\nchanges, `approval` of a server or of the gateway says: `changed: approved`, `hide` or `warn`, and `required: true`."
    )]
    Approve(Approve),
    /// Everything that a server ever said of itself, and whether the log of it is whole
    #[command(
        after_help = "Examples:\n  portcullis history\n  portcullis history tickets --tool create_ticket\n  portcullis history tickets --json\n  portcullis history --verify"
    )]
    History(History),
    /// The audit trail: who asked for what, what was decided, what came of it
    #[command(
        after_help = "Examples:\n  portcullis audit tail --follow\n  portcullis audit query --decision denied --since 24h\n  portcullis audit verify\n  portcullis audit export --format csv --output audit.csv\n  portcullis audit query --since 1h --url https://gateway.example.com"
    )]
    Audit(Audit),
    /// Make, list and revoke API keys
    #[command(
        subcommand,
        after_help = "Examples:\n  portcullis keys create --agent coder --expires 90d\n  portcullis keys list --url https://mcp.example.com\n  portcullis keys revoke 0f3a9c41d2"
    )]
    Keys(Keys),
    /// Set, list, rotate and remove the secrets that servers need
    #[command(
        subcommand,
        after_help = "Examples:\n  portcullis secrets set tickets-key\n  portcullis secrets list --url https://mcp.example.com\n  portcullis secrets rotate tickets-key < new-key.txt\n\nA configuration calls a secret by its name: `auth: { bearer: { secret: tickets-key } }`, or `${secret:tickets-key}` in\na text of `headers` and `env`."
    )]
    Secrets(Secrets),
    /// List and end the connections that users have at servers
    #[command(
        subcommand,
        after_help = "Examples:\n  portcullis connections list\n  portcullis connections list --url https://mcp.example.com\n  portcullis connections rm user:corp:ana\n\nUsers themselves connect and disconnect on the gateway's page /connect/SERVER."
    )]
    Connections(Connections),
    /// List and remove the gateways that are identities' own, where each has one
    #[command(
        subcommand,
        after_help = "Examples:\n  portcullis instances list --url https://mcp.example.com\n  portcullis instances rm 0f3a9c41d27be605 --url https://mcp.example.com\n\nEach identity has one where the configuration says `gateway: { isolation: per-identity }`."
    )]
    Instances(Instances),
    /// Push the configuration to a gateway that runs elsewhere; it is put in force, or refused as a whole
    #[command(
        after_help = "Examples:\n  PORTCULLIS_ADMIN_KEY=... portcullis push --to https://mcp.example.com --note 'tickets for interns'\n  portcullis push --config gateway/ --to https://mcp.example.com --admin-key-file admin.key\n\nA push builds on the version that was last pulled or pushed from the same folder, which is noted there in\n.portcullis-remote.json; where another is in force by now, it is refused."
    )]
    Push(Push),
    /// Write the configuration of a gateway that runs elsewhere to a folder
    #[command(after_help = "Example:\n  portcullis pull --from https://mcp.example.com --output gateway")]
    Pull(Pull),
    /// Put an earlier version of a gateway's configuration in force again, as a new version
    #[command(after_help = "Example:\n  portcullis rollback --to 3 --url https://mcp.example.com")]
    Rollback(Rollback),
    /// List the versions of a gateway's configuration, or show how one differs from another
    #[command(
        after_help = "Examples:\n  portcullis versions --url https://mcp.example.com\n  portcullis versions --diff 3 --url https://mcp.example.com\n  portcullis versions --diff 3 --to 4 --url https://mcp.example.com"
    )]
    Versions(Versions),
    /// Govern other gateways from a control plane: who joins, and which version goes where
    #[command(subcommand, after_help = fleet::EXAMPLES)]
    Fleet(Fleet),
    /// The private registry of a gateway: which servers there are, and which of them were approved
    #[command(subcommand, after_help = registry::EXAMPLES)]
    Registry(Registry),
    /// Print the JSON Schema of the native configuration
    #[command(after_help = "Example:\n  portcullis schema > portcullis.schema.json")]
    Schema,
    /// A server that answers over HTTP in a network of its own, on standard input and output
    #[command(hide = true)]
    Inside(Inside),
    /// The gateway that is one identity's own, as another starts it
    #[command(hide = true)]
    Instance(Instance),
    /// The built-in demo MCP server, on standard input and output
    #[command(hide = true)]
    Demo,
    /// Put the network of a process behind a gate, and record what is tried there
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Gate(Gate),
    /// Hand the sockets of a gate over standard input
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    GateSockets(GateSockets),
}

/// What the gateway is made from.
#[derive(Debug, Args, Clone)]
pub(crate) struct Setup {
    /// A portcullis.yaml, an mcpServers file, or a folder with one; `remote` is what was pushed
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The address to listen on; port 0 takes any free one
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) control: Control,
    /// Serve others than this machine although nothing asks them who they are
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Another address to listen on, with Prometheus metrics at /metrics and nothing else
    #[arg(long, env = "PORTCULLIS_METRICS_LISTEN", value_name = "ADDR", value_parser = address)]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Stdio {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The agent that the client is; without it the client's name says which
    #[arg(long = "as", value_name = "AGENT")]
    pub(crate) agent: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A portcullis.yaml, an mcpServers file, or a folder with one
    #[arg(long, env = "PORTCULLIS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Also try the policy on these cases, by names alone; exit code 1 where one comes to something else
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: Option<PathBuf>,
    /// Where the gateway keeps its data, secrets among it [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The address that the gateway is to listen on
    #[arg(long, env = "PORTCULLIS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// The endpoint of a gateway that runs: it is checked instead
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The files to convert; without any, what is written is a commented file in which nobody may do anything yet
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| Moment::EXPECTED.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The tool's name, as agents see it
    #[arg(value_name = "TOOL")]
    pub(crate) tool: String,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json_object)]
    pub(crate) args: Box<RawValue>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The tool's name, as agents see it or as SERVER/NAME
    #[arg(value_name = "TOOL", required_unless_present_any = ["prompt", "resource"])]
    pub(crate) tool: Option<String>,
    /// A prompt's name instead
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tool", "resource"])]
    pub(crate) prompt: Option<String>,
    /// A resource's URI instead
    #[arg(long, value_name = "URI", conflicts_with_all = ["tool", "args"])]
    pub(crate) resource: Option<String>,
    /// The arguments of the call, a JSON object
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) args: Option<Box<RawValue>>,
    /// The agent that asks; without it, client and tag tell which
    #[arg(long = "as", value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// The name of its client
    #[arg(long, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// The tag that it claims
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:9000".to_owned())
}

/// Reads how long a key counts.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wanted = || "expected a duration such as 90d or 12h, of at least a second".to_owned();
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wanted()),
    };
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let all = number.checked_mul(seconds).filter(|all| (1..1 << 40).contains(all));
    all.map(Duration::from_secs).ok_or_else(wanted)
}

fn json_object(text: &str) -> Result<Box<RawValue>, String> {
    let object: Result<Box<RawValue>, _> = serde_json::from_str(text);
    let object = object.ok().filter(|value| value.get().starts_with('{'));
    object.ok_or_else(|| "expected a JSON object, such as '{\"a\": 1}'".to_owned())
}

/// Which gateway a command is about: one that runs, or the one that a configuration describes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// The endpoint of a gateway that runs; without it one is started for this command
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<http::Uri>,
    /// The agent to be; at a gateway that runs the key says which
    #[arg(long = "as", value_name = "AGENT", conflicts_with = "url")]
    pub(crate) agent: Option<String>,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a gateway that runs asks for.
#[derive(Debug, Args, Clone)]
pub(crate) struct Credential {
    /// The API key for a gateway that runs; others on this machine can see arguments, so prefer the variable
    #[arg(long, env = "PORTCULLIS_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and show it, once
    #[command(
        after_help = "Example:\n  portcullis keys create --agent coder --expires 90d --comment 'laptop of Ana'"
    )]
    Create(CreateKey),
    /// List the keys; what is kept of them is no secret
    #[command(after_help = "Example:\n  portcullis keys list")]
    List(ListKeys),
    /// Revoke a key, by its id; a gateway that runs refuses it within a second
    #[command(after_help = "Example:\n  portcullis keys revoke 0f3a9c41d2")]
    Revoke(RevokeKey),
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// The agent that whoever has the key is
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: String,
    /// How long the key counts, such as 90d or 12h [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    pub(crate) expires: Option<Duration>,
    /// What the key is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    #[command(flatten)]
    pub(crate) of: KeysOf,
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListKeys {
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) of: KeysOf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeKey {
    /// The key's id, as `keys list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Where the gateway keeps its data [default: the user's data folder]
    #[arg(long, env = "PORTCULLIS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) of: KeysOf,
    /// Print the key that is revoked, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_arguments_are_taken_for_each_other() {
        Cli::command().debug_assert();
    }

    /// What `audit` takes everywhere is known to the root too: another argument of that id and of another type would panic here.
    #[test]
    fn every_example_in_a_help_can_be_read() {
        let mut root = Cli::command();
        root.build();
        let mut read = 0;
        let mut all = vec![root];
        while let Some(command) = all.pop() {
            let mut command = command.term_width(0);
            let help = command.render_long_help().to_string();
            let said = help
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("portcullis ") && !line.contains(" -- "));
            for line in said {
                let line = line.split(['>', '<', '|']).next().unwrap_or_default();
                let words = words(line.split("   ").next().unwrap_or_default());
                let found = Cli::try_parse_from(&words);
                let is_help = |error: &clap::Error| !error.use_stderr();
                assert!(found.as_ref().err().is_none_or(is_help), "{line}: {}", found.unwrap_err());
                read += 1;
            }
            all.extend(command.get_subcommands().cloned());
        }
        assert!(read > 80, "{read} examples were found");
    }

    /// Takes a line apart as a shell does, as far as examples need that.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (Vec::new(), false);
        for part in line.split('\'') {
            if quoted {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
            quoted = !quoted;
        }
        words
    }

    #[test]
    fn what_the_registry_is_told_is_read() {
        let check = |line: &str| {
            let line = format!("portcullis registry {line}");
            Cli::try_parse_from(line.split(' ')).map(|cli| format!("{:?}", cli.command.expect("a command")))
        };
        let approve = check("approve a/b 1.0.0 --add c --url http://127.0.0.1:9000").expect("it is whole");
        for part in
            [r#"name: "a/b""#, r#"version: "1.0.0""#, r#"add: Some("c")"#, "url: http://127.0.0.1:9000/"]
        {
            assert!(approve.contains(part), "{part}: {approve}");
        }
        let import = check("import https://r.example.com --url http://g.test").expect("it is whole");
        assert!(
            import.contains("source: https://r.example.com/") && import.contains("url: http://g.test/"),
            "{import}"
        );
        assert!(check("status a/b deprecated --url http://g.test").is_ok());
        for wrong in [
            "list",
            "approve a/b --url http://g.test",
            "list --review maybe --url http://g.test",
            "publish --url http://g.test",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lifetimes_are_read() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(lifetime("12h"), Ok(Duration::from_hours(12)));
        for wrong in
            ["", "d", "0d", "90", "-1d", "1.5h", "90 d", "1w", "99999999999999999999d", "999999999999999d"]
        {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
