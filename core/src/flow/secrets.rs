//! Secrets in use: a request to a server gets its secret headers, a process its secret variables.
//!
//! **A value is read from the store when it is needed**: once for all who need it at a time, again when it has grown old or
//! a server answers 401. It goes into that one request or process, and nowhere else (ADR 0025). A server that needs none
//! waits for nothing here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{self, Either};
use http::{HeaderName, HeaderValue, StatusCode};
use zeroize::Zeroizing;

use super::ask::{AnswerBody, MakeRequest};
use crate::config::Transport;
use crate::control::StoreError;
use crate::error::Unreachable;
use crate::gateway::Gateway;
use crate::oauth::connection::Token;
use crate::ports::Host;
use crate::secrets::held::{Freshness, Held, NoValue, Taken};
use crate::secrets::{Secret, SecretName, SecretText, Values, Veil, header_value};
use crate::sorted::{SortedMap, SortedSet};
use crate::upstream::{Nudge, Server, Status, lock};

/// How long the store may take for one value.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of secrets, by name.
#[derive(Default)]
pub(crate) struct Secrets {
    slots: Mutex<SortedMap<SecretName, Arc<Slot>>>,
    /// Counts the readings.
    readings: AtomicU64,
}

#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
    /// Held while the store is read.
    reading: futures::lock::Mutex<()>,
}

/// Headers with the values of secrets in them.
pub(crate) type SecretHeaders = Vec<(HeaderName, HeaderValue)>;

/// What requests to a server can carry.
struct Filled {
    current: SecretHeaders,
    /// The same with the values before the last rotation, where there are some.
    previous: Option<SecretHeaders>,
    /// The latest of the readings that gave it.
    reading: u64,
}

impl Filled {
    /// Returns what the next request carries: what counts, unless the server has refused just that and took what was
    /// before.
    fn first(&self, refused: Option<&SecretHeaders>) -> &SecretHeaders {
        match &self.previous {
            Some(previous) if refused == Some(&self.current) => previous,
            _ => &self.current,
        }
    }

    /// Returns what may be taken where `sent` was refused.
    fn instead_of(&self, sent: &SecretHeaders) -> Option<&SecretHeaders> {
        std::iter::once(&self.current).chain(&self.previous).find(|headers| *headers != sent)
    }
}

impl Secrets {
    fn slot(&self, name: &SecretName) -> Arc<Slot> {
        lock(&self.slots).entry(name.clone()).or_default().clone()
    }

    fn changed(&self, names: &[SecretName]) {
        let slots = lock(&self.slots);
        names.iter().filter_map(|name| slots.get(name)).for_each(|slot| lock(&slot.held).changed());
    }

    /// Lets go of the secrets that nobody needs any more.
    pub(crate) fn keep_only(&self, needed: &SortedSet<&SecretName>) {
        lock(&self.slots).retain(|name, _| needed.contains(name));
    }

    /// Returns why values cannot be read, and of how many secrets, where that is so.
    pub(crate) fn trouble(&self) -> Option<(StoreError, usize)> {
        let slots = lock(&self.slots);
        let mut troubles = slots.values().filter_map(|slot| lock(&slot.held).trouble().cloned());
        let first = troubles.next()?;
        Some((first, 1 + troubles.count()))
    }

    /// Returns a text without the values of these secrets, as far as they are known.
    fn redacted(&self, text: &str, names: &SortedSet<&SecretName>) -> String {
        let slots = lock(&self.slots);
        let slots = names.iter().filter_map(|name| slots.get(*name));
        let values: Vec<_> = slots.filter_map(|slot| lock(&slot.held).values().cloned()).collect();
        let known = values.iter().flat_map(|values| std::iter::once(&values.current).chain(&values.previous));
        Veil::new(known).over(text).into_owned()
    }
}

