//! The audit trail: what was asked of the gateway, by whom, what was decided, and what came of it.
//!
//! **An entry is one line, whatever is in it**: nothing that an agent or a server writes can look like another entry or
//! move a terminal's cursor. **Each line names the hash of the line before**, so that what is altered, removed or
//! reordered is found. **No secret that is known as one gets into a line**; what cannot be known as one is said in
//! [`Redactor`]. Where lines are kept is the host's; nothing here waits, reads or writes.

mod chain;
mod entry;
mod moment;
mod noted;
mod redact;
mod row;
mod secrets;
mod text;

pub use chain::{Breach, Chain, FIRST, Fault, Head, Link, Verified, digest, verify};
pub use entry::{Arguments, Decision, Entry, Searched, Writing};
pub use moment::{day, parse_time, time_text};
pub use redact::{BadPattern, REDACTED, Redactor};
pub use row::{FIELDS, Row, csv_head};
pub use text::{visible, write_string};

pub(crate) use noted::{Noted, digested, written};
