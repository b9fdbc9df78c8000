//! Where the configuration comes from: a file, a folder, or the demo.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_core::config::{self, Command, Config, Parsed, Processes, Server, Source, Transport};
use portcullis_core::control::{self, Managed, Means, Strangers};
use portcullis_core::names::ServerName;
use std::time::Duration;

use crate::instances::words::Given;
use crate::versions::Versions;

/// What `--config` says for a configuration that is pushed.
pub(crate) const REMOTE: &str = "remote";

/// The files that a folder is searched for, the first that is there wins.
const NAMES: [&str; 3] = ["portcullis.yaml", "portcullis.yml", "mcp.json"];

/// A configuration as it was found.
pub(crate) struct Found {
    /// What it says, and what is wrong with it.
    pub(crate) parsed: Parsed,
    /// Where it stands, for people.
    pub(crate) origin: String,
    /// Where it was read.
    pub(crate) place: Place,
    /// What the gateway knows of where it comes from.
    pub(crate) managed: Managed,
}

impl Found {
    /// Returns it as it is passed on to gateways that are identities' own.
    pub(crate) fn given(&self) -> anyhow::Result<Given> {
        Ok(match (&self.place, &self.managed) {
            (Place::Files { sources, .. }, _) => Given::files(sources),
            (Place::Store(folder), Managed::ByStore(known)) => {
                let newest = Versions::make(folder)?.newest()?;
                let in_force = newest.filter(|newest| newest.stamp.version == known.version);
                in_force.map_or_else(Given::default, |in_force| Given::pushed(&in_force.text))
            }
            _ => Given::default(),
        })
    }
}

/// Where a configuration is read.
#[derive(Default)]
pub(crate) enum Place {
    /// In a file, or a folder with one; what was read there.
    Files { path: PathBuf, sources: Vec<Source> },
    /// In the store of this data folder.
    Store(PathBuf),
    /// Nowhere: it is the demo.
    #[default]
    Nowhere,
}

/// Reads the configuration at `path`; without one, that of the current folder, and where there is none, the demo.
pub(crate) fn find(path: Option<&Path>) -> anyhow::Result<Found> {
    let own = || Path::new(NAMES[0]).is_file().then(|| PathBuf::from(NAMES[0]));
    let Some(path) = path.map(Path::to_owned).or_else(own) else { return demo() };
    let sources = look(&path)?;
    let origin = origin(&sources);
    let managed = Managed::ByFiles(origin.clone());
    Ok(Found { parsed: parse(&sources), origin, place: Place::Files { path, sources }, managed })
}

/// Reads the configuration that was pushed to a data folder; where there is none that can be served, `otherwise` is.
pub(crate) fn stored(folder: &Path, strangers: Strangers, otherwise: Config) -> anyhow::Result<Found> {
    let newest = Versions::make(folder)?.newest()?;
    let env = |name: &str| std::env::var(name).ok();
    let means = Means { env: &env, processes: Processes::Started, strangers };
    let (config, known, problems) = control::begin(newest.as_ref(), &means, otherwise);
    let origin = match (known.version, &newest) {
        (0, None) => {
            "the data folder, to which nothing was pushed yet (`portcullis push --to URL`)".to_owned()
        }
        (0, Some(newest)) => {
            format!("the data folder, whose version {} has errors: push another", newest.stamp.version)
        }
        (version, _) => format!("the data folder, version {version}"),
    };
    let parsed = Parsed { config, problems, ..Parsed::default() };
    let place = Place::Store(folder.to_owned());
    Ok(Found { parsed, origin, place, managed: Managed::ByStore(known) })
}

/// Reads the file that a path, of a file or of a folder with one, leads to at this moment, and MCPX's second file where
/// it lies beside an `mcp.json`: without it, nobody's permissions would be known.
pub(crate) fn look(path: &Path) -> anyhow::Result<Vec<Source>> {
    let file = if path.is_dir() {
        let within = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
        within.with_context(|| format!("{} has none of {}", path.display(), NAMES.join(", ")))?
    } else {
        path.to_owned()
    };
    let beside = file.with_file_name("app.yaml");
    let is_mcpx = file.file_name().is_some_and(|name| name == "mcp.json") && beside.exists();
    load(&if is_mcpx { vec![file, beside] } else { vec![file] })
}

/// Understands files, with the environment of this process.
pub(crate) fn parse(sources: &[Source]) -> Parsed {
    config::parse(sources, &|name| std::env::var(name).ok())
}

/// Says where files stand, for people.
pub(crate) fn origin(sources: &[Source]) -> String {
    sources.iter().map(|source| source.path.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Reads files as they are, for core to understand.
pub(crate) fn load(files: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    files.iter().map(|file| load_one(file)).collect()
}

fn load_one(file: &Path) -> anyhow::Result<Source> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Source { path: file.display().to_string(), text })
}

/// The configuration of nothing: a server of this program's own.
fn demo() -> anyhow::Result<Found> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let command = Command {
        program: program.to_str().context("this program's path is not Unicode")?.to_owned(),
        args: vec!["demo".into()],
        ..Command::default()
    };
    let server = Server {
        transport: Transport::Stdio(command),
        timeout: Duration::from_mins(1),
        cache: Duration::from_mins(1),
        enabled: true,
        elicitation: portcullis_core::config::Elicitation::default(),
        approval: portcullis_core::config::Approving::default(),
    };
    let name = ServerName::parse("demo").expect("a valid name");
    let config = Config { servers: [(name, server)].into(), ..Config::default() };
    let parsed = Parsed { config, ..Parsed::default() };
    let origin = "the built-in demo, without a configuration".to_owned();
    let managed = Managed::ByFiles(origin.clone());
    Ok(Found { parsed, origin, place: Place::Nowhere, managed })
}