impl<H: Host> Gateway<H> {
    /// Fetches as [`Gateway::fetch`] does, with the server's secret headers. Where it answers 401, they are read anew; what
    /// differs from what was sent is tried once: another value, or the value before a rotation.
    pub(super) async fn fetch_with_secrets(
        &self,
        server: &Server,
        request: &MakeRequest<'_>,
    ) -> Result<(http::response::Parts, AnswerBody), Unreachable> {
        let with = |headers: &SecretHeaders| {
            let mut request = request();
            for (name, value) in headers {
                request.headers_mut().insert(name, value.clone());
            }
            request
        };
        let filled = self.filled(server, Freshness::Recent).await?;
        let sent = filled.first(lock(&server.refused).as_ref()).clone();
        let answer = self.fetch_plain(server, &|| with(&sent)).await?;
        if answer.0.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let Ok(anew) = self.filled(server, Freshness::After(filled.reading)).await else { return Ok(answer) };
        let Some(instead) = anew.instead_of(&sent) else { return Ok(answer) };
        drop(answer);
        let answer = self.fetch_plain(server, &|| with(instead)).await?;
        if answer.0.status != StatusCode::UNAUTHORIZED {
            let is_previous = *instead != anew.current;
            if is_previous {
                tracing::warn!(server = %server.name, "a server refuses a secret that was rotated, and takes the value before");
            }
            *lock(&server.refused) = is_previous.then_some(anew.current);
        }
        Ok(answer)
    }

    /// Returns what requests to a server can carry of its secret headers.
    async fn filled(&self, server: &Server, wanted: Freshness) -> Result<Filled, Unreachable> {
        let texts = server.secret_headers();
        let names = texts.iter().flat_map(|(_, text)| text.names()).collect();
        let taken = self.values_of(server, names, wanted).await?;
        let of = |which: &dyn Fn(&Values) -> &Secret| {
            let filled = texts.iter().map(|(header, text)| {
                let whole = fill(text, &taken, which);
                header_value(&whole)
                    .map(|value| (header.clone(), value))
                    .ok_or_else(|| no_header(server, header, text))
            });
            filled.collect::<Result<SecretHeaders, _>>()
        };
        let current = of(&|values| &values.current)?;
        let has_previous = taken.values().any(|taken| taken.values.previous.is_some());
        let previous =
            has_previous.then(|| of(&|values| values.previous.as_ref().unwrap_or(&values.current)));
        let reading = taken.values().map(|taken| taken.reading).max().unwrap_or_default();
        // A value before that no header can have is none to go back to.
        Ok(Filled { current, previous: previous.and_then(Result::ok), reading })
    }

    /// Returns a command with the values of its secrets in its environment.
    #[cfg(feature = "hosting")]
    pub(super) async fn furnished(
        &self,
        server: &Server,
        command: &crate::config::Command,
    ) -> Result<crate::config::Command, Unreachable> {
        let mut command = command.clone();
        let texts = std::mem::take(&mut command.secret_env);
        let names = texts.values().flat_map(SecretText::names).collect();
        let taken = self.values_of(server, names, Freshness::Recent).await?;
        for (variable, text) in &texts {
            let value = fill(text, &taken, &|values| &values.current);
            command.env.insert(variable.clone(), value.as_str().to_owned());
        }
        command.veil = Veil::new(taken.values().map(|taken| &taken.values.current));
        Ok(command)
    }

