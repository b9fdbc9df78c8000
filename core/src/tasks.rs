//! Tasks: by which id an agent knows a server's task, and where what it says about one goes. Pure.
//!
//! **A task's id is a sealed address**: the server, the server's own id, and the endpoint and caller that it was made
//! for. Nothing is kept: any instance with the key opens it, and one that was changed, made up or made for another
//! endpoint, caller or server opens to nothing, as a task that never was; a server that has only been given the name
//! is another one. The same task has the same id in every result and
//! notification, since agents compare them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Route, Scope, without_member};
use crate::endpoint;
use crate::error::{Refusal, code};
use crate::front::{Caller, Inbound, meta};
use crate::identity::{Identity, Owner};
use crate::names::ServerName;
use crate::screen::Screen;
use crate::session::{Purpose, Sealer};
use crate::shape::subscription_meta;
use crate::sorted::SortedMap;
use crate::upstream::Server;
use crate::wire::json::{Json, Object, quote};
use crate::wire::message::{self, Message, ObjectWriter};
use crate::wire::version::Era;

/// The name of the extension.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The capabilities of a client that has the extension and nothing else.
pub(crate) const DECLARED: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
/// The member by which a result or a request names a task.
pub(crate) const ID: &str = "taskId";

/// Where a task is: the plain text of its id.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Address {
    /// By its identity.
    server: String,
    id: String,
    endpoint: String,
    owner: Owner,
}

/// Tasks as one caller sees them.
#[derive(Debug)]
pub(crate) struct Tasks<'g> {
    sealer: &'g Sealer,
    servers: &'g SortedMap<ServerName, Arc<Server>>,
    scope: &'g Scope,
    who: &'g Identity,
}

/// The tasks that somebody wants to hear of: by the server's identity, and then by its own id, the id that the agent
/// knows.
pub(crate) type Wanted = SortedMap<String, SortedMap<String, String>>;

impl<'g> Tasks<'g> {
    /// Takes the caller, and the endpoint that it came through.
    pub(crate) fn new(
        sealer: &'g Sealer,
        servers: &'g SortedMap<ServerName, Arc<Server>>,
        caller: &'g Caller,
    ) -> Self {
        Self { sealer, servers, scope: &caller.scope, who: &caller.who }
    }

    /// Returns where a request about a task goes; its name there is the server's own id.
    pub(crate) fn route(&self, inbound: &Inbound<'_>) -> Result<Route, Refusal> {
        require(inbound)?;
        let id = inbound.text(ID);
        let id = id.ok_or_else(|| Refusal::new(code::INVALID_PARAMS, "`taskId` must be a string"))?;
        let (server, own) = self.open(&id).ok_or_else(unknown)?;
        Ok(Route { server: server.clone(), name: own.into(), parameters: Arc::from([]), variant: None })
    }

    /// Returns the tasks that a request for notifications names, of servers that the caller sees. One that is not known
    /// is left out, as a resource is.
    pub(crate) fn wanted(
        &self,
        inbound: &Inbound<'_>,
        sees: impl Fn(&Arc<Server>) -> bool,
    ) -> Result<Wanted, Refusal> {
        let mut wanted = Wanted::new();
        let ids = inbound.params.get("notifications").and_then(|n| n.get("taskIds"));
        let Some(ids) = ids.filter(|ids| !ids.is_null()) else { return Ok(wanted) };
        require(inbound)?;
        for id in ids.elements().filter_map(Json::as_str) {
            if let Some((server, own)) = self.open(&id).filter(|(server, _)| sees(server)) {
                wanted.entry(server.identity.clone()).or_default().insert(own, id.into_owned());
            }
        }
        Ok(wanted)
    }

    /// Returns by which ids the tasks in the answer to a request are to be known, where it may name any.
    pub(crate) fn ids(&self, inbound: &Inbound<'_>, route: &Route) -> Option<Arc<Ids>> {
        let known = match inbound.method.as_ref() {
            "tools/call" if is_declared(inbound) => None,
            "tasks/get" | "tasks/update" | "tasks/cancel" => {
                Some((route.name.to_string(), inbound.text(ID)?.into_owned()))
            }
            _ => return None,
        };
        let server = route.server.identity.clone();
        let endpoint = endpoint::path(self.scope);
        Some(Arc::new(Ids { sealer: self.sealer.clone(), server, endpoint, owner: self.who.owner(), known }))
    }

