//! What servers of an entry are, as strict mode compares it. **What somebody else could fill with something else is nothing**: an
//! image without a digest, a package of another place than the public registry, a URL with gaps.

use serde_json::Value;
use url::Url;

use crate::config::Registry;
use crate::listing::{of_image, of_package, of_url};

/// Returns what servers of a server.json are.
pub(crate) fn of(server: &Value) -> Vec<String> {
    let list = |key: &str| server[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let packages = list("packages").iter().filter_map(of_listed_package);
    let remotes = list("remotes").iter().filter_map(|remote| {
        let url = remote["url"].as_str().filter(|url| !url.contains('{'))?;
        Url::parse(url).ok().map(|url| of_url(&url))
    });
    packages.chain(remotes).collect()
}

fn of_listed_package(package: &Value) -> Option<String> {
    let name = package["identifier"].as_str()?;
    if package["registryType"] == "oci" {
        let digest = name.rsplit_once('@').map(|(_, digest)| digest)?;
        return digest.starts_with("sha256:").then(|| of_image(digest));
    }
    let registry = public(package)?;
    Some(of_package(registry, name, package["version"].as_str()?))
}

/// Returns the public registry that a package is one of.
pub(crate) fn public(package: &Value) -> Option<Registry> {
    let (registry, host): (_, &[&str]) = match package["registryType"].as_str()? {
        "npm" => (Registry::Npm, &["registry", "npmjs", "org"]),
        "pypi" => (Registry::Pypi, &["pypi", "org"]),
        _ => return None,
    };
    let Some(base) = package["registryBaseUrl"].as_str() else { return Some(registry) };
    let base = Url::parse(base).ok()?;
    let is_it = base.scheme() == "https" && base.host_str()?.split('.').eq(host.iter().copied());
    is_it.then_some(registry)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_nobody_can_fill_with_something_else_is_something() {
        let check = |package: Value| of(&json!({ "packages": [package] })).join(" ");
        let npm = |base: &str| json!({ "registryType": "npm", "identifier": "a", "version": "1", "registryBaseUrl": base });
        assert_eq!(
            check(json!({ "registryType": "npm", "identifier": "@a/b", "version": "1.0" })),
            "npm:@a/b@1.0"
        );
        assert_eq!(
            check(json!({ "registryType": "pypi", "identifier": "A_b", "version": "1.0" })),
            "pypi:a-b@1.0"
        );
        assert_eq!(check(json!({ "registryType": "npm", "identifier": "a" })), "");
        assert_eq!(check(npm(&["https://registry", "npmjs", "org"].join("."))), "npm:a@1");
        assert_eq!(check(npm("https://npm.evil.example")), "");
        assert_eq!(check(json!({ "registryType": "oci", "identifier": "a/b:1.0" })), "");
        assert_eq!(check(json!({ "registryType": "oci", "identifier": "a/b@sha256:00" })), "oci:sha256:00");
        let remotes =
            json!({ "remotes": [{ "url": "https://A.example/mcp" }, { "url": "https://{t}.example/mcp" }] });
        assert_eq!(of(&remotes), ["url:https://a.example/mcp"]);
    }
}
