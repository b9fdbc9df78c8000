//! Where a server is evaluated: a home with canaries in it, stand-ins for the folders that it was given, and canaries in the
//! place of its secrets.
//!
//! **No secret of the configuration and no folder of the user gets in.** A variable that names a secret has a canary, whatever
//! its value is; a folder of the machine that it is given is replaced by one that holds canaries. **What it can write to is in
//! memory and bounded**, but where it runs as a process of the user. Nothing tells it that it is looked at: what it sees is what
//! it would see in service.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;
use portcullis_core::config::{Bounds, Command, Hosting, Isolation, Mount, Network};
use portcullis_core::sorted::SortedMap;

use super::canary::{Canary, Form, Kept, Searched, hex};
use super::inputs::Paths;
use super::profile::has_newer;
use super::watched::Watched;
use crate::hosting::programs::{self, SYSTEM};
use crate::hosting::{Setting, TEMPORARY};

/// The home of a server that is kept apart.
const HOME: &str = "/var/home/user";
/// Folders of the kernel, in which nothing can stand.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Variables that a server might look for though nobody gave it any.
const BAIT: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"];
/// Files in which secrets usually are, below the home folder, and how one stands there.
const FILES: [(&str, &str); 5] = [
    (".ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n"),
    (".aws/credentials", "[default]\naws_secret_access_key = {}\n"),
    (".netrc", "machine example.com login someone password {}\n"),
    (".env", "API_TOKEN={}\n"),
    ("Documents/diary.txt", "Nobody is to know: {}\n"),
];
/// The file in each folder that it is given.
const NOTES: &str = "notes.txt";
/// Options whose value is where the program itself lies.
const OF_PROGRAM: [&str; 12] = [
    "--directory",
    "--prefix",
    "--project",
    "--cwd",
    "-C",
    "--package",
    "--from",
    "--experimental-loader",
    "--loader",
    "--import",
    "--require",
    "-r",
];
/// Words in the names of variables that hold secrets.
const SECRET: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL"];

/// What is evaluated in a den.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tenant<'a> {
    /// What is started.
    pub(super) command: &'a Command,
    /// Where its program was prepared, which it sees as it is.
    pub(super) prepared: &'a [Mount],
    /// Whether it runs as a process of the user.
    pub(super) unconfined: bool,
}

/// The place, which goes with the value.
#[derive(Debug)]
pub(super) struct Den {
    folder: PathBuf,
    pub(super) canaries: Vec<Canary>,
    /// What is started in it.
    pub(super) command: Command,
    /// How it is kept apart.
    pub(super) hosting: Hosting,
    /// What is there besides.
    pub(super) setting: Setting,
    /// The folders that it was given.
    pub(super) given: Vec<Given>,
    /// The home, as the server sees it.
    pub(super) home: String,
    /// What is in the environment of every process that belongs to it, and of no other.
    pub(super) mark: String,
    pub(super) paths: Paths,
    watched: Watched,
    furnished: SystemTime,
}

/// A folder that a server was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// As the configuration names it.
    pub(super) path: String,
    /// As the server sees it.
    seen: String,
    /// Whether it may be written to.
    pub(super) write: bool,
}

/// What was seen of the folders in which a server can write, while it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inside {
    /// Of those that it was given, those to which it has written.
    pub(super) written: Vec<String>,
    /// Those that are full.
    pub(super) full: Vec<String>,
}

