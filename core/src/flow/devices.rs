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
use crate::oauth::client::{DeviceCode, Grant, Scopes, TokenRequest};
use crate::oauth::connect::{Client, Grantor, Leg, Wait, connected, enter, unknown};
use crate::oauth::server::Form;
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
        Ok(self.wait(at.base, leg, code))
    }

    fn wait(&self, base: &str, leg: Leg, code: DeviceCode) -> Reply {
        redirect(&format!("{base}{}?state={}", crate::endpoint::DEVICE, self.desk().wait(leg, code)))
    }

    /// Looks for a browser that waits whether its user has consented, or shows the code until it is time for that.
    pub(super) async fn look_for_consent(
        &self,
        head: &Parts,
        snapshot: &Snapshot,
        base: &str,
    ) -> Result<Reply, Ended> {
        let form = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
        let wait = form.one("state").ok().flatten();
        let wait = wait.and_then(|text| self.desk().open_wait(text, &head.headers));
        let Some(Wait { leg, code, next }) = wait else { return Err(Box::new(unknown())) };
        let (at, grantor) = self.under_way(head, snapshot, base, &leg).await?;
        let name = at.server.name.as_str();
        let rest = next.saturating_sub(self.host().now());
        if rest > 0 {
            return Ok(enter(name, &code, rest.div_ceil(1000)));
        }
        let outcome = self.redeem_for(&at, (&grantor, &leg), Grant::Device(&code.code)).await;
        match outcome.map_err(|why| self.ended(head, &leg, &why))? {
            Ok(()) => {
                self.record_step(head, Some(&leg.principal), Ok(()));
                Ok(connected(name))
            }
            Err(why) => match code.after(why) {
                Ok(code) => Ok(self.wait(base, leg, code)),
                Err(why) => Err(self.ended(head, &leg, &format!("No token was given: {}", said(&why)))),
            },
        }
    }
}
