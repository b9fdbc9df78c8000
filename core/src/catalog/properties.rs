//! What holds for every view, whatever servers offer: what is listed can be called, and nothing depends on the order in
//! which things became known.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{Item, Kind, Offer, Route, Scope, View, look};
use crate::acl::{Glob, Target, Truth};
use crate::config::{Agent, Gateway, ItemKind, Naming, Origin, Rule, Selector, What};
use crate::names::ServerName;
use crate::sorted::{SortedMap, SortedSet};
use crate::testing;
use crate::upstream::Server;
use crate::upstream::handshake::Introduction;
use crate::wire::json::Json;
use crate::wire::version::{Era, Version};

/// The names that each server lists of each kind.
type Offers = SortedMap<&'static str, [SortedSet<String>; 4]>;

/// Names that can be taken for each other's once they are prefixed, cut, or wrapped.
fn offers() -> impl Strategy<Value = Offers> {
    let server = prop::sample::select(vec!["a", "a__b", "b", "a b", "a.b"]);
    let name = prop_oneof![
        "[aB_.é-]{1,3}",
        "b__[ab]{1,2}",
        "[ab]{40,60}",
        "(portcullis://(a|b)/){0,1}x:a",
        "(portcullis://(a|b|a\\+b)/){0,2}x:[ab]",
    ];
    let names = || prop::collection::btree_set(name.clone(), 0..5).prop_map(SortedSet::from_iter);
    prop::collection::btree_map(server, [names(), names(), names(), names()], 0..5)
        .prop_map(SortedMap::from_iter)
}

fn servers(offers: &Offers, items: impl Fn(Vec<Item>) -> Vec<Item>) -> SortedMap<ServerName, Arc<Server>> {
    let introduction = Introduction {
        capabilities: r#"{"tools":{},"prompts":{},"resources":{}}"#.to_owned(),
        info: None,
        instructions: None,
    };
    let server = |(name, lists): (&&str, &[SortedSet<String>; 4])| {
        let name = ServerName::parse(name).unwrap();
        let (server, _) = Server::new(name.clone(), testing::server("http://s.test/mcp"), 1);
        let mut offer = Offer::new(Version::MODERN, introduction.clone(), 0);
        for kind in Kind::ALL {
            let names = lists[kind as usize].iter();
            let item = |name: &String| {
                let text = serde_json::json!({ kind.key(): name, "of": server.name.as_str() }).to_string();
                Item { name: name.clone(), text: text.into(), parameters: Vec::new() }
            };
            offer.set_items(kind, items(names.map(item).collect()));
        }
        server.offer.store(Some(Arc::new(offer)));
        server.listed.store(true, Ordering::Relaxed);
        (name, server)
    };
    offers.iter().map(server).collect()
}

/// Every item of a list, all pages: its exposed name, and the server that offers it.
fn listed(view: &View, kind: Kind) -> Vec<(String, String)> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = view.page(Era::Modern, kind, cursor.as_deref()).expect("a cursor leads to a page");
        let page = format!("{{{}}}", str::from_utf8(&page.0).expect("text"));
        let page = Json::check(page.as_bytes()).expect("a page is JSON");
        let text = |item: Json<'_>, key| item.get(key).and_then(Json::as_str).unwrap().into_owned();
        let list = page.get(kind.member()).unwrap();
        items.extend(list.elements().map(|item| (text(item, kind.key()), text(item, "of"))));
        match page.get("nextCursor").and_then(Json::as_str) {
            Some(next) => cursor = Some(next.into_owned()),
            None => return items,
        }
    }
}

fn everything(settings: &Gateway, servers: &SortedMap<ServerName, Arc<Server>>) -> View {
    look(settings, servers, &Scope::All, Agent::allowing_everything())
}

