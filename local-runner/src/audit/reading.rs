//! Reading the trail, also while a gateway writes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use portcullis_core::audit::{Breach, Head, Link, Verified, verify};
use rusqlite::{Connection, ToSql};

use super::files::{self, Lines};
use super::index;

/// Which entries are wanted; what is not set, any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) agent: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) decision: Option<String>,
    /// From this moment on, in milliseconds since the Unix epoch.
    pub(crate) since: Option<u64>,
    /// Before this moment.
    pub(crate) until: Option<u64>,
    /// Only those after the entry with this number.
    pub(crate) after: Option<u64>,
    /// At most so many, the last ones.
    pub(crate) limit: Option<u64>,
}

/// The trail of a data folder.
pub(crate) struct Reading {
    folder: PathBuf,
    database: PathBuf,
    connection: Connection,
}

impl Reading {
    /// Opens the trail of a data folder.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let (folder, database) = (files::folder(data), index::path(data));
        if !database.exists() {
            bail!(
                "there is no audit trail in {} yet: a gateway writes it once it is asked something",
                data.display()
            );
        }
        let opened = index::open_to_read(&database);
        let connection = opened.with_context(|| format!("cannot read {}", database.display()))?;
        Ok(Self { folder, database, connection })
    }

    /// Gives the lines that are wanted to `take`, in their order, for as long as it takes them.
    pub(crate) fn query(
        &self,
        filter: &Filter,
        mut take: impl FnMut(u64, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        let texts = [
            ("agent = ?", &filter.agent),
            ("server = ?", &filter.server),
            ("name = ?", &filter.tool),
            ("decision = ?", &filter.decision),
        ];
        for (condition, value) in &texts {
            if let Some(value) = value {
                wanted.push(*condition);
                values.push(value);
            }
        }
        for (condition, value) in [("time >= ?", &filter.since), ("time < ?", &filter.until)] {
            if let Some(value) = value {
                wanted.push(condition);
                values.push(value);
            }
        }
        let after = filter.after.unwrap_or(0);
        let limit = filter.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        values.extend([&after as &dyn ToSql, &limit]);
        let mut statement = self.connection.prepare(&index::select(&wanted, limit))?;
        let mut rows = statement.query(&values[..])?;
        while let Some(row) = rows.next()? {
            take(row.get(0)?, row.get_ref(1)?.as_str()?)?;
        }
        Ok(())
    }

    /// Reads every line, and the database beside them; returns what the chain is, or the first place where it breaks.
    pub(crate) fn verify(&self) -> anyhow::Result<Result<Verified, String>> {
        // Lines that are written meanwhile come after what the head says.
        let head = std::fs::read(files::head_path(&self.folder)).ok().and_then(|text| Head::parse(&text));
        let known: u64 =
            self.connection.query_row("SELECT ifnull(max(id), 0) FROM entries", [], |row| row.get(0))?;
        let listed =
            files::list(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        let mut compare = self.connection.prepare("SELECT line FROM entries WHERE id = ?1")?;
        let (mut places, mut broken, mut differs) = (Vec::new(), None, None);
        let lines = Lines::new(listed).map_while(|line| match line {
            Ok(found) => {
                if found.line == 1 {
                    places.push((found.path.clone(), 0_u64));
                }
                if let Some(place) = places.last_mut() {
                    place.1 = found.line;
                }
                let id = Link::read(&found.text).map_or(0, |link| link.id);
                if differs.is_none() && (1..=known).contains(&id) {
                    let kept: Option<String> = compare.query_row([id], |row| row.get(0)).ok();
                    differs = match kept {
                        Some(kept) if kept.as_bytes() == found.text => None,
                        Some(_) => Some(format!("entry {id}: differs from the line in the file")),
                        None => Some(format!("entry {id}: was removed")),
                    };
                }
                Some(found.text)
            }
            Err(error) => {
                broken = Some(error);
                None
            }
        });
        let outcome = verify(lines, head.as_ref());
        if let Some(error) = broken {
            return Err(error).with_context(|| format!("cannot read {}", self.folder.display()));
        }
        Ok(match (outcome, head, differs) {
            (Err(breach), ..) => Err(self.placed(&breach, &places)),
            (Ok(found), None, _) if found.entries > 0 => {
                Err(format!("{}: is missing or no head", files::head_path(&self.folder).display()))
            }
            (Ok(_), _, Some(differs)) => Err(format!("{}: {differs}", self.database.display())),
            (Ok(found), ..) => Ok(found),
        })
    }

    /// Says where in which file something is wrong.
    fn placed(&self, breach: &Breach, files: &[(PathBuf, u64)]) -> String {
        let mut line = breach.line;
        for (path, lines) in files {
            if line <= *lines {
                return format!("{}:{line}: entry {}: {}", path.display(), breach.entry, breach.fault);
            }
            line -= lines;
        }
        let path = files.last().map_or(&self.folder, |(path, _)| path);
        format!("{}: entry {}: {}", path.display(), breach.entry, breach.fault)
    }
}
