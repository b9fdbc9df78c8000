//! Finds secrets in text by their form: one pass, from left to right.
//!
//! **The time that it takes grows with the text alone**, whatever is in it: every look back or ahead that finds nothing is
//! bounded, and what was found is not looked at again.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How often what was decoded is decoded again.
const DEPTH: u32 = 2;
/// The shortest encoded text that is decoded, in bytes.
const ENCODED: usize = 16;
/// How far a name is looked for before a sign, and a separator after it, in bytes.
const NAME: usize = 64;

/// What a credential consists of after its prefix.
type Alphabet = fn(u8) -> bool;

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

fn dotted(b: u8) -> bool {
    word(b) || matches!(b, b'.' | b'~' | b'+' | b'/' | b'=' | b'%')
}

/// Credentials that are known by how they begin: what they consist of then, and of how much at least.
const PREFIXES: &[(&[u8], Alphabet, usize)] = &[
    (b"AKIA", upper, 12),
    (b"ASIA", upper, 12),
    (b"ABIA", upper, 12),
    (b"ACCA", upper, 12),
    (b"AIza", word, 30),
    (b"GOCSPX-", word, 20),
    (b"ya29.", dotted, 20),
    (b"1//0", word, 30),
    (b"ghp_", alphanumeric, 20),
    (b"gho_", alphanumeric, 20),
    (b"ghu_", alphanumeric, 20),
    (b"ghs_", alphanumeric, 20),
    (b"ghr_", alphanumeric, 20),
    (b"github_pat_", word, 20),
    (b"glpat-", word, 16),
    (b"glsa_", word, 20),
    (b"xoxa-", word, 10),
    (b"xoxb-", word, 10),
    (b"xoxe-", word, 10),
    (b"xoxe.", dotted, 10),
    (b"xoxp-", word, 10),
    (b"xoxr-", word, 10),
    (b"xoxs-", word, 10),
    (b"xapp-", word, 10),
    (b"hooks.slack.com/services/", dotted, 10),
    (b"sk_live_", alphanumeric, 10),
    (b"sk_test_", alphanumeric, 10),
    (b"rk_live_", alphanumeric, 10),
    (b"rk_test_", alphanumeric, 10),
    (b"whsec_", dotted, 16),
    (b"sk-", word, 20),
    (b"pck_", word, 16),
    (b"hf_", alphanumeric, 30),
    (b"gsk_", alphanumeric, 30),
    (b"xai-", word, 30),
    (b"npm_", alphanumeric, 30),
    (b"pypi-", word, 30),
    (b"dckr_pat_", word, 20),
    (b"dop_v1_", alphanumeric, 30),
    (b"shpat_", alphanumeric, 30),
    (b"SG.", dotted, 40),
    (b"hvs.", word, 20),
    (b"ATATT", dotted, 30),
    (b"lin_api_", alphanumeric, 30),
    (b"AGE-SECRET-KEY-", upper, 30),
];

/// The pairs of bytes at which something is looked for, by [`pair`]: few others share a place with them.
const PAIRS: [bool; 1024] = {
    let (mut all, mut at) = ([false; 1024], 0);
    while at < PREFIXES.len() {
        all[pair(PREFIXES[at].0[0], PREFIXES[at].0[1])] = true;
        at += 1;
    }
    let mut at = 0;
    while at < OTHERS.len() {
        all[pair(OTHERS[at][0], OTHERS[at][1])] = true;
        at += 1;
    }
    all
};

/// What the others begin with that are looked for: PEM blocks, JSON Web Tokens, `Bearer`, `Basic`, Azure's.
const OTHERS: [&[u8; 2]; 5] = [b"--", b"ey", b"be", b"ba", b"Q~"];

/// Returns the place of a pair of bytes; a small letter has that of the capital one.
const fn pair(first: u8, second: u8) -> usize {
    ((first & 31) as usize) << 5 | (second & 31) as usize
}

/// What a name has in it that names a secret, in small letters and digits alone.
const NAMES: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "signingkey",
    "credential",
    "cookie",
    "bearer",
    "sessionid",
];

/// What a name says of the value that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Nothing.
    Nothing,
    /// A secret, where it is a text.
    Text,
    /// A secret, whatever it is.
    Secret,
}

/// Tells what a name says of its value.
pub(super) fn names(name: &str) -> Names {
    let letters = name.chars().rev().filter(|c| c.is_alphanumeric()).take(NAME);
    let plain: Vec<char> = letters.flat_map(char::to_lowercase).collect();
    let plain: String = plain.into_iter().rev().collect();
    if matches!(&*plain, "pwd" | "pass" | "sig" | "pin" | "jwt" | "auth") {
        return Names::Secret;
    }
    match NAMES.into_iter().find(|secret| plain.contains(secret)) {
        None => Names::Nothing,
        // So many tokens are no secret.
        Some("token") => Names::Text,
        Some(_) => Names::Secret,
    }
}

/// Tells whether a name says of a text that it is a secret.
#[cfg(feature = "control")]
pub(crate) fn names_secret(name: &str) -> bool {
    names(name) != Names::Nothing
}

