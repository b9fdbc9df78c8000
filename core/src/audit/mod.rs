//! The audit trail: what was asked of the gateway, by whom, what was decided, and what came of it.
//!
//! **An entry is one line, whatever is in it**: nothing that an agent or a server writes can look like another entry or
//! move a terminal's cursor. **Each line names the hash of the line before**, so that what is altered, removed or
//! reordered is found. **No secret that is known as one gets into a line**; what cannot be known as one is said in
//! [`Redactor`]. Where lines are kept is the host's; nothing here waits, reads or writes.

mod batch;
mod chain;
mod entry;
mod line;
mod moment;
mod noted;
#[cfg(feature = "control")]
mod passed;
mod query;
mod redact;
mod row;
mod secrets;
mod seen;
mod segment;
mod text;
mod verdict;
mod verify;
mod walk;

pub use batch::{Batch, Key, Message, Piece, Producer, Writer, Written};
pub use chain::{Chain, FIRST, Head, Link, digest};
pub use entry::{Arguments, Decision, Entry, Searched, Writing};
pub use line::{Draft, Drafted};
pub use moment::{Moment, day, parse_time, time_text};
pub use query::{BadQuery, Gathering, LONGEST_PAGE, Order, PAGE, Page, Query, Unreadable};
pub use redact::{BadPattern, REDACTED, Redactor};
pub use row::{FIELDS, Row, csv_head};
pub use segment::{Beside, PREFIX, Place, Segment, is_name, key_prefix, path_prefix};
pub use text::{visible, write_string};
pub use verdict::{Verdict, Verdicts};
pub use verify::{Breach, Fault, Verified, Verifier, verify};
pub use walk::{Check, Reach, Search, Step, Steps};

#[cfg(feature = "control")]
pub(crate) use line::auth_named;
pub(crate) use noted::{Noted, digested, written};
#[cfg(feature = "control")]
pub(crate) use secrets::names_secret;