impl Den {
    /// Makes the place.
    pub(super) fn make(tenant: &Tenant<'_>) -> anyhow::Result<Self> {
        let command = tenant.command;
        let id = hex(&random::<16>()?);
        let folder = std::env::temp_dir().join(format!("portcullis-evaluation-{id}"));
        make_folder(&folder).with_context(|| folder.display().to_string())?;
        let folder = fs::canonicalize(&folder).with_context(|| folder.display().to_string())?;
        let home =
            if tenant.unconfined { folder.join("home").display().to_string() } else { HOME.to_owned() };
        let mut den = Self {
            folder,
            canaries: Vec::new(),
            command: Command { secret_env: SortedMap::default(), ..command.clone() },
            hosting: strictest(command),
            setting: Setting::default(),
            given: Vec::new(),
            home,
            // As the system calls what it starts.
            mark: format!("INVOCATION_ID={id}"),
            paths: Paths::default(),
            watched: Watched::default(),
            furnished: SystemTime::now(),
        };
        den.furnish(tenant.unconfined)?;
        den.replace_mounts(tenant)?;
        den.replace_arguments(tenant)?;
        if command.hosting.is_none() {
            for folder in folders_of_program(command) {
                den.show(folder);
            }
        }
        den.replace_secrets(command)?;
        den.furnished = SystemTime::now();
        Ok(den)
    }

    /// The folder that all of it is in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the canaries that stand in a text.
    pub(super) fn sightings(&self, text: &str) -> Vec<(&Canary, Form)> {
        let text = Searched::new(text);
        self.canaries.iter().filter_map(|canary| Some((canary, canary.stands_in(&text)?))).collect()
    }

    /// Returns the files of the home that somebody has opened since this was asked last.
    pub(super) fn opened(&self) -> Vec<String> {
        self.watched.opened()
    }

    /// Tells whether it is seen which files of the home are opened.
    pub(super) fn sees_files(&self) -> bool {
        self.watched.sees()
    }

    /// Looks at the folders as a server has them whose processes these are; nothing where that cannot be seen.
    pub(super) fn look(&self, processes: impl Iterator<Item = u32>) -> Option<Inside> {
        let root = if self.setting.folders.is_empty() { PathBuf::from("/") } else { self.root(processes)? };
        let at = |seen: &str| root.join(seen.trim_start_matches('/'));
        let written = self.given.iter().filter(|given| has_newer(&at(&given.seen), self.furnished));
        let is_full =
            |folder: &&String| statvfs(&at(folder)).is_ok_and(|about| about.blocks_available() == 0);
        let temporary = TEMPORARY.to_owned();
        let folders = self.setting.folders.iter().chain([&temporary]).filter(|_| root != Path::new("/"));
        let full = folders.filter(is_full).map(|folder| self.hide(folder));
        Some(Inside { written: written.map(|given| given.path.clone()).collect(), full: full.collect() })
    }

    /// Returns the root of a process that sees the files of this place.
    fn root(&self, mut processes: impl Iterator<Item = u32>) -> Option<PathBuf> {
        let (ours, theirs) = self.setting.files.first()?;
        let is = |path: &Path| {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
        };
        let ours = is(ours)?;
        processes.find_map(|process| {
            let root = PathBuf::from(format!("/proc/{process}/root"));
            (is(&root.join(theirs.trim_start_matches('/'))) == Some(ours)).then_some(root)
        })
    }

    /// Names a path as people do: `~` is the home, which is gone by the time somebody reads of it.
    pub(super) fn hide(&self, path: &str) -> String {
        let given = |path: String, given: &Given| path.replace(&given.seen, &given.path);
        self.given.iter().fold(path.to_owned(), given).replace(&self.home, "~")
    }

    /// Returns what it sees of the machine as it is.
    pub(super) fn shown(&self) -> impl Iterator<Item = String> {
        let mounts =
            self.hosting.mounts.iter().filter(|mount| !Path::new(&mount.path).starts_with(&self.folder));
        mounts.map(|mount| mount.to.clone())
    }

    fn furnish(&mut self, unconfined: bool) -> anyhow::Result<()> {
        let home = self.folder.join("home");
        if !unconfined {
            self.setting.folders.push(self.home.clone());
        }
        for (name, form) in FILES {
            let path = home.join(name);
            let canary = Canary::new(Kept::Hidden(format!("~/{name}")), "", &random()?);
            write(&path, &form.replace("{}", &canary.value))?;
            self.watched.add(&path, format!("~/{name}"));
            self.canaries.push(canary);
            if !unconfined {
                self.setting.files.push((path, format!("{}/{name}", self.home)));
            }
        }
        self.paths.hidden = Some(format!("{}/Documents/diary.txt", self.home));
        if unconfined {
            let work = self.folder.join("work");
            make_folder(&work)?;
            self.command.cwd.get_or_insert(work.display().to_string());
        }
        self.command.env.insert("HOME".to_owned(), self.home.clone());
        Ok(())
    }

