//! Reads and resolves what `auth.oauth` says of acting on behalf of whoever signed in.
//!
//! **The issuer that a caller's token is shown to is written down**: no server names it.

use super::item::{At, Fields, Item};
use super::native::read_value;
use super::native_sign_on::{Grant, Unresolved, resolve_client_id, resolve_issuer, resolve_secret, resolved};
use super::problem::{Place, Report};
use super::server::Context;
use super::sign_on::{ClientCredential, IdentityProvider, SignOnGrant, SubjectType};

const EXAMPLE: &str = "for example `identity_provider: { issuer: \"https://idp.example.com\", client_id: portcullis, client_secret: { secret: idp } }`";

/// What stands in `auth.oauth` about that.
#[derive(Debug, Clone, Default)]
pub(super) struct OnBehalfEntry {
    subject: Option<At<SubjectType>>,
    audience: Option<At<String>>,
    provider: Option<ProviderEntry>,
}

/// What stands in `identity_provider`.
#[derive(Debug, Clone)]
struct ProviderEntry {
    place: Place,
    issuer: Option<At<String>>,
    client_id: Option<At<String>>,
    client_secret: Option<At<String>>,
    private_key: Option<At<String>>,
}

impl OnBehalfEntry {
    /// Reads the keys; nothing where one of them cannot be read.
    pub(super) fn read(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Self> {
        let subject = fields.take("subject_token_type");
        let subject = subject
            .map(|item| item.parsed("`access_token`, `id_token` or `jwt`", report, parse_subject).ok_or(()));
        let audience = fields.take("audience");
        let audience = audience.map(|item| item.filled_text("for whom the token is to be", report).ok_or(()));
        let provider = fields.take_even_null("identity_provider");
        let provider = provider.map(|item| ProviderEntry::read(&item, report).ok_or(()));
        Some(Self {
            subject: subject.transpose().ok()?,
            audience: audience.transpose().ok()?,
            provider: provider.transpose().ok()?,
        })
    }

    /// Returns the texts in which a secret may stand.
    pub(super) fn texts(&self) -> impl Iterator<Item = &At<String>> {
        let provider = self.provider.iter();
        provider.flat_map(|provider| provider.client_secret.iter().chain(&provider.private_key))
    }

    /// Checks that what is written goes with the grant, whose own issuer stands at `issuer`.
    pub(super) fn check(
        &self,
        grant: Grant,
        (place, issuer): (&Place, Option<&At<String>>),
        report: &mut Report<'_>,
    ) -> bool {
        let before = report.mark();
        let is_on_behalf = matches!(grant, Grant::TokenExchange | Grant::IdJag);
        if let Some(subject) = self.subject.as_ref().filter(|_| !is_on_behalf) {
            let why = "`subject_token_type` belongs to the grants `token_exchange` and `id_jag`";
            report.error(&subject.place, why);
        }
        if let Some(audience) = self.audience.as_ref().filter(|_| grant != Grant::TokenExchange) {
            report.error(&audience.place, "`audience` belongs to the grant `token_exchange`");
        }
        if let Some(provider) = self.provider.as_ref().filter(|_| grant != Grant::IdJag) {
            report.error(&provider.place, "`identity_provider` belongs to the grant `id_jag`");
        }
        if grant == Grant::TokenExchange && issuer.is_none() {
            report.error(place, "the key `issuer` is missing: a caller's token is shown to no other");
        }
        match &self.provider {
            None if grant == Grant::IdJag => {
                report.error(place, "the key `identity_provider` is missing");
                report.hint(EXAMPLE);
            }
            Some(provider) if grant == Grant::IdJag => provider.check(report),
            _ => {}
        }
        report.mark() == before
    }

    /// Resolves what a checked grant has of it.
    pub(super) fn resolve(
        &self,
        grant: Grant,
        context: &Context<'_>,
        report: &mut Report<'_>,
    ) -> Result<SignOnGrant, Unresolved> {
        let subject = self.subject.as_ref().map(|subject| subject.value);
        Ok(match grant {
            Grant::AuthorizationCode | Grant::DeviceCode | Grant::ClientCredentials => {
                SignOnGrant::ClientCredentials
            }
            Grant::TokenExchange => SignOnGrant::TokenExchange {
                subject: subject.unwrap_or(SubjectType::AccessToken),
                audience: resolved(self.audience.as_ref(), |audience| context.expand(audience, report))?,
            },
            Grant::IdJag => SignOnGrant::IdJag {
                subject: subject.unwrap_or(SubjectType::IdToken),
                provider: self.provider.as_ref().ok_or(Unresolved)?.resolve(context, report)?,
            },
        })
    }
}

impl ProviderEntry {
    fn read(item: &Item<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut fields = item.fields(report)?;
        let issuer = fields.take("issuer").and_then(|item| item.text(report));
        let client_id = fields.take("client_id");
        let client_id =
            client_id.and_then(|item| item.filled_text("what the gateway is called there", report));
        let mut value = |key| fields.take_even_null(key).and_then(|item| read_value(&item, report));
        let (client_secret, private_key) = (value("client_secret"), value("private_key"));
        fields.finish(report);
        Some(Self { place: item.place(), issuer, client_id, client_secret, private_key })
    }

    fn check(&self, report: &mut Report<'_>) {
        for (key, written) in [("issuer", &self.issuer), ("client_id", &self.client_id)] {
            if written.is_none() {
                report.error(&self.place, format!("the key `{key}` is missing"));
                report.hint(EXAMPLE);
            }
        }
        if self.client_secret.is_some() == self.private_key.is_some() {
            report.error(&self.place, "expected either `client_secret` or `private_key`");
            report.hint(EXAMPLE);
        }
    }

    fn resolve(
        &self,
        context: &Context<'_>,
        report: &mut Report<'_>,
    ) -> Result<IdentityProvider, Unresolved> {
        let issuer = resolved(self.issuer.as_ref(), |issuer| resolve_issuer(issuer, context, report));
        let client_id = resolved(self.client_id.as_ref(), |id| resolve_client_id(id, context, report));
        let text = self.client_secret.as_ref().or(self.private_key.as_ref());
        let text = resolved(text, |text| resolve_secret(text, context, report))?.ok_or(Unresolved)?;
        Ok(IdentityProvider {
            issuer: issuer?.ok_or(Unresolved)?,
            client_id: client_id?.ok_or(Unresolved)?,
            credential: match self.client_secret {
                Some(_) => ClientCredential::Secret(text),
                None => ClientCredential::PrivateKey(text),
            },
        })
    }
}

fn parse_subject(text: &str) -> Option<SubjectType> {
    match text {
        "access_token" => Some(SubjectType::AccessToken),
        "id_token" => Some(SubjectType::IdToken),
        "jwt" => Some(SubjectType::Jwt),
        _ => None,
    }
}
