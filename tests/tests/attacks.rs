//! The attacks that a gateway must survive, each against a running gateway over real HTTP.
//!
//! A test is named after its case in the list of attacks: `case_13_...` is the redirect that leaks a credential.
//! **What an attack must not reach is watched, not assumed**: upstreams record what arrives, programs leave a marker.

mod attacks {
    mod assertions;
    mod authority;
    mod browsing;
    mod cache;
    mod cross_client;
    mod cross_site;
    mod deputy;
    mod dialing;
    mod double;
    mod env_injection;
    mod envelope;
    mod evasion;
    mod fixed;
    mod foreign;
    mod governed;
    mod governing;
    mod governors;
    mod groups;
    mod header_mismatch;
    mod host_confusion;
    mod leak;
    mod live_policy;
    mod mix_up;
    mod naming;
    mod no_process;
    mod operators;
    mod passthrough;
    mod phishing;
    mod poisoning;
    mod policy_naming;
    mod pushed;
    mod rebinding;
    mod recursion;
    mod redirects;
    mod refreshed;
    mod request_state;
    mod schemas;
    mod secrets;
    mod sessions;
    mod shadowing;
    mod smuggling;
    mod sse_endpoint;
    mod target;
    mod trail;
    mod unknown_id;
}
