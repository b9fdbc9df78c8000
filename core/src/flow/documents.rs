//! What is read of others than servers: what identity providers say of themselves, and their answers to single requests.
//!
//! **No redirect is followed, and nothing is read without an end.**

use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::body::{Body, Whole};
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::upstream::handshake::shorten;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest that is read, in bytes.
const LONGEST: usize = 512 << 10;

impl<H: Host> Gateway<H> {
    /// Fetches what anybody may read.
    pub(super) async fn public_document(&self, url: &str) -> Result<(HeaderMap, Bytes), String> {
        let request = http::Request::get(url).body(Whole::default()).map_err(|error| error.to_string())?;
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
