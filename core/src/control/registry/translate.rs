//! From a server.json to the settings of a server in the native format: what it is reached by, with secrets by name alone.

use serde_json::{Map, Value, json};

use super::identities::public;
use crate::config::Registry;

/// Returns the settings of a server of an entry; nothing where it has neither a remote nor a package that can be used.
pub(crate) fn settings(server: &Value) -> Option<Value> {
    let list = |key: &str| server[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let remote =
        list("remotes").iter().find(|remote| remote["url"].as_str().is_some_and(|url| !url.contains('{')));
    if let Some(remote) = remote {
        let mut settings = json!({ "url": remote["url"] });
        let headers = inputs(&remote["headers"]);
        if !headers.is_empty() {
            settings["headers"] = headers.into();
        }
        return Some(settings);
    }
    list("packages").iter().find_map(of_package)
}

fn of_package(package: &Value) -> Option<Value> {
    if package["transport"]["type"] != "stdio" {
        return None;
    }
    let (name, version) = (package["identifier"].as_str()?, package["version"].as_str());
    let host = match public(package) {
        Some(Registry::Npm) => json!({ "npm": format!("{name}@{}", version?) }),
        Some(Registry::Pypi) => json!({ "pypi": format!("{name}=={}", version?) }),
        None if package["registryType"] == "oci" && name.contains("@sha256:") => json!({ "image": name }),
        None => return None,
    };
    let mut settings = json!({ "host": host });
    let arguments = package["packageArguments"].as_array().into_iter().flatten();
    let args: Vec<Value> = arguments.flat_map(argument).map(Value::from).collect();
    if !args.is_empty() {
        settings["args"] = args.into();
    }
    let env = inputs(&package["environmentVariables"]);
    if !env.is_empty() {
        settings["env"] = env.into();
    }
    Some(settings)
}

fn argument(argument: &Value) -> Vec<String> {
    let value = argument["value"].as_str().or_else(|| argument["default"].as_str());
    let value = value.filter(|value| !value.contains('{')).map(escaped);
    match (argument["name"].as_str(), value) {
        (Some(name), Some(value)) => vec![escaped(name), value],
        (Some(name), None) if argument["isRequired"] == true => vec![escaped(name)],
        (_, None) => Vec::new(),
        (None, Some(value)) => vec![value],
    }
}

/// Returns headers or variables by name: what is said as it is, and what somebody has to say as a secret.
fn inputs(list: &Value) -> Map<String, Value> {
    let inputs = list.as_array().into_iter().flatten().filter_map(|input| {
        let name = input["name"].as_str()?;
        let said = input["value"].as_str().or_else(|| input["default"].as_str());
        let value = match said.filter(|said| !said.contains('{')) {
            Some(said) => Value::from(escaped(said)),
            None if input["isRequired"] == true || input["isSecret"] == true => {
                json!({ "secret": secret_name(name) })
            }
            None => return None,
        };
        Some((name.to_owned(), value))
    });
    inputs.collect()
}

/// Writes a text of a stranger's so that it calls no variable of the gateway's environment and no secret.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn secret_name(name: &str) -> String {
    name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}
