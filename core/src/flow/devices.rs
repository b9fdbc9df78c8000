//! Connecting by a code that the user enters at a server's authorization server (RFC 8628), while their browser waits here.
//!
//! **Nothing goes on between two looks of the browser**: each asks the authorization server once at most, and what is known
//! meanwhile lies sealed in the address of the page, for that browser alone.

use std::sync::Arc;

use super::connected::said;
use super::linking::At;
use crate::body::Reply;
use crate::gateway::Gateway;
use crate::oauth::client::{DeviceCode, Scopes, TokenRequest, callback_url};
use crate::oauth::connect::{Client, Grantor, Leg, Waits};
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
        Ok(self.wait(at.base, &leg, (&code.user_code, code.interval)))
    }

    /// Has a browser wait whose user enters that code, and look again after so many seconds.
    pub(super) fn wait(&self, base: &str, leg: &Leg, (user_code, interval): (&str, u64)) -> Reply {
        let desk = self.desk();
        let waits = Waits { user_code: user_code.to_owned(), interval, next: desk.now + interval * 1000 };
        let state = desk.seal_leg(&Leg { waits: Some(waits), ..leg.clone() });
        redirect(&format!("{}?state={state}", callback_url(base)))
    }
}
