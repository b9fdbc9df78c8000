//! The admin API of a gateway that runs, as the commands use it.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use portcullis_core::body::{Body, Whole};
use portcullis_core::ports::{Chunks, Upstream as _};
use serde_json::Value;

use crate::cli::AdminCredential;
use crate::host::Machine;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 << 20;

/// A gateway that is administered from here.
pub(super) struct Admin {
    machine: Machine,
    /// Its URL, without a path of MCP and without a slash at the end.
    pub(super) url: String,
    bearer: HeaderValue,
}

/// An answer of the admin API.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Admin {
    pub(super) fn new(url: &Uri, credential: &AdminCredential) -> anyhow::Result<Self> {
        let key = match &credential.admin_key_file {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => std::env::var("PORTCULLIS_ADMIN_KEY").unwrap_or_default(),
        };
        let key = key.trim();
        if key.is_empty() {
            bail!("the admin key is missing: set PORTCULLIS_ADMIN_KEY, or name a file with --admin-key-file");
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {key}")).ok();
        let mut bearer = bearer.context("the admin key has characters that no key has")?;
        bearer.set_sensitive(true);
        Ok(Self { machine: Machine::new(), url: base(url)?, bearer })
    }

    /// Asks; what is refused is an error, unless its status is one of `expected`.
    pub(super) async fn ask(
        &self,
        (method, path): (Method, &str),
        headers: &[(HeaderName, String)],
        body: Option<&Value>,
        expected: &[u16],
    ) -> anyhow::Result<Answered> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let answer = self.send((method, path), headers, text).await?;
        let status = answer.status();
        let body = Body::Stream(answer.into_body()).collect(LARGEST).await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() || expected.contains(&status.as_u16()) {
            return Ok(Answered { status: status.as_u16(), body });
        }
        Err(self.trouble(status, &body))
    }

    /// Asks for a document, as it is.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        Ok(Body::Stream(self.open(path).await?.into_body()).collect(LARGEST).await?)
    }

    /// Asks for what is too long to be read at once.
    pub(super) async fn open(&self, path: &str) -> anyhow::Result<Response<Chunks>> {
        let answer = self.send((Method::GET, path), &[], String::new()).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = Body::Stream(answer.into_body()).collect(LARGEST).await.unwrap_or_default();
        Err(self.trouble(status, &serde_json::from_slice(&text).unwrap_or_default()))
    }

    async fn send(
        &self,
        (method, path): (Method, &str),
        headers: &[(HeaderName, String)],
        text: String,
    ) -> anyhow::Result<Response<Chunks>> {
        let mut request = Request::new(Whole::from(text));
        // The registry has a door of its own.
        let root = if path.starts_with('/') { "" } else { "/admin/v1/" };
        let uri = format!("{}{root}{path}", self.url);
        (*request.method_mut(), *request.uri_mut()) = (method, uri.parse()?);
        request.headers_mut().insert(header::AUTHORIZATION, self.bearer.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse()?);
        }
        Ok(self.machine.fetch(request).await?)
    }

    /// Says what a gateway says of a request that came to nothing.
    fn trouble(&self, status: StatusCode, body: &Value) -> anyhow::Error {
        match (status.as_u16(), body["detail"].as_str()) {
            (401, _) => anyhow!("{} does not take this admin key", self.url),
            (_, Some(detail)) => anyhow!("{}: {detail}", self.url),
            (404, None) => {
                anyhow!("{} has no admin API: it is off until PORTCULLIS_ADMIN_KEY is set there", self.url)
            }
            _ => anyhow!("{} answers {status}", self.url),
        }
    }
}

/// Returns a gateway's URL without the path of its endpoint.
fn base(url: &Uri) -> anyhow::Result<String> {
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        bail!("expected a URL such as https://mcp.example.com, found {url}");
    };
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/mcp").unwrap_or(path);
    Ok(format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_by_its_endpoint_too() {
        let check =
            |url: &'static str| base(&Uri::from_static(url)).unwrap_or_else(|error| error.to_string());
        assert_eq!(check("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        assert_eq!(check("https://mcp.example.com/mcp"), "https://mcp.example.com");
        assert_eq!(check("https://example.com/team/mcp/"), "https://example.com/team");
        assert!(check("mcp.example.com").contains("expected a URL"));
    }
}
