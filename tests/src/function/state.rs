//! The execution environments: which of them is ready, what each is busy with, and when it is stopped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Settings;
use super::front::Reply;

/// How long a request waits for an environment that has given its answer and is not ready yet: less than that, and a test of
/// one agent is answered by several environments where the machine is busy, each of which learns of changes in its own time.
const READY_SOON: Duration = Duration::from_secs(2);
/// How long it waits for an answer that is being given to come to its end, which a stream may do at any time, or never.
const GIVEN_SOON: Duration = Duration::from_millis(100);

/// What an environment is told.
pub(super) type Told = Response<Full<Bytes>>;

/// A request that is yet to be answered.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    event: String,
    tenant: Option<String>,
    timeout: u64,
    answer: oneshot::Sender<Reply>,
}

impl Job {
    pub(super) fn new(
        (event, tenant): (String, Option<String>),
        timeout: u64,
        answer: oneshot::Sender<Reply>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("00000000-0000-4000-8000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, event, tenant, timeout, answer }
    }

    /// When its time is over that begins now, in milliseconds since the Unix epoch.
    fn deadline(&self) -> u64 {
        let ends = SystemTime::now() + Duration::from_millis(self.timeout);
        let since = ends.duration_since(UNIX_EPOCH).expect("it is after 1970");
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn to_runtime(&self, deadline: u64) -> Told {
        let told = Response::builder()
            .header("lambda-runtime-aws-request-id", &self.id)
            .header("lambda-runtime-deadline-ms", deadline.to_string())
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:eu-west-1:000000000000:function:portcullis",
            )
            .header("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0");
        let told = match &self.tenant {
            Some(tenant) => told.header("lambda-runtime-aws-tenant-id", tenant),
            None => told,
        };
        told.body(self.event.clone().into()).expect("an answer")
    }

    fn to_extension(&self, deadline: u64) -> Told {
        let event = json!({ "eventType": "INVOKE", "requestId": self.id, "deadlineMs": deadline });
        Response::new(event.to_string().into())
    }
}

/// How far the answer to a request is.
#[derive(Debug)]
enum Answer {
    Awaited(oneshot::Sender<Reply>),
    /// It has begun.
    Begun,
    /// All of it was given.
    Given,
}

/// All environments, by their numbers.
#[derive(Debug, Default)]
pub(super) struct State {
    environments: BTreeMap<u64, Environment>,
    next: u64,
}

#[derive(Debug, Default)]
struct Environment {
    process: Option<i32>,
    /// The tenant that it is for, once it was given a request.
    tenant: Option<String>,
    /// The runtime asks for events.
    runtime: VecDeque<oneshot::Sender<Told>>,
    extension: Extension,
    jobs: BTreeMap<String, Answer>,
    stopped: bool,
    /// Counts the requests.
    requests: u64,
}

#[derive(Debug, Default)]
enum Extension {
    #[default]
    Absent,
    /// It is busy.
    Registered,
    /// It asks for the next event.
    Asks(oneshot::Sender<Told>),
}

impl Environment {
    /// Tells whether it could be given a request.
    fn is_ready(&self, at_a_time: usize) -> bool {
        let asks = !self.runtime.is_empty() && !matches!(self.extension, Extension::Registered);
        asks && self.jobs.len() < at_a_time
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process {
            // It may have ended.
            kill(Pid::from_raw(process), signal).ok();
        }
    }
}

impl State {
    /// Takes note of an environment that is to be started, unless there are as many as may be; returns its number.
    pub(super) fn begin(&mut self, most: usize) -> Option<u64> {
        if self.environments.len() >= most {
            return None;
        }
        self.next += 1;
        self.environments.insert(self.next, Environment::default());
        Some(self.next)
    }

    /// Takes note of an environment's process.
    pub(super) fn started(&mut self, number: u64, process: Option<i32>) {
        if let Some(environment) = self.environments.get_mut(&number) {
            environment.process = process;
        }
    }

    /// Gives a job to an environment that is ready, if there is one; returns its number.
    pub(super) fn take(&mut self, job: Job, settings: &Settings) -> Result<u64, Job> {
        let is_its = |env: &Environment| env.tenant.is_none() || env.tenant == job.tenant;
        let ready =
            self.environments.iter().filter(|(_, env)| env.is_ready(settings.at_a_time) && is_its(env));
        // The platform prefers the one that was used last; those that take turns, the one that was used least.
        let number = if settings.environments > 1 {
            let enough = self.environments.len() >= settings.environments;
            ready.min_by_key(|(_, env)| env.requests).map(|(number, _)| *number).filter(|_| enough)
        } else {
            ready.map(|(number, _)| *number).next()
        };
        let Some((number, environment)) = number.and_then(|n| Some((n, self.environments.get_mut(&n)?)))
        else {
            return Err(job);
        };
        if std::mem::take(&mut environment.stopped) {
            environment.signal(Signal::SIGCONT);
        }
        environment.requests += 1;
        environment.tenant.clone_from(&job.tenant);
        let deadline = job.deadline();
        if let Some(runtime) = environment.runtime.pop_front() {
            runtime.send(job.to_runtime(deadline)).ok();
        }
        if let Extension::Asks(extension) = std::mem::replace(&mut environment.extension, Extension::Absent) {
            extension.send(job.to_extension(deadline)).ok();
            environment.extension = Extension::Registered;
        }
        environment.jobs.insert(job.id, Answer::Awaited(job.answer));
        Ok(number)
    }

