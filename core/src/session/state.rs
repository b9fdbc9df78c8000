//! What a stateless agent carries from one round of a call to the next.
//!
//! **A `requestState` opens only for the request that it was given for**: the same method and parameters, at the same
//! endpoint, by the same principal, before it expires.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Purpose, Sealer};
use crate::identity::Owner;
use crate::ports::Entropy;
use crate::wire::json::{Json, Object};

/// The members of `params` that differ from round to round.
const OF_A_ROUND: [&str; 3] = ["_meta", "inputResponses", "requestState"];

/// A sealed `requestState`, opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestState {
    /// The server that asks, by its identity.
    pub server: String,
    /// Which request it was given for.
    pub binding: Binding,
    /// Unique, so that it can be seen to be used again.
    pub nonce: u64,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires: u64,
    /// How the call goes on.
    pub next: Next,
}

/// How a call goes on in its next round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Next {
    /// The server is called again, with this state of its own, as JSON text.
    Server(String),
    /// A call that waits in this process gets its answers.
    Parked(u64),
    /// The server is called again from the start.
    Again,
    /// The server is called again, with its own state where it gave one, and is told that what has these keys was declined.
    Declined(Option<String>, Vec<String>),
}

/// The request that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The endpoint's path.
    pub endpoint: String,
    /// Who asks.
    pub owner: Owner,
    /// A digest of method and parameters.
    pub digest: String,
}

impl RequestState {
    /// Returns the state as the agent sees it.
    pub(crate) fn seal(&self, sealer: &Sealer, entropy: &impl Entropy) -> String {
        sealer.pack(entropy, Purpose::RequestState, self)
    }

    /// Opens a state that came back; nothing where it is not ours, has expired, or belongs to another request.
    pub(crate) fn open(token: &str, sealer: &Sealer, now: u64, binding: &Binding) -> Option<Self> {
        let state: Self = sealer.unpack(Purpose::RequestState, token)?;
        (state.expires > now && state.binding == *binding).then_some(state)
    }
}

impl Binding {
    /// Returns what binds a state to a request.
    pub(crate) fn new(endpoint: String, owner: Owner, method: &str, params: &Object<'_>) -> Self {
        let mut hash = Sha256::new();
        hash_text(&mut hash, b'm', method);
        let mut members: Vec<_> =
            params.iter().filter(|(key, _)| !OF_A_ROUND.contains(&key.as_ref())).collect();
        members.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in members {
            hash_text(&mut hash, b'k', key);
            hash_value(&mut hash, value);
        }
        let digest = URL_SAFE_NO_PAD.encode(&hash.finalize()[..18]);
        Self { endpoint, owner, digest }
    }
}

/// Takes in a value as what it means: the order of keys, white space and escapes make no difference.
fn hash_value(hash: &mut Sha256, value: Json<'_>) {
    if value.is_object() {
        let mut members: Vec<_> = value.members().collect();
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        hash.update(b"{");
        for (key, value) in members {
            hash_text(hash, b'k', &key);
            hash_value(hash, value);
        }
        hash.update(b"}");
    } else if value.is_array() {
        hash.update(b"[");
        value.elements().for_each(|element| hash_value(hash, element));
        hash.update(b"]");
    } else {
        match value.as_str() {
            Some(text) => hash_text(hash, b's', &text),
            None => hash_text(hash, b'v', value.text()),
        }
    }
}

fn hash_text(hash: &mut Sha256, kind: u8, text: &str) {
    hash.update([kind]);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    fn binding(method: &str, params: &str) -> Binding {
        let object = Json::check(params.as_bytes()).unwrap().object().unwrap();
        Binding::new("/mcp".into(), Owner::default(), method, &object)
    }

    #[test]
    fn the_same_request_has_the_same_digest() {
        let first = binding("tools/call", r#"{"name":"a","arguments":{"x":[1,"é"],"y":{}}}"#);
        let again = binding(
            "tools/call",
            r#"{ "arguments": {"y": {}, "x": [1, "\u00e9"]}, "name": "a", "_meta": {}, "requestState": "s", "inputResponses": {}}"#,
        );
        assert_eq!(first, again);
        for (method, params) in [
            ("prompts/get", r#"{"name":"a","arguments":{"x":[1,"é"],"y":{}}}"#),
            ("tools/call", r#"{"name":"b","arguments":{"x":[1,"é"],"y":{}}}"#),
            ("tools/call", r#"{"name":"a","arguments":{"x":[1.0,"é"],"y":{}}}"#),
            ("tools/call", r#"{"name":"a","arguments":{"x":[1,"é"],"y":[]}}"#),
            ("tools/call", r#"{"name":"a","arguments":{"x":[1],"é":"y"}}"#),
            ("tools/call", r#"{"name":"a"}"#),
        ] {
            assert_ne!(binding(method, params), first, "{method} {params}");
        }
    }

    #[test]
    fn a_state_opens_for_its_own_request_only() {
        let sealer = Sealer::new(&[1; 32], &[]);
        let own = binding("tools/call", r#"{"name":"a"}"#);
        let state = RequestState {
            server: "s".into(),
            binding: own.clone(),
            nonce: 1,
            expires: 100,
            next: Next::Server("\"x\"".into()),
        };
        let token = state.seal(&sealer, &Fixed);
        assert_eq!(RequestState::open(&token, &sealer, 99, &own), Some(state.clone()));
        assert_eq!(RequestState::open(&token, &sealer, 100, &own), None, "expired");
        let elsewhere = Binding { endpoint: "/mcp/servers/s".into(), ..own.clone() };
        assert_eq!(RequestState::open(&token, &sealer, 1, &elsewhere), None, "another endpoint");
        let eve = Owner { principal: Some("key:eve".into()), tag: None };
        let other = Binding { owner: eve, ..own.clone() };
        assert_eq!(RequestState::open(&token, &sealer, 1, &other), None, "another principal");
        assert_eq!(
            RequestState::open(
                &RequestState { binding: other, ..state }.seal(&sealer, &Fixed),
                &sealer,
                1,
                &own
            ),
            None,
            "nobody"
        );
        let other = Binding { owner: Owner { principal: None, tag: Some("t".into()) }, ..own.clone() };
        assert_eq!(RequestState::open(&token, &sealer, 1, &other), None, "another tag");
        assert_eq!(RequestState::open(&token, &sealer, 1, &binding("tools/call", "{}")), None);
        assert_eq!(RequestState::open(&token[1..], &sealer, 1, &own), None);
    }
}
