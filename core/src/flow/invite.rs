//! Calls whose server does not act for their user yet: the user is invited to connect, in whatever way the agent can pass on.
//!
//! **Where an agent can have its user visit a page, that is asked** (elicitation in URL mode: of a stateless agent by
//! `input_required`, of a session's by the error that 2025-11-25 has for it); where it cannot, it is told in a sentence.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

use super::addressee::Addressee;
use super::connected::nobody;
use super::park::may_be_asked_in;
use crate::acl::Target;
use crate::body::{self, Reply};
use crate::catalog::{Item, Kind, Offer, Route, View};
use crate::config::{ItemKind, Naming};
use crate::dialogue::{self, Question, Round};
use crate::endpoint;
use crate::error::{Lack, Refusal, Unreachable};
use crate::front::{Caller, Inbound, meta};
use crate::gateway::{Gateway, Snapshot};
use crate::oauth::client::Scopes;
use crate::oauth::connect::{EVERYONE, Invitation};
use crate::ports::Host;
use crate::session::{Binding, Interaction, Next, RequestState};
use crate::upstream::handshake::{Introduction, own_info};
use crate::upstream::{Server, Status};
use crate::wire::json::{Object, quote};
use crate::wire::message;
use crate::wire::version::{Era, Version};

/// What the tool is called, at a server that is not connected, that leads to connecting it.
pub(crate) const CONNECT: &str = "connect";
/// What lies behind a name that nobody has.
pub(super) enum Behind {
    /// Nothing.
    Nothing,
    /// A server that has just been read.
    Read,
    /// A server that waits for its user: this is the answer.
    Answer(Result<Reply, Refusal>),
}

/// Whose call it is whose user is invited.
pub(super) struct Guest<'g> {
    id: &'g str,
    method: &'g str,
    /// What it was called with; a session's agent brings nothing back that would be bound to it.
    params: Option<&'g Object<'g>>,
    caller: &'g Caller,
    interaction: Interaction,
}

impl<'g> Guest<'g> {
    /// The caller of a request.
    fn new(inbound: &'g Inbound<'g>, caller: &'g Caller) -> Self {
        let interaction = interaction(inbound, caller);
        Self {
            id: inbound.id.text(),
            method: &inbound.method,
            params: Some(&inbound.params),
            caller,
            interaction,
        }
    }

    /// The agent of a session, which waits for the answer to a request of that method.
    pub(super) fn of_session(to: &'g Addressee, method: &'g str) -> Self {
        Self { id: &to.id, method, params: None, caller: &to.caller, interaction: to.interaction }
    }
}

/// For how long a call waits whose user says that they have gone to connect, in milliseconds, and how often it looks.
const PATIENCE: u64 = 20_000;
const LOOK: Duration = Duration::from_millis(500);
/// How long an agent may take to come back, in milliseconds.
const STATE: u64 = 60 * 60_000;

impl<H: Host> Gateway<H> {
    /// Answers a call of a server that does not act for its user, or of the tool that leads there; nothing where it goes on.
    pub(super) async fn invited(
        &self,
        route: &Route,
        inbound: &Inbound<'_>,
        caller: &Caller,
        comes_back: bool,
    ) -> Option<Result<Reply, Refusal>> {
        let server = &route.server;
        server.consent()?;
        if let Some(lack) = Box::pin(self.lacks_after(server, comes_back)).await {
            return Some(self.invite(server, &lack, &Guest::new(inbound, caller)));
        }
        let is_connect = server.awaits_consent.load(Ordering::Relaxed) && route.own_name() == CONNECT;
        if is_connect { Some(Box::pin(self.answer_connect(server, inbound, caller)).await) } else { None }
    }

