//! What is in a server's place besides, where it is looked at and not only hosted.
//!
//! **All that it can write to is in memory and of a bounded size**; what it is shown of the machine's files it cannot write to.

use std::path::PathBuf;

/// The setting of one server; nothing where it is only hosted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Folders in memory, each as large as the one for temporary files.
    pub(crate) folders: Vec<String>,
    /// Files that it may read: where they are, and where it sees them.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// The ports at which a gate takes connections that lets nothing through, where its network is behind one.
    pub(crate) gate: Option<Vec<u16>>,
}
