//! The token that somebody signed in with, where a server acts on their behalf.
//!
//! **It is shown to nobody**: it goes to the issuer that the configuration names, to be exchanged, and never to a server. It is
//! kept where some server needs it alone, and written down, sealed, only in what one instance of this host hands to another, and in
//! the tokens of the gateway's own that follow from it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::SubjectType;
use crate::secrets::Secret;

/// A verified token of an identity provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject {
    /// The token.
    pub(crate) token: Secret,
    /// What it is, where that is certain; else the configuration says what it is said to be.
    pub(crate) kind: Option<SubjectType>,
    /// Who has made it: the issuer's URL, as the configuration has it.
    pub(crate) issuer: Arc<str>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub(crate) expires: u64,
}

/// A subject as one instance hands it to another.
#[derive(Serialize, Deserialize)]
struct Handed<'t> {
    #[serde(rename = "t")]
    token: std::borrow::Cow<'t, str>,
    #[serde(rename = "k")]
    kind: Option<SubjectType>,
    #[serde(rename = "i")]
    issuer: Arc<str>,
    #[serde(rename = "x")]
    expires: u64,
}

/// Shows whose token it is, and nothing of the token.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = self.token.reveal().into();
        Handed { token, kind: self.kind, issuer: self.issuer.clone(), expires: self.expires }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handed = Handed::deserialize(deserializer)?;
        let token = Secret::new(handed.token.into_owned()).map_err(serde::de::Error::custom)?;
        Ok(Self { token, kind: handed.kind, issuer: handed.issuer, expires: handed.expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_handed_on_and_not_shown() {
        let token = Secret::new("h.p.s".to_owned()).expect("a value");
        let kind = Some(SubjectType::IdToken);
        let subject = Subject { token, kind, issuer: "https://idp.example".into(), expires: 7 };
        let text = serde_json::to_string(&subject).expect("text");
        assert!(serde_json::from_str::<Subject>(&text).is_ok_and(|other| other == subject));
        insta::assert_snapshot!(format!("{subject:?}"), @r#"Subject { issuer: "https://idp.example", .. }"#);
    }
}