    /// Looks for a server of a caller's own behind a name that nobody has. One that has not been read since it was not
    /// connected is read once it is: the caller may know the name from before.
    pub(super) async fn look_behind(
        &self,
        (snapshot, view): (&Snapshot, &View),
        inbound: &Inbound<'_>,
        caller: &Caller,
        comes_back: bool,
    ) -> Behind {
        let Some(server) = unread(snapshot, view, inbound, caller) else { return Behind::Nothing };
        if server.is_stand_in() {
            return Behind::Answer(Err(nobody(&server).into()));
        }
        if let Some(lack) = self.lacks_after(&server, comes_back).await {
            return Behind::Answer(self.invite(&server, &lack, &Guest::new(inbound, caller)));
        }
        match self.refresh(&server).await {
            Ok(()) => Behind::Read,
            Err(error) => Behind::Answer(self.failed(&server, error, inbound, caller)),
        }
    }

    /// Returns what a server lacks; waits for a while for a user who may be at it.
    async fn lacks_after(&self, server: &Server, comes_back: bool) -> Option<Lack> {
        let patience = if comes_back { PATIENCE } else { 0 };
        let until = self.host().now().saturating_add(patience);
        loop {
            let lack = self.lacks(server, comes_back).await?;
            if self.host().now() >= until {
                return Some(lack);
            }
            self.host().sleep(LOOK).await;
        }
    }

    /// Answers with what became of a request; where a user has to connect first, with an invitation.
    pub(super) fn failed(
        &self,
        server: &Arc<Server>,
        error: Unreachable,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        match &error.lack {
            Some(lack) => self.invite(server, lack, &Guest::new(inbound, caller)),
            None => Err(error.into()),
        }
    }

    /// Invites the user of a call to connect.
    pub(super) fn invite(&self, server: &Server, lack: &Lack, guest: &Guest<'_>) -> Result<Reply, Refusal> {
        let Guest { id, method, caller, .. } = *guest;
        let Some(invitation) = self.invitation(server, lack) else {
            let why = server.error(format!(
                "is not connected, and nobody can come back to this gateway from a browser: an admin sets \
                 `gateway.public_url` ({})",
                lack.why
            ));
            return Err(why.into());
        };
        caller.record.leads_to(&Arc::from(CONNECT));
        let question = Question {
            key: CONNECT.into(),
            method: "elicitation/create".into(),
            params: Some(invitation.params()),
        };
        let can_visit = guest.interaction.url && may_be_asked_in(method);
        match (caller.era(), guest.params) {
            (Era::Modern, Some(params)) if can_visit => {
                let state = RequestState {
                    server: server.identity.clone(),
                    binding: Binding::new(endpoint::path(&caller.scope), caller.who.owner(), method, params),
                    nonce: self.random(),
                    expires: self.host().now() + STATE,
                    next: Next::Again,
                };
                let state = state.seal(&self.0.sealer, self.host());
                let result = dialogue::input_required(&[question], &state, own_info());
                Ok(body::json(StatusCode::OK, message::result(id, &result)))
            }
            (Era::Legacy, _) if can_visit && caller.version() >= Version::V2025_11_25 => {
                let round = Round { questions: vec![question], ..Round::default() };
                Err(round.to_error(id))
            }
            _ if method == "tools/call" => Ok(said(id, &invitation.sentence(), caller, Outcome::Failed)),
            _ => Err(server.error(format!("is not connected. {}", invitation.sentence())).into()),
        }
    }

    /// Returns what leads a user to the page; nothing where nobody could come back from it.
    fn invitation(&self, server: &Server, lack: &Lack) -> Option<Invitation> {
        let snapshot = self.snapshot();
        let base = self.base(&snapshot)?;
        let page = format!("{base}{}", endpoint::connect_path(&server.name));
        let principal = server.acts_for.as_ref()?;
        let url = if **principal == *EVERYONE {
            page
        } else {
            let scopes = lack.scopes.as_deref().map(Scopes::parse);
            let ticket = self.desk().ticket(principal, &server.known_as, scopes.as_ref());
            format!("{page}?ticket={ticket}")
        };
        Some(Invitation { server: server.name.to_string(), url })
    }

