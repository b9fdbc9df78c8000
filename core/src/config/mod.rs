//! Configuration: files of several formats become one [`Config`], and everything wrong with them becomes [`Problem`]s.
//!
//! **Reading is pure**: texts come in, and the environment is a function. **One bad server never takes down another**:
//! it is left out, reported, and remembered in [`Config::broken`]. **What is not understood in a native file is
//! refused**, never ignored: a section that narrows access must not vanish.
//!
//! A file goes from text to a tree that knows its places (`node`, `json`, `yaml`), is read into a draft (`item`,
//! `native` and its parts, `foreign`, `mcpx`), and its values are resolved and checked (`server`, `command`, `endpoint`,
//! `gateway`; for access `agents`, `known`, `variants`).

mod access;
mod agents;
#[cfg(feature = "control")]
mod ahead;
mod approving;
mod cases;
mod command;
#[cfg(feature = "control")]
mod console;
mod denied;
#[cfg(feature = "control")]
mod edit;
mod elicitation;
mod emit;
mod endpoint;
mod file;
#[cfg(feature = "control")]
mod file_console;
mod file_policy;
mod file_variants;
mod foreign;
mod gateway;
mod hosting;
mod hosting_schema;
mod import;
mod item;
mod json;
mod known;
mod listing;
mod load;
mod mcpx;
mod model;
mod native;
mod native_agents;
#[cfg(feature = "control")]
mod native_console;
mod native_issuers;
mod native_limits;
mod native_on_behalf;
mod native_policy;
mod native_rules;
mod native_sign_in;
mod native_sign_on;
mod native_variants;
mod node;
mod overlay;
mod policy;
mod problem;
mod quantity;
mod secret;
mod server;
mod sign_on;
mod source;
mod starter;
mod template;
mod value;
mod variants;
mod yaml;

#[cfg(feature = "control")]
pub(crate) use ahead::go_ahead;
pub use approving::{Approving, Changed};
pub use cases::{Case, read_cases};
#[cfg(feature = "control")]
pub use console::{Attribute, Console, ConsoleSignIn, Holder, Scim};
#[cfg(feature = "control")]
pub use edit::{Edit, NotEdited, Section, Written, edit, settings, written};
pub use elicitation::{Elicitation, Forms};
pub use file::schema;
pub use hosting::{
    Backend, Bounds, Egress, Hosting, Image, Inside, Isolation, Mount, Network, Package, Per, Place, Registry,
};
pub use import::{Imported, import, to_yaml};
pub(crate) use item::nearest;
pub use listing::Listing;
#[cfg(feature = "control")]
pub use model::Files;
pub use model::{Command, Config, Endpoint, Gateway, Instances, Limits, Naming, Server, Sharing, Transport};
pub use overlay::overlay_source;
pub use policy::{
    Agent, Argument, Audit, Auth, Dialect, Fixed, Group, Introspection, Issuer, ItemKind,
    Limits as AgentLimits, Match, Narrowing, OnFailure, Origin, Policy, Rate, Rule, Selector, SignIn,
    ToolLimits, Variant, What, Wording,
};
pub use problem::{Problem, Severity};
pub use secret::SecretUse;
pub use sign_on::{
    ClientCredential, Consent, ConsentBy, IdentityProvider, Pkce, Registered, ResourceName, SignOn,
    SignOnGrant, SubjectType, Whose,
};
pub use source::Source;
pub use starter::STARTER;

use crate::names::ServerName;
use access::resolve_access;
use load::Loaded;
use mcpx::Resolved;
use server::{Missing, is_enabled};

/// What files say, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The configuration, as far as it could be read.
    pub config: Config,
    /// What is wrong, by file, line and column.
    pub problems: Vec<Problem>,
    /// Where secrets are needed, by servers that are served.
    pub secrets: Vec<SecretUse>,
    /// Where servers stand that are served.
    pub places: Vec<(ServerName, Problem)>,
}

