//! Where a server is evaluated: a home with canaries in it, stand-ins for the folders that it was given, and canaries in the
//! place of its secrets.
//!
//! **No secret of the configuration and no file of the user gets in.** A variable that names a secret has a canary, whatever
//! its value is; an argument that is a folder of the machine is replaced by one that holds canaries.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use portcullis_core::config::{Bounds, Command, Hosting, Isolation, Mount, Network};
use portcullis_core::sorted::SortedMap;

use super::canary::{Canary, Kept, Searched, hex};
use super::inputs::Paths;
use crate::hosting::TEMPORARY;
use crate::hosting::programs::{self, SYSTEM};

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
/// Options whose value is where the program itself lies.
const OF_PROGRAM: [&str; 8] =
    ["--directory", "--prefix", "--project", "--cwd", "-C", "--package", "--from", "--experimental-loader"];
/// Words in the names of variables that hold secrets.
const SECRET: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL"];

/// The place, which goes with the value.
#[derive(Debug)]
pub(super) struct Den {
    folder: PathBuf,
    pub(super) canaries: Vec<Canary>,
    /// What is started in it.
    pub(super) command: Command,
    /// How it is kept apart.
    pub(super) hosting: Hosting,
    /// Which folders stand for which.
    pub(super) stand_ins: Vec<(String, PathBuf)>,
    /// What is in the environment of every process that belongs to it, and of no other.
    pub(super) mark: String,
    pub(super) paths: Paths,
    /// Files of the home, whose times tell whether somebody read them.
    watched: Vec<PathBuf>,
}

