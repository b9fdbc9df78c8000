//! Files that nobody should open, and who opens them nevertheless: the kernel tells, wherever they are seen from.

/// The files.
#[derive(Debug, Default)]
pub(super) struct Watched(#[cfg(target_os = "linux")] linux::Watched);

#[cfg(target_os = "linux")]
mod linux {
    use nix::sys::inotify::{Inotify, WatchDescriptor};

    #[derive(Debug, Default)]
    pub(super) struct Watched {
        pub(super) kernel: Option<Inotify>,
        pub(super) files: Vec<(WatchDescriptor, String)>,
    }
}

#[cfg(target_os = "linux")]
impl Watched {
    /// Watches a file from now on, and calls it by this name.
    pub(super) fn add(&mut self, path: &std::path::Path, name: String) {
        use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let kernel = self.0.kernel.take().or_else(|| Inotify::init(flags).ok());
        let Some(kernel) = kernel else { return };
        if let Ok(watch) = kernel.add_watch(path, AddWatchFlags::IN_OPEN) {
            self.0.files.push((watch, name));
        }
        self.0.kernel = Some(kernel);
    }

    /// Tells whether it is seen who opens them.
    pub(super) fn sees(&self) -> bool {
        !self.0.files.is_empty()
    }

    /// Returns the files that were opened since this was asked last.
    pub(super) fn opened(&self) -> Vec<String> {
        let mut opened = Vec::new();
        let Some(kernel) = &self.0.kernel else { return opened };
        while let Ok(events) = kernel.read_events() {
            for event in events {
                let name = self.0.files.iter().find(|(watch, _)| *watch == event.wd).map(|(_, name)| name);
                opened.extend(name.filter(|name| !opened.contains(name)).cloned());
            }
        }
        opened
    }
}

#[cfg(not(target_os = "linux"))]
impl Watched {
    /// Nothing is watched here.
    pub(super) fn add(&mut self, _: &std::path::Path, _: String) {}

    /// Tells whether it is seen who opens them.
    pub(super) fn sees(&self) -> bool {
        false
    }

    /// Returns nothing.
    pub(super) fn opened(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_was_opened_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let mut watched = Watched::default();
        assert!(!watched.sees());
        for path in [&one, &other] {
            fs::write(path, "secret").unwrap();
            watched.add(path, path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(watched.sees() && watched.opened().is_empty());
        fs::metadata(&one).unwrap();
        assert!(watched.opened().is_empty(), "nobody opens what is only looked at");
        drop((File::open(&one).unwrap(), fs::read(&one).unwrap()));
        assert_eq!(watched.opened(), ["one"]);
        assert!(watched.opened().is_empty());
    }
}
