//! The table holds together: paths are found, names are told once, what is said of operations can be read.

use super::*;

#[track_caller]
fn check(path: &str) -> Option<(&'static str, Vec<&str>)> {
    Place::find(path).map(|place| (place.pattern, place.values))
}

#[test]
fn paths_lead_to_operations() {
    assert_eq!(check("/admin/v1/config"), Some(("/admin/v1/config", vec![])));
    let version = "/admin/v1/config/versions/{version}";
    assert_eq!(check("/admin/v1/config/versions/12"), Some((version, vec!["12"])));
    assert_eq!(check("/admin/v1/keys/0f3a"), Some(("/admin/v1/keys/{id}", vec!["0f3a"])));
    assert_eq!(check("/admin/v1/secrets/prod/a"), Some(("/admin/v1/secrets/{name}", vec!["prod/a"])));
    for odd in [
        "",
        "config/",
        "configs",
        "config/versions/",
        "config/versions/x",
        "config/versions/-1",
        "config/versions/+1",
        "config/versions/1/",
        "config/versions/99999999999999999999999",
        "keys/",
        "keys/a/b",
        "versions/1",
        "secrets/",
        "approvals/",
        "audit/",
        "audit/x",
    ] {
        assert_eq!(check(&format!("/admin/v1/{odd}")), None, "{odd}");
    }
    assert_eq!(check("/admin/config"), None);
    assert_eq!(route("/admin/v1/keys/0f3a"), "/admin/v1/keys/{id}");
    let allowed = |path| Place::find(path).map(|place| place.allowed());
    assert_eq!(allowed("/admin/v1/approvals/a").as_deref(), Some("GET, PUT, DELETE"));
    assert_eq!(allowed("/admin/v1/config/rollback").as_deref(), Some("POST"));
}

