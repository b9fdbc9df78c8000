//! The revisions of the protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A revision of the Model Context Protocol, ordered by its date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Version {
    /// 2024-11-05: HTTP+SSE and stdio.
    #[serde(rename = "2024-11-05")]
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches.
    #[serde(rename = "2025-03-26")]
    V2025_03_26,
    /// 2025-06-18: elicitation, structured output.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// 2025-11-25: icons, URL elicitation; the last revision with `initialize`.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// 2026-07-28: stateless.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

/// Two ways to speak the protocol: with a handshake and a session, or stateless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Era {
    /// `initialize`, sessions, server-to-client requests: up to 2025-11-25.
    Legacy,
    /// Every request describes itself: from 2026-07-28.
    Modern,
}

impl Version {
    /// The newest stateless revision.
    pub(crate) const MODERN: Self = Self::V2026_07_28;
    /// The newest revision with a handshake.
    pub(crate) const LEGACY: Self = Self::V2025_11_25;
    /// Every revision, the newest first.
    pub(crate) const ALL: [Self; 5] =
        [Self::V2026_07_28, Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26, Self::V2024_11_05];

    /// Parses the date that names a revision.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == text)
    }

    /// Returns the date that names the revision.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Tells which way of speaking the revision belongs to.
    pub(crate) fn era(self) -> Era {
        if self >= Self::V2026_07_28 { Era::Modern } else { Era::Legacy }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
