//! From what was seen of a server to what speaks against it, and to the verdict.
//!
//! **Pure.** High is what no honest server does; medium is what somebody should look at; low is bad work; a note is worth
//! knowing. One high risk makes a server dangerous, one medium asks for a review.

use std::net::{IpAddr, Ipv4Addr};

use super::canary::Kept;
use super::link::Breach;
use super::observed::{Called, Observed, Outcome, Sighting, Way};
use super::offered::Difference;
use super::report::{Risk, Severity, Verdict, Wanted};
use super::texts::{self, risk};

/// The most processes and threads that raise no question.
const TASKS: u64 = 128;
/// The most memory, in bytes.
const MEMORY: u64 = 512 << 20;
/// The largest answer, in bytes.
const ANSWER: u64 = 1 << 20;
/// How much standard error is too much, in bytes.
const ERRORS: u64 = 1 << 20;
/// How much is written to files at most, in bytes.
const WRITTEN: u64 = 32 << 20;
/// Processor time of one call, in milliseconds.
const PROCESSOR: u64 = 1000;

/// How much evidence of the same is shown, in bytes.
const EVIDENCE: usize = 300;

/// Returns what speaks against a server, the gravest first.
pub(super) fn risks(server: &str, observed: &Observed, others: &[String]) -> Vec<Risk> {
    let mut risks = Vec::new();
    for visit in &observed.visits {
        // Whoever is shown the same text finds the same in it.
        risks.extend(texts::risks(server, &visit.offered, others));
    }
    offers(observed, &mut risks);
    protocol(observed, &mut risks);
    for sighting in &observed.sightings {
        risks.extend(leak(observed, sighting));
    }
    peeks(observed, &mut risks);
    calls(&observed.calls, &mut risks);
    takes(observed, &mut risks);
    leaves(observed, &mut risks);
    network(observed, &mut risks);
    system(observed, &mut risks);
    risks.sort();
    risks.dedup_by(|later, kept| {
        let same = (&later.code, &later.about, &later.what) == (&kept.code, &kept.about, &kept.what);
        if same && !kept.evidence.contains(&later.evidence) && kept.evidence.len() < EVIDENCE {
            kept.evidence += "; ";
            kept.evidence += &later.evidence;
        }
        same
    });
    risks
}

/// Returns what follows from the risks; a server that never served cannot be trusted.
pub(super) fn verdict(risks: &[Risk], served: bool) -> Verdict {
    match risks.iter().map(|risk| risk.severity).min() {
        Some(Severity::High) => Verdict::Dangerous,
        Some(Severity::Medium) => Verdict::Review,
        _ if served => Verdict::Trustworthy,
        _ => Verdict::Review,
    }
}

fn offers(observed: &Observed, risks: &mut Vec<Risk>) {
    for drift in &observed.drift {
        let severity = match (drift.announced, drift.after_calls) {
            (true, true) => Severity::Medium,
            _ => Severity::High,
        };
        let when = match (drift.after_calls, drift.announced) {
            (true, true) => "after its tools were called",
            (true, false) => "after its tools were called, and does not say so",
            (false, _) => "from one moment to the next",
        };
        for difference in &drift.differences {
            let what = format!("{} {when}", difference.how);
            let why = "What was approved is not what is used.";
            risks.push(risk(severity, "drift", &difference.item, &what, why, &difference.evidence));
        }
    }
    let Some((first, rest)) = observed.visits.split_first() else { return };
    for visit in
        rest.iter().filter(|visit| visit.identity.failure.is_none() && first.identity.failure.is_none())
    {
        // A server may well offer more in one revision than in another.
        let severity = if visit.modern == first.modern { Severity::High } else { Severity::Note };
        for Difference { item, how, evidence } in first.offered.differences(&visit.offered) {
            let what = format!("{how} for the client {}", visit.identity.name);
            let why = "What one client is shown says nothing of what others get.";
            risks.push(risk(severity, "targeted", &item, &what, why, &evidence));
        }
    }
}

