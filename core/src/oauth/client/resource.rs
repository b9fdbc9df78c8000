//! What a server says that it is (RFC 9728): where it says so, and whether that is believed.

use url::Url;

use super::Scopes;
use crate::oauth::address::{may_follow, parse};
use crate::wire::json::Json;

/// The most authorization servers of one server.
const MOST: usize = 16;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// What it is called where tokens are made for it.
    pub(crate) name: String,
    /// The issuers whose tokens it takes; at least one.
    pub(crate) issuers: Vec<String>,
    /// The scopes that it knows.
    pub(crate) scopes: Option<Scopes>,
}

/// Returns where a server's metadata may be, in the order in which it is asked for: where it says, else where it has to be.
pub(crate) fn metadata_places(server: &Url, named: Option<&str>) -> Result<Vec<Url>, String> {
    const PLACE: &str = "/.well-known/oauth-protected-resource";
    if let Some(named) = named {
        let place = parse(named).filter(|place| may_follow(server, place));
        let place =
            place.ok_or("it names a place for its metadata (`resource_metadata`) that is not followed")?;
        return Ok(vec![place]);
    }
    let at = |path: &str| {
        let mut url = server.clone();
        url.set_path(path);
        url.set_query(None);
        url
    };
    let path = server.path().trim_end_matches('/');
    let mut places = vec![at(&format!("{PLACE}{path}")), at(PLACE)];
    places.dedup();
    Ok(places)
}

/// Returns the name of a server as a resource where it has not said one (RFC 8707 §2; MCP, "Canonical Server URI").
pub(crate) fn canonical(server: &Url) -> String {
    let mut url = server.clone();
    url.set_query(None);
    url.set_fragment(None);
    let text = url.as_str();
    if url.path() == "/" { text.trim_end_matches('/').to_owned() } else { text.to_owned() }
}

impl Resource {
    /// Reads a server's metadata, or says why it is not believed.
    pub(crate) fn read(text: &[u8], server: &Url) -> Result<Self, String> {
        let json = Json::check(text).ok().filter(|json| json.is_object());
        let json = json.ok_or("what it says of itself is no JSON object")?;
        let resource = json.get("resource").and_then(Json::as_str).map(std::borrow::Cow::into_owned);
        let resource = resource.filter(|resource| parse(resource).is_some_and(|url| is_of(&url, server)));
        let resource = resource.ok_or("what it says of itself is about another server (`resource`)")?;
        let issuers = json.get("authorization_servers").filter(|list| list.is_array());
        let issuers = issuers.into_iter().flat_map(Json::elements).take(MOST).filter_map(Json::as_str);
        let issuers: Vec<_> = issuers.map(std::borrow::Cow::into_owned).collect();
        if issuers.is_empty() {
            return Err("it names no authorization server".into());
        }
        Ok(Self { name: resource, issuers, scopes: json.get("scopes_supported").and_then(Scopes::read) })
    }
}

/// Tells whether a resource is a server, or something that the server lies in.
fn is_of(resource: &Url, server: &Url) -> bool {
    let prefix = resource.path().trim_end_matches('/');
    let rest = server.path().strip_prefix(prefix);
    resource.origin() == server.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn metadata_is_where_the_server_says_or_where_it_has_to_be() {
        let check = |server: &str, named: Option<&str>| match metadata_places(&url(server), named) {
            Ok(places) => places.iter().map(Url::as_str).collect::<Vec<_>>().join(" "),
            Err(why) => why,
        };
        insta::assert_snapshot!(check("https://a.example/mcp?x=1", None), @"https://a.example/.well-known/oauth-protected-resource/mcp https://a.example/.well-known/oauth-protected-resource");
        insta::assert_snapshot!(check("https://a.example", None), @"https://a.example/.well-known/oauth-protected-resource");
        insta::assert_snapshot!(check("https://a.example/mcp", Some("https://a.example/x")), @"https://a.example/x");
        insta::assert_snapshot!(check("https://a.example/mcp", Some("http://169.254.169.254/x")), @"it names a place for its metadata (`resource_metadata`) that is not followed");
        insta::assert_snapshot!(check("https://a.example/mcp", Some("file:///etc/passwd")), @"it names a place for its metadata (`resource_metadata`) that is not followed");
    }

    #[test]
    fn a_server_is_called_by_its_url() {
        assert_eq!(canonical(&url("https://A.example/mcp?x=1")), "https://a.example/mcp");
        assert_eq!(canonical(&url("https://a.example/")), "https://a.example");
    }

    #[test]
    fn a_server_speaks_for_itself_alone() {
        let check = |resource: &str| {
            let text =
                format!(r#"{{"resource":"{resource}","authorization_servers":["https://i.example"]}}"#);
            Resource::read(text.as_bytes(), &url("https://a.example/mcp/x?y=1")).is_ok()
        };
        for own in [
            "https://a.example/mcp/x",
            "https://a.example/mcp/",
            "https://a.example",
            "https://A.example:443/mcp",
        ] {
            assert!(check(own), "{own}");
        }
        for other in [
            "https://b.example/mcp/x",
            "http://a.example/mcp/x",
            "https://a.example:8443/mcp/x",
            "https://a.example/mc",
            "https://a.example/mcp/x/y",
            "https://a.example/mcp/x#f",
            "mcp",
            "",
        ] {
            assert!(!check(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        let check = |text: &str| Resource::read(text.as_bytes(), &url("https://a.example/mcp")).unwrap_err();
        insta::assert_snapshot!(check("["), @"what it says of itself is no JSON object");
        insta::assert_snapshot!(check("{}"), @"what it says of itself is about another server (`resource`)");
        insta::assert_snapshot!(check(r#"{"resource":"https://a.example/mcp","authorization_servers":[1]}"#), @"it names no authorization server");
    }
}
