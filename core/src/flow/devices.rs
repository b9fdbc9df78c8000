//! Connecting by a code that the user enters at a server's authorization server (RFC 8628), while their browser waits here.
//!
//! **Nothing goes on between two looks of the browser**: each asks the authorization server once at most, and what is known
//! meanwhile lies sealed in the address of the page, for that browser alone.

use std::sync::Arc;

use http::request::Parts;

use super::connected::said;
use super::linking::{At, Ended};
use crate::body::Reply;
use crate::gateway::{Gateway, Snapshot};
use crate::oauth::client::{DeviceCode, Grant, Scopes, TokenRequest, interval_after, state_of};
use crate::oauth::connect::{Client, Grantor, Leg, Waits, connected, enter, unknown};
use crate::oauth::server::answer::redirect;
use crate::ports::Host;

impl<H: Host> Gateway<H> {
    /// Gets a code from where that is, and has the browser wait with it; or says why there is none.
    pub(super) async fn wait_for_code(
        &self,
        at: &At<'_>,
        (grantor, client, mut leg): (&Arc<Grantor>, &Client<'_>, Leg),
        endpoint: &url::Url,
    ) -> Result<Reply, String> {
        let (scopes, parameters) = (Scopes::parse(&leg.scopes), &at.consent.parameters);
        let request = TokenRequest::for_device(&scopes, grantor.named_resource(), parameters);
        let answer = self.posted_as(at.server, (grantor, client), request, endpoint).await;
        let code = answer.and_then(|(head, text)| DeviceCode::read(head.status, &text, endpoint));
        let code = code.map_err(|why| format!("There is no code to enter: {}.", said(&why)))?;
        leg.expires = self.host().now() + code.lifetime * 1000;
        (leg.verifier, leg.redirect) = (code.code, code.page);
        Ok(self.wait(at.base, leg, (code.user_code, code.interval)))
    }

    fn wait(&self, base: &str, leg: Leg, (user_code, interval): (String, u64)) -> Reply {
        let desk = self.desk();
        let waits = Some(Waits { user_code, interval, next: desk.now + interval * 1000 });
        let state = desk.seal_leg(&Leg { waits, ..leg });
        redirect(&format!("{base}{}?state={state}", crate::endpoint::DEVICE))
    }

    /// Looks for a browser that waits whether its user has consented, or shows the code until it is time for that.
    pub(super) async fn look_for_consent(
        &self,
        head: &Parts,
        snapshot: &Snapshot,
        base: &str,
    ) -> Result<Reply, Ended> {
        let leg = state_of(head.uri.query().unwrap_or_default());
        let leg = leg.and_then(|state| self.desk().open_leg(&state, &head.headers));
        let Some(mut leg) = leg else { return Err(Box::new(unknown())) };
        let Some(waits) = leg.waits.take() else { return Err(Box::new(unknown())) };
        let (at, grantor) = self.under_way(head, snapshot, base, &leg).await?;
        let name = at.server.name.as_str();
        let rest = waits.next.saturating_sub(self.host().now());
        if rest > 0 {
            return Ok(enter(name, (&waits.user_code, &leg.redirect), rest.div_ceil(1000)));
        }
        let outcome = self.redeem_for(&at, (&grantor, &leg), Grant::Device(&leg.verifier)).await;
        match outcome.map_err(|why| self.ended(head, &leg, &why))? {
            Ok(()) => {
                self.record_step(head, Some(&leg.principal), Ok(()));
                Ok(connected(name))
            }
            Err(why) => match interval_after(waits.interval, why) {
                Ok(interval) => Ok(self.wait(base, leg, (waits.user_code, interval))),
                Err(why) => Err(self.ended(head, &leg, &format!("No token was given: {}", said(&why)))),
            },
        }
    }
}
