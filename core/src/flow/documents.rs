//! What is read of others than servers: what identity providers say of themselves, and their answers to single requests.
//!
//! **No redirect is followed, and nothing is read without an end.** What strangers have named is asked in public alone: what
//! an address says is looked at before, and what it leads to by the host, as it connects.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use http::response::Parts;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use crate::body::{Body, Whole};
use crate::gateway::Gateway;
use crate::ports::{Host, NamedByStranger};
use crate::upstream::handshake::shorten;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest that is read, in bytes.
const LONGEST: usize = 512 << 10;

impl<H: Host> Gateway<H> {
    /// Fetches what anybody may read, where the configuration or who it trusts says that it is.
    pub(super) async fn public_document(&self, url: &str) -> Result<(HeaderMap, Bytes), String> {
        self.marked_document(url, Extensions::new()).await
    }

    /// Fetches what anybody may read, where a stranger says that it is.
    pub(super) async fn document_of_stranger(&self, url: &Url) -> Result<Bytes, String> {
        let mut marks = Extensions::new();
        marks.insert(NamedByStranger);
        self.marked_document(url.as_str(), marks).await.map(|(_, text)| text)
    }

    async fn marked_document(&self, url: &str, marks: Extensions) -> Result<(HeaderMap, Bytes), String> {
        let mut request =
            http::Request::get(url).body(Whole::default()).map_err(|error| error.to_string())?;
        *request.extensions_mut() = marks;
        let (head, text) = self.exchange(request).await?;
        if head.status == StatusCode::OK {
            Ok((head.headers, text))
        } else {
            Err(format!("{url} answers HTTP {}", head.status.as_u16()))
        }
    }

    /// Sends one request that wants JSON, and takes the whole answer.
    pub(super) async fn exchange(&self, mut request: http::Request<Whole>) -> Result<(Parts, Bytes), String> {
        let url = request.uri().to_string();
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let exchange = async {
            let response = self.host().fetch(request).await.map_err(|error| shorten(&error.message))?;
            let (head, chunks) = response.into_parts();
            let text = Body::Stream(chunks).collect(LONGEST).await.map_err(|error| error.to_string())?;
            Ok((head, text))
        };
        let limit = std::pin::pin!(self.host().sleep(PATIENCE));
        match future::select(std::pin::pin!(exchange), limit).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(format!("{url} does not answer within {} s", PATIENCE.as_secs())),
        }
    }
}
