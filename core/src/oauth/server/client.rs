//! Clients: which is meant by a `client_id`, and what its document may say.
//!
//! **A client is its id.** One with a document is the document's URL (client ID metadata documents); one that registered
//! itself is the seal of what it said then.

use serde::{Deserialize, Serialize};
use url::Url;

use super::redirect::{self, Destination};
use super::{Authority, BODY, digest};
use crate::acl::Glob;
use crate::config::SignIn;
use crate::oauth::address::is_public_name;
use crate::ports::Entropy;
use crate::session::SignInPart;
use crate::wire::json::{Json, Object};

/// The longest id that is looked at, in bytes.
const LONGEST_ID: usize = 8 << 10;
/// The longest URL of a document, in bytes.
const LONGEST_URL: usize = 512;
/// The longest name that is shown, in characters.
const LONGEST_NAME: usize = 80;
/// The most redirect URIs of a client.
const REDIRECTS: usize = 10;

/// A client, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Client {
    /// What it calls itself.
    pub(super) name: Option<String>,
    /// Where codes for it may be sent.
    pub(super) redirects: Vec<String>,
    /// How it proves who it is when it asks for tokens.
    pub(super) method: Method,
    /// Whether it wants refresh tokens.
    pub(super) refreshes: bool,
    /// When its id ends, in milliseconds since the Unix epoch; it does not where it is a URL.
    pub(super) expires: u64,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// Not at all: PKCE and the redirect URI are what protects it.
    None,
    /// With its secret in `Authorization`.
    ClientSecretBasic,
    /// With its secret among the parameters.
    ClientSecretPost,
}

impl Method {
    pub(super) const ALL: [Self; 3] = [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// A client that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// What is said of it stands in the document at this URL.
    At(Url),
    /// It registered itself.
    Registered(Client),
}

impl<E: Entropy> Authority<'_, E> {
    /// Tells which client is named.
    pub(crate) fn named(&self, id: &str) -> Result<Named, &'static str> {
        if id.len() > LONGEST_ID {
            return Err("the client's id is longer than ids are");
        }
        if id.contains("://") {
            let url = document_url(id)?;
            if !is_allowed(self.settings, id) {
                return Err("this gateway's policy does not allow this client");
            }
            return Ok(Named::At(url));
        }
        let client =
            self.registered(id).ok_or("the client is not known here, or its registration has ended")?;
        if !client.redirects.iter().all(|uri| is_allowed(self.settings, uri)) {
            return Err("this gateway's policy does not allow this client");
        }
        Ok(Named::Registered(client))
    }

    /// Returns a client that registered itself.
    pub(super) fn registered(&self, id: &str) -> Option<Client> {
        let client: Client = self.open(SignInPart::Client, id)?;
        (client.expires > self.now).then_some(client)
    }

    /// Returns the secret of a client that registered itself: only who has the gateway's keys can make it.
    pub(super) fn secret_of(&self, id: &str) -> String {
        self.seal(SignInPart::ClientSecret, &digest(id))
    }

    /// Tells whether a secret is that of a client that registered itself.
    pub(super) fn is_secret_of(&self, id: &str, secret: &str) -> bool {
        self.open::<String>(SignInPart::ClientSecret, secret).is_some_and(|of| of == digest(id))
    }
}

/// Tells whether a client may ask people to sign in, by its URL or by where it wants codes.
pub(super) fn is_allowed(settings: &SignIn, url: &str) -> bool {
    settings.allow.is_empty() || settings.allow.iter().any(|pattern| covers(pattern, url))
}

/// Tells whether a pattern covers a URL. What stands for a host stands for nothing else: no `*` in it reaches into a path.
fn covers(pattern: &Glob, url: &str) -> bool {
    let (Some((scheme, pattern_rest)), Some((of, rest))) =
        (pattern.as_str().split_once("://"), url.split_once("://"))
    else {
        return pattern.is_everything() || pattern.as_str() == url;
    };
    let split = |text: &str| {
        let end = text.find(['/', '?']).unwrap_or(text.len());
        (text[..end].to_owned(), text[end..].to_owned())
    };
    let ((host, path), (of_host, of_path)) = (split(pattern_rest), split(rest));
    let matches = |pattern: &str, text: &str| Glob::new(pattern).matches(text);
    scheme == of && matches(&host, &of_host) && (path.is_empty() || matches(&path, &of_path))
}