impl Parsed {
    /// Says of each server that the registry keeps out that it does, where it stands.
    pub(crate) fn report_unlisted(&mut self) {
        for name in self.config.unlisted() {
            let Some((_, place)) = self.places.iter().find(|(placed, _)| *placed == name) else { continue };
            let message = "the registry has no approved entry with its URL, its package and version, or its image's digest, \
                           and `registry.strict` lets nothing else be served";
            let hint = "publish it to the registry, `POST /v0.1/publish`, and have it approved";
            self.problems.push(Problem { message: message.into(), hint: Some(hint.into()), ..place.clone() });
        }
    }

    /// Returns whether there is an error that more depends on than one server: such a configuration must not be served.
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error && problem.server.is_none())
    }
}

/// Whether the place where a configuration is served starts programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// It does.
    Started,
    /// It does not: a server with a `command` is refused.
    NeverStarted,
}

/// Reads files into one configuration. `env` looks environment variables up.
pub fn parse(sources: &[Source], env: &dyn Fn(&str) -> Option<String>) -> Parsed {
    parse_all((sources, &[]), env, Processes::Started)
}

/// Reads files, and the overlays that go with them, into the configuration of a place that may start no programs.
pub fn parse_all(
    sources: (&[Source], &[Source]),
    env: &dyn Fn(&str) -> Option<String>,
    processes: Processes,
) -> Parsed {
    #[cfg(feature = "control")]
    let files = model::Files(sources.0.into());
    let mut loaded = load::load(sources, env, Missing::Refuse);
    if processes == Processes::NeverStarted {
        load::refuse_commands(&mut loaded);
    }
    let mut config = Config { gateway: resolve_gateway(&mut loaded), ..Config::default() };
    #[cfg(feature = "control")]
    {
        config.files = files;
    }
    resolve_access(&mut loaded, &mut config);
    if let Some(resolved) = load::resolve_app(&mut loaded, mcpx::Purpose::Serve(env)) {
        Resolved { policy: config.policy, variants: config.variants, auth: config.auth } = resolved;
    }
    overlay::apply_overlays(&mut loaded, &mut config);
    let (mut problems, mut secrets, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for file in loaded {
        problems.extend(file.problems);
        secrets.extend(file.uses);
        let path = &file.source.path;
        for candidate in file.candidates {
            match (candidate.server, candidate.fault) {
                (Some((name, server)), None) => {
                    secrets.extend(secret::uses(path, &candidate.entry));
                    let mut report = problem::Report::new(path);
                    report.error(&candidate.name.place, "");
                    let place = report.finish().into_iter();
                    places
                        .extend(place.map(|place| {
                            (name.clone(), Problem { server: Some(name.to_string()), ..place })
                        }));
                    config.servers.insert(name, server);
                }
                (_, Some(fault)) if is_enabled(&candidate.entry) => {
                    config.broken.insert(candidate.name.value, fault);
                }
                _ => {}
            }
        }
    }
    let general = config.gateway.approval;
    config.servers.values_mut().for_each(|server| server.approval = server.approval.or(general));
    let mut parsed = Parsed { config, problems, secrets, places };
    if parsed.is_refused() {
        parsed.config.policy = Policy::refusing_everything();
    }
    parsed
}

fn resolve_gateway(loaded: &mut [Loaded<'_>]) -> Gateway {
    let section = load::only_one(loaded, "gateway", |file| file.gateway.take());
    let resolved = section
        .map(|(file, entry)| loaded[file].reporting(|report| gateway::resolve_gateway(&entry, report)));
    resolved.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::names::ServerName;

    fn read(path: &str, text: &str) -> Parsed {
        let env = |name: &str| match name {
            "TOKEN" => Some("s3cret".to_owned()),
            "NUL" => Some("a\0b".to_owned()),
            "UP" => Some("../..".to_owned()),
            "DASH" => Some("--upload-pack=x".to_owned()),
            "BREAK" => Some("a\r\nb: c".to_owned()),
            _ => None,
        };
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        parse(&[source], &env)
    }

    /// Lists the problems of a native file, one a line without hints.
    fn problems(text: &str) -> String {
        let lines = read("p.yaml", text).problems.into_iter();
        lines.map(|problem| Problem { hint: None, ..problem }.to_string()).collect::<Vec<_>>().join("\n")
    }

    /// Lists the problems of one server in a native file.
    fn server(fields: &str) -> String {
        problems(&format!("version: 1\nservers:\n  s: {{ {fields} }}\n"))
    }

    fn served(parsed: &Parsed, name: &str) -> Server {
        parsed.config.servers.get(name).cloned().unwrap_or_else(|| panic!("{:#?}", parsed.problems))
    }

    fn command(parsed: &Parsed, name: &str) -> Command {
        match served(parsed, name).transport {
            Transport::Stdio(command) => command,
            Transport::Http(_) | Transport::Sse(_) => panic!("{name} has no command"),
        }
    }

    #[test]
    fn the_native_format_is_read() {
        let parsed = read(
            "etc/portcullis.yaml",
            r#"
version: 1
gateway:
  public_url: https://mcp.example.com
  naming: none
  legacy: false
  name_limit: 100
  page_size: 50
  request_limit: 1MiB
  limits:
    connections: 10
    headers: 16KiB
    header_count: 50
    requests: 20
    server_requests: 5
    streams: 30
    session_streams: 2
    message: 1MiB
  allowed_origins: ["https://app.example.com/"]
  instructions: Be kind.
servers:
  time: { command: [uvx, mcp-server-time, --port, 8080], env: { TZ: UTC, DEBUG: true }, cwd: data }
  "my notes": { command: npx, args: [-y, notes], timeout: 500ms, cache: 0s, enabled: false }
  tickets: { url: "https://tickets.example/mcp?k=${TOKEN}", headers: { Authorization: "Bearer ${TOKEN}" }, timeout: 2m }
"#,
        );
        assert_eq!(parsed.problems, []);
        let gateway = &parsed.config.gateway;
        assert_eq!(gateway.public_url.as_ref().map(url::Url::as_str), Some("https://mcp.example.com/"));
        assert_eq!((gateway.naming, gateway.legacy), (Naming::None, false));
        assert_eq!((gateway.name_limit, gateway.page_size, gateway.request_limit), (100, 50, 1 << 20));
        let limits = Limits {
            connections: 10,
            headers: 16 << 10,
            header_count: 50,
            requests: 20,
            server_requests: 5,
            streams: 30,
            session_streams: 2,
            message: 1 << 20,
        };
        assert_eq!(gateway.limits, limits);
        assert_eq!(gateway.allowed_origins, ["https://app.example.com"]);
        assert_eq!(gateway.instructions.as_deref(), Some("Be kind."));

        let time = command(&parsed, "time");
        assert_eq!(
            (time.program.as_str(), time.args.as_slice()),
            ("uvx", &["mcp-server-time", "--port", "8080"].map(String::from)[..])
        );
        assert_eq!(
            time.env,
            [("DEBUG", "true"), ("TZ", "UTC")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
        assert_eq!(time.cwd.as_deref(), Some("etc/data"));

        let notes = served(&parsed, "my notes");
        assert_eq!(
            (notes.timeout, notes.cache, notes.enabled),
            (Duration::from_millis(500), Duration::ZERO, false)
        );

        let tickets = served(&parsed, "tickets");
        assert_eq!(
            (tickets.timeout, tickets.cache, tickets.enabled),
            (Duration::from_mins(2), Duration::from_mins(1), true)
        );
        let Transport::Http(endpoint) = tickets.transport else { panic!("tickets has a URL") };
        assert_eq!(endpoint.url.as_str(), "https://tickets.example/mcp?k=s3cret");
        assert_eq!(endpoint.headers["authorization"], "Bearer s3cret");
        assert!(!format!("{endpoint:?}").contains("Bearer"));
    }

    #[test]
    fn many_problems_are_reported_at_once_with_their_places() {
        let text = "\
version: 2
gatway: {}
gateway:
  page_size: many
  request_limit: 1B
servers:
  time:
    comand: [uvx]
    timeout: soon
  web: { url: https://example.com/mcp, timeout: 2h }
agents: []
";
        let shown: Vec<_> = read("p.yaml", text).problems.iter().map(Problem::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        p.yaml:1:10: error: version: expected version 1, found "2"
        p.yaml:2:1: error: gatway: unknown key "gatway"; known: version, gateway, servers, groups, variants, agents, auth, limits, audit, registry, console
          hint: did you mean `gateway`?
        p.yaml:4:14: error: gateway.page_size: expected a whole number from 1 to 10000, found "many"
        p.yaml:5:18: error: gateway.request_limit: expected a size from 1KiB to 256MiB, such as "8MiB" or a number of bytes, found "1B"
        p.yaml:8:5: error: servers.time.comand: unknown key "comand"; known: command, args, env, allow_env, cwd, url, transport, headers, auth, timeout, cache, enabled, elicitation, host, approval
          hint: did you mean `command`?
        p.yaml:9:14: error: servers.time.timeout: expected a duration such as "30s", found "soon"
        p.yaml:10:49: error: servers.web.timeout: expected a duration from 1ms to 1h, found "2h"
        p.yaml:11:9: error: agents: expected a map, found a list
        "#);
    }

    #[test]
    fn a_bad_server_does_not_take_down_the_others() {
        let parsed = read("p.yaml", "version: 1\nservers:\n  bad: { url: nope }\n  good: { command: [a] }\n");
        assert!(!parsed.is_refused());
        assert_eq!(parsed.config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>(), ["good"]);
        insta::assert_debug_snapshot!(parsed.config.broken, @r#"
        {
            "bad": "servers.bad.url: this is no URL: relative URL without a base",
        }
        "#);
    }

    #[test]
    fn errors_beyond_one_server_refuse_the_configuration() {
        for text in [
            "version: 1\nagents:",
            "servers: {}\ngateway: {}",
            "version: 1\ngateway: { legacy: maybe }",
            "version: 1\nx: [",
            "",
        ] {
            assert!(read("p.yaml", text).is_refused(), "{text}");
        }
        assert!(!read("p.yaml", "version: 1").is_refused());
    }

    #[test]
    fn keys_that_stand_twice_are_refused() {
        insta::assert_snapshot!(problems("version: 1\nservers:\n  a: { command: [x], command: [y] }\n"), @r#"p.yaml:3:22: error: servers.a.command: the key "command" stands here twice, on line 3 and again on line 3"#);
        insta::assert_snapshot!(problems("version: 1\nservers: {}\nservers: {}\n"), @r#"p.yaml:3:1: error: servers: the key "servers" stands here twice, on line 2 and again on line 3"#);
        let parsed = read("p.json", r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#);
        assert_eq!(parsed.config.servers.len(), 0);
        assert_eq!(parsed.config.broken.len(), 1);
        assert!(!parsed.is_refused());
    }

    #[test]
    fn a_server_is_a_command_or_a_url() {
        insta::assert_snapshot!(server(""), @"p.yaml:3:3: error: servers.s: a server needs `command` (a subprocess) or `url` (HTTP)");
        insta::assert_snapshot!(server("command: [a], url: https://b.example"), @"p.yaml:3:27: error: servers.s.url: a server has either `command` or `url`, not both");
        insta::assert_snapshot!(server("url: https://b.example, args: [c], env: { A: b }, cwd: d, allow_env: [PATH]"), @"
        p.yaml:3:39: error: servers.s.args[0]: `args` belongs to a server with `command`
        p.yaml:3:50: error: servers.s.env.A: `env` belongs to a server with `command`
        p.yaml:3:63: error: servers.s.cwd: `cwd` belongs to a server with `command`
        p.yaml:3:78: error: servers.s.allow_env[0]: `allow_env` belongs to a server with `command`
        ");
        insta::assert_snapshot!(server("command: a, headers: { B: c }"), @"p.yaml:3:31: error: servers.s.headers.B: `headers` belongs to a server with `url`");
        insta::assert_snapshot!(server("command: a, transport: sse"), @"p.yaml:3:31: error: servers.s.transport: `transport` belongs to a server with `url`");
        insta::assert_snapshot!(server("url: https://b.example, transport: stdio"), @r#"p.yaml:3:43: error: servers.s.transport: expected `http` or `sse`, found "stdio""#);
        insta::assert_snapshot!(server("url: https://b.example, transport: sse"), @"");
        insta::assert_snapshot!(server("command: [a], args: [b]"), @"p.yaml:3:29: error: servers.s.args[0]: `args` goes with a `command` that is the program alone");
        insta::assert_snapshot!(server("command: []"), @"p.yaml:3:17: error: servers.s.command: expected a program and its arguments, found an empty list");
        insta::assert_snapshot!(server("command: { a: b }"), @"p.yaml:3:17: error: servers.s.command: expected a program, or a list of a program and its arguments, found a map");
        insta::assert_snapshot!(server("url: https://b.example, auth: { oauth: {} }"), @"");
    }

    #[test]
    fn programs_are_programs() {
        insta::assert_snapshot!(server("command: ''"), @"p.yaml:3:17: error: servers.s.command: the program is empty");
        insta::assert_snapshot!(server("command: [--version]"), @"p.yaml:3:18: error: servers.s.command[0]: a program does not begin with `-`");
        insta::assert_snapshot!(server("command: ['${DASH}']"), @"p.yaml:3:18: error: servers.s.command[0]: a program does not begin with `-`");
        insta::assert_snapshot!(server("command: npx -y notes"), @"p.yaml:3:17: error: servers.s.command: the program contains a space, and no shell splits it");
        insta::assert_snapshot!(server("command: '/Applications/My App/mcp'"), @"");
    }

    #[test]
    fn variables_that_load_code_are_refused_unless_allowed() {
        insta::assert_snapshot!(server("command: a, env: { LD_PRELOAD: /tmp/x.so, NODE_OPTIONS: --require x }"), @r#"
        p.yaml:3:27: error: servers.s.env.LD_PRELOAD: "LD_PRELOAD" can make a program run other code, and is refused
        p.yaml:3:50: error: servers.s.env.NODE_OPTIONS: "NODE_OPTIONS" can make a program run other code, and is refused
        "#);
        insta::assert_snapshot!(server("command: a, env: { NODE_OPTIONS: --max-old-space-size=4096 }, allow_env: [NODE_OPTIONS]"), @"");
        insta::assert_snapshot!(server("command: a, env: { Path: x }, allow_env: [TZ, PATH]"), @r#"
        p.yaml:3:27: error: servers.s.env.Path: "Path" can make a program run other code, and is refused
        p.yaml:3:50: warning: servers.s.allow_env[0]: "TZ" needs no permission: it is not refused
        "#);
        insta::assert_snapshot!(server("command: a, env: { 'A=B': c, '': d, 1X: e, 'BASH_FUNC_x%%': f }"), @r#"
        p.yaml:3:27: error: servers.s.env."A=B": "A=B" is no name of an environment variable
        p.yaml:3:37: error: servers.s.env."": "" is no name of an environment variable
        p.yaml:3:44: error: servers.s.env.1X: "1X" is no name of an environment variable
        p.yaml:3:51: error: servers.s.env."BASH_FUNC_x%%": "BASH_FUNC_x%%" is no name of an environment variable
        "#);
    }

    #[test]
    fn nul_bytes_are_refused() {
        insta::assert_snapshot!(server(r#"command: ["a\0b"]"#), @"p.yaml:3:18: error: servers.s.command[0]: the text contains a NUL character");
        insta::assert_snapshot!(server(r#"command: [a, "b\0"], env: { A: "\0" }, cwd: "\0""#), @"
        p.yaml:3:21: error: servers.s.command[1]: the text contains a NUL character
        p.yaml:3:39: error: servers.s.env.A: the text contains a NUL character
        p.yaml:3:52: error: servers.s.cwd: the text contains a NUL character
        ");
        insta::assert_snapshot!(server(r#"command: [a], env: { "A\0B": c }"#), @r#"p.yaml:3:29: error: servers.s.env."A\0B": "A\0B" is no name of an environment variable"#);
        insta::assert_snapshot!(server("command: [a, '${NUL}']"), @"p.yaml:3:21: error: servers.s.command[1]: the value of NUL contains a NUL character");
    }

    #[test]
    fn folders_do_not_escape() {
        insta::assert_snapshot!(server("command: a, cwd: ../x"), @"p.yaml:3:25: error: servers.s.cwd: a relative folder may not leave the folder of the configuration");
        insta::assert_snapshot!(server("command: a, cwd: '${UP}'"), @"p.yaml:3:25: error: servers.s.cwd: a relative folder may not leave the folder of the configuration");
        insta::assert_snapshot!(server("command: a, cwd: ~/x"), @"p.yaml:3:25: error: servers.s.cwd: `~` is not replaced, since no shell is involved");
        insta::assert_snapshot!(server("command: a, cwd: /srv/../x"), @"");
    }

    #[test]
    fn variables_that_are_not_set_are_named() {
        insta::assert_snapshot!(server("command: [a, '${NONE}'], env: { B: 'x${NEITHER}' }"), @"
        p.yaml:3:21: error: servers.s.command[1]: the environment variable NONE is not set
        p.yaml:3:43: error: servers.s.env.B: the environment variable NEITHER is not set
        ");
        insta::assert_snapshot!(server("command: [a, '${PORTCULLIS_SEAL_KEY}', '${OPEN']"), @"
        p.yaml:3:21: error: servers.s.command[1]: PORTCULLIS_SEAL_KEY belongs to the gateway itself, which hands none of its own variables on
        p.yaml:3:47: error: servers.s.command[2]: `${` begins a reference to a variable such as ${NAME}, and what follows is none
        ");
    }

    #[test]
    fn urls_are_http_and_hold_no_secrets() {
        insta::assert_snapshot!(server("url: 'file:///etc/passwd'"), @"p.yaml:3:13: error: servers.s.url: expected an http or https URL");
        insta::assert_snapshot!(server("url: 'https://user:pass@x.example'"), @"p.yaml:3:13: error: servers.s.url: the URL contains credentials");
        insta::assert_snapshot!(server("url: 'https://x.example/#f'"), @"p.yaml:3:13: error: servers.s.url: the URL has a fragment (`#...`), which is never sent");
        insta::assert_snapshot!(server("url: 'https://'"), @"p.yaml:3:13: error: servers.s.url: this is no URL: empty host");
    }

    #[test]
    fn headers_of_the_protocol_are_not_configurable() {
        insta::assert_snapshot!(server("url: https://x.example, headers: { Host: a, MCP-Session-Id: b, 'A b': c, X-A: 'é', X-B: '${BREAK}' }"), @r#"
        p.yaml:3:43: error: servers.s.headers.Host: the gateway sets the header `host` itself
        p.yaml:3:52: error: servers.s.headers.MCP-Session-Id: the gateway sets the header `mcp-session-id` itself
        p.yaml:3:71: error: servers.s.headers."A b": "A b" is no name of a header
        p.yaml:3:86: error: servers.s.headers.X-A: the value has characters that a header cannot have
        p.yaml:3:96: error: servers.s.headers.X-B: the value has characters that a header cannot have
        "#);
        insta::assert_snapshot!(server("url: https://x.example, headers: { X-A: a, x-a: b }"), @"p.yaml:3:51: error: servers.s.headers.x-a: this header stands here twice; case makes no difference");
    }

    #[test]
    fn no_problem_repeats_a_secret() {
        let entries = [
            "url: 'https://u:hunter2@x/#hunter2', headers: { Host: hunter2 }",
            "url: 'hunter2', headers: { B: \"hunter2\\n\" }",
            "url: 'https://x/', headers: { A: [hunter2] }",
            "command: hunter2 x, env: { PATH: hunter2, B: '${hunter2' }, cwd: ../hunter2",
            "command: [a, \"hunter2\\0\"], env: { A: { hunter2: 1 } }",
        ];
        let servers =
            entries.iter().enumerate().map(|(index, fields)| format!("  s{index}: {{ {fields} }}\n"));
        let text = format!("version: 1\nservers:\n{}", servers.collect::<String>());
        let parsed = read("p.yaml", &text);
        assert!(parsed.problems.len() >= 10, "{parsed:#?}");
        assert!(!format!("{parsed:?}").contains("hunter2"), "{parsed:#?}");
    }

    #[test]
    fn names_that_cannot_be_told_apart_are_all_refused() {
        let parsed = read(
            "p.yaml",
            "version: 1\nservers:\n  time: { command: a }\n  Time: { command: b }\n  a b: { command: c }\n  a.b: { command: d }\n  ok: { command: e }\n",
        );
        assert_eq!(parsed.config.servers.len(), 1);
        let shown: Vec<_> = parsed.problems.iter().map(|problem| problem.message.as_str()).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        this name cannot be told from "Time" in p.yaml:4
        this name cannot be told from "time" in p.yaml:3
        this name cannot be told from "a.b" in p.yaml:6
        this name cannot be told from "a b" in p.yaml:5
        "#);
    }

    #[test]
    fn names_are_server_names() {
        let names = ["''", "' a'", "..", "a/b", "t\u{456}me", "\"a\\e[0m\"", &"x".repeat(65)]
            .map(|name| format!("  {name}: {{ command: a }}\n"));
        insta::assert_snapshot!(problems(&format!("version: 1\nservers:\n{}", names.concat())), @r#"
        p.yaml:3:3: error: servers."": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found ""
        p.yaml:4:3: error: servers." a": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found " a"
        p.yaml:5:3: error: servers."..": a server name is more than dots; found ".."
        p.yaml:6:3: error: servers."a/b": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "a/b"
        p.yaml:7:3: error: servers."tіme": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "tіme"
        p.yaml:8:3: error: servers."a\u{1b}[0m": a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "a\u{1b}[0m"
        p.yaml:9:3: error: servers."xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"…: a server name has 1 to 64 characters, each a letter, digit, `_`, `-`, `.` or a space in between; found "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "#);
    }

    #[test]
    fn a_disabled_server_is_excused() {
        let parsed = read("p.yaml", "version: 1\nservers:\n  a: { command: ['${NONE}'], enabled: false }\n");
        assert_eq!((parsed.config.servers.len(), parsed.config.broken.len()), (0, 0));
        insta::assert_snapshot!(parsed.problems[0].to_string(), @"
        p.yaml:3:18: warning: servers.a.command[0]: the environment variable NONE is not set
          hint: set it for the gateway, or write `${NONE:-text}` with a default
        ");
    }

    #[test]
    fn several_files_are_one_configuration() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let sources = [
            source(
                "a.yaml",
                "version: 1\ngateway: { page_size: 5 }\nservers: { x: { command: a }, y: { command: a } }",
            ),
            source("b.json", r#"{"mcpServers": {"X": {"command": "b"}, "z": {"command": "b"}}}"#),
            source("c.yaml", "version: 1\ngateway: { page_size: 6 }"),
        ];
        let parsed = parse(&sources, &|_| None);
        assert_eq!(parsed.config.servers.keys().map(ServerName::as_str).collect::<Vec<_>>(), ["y", "z"]);
        assert_eq!(parsed.config.gateway.page_size, 5);
        let shown: Vec<_> = parsed
            .problems
            .iter()
            .map(|problem| Problem { hint: None, ..problem.clone() }.to_string())
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        a.yaml:3:12: error: servers.x: this name cannot be told from "X" in b.json:1
        b.json:1:17: error: mcpServers.X: this name cannot be told from "x" in a.yaml:3
        c.yaml:2:10: error: gateway: a.yaml has a section `gateway` already
        "#);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,200}", path in "[a-z.]{0,9}(json|yaml)?") {
            read(&path, &text);
        }

        #[test]
        fn no_near_miss_makes_the_reader_panic(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "version: 1\n", "servers:", "\n  a: ", "{", "}", "[", "]", "command", ": ", ",", "&x ", "*x", "url", "\"", "'",
                    "${", "\n", "  ", "- ", "env", "LD_A", "cwd", "..", "!!str ", "? ", "|", ">", "#", "---", "mcpServers", "é", "\t", "\0",
                ]),
                0..40,
            )
        ) {
            read("p", &parts.concat());
            read("p.yaml", &format!("version: 1\nservers:\n{}", parts.concat()));
            read("p.json", &parts.concat());
        }
    }
}
