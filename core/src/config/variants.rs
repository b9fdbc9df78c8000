//! From variants as they are written to those of the configuration: their servers are looked up, and chains of them
//! have an end.

use super::known::Known;
use super::native_variants::{ServerVariants, VariantDraft};
use super::policy::{ItemKind, Variant};
use super::problem::{Report, quote};
use crate::names::ServerName;
use crate::sorted::{self, SortedMap};

/// The most variants between one and what its server offers.
const CHAIN_LIMIT: usize = 32;

/// Resolves the variants of all servers, in the order of their servers and names.
pub(super) fn resolve_variants(
    drafts: &[ServerVariants],
    known: &Known,
    report: &mut Report<'_>,
) -> Vec<Variant> {
    let mut variants = Vec::new();
    let mut seen = SortedMap::new();
    for ServerVariants { server, variants: drafts } in drafts {
        let Some(name) = known.server(&server.value) else {
            known.report_unknown_server(&server.value, &server.place, report);
            continue;
        };
        if let Some(first) = seen.insert(name, server.place.at.line) {
            report.error(
                &server.place,
                format!("this is the server of line {first} again; case makes no difference"),
            );
            report.hint("put its variants together");
        }
        refuse_circles(drafts, report);
        // A server whose name is none is reported where it stands, and not served.
        if let Ok(name) = ServerName::parse(name) {
            variants.extend(drafts.iter().map(|draft| resolve_variant(&name, draft, report)));
        }
    }
    sorted::sort_by(&mut variants, |one, other| (&one.server, &one.name).cmp(&(&other.server, &other.name)));
    variants
}

fn resolve_variant(server: &ServerName, draft: &VariantDraft, report: &Report<'_>) -> Variant {
    Variant {
        server: server.clone(),
        name: draft.name.value.clone(),
        kind: draft.kind,
        from: draft.from.value.clone(),
        replaces: draft.replaces,
        title: draft.title.clone(),
        description: draft.description.clone(),
        arguments: draft.arguments.clone(),
        result: draft.result.clone(),
        fixed: draft.fixed,
        origin: report.origin(&draft.name.place),
    }
}

/// Reports every variant that is made from itself, whatever lies between, and chains that are too long.
fn refuse_circles(drafts: &[VariantDraft], report: &mut Report<'_>) {
    let mut by_name = SortedMap::new();
    for draft in drafts {
        by_name.insert((draft.kind, draft.name.value.as_str()), draft);
    }
    for draft in drafts {
        match chain_of(draft, &by_name) {
            Chain::Ends => {}
            Chain::Circle(names) => {
                report.error(&draft.from.place, format!("this variant is made from itself: {names}"));
                report.hint("make one of them from something that the server offers");
            }
            Chain::TooLong => {
                let message = format!("more than {CHAIN_LIMIT} variants lie before what the server offers");
                report.error(&draft.from.place, message);
            }
        }
    }
}

/// What following a variant to what it is made from leads to.
enum Chain {
    /// What the server offers, or a circle that the variant is no part of.
    Ends,
    /// The variant itself, through these.
    Circle(String),
    TooLong,
}

fn chain_of(draft: &VariantDraft, by_name: &SortedMap<(ItemKind, &str), &VariantDraft>) -> Chain {
    let mut chain = vec![draft.name.value.as_str()];
    let mut current = draft;
    while chain.len() <= CHAIN_LIMIT + 1 {
        let from = current.from.value.as_str();
        // What has the name of its own origin is made from the server's.
        let next = by_name.get(&(draft.kind, from)).filter(|_| from != current.name.value);
        let Some(next) = next else { return Chain::Ends };
        if from == draft.name.value {
            chain.push(from);
            let names: Vec<_> = chain.into_iter().map(quote).collect();
            return Chain::Circle(names.join(" from "));
        }
        if chain.contains(&from) {
            return Chain::Ends;
        }
        chain.push(from);
        current = next;
    }
    Chain::TooLong
}

#[cfg(test)]
mod tests;
