//! What goes over the wire: JSON as spans, the JSON-RPC envelope, server-sent events, revisions, headers.

pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod outline;
pub(crate) mod plain;
pub(crate) mod scan;
pub(crate) mod sse;
pub(crate) mod version;
