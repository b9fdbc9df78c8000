//! Reads how much may be done, who is let in, and what is recorded: the sections `limits`, `auth` and `audit`.

use http::HeaderName;
use regex_lite::Regex;

use super::endpoint::is_managed;
use super::file_policy::{
    CALL_TIMES, CALLS, DAILY_CALLS, DEFAULT_TAG_HEADER, KEPT_DAYS, RESULT_LIMITS, ROTATIONS,
};
use super::item::{At, Fields, Item};
use super::native::{read_duration, read_number, read_size};
use super::native_issuers::read_issuers;
use super::native_rules::parse_selector;
use super::native_sign_in::read_sign_in;
use super::policy::{Audit, Auth, Limits, OnFailure, Rate, Selector};
use super::problem::Report;
use super::quantity::{parse_days, parse_rate};

/// Limits of what a selector names, as they are written.
#[derive(Debug, Clone)]
pub(super) struct ToolLimitsDraft {
    pub(super) selector: At<Selector>,
    pub(super) limits: Limits,
}

/// Reads limits by `SERVER/NAME`.
pub(super) fn read_tool_limits(item: &Item<'_>, report: &mut Report<'_>) -> Vec<ToolLimitsDraft> {
    let Some(entries) = item.fields(report) else { return Vec::new() };
    let read = |(name, item): (At<String>, Item<'_>)| {
        let limits = read_limits(&item, report);
        let value = parse_selector(&name, report)?;
        Some(ToolLimitsDraft { selector: At { value, place: name.place }, limits: limits? })
    };
    entries.rest().into_iter().filter_map(read).collect()
}

fn read_limits(item: &Item<'_>, report: &mut Report<'_>) -> Option<Limits> {
    let mut fields = item.fields(report)?;
    let limits = read_limit_fields(&mut fields, report);
    fields.finish(report);
    Some(limits)
}