    /// How long to wait for an environment that answers, or has answered, and has not asked for the next event.
    pub(super) fn ready_soon(&self) -> Option<Duration> {
        let soon = |environment: &Environment| {
            let of_each = environment.jobs.values().map(|answer| match answer {
                Answer::Awaited(_) => None,
                Answer::Begun => Some(GIVEN_SOON),
                Answer::Given => Some(READY_SOON),
            });
            of_each.min().flatten()
        };
        self.environments.values().filter_map(soon).max()
    }

    /// Takes note that the runtime asks for the next event.
    pub(super) fn runtime_asks(&mut self, number: u64, asks: oneshot::Sender<Told>, at_a_time: usize) {
        if let Some(environment) = self.environments.get_mut(&number) {
            environment.runtime.push_back(asks);
            self.settle(number, at_a_time);
        }
    }

    /// Takes note of an extension.
    pub(super) fn registers(&mut self, number: u64) {
        if let Some(environment) = self.environments.get_mut(&number) {
            environment.extension = Extension::Registered;
        }
    }

    /// Takes note that the extension asks for the next event.
    pub(super) fn extension_asks(&mut self, number: u64, asks: oneshot::Sender<Told>, at_a_time: usize) {
        if let Some(environment) = self.environments.get_mut(&number) {
            environment.extension = Extension::Asks(asks);
            self.settle(number, at_a_time);
        }
    }

    /// Takes who awaits the answer to a request, whose answer comes now.
    pub(super) fn answers(&mut self, number: u64, id: &str) -> Option<oneshot::Sender<Reply>> {
        let answer = self.environments.get_mut(&number)?.jobs.get_mut(id)?;
        match std::mem::replace(answer, Answer::Begun) {
            Answer::Awaited(client) => Some(client),
            begun => {
                *answer = begun;
                None
            }
        }
    }

    /// Takes note that all of an answer was given.
    pub(super) fn has_given(&mut self, number: u64, id: &str) {
        let answer = self.environments.get_mut(&number).and_then(|environment| environment.jobs.get_mut(id));
        if let Some(answer @ Answer::Begun) = answer {
            *answer = Answer::Given;
        }
    }

    /// Forgets what has been answered, and stops an environment that has nothing to do.
    fn settle(&mut self, number: u64, at_a_time: usize) {
        let Some(environment) = self.environments.get_mut(&number) else { return };
        if at_a_time > 1 {
            return environment.jobs.retain(|_, answer| matches!(answer, Answer::Awaited(_)));
        }
        if environment.runtime.is_empty() || matches!(environment.extension, Extension::Registered) {
            return;
        }
        environment.jobs.clear();
        environment.stopped = true;
        environment.signal(Signal::SIGSTOP);
    }

    /// Tells whether a request still keeps an environment busy.
    pub(super) fn is_busy_with(&self, number: u64, id: &str) -> bool {
        self.environments.get(&number).is_some_and(|environment| environment.jobs.contains_key(id))
    }

    /// Ends an environment as a crash would.
    pub(super) fn kill(&mut self, number: u64) {
        if let Some(environment) = self.environments.remove(&number) {
            environment.signal(Signal::SIGKILL);
        }
    }

    /// Ends all environments so.
    pub(super) fn kill_all(&mut self) {
        for environment in std::mem::take(&mut self.environments).into_values() {
            environment.signal(Signal::SIGKILL);
        }
    }

    /// Takes note that an environment has ended; whoever awaits an answer of it gets none.
    pub(super) fn forget(&mut self, number: u64) {
        self.environments.remove(&number);
    }

    /// Tells whether there is such an environment.
    pub(super) fn has(&self, number: u64) -> bool {
        self.environments.contains_key(&number)
    }

    /// Describes all environments.
    pub(super) fn describe(&self) -> Value {
        let described = self.environments.iter().map(|(number, environment)| {
            json!({
                "number": number,
                "process": environment.process,
                "stopped": environment.stopped,
                "busy": environment.jobs.len(),
                "requests": environment.requests,
                "extension": !matches!(environment.extension, Extension::Absent),
            })
        });
        described.collect()
    }

    /// Answers that something is not as it has to be.
    pub(super) fn refusal(status: StatusCode, why: &str) -> Told {
        let mut told = Response::new(json!({ "errorMessage": why }).to_string().into());
        *told.status_mut() = status;
        told
    }
}
