//! The section `registry` of the native file: what the gateway's registry tells whom, who publishes to it, and whether anything
//! but what it has approved is served.

use schemars::JsonSchema;

use super::file_policy::refuse_nulls;
use super::item::Item;
use super::problem::Report;

/// How it is with the gateway's registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Whether servers are served only that the registry has approved.
    pub strict: bool,
    /// Whether anybody reads all of it, also who proves nothing.
    pub public: bool,
    /// The agents whose keys may publish to it. What they publish waits for a review.
    pub publish: Vec<String>,
    /// The registries that are trusted to be in the own network: imports from others reach public addresses alone.
    pub sources: Vec<String>,
    /// Whether packages and images are approved only after they were evaluated.
    pub require_evaluation: bool,
}

/// The registry of servers, at `/v0.1`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_nulls, rename = "PrivateRegistry")]
#[expect(dead_code, reason = "describes the file in the schema; its reader makes a value")]
pub(super) struct ListingText {
    /// Whether a server is served only where the registry has approved an entry with its URL, its package and version, or the
    /// digest of its image.
    #[schemars(extend("default" = false))]
    strict: Option<bool>,
    /// Whether anybody may read all of the registry, also who proves nothing. Else each caller sees the servers that it may
    /// reach, and who governs sees everything.
    #[schemars(extend("default" = false))]
    public: Option<bool>,
    /// The agents whose API keys may publish to the registry. What they publish waits for a review.
    publish: Option<Vec<String>>,
    /// URLs of registries in the own network. What is imported from others comes from public addresses alone.
    sources: Option<Vec<String>>,
    /// Whether an entry with packages or images is approved only where each of them was evaluated and not found dangerous. What is
    /// added from the registry then serves only definitions that were approved, too.
    #[schemars(extend("default" = false))]
    require_evaluation: Option<bool>,
}

impl Listing {
    /// Reads the section.
    pub(super) fn read(item: &Item<'_>, report: &mut Report<'_>) -> Self {
        let Some(mut fields) = item.fields(report) else {
            // What was meant to narrow access must not come to nothing.
            return Self { strict: true, require_evaluation: true, ..Self::default() };
        };
        let strict = fields.take("strict").map(|item| item.flag(report).is_none_or(|strict| strict.value));
        let public = fields.take("public").and_then(|item| item.flag(report));
        let publish = fields.take("publish").and_then(|item| item.texts(report)).unwrap_or_default();
        let sources = fields.take("sources").and_then(|item| item.texts(report)).unwrap_or_default();
        let evaluated =
            fields.take("require_evaluation").map(|item| item.flag(report).is_none_or(|flag| flag.value));
        fields.finish(report);
        Self {
            strict: strict.unwrap_or_default(),
            public: public.is_some_and(|public| public.value),
            require_evaluation: evaluated.unwrap_or_default(),
            publish: publish.into_iter().map(|agent| agent.value).collect(),
            sources: sources.iter().map(|url| url.value.trim_end_matches('/').to_owned()).collect(),
        }
    }
}