fn settings(naming: Naming, page_size: usize) -> Gateway {
    Gateway { naming, page_size, name_limit: 48, ..Gateway::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_listed_leads_back_to_its_server_and_name(
        offers in offers(),
        prefix in any::<bool>(),
        page_size in 1usize..4,
    ) {
        let naming = if prefix { Naming::Prefix } else { Naming::None };
        let view = everything(&settings(naming, page_size), &servers(&offers, |items| items));
        for kind in Kind::ALL {
            let mut reached = SortedSet::new();
            let mut exposed = SortedSet::new();
            for (name, server) in listed(&view, kind) {
                prop_assert!(exposed.insert(name.clone()), "{name} is listed twice");
                let route = view.find(kind, &name).map(|found| found.route);
                prop_assert!(route.is_some(), "{name} is listed and leads nowhere");
                let route = route.unwrap();
                prop_assert_eq!(route.server.name.as_str(), &server, "{} is of another server", name);
                prop_assert!(offers[&*server][kind as usize].contains(&*route.name), "{name} is not offered");
                prop_assert!(reached.insert((server, route.name.to_string())), "{name} is listed under two names");
                if kind == Kind::Resources {
                    let by_uri = view.find_uri(&name).unwrap().route;
                    prop_assert_eq!((&by_uri.server.name, &by_uri.name), (&route.server.name, &route.name));
                }
            }
            let offered: usize = offers.values().map(|lists| lists[kind as usize].len()).sum();
            let by_name = matches!(kind, Kind::Tools | Kind::Prompts);
            prop_assert!(reached.len() == offered || (by_name && !prefix), "{} of {offered}", reached.len());
        }
    }

    #[test]
    fn a_view_does_not_depend_on_the_order_of_lists(offers in offers(), prefix in any::<bool>()) {
        let settings = settings(if prefix { Naming::Prefix } else { Naming::None }, 100);
        let reversed = |items: Vec<Item>| items.into_iter().rev().collect();
        let one = everything(&settings, &servers(&offers, |items| items));
        let other = everything(&settings, &servers(&offers, reversed));
        for kind in Kind::ALL {
            prop_assert_eq!(one.page(Era::Modern, kind, None), other.page(Era::Modern, kind, None));
        }
    }

    #[test]
    fn an_endpoint_of_one_server_shows_its_part_under_the_same_names(offers in offers(), prefix in any::<bool>()) {
        let settings = settings(if prefix { Naming::Prefix } else { Naming::None }, 2);
        let servers = servers(&offers, |items| items);
        let whole = everything(&settings, &servers);
        for shown in servers.keys() {
            let part = look(&settings, &servers, &Scope::Server(shown.clone()), Agent::allowing_everything());
            for kind in Kind::ALL {
                let expected: Vec<_> =
                    listed(&whole, kind).into_iter().filter(|(_, server)| server == shown.as_str()).collect();
                prop_assert_eq!(listed(&part, kind), expected);
            }
        }
    }

    #[test]
    fn what_is_seen_is_what_the_rules_allow(offers in offers(), allow in rules(), deny in rules(), prefix in any::<bool>()) {
        let settings = settings(if prefix { Naming::Prefix } else { Naming::None }, 3);
        let servers = servers(&offers, |items| items);
        let agent = Agent { allow, deny, ..Agent::bare("a", Origin::default()) };
        let whole = everything(&settings, &servers);
        let part = look(&settings, &servers, &Scope::All, agent.clone());
        for kind in Kind::ALL {
            let seen = listed(&part, kind);
            for item in listed(&whole, kind) {
                let route = whole.find(kind, &item.0).unwrap().route;
                let target = Target {
                    server: route.server.name.as_str(),
                    kind: kind.of_rules(),
                    name: route.own_name(),
                    is_template: kind == Kind::Templates,
                };
                let names = |rules: &[Rule]| rules.iter().any(|rule| match &rule.what {
                    What::Select(selector) => selector.allows(&target),
                    _ => true,
                });
                let found = part.find(kind, &item.0);
                prop_assert_eq!(seen.contains(&item), found.is_some(), "listed and callable are the same");
                if kind != Kind::Templates {
                    prop_assert_eq!(found.is_some(), names(&agent.allow) && !names(&agent.deny));
                    prop_assert_eq!(found.is_some(), part.decide(&target, |_| Truth::Holds).is_ok());
                }
                if kind == Kind::Resources {
                    // A resource that is not seen might as well not be there: another server may have one of that URI.
                    let read = part.find_uri(&item.0).map(|found| found.route);
                    let is_it = |read: &Route| {
                        Arc::ptr_eq(&read.server, &route.server) && read.name == route.name
                    };
                    prop_assert_eq!(read.as_ref().is_some_and(is_it), found.is_some());
                    prop_assert!(read.is_none_or(|read| part.may_read(&read.server.name, &read.name)));
                }
            }
        }
    }
}

/// Rules over servers and names that differ in no case of a letter.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let kind = prop::sample::select(vec![
        None,
        Some(ItemKind::Tool),
        Some(ItemKind::Prompt),
        Some(ItemKind::Resource),
    ]);
    let (server, item) = ("(a|b|a\\*|\\*)", "(\\*|[a_.é-]{1,2}\\*?|b__\\*|x:a|portcullis:\\*)");
    let rule = (server, kind, item).prop_map(|(server, kind, item)| {
        let selector = Selector { server: Glob::new(&server), kind, item: Glob::new(&item) };
        Rule { what: What::Select(selector), when: None, text: String::new(), origin: Origin::default() }
    });
    prop::collection::vec(rule, 0..3)
}
