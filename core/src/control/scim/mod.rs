//! SCIM 2.0 as the identity provider speaks it: which paths there are, what is asked for, and what is said of errors and lists.
//!
//! **Of what a provider says, that is kept which the schema has**; a resource that is removed is never found under its id again.

mod described;
mod directory;
mod filter;
mod patch;
mod resource;

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer::kept_from_caches;
use crate::body::{self, Reply};

pub(crate) use described::{provider, resource_types, schemas};
pub(crate) use directory::{Directory, Former, Presence};
pub(crate) use filter::Filter;
pub(crate) use patch::patched;
pub(crate) use resource::{Kind, described, is_active, made, name_of, subject, tag_of};

/// What every path begins with.
const ROOT: &str = "/scim/v2/";
/// Where a list is asked for in a body, and what is asked for stands in no URL.
const SEARCH: &str = ".search";
/// The most resources that one answer holds.
pub(crate) const MOST: usize = 200;

/// Tells whether whatever is sent to a path writes nothing.
pub(crate) fn asks_alone(path: &str) -> bool {
    matches!(Place::find(path), Some(Place::Search(_)))
}

/// Returns the pattern that a path follows; nothing where it leads nowhere.
pub(crate) fn route(path: &str) -> Option<&'static str> {
    Some(match Place::find(path)? {
        Place::Provider => "/scim/v2/ServiceProviderConfig",
        Place::Types(None) => "/scim/v2/ResourceTypes",
        Place::Types(Some(_)) => "/scim/v2/ResourceTypes/{id}",
        Place::Schemas(None) => "/scim/v2/Schemas",
        Place::Schemas(Some(_)) => "/scim/v2/Schemas/{id}",
        Place::All(Kind::User) => "/scim/v2/Users",
        Place::Search(Kind::User) => "/scim/v2/Users/.search",
        Place::Search(Kind::Group) => "/scim/v2/Groups/.search",
        Place::One(Kind::User, _) => "/scim/v2/Users/{id}",
        Place::All(Kind::Group) => "/scim/v2/Groups",
        Place::One(Kind::Group, _) => "/scim/v2/Groups/{id}",
    })
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// `ServiceProviderConfig`.
    Provider,
    /// `ResourceTypes`, and one of them.
    Types(Option<&'p str>),
    /// `Schemas`, and one of them.
    Schemas(Option<&'p str>),
    /// `Users`, `Groups`.
    All(Kind),
    /// `Users/.search`, `Groups/.search`.
    Search(Kind),
    /// `Users/{id}`, `Groups/{id}`.
    One(Kind, &'p str),
}

/// Tells whether a path is one of SCIM's.
pub(crate) fn is_scim(path: &str) -> bool {
    path.starts_with(ROOT)
}

impl<'p> Place<'p> {
    /// Finds what a path leads to.
    pub(crate) fn find(path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        let (what, id) = rest.split_once('/').map_or((rest, None), |(what, id)| (what, Some(id)));
        if id.is_some_and(|id| id.is_empty() || id.contains('/')) {
            return None;
        }
        match (what, id) {
            ("ServiceProviderConfig", None) => Some(Self::Provider),
            ("ResourceTypes", id) => Some(Self::Types(id)),
            ("Schemas", id) => Some(Self::Schemas(id)),
            ("Users", None) => Some(Self::All(Kind::User)),
            ("Users", Some(SEARCH)) => Some(Self::Search(Kind::User)),
            ("Groups", Some(SEARCH)) => Some(Self::Search(Kind::Group)),
            ("Users", Some(id)) => Some(Self::One(Kind::User, id)),
            ("Groups", None) => Some(Self::All(Kind::Group)),
            ("Groups", Some(id)) => Some(Self::One(Kind::Group, id)),
            _ => None,
        }
    }

    /// Returns the methods that it has.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Provider | Self::Types(_) | Self::Schemas(_) => "GET",
            Self::All(_) => "GET, POST",
            Self::Search(_) => "POST",
            Self::One(..) => "GET, PUT, PATCH, DELETE",
        }
    }
}

/// Why a request is refused (RFC 7644 §3.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    kind: Option<&'static str>,
    pub(crate) detail: String,
}

impl Refused {
    /// A refusal without a kind of its own.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, kind: None, detail: detail.into() }
    }

    /// A refusal of what a request says.
    pub(crate) fn bad(kind: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: Some(kind), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// That there is no such resource.
    pub(crate) fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such resource")
    }

    /// That a path leads nowhere, or to what is optional and not there.
    pub(crate) fn nowhere(path: &str) -> Self {
        match path.strip_prefix(ROOT) {
            Some(SEARCH) => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "users and groups are searched each by themselves")
            }
            Some("Bulk" | "Me") => Self::new(StatusCode::NOT_IMPLEMENTED, "this is not there"),
            _ => Self::unknown(),
        }
    }

    /// That another resource has what must be one's own.
    pub(crate) fn taken(attribute: &str) -> Self {
        let detail = format!("another resource has this {attribute}");
        Self { kind: Some("uniqueness"), ..Self::new(StatusCode::CONFLICT, detail) }
    }

    /// Returns the answer.
    pub(crate) fn reply(&self) -> Reply {
        let mut said = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let Some(kind) = self.kind {
            said["scimType"] = kind.into();
        }
        let mut reply = answer(self.status, &said);
        if self.status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }
}

