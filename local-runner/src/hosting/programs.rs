//! Where a program is, and which folders it needs to be seen to run.
//!
//! A program lies in the system's folders, which every sandbox has, or in a folder of its own kind (`…/bin/node` of a version
//! manager, a virtual environment), which is then seen whole, as are the packages that a script of Node lies among. **A user's home is never seen because of a program in it**, and
//! neither is `~/.local`: of those the program alone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// How many links and interpreters lie between a name and the program that runs.
const HOPS: usize = 16;

/// The folders that hold programs and libraries of the system, where there are such.
pub(crate) const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];

/// Where the homes of users are.
const HOMES: [&str; 3] = ["/home", "/Users", "/var/home"];

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path.
    pub(crate) program: PathBuf,
    /// What must be seen besides the system's folders: files and folders, each of which exists.
    pub(crate) needs: Vec<PathBuf>,
}

/// Finds a program: by its path, relative to `folder`, or by its name in the folders of `path`.
pub(crate) fn find(program: &str, folder: &Path, path: &OsStr, home: Option<&Path>) -> Option<Found> {
    let program = locate(program, folder, path)?;
    let mut needs = Vec::new();
    let mut next = Some(program.clone());
    for _ in 0..HOPS {
        let Some(file) = next else { break };
        let seen = view_of(&file, home);
        if let Some(seen) = seen.filter(|seen| !needs.iter().any(|need| seen.starts_with(need))) {
            needs.push(seen);
        }
        next = match fs::read_link(&file) {
            Ok(link) => Some(tidy(&file.parent().unwrap_or(Path::new("/")).join(link))),
            Err(_) => interpreter(&file).and_then(|name| locate(&name, folder, path)),
        };
    }
    Some(Found { program, needs })
}

fn locate(program: &str, folder: &Path, path: &OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(tidy(&folder.join(program))).filter(|file| file.is_file());
    }
    let executable = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|found| tidy(&folder.join(found).join(program))).find(executable)
}

/// Returns what has to be seen for a file to run; nothing where the system's folders hold it.
fn view_of(file: &Path, home: Option<&Path>) -> Option<PathBuf> {
    if SYSTEM.iter().any(|folder| file.starts_with(folder)) {
        return None;
    }
    if let Some(packages) = packages_of(file) {
        return Some(packages.to_owned());
    }
    let own = file.parent().filter(|parent| parent.ends_with("bin") || parent.ends_with("shims"));
    let own = own.and_then(Path::parent).filter(|folder| {
        // Whoever's home it is, and whether the environment says so or not.
        let is_a_home =
            folder.parent().is_some_and(|parent| HOMES.iter().any(|homes| parent == Path::new(homes)));
        let of_a_user =
            is_a_home || home.is_some_and(|home| home.starts_with(folder)) || folder.ends_with(".local");
        folder.components().count() > 2 && !of_a_user
    });
    Some(own.unwrap_or(file).to_owned())
}

/// Returns the outermost folder of Node's packages in which a file lies.
pub(crate) fn packages_of(file: &Path) -> Option<&Path> {
    file.ancestors().filter(|folder| folder.ends_with("node_modules")).last()
}

/// Returns the program that runs a script, from its first line.
fn interpreter(file: &Path) -> Option<String> {
    let mut start = [0; 256];
    let length = File::open(file).ok()?.read(&mut start).ok()?;
    let line = start[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.split_whitespace();
    let first = words.next()?;
    let named = first.ends_with("/env").then(|| words.find(|word| !word.starts_with('-'))).flatten();
    Some(named.unwrap_or(first).to_owned())
}

/// Resolves `.` and `..` in a path as it is written.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(tidied.pop()),
            Component::CurDir => {}
            part => tidied.push(part),
        }
    }
    tidied
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn program(root: &Path, path: &str, content: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        fs::write(&file, content).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    #[test]
    fn programs_bring_what_they_need() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("a path");
        let home = root.join("home");
        program(&root, "home/.nvm/v20/bin/node", "");
        program(&root, "home/.nvm/v20/bin/npx", "#!/usr/bin/env -S node\n");
        program(&root, "home/.local/bin/tool", "#!/bin/sh\n");
        program(&root, "home/.local/share/tools/fetch/bin/fetch", "");
        program(&root, "home/bin/own", "");
        program(&root, "home/work/node_modules/server/node_modules/a/run.js", "#!/usr/bin/env node\n");
        fs::create_dir_all(home.join("work/node_modules/.bin")).expect("a folder");
        let link = home.join("work/node_modules/.bin/server");
        symlink("../server/node_modules/a/run.js", &link).expect("a link");
        symlink("../share/tools/fetch/bin/fetch", home.join(".local/bin/fetch")).expect("a link");
        let path =
            std::env::join_paths([home.join(".nvm/v20/bin"), home.join(".local/bin")]).expect("a path");
        let needs = |name: &str| {
            let found = find(name, &home, &path, Some(&home))?;
            Some(
                found
                    .needs
                    .iter()
                    .map(|need| need.strip_prefix(&root).expect("below").display().to_string())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(needs("node"), Some(vec!["home/.nvm/v20".to_owned()]));
        assert_eq!(needs("npx"), Some(vec!["home/.nvm/v20".to_owned()]));
        assert_eq!(needs("tool"), Some(vec!["home/.local/bin/tool".to_owned()]));
        assert_eq!(
            needs("fetch"),
            Some(vec!["home/.local/bin/fetch".to_owned(), "home/.local/share/tools/fetch".to_owned()])
        );
        assert_eq!(needs("bin/../bin/own"), Some(vec!["home/bin/own".to_owned()]));
        assert_eq!(
            needs("work/node_modules/.bin/server"),
            Some(vec!["home/work/node_modules".to_owned(), "home/.nvm/v20".to_owned()])
        );
        assert_eq!(needs("absent"), None);
        for (file, seen) in [
            ("/home/ana/bin/x", "/home/ana/bin/x"),
            ("/home/ana/.nvm/v20/bin/node", "/home/ana/.nvm/v20"),
            ("/root/bin/x", "/root/bin/x"),
            ("/opt/tool/bin/x", "/opt/tool"),
        ] {
            assert_eq!(view_of(Path::new(file), None), Some(seen.into()));
        }
        assert_eq!(find("sh", &home, OsStr::new("/bin"), None).map(|found| found.needs), Some(Vec::new()));
    }
}
