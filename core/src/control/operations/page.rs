//! The page of the documentation about the admin API, made from the table of operations.

use std::fmt::Write as _;

use super::{Operation, Reach, all, schemas};
use crate::control::who::Role;

/// What is said before the tables.
const HEAD: &str = "\
# The admin API

What governs a gateway over HTTP; the [commands](operate.md) with `--url` use the same. This page is made from the table of
operations in `core/src/control/operations/`, as is what the gateway itself says at `GET /admin/v1/openapi.json`
(OpenAPI 3.1).

- **Who.** Every request carries `Authorization: Bearer` and the admin key, or comes from a session of the console. Without an
  admin key there are no such paths. What each role may do stands in the last column; where it says *their own*, others'
  things answer 404, as what is not there.
- **Errors** are `application/problem+json` (RFC 9457): a `code` for programs, a `detail` for people, and `errors` that name the
  `field`, and the `file`, `line` and `column` where a configuration is wrong. 400 malformed, 401 nobody, 403 the role may
  not, 404 not there, 405 another method, 409 not as things are, 412 the condition does not hold, 413 too large, 415 another
  kind of body, 422 a configuration with errors, 428 a condition is missing, 503 a store or server does not answer.
- **Conditions.** What can change has an `ETag`; a write of it carries `If-Match` with the one that it builds on, or `*`. Whatever is
  read below `/admin/v1/` has one: with `If-None-Match` an answer that is the same, byte for byte, is not said again (304), streams
  apart.
- **The notation.** `{a: T, b?: T}` is an object of which `b` may be missing, and with `*: T` may have other members; `T[]` is a
  list, `T|U` either, `'word'` that word, `time` a time in RFC 3339; what begins with a capital stands in the second table.

";

/// Writes the page.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    out.push_str("| request | does | takes | gives | for |\n|---|---|---|---|---|\n");
    for one in all() {
        let description = &one.description;
        let takes = description.takes.map(code).unwrap_or_default();
        let gives = description.answers.iter().map(|(status, what)| match *what {
            "" => status.to_string(),
            what => format!("{status} {}", code(what)),
        });
        let gives: Vec<_> = gives.collect();
        let _ = writeln!(
            out,
            "| `{}`{} | {} | {takes} | {} | {} |",
            one.name,
            query(one),
            description.says,
            gives.join("; "),
            audience(one)
        );
    }
    out.push_str("\n| name | is |\n|---|---|\n");
    for (name, text) in schemas::ALL.iter().copied().flatten() {
        let _ = writeln!(out, "| `{name}` | {} |", code(text));
    }
    out
}

fn code(notation: &str) -> String {
    format!("`{}`", notation.replace('|', "\\|"))
}

fn query(one: &Operation) -> String {
    let names: Vec<_> = one.description.query.iter().map(|param| format!("`{}=`", param.name)).collect();
    if names.is_empty() { String::new() } else { format!("<br>{}", names.join(" ")) }
}

fn audience(one: &Operation) -> String {
    let names = |reach| {
        let all = Role::ALL.into_iter().filter(|role| one.audience.reach(*role) == Some(reach));
        all.map(Role::as_str).collect::<Vec<_>>().join(", ")
    };
    match (names(Reach::All), names(Reach::Own)) {
        (all, _) if all.is_empty() => "its own door".into(),
        (all, own) if own.is_empty() => all,
        (all, own) => format!("{all}; {own}: their own"),
    }
}