impl From<super::StoreError> for Refused {
    fn from(error: super::StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("the gateway's store {error}"))
    }
}

/// Returns an answer of SCIM's media type.
pub(crate) fn answer(status: StatusCode, said: &Value) -> Reply {
    let mut reply = kept_from_caches(body::json(status, said.to_string()));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
    reply
}

/// Returns a list, of which a part may be there (RFC 7644 §3.4.2).
pub(crate) fn list(all: usize, first: usize, items: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": all,
        "startIndex": first,
        "itemsPerPage": items.len(),
        "Resources": items,
    })
}

/// What is asked for: which resources, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) filter: Option<Filter>,
    /// The first, counted from 1.
    pub(crate) first: usize,
    pub(crate) most: usize,
    /// The attributes that alone are shown, or that are left out.
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl Wanted {
    /// Reads a query.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Refused> {
        Self::of_pairs(url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()))
    }

    /// Reads what a body asks for (RFC 7644 §3.4.3).
    pub(crate) fn of(said: &Value) -> Result<Self, Refused> {
        let said = said.as_object().ok_or_else(|| Refused::bad("invalidSyntax", "expected an object"))?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pair = |(name, value): (&String, &Value)| {
            let several =
                value.as_array().map(|values| values.iter().map(text).collect::<Vec<_>>().join(","));
            (name.clone().into(), several.unwrap_or_else(|| text(value)).into())
        };
        Self::of_pairs(said.iter().filter(|(_, value)| !value.is_null()).map(pair))
    }

    fn of_pairs<'q>(pairs: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>) -> Result<Self, Refused> {
        let mut wanted = Self { filter: None, first: 1, most: MOST, only: None, without: Vec::new() };
        for (name, value) in pairs {
            let number = || {
                let number: Result<i64, _> = value.parse();
                let number =
                    number.map_err(|_| Refused::bad("invalidValue", format!("{name} is no number")))?;
                Ok::<_, Refused>(usize::try_from(number.max(0)).unwrap_or(usize::MAX))
            };
            let paths = || {
                let paths = value.split(',').map(|path| resource::without_urn(path.trim()).to_lowercase());
                paths.filter(|path| !path.is_empty()).collect()
            };
            match &*name {
                "filter" => wanted.filter = Some(Filter::read(&value)?),
                "startIndex" => wanted.first = number()?.max(1),
                "count" => wanted.most = number()?.min(MOST),
                "attributes" => wanted.only = Some(paths()),
                "excludedAttributes" => wanted.without = paths(),
                // What is sorted is the same list.
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// Returns what is shown of a resource. Its id and its schema always are.
    pub(crate) fn shown(&self, resource: Value) -> Value {
        let Value::Object(members) = resource else { return resource };
        let show = |(name, value): (String, Value)| {
            let is_always = matches!(&*name, "id" | "schemas");
            if is_always {
                return Some((name, value));
            }
            let path = name.to_lowercase();
            let is_meant = |paths: &[String]| paths.contains(&path);
            if self.only.as_deref().is_none_or(is_meant) {
                let value = without_subs(value, |sub| !self.without.contains(&format!("{path}.{sub}")));
                return (!is_meant(&self.without)).then_some((name, value));
            }
            let is_meant =
                |sub: &str| self.only.as_ref().is_some_and(|o| o.contains(&format!("{path}.{sub}")));
            let value = without_subs(value, is_meant);
            let is_there = match &value {
                Value::Object(members) => !members.is_empty(),
                Value::Array(values) => {
                    values.iter().any(|value| value.as_object().is_some_and(|v| !v.is_empty()))
                }
                _ => false,
            };
            is_there.then_some((name, value))
        };
        Value::Object(members.into_iter().filter_map(show).collect())
    }
}

/// Returns a value with those alone of what lies in it that are asked for.
fn without_subs(value: Value, is_asked_for: impl Fn(&str) -> bool) -> Value {
    let of = |value: Value| match value {
        Value::Object(mut members) => {
            members.retain(|name, _| is_asked_for(&name.to_lowercase()));
            Value::Object(members)
        }
        plain => plain,
    };
    match value {
        Value::Array(values) => values.into_iter().map(of).collect(),
        one => of(one),
    }
}
