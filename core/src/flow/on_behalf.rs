//! Acting on behalf of whoever signed in: the token that they signed in with is exchanged for one of the server's
//! (RFC 8693; draft-ietf-oauth-identity-assertion-authz-grant).
//!
//! **A caller's token goes to the issuer that the configuration names, and to no server.** What is got for it is this user's
//! alone: it is held with the server that is theirs (ADR 0030).

use std::fmt;
use std::sync::{Arc, Mutex};

use super::sign_on::{Asked, Prover, no_token};
use crate::config::{IdentityProvider, SignOn, SignOnGrant, SubjectType};
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::identity::Subject;
use crate::oauth::client::held::Way;
use crate::oauth::client::{AuthorizationServer, Grant, Issued, Named, NoToken, Scopes, Token};
use crate::ports::Host;
use crate::secrets::{Secret, Veil};
use crate::upstream::handshake::shorten;
use crate::upstream::{Server, lock};

/// By which token a server acts on behalf of its user.
#[derive(Default)]
pub(crate) struct OnBehalf(Mutex<State>);

#[derive(Default)]
struct State {
    subject: Option<Arc<Subject>>,
    /// The one that counts no more, as its issuer says.
    ended: Option<Arc<Subject>>,
    /// What the identity provider has vouched with last.
    assertion: Option<Secret>,
}

/// Shows whether there is a token.
impl fmt::Debug for OnBehalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnBehalf({:?})", lock(&self.0).subject)
    }
}

impl OnBehalf {
    /// Takes a token that the user has signed in with, and tells whether it takes the place of another: of one that ends no
    /// later, or counts no more.
    pub(crate) fn presents(&self, subject: &Arc<Subject>) -> bool {
        let mut state = lock(&self.0);
        let has_ended = |subject: &Arc<Subject>| state.ended.as_ref() == Some(subject);
        let is_newer =
            state.subject.as_ref().is_none_or(|held| held.expires <= subject.expires || has_ended(held));
        let is_taken = is_newer && state.subject.as_ref() != Some(subject) && !has_ended(subject);
        if is_taken {
            state.subject = Some(subject.clone());
        }
        is_taken
    }

    /// Returns the token, where there is one.
    pub(super) fn subject(&self) -> Option<Arc<Subject>> {
        lock(&self.0).subject.clone()
    }

    /// Returns a text without any token of the user's.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let state = lock(&self.0);
        let subjects = state.subject.iter().chain(&state.ended).map(|subject| &subject.token);
        Veil::new(subjects.chain(&state.assertion)).over(text).into_owned()
    }
}

impl<H: Host> Gateway<H> {
    /// Gets a token for a server on behalf of its user.
    pub(super) async fn token_on_behalf(
        &self,
        server: &Server,
        sign_on: &SignOn,
        way: &Way,
        scopes: &Scopes,
    ) -> Result<Token, Unreachable> {
        let subject = server.signed_in.on_behalf.subject().ok_or_else(|| no_subject(server))?;
        if subject.expires <= self.host().now() {
            return Err(over(server, &subject.issuer, "it has expired"));
        }
        let client = Prover::of(sign_on);
        let resource = way.resource.as_deref();
        let asked = |grant| Asked { authorization: &way.authorization, grant, scopes, resource };
        let token = match &sign_on.grant {
            SignOnGrant::ClientCredentials => {
                let outcome = self.ask_as(server, &client, &asked(Grant::ClientCredentials)).await?;
                outcome.map_err(|why| no_token(server, &client, &way.authorization, &why))?
            }
            SignOnGrant::TokenExchange { subject: kind, audience } => {
                let subject_token = (subject.token.reveal(), subject.kind.unwrap_or(*kind).urn());
                let audience = audience.as_deref();
                let grant = Grant::Exchange { subject: subject_token, wanted: Issued::AccessToken, audience };
                let outcome = self.ask_as(server, &client, &asked(grant)).await?;
                outcome.map_err(|why| not_exchanged(server, (&client, &way.authorization), &subject, &why))?
            }
            SignOnGrant::IdJag { subject: kind, provider } => {
                let jag = self.vouched(server, (provider, *kind), &subject, (way, scopes)).await?;
                let outcome =
                    self.ask_as(server, &client, &asked(Grant::Assertion(jag.value.reveal()))).await?;
                outcome.map_err(|why| no_token(server, &client, &way.authorization, &why))?
            }
        };
        // Who gives back what it was shown would have the server see it.
        if token.value == subject.token {
            let why = NoToken::Failed("gives the user's own token back".into());
            return Err(no_token(server, &client, &way.authorization, &why));
        }
        Ok(token)
    }

