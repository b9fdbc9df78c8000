//! What an agent is told of what a server says: pure.

use bytes::Bytes;

use crate::error::{Refusal, code};
use crate::flow::Addressee;
use crate::front::{LEVELS, meta};
use crate::ports::Entropy;
use crate::relay::Edits;
use crate::screen::{self, DECLINED};
use crate::session::{Asker, Interaction, Sealer, ServerRequest};
use crate::upstream::handshake::shorten;
use crate::wire::json::{Json, quote};
use crate::wire::message::{self, Message, ObjectWriter};
use crate::wire::version::{Era, Version};

const COMPLETE: &[(&str, &str)] = &[("resultType", "\"complete\"")];
const COMPLETE_UNCACHED: &[(&str, &str)] =
    &[("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")];

/// Returns what has to change in an answer on its way from a server to an agent of either era.
pub(crate) fn edits(asked_id: u64, server: Version, agent_id: &str, agent: Era, cacheable: bool) -> Edits {
    let mut edits = Edits {
        expected_id: asked_id.to_string(),
        id: agent_id.to_owned(),
        append: &[],
        omit: None,
        replaced: &[],
        replace: None,
        error: str::to_owned,
    };
    match (server.era(), agent) {
        (Era::Legacy, Era::Modern) => edits.error = error_to_modern,
        (Era::Modern, Era::Legacy) => edits.omit = Some(is_modern_only),
        (Era::Modern, Era::Modern) | (Era::Legacy, Era::Legacy) => {}
    }
    if agent == Era::Modern {
        // Some stateless servers forget it as well, and agents refuse what lacks it.
        edits.append = if cacheable { COMPLETE_UNCACHED } else { COMPLETE };
    }
    edits
}

/// Tells whether a session-based agent must not see a member of a result: what only the stateless revision has, and
/// structured content that is no object, which its schema does not allow.
fn is_modern_only(key: &[u8], first: u8) -> bool {
    matches!(key, b"resultType" | b"ttlMs" | b"cacheScope") || (key == b"structuredContent" && first != b'{')
}

/// Translates the codes that a stateless agent must not see.
fn error_to_modern(error: &str) -> String {
    let Ok(json) = Json::check(error.as_bytes()) else { return error.to_owned() };
    let code = json.get("code").and_then(|c| c.text().parse::<i64>().ok());
    let replacement = match code {
        Some(code::RESOURCE_NOT_FOUND) => code::INVALID_PARAMS,
        Some(code::URL_ELICITATION_REQUIRED) => code::INTERNAL,
        _ => return error.to_owned(),
    };
    let mut out = ObjectWriter::default();
    for (key, value) in json.members() {
        let code = replacement.to_string();
        out.member(&key, if key == "code" { &code } else { value.text() });
    }
    out.finish()
}

/// Whom a message that is no answer concerns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The agent gets this.
    Agent(Bytes),
    /// The session's agent is asked this, and the server waits for its answer.
    Question(Bytes),
    /// The stateless agent is to be asked this in a round of its own, under the server's id.
    Round(Bytes),
    /// The server gets this answer to what it asked.
    Server(String),
    /// The gateway itself: a list or a resource has changed.
    Gateway,
    /// Nobody.
    Nobody,
}

/// Decides what becomes of a notification or a request that a server sends while it answers.
pub(crate) fn told(raw: &Bytes, to: &Addressee, sealer: &Sealer, entropy: &impl Entropy) -> Told {
    let Ok(json) = Json::check(raw) else { return Told::Nobody };
    match message::parse(json) {
        Ok(Message::Notification { method, params }) => match method.as_ref() {
            "notifications/progress" => match &to.progress_token {
                Some(token) => Told::Agent(with_progress_token(json, token).into()),
                None => Told::Nobody,
            },
            "notifications/message" if wants_log(to, params.get("level")) => Told::Agent(raw.clone()),
            // Of tasks a server tells on streams that were opened for that.
            "notifications/message" | "notifications/cancelled" | "notifications/tasks" => Told::Nobody,
            name if name.ends_with("/list_changed") || name == "notifications/resources/updated" => {
                Told::Gateway
            }
            _ => Told::Agent(raw.clone()),
        },
        Ok(Message::Request { id, method, .. }) => question(json, id.text(), &method, to, sealer, entropy),
        _ => Told::Nobody,
    }
}

/// Returns the answer to a message that is a ping.
pub(crate) fn pong(raw: &Bytes) -> Option<String> {
    match message::parse(Json::check(raw).ok()?).ok()? {
        Message::Request { id, method, .. } if method == "ping" => Some(message::result(id.text(), "{}")),
        _ => None,
    }
}

fn wants_log(to: &Addressee, level: Option<Json<'_>>) -> bool {
    to.log_level.is_some_and(|least| severity(level) >= least)
}

