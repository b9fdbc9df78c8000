//! What a server tried to reach, as the gate of its network tells it, and what that comes to.
//!
//! **Nothing of it went anywhere.** A name that was looked up and then connected to is one thing that it wanted; what it said
//! first there is searched for canaries, and forgotten.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use portcullis_core::config::Network;

use super::report::Wanted;

/// How many places are told of.
const MOST: usize = 100;
/// How many moments of one.
const MOMENTS: usize = 8;

/// One attempt, or many that are told together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) began: Instant,
    /// The name or address; nothing where many are told together.
    pub(super) host: Option<String>,
    /// The port; nothing where a name was looked up.
    pub(super) port: Option<u16>,
    /// Whether it was a datagram.
    pub(super) udp: bool,
    /// The host that TLS was asked for.
    pub(super) tls: Option<String>,
    /// What was said that can be read.
    pub(super) text: String,
    /// How many there were.
    pub(super) times: u64,
}

impl Attempt {
    /// Names where it went.
    pub(super) fn place(&self) -> String {
        let host = self.host.clone();
        Wanted { host: host.unwrap_or_default(), port: self.port, udp: self.udp, ..Wanted::default() }.place()
    }
}

/// Is told of attempts.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Vec<Attempt>>);

impl Watch {
    /// Returns what was told since this was asked last.
    pub(super) fn take(&self) -> Vec<Attempt> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(target_os = "linux")]
impl crate::process::gated::Witness for Watch {
    fn see(&self, seen: crate::hosting::gate::Seen) {
        use crate::hosting::gate::Said;

        let (host, port, udp) = parts(&seen.wanted);
        let (tls, text) = match seen.said {
            Some(Said::Tls(host)) => (host, String::new()),
            Some(Said::Plain(said)) => (None, String::from_utf8_lossy(&said).into_owned()),
            None => (None, String::new()),
        };
        let now = Instant::now();
        let attempt = Attempt {
            began: now.checked_sub(seen.duration).unwrap_or(now),
            host: Some(host.to_owned()).filter(|_| seen.times == 1),
            port,
            udp,
            tls,
            text,
            times: seen.times,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }
}

#[cfg(not(target_os = "linux"))]
impl crate::process::gated::Witness for Watch {}

/// Splits `host:port/udp`, `[address]:port` or a name alone.
fn parts(wanted: &str) -> (&str, Option<u16>, bool) {
    let (place, udp) = wanted.strip_suffix("/udp").map_or((wanted, false), |place| (place, true));
    let split = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.map_or((place, None), |(host, port)| (host, Some(port)));
    (host.trim_matches(['[', ']']), port, udp)
}

/// What a server wanted of the network, in the order in which it first did. `moments` are what began when.
pub(super) fn wanted(
    attempts: &[Attempt],
    moments: &[(Instant, String)],
    configured: &Network,
) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for attempt in attempts {
        let Some(host) = &attempt.host else { continue };
        let moment = moments.iter().rev().find(|(began, _)| *began <= attempt.began);
        let tls = attempt.tls.clone().filter(|name| name != host);
        let known = wanted.iter().position(|known| {
            (&known.host, known.port, known.udp, &known.tls) == (host, attempt.port, attempt.udp, &tls)
        });
        let known = match known {
            Some(known) => &mut wanted[known],
            None if wanted.len() < MOST => {
                wanted.push(Wanted {
                    host: host.clone(),
                    port: attempt.port,
                    udp: attempt.udp,
                    granted: granted(configured, host, attempt),
                    tls,
                    ..Wanted::default()
                });
                wanted.last_mut().expect("it was put there")
            }
            None => continue,
        };
        known.times += attempt.times;
        let moment = moment.map(|(_, moment)| moment).filter(|moment| !known.during.contains(moment));
        known.during.extend(moment.filter(|_| known.during.len() < MOMENTS).cloned());
    }
    // Whoever connects to a name has looked it up.
    let connected: Vec<_> =
        wanted.iter().filter(|wanted| wanted.port.is_some()).map(|wanted| wanted.host.clone()).collect();
    wanted.retain(|wanted| wanted.port.is_some() || !connected.contains(&wanted.host));
    wanted
}

/// Tells whether the configuration lets an attempt through; nothing where it says nothing about that.
fn granted(configured: &Network, host: &str, attempt: &Attempt) -> Option<bool> {
    match configured {
        Network::None => None,
        Network::Unrestricted => Some(true),
        Network::Places(places) => {
            #[cfg(target_os = "linux")]
            {
                use crate::hosting::gate::{Policy, Target};

                let policy = Policy::new(places.clone());
                let target = host.parse().map_or(Target::Name(host), Target::Address);
                let lets = match attempt.port {
                    Some(port) => policy.decide(target, port).is_ok() && !attempt.udp,
                    None => policy.knows(host),
                };
                Some(lets)
            }
            #[cfg(not(target_os = "linux"))]
            {
                let _ = (places, host, attempt);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_core::config::Place;

    use super::*;

    fn attempt(began: Instant, wanted: &str, tls: Option<&str>) -> Attempt {
        let (host, port, udp) = parts(wanted);
        let tls = tls.map(str::to_owned);
        Attempt { began, host: Some(host.to_owned()), port, udp, tls, text: String::new(), times: 1 }
    }

    #[test]
    fn attempts_come_to_what_was_wanted() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let moments = [(at(0), "start".to_owned()), (at(10), "tool".to_owned())];
        let mut many = attempt(at(12), "many", None);
        many.host = None;
        let attempts = [
            attempt(at(1), "api.test", None),
            attempt(at(1), "api.test:443", Some("api.test")),
            attempt(at(11), "api.test:443", Some("api.test")),
            attempt(at(11), "api.test:443", Some("other.test")),
            attempt(at(12), "[2001:db8::1]:123/udp", None),
            attempt(at(13), "looked.up.test", None),
            many,
        ];
        let place = Place { host: "api.test".into(), port: 443, private: false };
        let wanted = wanted(&attempts, &moments, &Network::Places(vec![place]));
        let said = wanted.iter().map(|wanted| {
            let Wanted { host, port, udp, times, tls, during, granted } = wanted;
            format!("{host} {port:?} {udp} {times} {tls:?} {during:?} {granted:?}")
        });
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                "api.test Some(443) false 2 None [\"start\", \"tool\"] Some(true)",
                "api.test Some(443) false 1 Some(\"other.test\") [\"tool\"] Some(true)",
                "2001:db8::1 Some(123) true 1 None [\"tool\"] Some(false)",
                "looked.up.test None false 1 None [\"tool\"] Some(false)",
            ]
        );
    }

    #[test]
    fn there_is_an_end_to_what_is_told() {
        let now = Instant::now();
        let attempts: Vec<_> = (1..500).map(|port| attempt(now, &format!("a.test:{port}"), None)).collect();
        assert_eq!(wanted(&attempts, &[], &Network::None).len(), MOST);
    }
}
