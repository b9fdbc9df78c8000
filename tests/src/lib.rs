//! What the integration tests share: they drive a real gateway process over real HTTP, with real peers on both sides.
//!
//! | module | gives |
//! |---|---|
//! | [`gateway`] | a gateway process with its own configuration, port and data folder |
//! | [`aws`] | an emulator of AWS, and a proxy before it that fails as AWS does |
//! | [`assertion`] | what an authorization server looks at before it believes a client's assertion |
//! | [`balancer`] | a load balancer before several gateways |
//! | [`bridge`] | `portcullis bridge` before a stdio server |
//! | [`browser`] | what a browser does, over plain HTTP |
//! | [`chromium`] | a real browser, and the people who use it |
//! | [`engine`] | engines for containers, and the hostile server's image in them |
//! | [`fleet`] | several instances of one gateway, and the load balancer before them |
//! | [`hostile`] | upstreams that break every rule, and what they make the gateway hold |
//! | [`hosting`] | the hostile server that every place that hosts servers has to hold |
//! | [`issuer`] | an authorization server, and a server that takes its tokens alone |
//! | [`upstream`] | MCP servers that speak HTTP, for the gateway to stand in front of |
//! | [`vouching`] | an identity provider in the place of one that publishes no keys |
//! | [`client`] | real MCP clients, run as drivers that take one plan and print one document |
//! | [`conformance`] | the official conformance suite, run as the command it is |
//! | [`http`] | an HTTP client that sends exactly the headers and bytes it is given, and reads answers and streams |
//! | [`agent`] | a small MCP agent of either era on top of it |
//! | [`sse_agent`] | the same on HTTP+SSE |
//! | [`scenario`] | one gateway in front of one fixture server, in every combination of eras and transports |
//! | [`process`] | child processes that never outlive the test |
//! | [`stand_in`] | a gateway that is the authorization server before an identity provider |
//! | [`toolbox`] | where the peers that `tests/setup.sh` installs, and the binaries under test, stand |
//! | [`wait`] | waiting for a condition with a deadline |
//! | [`world`] | a network of its own with public addresses, and sandboxes in it |
//!
//! **Nothing here knows what the gateway decides**: a test says what it expects, these modules only carry it there.
//! **A missing tool fails the test that needs it**; no test is skipped in silence.

pub mod agent;
pub mod assertion;
pub mod aws;
pub mod balancer;
pub mod between;
pub mod bridge;
pub mod browser;
pub mod chromium;
pub mod client;
pub mod conformance;
pub mod consent;
pub mod engine;
pub mod fleet;
pub mod function;
pub mod gateway;
pub mod hostile;
pub mod hosting;
pub mod http;
pub mod issuer;
pub mod keyring;
pub mod plane;
pub mod process;
pub mod provider;
pub mod scenario;
pub mod sse;
pub mod sse_agent;
pub mod stand_in;
pub mod toolbox;
pub mod upstream;
pub mod vouching;
pub mod wait;
pub mod walkthrough;
pub mod world;
