//! What a request comes to: an answer that is ready, or a question to one server. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::acl::{Condition, Target};
use crate::audit::Decision;
use crate::body::Whole;
use crate::catalog::{Found, Kind, Parameter, Route, View, replace_member};
use crate::config::Dialect;
use crate::error::{Refusal, code};
use crate::front::terms::Told;
use crate::front::{Caller, Inbound, LEVELS, meta, modern};
use crate::pieces::Pieces;
use crate::sorted::SortedSet;
use crate::tasks::{self, Tasks};
use crate::upstream::compose::{Ask, Text};
use crate::upstream::handshake::own_info;
use crate::wire::http::PARAM_PREFIX;
use crate::wire::json::{Json, quote};
use crate::wire::message::ObjectWriter;
use crate::wire::version::{Era, Version};

/// Why a resource is held back.
const UNAPPROVED: &str = "the resource was not approved as it is, and is not served until it is";

/// What to do about a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most requests are the large one, and each is moved once")]
pub(crate) enum Plan<'a> {
    /// Answer with this result.
    Answer(Answer),
    /// Put it to a server.
    Ask(Route, Ask<'a>),
    /// Open a stream of notifications (2026-07-28).
    Listen(Wanted),
    /// Tell the session when a resource changes.
    Subscribe(Route, Cow<'a, str>),
    /// Stop telling it.
    Unsubscribe(Route),
    /// From now on send the session log messages of this level and above, as an index into [`LEVELS`].
    SetLevel(usize),
}

/// A result that is ready, as JSON text. The page in it is shared, however many agents are answered with it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: String,
    page: Bytes,
    tail: String,
}

impl From<String> for Answer {
    fn from(head: String) -> Self {
        Self { head, ..Self::default() }
    }
}

impl Answer {
    /// Returns the message that answers the request of that id.
    pub(crate) fn into_message(self, id: &str) -> Whole {
        let mut out = Pieces::default();
        out.expect(id.len() + self.head.len() + self.page.len() + self.tail.len());
        for part in ["{\"jsonrpc\":\"2.0\",\"id\":", id, ",\"result\":", &self.head] {
            out.copy(part.as_bytes());
        }
        out.share(&self.page, 0..self.page.len());
        out.copy(self.tail.as_bytes());
        out.copy(b"}");
        out.into_whole()
    }
}

/// Which notifications a stream is to carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Changes of lists, by [`Kind`]'s capability.
    pub(crate) lists: SortedSet<&'static str>,
    /// Changes of single resources, by the URI that the agent knows.
    pub(crate) resources: SortedSet<String>,
    /// Changes of tasks.
    pub(crate) tasks: tasks::Wanted,
}

/// Decides what to do about a request that has passed the checks of its era. Headers are given where they count.
pub(crate) fn plan<'a>(
    view: &View,
    tasks: &Tasks<'_>,
    caller: &Caller,
    inbound: &Inbound<'a>,
    headers: Option<&HeaderMap>,
) -> Result<Plan<'a>, Refusal> {
    let era = caller.era();
    match (inbound.method.as_ref(), era) {
        ("tools/list", _) => list(view, era, Kind::Tools, inbound),
        ("prompts/list", _) => list(view, era, Kind::Prompts, inbound),
        ("resources/list", _) => list(view, era, Kind::Resources, inbound),
        ("resources/templates/list", _) => list(view, era, Kind::Templates, inbound),
        ("tools/call", _) => call(view, caller, inbound, headers),
        ("prompts/get", _) => named(view, caller, inbound, Kind::Prompts),
        ("resources/read", _) => read(view, caller, inbound),
        ("completion/complete", _) => complete(view, caller, inbound),
        ("server/discover", Era::Modern) => Ok(Plan::Answer(discover(view, caller.terms.told).into())),
        ("subscriptions/listen", Era::Modern) if caller.terms.told != Told::Nothing => {
            Ok(Plan::Listen(wanted(view, tasks, inbound)?))
        }
        ("tasks/get" | "tasks/update" | "tasks/cancel", Era::Modern) => {
            let route = tasks.route(inbound)?;
            if !view.sees_some_of(&route.server) {
                return Err(tasks::unknown());
            }
            let ask = ask(caller, inbound, tasks::ID, Some(&route.name));
            Ok(Plan::Ask(route, ask))
        }
        ("ping", Era::Legacy) => Ok(Plan::Answer(String::from("{}").into())),
        ("logging/setLevel", Era::Legacy) => set_level(inbound),
        ("resources/subscribe", Era::Legacy) if caller.terms.told == Told::Everything => {
            resource(view, caller, inbound).map(|(r, uri)| Plan::Subscribe(r, uri))
        }
        ("resources/unsubscribe", Era::Legacy) if caller.terms.told == Told::Everything => {
            resource(view, caller, inbound).map(|(r, _)| Plan::Unsubscribe(r))
        }
        _ => Err(unknown_method(&inbound.method, era)),
    }
}

