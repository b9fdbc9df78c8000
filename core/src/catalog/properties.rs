//! What holds for every view, whatever servers offer: what is listed can be called, and nothing depends on the order in
//! which things became known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{Item, Kind, Offer, View};
use crate::config::{Gateway, Naming};
use crate::names::ServerName;
use crate::testing;
use crate::upstream::Server;
use crate::upstream::handshake::Introduction;
use crate::wire::json::Json;
use crate::wire::version::{Era, Version};

/// The names that each server lists of each kind.
type Offers = BTreeMap<&'static str, [BTreeSet<String>; 4]>;

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
    let names = || prop::collection::btree_set(name.clone(), 0..5);
    prop::collection::btree_map(server, [names(), names(), names(), names()], 0..5)
}

fn servers(offers: &Offers, items: impl Fn(Vec<Item>) -> Vec<Item>) -> BTreeMap<ServerName, Arc<Server>> {
    let introduction = Introduction {
        capabilities: r#"{"tools":{},"prompts":{},"resources":{}}"#.to_owned(),
        info: None,
        instructions: None,
    };
    let server = |(name, lists): (&&str, &[BTreeSet<String>; 4])| {
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
        let view = View::make(&settings(naming, page_size), &servers(&offers, |items| items), |_| true);
        for kind in Kind::ALL {
            let mut reached = BTreeSet::new();
            let mut exposed = BTreeSet::new();
            for (name, server) in listed(&view, kind) {
                prop_assert!(exposed.insert(name.clone()), "{name} is listed twice");
                let route = view.route(kind, &name);
                prop_assert!(route.is_some(), "{name} is listed and leads nowhere");
                let route = route.unwrap();
                prop_assert_eq!(route.server.name.as_str(), &server, "{} is of another server", name);
                prop_assert!(offers[&*server][kind as usize].contains(&*route.name), "{name} is not offered");
                prop_assert!(reached.insert((server, route.name.to_string())), "{name} is listed under two names");
                if kind == Kind::Resources {
                    let by_uri = view.route_uri(&name).unwrap();
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
        let one = View::make(&settings, &servers(&offers, |items| items), |_| true);
        let other = View::make(&settings, &servers(&offers, reversed), |_| true);
        for kind in Kind::ALL {
            prop_assert_eq!(one.page(Era::Modern, kind, None), other.page(Era::Modern, kind, None));
        }
    }

    #[test]
    fn an_endpoint_of_one_server_shows_its_part_under_the_same_names(offers in offers(), prefix in any::<bool>()) {
        let settings = settings(if prefix { Naming::Prefix } else { Naming::None }, 2);
        let servers = servers(&offers, |items| items);
        let whole = View::make(&settings, &servers, |_| true);
        for shown in servers.keys() {
            let part = View::make(&settings, &servers, |name| name == shown);
            for kind in Kind::ALL {
                let expected: Vec<_> =
                    listed(&whole, kind).into_iter().filter(|(_, server)| server == shown.as_str()).collect();
                prop_assert_eq!(listed(&part, kind), expected);
            }
        }
    }
}
