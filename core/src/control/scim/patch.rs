//! What a patch makes of a resource (RFC 7644 §3.5.2): all of its operations, or nothing.

use serde_json::{Map, Value};

use super::resource::{Kind, made, member, without_urn};
use super::{Filter, Refused};

/// Where an operation works.
struct Path<'p> {
    attribute: &'static str,
    several: bool,
    /// Which of several values.
    only: Option<Filter>,
    sub: Option<&'p str>,
}

/// Returns a resource with a patch applied.
pub(crate) fn patched(
    kind: Kind,
    kept: &Map<String, Value>,
    said: &Value,
) -> Result<Map<String, Value>, Refused> {
    let operations = said.as_object().and_then(|said| member(said, "Operations")).and_then(Value::as_array);
    let operations = operations.ok_or_else(|| Refused::bad("invalidSyntax", "there are no `Operations`"))?;
    let mut next = kept.clone();
    for operation in operations {
        let operation = operation.as_object().ok_or_else(|| Refused::bad("invalidSyntax", "no operation"))?;
        let text = |name| member(operation, name).and_then(Value::as_str);
        let op = text("op").unwrap_or_default().to_lowercase();
        let value = member(operation, "value");
        match (op.as_str(), text("path"), value) {
            ("add" | "replace", None, Some(Value::Object(values))) => {
                for (name, value) in values.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("schemas")) {
                    // What the schema does not have is passed over, as it is where it is made.
                    if let Ok(path) = Path::read(kind, name) {
                        write(&mut next, &path, value, op == "add")?;
                    }
                }
            }
            ("add" | "replace", Some(path), Some(value)) => {
                write(&mut next, &Path::read(kind, path)?, value, op == "add")?;
            }
            ("remove", Some(path), value) => remove(&mut next, &Path::read(kind, path)?, value),
            ("remove", None, _) => return Err(Refused::bad("noTarget", "what is removed has a `path`")),
            ("add" | "replace", ..) => return Err(Refused::bad("invalidValue", "there is no `value`")),
            _ => return Err(Refused::bad("invalidSyntax", "an `op` is `add`, `replace` or `remove`")),
        }
    }
    made(kind, &next.into())
}

impl<'p> Path<'p> {
    fn read(kind: Kind, text: &'p str) -> Result<Self, Refused> {
        let wrong = || Refused::bad("invalidPath", format!("there is no attribute {text:?}"));
        let path = without_urn(text);
        let (path, only, rest) = match path.split_once('[') {
            None => match path.split_once('.') {
                None => (path, None, ""),
                Some((name, sub)) => (name, None, sub),
            },
            Some((name, rest)) => {
                let (inner, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (name, Some(Filter::read(inner)?), rest.strip_prefix('.').unwrap_or(rest))
            }
        };
        let known = kind.attributes().iter().find(|(name, ..)| name.eq_ignore_ascii_case(path));
        let (attribute, subs, several) = known.ok_or_else(wrong)?;
        let sub = match rest {
            "" => None,
            rest => Some(*subs.iter().find(|sub| sub.eq_ignore_ascii_case(rest)).ok_or_else(wrong)?),
        };
        if only.is_some() && !several {
            return Err(wrong());
        }
        Ok(Self { attribute, several: *several, only, sub })
    }

    /// Tells whether a value is one of those that are meant.
    fn takes(&self, value: &Value) -> bool {
        self.only.as_ref().is_none_or(|only| value.as_object().is_some_and(|value| only.takes(value)))
    }
}

fn write(next: &mut Map<String, Value>, path: &Path<'_>, value: &Value, adds: bool) -> Result<(), Refused> {
    let name = path.attribute;
    if !path.several {
        match (path.sub, value) {
            (None, Value::Object(values)) if adds || name == "name" => {
                let held = next.entry(name).or_insert_with(|| Map::new().into());
                if let Some(held) = held.as_object_mut() {
                    held.extend(values.clone());
                }
            }
            (None, value) => drop(next.insert(name.to_owned(), value.clone())),
            (Some(sub), value) => {
                let held = next.entry(name).or_insert_with(|| Map::new().into());
                if let Some(held) = held.as_object_mut() {
                    held.insert(sub.to_owned(), value.clone());
                }
            }
        }
        return Ok(());
    }
    let held = next.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    let Some(values) = held.as_array_mut() else { return Ok(()) };
    if path.only.is_none() && path.sub.is_none() {
        if !adds {
            values.clear();
        }
        match value {
            Value::Array(more) => values.extend(more.iter().cloned()),
            one => values.push(one.clone()),
        }
        return Ok(());
    }
    let mut hits = 0;
    for held in values.iter_mut().filter(|held| path.takes(held)) {
        hits += 1;
        match (path.sub, held.as_object_mut(), value) {
            (Some(sub), Some(held), value) => drop(held.insert(sub.to_owned(), value.clone())),
            (None, Some(held), Value::Object(value)) => held.extend(value.clone()),
            (_, _, value) => *held = value.clone(),
        }
    }
    if hits == 0 {
        let Some(only) = &path.only else { return Ok(()) };
        let Some((by, expected)) = only.equality().filter(|_| adds || path.sub.is_some()) else {
            return Err(Refused::bad("noTarget", "nothing is at this `path`"));
        };
        // A provider that replaces somebody's mail address of some kind may mean the first of it.
        let mut made = Map::from_iter([(by.to_owned(), expected.clone())]);
        match (path.sub, value) {
            (Some(sub), value) => drop(made.insert(sub.to_owned(), value.clone())),
            (None, Value::Object(value)) => made.extend(value.clone()),
            (None, _) => return Err(Refused::bad("invalidValue", "expected an object")),
        }
        values.push(made.into());
    }
    Ok(())
}

fn remove(next: &mut Map<String, Value>, path: &Path<'_>, value: Option<&Value>) {
    let name = path.attribute;
    let listed = value.and_then(Value::as_array);
    match next.get_mut(name) {
        Some(Value::Array(values)) if path.only.is_some() || listed.is_some() => match path.sub {
            Some(sub) => {
                for held in values.iter_mut().filter(|held| path.takes(held)) {
                    if let Some(held) = held.as_object_mut() {
                        held.remove(sub);
                    }
                }
            }
            None => values.retain(|held| {
                let is_named =
                    listed.is_none_or(|listed| listed.iter().any(|one| one["value"] == held["value"]));
                !(path.takes(held) && is_named)
            }),
        },
        Some(Value::Object(held)) if path.sub.is_some() => drop(held.remove(path.sub.unwrap_or_default())),
        Some(_) => drop(next.remove(name)),
        None => {}
    }
}
