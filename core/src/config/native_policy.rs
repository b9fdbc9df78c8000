//! Takes the sections about access from a native file, as far as one file says what they mean.
//!
//! **A section that says nothing is an error**: `agents:` with every line under it commented out must not pass for a
//! file without agents, in which everybody may do everything.

use super::item::{At, Fields, Item};
use super::listing::Listing;
use super::native_agents::{AgentDraft, read_agents};
#[cfg(feature = "control")]
use super::native_console::{ConsoleDraft, read_console};
use super::native_limits::{ToolLimitsDraft, read_audit, read_auth, read_tool_limits};
use super::native_rules::{GroupDraft, read_groups};
use super::native_variants::{ServerVariants, read_variants};
use super::policy::{Audit, Auth};
use super::problem::Report;

/// The sections about access of one file, each with its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Sections {
    pub(super) groups: Option<At<Vec<GroupDraft>>>,
    pub(super) variants: Option<At<Vec<ServerVariants>>>,
    pub(super) agents: Option<At<Vec<AgentDraft>>>,
    pub(super) auth: Option<At<Auth>>,
    pub(super) limits: Option<At<Vec<ToolLimitsDraft>>>,
    pub(super) audit: Option<At<Audit>>,
    pub(super) registry: Option<At<Listing>>,
    #[cfg(feature = "control")]
    pub(super) console: Option<At<ConsoleDraft>>,
}

/// Takes the sections from a file's root.
pub(super) fn take_sections(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Sections {
    // What is only governed has it from elsewhere who governs.
    #[cfg(not(feature = "control"))]
    let _ = fields.take_even_null("console");
    Sections {
        groups: fields.take_even_null("groups").map(|item| section(&item, read_groups, report)),
        variants: fields.take_even_null("variants").map(|item| section(&item, read_variants, report)),
        agents: fields.take_even_null("agents").map(|item| section(&item, read_agents, report)),
        auth: fields.take_even_null("auth").map(|item| section(&item, read_auth, report)),
        limits: fields.take_even_null("limits").map(|item| section(&item, read_tool_limits, report)),
        audit: fields.take_even_null("audit").map(|item| section(&item, read_audit, report)),
        registry: fields.take_even_null("registry").map(|item| section(&item, Listing::read, report)),
        #[cfg(feature = "control")]
        console: fields.take_even_null("console").map(|item| section(&item, read_console, report)),
    }
}

fn section<T>(
    item: &Item<'_>,
    read: impl FnOnce(&Item<'_>, &mut Report<'_>) -> T,
    report: &mut Report<'_>,
) -> At<T> {
    let value = read(item, report);
    if item.node.is_null() {
        report.hint("remove the key, or write `{}` after it");
    }
    At { value, place: item.place() }
}