    /// Has an identity provider vouch for a user at the authorization server of a server.
    async fn vouched(
        &self,
        server: &Server,
        (provider, kind): (&IdentityProvider, SubjectType),
        subject: &Arc<Subject>,
        (way, scopes): (&Way, &Scopes),
    ) -> Result<Token, Unreachable> {
        // Another issuer's users are not its own, and their tokens none of its business.
        if *subject.issuer != *provider.issuer {
            return Err(elsewhere(server, &provider.issuer));
        }
        let authorization = self.describe(server, &provider.issuer, Named::Here).await?;
        let client =
            Prover { client: &provider.client_id, credential: &provider.credential, token_auth: None };
        let asked = Asked {
            authorization: &authorization,
            grant: Grant::Exchange {
                subject: (subject.token.reveal(), subject.kind.unwrap_or(kind).urn()),
                wanted: Issued::IdJag,
                audience: Some(&way.authorization.issuer),
            },
            scopes,
            resource: way.resource.as_deref(),
        };
        let outcome = self.ask_as(server, &client, &asked).await?;
        let jag = outcome.map_err(|why| not_exchanged(server, (&client, &authorization), subject, &why))?;
        lock(&server.signed_in.on_behalf.0).assertion = Some(jag.value.clone());
        Ok(jag)
    }
}

/// The error about a server whose caller has shown no token to act by.
pub(super) fn no_subject(server: &Server) -> Unreachable {
    let why = "acts on behalf of whoever signed in, and this caller has not: sign in with a token of an identity provider \
               (`auth.issuers`, `auth.sign_in`); an API key is none";
    server.error(why).refused()
}

fn over(server: &Server, issuer: &str, why: &str) -> Unreachable {
    let message = format!(
        "acts on behalf of whoever signed in, and the user's sign-in at {:?} is over ({why}): the user signs in again",
        shorten(issuer)
    );
    server.error(message).refused()
}

fn elsewhere(server: &Server, issuer: &str) -> Unreachable {
    let message = format!(
        "acts on behalf of whoever signed in at {:?}, and this caller has signed in elsewhere",
        shorten(issuer)
    );
    server.error(message).refused()
}

/// The error about a user's token for which there is no other; one that counts no more is not tried again.
fn not_exchanged(
    server: &Server,
    (client, authorization): (&Prover<'_>, &AuthorizationServer),
    subject: &Arc<Subject>,
    why: &NoToken,
) -> Unreachable {
    match why {
        NoToken::Refused(code) if why.is_revoked() => {
            lock(&server.signed_in.on_behalf.0).ended = Some(subject.clone());
            over(server, &authorization.issuer, code)
        }
        why => no_token(server, client, authorization, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(token: &str, expires: u64) -> Arc<Subject> {
        let token = Secret::new(token.to_owned()).expect("a value");
        Arc::new(Subject { token, kind: None, issuer: "https://idp.example".into(), expires })
    }

    #[test]
    fn the_newest_token_is_acted_by() {
        let own = OnBehalf::default();
        let held = || own.subject().map(|subject| subject.token.reveal().to_owned());
        assert!(own.presents(&subject("first", 10)) && !own.presents(&subject("first", 10)));
        assert!(!own.presents(&subject("older", 9)));
        assert_eq!(held().as_deref(), Some("first"));
        assert!(own.presents(&subject("second", 20)));
        lock(&own.0).ended = Some(subject("second", 20));
        assert!(own.presents(&subject("older", 9)), "what counts no more gives way to anything");
        assert!(!own.presents(&subject("second", 20)), "and does not come back");
        assert_eq!(held().as_deref(), Some("older"));
    }

    #[test]
    fn nothing_of_the_tokens_is_shown() {
        let own = OnBehalf::default();
        own.presents(&subject("the-first", 10));
        lock(&own.0).ended = own.subject();
        own.presents(&subject("the-second", 20));
        lock(&own.0).assertion = Secret::new("the-third".to_owned()).ok();
        let said = own.redacted("the-first the-second the-third");
        assert_eq!(said, "[redacted] [redacted] [redacted]");
        insta::assert_snapshot!(format!("{own:?}"), @r#"OnBehalf(Some(Subject { issuer: "https://idp.example", .. }))"#);
    }
}
