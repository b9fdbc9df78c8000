//! Which places a server may reach, and why it may not reach another.
//!
//! **What is not named is denied.** A name that is written out comes before one that stands for many, so that what is said
//! of the one is not undone by what is said of the many.

use std::borrow::Cow;
use std::net::IpAddr;

use portcullis_core::config::Place;

/// Why an attempt is denied.
pub(crate) type Reason = Cow<'static, str>;

/// What somebody wants to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'t> {
    /// A name, in lower case.
    Name(&'t str),
    /// An address, which no name has led to.
    Address(IpAddr),
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The places that a server may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    places: Vec<Place>,
    is_closed: bool,
}

impl Policy {
    /// Makes the policy of these places.
    pub(crate) fn new(mut places: Vec<Place>) -> Self {
        places.sort_by_key(|place| place.host.starts_with("*."));
        Self { places, is_closed: false }
    }

    /// Makes the policy that lets nothing through, and wants to see of everything what it is.
    pub(crate) fn closed() -> Self {
        Self { places: Vec::new(), is_closed: true }
    }

    /// Tells whether nothing is let through, and everything looked at.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Returns every port that some place has, once and in order.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = self.places.iter().map(|place| place.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Tells whether some place has this name, whatever its port.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.places.iter().any(|place| is_at(place, Target::Name(name)))
    }

    /// Returns the place that lets an attempt through.
    pub(crate) fn decide(&self, target: Target<'_>, port: u16) -> Result<&Place, Reason> {
        let mut at_host = self.places.iter().filter(|place| is_at(place, target)).peekable();
        let is_known = at_host.peek().is_some();
        at_host.find(|place| place.port == port).ok_or(match target {
            _ if self.is_closed => "nothing is let through".into(),
            _ if is_known => "the server's network has this host at another port alone".into(),
            Target::Name(_) => "no place of the server's network has this name".into(),
            Target::Address(_) => "an address, which no place of the server's network names".into(),
        })
    }
}

/// Tells whether a place is at this host.
fn is_at(place: &Place, target: Target<'_>) -> bool {
    match target {
        Target::Name(name) => match place.host.strip_prefix("*.") {
            Some(domain) => name
                .strip_suffix(domain)
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty()),
            None => place.host == name,
        },
        Target::Address(address) => literal(&place.host) == Some(address),
    }
}

/// Returns the address that a place names, where it names one.
fn literal(host: &str) -> Option<IpAddr> {
    let address: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(address.to_canonical())
}

/// Returns a place as it is written.
pub(crate) fn written(place: &Place) -> String {
    format!("{}:{}", place.host, place.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: u16) -> Place {
        Place { host: host.into(), port, private: false }
    }

    fn policy() -> Policy {
        let mut other = place("special.example.com", 443);
        other.private = true;
        Policy::new(vec![
            place("*.example.com", 443),
            other,
            place("api.test", 443),
            place("api.test", 8443),
            place("10.0.0.5", 5432),
            place("[fd00::5]", 443),
            place("[::ffff:a00:6]", 443),
        ])
    }

    fn check(target: &str, port: u16) -> String {
        let policy = policy();
        let target = target.parse().map_or(Target::Name(target), Target::Address);
        match policy.decide(target, port) {
            Ok(place) => format!("{}, private {}", written(place), place.private),
            Err(reason) => reason.into_owned(),
        }
    }

    #[test]
    fn a_place_is_a_host_and_a_port() {
        insta::assert_snapshot!(check("api.test", 443), @"api.test:443, private false");
        insta::assert_snapshot!(check("api.test", 8443), @"api.test:8443, private false");
        insta::assert_snapshot!(check("api.test", 80), @"the server's network has this host at another port alone");
        insta::assert_snapshot!(check("evil.test", 443), @"no place of the server's network has this name");
        insta::assert_snapshot!(check("xapi.test", 443), @"no place of the server's network has this name");
    }

    #[test]
    fn nothing_goes_through_a_closed_gate() {
        let closed = Policy::closed();
        for target in [Target::Name("api.test"), Target::Address([127, 0, 0, 1].into())] {
            assert_eq!(closed.decide(target, 443), Err("nothing is let through".into()));
        }
        assert!(closed.is_closed() && !policy().is_closed());
    }

    #[test]
    fn a_star_stands_for_one_or_more_labels() {
        insta::assert_snapshot!(check("a.example.com", 443), @"*.example.com:443, private false");
        insta::assert_snapshot!(check("b.a.example.com", 443), @"*.example.com:443, private false");
        insta::assert_snapshot!(check("example.com", 443), @"no place of the server's network has this name");
        insta::assert_snapshot!(check(".example.com", 443), @"no place of the server's network has this name");
        insta::assert_snapshot!(check("evilexample.com", 443), @"no place of the server's network has this name");
    }

    #[test]
    fn what_is_written_out_comes_before_what_stands_for_many() {
        insta::assert_snapshot!(check("special.example.com", 443), @"special.example.com:443, private true");
    }

    #[test]
    fn an_address_is_reached_where_a_place_names_it() {
        insta::assert_snapshot!(check("10.0.0.5", 5432), @"10.0.0.5:5432, private false");
        insta::assert_snapshot!(check("fd00::5", 443), @"[fd00::5]:443, private false");
        insta::assert_snapshot!(check("10.0.0.6", 443), @"[::ffff:a00:6]:443, private false");
        insta::assert_snapshot!(check("203.0.113.9", 443), @"an address, which no place of the server's network names");
    }

    #[test]
    fn ports_are_those_of_places() {
        assert_eq!(policy().ports(), [443, 5432, 8443]);
        assert!(
            policy().knows("api.test") && policy().knows("x.example.com") && !policy().knows("evil.test")
        );
    }
}