/// Tells whether a request asks what there is.
pub(crate) fn is_list(inbound: &Inbound<'_>) -> bool {
    inbound.method.ends_with("/list")
}

/// Returns where the item leads that a request names, as far as the caller is shown it.
pub(crate) fn route_of(view: &View, inbound: &Inbound<'_>) -> Option<Route> {
    let found = match inbound.method.as_ref() {
        "tools/call" => view.find(Kind::Tools, &inbound.text("name")?),
        "prompts/get" => view.find(Kind::Prompts, &inbound.text("name")?),
        "resources/read" => view.find_uri(&inbound.text("uri")?),
        "completion/complete" => {
            let reference = inbound.params.get("ref")?;
            match (reference.get("name").and_then(Json::as_str), reference.get("uri").and_then(Json::as_str))
            {
                (Some(name), _) => view.find(Kind::Prompts, &name),
                (None, Some(uri)) => view.find(Kind::Templates, &uri).or_else(|| view.find_uri(&uri)),
                (None, None) => None,
            }
        }
        _ => None,
    };
    Some(found?.route)
}

/// Tells whether a request names something that its caller is not shown.
pub(crate) fn names_unknown(view: &View, inbound: &Inbound<'_>) -> bool {
    let names_one =
        matches!(&*inbound.method, "tools/call" | "prompts/get" | "resources/read" | "completion/complete");
    names_one && route_of(view, inbound).is_none()
}

/// Refuses a method that the era does not have.
fn unknown_method(method: &str, era: Era) -> Refusal {
    let refusal = Refusal::new(code::METHOD_NOT_FOUND, format!("Method not found: {}", clip(method)));
    match era {
        Era::Modern => refusal,
        Era::Legacy => refusal.with_status(StatusCode::OK),
    }
}

/// Returns the result of `initialize`.
pub(crate) fn initialized(view: &View, version: Version, told: Told) -> String {
    let mut result = ObjectWriter::default();
    result.string("protocolVersion", version.as_str());
    result.member("capabilities", &view.capabilities(Era::Legacy, told)).member("serverInfo", own_info());
    if let Some(instructions) = &view.instructions {
        result.string("instructions", instructions);
    }
    result.finish()
}

fn discover(view: &View, told: Told) -> String {
    let mut result = ObjectWriter::default();
    result.member("supportedVersions", &format!("[\"{}\"]", Version::MODERN));
    result.member("capabilities", &view.capabilities(Era::Modern, told));
    if let Some(instructions) = &view.instructions {
        result.string("instructions", instructions);
    }
    result.member("_meta", &format!("{{\"io.modelcontextprotocol/serverInfo\":{}}}", own_info()));
    complete_result(&mut result, view.ttl);
    result.finish()
}

fn complete_result(result: &mut ObjectWriter, ttl: u64) {
    result.string("resultType", "complete");
    result.member("ttlMs", &ttl.to_string()).string("cacheScope", "private");
}

fn list<'a>(view: &View, era: Era, kind: Kind, inbound: &Inbound<'_>) -> Result<Plan<'a>, Refusal> {
    let cursor = match inbound.params.get("cursor") {
        Some(json) if !json.is_null() => {
            Some(json.as_str().ok_or_else(|| invalid("`cursor` must be a string"))?)
        }
        _ => None,
    };
    let page = view.page(era, kind, cursor.as_deref());
    let page =
        page.ok_or_else(|| invalid("Unknown cursor: the list may have changed; list again from the start"))?;
    let tail = match era {
        Era::Modern => {
            format!(",\"resultType\":\"complete\",\"ttlMs\":{},\"cacheScope\":\"private\"}}", view.ttl)
        }
        Era::Legacy => "}".into(),
    };
    Ok(Plan::Answer(Answer { head: "{".into(), page: page.0.clone(), tail }))
}

