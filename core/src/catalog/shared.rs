//! What instances tell each other of servers: what each offers and how it is spoken to, as one text. Pure.
//!
//! **Whoever reads the text where it is stored learns no credentials**: a session with a server is sealed.

use std::collections::BTreeSet;

use super::{Kind, Offer, Room, read_page};
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::handshake::Introduction;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;
use crate::wire::version::Version;

/// What is known of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// It answers.
    Up(Box<Acquaintance>),
    /// It does not, and why, continuing "server X ...".
    Down(String),
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    pub(crate) offer: Offer,
    /// The sealed session that all share, where it wants one.
    pub(crate) session: Option<String>,
    /// Whether each instance needs a stream of its own to it (HTTP+SSE).
    pub(crate) needs_stream: bool,
    /// The gateways that it is or leads to.
    pub(crate) behind: SortedSet<String>,
}

/// Returns the text of what is known of servers, by their identities.
pub(crate) fn encode(known: &SortedMap<String, Known>) -> String {
    let mut servers = ObjectWriter::with_capacity(1024);
    for (identity, known) in known {
        servers.member(identity, &encode_one(known));
    }
    let mut out = ObjectWriter::with_capacity(1024);
    out.member("servers", &servers.finish());
    out.finish()
}

fn encode_one(known: &Known) -> String {
    let mut out = ObjectWriter::with_capacity(1024);
    let Acquaintance { offer, session, needs_stream, behind } = match known {
        Known::Up(acquaintance) => &**acquaintance,
        Known::Down(reason) => {
            out.member("down", &quote(reason));
            return out.finish();
        }
    };
    out.member("version", &quote(offer.version.as_str()));
    out.member("read", &offer.read.to_string());
    out.member("ttl", &offer.ttl.to_string());
    out.member("capabilities", &offer.introduction.capabilities);
    if let Some(info) = &offer.introduction.info {
        out.member("info", info);
    }
    if let Some(instructions) = &offer.introduction.instructions {
        out.member("instructions", &quote(instructions));
    }
    if let Some(session) = session {
        out.member("session", &quote(session));
    }
    if *needs_stream {
        out.member("stream", "true");
    }
    if !behind.is_empty() {
        let gateways: Vec<_> = behind.iter().map(|gateway| quote(gateway)).collect();
        out.member("behind", &format!("[{}]", gateways.join(",")));
    }
    for kind in Kind::ALL.into_iter().filter(|kind| !offer.items(*kind).is_empty()) {
        let items: Vec<&str> = offer.items(kind).iter().map(|item| &*item.text).collect();
        out.member(kind.member(), &format!("[{}]", items.join(",")));
    }
    out.finish()
}

/// Reads such a text; what cannot be understood of it is left out.
pub(crate) fn decode(text: &[u8]) -> SortedMap<String, Known> {
    let Ok(json) = Json::check(text) else { return SortedMap::new() };
    let servers = json.get("servers").filter(|servers| servers.is_object());
    let members = servers.into_iter().flat_map(Json::members);
    members.filter_map(|(identity, known)| Some((identity.into_owned(), decode_one(known)?))).collect()
}

fn decode_one(json: Json<'_>) -> Option<Known> {
    let text = |key: &str| json.get(key).and_then(Json::as_str).map(std::borrow::Cow::into_owned);
    if let Some(reason) = text("down") {
        return Some(Known::Down(reason));
    }
    let raw = |key: &str| json.get(key).map(|value| value.text().to_owned());
    let introduction = Introduction {
        capabilities: raw("capabilities")?,
        info: raw("info"),
        instructions: text("instructions"),
    };
    let mut offer = Offer::new(
        Version::parse(&text("version")?)?,
        introduction,
        json.get("read").and_then(Json::as_u64)?,
    );
    offer.ttl = json.get("ttl").and_then(Json::as_u64)?;
    for kind in Kind::ALL.into_iter().filter(|kind| json.get(kind.member()).is_some()) {
        let (items, _) = read_page(kind, json, &mut BTreeSet::new(), &mut Room::endless()).ok()?;
        offer.set_items(kind, items);
    }
    let needs_stream = json.get("stream").is_some();
    let gateways = json.get("behind").into_iter().flat_map(Json::elements);
    let behind = gateways.filter_map(|gateway| Some(gateway.as_str()?.into_owned())).collect();
    Some(Known::Up(Box::new(Acquaintance { offer, session: text("session"), needs_stream, behind })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(tools: &str, instructions: Option<&str>) -> Offer {
        let introduction = Introduction {
            capabilities: "{\"tools\":{\"listChanged\":true}}".into(),
            info: Some("{\"name\":\"a \\\" b\"}".into()),
            instructions: instructions.map(Into::into),
        };
        let mut offer = Offer::new(Version::MODERN, introduction, 17);
        offer.ttl = 60_000;
        let text = format!("{{\"tools\":{tools}}}");
        let json = Json::check(text.as_bytes()).unwrap();
        let (items, skipped) =
            read_page(Kind::Tools, json, &mut BTreeSet::new(), &mut Room::endless()).unwrap();
        assert_eq!(skipped, []);
        offer.set_items(Kind::Tools, items);
        offer
    }

    #[test]
    fn what_is_told_is_what_is_learned() {
        let tools = r#"[{"name":"x","inputSchema":{"type":"object"},"n":1.000000000000000000001}]"#;
        let up = |session: Option<&str>, needs_stream| {
            let offer = offer(tools, Some("Say \"hello\"\n"));
            let behind = SortedSet::from(["a".into(), "b \"".into()]);
            Known::Up(Box::new(Acquaintance {
                offer,
                session: session.map(Into::into),
                needs_stream,
                behind,
            }))
        };
        let known = SortedMap::from([
            ("a".into(), up(None, false)),
            ("b \"".into(), up(Some("sealed"), true)),
            ("c".into(), Known::Down("does not answer".into())),
        ]);
        assert_eq!(decode(encode(&known).as_bytes()), known);
    }

    #[test]
    fn what_cannot_be_understood_is_left_out() {
        let names = |text: &str| decode(text.as_bytes()).into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(names(""), "");
        assert_eq!(names("[]"), "");
        assert_eq!(names(r#"{"servers":[]}"#), "");
        assert_eq!(names(r#"{"servers":{"a":{},"b":{"down":"why"},"c":{"version":"1"},"d":7}}"#), "b");
    }
}