/// Takes the limits that agents and tools alike may have.
pub(super) fn read_limit_fields(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Limits {
    let rate = fields.take_even_null("rate").and_then(|item| read_rate(&item, report));
    let concurrency = fields.take_even_null("concurrency").and_then(|item| read_number(&item, CALLS, report));
    let daily = fields.take_even_null("daily").and_then(|item| read_number(&item, DAILY_CALLS, report));
    let result =
        fields.take_even_null("result").and_then(|item| read_size(&item, RESULT_LIMITS, "1MiB", report));
    let timeout = fields.take_even_null("timeout").and_then(|item| read_duration(&item, CALL_TIMES, report));
    Limits {
        rate,
        concurrency: concurrency.and_then(|number| u32::try_from(number.value).ok()),
        daily: daily.map(|number| number.value),
        result: result.map(|size| size.value),
        timeout: timeout.map(|duration| duration.value),
    }
}

fn read_rate(item: &Item<'_>, report: &mut Report<'_>) -> Option<Rate> {
    let (least, most) = CALLS;
    let expected = format!("a rate such as \"60/m\", of {least} to {most} a second, minute, hour or day");
    let is_possible = |rate: &Rate| (least..=most).contains(&u64::from(rate.count));
    Some(item.parsed(&expected, report, |text| parse_rate(text).filter(is_possible))?.value)
}

/// Reads who is let in.
pub(super) fn read_auth(item: &Item<'_>, report: &mut Report<'_>) -> Auth {
    let Some(mut fields) = item.fields(report) else { return Auth::default() };
    let required = fields.take_even_null("required").and_then(|item| item.flag(report));
    let header = fields.take_even_null("header").and_then(|item| read_header(&item, report));
    let trusted = fields.take_even_null("trust_tags").and_then(|item| item.flag(report));
    let tag_header = fields.take_even_null("tag_header").and_then(|item| read_header(&item, report));
    let issuers = fields.take("issuers").map(|item| read_issuers(&item, report)).unwrap_or_default();
    let sign_in = fields.take("sign_in").and_then(|item| read_sign_in(&item, &issuers, report));
    fields.finish(report);
    if let (Some(header), Some(tag_header)) = (&header, &tag_header)
        && header.value == tag_header.value
    {
        report.error(&tag_header.place, "this header carries API keys already");
        report.hint("a key would be read as a tag, and shown as one; name another header");
    }
    let is_trusted = trusted.as_ref().is_some_and(|flag| flag.value);
    if let Some(At { place, value: true }) = &trusted {
        report.warn(
            place,
            "a tag is a claim and no proof: whoever can reach the gateway can be any such agent",
        );
        report.hint("give agents keys instead: `portcullis keys create --agent NAME`");
    } else if let Some(tag_header) = &tag_header {
        report.warn(&tag_header.place, "this header is not read, since tags are not trusted");
        report.hint("remove it, or write `trust_tags: true`");
    }
    let tag_header = tag_header.map_or(HeaderName::from_static(DEFAULT_TAG_HEADER), |header| header.value);
    Auth {
        required: required.is_some_and(|flag| flag.value),
        header: header.map(|header| header.value),
        tag_header: is_trusted.then_some(tag_header),
        shared_key: None,
        issuers,
        sign_in,
    }
}

fn read_header(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<HeaderName>> {
    let name = item.parsed("the name of a header", report, |text| text.parse::<HeaderName>().ok())?;
    if is_managed(&name.value) || matches!(name.value.as_str(), "authorization" | "cookie" | "origin") {
        report.error(&name.place, format!("the header `{}` has a meaning of its own", name.value));
        report.hint("name another one, such as `X-Api-Key`; `Authorization: Bearer` is always read");
        return None;
    }
    Some(name)
}

/// Reads what is recorded.
pub(super) fn read_audit(item: &Item<'_>, report: &mut Report<'_>) -> Audit {
    let defaults = Audit::default();
    let Some(mut fields) = item.fields(report) else { return defaults };
    let enabled = fields.take_even_null("enabled").and_then(|item| item.flag(report));
    let arguments = fields.take_even_null("arguments").and_then(|item| item.flag(report));
    let redact = fields.take_even_null("redact").map(|item| read_patterns(&item, report));
    let on_failure = fields
        .take_even_null("on_failure")
        .and_then(|item| item.parsed("`open` or `closed`", report, parse_on_failure));
    let rotate =
        fields.take_even_null("rotate").and_then(|item| read_size(&item, ROTATIONS, "64MiB", report));
    let keep = fields.take_even_null("keep").and_then(|item| read_days(&item, report));
    fields.finish(report);
    Audit {
        enabled: enabled.map_or(defaults.enabled, |flag| flag.value),
        arguments: arguments.map_or(defaults.arguments, |flag| flag.value),
        redact: redact.unwrap_or(defaults.redact),
        on_failure: on_failure.map_or(defaults.on_failure, |word| word.value),
        rotate: rotate.map_or(defaults.rotate, |size| size.value),
        keep_days: keep.map_or(defaults.keep_days, |days| days.value),
    }
}

fn read_patterns(item: &Item<'_>, report: &mut Report<'_>) -> Vec<String> {
    let texts = item.texts(report).unwrap_or_default();
    texts.iter().filter_map(|text| parse_pattern(text, report)).collect()
}

/// Checks that a text is a regular expression. It is not repeated: what is to be redacted may be written out in it.
pub(super) fn parse_pattern(text: &At<String>, report: &mut Report<'_>) -> Option<String> {
    if text.value.is_empty() {
        report.error(&text.place, "expected a regular expression, found an empty text");
        return None;
    }
    if let Err(error) = Regex::new(&text.value) {
        report.error(&text.place, format!("this is no regular expression here: {error}"));
        report.hint("look-around and back references are not known");
        return None;
    }
    Some(text.value.clone())
}

fn parse_on_failure(text: &str) -> Option<OnFailure> {
    match text {
        "open" => Some(OnFailure::Open),
        "closed" => Some(OnFailure::Closed),
        _ => None,
    }
}

fn read_days(item: &Item<'_>, report: &mut Report<'_>) -> Option<At<u32>> {
    let (least, most) = KEPT_DAYS;
    let expected = format!("a number of days from {least}d to {most}d, such as \"30d\"");
    item.parsed(&expected, report, |text| parse_days(text).filter(|days| (least..=most).contains(days)))
}
