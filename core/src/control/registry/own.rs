//! The servers of the configuration as entries of the registry: each has the gateway as its remote.

use serde_json::{Value, json};
use url::Url;

use super::entry::{Entry, Review};

/// A server that is served.
pub(crate) struct Served<'s> {
    pub(crate) name: &'s str,
    /// The path of its endpoint.
    pub(crate) path: String,
    /// What it says of itself: `serverInfo`, as JSON.
    pub(crate) info: Option<Value>,
}

/// Makes the entry of a server that is served; `listed` is the entry that it was approved as.
pub(crate) fn entry(own: &Served<'_>, base: &str, listed: Option<&Entry>, since: u64) -> Entry {
    let remotes = json!([{
        "type": "streamable-http",
        "url": format!("{base}{}", own.path),
        "headers": [{
            "name": "Authorization",
            "description": "Bearer and a key or token for the gateway",
            "isSecret": true,
        }],
    }]);
    if let Some(listed) = listed {
        let mut entry = listed.clone();
        if let Some(server) = entry.server.as_object_mut() {
            server.remove("packages");
            server.insert("remotes".into(), remotes);
        }
        entry.updated = entry.updated.max(since);
        return entry;
    }
    let said = |key: &str| own.info.as_ref().and_then(|info| info[key].as_str()).unwrap_or_default();
    let title: String = said("title").chars().take(100).collect();
    let version = said("version").replace(|c: char| !c.is_ascii_alphanumeric() && !".+-_".contains(c), "-");
    let version = if version.is_empty() || version == "latest" { "0.0.0" } else { &version };
    let about = format!("{} behind the gateway", if title.is_empty() { own.name } else { &title });
    let mut server = json!({
        "name": format!("{}/{}", namespace(base), plain(own.name)),
        "description": about.chars().take(100).collect::<String>(),
        "version": version.chars().take(255).collect::<String>(),
        "remotes": remotes,
    });
    if !title.is_empty() {
        server["title"] = title.into();
    }
    Entry { review: Review::Approved, ..Entry::new(server, "configuration", since) }
}

/// Returns the namespace of the gateway's own entries: its host, the other way round.
pub(crate) fn namespace(base: &str) -> String {
    let url = Url::parse(base).ok();
    match url.as_ref().and_then(Url::domain) {
        Some(domain) if domain.contains('.') => domain.rsplit('.').collect::<Vec<_>>().join("."),
        _ => "local.portcullis".to_owned(),
    }
}

fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "-")
}

#[cfg(test)]
mod tests {
    use super::super::wrongs;
    use super::*;

    #[test]
    fn a_served_server_is_an_entry_with_the_gateway_as_its_remote() {
        let info = Some(json!({ "version": "1.0 beta", "title": "Ä".repeat(300) }));
        let served = Served { name: "my server", path: "/mcp/servers/my%20server".into(), info };
        let own = entry(&served, "https://mcp.acme.example", None, 5);
        assert_eq!(wrongs(&own.server), []);
        assert_eq!((own.name(), own.version()), ("example.acme.mcp/my-server", "1.0-beta"));
        assert_eq!(own.server["remotes"][0]["url"], "https://mcp.acme.example/mcp/servers/my%20server");
        assert_eq!(namespace("http://127.0.0.1:1"), "local.portcullis");
        let listed =
            json!({ "name": "a/b", "version": "2", "description": "d", "packages": [1], "remotes": [2] });
        let listed = entry(&served, "https://g.example", Some(&Entry::new(listed, "ana", 9)), 5);
        assert!(listed.server.get("packages").is_none() && listed.updated == 9 && listed.name() == "a/b");
        assert_eq!(listed.server["remotes"][0]["type"], "streamable-http");
    }
}
