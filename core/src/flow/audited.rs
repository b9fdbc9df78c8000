//! What the audit trail gets of requests that are none of MCP, and what becomes of requests while it takes nothing.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};

use super::admit::busy;
use super::serve::rejected;
use crate::audit::{self, Arguments, Decision, Entry, Noted};
use crate::body::{self, Reply};
use crate::catalog::Scope;
use crate::config::OnFailure;
use crate::control::operations;
use crate::control::who::Operator;
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::front::Caller;
use crate::gateway::{Gateway, Snapshot};
use crate::identity::{AuthKind, Identity};
use crate::ports::{AuditSink, Host, Place};
use crate::upstream::Server;
use crate::wire::json::Object;
use crate::wire::message;

impl<H: Host> Gateway<H> {
    /// Returns where the audit trail goes, where one is to be kept.
    fn trail(&self) -> Option<&Arc<dyn AuditSink>> {
        let is_wanted = self.0.snapshot.load().config.audit.enabled;
        self.host().audit().filter(|_| is_wanted)
    }

    /// Begins to note a request for the trail; `raw` is the text that it stands in.
    pub(super) fn noted_for_trail(
        &self,
        caller: &Caller,
        method: &str,
        params: &Object<'_>,
        raw: &bytes::Bytes,
    ) -> Option<Noted> {
        let trail = self.trail()?;
        let server = match &caller.scope {
            Scope::Server(name) => Some(name),
            Scope::All | Scope::Group(_) => None,
        };
        let are_written = self.0.snapshot.load().config.audit.arguments;
        let kept = if are_written { audit::written } else { audit::digested };
        let arguments = params.get("arguments").map_or(Arguments::None, |arguments| kept(arguments, raw));
        Some(Noted::new(trail, &self.0.id, (&caller.who, server), (method, params, arguments)))
    }

    /// Refuses where nothing may happen that is not recorded, and nothing can be recorded.
    pub(super) fn is_recordable(&self) -> Result<(), Refusal> {
        let is_closed = self.0.snapshot.load().config.audit.on_failure == OnFailure::Closed;
        match self.trail().filter(|trail| is_closed && trail.is_failing()) {
            None => Ok(()),
            Some(_) => Err(busy(
                "the audit trail cannot be written, and this gateway serves nothing that it cannot record; its operator \
                 finds the reason at /readyz and in the log"
                    .into(),
            )),
        }
    }

    /// Records what a request came to that is none of MCP, or was refused before that could be told.
    pub(super) fn record_exchange(
        &self,
        head: &Parts,
        who: Option<&Identity>,
        outcome: Result<(), &Refusal>,
    ) {
        let Some(method) = described(&head.method, head.uri.path()) else { return };
        self.record_event(method, who, outcome);
    }

    /// Records that something began or was refused.
    pub(super) fn record_event(
        &self,
        method: &'static str,
        who: Option<&Identity>,
        outcome: Result<(), &Refusal>,
    ) {
        let principal = who.and_then(|who| who.principal.clone());
        let auth = who.map_or(AuthKind::Anonymous, |who| who.auth);
        self.record_of(method, outcome, |entry| Entry {
            agent: who.map(|who| who.agent.name.clone()),
            client: who.and_then(|who| who.client.clone()),
            principal,
            auth,
            ..entry
        });
    }

    /// Records that a server says something that it was not approved to say.
    pub(super) fn record_definition(&self, server: &Server, name: &str, said: String, is_served: bool) {
        let decision = if is_served { Decision::Allowed } else { Decision::Denied };
        self.record_of("definition", Ok(()), |entry| Entry {
            principal: server.user.clone(),
            server: Some(server.name.as_str().into()),
            name: Some(name.into()),
            decision,
            error: Some(said.into()),
            ..entry
        });
    }

    /// Records a step of connecting a server.
    pub(super) fn record_connecting(
        &self,
        head: &Parts,
        principal: Option<&str>,
        outcome: Result<(), &Refusal>,
    ) {
        let Some(method) = described(&head.method, head.uri.path()) else { return };
        self.record_of(method, outcome, |entry| Entry { principal: principal.map(Arc::from), ..entry });
    }

    /// Records what the admin credential was used for.
    pub(super) fn record_administration(
        &self,
        head: &Parts,
        operator: &Operator,
        outcome: Result<(), (StatusCode, &str)>,
    ) {
        let auth = if operator.session.is_some() { AuthKind::Session } else { AuthKind::Admin };
        self.record_governing(head, (&operator.principal, auth), outcome);
    }