    /// Notes that a server waits for its user: what it lists is how to connect it.
    pub(super) fn awaits_consent(&self, server: &Arc<Server>, error: Unreachable) {
        server.set_status(Status::Down(error));
        if !server.awaits_consent.swap(true, Ordering::Relaxed) {
            server.offer.store(Some(Arc::new(stand_in(&server.name.to_string(), self.host().now()))));
            server.listed.store(true, Ordering::Relaxed);
            self.snapshot().views.invalidate();
            self.views_changed();
        }
    }

    /// Answers the call of the tool that leads to connecting, once it is done.
    async fn answer_connect(
        &self,
        server: &Arc<Server>,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Result<Reply, Refusal> {
        match self.refresh(server).await {
            Ok(()) => {
                let name = server.name.as_str();
                let text = format!("The server {name:?} is connected. List the tools again.");
                Ok(said(inbound.id.text(), &text, caller, Outcome::Done))
            }
            Err(error) => self.failed(server, error, inbound, caller),
        }
    }
}

/// Returns the server of a caller's own to which a name leads by its beginning, and that has not been read since it waits for
/// its user, or could not be.
fn unread(snapshot: &Snapshot, view: &View, inbound: &Inbound<'_>, caller: &Caller) -> Option<Arc<Server>> {
    let kind = match inbound.method.as_ref() {
        "tools/call" => ItemKind::Tool,
        "prompts/get" => ItemKind::Prompt,
        _ => return None,
    };
    if snapshot.config.gateway.naming != Naming::Prefix {
        return None;
    }
    let text = inbound.text("name")?;
    let arguments = inbound.params.get("arguments");
    let leads = |server: &&Arc<Server>| {
        let own = text.strip_prefix(server.name.as_str()).and_then(|rest| rest.strip_prefix("__"));
        let is_allowed = |name| {
            let target = Target { server: server.name.as_str(), kind, name, is_template: false };
            view.decide(&target, |condition| caller.who.truth(condition, arguments, caller.now)).is_ok()
        };
        let is_unread = server.settings.is_per_user() && server.offer.load().is_none();
        (server.is_stand_in() || is_unread || server.awaits_consent.load(Ordering::Relaxed))
            && snapshot.includes(&caller.scope, &server.name)
            && own.is_some_and(is_allowed)
    };
    snapshot.servers.values().find(leads).cloned()
}

/// What became of a call that the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
}

/// Returns the result of a tool's call that says something.
fn said(id: &str, text: &str, caller: &Caller, outcome: Outcome) -> Reply {
    let kind = if caller.era() == Era::Modern { "\"resultType\":\"complete\"," } else { "" };
    let is_error = outcome == Outcome::Failed;
    let result = format!(
        "{{{kind}\"content\":[{{\"type\":\"text\",\"text\":{}}}],\"isError\":{is_error}}}",
        quote(text)
    );
    body::json(StatusCode::OK, message::result(id, &result))
}

/// Returns what a caller can be asked.
fn interaction(inbound: &Inbound<'_>, caller: &Caller) -> Interaction {
    if let Some(session) = &caller.session {
        return session.interaction;
    }
    let declared = inbound.meta().and_then(|meta| meta.get(meta::CLIENT_CAPABILITIES));
    declared.map_or_else(Interaction::default, Interaction::declared)
}

/// Returns what is listed of a server that is not connected: the tool that leads there.
fn stand_in(server: &str, now: u64) -> Offer {
    let introduction =
        Introduction { capabilities: r#"{"tools":{}}"#.into(), info: None, instructions: None };
    let mut offer = Offer::new(Version::MODERN, introduction, now);
    let description = format!(
        "The account of the user at {server:?} is not connected yet, so nothing else of it is listed. Call this to have the \
         user connect it."
    );
    let text = format!(
        "{{\"name\":\"{CONNECT}\",\"title\":\"Connect\",\"description\":{},\"inputSchema\":{{\"type\":\"object\",\
         \"properties\":{{}}}}}}",
        quote(&description)
    );
    offer.set_items(
        Kind::Tools,
        vec![Item { name: CONNECT.into(), text: text.into(), parameters: Vec::new() }],
    );
    offer
}