    /// Puts a folder with canaries in the place of each that is mounted, but for those in which the program lies.
    fn replace_mounts(&mut self, tenant: &Tenant<'_>) -> anyhow::Result<()> {
        let command = tenant.command;
        let of_program = |mount: &Mount| {
            let mut words = std::iter::once(&command.program).chain(&command.args).map(Path::new);
            tenant.prepared.contains(mount) || words.any(|word| word.starts_with(&mount.to) && word.is_file())
        };
        let mounts = tenant.command.hosting.iter().flat_map(|hosting| &hosting.mounts);
        for mount in mounts {
            if of_program(mount) || Path::new(&mount.path).is_file() {
                self.hosting.mounts.push(mount.clone());
            } else {
                self.stand_in(&mount.to, &mount.to, mount.write)?;
            }
        }
        Ok(())
    }

    /// Puts a folder with canaries in the place of each that the arguments name.
    fn replace_arguments(&mut self, tenant: &Tenant<'_>) -> anyhow::Result<()> {
        // In an image they are folders of the image.
        let args = if self.hosting.image.is_some() { Vec::new() } else { self.command.args.clone() };
        for (at, argument) in args.iter().enumerate() {
            let of_program = at > 0 && OF_PROGRAM.contains(&args[at - 1].as_str());
            let mounts = self.hosting.mounts.iter().map(|mount| &mount.to);
            let mut known = mounts.chain(self.given.iter().map(|given| &given.seen));
            if of_program
                || !argument.starts_with('/')
                || !Path::new(argument).is_dir()
                || known.any(|known| Path::new(argument).starts_with(known))
            {
                continue;
            }
            let number = self.given.len();
            let seen = match tenant.unconfined {
                true => self.folder.join(format!("given-{number}")).display().to_string(),
                false if can_stand_at(argument) => argument.clone(),
                false => format!("{HOME}/given-{number}"),
            };
            self.stand_in(argument, &seen, true)?;
            self.command.args[at] = seen;
        }
        Ok(())
    }

    /// Makes a folder that stands for `path`, and that the server sees at `seen`.
    fn stand_in(&mut self, path: &str, seen: &str, write_to: bool) -> anyhow::Result<()> {
        let folder = self.folder.join(format!("given-{}", self.given.len()));
        let canary = Canary::new(Kept::Given(format!("{path}/{NOTES}")), "", &random()?);
        write(&folder.join(NOTES), &format!("Notes.\n{}\n", canary.value))?;
        self.canaries.push(canary);
        self.paths.given.get_or_insert(format!("{seen}/{NOTES}"));
        let outside = folder.display().to_string();
        if outside == seen {
            // It is there.
        } else if write_to {
            self.setting.folders.push(seen.to_owned());
            self.setting.files.push((folder.join(NOTES), format!("{seen}/{NOTES}")));
        } else {
            self.hosting.mounts.push(Mount { path: outside, to: seen.to_owned(), write: false });
        }
        self.given.push(Given { path: path.to_owned(), seen: seen.to_owned(), write: write_to });
        Ok(())
    }

    /// Has the server see something of the machine.
    fn show(&mut self, path: String) {
        if self.hosting.mounts.iter().all(|mount| mount.to != path) {
            self.hosting.mounts.push(Mount { to: path.clone(), path, write: false });
        }
    }

