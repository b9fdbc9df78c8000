//! The Rust SDK's client (`rmcp`), as one of the interop drivers; `interop/clients/README.md` describes the interface.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::ExitCode;

use http::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, GetPromptRequestParams, Implementation,
    JsonObject, ProtocolVersion, ReadResourceRequestParams,
};
use rmcp::service::{ClientServiceExt, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, RoleClient};
use serde::Deserialize;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Connection = RunningService<RoleClient, ClientConfig>;

/// What the command line asks for.
struct Options {
    url: String,
    lifecycle: ClientLifecycleMode,
    headers: HashMap<HeaderName, HeaderValue>,
}

/// One step of the plan.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Step {
    ListTools,
    ListResources,
    ListTemplates,
    ListPrompts,
    CallTool {
        name: String,
        #[serde(default)]
        arguments: JsonObject,
    },
    ReadResource {
        uri: String,
    },
    GetPrompt {
        name: String,
        #[serde(default)]
        arguments: JsonObject,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (document, code) = match run().await {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(failure) => (json!({ "client": "rmcp", "error": sentence(failure.as_ref()) }), ExitCode::FAILURE),
    };
    if writeln!(std::io::stdout(), "{document}").is_err() {
        return ExitCode::FAILURE;
    }
    code
}

async fn run() -> Result<Value, Failure> {
    let options = parse_arguments(std::env::args().skip(1))?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: Vec<Value> = serde_json::from_str(&text)?;

    let mut config = StreamableHttpClientTransportConfig::with_uri(options.url);
    config.custom_headers = options.headers;
    let transport = StreamableHttpClientTransport::from_config(config);
    let identity = Implementation::new("interop-rmcp", "1.0.0");
    let client = ClientConfig::new(ClientCapabilities::default(), identity)
        .serve_with_lifecycle(transport, options.lifecycle)
        .await?;

    let mut steps = Vec::new();
    for step in &plan {
        steps.push(match perform(&client, step).await {
            Ok(result) => json!({ "do": step["do"], "ok": result }),
            Err(failure) => json!({ "do": step["do"], "error": sentence(failure.as_ref()) }),
        });
    }
    let peer = serde_json::to_value(client.peer_info())?;
    let document = json!({
        "client": "rmcp",
        "protocol": peer["protocolVersion"],
        "server": peer["serverInfo"],
        "steps": steps,
    });
    client.cancel().await?;
    Ok(document)
}

fn parse_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options { url: String::new(), lifecycle: lifecycle("auto")?, headers: HashMap::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--era" => options.lifecycle = lifecycle(&arguments.next().unwrap_or_default())?,
            "--header" => {
                let header = arguments.next().unwrap_or_default();
                let (name, value) = header.split_once(':').ok_or("a header is 'Name: Value'")?;
                options.headers.insert(name.trim().parse()?, value.trim().parse()?);
            }
            _ => options.url = argument,
        }
    }
    Ok(options)
}

fn lifecycle(era: &str) -> Result<ClientLifecycleMode, Failure> {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match era {
        "auto" => Ok(ClientLifecycleMode::Auto { preferred_versions, legacy_version: None }),
        "legacy" => Ok(ClientLifecycleMode::Initialize),
        "modern" => Ok(ClientLifecycleMode::Discover { preferred_versions }),
        other => Err(format!("no era {other}").into()),
    }
}

async fn perform(client: &Connection, step: &Value) -> Result<Value, Failure> {
    let result = match Step::deserialize(step)? {
        Step::ListTools => json!({ "tools": client.list_all_tools().await? }),
        Step::ListResources => json!({ "resources": client.list_all_resources().await? }),
        Step::ListTemplates => json!({ "resourceTemplates": client.list_all_resource_templates().await? }),
        Step::ListPrompts => json!({ "prompts": client.list_all_prompts().await? }),
        Step::CallTool { name, arguments } => {
            let params = CallToolRequestParams::new(name).with_arguments(arguments);
            serde_json::to_value(client.call_tool(params).await?)?
        }
        Step::ReadResource { uri } => {
            serde_json::to_value(client.read_resource(ReadResourceRequestParams::new(uri)).await?)?
        }
        Step::GetPrompt { name, arguments } => {
            let params = GetPromptRequestParams::new(name).with_arguments(arguments);
            serde_json::to_value(client.get_prompt(params).await?)?
        }
    };
    Ok(result)
}

/// An error and its causes in one line.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(cause) => format!("{error} ({})", sentence(cause)),
        None => error.to_string(),
    }
}
