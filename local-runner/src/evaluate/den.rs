//! Where a server is evaluated: a home with canaries in it, stand-ins for the folders that it was given, and canaries in the
//! place of its secrets.
//!
//! **No secret of the configuration and no file of the user gets in.** A variable that names a secret has a canary, whatever
//! its value is; an argument that is a folder of the machine is replaced by one that holds canaries.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use portcullis_core::config::Command;

use super::canary::{Canary, Kept, Searched};
use super::inputs::Paths;

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
        let id: String = random::<40>()?[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = std::env::temp_dir().join(format!("portcullis-evaluation-{id}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut den = Self {
            folder: fs::canonicalize(&folder).with_context(|| folder.display().to_string())?,
            canaries: Vec::new(),
            command: Command { secret_env: Default::default(), ..command.clone() },
            stand_ins: Vec::new(),
            mark: format!("PORTCULLIS_EVALUATION={id}"),
            paths: Paths::default(),
            watched: Vec::new(),
        };
        den.furnish()?;
        den.replace_folders()?;
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
        read.iter().for_each(|path| age(path));
        read.iter().map(|path| format!("~/{}", path.strip_prefix(&home).unwrap_or(path).display())).collect()
    }

    fn furnish(&mut self) -> anyhow::Result<()> {
        let home = self.home();
        fs::create_dir_all(self.folder.join("tmp"))?;
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
        self.watched.iter().for_each(|path| age(path));
        self.paths.hidden = Some(home.join("Documents/diary.txt").display().to_string());
        let env = &mut self.command.env;
        for (name, folder) in [("HOME", home.clone()), ("TMPDIR", self.folder.join("tmp"))] {
            env.insert(name.to_owned(), folder.display().to_string());
        }
        for (name, folder) in
            [("CACHE", ".cache"), ("CONFIG", ".config"), ("DATA", ".local/share"), ("STATE", ".local/state")]
        {
            env.insert(format!("XDG_{name}_HOME"), home.join(folder).display().to_string());
        }
        Ok(())
    }

    /// Puts a folder with canaries in the place of each that the arguments name.
    fn replace_folders(&mut self) -> anyhow::Result<()> {
        let args = self.command.args.clone();
        for (at, argument) in args.iter().enumerate() {
            let of_program = at > 0 && OF_PROGRAM.contains(&args[at - 1].as_str());
            if of_program || !argument.starts_with('/') || !Path::new(argument).is_dir() {
                continue;
            }
            let stand_in = self.folder.join(format!("given-{at}"));
            let canary = Canary::new(Kept::Given(format!("{argument}/notes.txt")), "", &random()?);
            let notes = stand_in.join("notes.txt");
            write(&notes, &format!("Notes.\n{}\n", canary.value))?;
            self.canaries.push(canary);
            self.paths.given.get_or_insert(notes.display().to_string());
            self.command.args[at] = stand_in.display().to_string();
            self.stand_ins.push((argument.clone(), stand_in));
        }
        Ok(())
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