    /// Returns the values of secrets that a server needs.
    async fn values_of<'n>(
        &self,
        server: &Server,
        names: SortedSet<&'n SecretName>,
        wanted: Freshness,
    ) -> Result<SortedMap<&'n SecretName, Taken>, Unreachable> {
        let reading = names.into_iter().map(|name| async move {
            let taken = self.secret(name, wanted).await.map_err(|why| no_value(server, name, &why))?;
            Ok((name, taken))
        });
        Ok(future::try_join_all(reading).await?.into_iter().collect())
    }

    /// Returns the value of a secret that is no server's, or why there is none.
    pub(super) async fn secret_value(&self, name: &SecretName) -> Result<Arc<Values>, String> {
        let taken = self.secret(name, Freshness::Recent).await.map_err(|why| why_none(name, &why))?;
        Ok(taken.values)
    }

    /// Returns a secret. Of several who want it at once, one reads the store.
    async fn secret(&self, name: &SecretName, wanted: Freshness) -> Result<Taken, NoValue> {
        let slot = self.0.secrets.slot(name);
        let known = || lock(&slot.held).known(wanted, self.host().now());
        if let Some(known) = known() {
            return known;
        }
        let _one_at_a_time = slot.reading.lock().await;
        if let Some(known) = known() {
            return known;
        }
        let begun = lock(&slot.held).begin();
        let given = self.read_secret(name).await;
        let reading = self.0.secrets.readings.fetch_add(1, Ordering::Relaxed) + 1;
        let mut held = lock(&slot.held);
        if held.read((begun, reading), given, (wanted, self.host().now())) {
            if let Some(trouble) = held.trouble() {
                tracing::error!(secret = %name, "the store of secrets {trouble}; a value that is known goes on being used");
            } else {
                tracing::info!(secret = %name, "the store of secrets can be read again");
            }
        }
        held.outcome()
    }

    async fn read_secret(&self, name: &SecretName) -> Result<Option<Values>, StoreError> {
        let none = || StoreError("is not there: this gateway's host keeps none".into());
        let reading = self.host().secrets().ok_or_else(none)?.values(name.clone());
        match future::select(reading, std::pin::pin!(self.host().sleep(PATIENCE))).await {
            Either::Left((given, _)) => given,
            Either::Right(_) => Err(StoreError(format!("did not answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Returns what signs in at a server: what counts, what counted before a rotation, and which reading gave it.
    pub(super) async fn credential(
        &self,
        server: &Server,
        text: &SecretText,
        wanted: Freshness,
    ) -> Result<(Zeroizing<String>, Option<Zeroizing<String>>, u64), Unreachable> {
        let taken = self.values_of(server, text.names(), wanted).await?;
        let reading = taken.values().map(|taken| taken.reading).max().unwrap_or_default();
        let current = fill(text, &taken, &|values| &values.current);
        let has_previous = taken.values().any(|taken| taken.values.previous.is_some());
        let previous = has_previous
            .then(|| fill(text, &taken, &|values| values.previous.as_ref().unwrap_or(&values.current)));
        Ok((current, previous, reading))
    }

    /// Takes note that secrets may have other values now, or none: they are read when they are next needed. Servers that
    /// are down and need one of them are tried again at once, and processes that got one start anew once their calls are
    /// over.
    pub fn secrets_changed(&self, names: &[SecretName]) {
        self.0.secrets.changed(names);
        let snapshot = self.snapshot();
        for server in snapshot.servers.values().chain(&self.0.users.servers()) {
            if !server.settings.secrets().iter().any(|needed| names.contains(needed)) {
                continue;
            }
            server.signed_in.changed();
            server.tries_again();
            if let (Transport::Stdio(_), Some(established)) =
                (&server.settings.transport, server.shared.current.load_full())
            {
                server.shared.forget(&established);
            } else if !matches!(server.status(), Status::Down(_)) {
                continue;
            }
            let _ = server.nudge.unbounded_send(Nudge::Changed);
        }
    }

    /// Returns an error about a server without the values of its secrets, should it have repeated one.
    pub(super) fn without_secrets(&self, server: &Server, error: Unreachable) -> Unreachable {
        let names = server.settings.secrets();
        if names.is_empty() && server.sign_on().is_none() && server.consent().is_none() {
            return error;
        }
        let message = server.signed_in.redacted(&self.0.secrets.redacted(&error.message, &names));
        let presented = lock(&server.presented);
        let veil = Veil::new(presented.iter().map(Token::secret));
        Unreachable { message: veil.over(&message).into_owned(), ..error }
    }
}

fn fill(
    text: &SecretText,
    taken: &SortedMap<&SecretName, Taken>,
    which: &dyn Fn(&Values) -> &Secret,
) -> Zeroizing<String> {
    text.filled(|name| taken.get(name).map_or("", |taken| which(&taken.values).reveal()))
}

fn no_value(server: &Server, name: &SecretName, why: &NoValue) -> Unreachable {
    server.error(format!("needs {}", why_none(name, why))).refused()
}

fn why_none(name: &SecretName, why: &NoValue) -> String {
    let why = match why {
        NoValue::Missing => format!("which is not set: `portcullis secrets set {name}`"),
        NoValue::Unreadable(_) => "which cannot be read for now; the log says why".to_owned(),
    };
    format!("the secret {:?}, {why}", name.as_str())
}

fn no_header(server: &Server, header: &HeaderName, text: &SecretText) -> Unreachable {
    let names: Vec<_> = text.names().iter().map(|name| format!("{:?}", name.as_str())).collect();
    let message = format!(
        "needs the secret {} in the header `{header}`, and its value has characters that a header cannot have",
        names.join(", ")
    );
    server.error(message).refused()
}