/// Returns where secrets stand, in order; they do not overlap.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    find_within(text, DEPTH)
}

fn find_within(text: &str, depth: u32) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut scan = Scan { text: text.as_bytes(), no_jwt_before: 0 };
    let mut at = 0;
    while let Some(next) = scan.next(at) {
        at = next + 1;
        if let Some(secret) = scan.at(next) {
            at = at.max(secret.end);
            found.push(secret);
        }
    }
    if depth > 0 {
        found.extend(encoded(text, depth));
    }
    merge(found)
}

/// Orders spans and joins those that touch.
pub(super) fn merge(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

struct Scan<'t> {
    text: &'t [u8],
    /// Up to here there is none: it has been looked for.
    no_jwt_before: usize,
}

impl Scan<'_> {
    /// Returns the next place from `from` on at which a secret may be recognised.
    fn next(&self, from: usize) -> Option<usize> {
        let rest = self.text.get(from..)?;
        let is_sign = |byte: u8| matches!(byte, b'=' | b':');
        let is_one = |two: &[u8]| is_sign(two[0]) || PAIRS[pair(two[0], two[1])];
        let last = || rest.last().filter(|last| is_sign(**last)).map(|_| rest.len() - 1);
        rest.windows(2).position(is_one).or_else(last).map(|at| from + at)
    }

    /// Returns the secret that is recognised at this place; it may begin before.
    fn at(&mut self, at: usize) -> Option<Range<usize>> {
        match self.text[at] {
            b'-' if self.has(at, b"-----BEGIN ") => Some(at..self.end_of_pem(at)),
            b'=' | b':' => self.named(at).or_else(|| self.user(at)),
            b'e' if self.has(at, b"eyJ") && at >= self.no_jwt_before => self.jwt(at),
            b'B' | b'b' => self.bearer(at).or_else(|| self.prefixed(at)),
            b'Q' if self.has(at, b"Q~") => self.azure(at),
            _ => self.prefixed(at),
        }
    }

    fn has(&self, at: usize, prefix: &[u8]) -> bool {
        self.text[at..].starts_with(prefix)
    }

    /// Returns where a run of an alphabet ends.
    fn run(&self, from: usize, alphabet: Alphabet) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        from + rest.iter().position(|b| !alphabet(*b)).unwrap_or(rest.len())
    }

    fn prefixed(&self, at: usize) -> Option<Range<usize>> {
        let (prefix, alphabet, least) =
            PREFIXES.iter().find(|(prefix, ..)| prefix[0] == self.text[at] && self.has(at, prefix))?;
        // A short prefix is part of many words.
        if prefix.len() < 4 && at > 0 && alphanumeric(self.text[at - 1]) {
            return None;
        }
        let from = at + prefix.len();
        let end = self.run(from, *alphabet);
        // Another may begin where this one ends, and no longer be known by its beginning.
        (end - from >= *least).then(|| at..self.run(end, word))
    }

    /// Takes everything to the end of the block, or of the text.
    fn end_of_pem(&self, at: usize) -> usize {
        let rest = &self.text[at + 1..];
        let footer = memchr::memmem::find(rest, b"-----END ").map(|end| at + 1 + end);
        footer.map_or(self.text.len(), |footer| {
            let label = &self.text[footer + 9..];
            let close = label.iter().take(NAME).position(|b| *b == b'-').unwrap_or(label.len().min(NAME));
            self.run(footer + 9 + close, |b| b == b'-')
        })
    }

    /// A JSON Web Token: three or five parts, the second and later of which may be empty.
    fn jwt(&mut self, at: usize) -> Option<Range<usize>> {
        let first = self.run(at, word);
        let second = self.run(first + 1, word);
        if self.text.get(first) != Some(&b'.') || self.text.get(second) != Some(&b'.') || first - at < 10 {
            self.no_jwt_before = first;
            return None;
        }
        let mut end = second;
        while self.text.get(end) == Some(&b'.') {
            end = self.run(end + 1, word);
        }
        Some(at..end)
    }

    /// A client secret of Azure: `abc8Q~` and more.
    fn azure(&self, at: usize) -> Option<Range<usize>> {
        let start = at.checked_sub(4).filter(|start| self.text[*start..at].iter().all(|b| word(*b)))?;
        let end = self.run(at + 2, |b| word(b) || matches!(b, b'.' | b'~'));
        (end - at >= 30).then_some(start..end)
    }

    /// `Bearer` or `Basic`, and what follows.
    fn bearer(&self, at: usize) -> Option<Range<usize>> {
        if at > 0 && alphanumeric(self.text[at - 1]) {
            return None;
        }
        let scheme = [&b"bearer "[..], b"basic "].into_iter().find(|scheme| {
            self.text.get(at..at + scheme.len()).is_some_and(|text| text.eq_ignore_ascii_case(scheme))
        })?;
        let from = at + scheme.len();
        let end = self.run(from, dotted);
        (end - from >= 8).then_some(from..end)
    }

    /// `name=value` or `name: value`, with quotes and escapes or without.
    fn named(&self, at: usize) -> Option<Range<usize>> {
        let is_between = |b: &u8| matches!(b, b'"' | b'\'' | b'\\' | b' ' | b'`');
        let before = &self.text[..at];
        let gap = before.iter().rev().take(8).take_while(|b| is_between(b)).count();
        let before = &before[..at - gap];
        let length = before.iter().rev().take(NAME).take_while(|b| word(**b) || **b == b'.').count();
        let name = std::str::from_utf8(&before[before.len() - length..]).ok()?;
        if names(name) == Names::Nothing {
            return None;
        }
        let after = &self.text[at + 1..];
        let is_gap = |b: &u8| is_between(b) || matches!(b, b'\n' | b'\r' | b'\t' | b'=' | b'>');
        let gap = after.iter().take(8).take_while(|b| is_gap(b)).count();
        let mut from = at + 1 + gap;
        let quote =
            self.text[..from].iter().rev().take(gap).find(|b| matches!(b, b'"' | b'\'' | b'`')).copied();
        let mut end = self.end_of_value(from, quote);
        let scheme = &self.text[from..end];
        if [&b"bearer"[..], b"basic", b"token"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            from = (end + 1).min(self.text.len());
            end = self.end_of_value(from, quote);
        }
        (end > from).then_some(from..end)
    }

    fn end_of_value(&self, from: usize, quote: Option<u8>) -> usize {
        let rest = &self.text[from..];
        let ends = |b: &u8| match quote {
            Some(quote) => *b == quote,
            None => b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'&' | b',' | b';' | b'<' | b'`'),
        };
        let end = from + rest.iter().position(ends).unwrap_or(rest.len());
        // The quote may be escaped itself.
        let escapes = self.text[from..end].iter().rev().take_while(|b| **b == b'\\').count();
        if quote.is_some() { end - escapes } else { end }
    }

    /// What stands before the host of a URL.
    fn user(&self, at: usize) -> Option<Range<usize>> {
        let from = at + 3;
        let rest = self.text.get(from..).filter(|_| self.has(at, b"://"))?;
        let ends = |b: &u8| matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'') || b.is_ascii_whitespace();
        let end = rest.iter().take(256).position(|b| *b == b'@' || ends(b))?;
        (rest[end] == b'@' && end > 0).then_some(from..from + end)
    }
}

