//! Which way a request takes to its server: over the link that all share, a session's own, or a lane.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::park::may_be_asked_in;
use crate::error::Unreachable;
use crate::front::{Caller, Inbound, meta};
use crate::gateway::Gateway;
use crate::ports::Host;
use crate::session::Interaction;
use crate::upstream::lane::Lane;
use crate::upstream::{Link, Server};
use crate::wire::version::Era;

/// The way that a request takes to its server.
pub(super) struct Way {
    pub(super) link: Arc<Link>,
    pub(super) interaction: Interaction,
    pub(super) lane: Option<Lane>,
}

impl<H: Host> Gateway<H> {
    /// Returns the way that a request takes: on a link of the caller's own where it can be asked something and the
    /// server offers sessions, else on the shared one. A server of both eras is spoken to in the agent's own.
    pub(super) async fn way_to(
        &self,
        server: &Arc<Server>,
        inbound: &Inbound<'_>,
        caller: &Caller,
    ) -> Result<Way, Unreachable> {
        let shared = Way { link: server.shared.clone(), interaction: Interaction::default(), lane: None };
        if !self.has_owners() {
            // Nobody could hold what a server asks until it is answered.
            return Ok(shared);
        }
        let Some(session) = &caller.session else {
            return self.way_of_stateless(server, inbound, caller, shared).await;
        };
        let interaction = Some(session.interaction).filter(|i| caller.streams && i.is_possible());
        let Some(interaction) = interaction else { return Ok(shared) };
        let shared = Way { interaction, ..shared };
        let version = self.establish(server, &server.shared).await?.version;
        if version.era() == Era::Modern && server.has_no_sessions.load(Ordering::Relaxed) {
            return Ok(shared);
        }
        if server.has_no_links() {
            self.reap(server);
        }
        let (own, evicted) = server.link_of(session.nonce, session.interaction, self.host().now());
        if let Some(link) = evicted {
            self.give_up(server, link);
        }
        if version.era() == Era::Modern
            && let Err(error) = self.establish(server, &own).await
        {
            tracing::debug!(%error, "no session of its own");
            server.drop_link(session.nonce);
            return Ok(shared);
        }
        Ok(Way { link: own, ..shared })
    }

    /// A stateless agent that can be asked something takes a lane to a server that asks in sessions.
    async fn way_of_stateless(
        &self,
        server: &Arc<Server>,
        inbound: &Inbound<'_>,
        caller: &Caller,
        shared: Way,
    ) -> Result<Way, Unreachable> {
        if !may_be_asked_in(&inbound.method) {
            return Ok(shared);
        }
        let declared = inbound.meta().and_then(|meta| meta.get(meta::CLIENT_CAPABILITIES));
        let interaction = declared.map_or_else(Interaction::default, Interaction::declared);
        let shared = Way { interaction, ..shared };
        if !interaction.is_possible()
            || self.establish(server, &server.shared).await?.version.era() == Era::Modern
        {
            return Ok(shared);
        }
        if server.has_no_links() {
            self.reap(server);
        }
        for link in server.lanes.drop_idle(0) {
            self.give_up(server, link);
        }
        let (lane, given_up) = server.lanes.take(caller.who.owner(), interaction, self.host().now());
        if let Some(link) = given_up {
            self.give_up(server, link);
        }
        Ok(match lane {
            Some(lane) => Way { link: lane.link().clone(), lane: Some(lane), ..shared },
            // What is asked on an answer's own stream is certain there, too; but the server might keep roots, or that
            // the user has signed in.
            None => Way { interaction: Interaction { roots: false, url: false, ..interaction }, ..shared },
        })
    }
}
