//! A client of the admin paths of a gateway that runs.

use std::fs;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use portcullis_core::body::{Body, Whole};
use portcullis_core::ports::{Chunks, Upstream as _};
use serde::Deserialize;

use crate::cli::AdminCredential;
use crate::host::Machine;

/// The variable that holds the admin credential.
const VARIABLE: &str = "PORTCULLIS_ADMIN_KEY";
/// The largest document that is read, in bytes.
const LARGEST: usize = 64 << 20;

/// A gateway that runs somewhere, and the credential that opens its admin paths.
pub(super) struct Admin {
    machine: Machine,
    /// Its URL, without a slash at the end.
    base: String,
    bearer: HeaderValue,
}

/// What a gateway says of a request that came to nothing.
#[derive(Deserialize)]
struct Trouble {
    #[serde(alias = "error")]
    detail: String,
}

impl Admin {
    /// Takes the gateway's URL, or that of its endpoint, and the credential of the file or of the environment.
    pub(super) fn new(url: &Uri, credential: &AdminCredential) -> anyhow::Result<Self> {
        let key = match &credential.admin_key_file {
            Some(file) => {
                fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => std::env::var(VARIABLE).unwrap_or_default(),
        };
        if key.trim().is_empty() {
            bail!(
                "{url} asks for its admin credential: set {VARIABLE}, or name a file with --admin-key-file"
            );
        }
        if url.scheme().is_none() {
            bail!("{url} is no URL of a gateway, such as https://gateway.example.com");
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {}", key.trim())).ok();
        let mut bearer = bearer.context("the admin credential has characters that none has")?;
        bearer.set_sensitive(true);
        let base = url.to_string();
        let base = base.trim_end_matches('/').trim_end_matches("/mcp").trim_end_matches('/').to_owned();
        Ok(Self { machine: Machine::new(), base, bearer })
    }

    /// Asks for a document.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let answer = self.open(path).await?;
        Ok(Body::Stream(answer.into_body()).collect(LARGEST).await?)
    }

    /// Asks for what is too long to be read at once.
    pub(super) async fn open(&self, path: &str) -> anyhow::Result<Response<Chunks>> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::get(&url).body(Whole::default())?;
        request.headers_mut().insert(header::AUTHORIZATION, self.bearer.clone());
        let answer = self.machine.fetch(request).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let text = Body::Stream(answer.into_body()).collect(LARGEST).await.unwrap_or_default();
        let said = serde_json::from_slice(&text).map_or_else(|_| String::new(), |t: Trouble| t.detail);
        let hint = if status == StatusCode::NOT_FOUND && !said.contains("trail") {
            " (a gateway has admin paths only where it was started with an admin credential)"
        } else {
            ""
        };
        bail!("{} answered {status}: {said}{hint}", self.base)
    }
}