    /// Records what somebody did who governs, or wants to.
    pub(super) fn record_governing(
        &self,
        head: &Parts,
        (principal, auth): (&str, AuthKind),
        outcome: Result<(), (StatusCode, &str)>,
    ) {
        let Some(method) = described(&head.method, head.uri.path()) else { return };
        let refusal = outcome.err().map(|(status, detail)| refusal_of(status, detail));
        self.record_of(method, refusal.as_ref().map_or(Ok(()), Err), |entry| Entry {
            principal: Some(principal.into()),
            auth,
            ..entry
        });
    }

    /// Records what an identity provider wrote to the directory, and of whom.
    #[cfg(feature = "control")]
    pub(super) fn record_provisioning(
        &self,
        head: &Parts,
        name: Option<&str>,
        outcome: Result<(), (StatusCode, &str)>,
    ) {
        let Some(method) = described(&head.method, head.uri.path()) else { return };
        let refusal = outcome.err().map(|(status, detail)| refusal_of(status, detail));
        let is_it = refusal.as_ref().is_none_or(|refusal| refusal.status != StatusCode::UNAUTHORIZED);
        self.record_of(method, refusal.as_ref().map_or(Ok(()), Err), |entry| Entry {
            principal: is_it.then(|| "scim".into()),
            auth: if is_it { AuthKind::Directory } else { AuthKind::Anonymous },
            name: name.map(Into::into),
            ..entry
        });
    }

    /// Records what became of a gateway that wants something of its control plane.
    #[cfg(feature = "control")]
    pub(super) fn record_gateway(&self, head: &Parts, refused: Option<(StatusCode, &str)>) {
        let refusal = refused.map(|(status, detail)| {
            Refusal::new(code::INVALID_REQUEST, detail.to_owned()).with_status(status)
        });
        self.record_exchange(head, None, refusal.as_ref().map_or(Ok(()), Err));
    }

    /// Records something that is over; `known` adds who it was.
    fn record_of(
        &self,
        method: &'static str,
        outcome: Result<(), &Refusal>,
        known: impl FnOnce(Entry) -> Entry,
    ) {
        if let Some((trail, entry)) = self.entry_of(method, outcome) {
            trail.record(known(entry));
        }
    }

    fn entry_of(
        &self,
        method: &'static str,
        outcome: Result<(), &Refusal>,
    ) -> Option<(&Arc<dyn AuditSink>, Entry)> {
        let trail = self.trail()?;
        let decision = match outcome {
            Ok(()) => Decision::Allowed,
            Err(refusal) if refusal.code == code::INTERNAL && !refusal.status.is_client_error() => {
                Decision::Failed
            }
            Err(_) => Decision::Denied,
        };
        let entry = Entry {
            time: trail.now(),
            gateway: self.0.id.clone(),
            method,
            decision,
            error: outcome.err().map(|refusal| refusal.message.clone()),
            duration: Duration::ZERO,
            ..Entry::default()
        };
        Some((trail, entry))
    }

    /// Refuses a request of which nothing more is known, and records that.
    pub(super) fn turn_away(&self, head: &Parts, who: Option<&Identity>, refusal: &Refusal) -> Reply {
        self.record_exchange(head, who, Err(refusal));
        body::refused(None, refusal)
    }

    /// Answers that an endpoint is not there, whether it is or not, and records that.
    pub(super) fn nothing_there(&self, head: &Parts, who: &Identity) -> Reply {
        let refusal = Refusal::new(code::INVALID_REQUEST, "there is no such endpoint for this caller");
        self.record_exchange(head, Some(who), Err(&refusal));
        endpoint::not_found()
    }

    /// Says which servers are up, and whether the trail is written.
    pub(super) async fn answer_readiness(&self, snapshot: &Snapshot) -> Reply {
        if self.host().place() != Place::Process {
            self.learn(snapshot, &Scope::All, None).await;
        }
        let audit = self.host().audit().map(|trail| trail.state());
        let refused = self.version_in_force().and_then(|(_, refused)| refused);
        let (audit, lacking) = (audit.and_then(|audit| audit.trouble), self.host().lacks());
        let trouble = endpoint::Trouble { audit, refused, secrets: self.0.secrets.trouble(), lacking };
        endpoint::readiness(&self.readiness(), self.is_settled(), &trouble)
    }

