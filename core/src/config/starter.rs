//! The configuration that a gateway for others begins with.

/// A native file with comments: keys are required, and nobody may do anything until a line allows it.
pub const STARTER: &str = r#"# A gateway that others can reach: every caller needs a key, and may do what a line below allows.
# ${NAME} in a text is replaced by an environment variable of the gateway.
version: 1

gateway:
  # The URL that agents know the gateway by, where it is not the address it listens on.
  # public_url: "https://mcp.example.com/mcp"
  # Origins besides the gateway's own that browsers may call from.
  allowed_origins: []

servers:
  # A subprocess: the program and its arguments.
  time:
    command: [uvx, mcp-server-time]
  # A server that is reached by HTTP.
  # tickets:
  #   url: "https://tickets.example.com/mcp"
  #   headers: { Authorization: "Bearer ${TICKETS_TOKEN}" }

# Sets of tools, prompts and resources that rules can name.
# groups:
#   read-only:
#     time: "*"
#     tickets: ["get_*", "list_*"]

# Make a key with: portcullis keys create --agent coder
auth: { required: true }

agents:
  # coder:
  #   allow: [read-only, tickets/create_comment]
  #   deny: [tickets/get_salary]
  #   limits: { rate: 60/m }
  # Every caller that is none of the agents above.
  default:
    deny: ["*"]
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};

    fn check(text: &str) -> crate::config::Config {
        let source = Source { path: "portcullis.yaml".to_owned(), text: text.to_owned() };
        let parsed = parse(&[source], &|_| Some("value".to_owned()));
        assert_eq!(parsed.problems, []);
        parsed.config
    }

    #[test]
    fn it_has_no_problem_and_lets_nobody_in() {
        let config = check(STARTER);
        assert_eq!(config.servers.len(), 1);
        assert!(config.auth.required);
        assert!(config.policy.agents.is_empty() && config.policy.default.allow.is_empty());
        assert_eq!(config.policy.default.deny.len(), 1);
    }

    #[test]
    fn what_it_shows_in_comments_is_right() {
        let is_setting = |line: &&str| {
            let text = line.trim_start_matches([' ', '#']);
            text.contains(':') && !text.contains(": portcullis") && !text.starts_with("A ")
        };
        let uncommented = STARTER.lines().filter(is_setting).map(|line| line.replacen("# ", "", 1) + "\n");
        let config = check(&uncommented.collect::<String>());
        assert_eq!((config.servers.len(), config.policy.groups.len(), config.policy.agents.len()), (2, 1, 1));
    }
}