fn call<'a>(
    view: &View,
    caller: &Caller,
    inbound: &Inbound<'a>,
    headers: Option<&HeaderMap>,
) -> Result<Plan<'a>, Refusal> {
    let name = inbound.text("name").ok_or_else(|| invalid("`name` must be a string"))?;
    let found = view.find(Kind::Tools, &name).ok_or_else(|| unknown(view, caller, Kind::Tools, &name))?;
    let arguments = inbound.params.get("arguments");
    permitted(view, caller, &found, Kind::Tools, arguments)?;
    let route = found.route;
    if let (Era::Modern, Some(headers)) = (caller.era(), headers) {
        modern::check_parameters(&route.parameters, arguments, headers)?;
    }
    let mut ask = ask(caller, inbound, "name", Some(&route.name));
    let known = |name: &HeaderName| {
        let mut all = route.parameters.iter().chain(route.server_parameters());
        all.any(|p| p.header == *name)
    };
    // What this gateway does not recognise is for a server that may.
    let foreign = headers
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX) && !known(name));
    ask.headers.extend(foreign.map(|(name, value)| (name.clone(), value.clone())));
    let translated = translated(&route, arguments)?;
    let sent = translated.as_deref().map(Json::known).or(arguments);
    ask.headers.extend(mirrored(route.server_parameters(), sent));
    customize(&route, &mut ask, translated);
    Ok(Plan::Ask(route, ask))
}

/// Puts what a variant makes of the arguments in their place.
fn customize(route: &Route, ask: &mut Ask<'_>, arguments: Option<String>) {
    if let Some(variant) = &route.variant {
        ask.set("arguments", arguments);
        ask.narrowing.clone_from(&variant.call.narrowing);
    }
}

/// Returns the arguments that the server of a variant gets; nothing where they stay the caller's.
fn translated(route: &Route, arguments: Option<Json<'_>>) -> Result<Option<String>, Refusal> {
    route.variant.as_ref().map(|variant| variant.call.arguments(arguments)).transpose()
}

/// Returns the headers that repeat arguments.
pub(crate) fn mirrored(
    parameters: &[Parameter],
    arguments: Option<Json<'_>>,
) -> Vec<(HeaderName, HeaderValue)> {
    let value = |p: &Parameter| Some((p.header.clone(), crate::wire::http::encode(&p.value(arguments)?)));
    parameters.iter().filter_map(value).collect()
}

/// Refuses to go on with a call that its caller may not make any more, whatever its name leads to by now. One of a server
/// that is gone goes on where the rules allow it.
pub(crate) fn still_permitted(
    view: &View,
    caller: &Caller,
    inbound: &Inbound<'_>,
    route: &Route,
) -> Result<(), Refusal> {
    let kind = match inbound.method.as_ref() {
        "tools/call" => Kind::Tools,
        "prompts/get" => Kind::Prompts,
        _ => Kind::Resources,
    };
    let found = Found { route: route.clone(), rule: &Arc::from(""), depends: true };
    permitted(view, caller, &found, kind, inbound.params.get("arguments")).map_err(|refusal| {
        let name = inbound.text(kind.key()).unwrap_or_default();
        match kind {
            Kind::Resources => unknown_resource(&name, caller.era()),
            _ if view.find(kind, &name).is_none() => unknown(view, caller, kind, &name),
            _ => refusal,
        }
    })
}

fn named<'a>(view: &View, caller: &Caller, inbound: &Inbound<'a>, kind: Kind) -> Result<Plan<'a>, Refusal> {
    let name = inbound.text("name").ok_or_else(|| invalid("`name` must be a string"))?;
    let found = view.find(kind, &name).ok_or_else(|| unknown(view, caller, kind, &name))?;
    permitted(view, caller, &found, kind, inbound.params.get("arguments"))?;
    let mut ask = ask(caller, inbound, "name", Some(&found.route.name));
    let translated = translated(&found.route, inbound.params.get("arguments"))?;
    customize(&found.route, &mut ask, translated);
    Ok(Plan::Ask(found.route, ask))
}

fn read<'a>(view: &View, caller: &Caller, inbound: &Inbound<'a>) -> Result<Plan<'a>, Refusal> {
    let (route, _) = resource(view, caller, inbound)?;
    let ask = ask(caller, inbound, "uri", Some(&route.name));
    Ok(Plan::Ask(route, ask))
}