    fn open(&self, id: &str) -> Option<(&'g Arc<Server>, String)> {
        let address: Address = self.sealer.unpack(Purpose::Task, id)?;
        let holds = address.endpoint == endpoint::path(self.scope) && address.owner == self.who.owner();
        let server = self.servers.values().find(|server| holds && server.identity == address.server)?;
        let is_legacy = server.offer.load().as_ref().is_some_and(|offer| offer.version.era() == Era::Legacy);
        (!is_legacy).then_some((server, address.id))
    }
}

/// By which ids an agent knows the tasks of one server.
pub(crate) struct Ids {
    sealer: Sealer,
    /// By its identity.
    server: String,
    endpoint: String,
    owner: Owner,
    /// The task that was asked for, by the server's own id, and the id that it was asked for by. That one stays, also
    /// where another key seals by now.
    known: Option<(String, String)>,
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ids({}, {})", self.server, self.endpoint)
    }
}

impl Ids {
    /// Returns the id that the agent knows in place of the server's own; both are JSON text.
    pub(crate) fn exposed(&self, own: &str) -> Option<String> {
        let own = Json::check(own.as_bytes()).ok()?.as_str()?;
        match &self.known {
            Some((known, exposed)) if *known == own => Some(quote(exposed)),
            _ => Some(quote(&self.seal(&own))),
        }
    }

    /// Returns the task that was asked for, by the server's own id.
    pub(crate) fn asked_for(&self) -> Option<&str> {
        self.known.as_ref().map(|(own, _)| own.as_str())
    }

    fn seal(&self, own: &str) -> String {
        let address = Address {
            server: self.server.clone(),
            id: own.to_owned(),
            endpoint: self.endpoint.clone(),
            owner: self.owner.clone(),
        };
        self.sealer.pack_alike(Purpose::Task, &address)
    }
}

/// What a server tells on a stream about tasks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It will tell of these, by its own ids.
    Acknowledged(Vec<String>),
    /// This one has changed.
    Changed(Change),
    /// Something else.
    Other,
}

/// What has become of a task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The server's own id.
    pub(crate) id: String,
    /// Whether it can change no more.
    pub(crate) is_last: bool,
    /// The notification for the agent.
    pub(crate) text: String,
    /// The keys of what it asks for that nobody is asked.
    pub(crate) declined: Vec<String>,
}

/// Reads a message of a stream about tasks for the subscription of that id, whose tasks the agent knows by these ids.
pub(crate) fn told(
    raw: &[u8],
    ids: &SortedMap<String, String>,
    subscription: &str,
    screen: Screen<'_>,
) -> Told {
    let Ok(json) = Json::check(raw) else { return Told::Other };
    let Ok(Message::Notification { method, params }) = message::parse(json) else { return Told::Other };
    match method.as_ref() {
        "notifications/subscriptions/acknowledged" => {
            let honoured = params.get("notifications").and_then(|n| n.get("taskIds"));
            let honoured = honoured.iter().flat_map(|ids| ids.elements()).filter_map(Json::as_str);
            Told::Acknowledged(honoured.filter(|id| ids.contains_key(id.as_ref())).map(Into::into).collect())
        }
        "notifications/tasks" => {
            change(by_key(&params), ids, subscription, screen).map_or(Told::Other, Told::Changed)
        }
        _ => Told::Other,
    }
}

/// Reads what a server answers `tasks/get` as the notification that the agent missed.
pub(crate) fn missed(
    result: Json<'_>,
    ids: &SortedMap<String, String>,
    subscription: &str,
    screen: Screen<'_>,
) -> Option<Change> {
    let task = result.object().ok()?;
    change(by_key(&task).filter(|(key, _)| *key != "resultType"), ids, subscription, screen)
}

fn by_key<'p>(members: &'p Object<'_>) -> impl Iterator<Item = (&'p str, Json<'p>)> {
    members.iter().map(|(key, value)| (key.as_ref(), value))
}