fn protocol(observed: &Observed, risks: &mut Vec<Risk>) {
    for breach in &observed.breaches {
        let (severity, code, what, why, evidence) = match breach {
            Breach::Junk(line) => (
                Severity::Low,
                "junk",
                "writes to standard output what is no message",
                "Clients may end the conversation there. Logs belong on standard error.",
                line.as_str(),
            ),
            Breach::Stray(line) => (
                Severity::Medium,
                "stray-answer",
                "answers what nobody asked",
                "An answer with another's id can reach a caller that it is not meant for.",
                line.as_str(),
            ),
            Breach::Overlong => (
                Severity::Medium,
                "overlong",
                "sends messages of more than 16 MiB",
                "It takes the memory of everybody who reads them.",
                "",
            ),
            Breach::Undeclared(method) => (
                Severity::Low,
                "undeclared",
                "asks the client for what it said it has not",
                "Such requests come to nothing, or to an error.",
                method.as_str(),
            ),
        };
        risks.push(risk(severity, code, "", what, why, evidence));
    }
    for visit in &observed.visits {
        if let Some(failure) = visit.identity.failure.as_ref().filter(|_| !visit.modern) {
            let what = format!("did not serve the client {}", visit.identity.name);
            let why = "Nothing can be said of what it does when it serves.";
            risks.push(risk(Severity::Medium, "not-serving", "", &what, why, failure));
        }
    }
}

fn leak(observed: &Observed, sighting: &Sighting) -> Option<Risk> {
    let Sighting { canary, form, way } = sighting;
    let to = match way {
        Way::Network(to) if !to.is_empty() => format!(", to {to}"),
        _ => String::new(),
    };
    let evidence = format!("{}, {}{to}", canary.place(), form.words());
    let risk = |severity, code, about: &str, what: &str, why| {
        Some(risk(severity, code, about, what, why, &evidence))
    };
    match (way, &canary.kept) {
        // That is what the folder was given for.
        (Way::Answer { .. } | Way::Aside | Way::Errors, Kept::Given(_)) => None,
        (Way::Answer { tool, asked: true }, _) => risk(
            Severity::Medium,
            "reads-anything",
            &format!("tool \"{tool}\""),
            "reads a file outside of what the server was given, when asked to",
            "Only the place where it runs keeps it from the user's files: mount nothing that it must not read.",
        ),
        (Way::Answer { tool, .. }, Kept::Variable(_)) if says_so(observed, tool) => risk(
            Severity::Medium,
            "leak",
            &format!("tool \"{tool}\""),
            "gives away the environment, with the secrets in it, as it says itself",
            "Whoever may call it has the server's secrets.",
        ),
        (Way::Answer { tool, .. }, _) => risk(
            Severity::High,
            "leak",
            &format!("tool \"{tool}\""),
            "gives away secrets",
            "Whoever may call it has them, and so has the model.",
        ),
        (Way::Aside, _) => risk(
            Severity::High,
            "leak",
            "",
            "gives away secrets in what it says of itself",
            "Everybody reads that.",
        ),
        (Way::Errors, _) => risk(
            Severity::Low,
            "leak-log",
            "",
            "writes a secret to standard error",
            "It then stands in the logs of whoever runs it.",
        ),
        (Way::Network(_), _) => {
            risk(Severity::High, "exfiltration", "", "tries to send secrets away", "Nobody asked it to.")
        }
    }
}

/// Tells whether a tool says that it shows the environment.
fn says_so(observed: &Observed, tool: &str) -> bool {
    let tools = observed.visits.first().map(|visit| visit.offered.tools.as_slice()).unwrap_or_default();
    let found = tools.iter().find(|found| found["name"] == tool);
    let description =
        found.and_then(|found| found["description"].as_str()).unwrap_or_default().to_lowercase();
    description.contains("environment variable")
}

fn peeks(observed: &Observed, risks: &mut Vec<Risk>) {
    for (when, files) in &observed.peeked {
        let about = if when.is_empty() { String::new() } else { format!("tool \"{when}\"") };
        let what = "reads files in which secrets usually are";
        let why = "Nobody told it of them.";
        risks.push(risk(Severity::High, "peek", &about, what, why, &files.join(", ")));
    }
}

