//! A user or a group as it is kept: of what a provider says, that which the schema has, and nothing else.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Refused;
use crate::audit::time_text;
use crate::config::Attribute;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Group,
}

impl Kind {
    /// Returns where resources of this kind are kept.
    pub(crate) fn collection(self) -> &'static str {
        match self {
            Self::User => "scim-user",
            Self::Group => "scim-group",
        }
    }

    /// Returns the attribute that each has, and in which it differs from every other.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "userName",
            Self::Group => "displayName",
        }
    }

    pub(super) fn schema(self) -> &'static str {
        match self {
            Self::User => "urn:ietf:params:scim:schemas:core:2.0:User",
            Self::Group => "urn:ietf:params:scim:schemas:core:2.0:Group",
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// Returns its attributes, each with those that lie in it, and whether there can be several.
    pub(super) fn attributes(self) -> &'static [(&'static str, &'static [&'static str], bool)] {
        match self {
            Self::User => &[
                ("userName", &[], false),
                ("externalId", &[], false),
                ("displayName", &[], false),
                ("active", &[], false),
                ("name", &["formatted", "familyName", "givenName"], false),
                ("emails", &["value", "display", "type", "primary"], true),
            ],
            Self::Group => &[
                ("displayName", &[], false),
                ("externalId", &[], false),
                ("members", &["value", "display", "type"], true),
            ],
        }
    }
}

/// Returns a member of an object, whatever the case of its name (RFC 7643 §2.1).
pub(super) fn member<'m>(object: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Returns a path without the schema that it begins with.
pub(super) fn without_urn(path: &str) -> &str {
    let of = |kind: Kind| path.strip_prefix(kind.schema())?.strip_prefix(':');
    of(Kind::User).or_else(|| of(Kind::Group)).unwrap_or(path)
}

/// Makes what is kept of what a provider says.
pub(crate) fn made(kind: Kind, said: &Value) -> Result<Map<String, Value>, Refused> {
    let said = said.as_object().ok_or_else(|| Refused::bad("invalidSyntax", "expected an object"))?;
    let mut kept = Map::new();
    for (name, subs, several) in kind.attributes() {
        let Some(value) = member(said, name).filter(|value| !value.is_null()) else { continue };
        if let Some(value) = fitting(name, subs, *several, value)? {
            kept.insert((*name).to_owned(), value);
        }
    }
    let name = kept.get(kind.name()).and_then(Value::as_str).unwrap_or_default();
    if name.trim().is_empty() {
        return Err(Refused::bad("invalidValue", format!("{} is missing", kind.name())));
    }
    Ok(kept)
}

/// Returns a value as its attribute has it; nothing where it is empty.
fn fitting(name: &str, subs: &[&str], several: bool, value: &Value) -> Result<Option<Value>, Refused> {
    let wrong = || Refused::bad("invalidValue", format!("{name} is not as its schema says"));
    let one = |value: &Value| -> Result<Value, Refused> {
        if subs.is_empty() {
            return plain(name, value).ok_or_else(wrong);
        }
        let said = value.as_object().ok_or_else(wrong)?;
        let mut kept = Map::new();
        for sub in subs {
            if let Some(value) = member(said, sub).filter(|value| !value.is_null()) {
                kept.insert((*sub).to_owned(), plain(sub, value).ok_or_else(wrong)?);
            }
        }
        Ok(kept.into())
    };
    if !several {
        return Ok(Some(one(value)?).filter(|value| value.as_object().is_none_or(|value| !value.is_empty())));
    }
    let values = match value {
        Value::Array(values) => values.iter().map(one).collect::<Result<Vec<_>, _>>()?,
        other => vec![one(other)?],
    };
    let mut kept: Vec<Value> = Vec::new();
    for value in values.into_iter().filter(|value| value.as_object().is_some_and(|value| !value.is_empty())) {
        // A member is one, however often it is added.
        if name != "members" || kept.iter().all(|before| before["value"] != value["value"]) {
            kept.push(value);
        }
    }
    Ok((!kept.is_empty()).then(|| kept.into()))
}

/// Returns a plain value: a truth value where its attribute is one, also where it is written as a text, else a text.
fn plain(name: &str, value: &Value) -> Option<Value> {
    if matches!(name, "active" | "primary") {
        return match value {
            Value::Bool(_) => Some(value.clone()),
            Value::String(text) => text.to_lowercase().parse().ok().map(Value::Bool),
            _ => None,
        };
    }
    value.as_str().filter(|text| text.len() <= 1024 && !text.chars().any(char::is_control)).map(Into::into)
}

/// Tells whether a user may do anything.
pub(crate) fn is_active(user: &Map<String, Value>) -> bool {
    user.get("active").and_then(Value::as_bool).unwrap_or(true)
}

/// Returns the attribute of a user that is the subject of their tokens.
pub(crate) fn name_of(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::ExternalId => "externalId",
        Attribute::UserName => "userName",
    }
}

/// Returns what a user's tokens call them.
pub(crate) fn subject(user: &Map<String, Value>, attribute: Attribute) -> Option<&str> {
    user.get(name_of(attribute))?.as_str()
}

/// Returns the entity tag of what is kept.
pub(crate) fn tag_of(text: &str) -> String {
    format!("W/\"{}\"", &crate::control::digest(text)[..16])
}

/// Describes what is kept to the provider: with its meta data, and those of its attributes that are asked for.
pub(crate) fn described(kind: Kind, (id, text): (&str, &str), base: &str) -> Result<Value, Refused> {
    let broken = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "a resource that is kept cannot be read");
    let mut kept: Map<String, Value> = serde_json::from_str(text).map_err(|_| broken())?;
    let time = |kept: &mut Map<String, Value>, name| {
        kept.remove(name).and_then(|time| time.as_u64()).map(time_text).unwrap_or_default()
    };
    let (created, changed) = (time(&mut kept, "created"), time(&mut kept, "changed"));
    let mut said = Map::new();
    said.insert("schemas".into(), json!([kind.schema()]));
    said.insert("id".into(), id.into());
    said.extend(kept);
    said.insert(
        "meta".into(),
        json!({
            "resourceType": kind.as_str(),
            "created": created,
            "lastModified": changed,
            "location": format!("{base}/scim/v2/{}s/{id}", kind.as_str()),
            "version": tag_of(text),
        }),
    );
    Ok(said.into())
}