fn change<'p>(
    task: impl Iterator<Item = (&'p str, Json<'p>)>,
    ids: &SortedMap<String, String>,
    subscription: &str,
    screen: Screen<'_>,
) -> Option<Change> {
    let (mut id, mut is_last, mut declined) = (None, false, Vec::new());
    let mut out = ObjectWriter::default();
    for (key, value) in task {
        match key {
            ID => {
                let own = value.as_str()?;
                out.string(ID, ids.get(own.as_ref())?);
                id = Some(own.into_owned());
                continue;
            }
            "status" => {
                is_last = matches!(value.as_str()?.as_ref(), "completed" | "failed" | "cancelled");
            }
            "inputRequests" => {
                let (requests, keys) = screen.requests(value);
                out.member(key, &requests);
                declined = keys;
                continue;
            }
            "error" => {
                let other = screen.error(value.text());
                out.member(key, other.as_deref().unwrap_or(value.text()));
                continue;
            }
            "_meta" => continue,
            _ => {}
        }
        out.member(key, value.text());
    }
    let members = out.finish();
    let params = format!("{},{}}}", members.strip_suffix('}')?, subscription_meta(subscription));
    let text = message::notification("notifications/tasks", &params);
    Some(Change { id: id?, is_last, text, declined })
}

/// Returns client capabilities, as JSON text, without the extension.
pub(crate) fn undeclared(capabilities: &str) -> String {
    let extensions = Json::known(capabilities).get("extensions").filter(|extensions| extensions.is_object());
    let Some(extensions) = extensions else { return capabilities.to_owned() };
    let mut out = ObjectWriter::with_capacity(capabilities.len());
    for (name, value) in Json::known(capabilities).members() {
        match name.as_ref() {
            "extensions" => out.member(&name, &without_member(extensions.text(), EXTENSION)),
            _ => out.member(&name, value.text()),
        };
    }
    out.finish()
}

/// Refuses a request about tasks whose client has not declared the extension.
fn require(inbound: &Inbound<'_>) -> Result<(), Refusal> {
    if is_declared(inbound) {
        return Ok(());
    }
    let refusal = Refusal::new(code::MISSING_CAPABILITY, format!("the client has not declared {EXTENSION}"));
    Err(refusal.with_data(format!("{{\"requiredCapabilities\":{DECLARED}}}")))
}

fn is_declared(inbound: &Inbound<'_>) -> bool {
    let capabilities = inbound.meta().and_then(|meta| meta.get(meta::CLIENT_CAPABILITIES));
    let extensions = capabilities.and_then(|declared| declared.get("extensions"));
    extensions.is_some_and(|extensions| extensions.get(EXTENSION).is_some_and(Json::is_object))
}