/// Checks an id that is a URL: in its normal form to the letter, so that no spelling hides where it leads.
fn document_url(id: &str) -> Result<Url, &'static str> {
    let url = Url::parse(id).map_err(|_| "the client's id is no URL")?;
    if url.scheme() != "https" {
        return Err("a client's id that is a URL begins with https");
    }
    if url.as_str() != id || id.len() > LONGEST_URL {
        return Err("the client's id is not in the normal form of a URL");
    }
    if !url.username().is_empty() || url.password().is_some() || id.contains('#') {
        return Err("a client's id has no credentials and no fragment");
    }
    if url.path() == "/" {
        return Err("a client's id has a path");
    }
    if !is_public_name(&url) {
        return Err("a client's id leads to a public name, and to no address");
    }
    Ok(url)
}

impl Client {
    /// Reads what the document at a client's URL says, or what is wrong with it.
    pub(crate) fn read(text: &[u8], id: &str) -> Result<Self, &'static str> {
        if text.len() > BODY {
            return Err("the client's document has more than 32 KiB");
        }
        let json = Json::check(text).map_err(|_| "the client's document is no JSON")?;
        let json = Some(json).filter(|json| json.is_object()).ok_or("the client's document is no object")?;
        let fields = json.object().map_err(|_| "the client's document says something twice")?;
        if fields.get("client_id").and_then(Json::as_str).as_deref() != Some(id) {
            return Err("the client's document is that of another client: its `client_id` is not its URL");
        }
        if fields.get("client_secret").is_some() || fields.get("client_secret_expires_at").is_some() {
            return Err("the client's document has a secret, which would be everybody's");
        }
        let client = Self::described(&fields, Method::None)?;
        if client.name.is_none() {
            return Err("the client's document has no `client_name`");
        }
        if client.method != Method::None {
            return Err("a client with a document authenticates with nothing (`none`) here");
        }
        Ok(Self { expires: u64::MAX, ..client })
    }

    /// Reads a client's metadata (RFC 7591 §2); what is not said about its authentication is `otherwise`.
    pub(super) fn described(fields: &Object<'_>, otherwise: Method) -> Result<Self, &'static str> {
        let name = fields.get("client_name").map(|name| name.as_str().ok_or("`client_name` must be a text"));
        let name = name.transpose()?.map(|name| name.trim().chars().take(LONGEST_NAME).collect::<String>());
        let redirects = texts(fields, "redirect_uris")?.unwrap_or_default();
        if redirects.is_empty() || redirects.len() > REDIRECTS {
            return Err("`redirect_uris` must have 1 to 10 URIs");
        }
        for uri in &redirects {
            redirect::destination(uri)?;
        }
        let method = match fields.get("token_endpoint_auth_method").map(Json::as_str) {
            None => otherwise,
            Some(name) => {
                Method::ALL.into_iter().find(|method| name.as_deref() == Some(method.as_str())).ok_or(
                    "`token_endpoint_auth_method` must be none, client_secret_basic or client_secret_post",
                )?
            }
        };
        let grants = texts(fields, "grant_types")?;
        let has = |grant: &str| grants.as_ref().is_none_or(|grants| grants.iter().any(|one| one == grant));
        if !has("authorization_code") {
            return Err("`grant_types` must have authorization_code");
        }
        let responses = texts(fields, "response_types")?;
        if responses.is_some_and(|responses| !responses.iter().any(|one| one == "code")) {
            return Err("`response_types` must have code");
        }
        let name = name.filter(|name| !name.is_empty());
        Ok(Self { name, redirects, method, refreshes: has("refresh_token"), expires: 0 })
    }

    /// Returns which of its redirect URIs the one of a request is.
    pub(super) fn redirect(&self, presented: &str) -> Option<&str> {
        let same = |uri: &&String| redirect::is_same(uri, presented);
        self.redirects.iter().find(same).map(String::as_str)
    }
}

/// Tells whether what leads there leads to the same program each time.
pub(super) fn is_certain(redirect: &str) -> bool {
    matches!(redirect::destination(redirect), Ok(Destination::Site(_)))
}

