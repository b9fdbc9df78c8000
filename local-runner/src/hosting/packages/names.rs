//! Whether a package's name may be a mistake for a well-known one.
//!
//! **A hint and no verdict**: a name that resembles none may be as wrong, and one that resembles another may be right.

use portcullis_core::config::{Package, Registry};

/// Servers that many people run.
const NPM: [&str; 36] = [
    "@azure/mcp",
    "@benborla29/mcp-server-mysql",
    "@brave/brave-search-mcp-server",
    "@browsermcp/mcp",
    "@cloudflare/mcp-server-cloudflare",
    "@executeautomation/playwright-mcp-server",
    "@heroku/mcp-server",
    "@hubspot/mcp-server",
    "@modelcontextprotocol/inspector",
    "@modelcontextprotocol/server-brave-search",
    "@modelcontextprotocol/server-everything",
    "@modelcontextprotocol/server-filesystem",
    "@modelcontextprotocol/server-github",
    "@modelcontextprotocol/server-gitlab",
    "@modelcontextprotocol/server-google-maps",
    "@modelcontextprotocol/server-memory",
    "@modelcontextprotocol/server-postgres",
    "@modelcontextprotocol/server-puppeteer",
    "@modelcontextprotocol/server-sequential-thinking",
    "@modelcontextprotocol/server-slack",
    "@mongodb-js/mongodb-mcp-server",
    "@notionhq/notion-mcp-server",
    "@playwright/mcp",
    "@sentry/mcp-server",
    "@stripe/mcp",
    "@supabase/mcp-server-supabase",
    "@upstash/context7-mcp",
    "@wonderwhy-er/desktop-commander",
    "chrome-devtools-mcp",
    "exa-mcp-server",
    "figma-developer-mcp",
    "firecrawl-mcp",
    "kubernetes-mcp-server",
    "mcp-remote",
    "n8n-mcp",
    "tavily-mcp",
];
const PYPI: [&str; 18] = [
    "arxiv-mcp-server",
    "blender-mcp",
    "duckduckgo-mcp-server",
    "elevenlabs-mcp",
    "fastmcp",
    "markitdown-mcp",
    "mcp-atlassian",
    "mcp-clickhouse",
    "mcp-neo4j-cypher",
    "mcp-obsidian",
    "mcp-proxy",
    "mcp-server-fetch",
    "mcp-server-git",
    "mcp-server-qdrant",
    "mcp-server-sqlite",
    "mcp-server-time",
    "postgres-mcp",
    "workspace-mcp",
];

/// Returns the well-known package whose name this one's resembles: one character more, less, changed or moved, or the same
/// with other separators.
pub(crate) fn resembled(package: &Package) -> Option<&'static str> {
    let known: &[&str] = match package.registry {
        Registry::Npm => &NPM,
        Registry::Pypi => &PYPI,
    };
    let name = plain(&package.name);
    let written = package.name.to_lowercase();
    // PyPI itself takes `-`, `_` and `.` for one another.
    let is = |known: &str| written == known || (package.registry == Registry::Pypi && name == plain(known));
    if known.iter().any(|known| is(known)) {
        return None;
    }
    known.iter().copied().find(|known| is_near(&name, &plain(known)))
}

/// Writes every separator the same way.
fn plain(name: &str) -> Vec<char> {
    let same = |c: char| if matches!(c, '_' | '.') { '-' } else { c.to_ascii_lowercase() };
    name.chars().map(same).collect()
}

/// Tells whether one edit at most makes one of the other.
fn is_near(one: &[char], other: &[char]) -> bool {
    let same = one.iter().zip(other).take_while(|(ours, theirs)| ours == theirs).count();
    let (one, other) = (&one[same..], &other[same..]);
    let (Some(after_one), Some(after_other)) = (one.get(1..), other.get(1..)) else {
        return one.len().max(other.len()) <= 1;
    };
    let is_moved = one.len() > 1
        && other.len() > 1
        && (one[0], one[1]) == (other[1], other[0])
        && one[2..] == other[2..];
    after_one == after_other || after_one == other || one == after_other || is_moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: Registry, name: &str, expected: Option<&str>) {
        let package = Package { registry, name: name.into(), version: "1.0.0".into(), integrity: None };
        assert_eq!(resembled(&package), expected, "{name}");
    }

    #[test]
    fn names_one_edit_away_are_noticed() {
        let known = Some("@modelcontextprotocol/server-filesystem");
        for name in [
            "@modelcontextprotocol/server-filesystems",
            "@modelcontextprotocol/server-filesytem",
            "@modelcontextprotocol/server-filesistem",
            "@modelcontextprotocol/server-fliesystem",
            "modelcontextprotocol/server-filesystem",
            "@modelcontextprotocol/server_filesystem",
        ] {
            check(Registry::Npm, name, known);
        }
        check(Registry::Pypi, "mcp-server-tme", Some("mcp-server-time"));
    }

    #[test]
    fn well_known_names_and_others_are_not() {
        for name in
            ["@modelcontextprotocol/server-filesystem", "tavily-mcp", "something-else", "@stripe/agent"]
        {
            check(Registry::Npm, name, None);
        }
        for name in ["mcp-server-time", "mcp_server_time", "MCP.server-time", "a"] {
            check(Registry::Pypi, name, None);
        }
    }
}