pub(crate) fn unknown() -> Refusal {
    Refusal::new(code::INVALID_PARAMS, "Unknown task")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::tests::before_a_server;
    use http::HeaderValue;
    use proptest::prelude::*;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

    const URL: &str = "http://127.0.0.1:1/mcp";

    struct Stage {
        sealer: Sealer,
        servers: SortedMap<ServerName, Arc<Server>>,
        who: Arc<Identity>,
    }

    impl Stage {
        fn new(key: u8, others: &[u8]) -> Self {
            Self::at(URL, key, others)
        }

        fn at(url: &str, key: u8, others: &[u8]) -> Self {
            let server = |name: &str| {
                let name = ServerName::parse(name).unwrap();
                (name.clone(), Server::new(name, crate::testing::server(url), 1).0)
            };
            let others: Vec<_> = others.iter().map(|key| [*key; 32]).collect();
            Self {
                sealer: Sealer::new(&[key; 32], &others),
                servers: ["a", "b"].map(server).into(),
                who: crate::testing::anybody(),
            }
        }

        /// The same, asked by that principal.
        fn of(self, principal: &str) -> Self {
            let who = Identity { principal: Some(principal.into()), ..Identity::clone(&self.who) };
            Self { who: Arc::new(who), ..self }
        }

        /// What a request comes to at an endpoint: the server and its id, or the error.
        fn check(&self, scope: Scope, params: &str) -> String {
            self.with(scope, params, |tasks, inbound| match tasks.route(inbound) {
                Ok(route) => format!("{} {}", route.server.name, route.name),
                Err(refusal) => format!("{} {refusal}", refusal.code),
            })
        }

        /// The id that an agent gets for a server's task.
        fn id(&self, scope: Scope, server: &str, own: &str) -> String {
            let params = format!("{{{META}}}");
            let exposed = self.with(scope, &params, |tasks, inbound| {
                let server = self.servers[server].clone();
                let route = Route { server, name: "tool".into(), parameters: Arc::from([]), variant: None };
                tasks.ids(inbound, &route).unwrap().exposed(&quote(own)).unwrap()
            });
            Json::check(exposed.as_bytes()).unwrap().as_str().unwrap().into_owned()
        }

        fn with<T>(&self, scope: Scope, params: &str, look: impl Fn(&Tasks<'_>, &Inbound<'_>) -> T) -> T {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let Ok(Message::Request { id, method, params }) =
                message::parse(Json::check(text.as_bytes()).unwrap())
            else {
                panic!("a request")
            };
            let via = HeaderValue::from_static("x");
            let caller = Caller {
                scope,
                who: self.who.clone(),
                now: 0,
                session: None,
                via,
                streams: true,
                resumes: true,
                taken_up: None,
                terms: crate::front::terms::Terms::default(),
                record: crate::observe::Record::default(),
            };
            look(
                &Tasks::new(&self.sealer, &self.servers, &caller),
                &Inbound { id, method, params, raw: bytes::Bytes::new() },
            )
        }
    }

    fn get(id: &str) -> String {
        format!("{{\"taskId\":{},{META}}}", quote(id))
    }

    fn only(server: &str) -> Scope {
        Scope::Server(ServerName::parse(server).unwrap())
    }

    #[test]
    fn an_id_leads_back_to_its_server_from_its_own_endpoint_only() {
        let stage = Stage::new(1, &[]);
        let id = stage.id(Scope::All, "a", "task 1");
        assert_eq!(id, Stage::new(1, &[2]).id(Scope::All, "a", "task 1"), "another instance");
        assert!(id.len() < 200 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        insta::assert_snapshot!(stage.check(Scope::All, &get(&id)), @"a task 1");
        insta::assert_snapshot!(stage.check(Scope::All, &get(&stage.id(Scope::All, "b", "task 1"))), @"b task 1");
        insta::assert_snapshot!(stage.check(only("a"), &get(&id)), @"-32602 Unknown task");
        insta::assert_snapshot!(stage.check(Scope::All, &get(&stage.id(only("a"), "a", "task 1"))), @"-32602 Unknown task");
        insta::assert_snapshot!(stage.check(Scope::All, &get("task 1")), @"-32602 Unknown task");
        insta::assert_snapshot!(Stage::new(1, &[]).of("key:a").check(Scope::All, &get(&id)), @"-32602 Unknown task");
        let of_a = Stage::new(1, &[]).of("key:a").id(Scope::All, "a", "task 1");
        insta::assert_snapshot!(Stage::new(1, &[]).of("key:a").check(Scope::All, &get(&of_a)), @"a task 1");
        insta::assert_snapshot!(Stage::new(1, &[]).of("key:b").check(Scope::All, &get(&of_a)), @"-32602 Unknown task");
        insta::assert_snapshot!(stage.check(Scope::All, &get(&of_a)), @"-32602 Unknown task");
        insta::assert_snapshot!(Stage::new(2, &[]).check(Scope::All, &get(&id)), @"-32602 Unknown task");
        insta::assert_snapshot!(Stage::new(2, &[1]).check(Scope::All, &get(&id)), @"a task 1");
        insta::assert_snapshot!(Stage::at("http://127.0.0.1:2/mcp", 1, &[]).check(Scope::All, &get(&id)), @"-32602 Unknown task");
        insta::assert_snapshot!(stage.check(Scope::All, &format!("{{\"taskId\":1,{META}}}")), @"-32602 `taskId` must be a string");
        insta::assert_snapshot!(stage.check(Scope::All, &format!("{{\"taskId\":{}}}", quote(&id))), @"-32021 the client has not declared io.modelcontextprotocol/tasks");
    }

    #[test]
    fn the_id_that_a_task_was_asked_for_by_stays_when_the_key_changes() {
        let before = Stage::new(1, &[]).id(Scope::All, "a", "7");
        let known = Some(("7".to_owned(), before.clone()));
        let sealer = Stage::new(2, &[1]).sealer;
        let owner = Owner::default();
        let ids = Ids { sealer, server: "a".into(), endpoint: "/mcp".into(), owner, known };
        assert_eq!(ids.exposed("\"7\""), Some(quote(&before)));
        assert_ne!(ids.exposed("\"8\""), Some(quote(&before)));
        assert_eq!(ids.exposed("8"), None, "no string");
    }

    #[test]
    fn only_tasks_that_are_known_are_heard_of() {
        let stage = Stage::new(1, &[]);
        let (a, b) = (stage.id(Scope::All, "a", "1"), stage.id(Scope::All, "b", "1"));
        let wanted = |meta: &str| {
            let params = format!(r#"{{"notifications":{{"taskIds":["{a}","1",{{}},"{b}","{a}x"]}}{meta}}}"#);
            stage.with(Scope::All, &params, |tasks, inbound| {
                tasks
                    .wanted(inbound, |server| server.name.as_str() != "hidden")
                    .map_err(|refusal| refusal.code)
            })
        };
        let of = |server: &str, id: &String| {
            (stage.servers[server].identity.clone(), SortedMap::from([("1".to_owned(), id.clone())]))
        };
        assert_eq!(wanted(&format!(",{META}")), Ok(SortedMap::from([of("a", &a), of("b", &b)])));
        assert_eq!(wanted(""), Err(code::MISSING_CAPABILITY));
    }

    #[test]
    fn the_extension_can_be_taken_back() {
        insta::assert_snapshot!(undeclared("{}"), @"{}");
        insta::assert_snapshot!(undeclared(r#"{"extensions":1,"roots":{}}"#), @r#"{"extensions":1,"roots":{}}"#);
        insta::assert_snapshot!(undeclared(r#"{"roots":{"a":1.0},"ext\u0065nsions":{"io.modelcontextprotocol\/tasks":{},"x":{"y":1.0}}}"#), @r#"{"roots":{"a":1.0},"extensions":{"x":{"y":1.0}}}"#);
        insta::assert_snapshot!(undeclared(DECLARED), @r#"{"extensions":{}}"#);
    }

    #[test]
    fn a_change_is_told_under_the_ids_that_the_agent_knows() {
        let ids = SortedMap::from([("7".to_owned(), "sealed".to_owned())]);
        let check = |raw: &str| match before_a_server(|screen| told(raw.as_bytes(), &ids, "\"sub\"", screen))
        {
            Told::Acknowledged(ids) => format!("{ids:?}"),
            Told::Changed(change) => format!("{} {} {}", change.id, change.is_last, change.text),
            Told::Other => "-".into(),
        };
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":9},"status":"completed","taskId":"7","result":{"n":1.0}}}"#),
            @r#"7 true {"jsonrpc":"2.0","method":"notifications/tasks","params":{"status":"completed","taskId":"sealed","result":{"n":1.0},"_meta":{"io.modelcontextprotocol/subscriptionId":"sub"}}}"#);
        let failed = |error: &str| {
            check(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"7","status":"failed","error":{error}}}}}"#
            ))
        };
        assert!(
            failed(r#"{"code":-32000,"message":"no","message":"no"}"#)
                .contains(r#""error":{"code":-32000,"message":"no","message":"no"}"#)
        );
        let phishing = failed(
            r#"{"code":-32042,"message":"x","data":{"elicitations":[{"mode":"url","url":"javascript:x","message":"Go"}]}}"#,
        );
        assert!(phishing.contains("does not ask the user") && !phishing.contains("javascript"), "{phishing}");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"8","status":"working"}}"#), @"-");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"status":"working"}}"#), @"-");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"taskIds":["7","8"]}}}"#), @r#"["7"]"#);
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}"#), @"[]");
        insta::assert_snapshot!(check(r#"{"jsonrpc":"2.0","id":9,"result":{"resultType":"complete"}}"#), @"-");
        let state =
            Json::check(br#"{"resultType":"complete","taskId":"7","status":"working","_meta":{}}"#).unwrap();
        insta::assert_snapshot!(before_a_server(|screen| missed(state, &ids, "1", screen)).unwrap().text, @r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"sealed","status":"working","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_id_of_a_server_comes_back_as_it_was(own in ".{0,400}") {
            let stage = Stage::new(1, &[]);
            let id = stage.id(Scope::All, "b", &own);
            prop_assert_eq!(stage.check(Scope::All, &get(&id)), format!("b {own}"));
        }
    }
}