/// Returns how severe a log message's level is, as an index into [`LEVELS`]; an unknown one is the most severe.
pub(crate) fn severity(level: Option<Json<'_>>) -> usize {
    let level = level.and_then(Json::as_str);
    level.and_then(|level| LEVELS.iter().position(|l| *l == level)).unwrap_or(LEVELS.len())
}

fn with_progress_token(message: Json<'_>, token: &str) -> String {
    let params = message.get("params").map_or(String::new(), |params| {
        let mut out = ObjectWriter::default();
        for (key, value) in params.members() {
            out.member(&key, if key == "progressToken" { token } else { value.text() });
        }
        out.finish()
    });
    message::notification("notifications/progress", &params)
}

/// Hands a server's question to the agent under a sealed id, or answers it for an agent that cannot be asked.
fn question(
    json: Json<'_>,
    id: &str,
    method: &str,
    to: &Addressee,
    sealer: &Sealer,
    entropy: &impl Entropy,
) -> Told {
    if method == "ping" {
        return Told::Server(message::result(id, "{}"));
    }
    if !can_be_asked(to.interaction, method, json.get("params")) {
        return Told::Server(message::error(Some(id), &cannot_be_asked(method)));
    }
    let Ok(params) = to.screen().params(method, json.get("params")) else {
        return Told::Server(message::result(id, DECLINED));
    };
    let question = (json, params.as_deref());
    match &to.caller.session {
        Some(session) => Told::Question(
            sealed_question(question, id, &to.server.address, session.nonce, sealer, entropy).into(),
        ),
        None => Told::Round(restated(question, id).into()),
    }
}

/// Returns what a server is told that asks an agent which cannot be asked.
pub(crate) fn cannot_be_asked(method: &str) -> Refusal {
    Refusal::new(code::METHOD_NOT_FOUND, format!("the client does not support {}", shorten(method)))
}

/// Tells whether an agent has declared that it can be asked this.
pub(crate) fn can_be_asked(interaction: Interaction, method: &str, params: Option<Json<'_>>) -> bool {
    let mode = params.and_then(|p| p.get("mode")).and_then(Json::as_str);
    let uses_tools = params.is_some_and(|p| ["tools", "toolChoice"].iter().any(|key| p.get(key).is_some()));
    match method {
        "elicitation/create" if mode.as_deref() == Some("url") => interaction.url,
        "elicitation/create" => interaction.form,
        "sampling/createMessage" => interaction.sampling && (interaction.sampling_tools || !uses_tools),
        "roots/list" => interaction.roots,
        _ => false,
    }
}

/// Returns a server's request, with other parameters where there are some, with an id that says, to this gateway alone,
/// where its answer belongs.
pub(crate) fn sealed_question(
    question: (Json<'_>, Option<&str>),
    id: &str,
    server: &str,
    session: u64,
    sealer: &Sealer,
    entropy: &impl Entropy,
) -> String {
    let asker = Asker::Server(id.to_owned());
    let exposed = ServerRequest { server: server.into(), session, asker }.seal(sealer, entropy);
    restated(question, &quote(&exposed))
}

/// Returns a request under another id, as JSON text, and with other parameters where there are some.
fn restated((json, params): (Json<'_>, Option<&str>), id: &str) -> String {
    let members = [("id", id), ("params", params.unwrap_or_default())];
    screen::with(json, &members[..if params.is_some() { 2 } else { 1 }])
}

/// Returns the notification that something has changed; for a stateless agent it names its subscription.
pub(crate) fn changed(capability: &str, subscription: Option<&str>) -> String {
    let params = subscription.map_or(String::new(), |id| format!("{{{}}}", subscription_meta(id)));
    message::notification(&format!("notifications/{capability}/list_changed"), &params)
}

/// Returns the notification that a resource has changed.
pub(crate) fn updated(uri: &str, subscription: Option<&str>) -> String {
    let meta = subscription.map_or(String::new(), |id| format!(",{}", subscription_meta(id)));
    message::notification("notifications/resources/updated", &format!("{{\"uri\":{}{meta}}}", quote(uri)))
}

/// Returns the `_meta` member that names a subscription by its request's id.
pub(crate) fn subscription_meta(id: &str) -> String {
    format!("\"_meta\":{{\"{}\":{id}}}", meta::SUBSCRIPTION_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_with_tools_takes_an_agent_that_declared_it() {
        let check = |declared: &str, params: &str| {
            let declared = Interaction::declared(Json::check(declared.as_bytes()).unwrap());
            can_be_asked(declared, "sampling/createMessage", Json::check(params.as_bytes()).ok())
        };
        let (plain, with_tools) = (r#"{"sampling":{}}"#, r#"{"sampling":{"tools":{}}}"#);
        for params in [r#"{"messages":[],"tools":[]}"#, r#"{"messages":[],"toolChoice":{"mode":"none"}}"#] {
            assert!(!check(plain, params) && check(with_tools, params), "{params}");
        }
        assert!(check(plain, r#"{"messages":[]}"#) && check(with_tools, r#"{"messages":[]}"#));
    }
}