/// Returns the words that are secrets once they are decoded: base64, hexadecimal digits, percent signs, `\u` escapes.
fn encoded(text: &str, depth: u32) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let hides = |decoded: Option<Vec<u8>>| {
        decoded.is_some_and(|bytes| !find_within(&String::from_utf8_lossy(&bytes), depth - 1).is_empty())
    };
    let alphabets: [Alphabet; 2] =
        [|b| alphanumeric(b) || matches!(b, b'+' | b'/'), |b| alphanumeric(b) || matches!(b, b'-' | b'_')];
    for alphabet in alphabets.into_iter().filter(|_| text.len() >= ENCODED) {
        for run in runs(text, alphabet).filter(|run| run.len() >= ENCODED) {
            let word = &text[run.clone()];
            if hides(hex(word)) || (0..4).any(|skipped| hides(base64(&word[skipped..]))) {
                found.push(run);
            }
        }
    }
    if text.contains(['%', '\\']) {
        for run in runs(text, |b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'&')) {
            let word = &text[run.clone()];
            if word.contains(['%', '\\']) && hides(unescaped(word)) {
                found.push(run);
            }
        }
    }
    found
}

/// Returns the longest runs of an alphabet.
fn runs(text: &str, alphabet: Alphabet) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|b| alphabet(*b))?;
        at = start + bytes[start..].iter().position(|b| !alphabet(*b)).unwrap_or(bytes.len() - start);
        Some(start..at)
    })
}

/// Decodes either alphabet, as far as the text goes in whole groups.
fn base64(word: &str) -> Option<Vec<u8>> {
    let usable = if word.len() % 4 == 1 { word.len() - 1 } else { word.len() };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let is_url_safe = word.contains(['-', '_']);
    let alphabet = if is_url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(&word[..usable]).ok()
}

fn hex(word: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok();
    word.as_bytes().chunks(2).map(pair).collect()
}

/// Resolves `%41`, `\x41` and `\u0041`; what is none of them stays.
fn unescaped(word: &str) -> Option<Vec<u8>> {
    let bytes = word.as_bytes();
    let (mut out, mut at, mut any) = (Vec::with_capacity(bytes.len()), 0, false);
    while let Some(byte) = bytes.get(at) {
        let (skipped, digits) = match (byte, bytes.get(at + 1)) {
            (b'%', _) => (1, 2),
            (b'\\', Some(b'x')) => (2, 2),
            (b'\\', Some(b'u')) => (2, 4),
            _ => (0, 0),
        };
        let code = word.get(at + skipped..at + skipped + digits).filter(|_| digits > 0);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        if let Some(c) = code {
            any = true;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            at += skipped + digits;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    any.then_some(out)
}
