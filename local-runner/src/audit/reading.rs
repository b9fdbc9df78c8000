//! Reading the trail, also while a gateway writes it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::audit::{
    Breach, Gathering, Head, Link, Order, Page, Query, Unreadable, Verdict, Verdicts, Verified, verify,
};
use portcullis_core::ports::AuditQuery;
use rusqlite::Connection;

use super::files::{self, Lines};
use super::index;

/// What the one chain of a data folder is called.
const WRITER: &str = "local";

/// The trail of a data folder.
pub(crate) struct Reading {
    folder: PathBuf,
    database: PathBuf,
    connection: Connection,
}

/// What has been found of a page.
struct Found {
    page: Gathering,
    /// The last line that was taken.
    last: Option<u64>,
    /// Where the next page begins; nothing while none is known to follow.
    next: Option<u64>,
}

impl Found {
    /// Takes what is wanted of a segment, whose first line has that number; tells whether to go on.
    fn read(&mut self, query: &Query, cursor: Option<u64>, (first, text): (u64, &str)) -> bool {
        let is_ahead = |id: u64| {
            cursor.is_none_or(|cursor| match query.order {
                Order::Newest => id < cursor,
                Order::Oldest => id > cursor,
            })
        };
        let mut lines: Vec<_> = (first..).zip(text.split_terminator('\n')).collect();
        if query.order == Order::Newest {
            lines.reverse();
        }
        for (id, line) in lines {
            if !is_ahead(id) || !(query.wants_all() || query.matches(line)) {
                continue;
            }
            if self.page.is_full() {
                self.next = self.last;
                return false;
            }
            self.last = Some(id);
            self.page.take(line.to_owned());
        }
        true
    }
}

impl Reading {
    /// Opens the trail of a data folder.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        Self::of(data)?.with_context(|| {
            let data = data.display();
            format!("there is no audit trail in {data} yet: a gateway writes it once it is asked something")
        })
    }

    /// Opens the trail of a data folder; `None` while no gateway has written one.
    fn of(data: &Path) -> anyhow::Result<Option<Self>> {
        let (folder, database) = (files::folder(data), index::path(data));
        let opened = index::open_to_read(&database);
        let connection = opened.with_context(|| format!("cannot read {}", database.display()))?;
        Ok(connection.map(|connection| Self { folder, database, connection }))
    }

    /// Returns a page of the lines that are wanted. A cursor is the number of an entry.
    pub(crate) fn page(&self, query: &Query) -> Result<Page, Unreadable> {
        let cursor: Option<u64> =
            query.cursor.as_ref().map(|text| text.parse().map_err(|_| Unreadable::Cursor)).transpose()?;
        let page = self.read(query, cursor).map_err(|error| Unreadable::Failed(format!("{error:#}")))?;
        page.ok_or(Unreadable::Cursor)
    }

    /// Reads a page; nothing where the cursor is of another trail than this one, which does not reach that far.
    fn read(&self, query: &Query, cursor: Option<u64>) -> anyhow::Result<Option<Page>> {
        // What is written meanwhile is in neither: the page and the number of the last entry fit each other.
        let as_it_is = self.connection.unchecked_transaction()?;
        let newest: Option<u64> = as_it_is.query_row(index::LAST, [], |row| row.get(0))?;
        if query.order == Order::Oldest && cursor > newest.or(Some(0)) {
            return Ok(None);
        }
        let mut found = Found { page: Gathering::new(query), last: cursor, next: None };
        index::search(&as_it_is, query, cursor, |first, text| found.read(query, cursor, (first, text)))?;
        let Found { page, last, next } = found;
        // All up to the newest was looked at, unless more waits.
        let follow =
            if query.order == Order::Newest { newest } else { last.max(newest.filter(|_| next.is_none())) };
        let cursor = |id: Option<u64>| id.map(|id| id.to_string());
        Ok(Some(Page { lines: page.into_lines(), next: cursor(next), follow: cursor(follow) }))
    }

    /// Says what the chain is.
    pub(crate) fn verdict(&self) -> Result<Verdict, Unreadable> {
        match self.verify() {
            Ok(outcome) => Ok(Verdict { writer: WRITER.into(), outcome }),
            Err(error) => Err(Unreadable::Failed(format!("{error:#}"))),
        }
    }

    /// Reads every line, and the database beside them; returns what the chain is, or the first place where it breaks.
    fn verify(&self) -> anyhow::Result<Result<Verified, String>> {
        // Lines that are written meanwhile come after what the head says.
        let head = std::fs::read(files::head_path(&self.folder)).ok().and_then(|text| Head::parse(&text));
        let known: Option<u64> = self.connection.query_row(index::LAST, [], |row| row.get(0))?;
        let listed =
            files::list(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        let mut beside = index::Beside::new(&self.connection)?;
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
                if differs.is_none() && (1..=known.unwrap_or(0)).contains(&id) {
                    differs = match beside.line(id) {
                        Some(kept) if kept == found.text => None,
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

/// The trail of a data folder, for those who read it over HTTP. It is opened anew for each request: there may be none
/// yet, and a reader that holds on to it would keep the database from being tidied.
pub(crate) struct Shelf(PathBuf);

impl Shelf {
    /// Reads the trail of this data folder.
    pub(crate) fn new(data: &Path) -> Self {
        Self(data.to_owned())
    }

    /// Reads where reading may take its time. Of a trail without any entry there is nothing to say.
    fn reading<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Reading) -> Result<T, Unreadable> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Unreadable>> {
        let data = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            let reading = Reading::of(&data).map_err(|error| Unreadable::Failed(format!("{error:#}")))?;
            reading.map_or_else(|| Ok(T::default()), |reading| work(&reading))
        });
        read.map(|done| done.unwrap_or_else(|error| Err(Unreadable::Failed(error.to_string())))).boxed()
    }
}

impl AuditQuery for Shelf {
    fn page(&self, query: Query) -> BoxFuture<'_, Result<Page, Unreadable>> {
        self.reading(move |reading| reading.page(&query))
    }

    fn verify(&self, _: Option<String>) -> BoxFuture<'_, Result<Verdicts, Unreadable>> {
        self.reading(|reading| Ok(Verdicts { writers: vec![reading.verdict()?], next: None }))
    }
}