fn calls(calls: &[Called], risks: &mut Vec<Risk>) {
    for call in calls {
        let about = format!("tool \"{}\"", call.tool);
        let with = format!("arguments {}", call.arguments);
        match call.outcome {
            Outcome::Ended => {
                let why = "Everybody who shares the server loses it with that.";
                risks.push(risk(Severity::Medium, "crash", &about, "ends the server", why, &with));
            }
            Outcome::Late => {
                let evidence = format!("{with}, {} s", call.took.as_secs());
                risks.push(risk(Severity::Note, "slow", &about, "did not answer in time", "", &evidence));
            }
            Outcome::Answered | Outcome::Failed | Outcome::Refused | Outcome::Overlong => {}
        }
        if call.bytes > ANSWER {
            let evidence = format!("{with}: {}", bytes(call.bytes));
            let why = "A model pays for every word.";
            risks.push(risk(
                Severity::Low,
                "large-answer",
                &about,
                "gives very large answers",
                why,
                &evidence,
            ));
        }
        if call.processor > PROCESSOR {
            let evidence = format!("{with}: {} ms of processor time", call.processor);
            let why = "Bound it with `host.cpus`.";
            risks.push(risk(Severity::Low, "busy", &about, "keeps a processor busy", why, &evidence));
        }
    }
}

fn takes(observed: &Observed, risks: &mut Vec<Risk>) {
    let usage = &observed.usage;
    if usage.memory > MEMORY {
        let why = "Bound it with `host.memory`.";
        risks.push(risk(Severity::Low, "memory", "", "takes much memory", why, &bytes(usage.memory)));
    }
    if usage.tasks > TASKS {
        let evidence = format!("{} processes and threads at a time", usage.tasks);
        let why = "Bound it with `host.pids`: a machine has only so many.";
        risks.push(risk(Severity::Medium, "processes", "", "starts very many processes", why, &evidence));
    }
    let to_files = usage.written.saturating_sub(observed.stdout_bytes + observed.stderr_bytes);
    // Of what is too long, nobody knows how long it is.
    let is_known = !observed.breaches.contains(&Breach::Overlong);
    if is_known && to_files > WRITTEN {
        let why = "Bound it with `host.tmp`, and give it no folder to write to.";
        risks.push(risk(Severity::Low, "writes-much", "", "writes very much", why, &bytes(to_files)));
    }
    if observed.stderr_bytes > ERRORS {
        let why = "It fills the logs of whoever runs it.";
        risks.push(risk(
            Severity::Low,
            "stderr",
            "",
            "floods standard error",
            why,
            &bytes(observed.stderr_bytes),
        ));
    }
    for limit in &observed.limits {
        let why = "The place that it ran in held it; another one may not.";
        risks.push(risk(Severity::Medium, "limit", "", "ran into a bound", why, limit));
    }
}

fn leaves(observed: &Observed, risks: &mut Vec<Risk>) {
    let ignoring = &observed.usage.ignoring;
    if !observed.strays.is_empty() {
        let why = "Such processes outlive the server where nothing holds them.";
        let evidence = observed.strays.join(", ");
        risks.push(risk(Severity::High, "daemon", "", "has processes leave its session", why, &evidence));
    }
    if !ignoring.is_empty() {
        let why = "Only KILL ends it, and then it can put nothing in order.";
        let evidence = ignoring.join(", ");
        risks.push(risk(Severity::Medium, "ignores-term", "", "does not heed TERM", why, &evidence));
    }
    let ending = &observed.ending;
    if !ending.left.is_empty() {
        let why = "Nobody knows what they do.";
        let evidence = ending.left.join(", ");
        risks.push(risk(Severity::High, "left-behind", "", "leaves processes behind", why, &evidence));
    }
    let (severity, code, what) = match ending.by.as_deref() {
        Some("KILL") => {
            (Severity::Medium, "will-not-stop", "stops neither at the end of its input nor at TERM")
        }
        Some("TERM") => {
            (Severity::Note, "ignores-end", "does not stop at the end of its input, only at TERM")
        }
        _ => return,
    };
    risks.push(risk(severity, code, "", what, "A server is to leave when its client does.", ""));
}

