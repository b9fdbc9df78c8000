//! Where a request that a stranger has addressed does not go: to an address that is none of the public internet.
//!
//! **What is looked at is what is dialed**: a name is resolved once for each connection, and of what it leads to only public
//! addresses are left. So it does not matter what the name led to before, or leads to after.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::vec::IntoIter;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

type Failure = Box<dyn Error + Send + Sync>;

/// A resolver that finds public addresses alone.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<R> {
    resolver: R,
    is_public: fn(IpAddr) -> bool,
}

/// Nothing is left of what a name leads to.
#[derive(Debug)]
struct Inside;

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it leads to no public address, and who named it may not ask there")
    }
}

impl Error for Inside {}

impl<R> Guarded<R> {
    /// Guards what a resolver finds.
    pub(crate) fn new(resolver: R) -> Self {
        Self { resolver, is_public }
    }

    /// Tells whether a host may be dialed as it is written: a connector asks no resolver about an address.
    pub(crate) fn allows(host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(true, is_public)
    }
}

impl<R> Service<Name> for Guarded<R>
where
    R: Service<Name, Error: Into<Failure>, Future: Send + 'static>,
    R::Response: Iterator<Item = SocketAddr>,
{
    type Response = IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<IntoIter<SocketAddr>, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.resolver.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, is_public) = (self.resolver.call(name), self.is_public);
        async move {
            let addresses = found.await.map_err(Into::into)?;
            let public: Vec<_> = addresses.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() { Err(Inside.into()) } else { Ok(public.into_iter()) }
        }
        .boxed()
    }
}

/// Tells whether an address is one of the public internet (the IANA special-purpose address registries).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    /// Where Azure answers its machines about themselves, in a public range.
    const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    !matches!(
        address.octets(),
        // This network, private ones, loopback; multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            // Shared by carriers, and the metadata of Alibaba's cloud.
            | [100, 64..=127, ..]
            // Link-local, with the metadata of most clouds.
            | [169, 254, ..]
            // Protocol assignments, with the metadata of Oracle's cloud; documentation.
            | [192, 0, 0 | 2, _]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            // Relays of 6to4, benchmarks.
            | [192, 88, 99, _]
            | [198, 18..=19, ..]
    ) && address != WIRE_SERVER
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // What stands for an address of the older kind, or is translated to one, leads there.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        // Protocol assignments with Teredo, documentation, 6to4.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use futures::future::{Ready, ready};

    use super::*;

    #[test]
    fn public_addresses_are_told_from_others() {
        for address in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
            assert!(
                !Guarded::<()>::allows(address) && !Guarded::<()>::allows(&format!("[{address}]")),
                "{address}"
            );
        }
        assert!(Guarded::<()>::allows("app.example") && Guarded::<()>::allows("8.8.8.8"));
    }

    /// A resolver whose answer is another each time.
    #[derive(Clone)]
    pub(crate) struct Double(Arc<Mutex<Vec<Vec<SocketAddr>>>>);

    impl Double {
        pub(crate) fn answering(answers: &[&[&str]]) -> Self {
            let addresses = |answer: &&[&str]| {
                answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect::<Vec<_>>()
            };
            Self(Arc::new(Mutex::new(answers.iter().rev().map(addresses).collect())))
        }

        /// Guards it, where one address counts as public.
        pub(crate) fn guarded(self, is_public: fn(IpAddr) -> bool) -> Guarded<Self> {
            Guarded { resolver: self, is_public }
        }
    }

    impl Service<Name> for Double {
        type Response = IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = Ready<io::Result<IntoIter<SocketAddr>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            ready(Ok(self.0.lock().unwrap().pop().expect("an answer").into_iter()))
        }
    }

    #[test]
    fn of_what_a_name_leads_to_only_the_public_is_dialed_whatever_it_led_to_before() {
        let double = Double::answering(&[
            &["8.8.8.8"],
            &["127.0.0.1"],
            &["10.0.0.1", "8.8.4.4", "::ffff:169.254.169.254", "::1"],
            &["::ffff:10.0.0.1", "fd00::1"],
            &[],
        ]);
        let mut guarded = Guarded::new(double);
        let mut ask = || {
            let found = guarded.call("app.example".parse().unwrap()).now_or_never().expect("an answer");
            let found = found.map(|addresses| {
                addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
            });
            found.unwrap_or_else(|error| error.to_string())
        };
        let inside = "it leads to no public address, and who named it may not ask there";
        assert_eq!([(); 5].map(|()| ask()), ["8.8.8.8", inside, "8.8.4.4", inside, inside]);
    }
}
