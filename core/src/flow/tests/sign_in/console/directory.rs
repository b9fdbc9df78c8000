//! The directory that an identity provider writes (SCIM): who may write it, what it is told, and what leaving ends.

use serde_json::{Value, json};

use super::super::*;
use super::{CONSOLE, SESSION, governed};
use crate::config::{Attribute, Holder, Scim};
use crate::control::Role;
use crate::identity::KeyRing;
use crate::ports::KeyStore as _;
use crate::testing::ADMIN_KEY;

const TOKEN: &str = "the directory's token";
const USERS: &str = "/scim/v2/Users";
const GROUPS: &str = "/scim/v2/Groups";

fn provisioned(subject: Attribute) -> Config {
    let mut config = governed(&[(Role::Admin, "nobody")], true);
    let token = SecretName::parse("scim").expect("a name");
    config.console.scim = Some(Scim { token, place: (0, 0), issuer: "corp".into(), subject });
    config.console.roles.push((Role::Operator, vec![Holder::Group("Ops".into())]));
    config
}

fn stage_by(subject: Attribute) -> Stage {
    let stage = Stage::with(provisioned(subject));
    let (name, token) =
        (SecretName::parse("scim").expect("a name"), Secret::new(TOKEN.into()).expect("a secret"));
    stage.host.run(stage.host.store().set(name, token, Replacing::AtOnce, 0)).expect("it is kept");
    stage
}

fn stage() -> Stage {
    stage_by(Attribute::ExternalId)
}