    /// Answers what is no message, and records that.
    pub(super) fn reject(&self, head: &Parts, who: &Identity, rejection: &message::Rejected) -> Reply {
        self.record_exchange(head, Some(who), Err(&rejection.refusal));
        rejected(rejection)
    }

    /// Refuses who asks for what needs the admin credential and does not carry it, and records that.
    pub(super) fn refuse_stranger(&self, head: &Parts) -> Reply {
        let refusal = Refusal::new(code::INVALID_REQUEST, "the admin credential is missing or wrong");
        self.record_exchange(head, None, Err(&refusal.with_status(StatusCode::UNAUTHORIZED)));
        endpoint::unauthorized()
    }
}

fn refusal_of(status: StatusCode, detail: &str) -> Refusal {
    let code = if status.is_server_error() { code::INTERNAL } else { code::INVALID_REQUEST };
    Refusal::new(code, detail.to_owned()).with_status(status)
}

/// What requests are called in entries, besides the operations of the admin API.
const KNOWN: [&str; 42] = [
    "POST /mcp",
    "GET /mcp",
    "DELETE /mcp",
    "POST /mcp/servers/{server}",
    "GET /mcp/servers/{server}",
    "DELETE /mcp/servers/{server}",
    "POST /mcp/groups/{group}",
    "GET /mcp/groups/{group}",
    "DELETE /mcp/groups/{group}",
    "GET /sse",
    "POST /messages",
    "GET /healthz",
    "GET /healthcheck",
    "GET /readyz",
    "GET /metrics",
    "HEAD /metrics",
    "GET /oauth/authorize",
    "POST /oauth/consent",
    "GET /oauth/signed-in",
    "POST /oauth/token",
    "POST /oauth/register",
    "POST /oauth/revoke",
    "GET /connect/{server}",
    "POST /connect/{server}",
    "GET /console/sign-in",
    "POST /console/sign-in",
    "GET /console/signed-in",
    "POST /console/sign-out",
    "POST /scim/v2/Users",
    "PUT /scim/v2/Users/{id}",
    "PATCH /scim/v2/Users/{id}",
    "DELETE /scim/v2/Users/{id}",
    "POST /scim/v2/Groups",
    "PUT /scim/v2/Groups/{id}",
    "PATCH /scim/v2/Groups/{id}",
    "DELETE /scim/v2/Groups/{id}",
    "POST /fleet/v1/enrol",
    "GET /fleet/v1/snapshot",
    "POST /fleet/v1/report",
    "POST /fleet/v1/trail",
    "GET /oauth/callback",
    "GET /oauth/client-metadata.json",
];

/// What stands for every request that is not known.
const ANOTHER: &str = "another request";

/// Returns what a request is called in entries, by that text.
#[cfg(feature = "control")]
pub(crate) fn described_as(text: &str) -> Option<&'static str> {
    KNOWN.into_iter().chain([ANOTHER]).find(|known| *known == text)
}

/// Names a request by its method and its path's pattern; nothing where the path leads nowhere.
fn described(method: &Method, path: &str) -> Option<&'static str> {
    let route = endpoint::route(path);
    if let Some(name) = operations::described(method.as_str(), path) {
        return Some(name);
    }
    let is_it = |known: &&str| known.split_once(' ').is_some_and(|(m, r)| m == method.as_str() && r == route);
    KNOWN.into_iter().find(is_it).or((!route.is_empty()).then_some(ANOTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_what_is_known_of_them() {
        let check = |method: Method, path: &str| described(&method, path).unwrap_or("nothing");
        insta::assert_snapshot!(check(Method::POST, "/mcp"), @"POST /mcp");
        insta::assert_snapshot!(check(Method::GET, "/mcp/servers/a\nb"), @"GET /mcp/servers/{server}");
        insta::assert_snapshot!(check(Method::PUT, "/admin/v1/secrets/a/b"), @"PUT /admin/v1/secrets/{name}");
        insta::assert_snapshot!(check(Method::PUT, "/admin/v1/keys"), @"another request");
        insta::assert_snapshot!(check(Method::PUT, "/mcp"), @"another request");
        insta::assert_snapshot!(check(Method::GET, "/elsewhere"), @"nothing");
    }
}
