//! The names of clients: many spellings, one name each, as MCPX has them.

/// The longest name that is looked at, in characters.
const LONGEST: usize = 128;

/// What bridges put behind the name of the client that they speak for.
const BRIDGED: &str = " (via mcp-remote";

/// What a spelling contains, in small letters, and the name that it stands for. The first that fits counts.
const NAMES: [(&[&str], &str); 14] = [
    (&["cursor"], "Cursor"),
    (&["vscode", "vs-code", "vs code", "visual studio code"], "VSCode"),
    (&["claude-code", "claude code"], "Claude Code"),
    (&["claude", "anthropic"], "Claude Desktop"),
    (&["copilot"], "Copilot"),
    (&["openai", "chatgpt"], "ChatGPT"),
    (&["codex"], "Codex"),
    (&["warp"], "Warp"),
    (&["windsurf"], "Windsurf"),
    (&["gemini"], "Gemini CLI"),
    (&["opencode"], "OpenCode"),
    (&["n8n"], "N8N"),
    (&["inspector"], "Inspector"),
    (&["orbiter"], "Lunar orbiter"),
];

/// Returns the name that a client goes by; nothing where it says none.
///
/// The name without what a bridge adds, replaced by a well-known client's where it contains that; else cut at 128
/// characters.
pub fn canonical(name: &str) -> Option<String> {
    let name: String = name.chars().take(LONGEST).collect();
    let own = name.split_once(BRIDGED).map_or(name.as_str(), |(own, _)| own).trim();
    let small = own.to_ascii_lowercase();
    let known = NAMES.iter().find(|(spellings, _)| spellings.iter().any(|spelling| small.contains(spelling)));
    let name = known.map_or(own, |(_, name)| name);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(canonical(name).unwrap_or_default(), expected, "{name}");
    }

    #[test]
    fn spellings_lead_to_one_name() {
        check("cursor-vscode (via mcp-remote 0.1.18)", "Cursor");
        check("Visual Studio Code - Insiders", "VSCode");
        check("claude-code/2.1", "Claude Code");
        check("claude-ai", "Claude Desktop");
        check("GitHub Copilot CLI", "Copilot");
        check("openai-mcp", "ChatGPT");
        check("codex-mcp-client", "Codex");
        check("gemini-cli-mcp-client", "Gemini CLI");
        check("opencode", "OpenCode");
        check("@n8n/n8n-nodes-langchain.mcpClientTool", "N8N");
        check("mcp-inspector", "Inspector");
        check("lunar-orbiter", "Lunar orbiter");
        check("My own client (via mcp-remote 1.0)", "My own client");
        check("My own client", "My own client");
        check("My own client (via cursor)", "Cursor");
        check("(via mcp-remote 1.0)", "(via mcp-remote 1.0)");
        check(" ", "");
        check(&"ü".repeat(500), &"ü".repeat(128));
    }

    proptest! {
        #[test]
        fn a_canonical_name_stays(name in "\\PC{0,40}|.{0,10}(cursor|Claude|vs code|N8N).{0,10}") {
            if let Some(first) = canonical(&name) {
                prop_assert_eq!(canonical(&first), Some(first.clone()));
            }
        }
    }
}
