//! What it costs to tell who calls: by an API key, by a token.

use http::{HeaderMap, header};

use super::key;
use super::paths::Path;
use crate::config::{Auth, Dialect, Issuer, Policy};
use crate::identity::{ApiKey, Bearer, Evidence, KeyRing, Proof, Shown, authenticate};
use crate::oauth::{Claims, Expected, KeySet, PublicKey, Token};
use crate::ports::Signed;

const NOW: u64 = 1_800_000_000_000;
/// How many keys the gateway knows.
const KEYS: u8 = 100;

/// The public key of an issuer, and a token of the usual size that it has signed.
const KEY_ID: &str = "2f7c1c1e-6d8b-4f53-9a55-0c2e6a3f8b11";
const MODULUS: &str = concat!(
    "kSVH-2in_45Fd9HtjOUCEGvVeA8BAnx9bpT8lR5ZFFpUaarcjtPTJ6fz80Lf5jXseg3AfwcWfEf_sEOvekbjEeVDknIJZsgt_IDm",
    "ygmvFEggUkrlUJ0SdNHRx3hCxmiKS0wyWZHCujn-5dzhqEjeTRC3hC534rEtWpKkj2IWsZnKoH_noR4Sm3Er7uf7dCgWHs4aWrma",
    "w4VA6cCV8PWja4uZfJjohHRzwhfxrxN16bX0nw4H_cIQT6E4pH1-JhKYnMwpjID3AjBywmJYpbVvZc5WensVw4nZkO4QMnQMFXhK",
    "mzqx2f7tfbpmB5ou67XlqVMT7z805Izhyt5hl3BkAw",
);
const TOKEN: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IjJmN2MxYzFlLTZkOGItNGY1My05YTU1LTBjMmU2YTNmOGIxMSJ9",
    ".eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tIiwic3ViIjoiMDB1MWEyYjNjNGQ1ZTZmN2c4aDkiLCJhdWQiOiJodHR",
    "wczovL21jcC5leGFtcGxlLmNvbS9tY3AiLCJleHAiOjQxMDI0NDQ4MDAsImlhdCI6MTc2NzIyNTYwMCwianRpIjoiYjVjMWYwZDI",
    "tMzNiNi00YTRjLThhMWUtNmMyYjBmNWE3ZDkwIiwiY2xpZW50X2lkIjoiMG9hOXo4eTd4Nnc1djR1M3QyczEiLCJzY29wZSI6Im9",
    "wZW5pZCBwcm9maWxlIG1jcDp1c2UiLCJncm91cHMiOlsiZXZlcnlvbmUiLCJlbmdpbmVlcmluZyIsIm9uLWNhbGwiXSwiZW1haWw",
    "iOiJhbm5AZXhhbXBsZS5jb20ifQ.OGw9xrzfZqNaU6JBTtHwhrzsRmZ5u6sB_l5htzePr2U-O-tj4vD98_ZDpAhdpFj4qBUgRRHR",
    "bHUuTBUELLEDAALztFUEK6_SwJ9LO4yvk0p22XDssiWD-RVkcRgtjQ5u88ufWWBKmXydduSN2lOjqAqvZBFYU89hmoFXcUu86qzw",
    "Byr2a--y_ZROnhhAJcU-orEGOsDOyZFJ1zjXiJzBGYyjNMG0O75PhW7QvRalm3nBEnkzegWoXZtLdSR-9ZcpIYTLVnrwuf5ohCZ8",
    "JtEkvtxQ6HcVh-ftOZ16w3EBUPM0cqUKe6fiBi3nk-vbF4F3R43Kwff8jKNkysc3piL31Q",
);

/// Tells the caller by its API key, among a hundred.
pub(super) fn api_key() -> Path {
    let ring = KeyRing::new((0..KEYS).map(|number| key(number).1));
    let auth = Auth { required: true, ..Auth::default() };
    let headers = bearing(ApiKey::reveal(&key(57).0));
    Box::new(move || match shown(&headers, &auth, &ring) {
        Some(Shown::Proved(_)) => 1,
        _ => 0,
    })
}

/// Tells the caller by a token whose issuer's keys are known; `verifies` is a host's.
pub fn token_rs256(verifies: fn(&Signed<'_>) -> bool) -> Path {
    let keys = format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"{KEY_ID}","alg":"RS256","use":"sig","n":"{MODULUS}","e":"AQAB"}}]}}"#
    );
    let keys = KeySet::parse(keys.as_bytes()).expect("a key set");
    let auth = Auth { required: true, issuers: vec![Issuer::default()], ..Auth::default() };
    let (headers, ring, policy) = (bearing(TOKEN), KeyRing::default(), Policy::default());
    let audiences = vec!["https://mcp.example.com/mcp".to_owned()];
    Box::new(move || {
        let Some(Shown::Token(text, tag)) = shown(&headers, &auth, &ring) else { return 0 };
        let token = Token::parse(text).expect("a token");
        let issuer = token.issuer().expect("it names one");
        let signed_by =
            |key: &PublicKey| verifies(&Signed { key, message: token.signed, signature: &token.signature });
        assert!(keys.of_token(&token).any(|key| signed_by(&key.key)), "it is signed");
        let expected = Expected { issuer: &issuer, audience_claim: "aud", audiences: &audiences, now: NOW };
        let claims = Claims::read(&token.payload, &expected).expect("it is taken");
        let proof = Proof::of_bearer(&claims.subject, Bearer::new(&claims, &policy, &Issuer::default()), tag);
        usize::from(!proof.is_over(NOW))
    })
}

fn bearing(credential: &str) -> HeaderMap {
    let value = format!("Bearer {credential}").parse().expect("ASCII");
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn shown<'h>(headers: &'h HeaderMap, auth: &Auth, ring: &KeyRing) -> Option<Shown<'h>> {
    let evidence = Evidence::of(headers, auth, Dialect::Native).ok()?;
    authenticate(auth, ring, &evidence, NOW).ok()
}