fn network(observed: &Observed, risks: &mut Vec<Risk>) {
    let Some(wanted) = observed.wanted.as_ref().filter(|wanted| !wanted.is_empty()) else { return };
    let why = "Grant it those that you expect of it, and no others.";
    let evidence = listed(wanted.iter());
    risks.push(risk(Severity::Note, "network", "", "wants to reach the network", why, &evidence));
    let evidence = listed(wanted.iter().filter(|wanted| is_of_a_cloud(&wanted.host)));
    if !evidence.is_empty() {
        let why = "Credentials of the machine are among that.";
        let what = "asks for what a cloud tells its machines about themselves";
        risks.push(risk(Severity::Medium, "cloud-metadata", "", what, why, &evidence));
    }
    let is_named = |wanted: &Wanted| wanted.granted == Some(true) || observed.named.contains(&wanted.host);
    let evidence = listed(wanted.iter().filter(|wanted| is_nearby(&wanted.host) && !is_named(wanted)));
    if !evidence.is_empty() {
        let why = "Nothing of its configuration names them, and what is near trusts whoever is.";
        let what = "wants to reach addresses of private networks";
        risks.push(risk(Severity::Medium, "private-network", "", what, why, &evidence));
    }
    for wanted in wanted {
        if let Some(tls) = &wanted.tls {
            let evidence = format!("{}, TLS for {tls}", wanted.place());
            let why = "So one gets past whoever looks at names alone.";
            let what = "connects to one host and asks TLS for another";
            risks.push(risk(Severity::Medium, "other-host", "", what, why, &evidence));
        }
    }
}

/// Names places, as many as somebody reads.
fn listed<'w>(wanted: impl Iterator<Item = &'w Wanted>) -> String {
    let mut places: Vec<_> = wanted.map(Wanted::place).collect();
    places.truncate(12);
    places.join(", ")
}

/// Tells whether a host is where a cloud tells its machines about themselves.
pub(super) fn is_of_a_cloud(host: &str) -> bool {
    const NAMES: [&str; 3] = ["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"];
    const ADDRESSES: [&str; 4] = ["100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"];
    let is_link_local = host.parse().is_ok_and(|address: Ipv4Addr| address.is_link_local());
    is_link_local || NAMES.contains(&host) || ADDRESSES.contains(&host)
}

/// Tells whether a host is an address of a private network.
pub(super) fn is_nearby(host: &str) -> bool {
    let is_nearby = match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        Err(_) => false,
    };
    is_nearby && !is_of_a_cloud(host)
}

fn system(observed: &Observed, risks: &mut Vec<Risk>) {
    let Some(recorded) = &observed.recorded else { return };
    if !recorded.privileged.is_empty() {
        let why = "That is how one leaves a sandbox.";
        let evidence = recorded.privileged.join(", ");
        risks.push(risk(
            Severity::High,
            "privileges",
            "",
            "asks the system for what no server needs",
            why,
            &evidence,
        ));
    }
    if recorded.too_many_files > 0 {
        let evidence = format!("refused {} times", recorded.too_many_files);
        let why = "Bound it with `host.files`.";
        risks.push(risk(Severity::Low, "files", "", "opens as many files as it can", why, &evidence));
    }
    let denied = &recorded.trace.denied;
    if !denied.is_empty() {
        let why = "It was refused here; where it runs with more rights, it is not.";
        let evidence = denied.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        risks.push(risk(Severity::Note, "denied", "", "tried files that it may not have", why, &evidence));
    }
}

/// Says how much something is, for people.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB"];
    let unit = (0..3).take_while(|unit| bytes >> (10 * (unit + 1)) > 0).count();
    let tenths = (bytes * 10) >> (10 * unit);
    match (unit, tenths % 10) {
        (0, _) => format!("{bytes} bytes"),
        (_, 0) => format!("{} {}", tenths / 10, units[unit]),
        (_, rest) => format!("{}.{rest} {}", tenths / 10, units[unit]),
    }
}
