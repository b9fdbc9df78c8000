//! The audit trail as those who run the gateway read it over HTTP: in pages, as a whole, and whether its chains hold.
//!
//! **Nobody reads it without the admin credential**; where there is none, there are no such paths.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::audit::{BadQuery, LONGEST_PAGE, Order, Page, Query, Unreadable, Verdicts};
use crate::body::{self, Body, Reply};
use crate::endpoint::{self, Reading};
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::ports::{AuditQuery, Host};

/// The media type of JSON lines.
const LINES: HeaderValue = HeaderValue::from_static("application/jsonl; charset=utf-8");

impl<H: Host> Gateway<H> {
    /// Answers who has the admin credential with what the trail holds.
    pub(super) async fn trail_for(&self, head: &Parts, what: Reading) -> Reply {
        if let Err(refused) = self.operator_only(head) {
            return *refused;
        }
        if head.method != Method::GET {
            return endpoint::only("GET");
        }
        let Some(trail) = self.host().trail() else {
            return body::problem(
                StatusCode::NOT_FOUND,
                "this gateway keeps no audit trail that it could read",
            );
        };
        let query = match Query::parse(head.uri.query().unwrap_or_default(), self.host().now()) {
            Ok(query) => query,
            Err(bad) => return body::problem(StatusCode::BAD_REQUEST, &bad.to_string()),
        };
        let answer = match what {
            Reading::Page => trail.page(query).await.map(|page| body::json(StatusCode::OK, page.to_json())),
            Reading::Export => export(trail.clone(), query).await,
            Reading::Verify => verify(&**trail, query).await,
        };
        let mut reply = answer.unwrap_or_else(|error| unreadable(&error));
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    /// Refuses whoever does not carry the admin credential, and records that. Without one there is no such path.
    pub(super) fn operator_only(&self, head: &Parts) -> Result<(), Box<Reply>> {
        match &self.0.admin_key {
            None => Err(Box::new(endpoint::not_found())),
            Some(key) if key.is_in(&head.headers) => Ok(()),
            Some(_) => {
                let (told, _) = self.refuse_stranger(head).into_parts();
                let detail = "this path needs the admin credential as a bearer token";
                let mut reply = body::problem(told.status, detail);
                reply.headers_mut().extend(
                    told.headers
                        .get(header::WWW_AUTHENTICATE)
                        .map(|challenge| (header::WWW_AUTHENTICATE, challenge.clone())),
                );
                Err(Box::new(reply))
            }
        }
    }
}

/// Answers with every entry that is asked for, the oldest first. The first page is read before anything is answered: a
/// trail that cannot be read at all is no answer that breaks off.
async fn export(trail: Arc<dyn AuditQuery>, query: Query) -> Result<Reply, Unreadable> {
    let query = Query { order: Order::Oldest, limit: LONGEST_PAGE, ..query };
    let first = trail.page(query.clone()).await?;
    let rest = stream::unfold(first.next.clone(), move |next| {
        let (trail, query) = (trail.clone(), query.clone());
        async move {
            let query = Query { cursor: Some(next?), ..query };
            match trail.page(query).await {
                Ok(page) => Some((Ok(lines(&page)), page.next)),
                Err(error) => Some((Err(Unreachable::new("audit", error.to_string())), None)),
            }
        }
    });
    let all = stream::once(std::future::ready(Ok(lines(&first)))).chain(rest);
    let mut reply = Reply::new(Body::Stream(all.boxed()));
    reply.headers_mut().insert(header::CONTENT_TYPE, LINES);
    Ok(reply)
}

fn lines(page: &Page) -> Bytes {
    let mut out = String::with_capacity(page.lines.iter().map(|line| line.len() + 1).sum());
    for line in &page.lines {
        out.push_str(line);
        out.push('\n');
    }
    out.into()
}

/// Checks the chains. Of the parameters only the cursor has a meaning: a part of a chain says nothing of the whole.
async fn verify(trail: &dyn AuditQuery, query: Query) -> Result<Reply, Unreadable> {
    let cursor = query.cursor.clone();
    if query != (Query { cursor: cursor.clone(), ..Query::default() }) {
        let bad = BadQuery { parameter: "cursor".into(), expected: "is the only parameter of this path" };
        return Ok(body::problem(StatusCode::BAD_REQUEST, &bad.to_string()));
    }
    let verdicts: Verdicts = trail.verify(cursor).await?;
    Ok(body::json(StatusCode::OK, verdicts.to_json()))
}

fn unreadable(error: &Unreadable) -> Reply {
    let status = match error {
        Unreadable::Cursor => StatusCode::BAD_REQUEST,
        Unreadable::Failed(reason) => {
            tracing::error!(%reason, "the audit trail cannot be read");
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    body::problem(status, &error.to_string())
}