fn texts(fields: &Object<'_>, name: &str) -> Result<Option<Vec<String>>, &'static str> {
    const WRONG: &str = "`redirect_uris`, `grant_types` and `response_types` must be lists of texts";
    let Some(list) = fields.get(name) else { return Ok(None) };
    let list = Some(list).filter(|list| list.is_array()).ok_or(WRONG)?;
    let text = |element: Json<'_>| element.as_str().map(std::borrow::Cow::into_owned).ok_or(WRONG);
    list.elements().map(text).collect::<Result<Vec<_>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_a_url_leads_to_a_public_name_and_nowhere_else() {
        for good in
            ["https://app.example/client.json", "https://app.example:8443/a/b", "https://a.b.example/c?d=e"]
        {
            assert!(document_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/c",
            "https://app.example",
            "https://app.example/",
            "https://app.example:443/c",
            "https://APP.example/c",
            "https://app.example/a/../c",
            "https://app.example/./c",
            "https://app.example/c#x",
            "https://me@app.example/c",
            "https://me:x@app.example/c",
            "https://127.0.0.1/c",
            "https://2130706433/c",
            "https://0177.0.0.1/c",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/c",
            "https://8.8.8.8/c",
            "https://[::1]/c",
            "https://[::ffff:127.0.0.1]/c",
            "https://localhost/c",
            "https://a.localhost/c",
            "https://metadata.google.internal/c",
            "https://printer.local/c",
            "https://intranet/c",
            "https://localhost./c",
            "file:///etc/passwd",
            "gopher://app.example/c",
            "javascript://app.example/c",
            &format!("https://app.example/{}", "a".repeat(LONGEST_URL)),
        ] {
            assert!(document_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_hosts_and_paths_apart() {
        let check = |pattern: &str, url: &str| covers(&Glob::new(pattern), url);
        assert!(check("https://*.corp.example/*", "https://app.corp.example/cb"));
        assert!(check("https://app.example", "https://app.example/any?x"));
        assert!(check("http://127.0.0.1:*/cb", "http://127.0.0.1:5000/cb"));
        assert!(check("cursor://*", "cursor://a/b") && check("*", "app:/cb") && check("app:/cb", "app:/cb"));
        for (pattern, url) in [
            ("https://*.corp.example/*", "https://evil.example/.corp.example/x"),
            ("https://*.corp.example/*", "https://evil.example?.corp.example/x"),
            ("https://*.corp.example/*", "http://app.corp.example/cb"),
            ("https://app.example", "https://app.example.evil.example/"),
            ("https://app.example/cb", "https://app.example/cb/x"),
            ("https://app.example/cb", "app:/cb"),
        ] {
            assert!(!check(pattern, url), "{pattern} {url}");
        }
    }

    const URL: &str = "https://app.example/c";

    fn read(more: &str) -> Result<Client, &'static str> {
        let text = format!(r#"{{"client_id":"{URL}"{more}}}"#);
        Client::read(text.as_bytes(), URL)
    }

    #[test]
    fn a_document_describes_its_client() {
        let whole =
            r#","client_name":" App ","redirect_uris":["https://app.example/cb","http://127.0.0.1/cb"]"#;
        let client = read(whole).expect("a client");
        assert_eq!(
            (client.name.as_deref(), client.method, client.refreshes),
            (Some("App"), Method::None, true)
        );
        assert_eq!(client.redirect("http://127.0.0.1:99/cb"), Some("http://127.0.0.1/cb"));
        assert_eq!(client.redirect("https://app.example/cb2"), None);
        let asked = read(&format!(r#"{whole},"grant_types":["authorization_code"],"logo_uri":"x""#))
            .expect("a client");
        assert!(!asked.refreshes);
        let long = read(&whole.replace("App", &"a".repeat(500))).expect("a client");
        assert_eq!(long.name.map(|name| name.len()), Some(LONGEST_NAME));
    }

    #[test]
    fn a_document_that_is_not_right_is_refused() {
        let name = r#","client_name":"App""#;
        let uris = r#","redirect_uris":["https://app.example/cb"]"#;
        let check = |more: &str| read(more).expect_err("it is refused");
        insta::assert_snapshot!(check(uris), @"the client's document has no `client_name`");
        insta::assert_snapshot!(check(name), @"`redirect_uris` must have 1 to 10 URIs");
        insta::assert_snapshot!(check(&format!("{name}{uris},\"client_secret\":\"x\"")), @"the client's document has a secret, which would be everybody's");
        insta::assert_snapshot!(check(&format!("{name}{uris},\"token_endpoint_auth_method\":\"client_secret_post\"")), @"a client with a document authenticates with nothing (`none`) here");
        insta::assert_snapshot!(check(&format!("{name}{uris},\"token_endpoint_auth_method\":\"private_key_jwt\"")), @"`token_endpoint_auth_method` must be none, client_secret_basic or client_secret_post");
        insta::assert_snapshot!(check(&format!("{name},\"redirect_uris\":\"https://app.example/cb\"")), @"`redirect_uris`, `grant_types` and `response_types` must be lists of texts");
        insta::assert_snapshot!(check(&format!("{name},\"redirect_uris\":[\"javascript:x\"]")), @"a redirect URI must not have that scheme");
        insta::assert_snapshot!(check(&format!("{name}{uris}{uris}")), @"the client's document says something twice");
        let other = Client::read(br#"{"client_id":"https://other.example/c"}"#, URL);
        insta::assert_snapshot!(other.expect_err("it is refused"), @"the client's document is that of another client: its `client_id` is not its URL");
        assert!(Client::read(b"<html>", URL).is_err() && Client::read(b"[]", URL).is_err());
    }
}
