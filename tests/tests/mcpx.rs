//! What MCPX's own tests prove of MCPX, proved of a gateway that serves its two files, and that its defects are not
//! here.
//!
//! Every scenario asks through each of the three doors that agents have: without sessions, with a session, and HTTP+SSE.
//! **The files are MCPX's, word for word**; what is read of them, and what is refused, is in `mcpx_config.rs`.
//!
//! MCPX's defects that something else proves already to be absent:
//!
//! | here | proved by |
//! |---|---|
//! | progress reaches the agent | `streams.rs`: `progress_reaches_only_its_own_call` |
//! | a cancelled call is cancelled at its server | `streams.rs`: `a_modern_agent_cancels_by_hanging_up`, `a_legacy_agent_cancels_by_saying_so` |
//! | a call may take as long as `timeout` says | `hostile/connections.rs`: `slow_and_silent_servers_cost_their_callers_the_timeout` |
//! | servers may sample, elicit and ask for roots | `questions.rs`, `rounds.rs` |
//! | log messages, subscriptions and updates arrive | `streams.rs` |
//! | recorded arguments are redacted | `attacks/secrets.rs`: `case_27_no_sink_holds_a_planted_secret` |
//! | a changed trail is found | `attacks/trail.rs`: `case_37_a_changed_trail_is_found_and_the_place_told` |
//! | one slow server holds up nobody | `upstreams.rs`: `a_server_that_works_does_not_wait_for_others` |
//! | a process that ends is started again at once | `upstreams.rs`: `a_server_that_crashes_is_named_and_started_again` |
//! | a foreign `Host` is refused as well | `attacks/rebinding.rs`: `case_01_a_foreign_host_is_forbidden_everywhere` |
//! | sessions outlive a process | `instances.rs` |
//! | variables that make a program run other code are refused | `attacks/env_injection.rs`: `case_16_an_mcp_servers_file_cannot_inject` |
//! | every agent can have a key of its own, which can be revoked | `identity.rs`: `a_key_opens_the_gateway_until_it_is_revoked` |

mod mcpx {
    mod acl;
    mod activation;
    mod aggregation;
    mod audit;
    mod auth;
    mod callers;
    mod changes;
    mod clients;
    mod customization;
    mod defects;
    mod environment;
    mod outside;
}