impl Stage {
    fn scim(&self, method: Method, target: &str, headers: &[(&'static str, &str)], body: &Value) -> Answered {
        self.scim_at(&self.gateway, (method, target), headers, body)
    }

    fn scim_at(
        &self,
        gateway: &Gateway<Memory>,
        (method, target): (Method, &str),
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Answered {
        let bearer = format!("Bearer {TOKEN}");
        let own = [("authorization", &*bearer), ("content-type", "application/scim+json")];
        self.send_to(gateway, (method, target), &[&own, headers].concat(), body.to_string())
    }

    fn told(&self, method: Method, target: &str, body: &Value) -> (u16, Value) {
        let answered = self.scim(method, target, &[], body);
        (answered.status, serde_json::from_str(&answered.text).unwrap_or_default())
    }

    fn make(&self, target: &str, body: &Value) -> String {
        let (status, said) = self.told(Method::POST, target, body);
        assert_eq!(status, 201, "{said}");
        said["id"].as_str().expect("an id").to_owned()
    }

    fn set(&self, target: &str, path: &str, value: &Value) -> u16 {
        let operation = json!({ "op": "replace", "path": path, "value": value });
        self.told(Method::PATCH, target, &json!({ "Operations": [operation] })).0
    }

    fn found(&self, query: &str) -> String {
        let (status, said) = self.told(Method::GET, query, &Value::Null);
        let names = said["Resources"].as_array().into_iter().flatten().map(|one| one["userName"].to_string());
        format!("{status} {} {}", said["totalResults"], names.collect::<Vec<_>>().join(" ")).replace('"', "")
    }
}

#[test]
fn leaving_ends_access_at_once() {
    let stage = stage();
    let id = stage.make(USERS, &json!({ "userName": "Ann", "externalId": "ann" }));
    let one = format!("{USERS}/{id}");
    let tokens = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]);
    let access = tokens.json("access_token");
    let mut browser = Browser::default();
    stage.sign_in(&mut browser, "");
    assert_eq!(
        (stage.list(&access), stage.whoami(&mut browser)),
        ("200 tools".into(), "user:corp:ann member".into())
    );
    assert_eq!(stage.set(&one, "active", &"False".into()), 200, "as some providers write it");
    let left = "403 Forbidden: the identity provider says that this user has left";
    assert_eq!(stage.list(&access), left);
    assert_eq!(stage.whoami(&mut browser), "401");
    let refreshed = stage.refresh(&tokens.json("refresh_token"));
    assert_eq!((refreshed.status, &*refreshed.json("error")), (400, "invalid_grant"));
    let mut again = Browser::default();
    assert_eq!(
        stage.sign_in(&mut again, "").said(),
        "403 You are let in no more. Ask whoever runs this gateway."
    );
    assert!(!again.0.contains_key(SESSION));
    assert_eq!(stage.set(&one, "active", &true.into()), 200);
    assert_eq!(stage.list(&access), "200 tools", "they are there again");
    assert_eq!(stage.whoami(&mut browser), "401", "what has ended has ended");
    // Who is removed has left as well, and so is who is called otherwise from now on.
    assert_eq!(stage.scim(Method::DELETE, &one, &[], &Value::Null).status, 204);
    assert_eq!(
        (stage.list(&access), stage.scim(Method::GET, &one, &[], &Value::Null).status),
        (left.into(), 404)
    );
    let id = stage.make(USERS, &json!({ "userName": "ann", "externalId": "ann" }));
    assert_eq!(stage.list(&access), "200 tools");
    assert_eq!(stage.set(&format!("{USERS}/{id}"), "externalId", &"ann-2".into()), 200);
    assert_eq!(stage.list(&access), left);
}

/// A key that somebody made for themselves leaves with them; one that nobody owns is the company's.
#[test]
fn keys_leave_with_their_owners() {
    let stage = stage();
    let id = stage.make(USERS, &json!({ "userName": "ann", "externalId": "ann" }));
    let one = format!("{USERS}/{id}");
    lock(&stage.provider.claims).insert("groups", r#"["eng"]"#.into());
    let mut browser = Browser::default();
    stage.sign_in(&mut browser, "");
    let made = |answered: Answered| {
        assert_eq!(answered.status, 201, "{answered:?}");
        let said: Value = serde_json::from_str(&answered.text).expect("JSON");
        let text = |name: &str| said[name].as_str().map(str::to_owned);
        (text("id").expect("an id"), text("key").expect("a key"), text("owner"))
    };
    let for_engineers = r#"{"agent":"engineer"}"#;
    let own = made(stage.ask(&mut browser, Method::POST, "/admin/v1/keys", for_engineers));
    let admin = format!("Bearer {ADMIN_KEY}");
    let admin = [("authorization", &*admin), ("content-type", "application/json")];
    let companys = stage.send(Method::POST, "/admin/v1/keys", &admin, for_engineers.into());
    let companys = made(companys);
    assert_eq!((own.2.as_deref(), &companys.2), (Some("user:corp:ann"), &None));
    let listed = |browser: &mut Browser| {
        let said: Value =
            serde_json::from_str(&stage.ask(browser, Method::GET, "/admin/v1/keys", "").text).expect("JSON");
        let keys = said["keys"].as_array().expect("a list").iter();
        keys.map(|key| key["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut browser), [&*own.0], "theirs alone, though both are the same agent");
    let foreign = stage.ask(&mut browser, Method::DELETE, &format!("/admin/v1/keys/{}", companys.0), "");
    let nobodys = stage.ask(&mut browser, Method::DELETE, "/admin/v1/keys/0000000000", "");
    assert_eq!((foreign.status, &foreign.text), (404, &nobodys.text));
    assert_eq!(stage.ask(&mut browser, Method::POST, "/admin/v1/keys", r#"{"agent":"default"}"#).status, 404);
    let both = || [stage.list(&own.1), stage.list(&companys.1)];
    assert_eq!(both(), ["200 tools"; 2]);
    let proof = |key: &str| stage.host.run(stage.gateway.principal_of(key, &stage.gateway.snapshot()));
    assert!(proof(&own.1).is_some());
    let for_the_fleet = || {
        let keys = stage.host.run(stage.host.store().all()).expect("keys");
        let keys = keys.into_iter().map(|kept| kept.record).collect();
        let keys = stage.host.run(stage.gateway.whose_owners_are_there(keys)).expect("a directory");
        keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(for_the_fleet().len(), 2);
    assert_eq!(stage.set(&one, "active", &false.into()), 200);
    let left = "403 Forbidden: the identity provider says that this user has left";
    assert_eq!(both(), [left, "200 tools"]);
    assert_eq!(proof(&own.1), None, "it connects no account either");
    assert_eq!(for_the_fleet(), [&*companys.0]);
    // An instance that has read nothing yet reads first.
    let other = Stage {
        gateway: gateway_with(&stage.host, &["a"], provisioned(Attribute::ExternalId)),
        host: stage.host.clone(),
        provider: stage.provider.clone(),
    };
    let keys = stage.host.run(stage.host.store().all()).expect("keys");
    other.gateway.set_keys(KeyRing::new(keys.into_iter().map(|kept| kept.record)));
    assert_eq!(other.list(&own.1), left);
    assert_eq!(stage.set(&one, "active", &true.into()), 200);
    assert_eq!(both(), ["200 tools"; 2], "they are there again");
    // They sign in again, and revoke it.
    let mut again = Browser::default();
    stage.sign_in(&mut again, "");
    assert_eq!(stage.ask(&mut again, Method::DELETE, &format!("/admin/v1/keys/{}", own.0), "").status, 200);
    assert!(stage.list(&own.1).starts_with("401"));
}

#[test]
fn another_instance_learns_who_has_left() {
    let stage = stage_by(Attribute::UserName);
    let other = gateway_with(&stage.host, &["a"], provisioned(Attribute::UserName));
    let access = stage.redeem(&stage.code(&Stage::request(APP, &[])), &[]).json("access_token");
    let user = json!({ "userName": "ANN", "active": false });
    let made = stage.scim_at(&other, (Method::POST, USERS), &[], &user);
    assert_eq!(made.status, 201, "{made:?}");
    stage.host.run(stage.gateway.look_at_directory());
    assert!(stage.list(&access).starts_with("403"), "the names of users are the same in any case");
    // One that has read nothing yet reads before it lets anybody in.
    let third =
        Stage { gateway: gateway_with(&stage.host, &["a"], provisioned(Attribute::UserName)), ..stage };
    assert!(third.list(&access).starts_with("403"));
}

#[test]
fn groups_of_the_directory_give_roles() {
    let stage = stage();
    let id = stage.make(USERS, &json!({ "userName": "ann", "externalId": "ann" }));
    let mut browser = Browser::default();
    stage.sign_in(&mut browser, "");
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann member");
    let group = stage.make(GROUPS, &json!({ "displayName": "Ops", "members": [{ "value": id }] }));
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann operator");
    let remove = json!({ "op": "Remove", "path": format!("members[value eq \"{id}\"]") });
    let removed = stage.told(Method::PATCH, &format!("{GROUPS}/{group}"), &json!({ "Operations": [remove] }));
    assert_eq!((removed.0, &removed.1["members"]), (200, &Value::Null));
    assert_eq!(stage.whoami(&mut browser), "user:corp:ann member");
    let (status, said) =
        stage.told(Method::POST, GROUPS, &json!({ "displayName": "OPS", "members": [{ "value": id }] }));
    assert_eq!((status, &said["scimType"]), (409, &json!("uniqueness")), "no group passes for another");
}

/// Who may write the directory: its token, and neither another credential nor a browser that somebody has signed in with.
#[test]
fn case_34_the_token_alone_counts_and_nowhere_else() {
    let stage = stage();
    let trail = stage.host.keep_trail();
    let mut browser = Browser::default();
    stage.by_key(&mut browser, ADMIN_KEY);
    let user = json!({ "userName": "eve", "externalId": "eve" }).to_string();
    assert_eq!(stage.ask(&mut browser, Method::POST, USERS, &user).status, 401, "a session");
    for wrong in [
        format!("Bearer {ADMIN_KEY}"),
        "Bearer the directory's".into(),
        "Bearer ".into(),
        format!("Basic {TOKEN}"),
        TOKEN.into(),
    ] {
        for (method, target) in [
            (Method::POST, USERS),
            (Method::GET, "/scim/v2/ServiceProviderConfig"),
            (Method::GET, "/scim/v2/x"),
        ] {
            let answered = stage.send(method, target, &[("authorization", &wrong)], user.clone());
            assert_eq!((answered.status, answered.header("www-authenticate")), (401, "Bearer"), "{wrong}");
            assert!(
                answered.header("content-type").contains("scim+json")
                    && answered.text.contains(r#""status":"401""#)
            );
        }
    }
    let bearer = format!("Bearer {TOKEN}");
    for target in ["/admin/v1/keys", "/admin/v1/me", "/mcp", "/metrics"] {
        let page = [&CONSOLE[..], &[("authorization", &*bearer)]].concat();
        assert_eq!(stage.send(Method::GET, target, &page, String::new()).status, 401, "{target}");
    }
    // Nothing is written by what reads, and no page of another site's is told anything.
    let cross = [("origin", "https://evil.test")];
    assert_eq!(stage.scim(Method::GET, USERS, &cross, &Value::Null).status, 403);
    assert_eq!(stage.found(USERS), "200 0 ");
    assert_eq!(stage.told(Method::POST, "/scim/v2/Schemas", &Value::Null).0, 405);
    stage.make(USERS, &json!({ "userName": "ann" }));
    let entries = trail.take();
    let told = |entry: &crate::audit::Entry| {
        let (principal, name) =
            (entry.principal.as_deref().unwrap_or("-"), entry.name.as_deref().unwrap_or("-"));
        format!("{} {principal} {name} {} {:?}", entry.method, entry.decision.as_str(), entry.auth)
    };
    let last = entries.last().map(told);
    assert_eq!(last.as_deref(), Some("POST /scim/v2/Users scim ann allowed Directory"));
    let refused = entries.iter().map(told).find(|told| told.starts_with("POST /scim"));
    assert_eq!(refused.as_deref(), Some("POST /scim/v2/Users - - denied Anonymous"));
    let none = Stage::with(governed(&[(Role::Admin, "eng")], false));
    assert_eq!(none.scim(Method::GET, USERS, &[], &Value::Null).status, 404, "where nobody set it up");
}

/// Ids that are guessed, and that of another kind.
#[test]
fn case_31_what_is_not_there_is_not_told_from_what_is_elsewhere() {
    let stage = stage();
    let (id, group) = (
        stage.make(USERS, &json!({ "userName": "ann" })),
        stage.make(GROUPS, &json!({ "displayName": "G" })),
    );
    assert!(id.len() == 43 && id != stage.make(USERS, &json!({ "userName": "bob" })), "nobody guesses one");
    let strange = "x".repeat(500);
    for guess in [&*group, "1", "2", "%2e%2e", "..", "scim-user", &*strange, "a%00b"] {
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let said = json!({ "userName": "x", "Operations": [] });
            let (status, said) = stage.told(method, &format!("{USERS}/{guess}"), &said);
            assert_eq!((status, &said["detail"]), (404, &json!("there is no such resource")), "{guess}");
        }
    }
    for nowhere in [
        "/scim/v2/",
        "/scim/v2/Users/",
        "/scim/v2/users",
        "/scim/v2/Users/a/b",
        "/scim/v2/bulk",
        "/scim/v2/me",
    ] {
        assert_eq!(stage.told(Method::GET, nowhere, &Value::Null).0, 404, "{nowhere}");
    }
}

#[test]
fn a_change_builds_on_what_is_there() {
    let stage = stage();
    let made = stage.scim(
        Method::POST,
        USERS,
        &[],
        &json!({ "userName": "ann", "password": "x", "roles": ["admin"] }),
    );
    let (tag, at) = (made.header("etag").to_owned(), made.header("location").to_owned());
    assert!(
        at.starts_with("https://gw.test/scim/v2/Users/")
            && !made.text.contains("password")
            && !made.text.contains("roles")
    );
    let one = at.trim_start_matches(OWN);
    let get = |name, tag: &str| stage.scim(Method::GET, one, &[(name, tag)], &Value::Null).status;
    assert_eq!((get("if-none-match", &tag), get("if-none-match", "W/\"x\"")), (304, 200));
    let put = |tag: &str, name: &str| {
        stage.scim(Method::PUT, one, &[("if-match", tag)], &json!({ "userName": name })).status
    };
    assert_eq!(
        (put("W/\"x\"", "eve"), put(&tag, "anna"), put(&tag, "eve"), put("*", "anne")),
        (412, 200, 412, 200)
    );
    assert_eq!(stage.scim(Method::DELETE, one, &[("if-match", &tag)], &Value::Null).status, 412);
    stage.make(USERS, &json!({ "userName": "bob" }));
    let taken = stage.told(Method::PUT, one, &json!({ "userName": "BOB" }));
    assert_eq!((taken.0, &taken.1["scimType"]), (409, &json!("uniqueness")));
    assert_eq!(
        stage.make(USERS, &json!({ "userName": "ann" })).len(),
        43,
        "a name that was given up is free"
    );
    for (body, kind) in [
        (json!([]), "invalidSyntax"),
        (json!({ "userName": "" }), "invalidValue"),
        (json!({ "userName": 1 }), "invalidValue"),
        (json!({ "userName": "a\nb" }), "invalidValue"),
        (json!({ "userName": "x", "active": "perhaps" }), "invalidValue"),
    ] {
        let (status, said) = stage.told(Method::POST, USERS, &body);
        assert_eq!((status, &said["scimType"]), (400, &json!(kind)), "{body}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let plain = [("authorization", &*bearer), ("content-type", "text/plain")];
    let odd = stage.send(Method::POST, USERS, &plain, r#"{"userName":"x"}"#.into());
    assert_eq!(odd.status, 415);
}

#[test]
fn users_are_found_by_what_they_are() {
    let stage = stage();
    for (name, external) in [("ann", "1"), ("bob", "2"), ("cay", "3")] {
        stage.make(USERS, &json!({ "userName": name, "externalId": external, "name": { "givenName": name, "familyName": "X" } }));
    }
    let filter = |filter: &str| {
        let query: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        stage.found(&format!("{USERS}?filter={query}"))
    };
    assert_eq!(filter(r#"userName eq "BOB""#), "200 1 bob");
    assert_eq!(filter(r#"userName eq "dan""#), "200 0 ");
    assert_eq!(filter(r#"externalId eq "3""#), "200 1 cay");
    assert_eq!(filter(r#"userName eq "ann" and active eq false"#), "200 0 ");
    assert_eq!(filter("userName"), "400 null ");
    assert!(stage.found(&format!("{USERS}?startIndex=2&count=1")).starts_with("200 3 "));
    let (_, page) = stage.told(Method::GET, &format!("{USERS}?startIndex=3&count=9"), &Value::Null);
    assert_eq!((&page["startIndex"], &page["itemsPerPage"]), (&json!(3), &json!(1)));
    assert_eq!(stage.told(Method::GET, &format!("{USERS}?count=0"), &Value::Null).1["itemsPerPage"], 0);
    assert_eq!(stage.told(Method::GET, &format!("{USERS}?count=x"), &Value::Null).0, 400);
    let (_, only) =
        stage.told(Method::GET, &format!("{USERS}?count=1&attributes=name.givenName"), &Value::Null);
    let mut members: Vec<_> = only["Resources"][0].as_object().expect("a user").keys().cloned().collect();
    members.sort_unstable();
    assert_eq!(members, ["id", "name", "schemas"]);
    assert!(only["Resources"][0]["name"].get("familyName").is_none());
    let search =
        json!({ "filter": "userName sw \"b\" or userName sw \"c\"", "attributes": ["userName"], "count": 1 });
    let (status, said) = stage.told(Method::POST, &format!("{USERS}/.search"), &search);
    assert_eq!((status, &said["totalResults"], &said["itemsPerPage"]), (200, &json!(2), &json!(1)), "{said}");
    assert!(said["Resources"][0].get("name").is_none());
    assert_eq!(stage.told(Method::POST, &format!("{USERS}/.search"), &json!({ "count": "x" })).0, 400);
    let (_, without) = stage.told(Method::GET, &format!("{USERS}?excludedAttributes=userName"), &Value::Null);
    assert!(without["Resources"][0].get("userName").is_none() && without["Resources"][0]["name"].is_object());
}

#[test]
fn the_rest_is_a_patch_that_is_whole_or_nothing() {
    let stage = stage();
    let id =
        stage.make(USERS, &json!({ "userName": "ann", "emails": [{ "value": "a@x.test", "type": "work" }] }));
    let one = format!("{USERS}/{id}");
    let patch = |operations: Value| stage.told(Method::PATCH, &one, &json!({ "Operations": operations }));
    let (status, said) = patch(json!([
        { "op": "replace", "value": { "displayName": "Ann", "name.givenName": "Ann", "nickName": "n" } },
        { "op": "Add", "path": "emails", "value": [{ "value": "h@x.test", "type": "home" }] },
        { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "w@x.test" },
    ]));
    assert_eq!(
        (status, &said["displayName"], &said["name"]["givenName"]),
        (200, &json!("Ann"), &json!("Ann"))
    );
    assert_eq!(
        said["emails"],
        json!([{ "value": "w@x.test", "type": "work" }, { "value": "h@x.test", "type": "home" }])
    );
    for (operations, kind) in [
        (
            json!([{ "op": "replace", "path": "displayName", "value": "Eve" }, { "op": "replace", "path": "shoe", "value": 1 }]),
            "invalidPath",
        ),
        (json!([{ "op": "remove" }]), "noTarget"),
        (json!([{ "op": "replace", "path": "emails[type eq \"fax\"]", "value": {} }]), "noTarget"),
        (json!([{ "op": "replace", "path": "emails[type", "value": "x" }]), "invalidPath"),
        (json!([{ "op": "remove", "path": "userName" }]), "invalidValue"),
        (json!([{ "op": "copy", "path": "userName" }]), "invalidSyntax"),
        (json!("x"), "invalidSyntax"),
    ] {
        let (status, said) = patch(operations.clone());
        assert_eq!((status, &said["scimType"]), (400, &json!(kind)), "{operations}");
    }
    assert_eq!(stage.told(Method::GET, &one, &Value::Null).1["displayName"], "Ann");
    let (_, said) = patch(
        json!([{ "op": "remove", "path": "emails[type eq \"home\"]" }, { "op": "remove", "path": "name" }]),
    );
    assert_eq!((said["emails"].as_array().map(Vec::len), said.get("name")), (Some(1), None));
}