    fn replace_secrets(&mut self, command: &Command) -> anyhow::Result<()> {
        let given = command.env.iter().filter(|(name, _)| is_secret(name)).map(|(name, _)| name);
        let mut names: Vec<&str> = given.chain(command.secret_env.keys()).map(String::as_str).collect();
        names.extend(
            BAIT.into_iter()
                .filter(|bait| !command.env.contains_key(*bait) && !command.secret_env.contains_key(*bait)),
        );
        for name in names {
            let canary = Canary::new(Kept::Variable(name.to_owned()), name, &random()?);
            self.command.env.insert(name.to_owned(), canary.value.clone());
            self.canaries.push(canary);
        }
        if let Some((name, value)) = self.mark.split_once('=') {
            self.command.env.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }
}

impl Drop for Den {
    fn drop(&mut self) {
        // What cannot be removed lies among the temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How a server is kept apart: as its description says it comes, with nothing granted to it.
fn strictest(command: &Command) -> Hosting {
    let own = command.hosting.as_deref().cloned().unwrap_or_default();
    Hosting {
        backend: None,
        isolation: own.isolation.max(Isolation::Namespaces),
        network: Network::None,
        mounts: Vec::new(),
        bounds: Bounds::default(),
        ..own
    }
}

/// Tells whether a folder can have another one in its place, in a sandbox.
fn can_stand_at(path: &str) -> bool {
    let path = Path::new(path);
    let mut taken = SYSTEM.iter().chain(&KERNELS).map(Path::new).chain([Path::new(HOME)]);
    !taken.any(|taken| path.starts_with(taken) || taken.starts_with(path)) && path != Path::new(TEMPORARY)
}

/// Returns the folders that a program reads of itself; a file where its folder holds more than a program, or where it is not
/// the first that is named.
pub(super) fn folders_of_program(command: &Command) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let found = programs::find(
        &command.program,
        Path::new("/"),
        &std::env::var_os("PATH").unwrap_or_default(),
        Some(&home),
    );
    let mut seen: Vec<_> =
        found.into_iter().flat_map(|found| found.needs).map(|need| need.display().to_string()).collect();
    let mut see = |path: &Path| {
        let path = path.display().to_string();
        if !seen.contains(&path) && !SYSTEM.iter().any(|system| Path::new(&path).starts_with(system)) {
            seen.push(path);
        }
    };
    let of_option = |at: usize| at > 0 && OF_PROGRAM.contains(&command.args[at - 1].as_str());
    let args = || command.args.iter().enumerate();
    let is_file = |word: &&String| Path::new(word).is_file();
    let mut files = args().filter(|(at, _)| !of_option(*at)).map(|(_, arg)| arg).filter(is_file);
    let own = std::iter::once(&command.program).filter(is_file).chain(files.next());
    let own = own.chain(args().filter(|(at, _)| of_option(*at)).map(|(_, arg)| arg));
    for file in own.map(Path::new).filter(|path| path.is_absolute() && path.exists()) {
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        for file in [file, &real] {
            let own = if file.is_dir() {
                Some(file)
            } else {
                programs::packages_of(file).or_else(|| file.parent())
            };
            let own = own.filter(|folder| folder.components().count() > 2 && !home.starts_with(folder));
            see(own.unwrap_or(file));
        }
    }
    // Who is given a file is not given what lies beside it.
    files.map(Path::new).filter(|file| file.is_absolute()).for_each(see);
    seen
}

/// Tells whether a variable of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET.iter().any(|word| name.contains(word)) || name.ends_with("_KEY")
}

/// Makes a folder that is nobody else's.
fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let make = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, text)
    };
    make().with_context(|| path.display().to_string())
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn den(command: &Command, unconfined: bool) -> Den {
        Den::make(&Tenant { command, prepared: &[], unconfined }).unwrap()
    }

    #[test]
    fn no_secret_gets_in() {
        let command = Command {
            program: "server".into(),
            env: [("API_TOKEN", "real"), ("REGION", "eu")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ..Command::default()
        };
        let den = den(&command, false);
        assert_ne!(den.command.env["API_TOKEN"], "real");
        assert_eq!(den.command.env["REGION"], "eu");
        assert!(den.sightings(&den.command.env["API_TOKEN"]).len() == 1);
        assert_eq!(den.command.env["HOME"], HOME);
        assert!(den.setting.folders.contains(&HOME.to_owned()), "{:?}", den.setting);
        let known = den.setting.files.iter().map(|(_, seen)| seen.as_str()).collect::<Vec<_>>();
        assert!(known.contains(&&*format!("{HOME}/.ssh/id_ed25519")), "{known:?}");
        let named = den.command.env.values().any(|value| value.to_lowercase().contains("portcullis"));
        assert!(!named, "nothing tells it: {:?}", den.command.env);
    }

    #[test]
    fn one_of_the_user_has_a_home_among_the_temporary_files() {
        let den = den(&Command::default(), true);
        assert!(Path::new(&den.home).starts_with(den.folder()) && den.setting == Setting::default());
        assert_eq!(den.look(std::iter::empty()), Some(Inside::default()));
    }

    #[test]
    fn folders_are_replaced_but_for_those_of_the_program() {
        let (folder, other) = (std::env::temp_dir(), tempfile::tempdir().unwrap());
        let (folder, other) = (folder.display().to_string(), other.path().display().to_string());
        let args = ["--directory", &folder, &other, "/usr", "/nowhere", "x"].map(str::to_owned).to_vec();
        let den = den(&Command { args: args.clone(), ..Command::default() }, false);
        let moved = format!("{HOME}/given-1");
        assert_eq!(den.command.args, [&args[..3], std::slice::from_ref(&moved), &args[4..]].concat());
        let given = |path: &str, seen: &str| Given { path: path.into(), seen: seen.into(), write: true };
        assert_eq!(den.given, [given(&other, &other), given("/usr", &moved)]);
        assert_eq!(den.setting.folders, [HOME, &other, &moved]);
        assert_eq!(den.hide(&format!("{moved}/a {HOME}/b")), "/usr/a ~/b");
    }

    #[test]
    fn mounts_are_replaced_but_for_files_and_what_was_prepared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings");
        fs::write(&file, "").unwrap();
        let mount =
            |path: &Path, to: &str, write| Mount { path: path.display().to_string(), to: to.into(), write };
        let prepared = mount(folder.path(), "/prepared", false);
        let mounts = vec![
            mount(folder.path(), "/data", false),
            mount(folder.path(), "/out", true),
            mount(&file, "/settings", false),
            prepared.clone(),
        ];
        let hosting = Hosting { mounts: mounts.clone(), ..Hosting::default() };
        let command = Command { hosting: Some(Box::new(hosting)), ..Command::default() };
        let den = Den::make(&Tenant { command: &command, prepared: &[prepared], unconfined: false }).unwrap();
        let stand_in = mount(&den.folder().join("given-0"), "/data", false);
        assert_eq!(den.hosting.mounts, [&[stand_in], &mounts[2..]].concat());
        assert_eq!(den.setting.folders, [HOME, "/out"]);
    }

    #[test]
    fn who_is_given_a_file_is_not_given_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = folder.path().join(name);
            write(&path, "").unwrap();
            path.display().to_string()
        };
        let (script, settings, hook) = (at("app/main.js"), at("private/settings.json"), at("hooks/it.js"));
        let args = vec!["--import".to_owned(), hook.clone(), script, settings.clone()];
        let seen = folders_of_program(&Command { program: "true".into(), args, ..Command::default() });
        let below = |name: &str| folder.path().join(name).display().to_string();
        for expected in [below("app"), below("hooks"), settings] {
            assert!(seen.contains(&expected), "{expected}: {seen:?}");
        }
        assert!(!seen.contains(&below("private")), "{seen:?}");
    }

    #[test]
    fn goes_with_the_value() {
        let den = den(&Command::default(), false);
        let folder = den.folder().to_owned();
        assert!(folder.exists());
        drop(den);
        assert!(!folder.exists());
    }
}
