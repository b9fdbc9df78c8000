//! The section of the native file about tools and prompts under other names: what its JSON Schema says of it.
//!
//! Descriptions of keys stand here once. The reader (`native_variants`) fills what variants are made of; a test holds
//! both to the same keys.
#![expect(dead_code, reason = "describes texts in the schema")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::file_policy::refuse_nulls;

/// The most characters that a text may be cut at.
pub(super) const CUTS: (u64, u64) = (1, 1_000_000_000);

/// A tool or a prompt of a server under another name, with another description, with other arguments.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Variant")]
pub(super) struct VariantText {
    /// What it is made from: a name of the server's, or another variant of the same server; its own name, and so in
    /// place of the server's, where nothing is said.
    from: Option<String>,
    /// Whether it is a tool or a prompt.
    #[schemars(extend("default" = "tool"))]
    kind: Option<KindText>,
    /// Whether what it is made from is no longer offered. So it is, always, where both names are the same.
    replace: Option<bool>,
    /// Its title.
    title: Option<String>,
    /// Its description.
    description: Option<WordingText>,
    /// What becomes of arguments, by the name that they have in what it is made from.
    arguments: Option<BTreeMap<String, ArgumentText>>,
    /// How its schema shows arguments that are fixed: `gone`, or `noted`, where they stay, no longer required, with a
    /// note that they are ignored.
    #[schemars(extend("default" = "gone"))]
    fixed: Option<FixedText>,
    /// What is left of its results.
    result: Option<ResultText>,
}

/// Whether a variant is a tool or a prompt.
#[derive(JsonSchema)]
#[schemars(rename = "Kind", rename_all = "lowercase")]
pub(super) enum KindText {
    Tool,
    Prompt,
}

/// How a schema shows arguments that are fixed.
#[derive(JsonSchema)]
#[schemars(rename = "Fixed", rename_all = "lowercase")]
pub(super) enum FixedText {
    Gone,
    Noted,
}

/// How a description changes; a text alone replaces it.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Wording")]
pub(super) enum WordingText {
    Text(String),
    Change(WordingChangeText),
}

/// How a description changes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "WordingChange", extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct WordingChangeText {
    /// The text that replaces it.
    rewrite: Option<String>,
    /// The text that is put behind it.
    append: Option<String>,
}

/// What becomes of one argument. Beside `fix` stands nothing else, but for `describe` where what is fixed is noted.
/// Arguments of prompts are texts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Argument")]
pub(super) struct ArgumentText {
    /// The value that the server gets, whatever the caller sends.
    fix: Option<Value>,
    /// The value that the server gets where the caller sends none.
    default: Option<Value>,
    /// The name that callers know it by.
    rename: Option<String>,
    /// Its description.
    describe: Option<WordingText>,
    /// The values that it may have.
    #[schemars(rename = "enum", length(min = 1))]
    one_of: Option<Vec<Value>>,
    /// The regular expression that it must match, where it is a text.
    pattern: Option<String>,
    /// The least number that it may be.
    minimum: Option<f64>,
    /// The greatest number that it may be.
    maximum: Option<f64>,
}

/// What is left of a result.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "Narrowing")]
pub(super) struct ResultText {
    /// The part that is kept, for tools, as a JSON Pointer (RFC 6901) into the structured content, or into a text that is JSON.
    select: Option<String>,
    /// The most characters of a text. What is beyond is cut, with a note.
    #[schemars(range(min = CUTS.0, max = CUTS.1))]
    cut: Option<u64>,
}