fn resource<'a>(
    view: &View,
    caller: &Caller,
    inbound: &Inbound<'a>,
) -> Result<(Route, Cow<'a, str>), Refusal> {
    let uri = inbound.text("uri").ok_or_else(|| invalid("`uri` must be a string"))?;
    let Some(found) = view.find_uri(&uri) else {
        if view.is_uri_withheld(&uri) {
            caller.record.decided(Decision::Denied, || UNAPPROVED.into());
            return Err(no_resource(UNAPPROVED, &uri, caller.era()));
        }
        caller.record.decided(Decision::Denied, || view.why_not(Kind::Resources, &uri).into());
        return Err(unknown_resource(&uri, caller.era()));
    };
    permitted(view, caller, &found, Kind::Resources, None)?;
    Ok((found.route, uri))
}

/// Refuses a resource that nobody has.
pub(crate) fn unknown_resource(uri: &str, era: Era) -> Refusal {
    no_resource("Resource not found", uri, era)
}

fn no_resource(why: &'static str, uri: &str, era: Era) -> Refusal {
    let code = match era {
        Era::Modern => code::INVALID_PARAMS,
        Era::Legacy => code::RESOURCE_NOT_FOUND,
    };
    Refusal::new(code, why).with_data(format!("{{\"uri\":{}}}", quote(&clip(uri))))
}

fn complete<'a>(view: &View, caller: &Caller, inbound: &Inbound<'a>) -> Result<Plan<'a>, Refusal> {
    let reference = inbound
        .params
        .get("ref")
        .filter(|r| r.is_object())
        .ok_or_else(|| invalid("`ref` must be an object"))?;
    let kind = reference.get("type").and_then(Json::as_str).unwrap_or_default();
    let (key, found) = match kind.as_ref() {
        "ref/prompt" => {
            let name = reference.get("name").and_then(Json::as_str).unwrap_or_default();
            ("name", view.find(Kind::Prompts, &name))
        }
        "ref/resource" => {
            let uri = reference.get("uri").and_then(Json::as_str).unwrap_or_default();
            ("uri", view.find(Kind::Templates, &uri).or_else(|| view.find_uri(&uri)))
        }
        _ => return Err(invalid("`ref.type` must be \"ref/prompt\" or \"ref/resource\"")),
    };
    let found = found.ok_or_else(|| invalid("`ref` names nothing that is known"))?;
    let route = found.route;
    let mut ask = ask(caller, inbound, "ref", None);
    ask.params.iter_mut().filter(|(k, _)| k == "ref").for_each(|(_, value)| {
        *value = Text::Plain(replace_member(reference.text(), key, &route.name).into());
    });
    if let Some(variant) = &route.variant
        && let Some(argument) = inbound.params.get("argument")
    {
        let completed = variant.call.completion(argument, inbound.params.get("context"))?;
        ask.set("argument", Some(completed.argument));
        ask.set("context", completed.context);
    }
    Ok(Plan::Ask(route, ask))
}

/// Carries a request over: the parameter that names something gets the server's own name for it.
fn ask<'a>(caller: &Caller, inbound: &Inbound<'a>, key: &str, name: Option<&str>) -> Ask<'a> {
    let mut ask =
        Ask { method: inbound.method.clone(), meta: inbound.meta().map(|m| m.text().into()), ..Ask::own("") };
    ask.params = inbound
        .params
        .iter()
        .filter(|(k, _)| *k != "_meta")
        .map(|(k, v)| {
            let renamed = name.filter(|_| k == key).map(|name| Cow::Owned(quote(name)));
            (k.clone(), renamed.map_or_else(|| Text::of(v.text(), &inbound.raw), Text::Plain))
        })
        .collect();
    ask.name = name.map(|name| Cow::Owned(name.to_owned()));
    ask.via = Some(caller.via.clone());
    match caller.era() {
        Era::Modern => {
            let declared = inbound.meta().and_then(|meta| meta.get(meta::CLIENT_CAPABILITIES));
            ask.capabilities = declared.map_or("{}", Json::text).into();
        }
        Era::Legacy => {}
    }
    ask
}

fn set_level<'a>(inbound: &Inbound<'_>) -> Result<Plan<'a>, Refusal> {
    let level = inbound.text("level").and_then(|level| LEVELS.iter().position(|l| *l == level));
    level.map(Plan::SetLevel).ok_or_else(|| invalid(format!("`level` must be one of {}", LEVELS.join(", "))))
}

