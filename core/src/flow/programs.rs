//! Getting to know a server that is a program: it is started, and may take its time, or know nothing of the question in
//! which era it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{self, Either};

use super::connect::{blank, initialize, reply_of};
use crate::config::Command;
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::pipe::{Pipe, Users, pipe};
use crate::ports::Host;
use crate::upstream::compose::Ask;
use crate::upstream::handshake::{self, Probed, Reply};
use crate::upstream::{Established, Link, Owner, Server};
use crate::wire::version::Version;

/// How long a process may stay silent before it is asked in the other era as well.
const PATIENCE: Duration = Duration::from_secs(5);

impl<H: Host> Gateway<H> {
    pub(super) async fn shake_hands_pipe(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
        command: &Command,
    ) -> Result<Established, Unreachable> {
        let pipe = self.launch(server, link, command).await?;
        let established = blank(Version::MODERN, Some(pipe.clone()));
        if link.owner != Owner::Shared || server.dies_of_probe.load(Ordering::Relaxed) {
            let mut answer = self.write(&pipe, &initialize(link), Version::LEGACY).await?;
            let reply =
                self.within(server, server.settings.start(), async { reply_of(server, answer.next().await) });
            return self.initialized(server, link, established, &reply.await?).await;
        }
        let mut probe = self.write(&pipe, &Ask::own("server/discover"), Version::MODERN).await?;
        // A process that knows nothing of the question may not answer it at all, or may only be slow to start.
        let patience = std::pin::pin!(self.host().sleep(PATIENCE.min(server.settings.start())));
        let probed = match future::select(probe.next(), patience).await {
            Either::Left((reply, _)) => match reply_of(server, reply) {
                Ok(reply) => handshake::after_discover(&reply),
                Err(error) => {
                    // Some old servers take any first message but `initialize` for the end.
                    tracing::debug!(%error, "ended when it was asked in the stateless era; starting it again");
                    server.dies_of_probe.store(true, Ordering::Relaxed);
                    return Box::pin(self.shake_hands_pipe(server, link, command)).await;
                }
            },
            Either::Right(_) => Probed::Legacy,
        };
        match probed {
            Probed::Modern(version, introduction) => {
                return Ok(Established { version, introduction, ..established });
            }
            Probed::Failed(why) => return Err(server.error(why)),
            Probed::Legacy => {}
        }
        let mut answer = self.write(&pipe, &initialize(link), Version::LEGACY).await?;
        let either = self.within(server, server.settings.start(), async {
            Ok(future::select(answer.next(), probe.next()).await)
        });
        let reply = match either.await? {
            Either::Left((reply, _)) => reply_of(server, reply)?,
            // The probe was answered after all. By now a server of both eras has been asked for a session, and may
            // speak no other way on this pipe.
            Either::Right((late, initialize)) => {
                let reply = self
                    .within(server, server.settings.start(), async { reply_of(server, initialize.await) });
                let reply = reply.await;
                let begun = reply.as_ref().is_ok_and(|reply| handshake::after_initialize(reply).is_ok());
                let late = late.and_then(Result::ok).map(|body| Reply { body, ..Reply::default() });
                match late.as_ref().map(handshake::after_discover) {
                    Some(Probed::Modern(version, introduction)) if !begun => {
                        return Ok(Established { version, introduction, ..established });
                    }
                    _ => reply?,
                }
            }
        };
        self.initialized(server, link, established, &reply).await
    }

    /// Starts the server's process; it is told by which gateways, so that a loop ends at once.
    async fn launch(
        &self,
        server: &Arc<Server>,
        link: &Arc<Link>,
        command: &Command,
    ) -> Result<Pipe, Unreachable> {
        let users = if link.owner == Owner::Shared { Users::Many } else { Users::One };
        let (core_end, host_end, unasked) = pipe(server.name.as_str(), users);
        let mut command = self.furnished(server, command).await?;
        let via = self.0.snapshot.load().gate.own_chain();
        command.env.insert("PORTCULLIS_VIA".into(), via);
        self.host().launch(&server.name, &command, host_end, self.limits().message).await?;
        self.hear_pipe(server, link.owner, core_end.downgrade(), unasked);
        Ok(core_end)
    }
}
