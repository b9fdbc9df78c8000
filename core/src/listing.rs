//! Strict mode: which servers the registry has approved, and whether one of the configuration is among them. Pure.
//!
//! **A server is known by what it is, not by its name**: the URL it is at, the package and version it comes from, or the digest of
//! its image. What cannot be told apart from something else by that, such as a program of the machine, is approved by nothing.
//! **What is approved comes with the configuration** where that lies in a store, so that a gateway which only takes snapshots
//! knows it; else the host's records have it (ADR 0046).

use std::sync::{Arc, Mutex};

use crate::config::{Config, Hosting, Registry, Server, Transport};
use crate::names::ServerName;
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::lock;
use crate::wire::json::Json;

/// What the registry has approved: by `NAME/VERSION` of an entry, what that one is. All that hold one see what changes in it.
#[derive(Debug, Clone, Default)]
pub struct Listed(Arc<Mutex<SortedMap<String, Approved>>>);

/// What was approved of an entry of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Approved {
    /// The digest of the entry as it was shown to whoever approved it.
    pub(crate) digest: String,
    /// What servers of that entry are.
    pub(crate) identities: Vec<String>,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *lock(&self.0) == *lock(&other.0)
    }
}

impl Listed {
    /// Takes over what is approved now.
    #[cfg(feature = "control")]
    pub(crate) fn become_as(&self, approved: SortedMap<String, Approved>) {
        *lock(&self.0) = approved;
    }

    /// Adds an entry.
    pub(crate) fn set(&self, key: String, approved: Approved) {
        lock(&self.0).insert(key, approved);
    }

    /// Returns the entry that a server is one of.
    pub(crate) fn entry_of(&self, server: &Server) -> Option<String> {
        let identity = identity(server)?;
        let all = lock(&self.0);
        let mut entries = all.iter().filter(|(_, approved)| approved.identities.contains(&identity));
        entries.next().map(|(key, _)| key.clone())
    }
}

impl Approved {
    /// Returns the text that is kept.
    #[cfg(any(feature = "control", test))]
    pub(crate) fn to_text(&self) -> String {
        serde_json::json!({ "digest": self.digest, "identities": self.identities }).to_string()
    }

    /// Reads such a text.
    ///
    /// # Errors
    ///
    /// Says what is wrong with one that is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let json = Json::check(text.as_bytes()).map_err(|error| error.to_string())?;
        let digest = json.get("digest").and_then(Json::as_str).ok_or("it has no `digest`")?;
        let identities =
            json.get("identities").filter(|list| list.is_array()).ok_or("it has no `identities`")?;
        let texts = identities.elements().map(|item| item.as_str().map(std::borrow::Cow::into_owned));
        let identities = texts.collect::<Option<_>>().ok_or("its `identities` are no texts")?;
        Ok(Self { digest: digest.into_owned(), identities })
    }
}

impl Server {
    /// Returns what the server is, as strict mode compares it; nothing where nobody could say.
    pub fn identity(&self) -> Option<String> {
        identity(self)
    }
}

impl Config {
    /// Returns the servers that are not served because the registry does not have them.
    pub fn unlisted(&self) -> SortedSet<ServerName> {
        let servers = self.servers.iter().filter(|(_, server)| self.keeps_out(server));
        servers.map(|(name, _)| name.clone()).collect()
    }

    /// Tells whether a server is not served because the registry does not have it.
    pub(crate) fn keeps_out(&self, server: &Server) -> bool {
        self.registry.strict && self.listed.entry_of(server).is_none()
    }
}

/// Returns what a server is; nothing where nobody could say.
pub(crate) fn identity(server: &Server) -> Option<String> {
    match &server.transport {
        Transport::Http(endpoint) | Transport::Sse(endpoint) => Some(of_url(&endpoint.url)),
        Transport::Stdio(command) => of_hosted(command.hosting()?),
    }
}

/// Returns what a server at a URL is.
pub(crate) fn of_url(url: &url::Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    format!("url:{url}")
}

fn of_hosted(hosting: &Hosting) -> Option<String> {
    if let Some(image) = &hosting.image {
        return Some(of_image(&image.digest));
    }
    let package = hosting.package.as_ref()?;
    Some(of_package(package.registry, &package.name, &package.version))
}

/// Returns what a server from an image is.
pub(crate) fn of_image(digest: &str) -> String {
    format!("oci:{digest}")
}

/// Returns what a server from a package is.
pub(crate) fn of_package(registry: Registry, name: &str, version: &str) -> String {
    match registry {
        Registry::Npm => format!("npm:{name}@{version}"),
        // Names that differ in case and in these signs are one name there.
        Registry::Pypi => format!("pypi:{}@{version}", name.to_ascii_lowercase().replace(['_', '.'], "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};

    fn config(servers: &str) -> Config {
        let text = format!("version: 1\nregistry: {{ strict: true }}\nservers:\n{servers}");
        let parsed = parse(&[Source { path: "p.yaml".into(), text }], &|_| None);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        parsed.config
    }

    fn listing(identities: &[&str]) -> Approved {
        Approved { digest: "d".into(), identities: identities.iter().map(|&text| text.to_owned()).collect() }
    }

    #[test]
    fn a_server_is_what_it_is_and_not_what_it_is_called() {
        let check = |server: &str, approved: &str| {
            let config = config(&format!("  a: {server}\n"));
            config.listed.set("com.example/a/1.0.0".into(), listing(&[approved]));
            config.unlisted().is_empty()
        };
        assert!(check("{ url: https://a.example/mcp }", "url:https://a.example/mcp"));
        assert!(!check("{ url: https://a.example/mcp }", "url:https://a.example/mcp2"));
        assert!(!check("{ url: https://a.example/mcp?x=1 }", "url:https://a.example/mcp"));
        assert!(!check("{ url: http://a.example/mcp }", "url:https://a.example/mcp"));
        assert!(check("{ url: https://A.example:443/mcp }", "url:https://a.example/mcp"));
        assert!(check("{ host: { npm: \"@a/b@1.0.2\" } }", "npm:@a/b@1.0.2"));
        assert!(!check("{ host: { npm: \"@a/b@1.0.3\" } }", "npm:@a/b@1.0.2"));
        assert!(!check("{ host: { npm: \"a-b@1.0.2\" } }", "pypi:a-b@1.0.2"));
        assert!(check("{ host: { pypi: \"Mcp_Server==1.0\" } }", "pypi:mcp-server@1.0"));
        assert!(
            !check("{ command: [npx, -y, \"@a/b@1.0.2\"] }", "npm:@a/b@1.0.2"),
            "it could be any program"
        );
    }

    #[test]
    fn without_strict_mode_nothing_is_kept_out() {
        let mut config = config("  a: { url: https://a.example/mcp }\n");
        assert_eq!(config.unlisted().len(), 1);
        config.registry.strict = false;
        assert!(config.unlisted().is_empty());
    }

    #[test]
    fn what_is_kept_of_an_approval_is_read_again() {
        let approved = listing(&["url:https://a.example/\"mcp", "npm:a@1"]);
        assert_eq!(Approved::read(&approved.to_text()), Ok(approved));
        for bad in ["", "[]", "{}", r#"{"digest":"d"}"#, r#"{"digest":"d","identities":[1]}"#] {
            assert!(Approved::read(bad).is_err(), "{bad}");
        }
    }
}