impl Den {
    /// Makes the place for a command.
    pub(super) fn make(command: &Command) -> anyhow::Result<Self> {
        let id = hex(&random::<8>()?);
        let folder = std::env::temp_dir().join(format!("portcullis-evaluation-{id}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut den = Self {
            folder: fs::canonicalize(&folder).with_context(|| folder.display().to_string())?,
            canaries: Vec::new(),
            command: Command { secret_env: SortedMap::default(), ..command.clone() },
            hosting: strictest(command),
            stand_ins: Vec::new(),
            mark: format!("PORTCULLIS_EVALUATION={id}"),
            paths: Paths::default(),
            watched: Vec::new(),
        };
        den.furnish()?;
        den.replace_mounts(command)?;
        den.replace_folders()?;
        den.mount(command);
        den.replace_secrets(command)?;
        Ok(den)
    }

    /// The folder that all of it is in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The home of the server.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The folder that the server runs in where its description names none.
    pub(super) fn work(&self) -> String {
        self.folder.join("work").display().to_string()
    }

    /// Returns the canaries that stand in a text.
    pub(super) fn sightings(&self, text: &str) -> Vec<(&Canary, super::canary::Form)> {
        let text = Searched::new(text);
        self.canaries.iter().filter_map(|canary| Some((canary, canary.stands_in(&text)?))).collect()
    }

    /// Returns the files of the home that somebody has read since this was asked last; nothing where the file system does not
    /// say.
    pub(super) fn read_since(&self) -> Vec<String> {
        let home = self.home();
        let read = self.watched.iter().filter(|path| was_read(path)).collect::<Vec<_>>();
        for path in &read {
            age(path);
        }
        read.iter().map(|path| format!("~/{}", path.strip_prefix(&home).unwrap_or(path).display())).collect()
    }

    fn furnish(&mut self) -> anyhow::Result<()> {
        let home = self.home();
        fs::create_dir_all(self.folder.join("work"))?;
        for (name, form) in FILES {
            let path = home.join(name);
            let canary = Canary::new(Kept::Hidden(format!("~/{name}")), "", &random()?);
            write(&path, &form.replace("{}", &canary.value))?;
            self.canaries.push(canary);
            self.watched.push(path);
        }
        let probe = self.folder.join("probe");
        write(&probe, "read")?;
        age(&probe);
        fs::read(&probe)?;
        if !was_read(&probe) {
            self.watched.clear();
        }
        for path in &self.watched {
            age(path);
        }
        self.paths.hidden = Some(home.join("Documents/diary.txt").display().to_string());
        let work = self.work();
        if self.hosting.image.is_none() {
            self.command.cwd.get_or_insert(work);
        }
        let env = &mut self.command.env;
        env.insert("HOME".to_owned(), home.display().to_string());
        // Where the size of what is written is bounded.
        for name in ["CACHE", "CONFIG", "DATA", "STATE"] {
            env.insert(format!("XDG_{name}_HOME"), format!("{TEMPORARY}/.{}", name.to_ascii_lowercase()));
        }
        Ok(())
    }

    /// Puts a folder with canaries in the place of each that is mounted, but for those in which the program lies.
    fn replace_mounts(&mut self, command: &Command) -> anyhow::Result<()> {
        let Some(hosting) = &command.hosting else { return Ok(()) };
        let of_program = |mount: &Mount| {
            command
                .args
                .iter()
                .any(|argument| Path::new(argument).starts_with(&mount.to) && Path::new(argument).is_file())
        };
        for mount in hosting.mounts.clone() {
            let path = if of_program(&mount) || Path::new(&mount.path).is_file() {
                mount.path
            } else {
                self.stand_in(&mount.to)?.display().to_string()
            };
            self.hosting.mounts.push(Mount { path, ..mount });
        }
        Ok(())
    }

    /// Puts a folder with canaries in the place of each that the arguments name.
    fn replace_folders(&mut self) -> anyhow::Result<()> {
        let args = self.command.args.clone();
        for (at, argument) in args.iter().enumerate() {
            let of_program = at > 0 && OF_PROGRAM.contains(&args[at - 1].as_str());
            let is_mounted =
                self.hosting.mounts.iter().any(|mount| Path::new(argument).starts_with(&mount.to));
            if !of_program && !is_mounted && argument.starts_with('/') && Path::new(argument).is_dir() {
                let stand_in = self.stand_in(argument)?.display().to_string();
                self.paths.given = Some(format!("{stand_in}/notes.txt"));
                self.hosting.mounts.push(Mount { path: stand_in.clone(), to: stand_in.clone(), write: true });
                self.command.args[at] = stand_in;
            }
        }
        Ok(())
    }

    fn stand_in(&mut self, path: &str) -> anyhow::Result<PathBuf> {
        let stand_in = self.folder.join(format!("given-{}", self.stand_ins.len()));
        let canary = Canary::new(Kept::Given(format!("{path}/notes.txt")), "", &random()?);
        write(&stand_in.join("notes.txt"), &format!("Notes.\n{}\n", canary.value))?;
        self.canaries.push(canary);
        self.paths.given.get_or_insert(format!("{path}/notes.txt"));
        self.stand_ins.push((path.to_owned(), stand_in.clone()));
        Ok(stand_in)
    }

    /// Has the server see its surroundings, and where its program lies.
    fn mount(&mut self, command: &Command) {
        let mut mount = |path: String, write| {
            if self.hosting.mounts.iter().all(|mount| mount.to != path) {
                self.hosting.mounts.push(Mount { to: path.clone(), path, write });
            }
        };
        if command.hosting.is_none() {
            for folder in folders_of_program(command) {
                mount(folder, false);
            }
        }
        for folder in ["home", "work"] {
            mount(self.folder.join(folder).display().to_string(), true);
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

/// Returns the folders that a program reads of itself; a file where its folder holds more than a program.
pub(super) fn folders_of_program(command: &Command) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let after_option =
        command.args.windows(2).filter(|pair| OF_PROGRAM.contains(&pair[0].as_str())).map(|pair| &pair[1]);
    let words = std::iter::once(&command.program).chain(&command.args);
    let words = words.filter(|word| Path::new(word).is_file()).chain(after_option);
    let found = programs::find(
        &command.program,
        Path::new("/"),
        &std::env::var_os("PATH").unwrap_or_default(),
        Some(&home),
    );
    let mut folders: Vec<_> =
        found.into_iter().flat_map(|found| found.needs).map(|need| need.display().to_string()).collect();
    for file in words.map(Path::new).filter(|path| path.is_absolute() && path.exists()) {
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        for file in [file, &real] {
            let modules = file.ancestors().filter(|folder| folder.ends_with("node_modules")).last();
            let own = if file.is_dir() { Some(file) } else { modules.or_else(|| file.parent()) };
            let own = own.filter(|folder| folder.components().count() > 2 && !home.starts_with(folder));
            let seen = own.unwrap_or(file).display().to_string();
            if !folders.contains(&seen) && !SYSTEM.iter().any(|system| Path::new(&seen).starts_with(system)) {
                folders.push(seen);
            }
        }
    }
    folders
}

/// Tells whether a variable of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET.iter().any(|word| name.contains(word)) || name.ends_with("_KEY")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let make = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, text)
    };
    make().with_context(|| path.display().to_string())
}

/// Makes a file look as if nobody had read it for long.
fn age(path: &Path) {
    let before = |days: u64| SystemTime::now() - Duration::from_hours(24 * days);
    let times = FileTimes::new().set_accessed(before(30)).set_modified(before(20));
    if let Ok(file) = File::options().write(true).open(path) {
        let _ = file.set_times(times);
    }
}

fn was_read(path: &Path) -> bool {
    let times = fs::metadata(path).and_then(|about| Ok((about.accessed()?, about.modified()?)));
    times.is_ok_and(|(accessed, modified)| accessed > modified)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_gets_in() {
        let command = Command {
            program: "server".into(),
            env: [("API_TOKEN", "real"), ("REGION", "eu")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ..Command::default()
        };
        let den = Den::make(&command).unwrap();
        assert_ne!(den.command.env["API_TOKEN"], "real");
        assert_eq!(den.command.env["REGION"], "eu");
        assert!(den.sightings(&den.command.env["API_TOKEN"]).len() == 1);
        assert!(den.command.env["HOME"].starts_with(den.folder().to_str().unwrap()));
    }

    #[test]
    fn folders_are_replaced_but_for_those_of_the_program() {
        let folder = std::env::temp_dir().display().to_string();
        let args = ["--directory", &folder, &folder, "/nowhere", "x"].map(str::to_owned).to_vec();
        let den = Den::make(&Command { args, ..Command::default() }).unwrap();
        let args = &den.command.args;
        assert_eq!((&args[1], args[3].as_str(), args[4].as_str()), (&folder, "/nowhere", "x"));
        assert_eq!(den.stand_ins, [(folder, PathBuf::from(&args[2]))]);
    }

    #[test]
    fn what_was_read_is_told_once() {
        let den = Den::make(&Command::default()).unwrap();
        if den.watched.is_empty() {
            return;
        }
        assert!(den.read_since().is_empty());
        fs::read(den.home().join(".netrc")).unwrap();
        assert_eq!(den.read_since(), ["~/.netrc"]);
        assert!(den.read_since().is_empty());
    }

    #[test]
    fn goes_with_the_value() {
        let den = Den::make(&Command::default()).unwrap();
        let folder = den.folder().to_owned();
        assert!(folder.exists());
        drop(den);
        assert!(!folder.exists());
    }
}
