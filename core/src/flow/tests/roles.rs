//! The matrix of roles, cell by cell: each operation of the admin API, asked by each role.

use http::{Request, header};
use serde_json::Value;

use super::modern_server;
use crate::body::Body;
use crate::control::operations::{self, Audience, Operation};
use crate::control::who::{Operator, Role};
use crate::testing::{Memory, gateway};

/// What stands for the names in paths: nothing that is there, and nothing that is theirs.
fn path(one: &Operation) -> String {
    let mut path = String::new();
    let mut pattern = one.pattern();
    while let Some((before, rest)) = pattern.split_once('{') {
        let (name, after) = rest.split_once('}').expect("a name has an end");
        path.push_str(before);
        path.push_str(if name == "version" { "7" } else { "foreign" });
        pattern = after;
    }
    path + pattern
}

fn asks(one: &Operation, role: Role) -> (u16, Value) {
    let host = Memory::new(modern_server);
    let gateway = gateway(&host, &["a"]);
    let principal = "user:https://idp.test:ana".into();
    let agents = vec!["ana-laptop".into()];
    let operator = Operator { principal, role, agents, name: None, session: None };
    let request = Request::builder().method(one.method()).uri(path(one));
    let request = request.header(header::HOST, "127.0.0.1").header(header::CONTENT_TYPE, "application/json");
    let request = request.header(header::IF_MATCH, "*");
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let reply = host.run(gateway.administer_for(
        &head,
        Body::Full(bytes::Bytes::from_static(b"{}").into()),
        &operator,
    ));
    let status = reply.status().as_u16();
    if reply.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        return (status, Value::Null);
    }
    let body = host.run(reply.into_body().collect(usize::MAX)).expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[test]
fn each_role_may_what_the_table_says_and_no_more() {
    for one in operations::all().filter(|one| one.audience != Audience::Outside) {
        for role in Role::ALL {
            let (status, said) = asks(one, role);
            let cell = format!("{} as {}: {status} {said}", one.name, role.as_str());
            let is_refused = said["code"] == "role";
            assert_eq!(one.audience.reach(role).is_none(), is_refused, "{cell}");
            assert_eq!(is_refused, status == 403, "{cell}");
            assert!(status != 401 && status != 405 && (status < 500 || status == 503), "{cell}");
        }
    }
}

/// What is somebody else's answers a member as what is not there.
#[test]
fn what_is_others_is_not_there_for_members() {
    let writes = |one: &&Operation| one.audience == Audience::OwnWrites && one.name.contains('{');
    let foreign: Vec<_> = operations::all().filter(writes).collect();
    assert!(foreign.len() >= 2, "{foreign:?}");
    for one in foreign {
        let (status, said) = asks(one, Role::Member);
        assert_eq!(status, 404, "{}: {said}", one.name);
    }
}
