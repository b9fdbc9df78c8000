//! What a condition is about, as values of CEL. Only what an expression reads is converted.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::Undecided;
use super::reads::{CALLER, NOW, Reads};
use crate::calendar;
use crate::wire::json::Json;

/// The most values of the arguments that are read; a loop takes as many steps.
const MAX_VALUES: usize = 1_000;
/// The deepest nesting of what is read.
const MAX_DEPTH: usize = 32;
/// The most text that is read, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// The most text that is read where there is a loop, which may read it in every step.
const MAX_TEXT_IN_LOOPS: usize = 64 << 10;

/// What a condition is about.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The arguments of the call, `{}` where it has none; nothing where there is no call yet, as in a list.
    pub arguments: Option<Arguments<'a>>,
    /// Who calls.
    pub caller: CallerFacts<'a>,
    /// The time, in milliseconds since 1970-01-01 UTC.
    pub now: u64,
}

/// Who calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallerFacts<'a> {
    /// What the policy knows it as.
    pub agent: &'a str,
    /// The name of its client in its canonical form.
    pub client: Option<&'a str>,
    /// Who has proved to be whom.
    pub principal: Option<&'a str>,
    /// The tag that it claims.
    pub tag: Option<&'a str>,
}

/// The arguments of a call, known to be JSON.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a>(Json<'a>);

impl<'a> Arguments<'a> {
    /// Takes a text that is JSON; nothing where it is not.
    pub fn check(text: &'a str) -> Option<Self> {
        Json::check(text.as_bytes()).ok().map(Self)
    }
}

impl<'a> From<Json<'a>> for Arguments<'a> {
    fn from(json: Json<'a>) -> Self {
        Self(json)
    }
}

/// Facts by the names that expressions have for them.
#[derive(Debug)]
pub(super) struct Known<'a> {
    arguments: CelMap<'a>,
    facts: &'a Facts<'a>,
}

impl<'a> Known<'a> {
    /// Converts what is read of the arguments.
    pub(super) fn new(facts: &'a Facts<'a>, reads: &Reads) -> Result<Self, Undecided> {
        let arguments = if reads.arguments() {
            read(facts.arguments.ok_or(Undecided::NoArguments)?.0, reads)?
        } else {
            CelMap::from(HashMap::new())
        };
        Ok(Self { arguments, facts })
    }

    fn caller(&self, member: &str) -> Option<&'a str> {
        let caller = &self.facts.caller;
        match member {
            "agent" => Some(caller.agent),
            "client" => caller.client,
            "principal" => caller.principal,
            "tag" => caller.tag,
            _ => None,
        }
    }

    fn now(&self, member: &str) -> Option<i64> {
        let seconds = i64::try_from(self.facts.now / 1000).unwrap_or_default();
        let (day, second) = (seconds.div_euclid(calendar::DAY), seconds.rem_euclid(calendar::DAY));
        let (year, month, of_month) = calendar::date(day);
        Some(match member {
            "year" => year,
            "month" => month,
            "day" => of_month,
            "hour" => second / 3600,
            "minute" => second / 60 % 60,
            // 1970-01-01 was a Thursday.
            "weekday" => (day + 3).rem_euclid(7) + 1,
            "unix" => seconds,
            _ => return None,
        })
    }
}

impl VariableResolver for Known<'_> {
    /// Is asked for `caller.agent` as one name first, and then for `caller`.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| Some(CowVal::owned(CelString::from(text)));
        match variable {
            "args" => Some(CowVal::Borrowed(&self.arguments)),
            "caller" => {
                let members =
                    CALLER.iter().filter_map(|key| Some((*key, boxed(CelString::from(self.caller(key)?)))));
                Some(CowVal::owned(map(members)))
            }
            "now" => {
                let members = NOW.iter().filter_map(|key| Some((*key, boxed(CelInt::from(self.now(key)?)))));
                Some(CowVal::owned(map(members)))
            }
            _ => match variable.split_once('.')? {
                ("caller", member) => text(self.caller(member)?),
                ("now", member) => Some(CowVal::owned(CelInt::from(self.now(member)?))),
                _ => None,
            },
        }
    }
}

fn boxed<'v>(value: impl Val + 'v) -> Box<dyn Val + 'v> {
    Box::new(value)
}

fn map<'v>(members: impl Iterator<Item = (&'v str, Box<dyn Val + 'v>)>) -> CelMap<'v> {
    CelMap::from(members.map(|(key, value)| (CelMapKey::from(key), value)).collect::<HashMap<_, _>>())
}

/// Converts the members that are read; all others are looked at only for a name that stands twice.
fn read<'a>(arguments: Json<'a>, reads: &Reads) -> Result<CelMap<'a>, Undecided> {
    if !arguments.is_object() {
        return Err(Undecided::NotAnObject);
    }
    let text = if reads.loops { MAX_TEXT_IN_LOOPS } else { MAX_TEXT };
    let mut reader = Reader { values: MAX_VALUES, text };
    let mut members = HashMap::new();
    for (key, value) in arguments.object().map_err(|_| Undecided::Duplicate)?.iter() {
        if reads.member(key) {
            reader.text = reader
                .text
                .checked_sub(key.len() + value.text().len())
                .ok_or(Undecided::TooLarge("too much text"))?;
            members.insert(member_key(key.clone()), reader.value(value, 1)?);
        }
    }
    Ok(CelMap::from(members))
}

fn member_key(key: Cow<'_, str>) -> CelMapKey<'_> {
    match key {
        Cow::Borrowed(key) => CelMapKey::from(key),
        Cow::Owned(key) => CelMapKey::from(key),
    }
}

/// How much may still be read.
struct Reader {
    values: usize,
    text: usize,
}

impl Reader {
    fn value<'a>(&mut self, json: Json<'a>, depth: usize) -> Result<Box<dyn Val + 'a>, Undecided> {
        self.values = self.values.checked_sub(1).ok_or(Undecided::TooLarge("too many values"))?;
        if depth > MAX_DEPTH {
            return Err(Undecided::TooLarge("nested too deeply"));
        }
        if json.is_object() {
            let mut members = HashMap::new();
            for (key, value) in json.object().map_err(|_| Undecided::Duplicate)?.iter() {
                members.insert(member_key(key.clone()), self.value(value, depth + 1)?);
            }
            return Ok(boxed(CelMap::from(members)));
        }
        if json.is_array() {
            let elements = json.elements().map(|element| self.value(element, depth + 1));
            return Ok(boxed(CelList::from(elements.collect::<Result<Vec<_>, _>>()?)));
        }
        if json.is_null() {
            return Ok(boxed(CelNull));
        }
        if let Some(truth) = json.as_bool() {
            return Ok(boxed(CelBool::from(truth)));
        }
        if json.text().starts_with('"') {
            return match json.as_str().ok_or(Undecided::Unreadable("a text with half a character"))? {
                Cow::Borrowed(text) => Ok(boxed(CelString::from(text))),
                Cow::Owned(text) => Ok(boxed(CelString::from(text))),
            };
        }
        number(json.text())
    }
}

/// Converts a number: an integer where it is written as one and fits.
fn number<'v>(text: &str) -> Result<Box<dyn Val + 'v>, Undecided> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(boxed(CelInt::from(number)));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(boxed(CelUInt::from(number)));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(boxed(CelDouble::from(number))),
        _ => Err(Undecided::Unreadable("a number that is too large")),
    }
}