fn wanted(view: &View, tasks: &Tasks<'_>, inbound: &Inbound<'_>) -> Result<Wanted, Refusal> {
    let notifications = inbound.params.get("notifications").filter(|n| n.is_object());
    let notifications = notifications.ok_or_else(|| invalid("`notifications` must be an object"))?;
    let asked = |key: &str| notifications.get(key).and_then(Json::as_bool) == Some(true);
    let mut wanted =
        Wanted { tasks: tasks.wanted(inbound, |server| view.sees_some_of(server))?, ..Wanted::default() };
    let lists = [
        ("toolsListChanged", "tools"),
        ("promptsListChanged", "prompts"),
        ("resourcesListChanged", "resources"),
    ];
    wanted.lists.extend(lists.iter().filter(|(key, _)| asked(key)).map(|(_, capability)| *capability));
    if let Some(uris) = notifications.get("resourceSubscriptions") {
        let uris = uris.elements().filter_map(Json::as_str);
        wanted.resources.extend(uris.filter(|uri| view.find_uri(uri).is_some()).map(Cow::into_owned));
    }
    Ok(wanted)
}

fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(code::INVALID_PARAMS, message)
}

/// Refuses what does not exist, and to the letter alike what the caller may not see.
fn unknown(view: &View, caller: &Caller, kind: Kind, name: &str) -> Refusal {
    if view.is_withheld(kind, name) {
        caller.record.decided(Decision::Denied, || "it has changed since it was approved".into());
        let name = clip(name);
        return invalid(format!(
            "{name} has changed since it was approved, and is not served until it is approved again"
        ));
    }
    caller.record.decided(Decision::Denied, || view.why_not(kind, name).into());
    let name = clip(name);
    let (noun, title) = if kind == Kind::Tools { ("tool", "Tool") } else { ("prompt", "Prompt") };
    match view.dialect() {
        Dialect::Native => invalid(format!("Unknown {noun}: {name}")),
        Dialect::Mcpx if view.is_restricted() => Refusal::new(code::INTERNAL, "Permission denied"),
        Dialect::Mcpx => Refusal::new(code::INTERNAL, format!("{title} {name} is not available")),
    }
}

/// Decides again where the arguments have a say in what the caller may do.
fn permitted(
    view: &View,
    caller: &Caller,
    found: &Found<'_>,
    kind: Kind,
    arguments: Option<Json<'_>>,
) -> Result<(), Refusal> {
    if !found.depends {
        caller.record.decided(Decision::Allowed, || found.rule.clone());
        return Ok(());
    }
    let target = Target {
        server: found.route.server.name.as_str(),
        kind: kind.of_rules(),
        name: found.route.own_name(),
        is_template: false,
    };
    // What a variant fixes or fills in is judged, not what is sent in its place.
    let judged = found.route.variant.as_ref().map(|variant| variant.call.judged(arguments)).transpose()?;
    let arguments = judged.as_deref().map(Json::known).or(arguments).unwrap_or(Json::known("{}"));
    let truth = |condition: &Condition| caller.who.truth(condition, Some(arguments), caller.now);
    match view.decide(&target, truth) {
        Ok(rule) => caller.record.decided(Decision::Allowed, || rule.clone()),
        Err(denial) => {
            caller.record.decided(Decision::Denied, || denial.reason().into());
            return Err(invalid("Denied by policy: a condition on the arguments does not hold"));
        }
    }
    Ok(())
}

/// Returns a name as it may be repeated to its sender: not longer than any real one.
fn clip(name: &str) -> String {
    name.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;

    #[test]
    fn every_answer_shares_its_page() {
        let page = Bytes::from(format!("\"tools\":[{}1]", "1,".repeat(50_000)));
        let answer = || Answer { head: "{".into(), page: page.clone(), tail: ",\"ttlMs\":1}".into() };
        for id in ["1", "\"two\""] {
            let mut whole = answer().into_message(id);
            let text = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{},\"ttlMs\":1}}}}",
                str::from_utf8(&page).unwrap()
            );
            assert_eq!(whole.len(), text.len());
            assert_eq!(whole.clone().into_bytes(), text);
            whole.advance(whole.chunk().len());
            assert_eq!(whole.chunk().as_ptr(), page.as_ptr());
        }
    }

    #[test]
    fn a_short_result_is_one_piece() {
        let whole = Answer::from(String::from("{}")).into_message("1");
        assert_eq!(whole.chunk(), br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(whole.chunk().len(), whole.len());
    }
}