#[test]
fn no_operation_stands_there_twice() {
    let names: Vec<_> = all().map(|one| one.name).collect();
    let doubled: Vec<_> =
        names.iter().filter(|name| names.iter().filter(|n| n == name).count() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    for one in all() {
        assert!(matches!(one.method(), "GET" | "PUT" | "POST" | "PATCH" | "DELETE"), "{}", one.name);
        let is_outside = one.audience == Audience::Outside;
        assert!(one.pattern().starts_with(if is_outside { "/" } else { ROOT }), "{}", one.name);
        // Of several entries with one path, each reads it alike.
        let same = all().filter(|other| other.pattern() == one.pattern());
        assert!(same.into_iter().all(|other| other.last == one.last), "{}", one.name);
    }
}

#[cfg(feature = "control")]
mod described {
    use super::super::*;

    #[test]
    fn every_word_of_the_table_can_be_read() {
        let named: Vec<_> = schemas::ALL.iter().copied().flatten().collect();
        for (name, text) in &named {
            assert!(notation::schema(text).is_ok(), "{name}: {:?}", notation::schema(text));
        }
        let document = openapi::document().to_string();
        for reference in document.split(r##""$ref":"#/components/schemas/"##).skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(named.iter().any(|(known, _)| *known == name), "nothing says what {name} is");
        }
        let mut ids: Vec<_> = all().map(|one| openapi::id(one.does)).collect();
        ids.sort();
        assert!(ids.windows(2).all(|two| two[0] != two[1]), "two operations do the same: {ids:?}");
    }

    #[test]
    fn the_page_is_as_the_table_says() {
        let written = include_str!("../../../../docs/admin-api.md");
        let page = page::page();
        let differs = page.lines().zip(written.lines()).find(|(page, written)| page != written);
        assert!(
            page == written,
            "docs/admin-api.md is not what `cargo run --package portcullis-core --example admin_api` writes: {differs:?}"
        );
    }

    fn row(one: &'static Operation) -> String {
        let cell = |role| match one.audience.reach(role) {
            Some(Reach::All) => 'A',
            Some(Reach::Own) => 'o',
            None => '-',
        };
        format!("{} {}", Role::ALL.into_iter().map(cell).collect::<String>(), one.name)
    }

    #[test]
    fn no_role_opens_what_has_a_door_of_its_own() {
        let mut outside = all().filter(|one| one.audience == Audience::Outside);
        assert!(outside.all(|one| row(one).starts_with("---- ")));
    }

    /// `A` all of it, `o` one's own, `-` nothing: of admin, operator, auditor, member.
    #[test]
    fn the_matrix_of_roles() {
        let is_inside = |one: &&Operation| one.audience != Audience::Outside;
        let matrix: Vec<_> =
            all().take_while(|one| !is_first_trial(one)).filter(is_inside).map(row).collect();
        insta::assert_snapshot!(matrix.join("\n"), @r#"
        AAA- GET /admin/v1/config
        AA-- PUT /admin/v1/config
        AAA- GET /admin/v1/config/versions
        AAA- GET /admin/v1/config/versions/{version}
        AA-- POST /admin/v1/config/rollback
        AAA- POST /admin/v1/config/check
        AAAo GET /admin/v1/keys
        AA-o POST /admin/v1/keys
        AA-o DELETE /admin/v1/keys/{id}
        AAA- GET /admin/v1/secrets
        AA-- PUT /admin/v1/secrets/{name}
        AA-- DELETE /admin/v1/secrets/{name}
        AAA- GET /admin/v1/approvals
        AAA- GET /admin/v1/approvals/{server}
        AA-- PUT /admin/v1/approvals/{server}
        AA-- DELETE /admin/v1/approvals/{server}
        AAAo GET /admin/v1/connections
        AA-o DELETE /admin/v1/connections/{principal}
        AAAo GET /admin/v1/audit
        AAAo GET /admin/v1/audit/export
        AAA- GET /admin/v1/audit/verify
        AAAA GET /admin/v1/openapi.json
        AAAA GET /admin/v1/me
        AAAo GET /admin/v1/sessions
        Aooo DELETE /admin/v1/sessions/{id}
        AAAo GET /admin/v1/instances
        AA-o DELETE /admin/v1/instances/{id}
        AAA- GET /admin/v1/gateways
        AAA- GET /admin/v1/gateways/{id}
        A--- DELETE /admin/v1/gateways/{id}
        AAA- GET /admin/v1/enrolments
        A--- POST /admin/v1/enrolments
        A--- DELETE /admin/v1/enrolments/{id}
        AAA- GET /admin/v1/rollouts
        AA-- POST /admin/v1/rollouts
        AAA- GET /admin/v1/rollouts/{id}
        AA-- POST /admin/v1/rollouts/{id}/promote
        AA-- POST /admin/v1/rollouts/{id}/abort
        AAAo GET /admin/v1/overview
        AAAo GET /admin/v1/servers
        AAAo GET /admin/v1/servers/{name}
        AAAo GET /admin/v1/agents
        AAAo GET /admin/v1/agents/{name}
        AAA- GET /admin/v1/groups
        AAA- GET /admin/v1/variants
        AAA- GET /admin/v1/groups/{name}
        AAA- GET /admin/v1/variants/{name}
        AA-- POST /admin/v1/servers
        AA-- PUT /admin/v1/servers/{name}
        AA-- DELETE /admin/v1/servers/{name}
        AA-- POST /admin/v1/groups
        AA-- PUT /admin/v1/groups/{name}
        AA-- DELETE /admin/v1/groups/{name}
        AA-- POST /admin/v1/variants
        AA-- PUT /admin/v1/variants/{name}
        AA-- DELETE /admin/v1/variants/{name}
        AA-- POST /admin/v1/agents
        AA-- PUT /admin/v1/agents/{name}
        AA-- DELETE /admin/v1/agents/{name}
        AAAo GET /admin/v1/tools
        AAAo POST /admin/v1/explain
        AAA- GET /admin/v1/registry
        AA-- POST /admin/v1/registry/imports
        AA-- POST /admin/v1/registry/{name}/{version}/approve
        AA-- POST /admin/v1/registry/{name}/{version}/reject
        "#);
    }

    /// The tables from this one on have a matrix of their own.
    fn is_first_trial(one: &Operation) -> bool {
        one.name == "POST /admin/v1/simulate"
    }

    #[test]
    fn the_matrix_of_roles_for_trials_and_activity() {
        let matrix: Vec<_> = all().skip_while(|one| !is_first_trial(one)).map(row).collect();
        insta::assert_snapshot!(matrix.join("\n"), @"
        AAA- POST /admin/v1/simulate
        AA-- POST /admin/v1/tools/call
        AAA- POST /admin/v1/config/diff
        AAA- GET /admin/v1/config/versions/{version}/diff
        AAA- GET /admin/v1/hosted
        AAA- GET /admin/v1/evaluations
        AAA- GET /admin/v1/evaluations/{server}
        AA-- PUT /admin/v1/evaluations/{server}
        AAAo GET /admin/v1/statistics
        AAAo GET /admin/v1/live
        AAAo GET /admin/v1/identities
        ");
    }
}
