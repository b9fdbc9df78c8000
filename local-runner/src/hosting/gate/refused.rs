//! Attempts that the kernel of a sandbox refuses by itself: nobody listens there.
//!
//! **What is read is the refusal and not the attempt**: a reset that answers the first packet of a connection, or the
//! message that no port takes a datagram. So what programs of a sandbox say to each other is not taken for an attempt, and
//! what is recorded as refused was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::SockFilter;

/// How much of a packet is needed, in bytes.
pub(crate) const ENOUGH: usize = 128;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Where it went.
    pub(crate) address: IpAddr,
    /// To which port.
    pub(crate) port: u16,
}

/// What a raw socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP in IPv4, with the head of IP.
    Tcp4,
    /// TCP in IPv6, from its own head on.
    Tcp6,
    /// ICMP, with the head of IP.
    Icmp4,
    /// The same for IPv6, from its own head on.
    Icmp6,
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// The same, behind the head of IPv4.
const BEHIND: u16 = 0x20;
/// Loads the length of the head of IPv4.
const HEAD: u16 = 0xb1;
const AND: u16 = 0x54;
const EQUALS: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Returns what lets nothing but refusals through to a socket: for the kernel, so that what programs send costs nothing here.
pub(crate) fn filter(kind: Kind) -> Vec<SockFilter> {
    let step = |code: u16, k: u32| SockFilter::new(code, 0, 0, k);
    let is_behind = matches!(kind, Kind::Tcp4 | Kind::Icmp4);
    let load = |code: u16, at: u32| step(if is_behind { code + BEHIND } else { code }, at);
    let mut steps = Vec::new();
    if is_behind {
        steps.push(step(HEAD, 0));
    }
    let enough = u32::try_from(ENOUGH).unwrap_or(u32::MAX);
    match kind {
        Kind::Tcp4 | Kind::Tcp6 => steps.extend([
            // Reset and acknowledgement alone, with the number zero: so is answered who asks for a connection.
            load(LOAD_BYTE, 13),
            step(AND, 0x17),
            SockFilter::new(EQUALS, 0, 3, 0x14),
            load(LOAD_WORD, 4),
            SockFilter::new(EQUALS, 0, 1, 0),
        ]),
        Kind::Icmp4 => steps.extend([load(LOAD_HALF, 0), SockFilter::new(EQUALS, 0, 1, 0x0303)]),
        Kind::Icmp6 => steps.extend([load(LOAD_HALF, 0), SockFilter::new(EQUALS, 0, 1, 0x0104)]),
    }
    steps.extend([step(RETURN, enough), step(RETURN, 0)]);
    steps
}

/// Reads what a raw socket received from an address; nothing where it is no refusal.
pub(crate) fn read(kind: Kind, packet: &[u8], from: IpAddr) -> Option<Refused> {
    match kind {
        Kind::Tcp4 => reset(behind_head(packet)?, from),
        Kind::Tcp6 => reset(packet, from),
        Kind::Icmp4 => {
            let message = behind_head(packet)?;
            let inner = message.strip_prefix(&[3, 3])?.get(6..)?;
            let is_udp = *inner.get(9)? == 17;
            let address = <[u8; 4]>::try_from(inner.get(16..20)?).ok()?;
            let datagram = behind_head(inner).filter(|_| is_udp)?;
            Some(Refused {
                protocol: "udp",
                address: Ipv4Addr::from(address).into(),
                port: port_at(datagram, 2)?,
            })
        }
        Kind::Icmp6 => {
            let inner = packet.strip_prefix(&[1, 4])?.get(6..)?;
            let is_udp = *inner.get(6)? == 17;
            let address = <[u8; 16]>::try_from(inner.get(24..40)?).ok()?;
            let datagram = inner.get(40..).filter(|_| is_udp)?;
            let address = Ipv6Addr::from(address).into();
            Some(Refused { protocol: "udp", address, port: port_at(datagram, 2)? })
        }
    }
}

/// Reads a reset: where it comes from is where somebody wanted to go.
fn reset(segment: &[u8], from: IpAddr) -> Option<Refused> {
    let is_refusal = segment.get(13)? & 0x17 == 0x14 && segment.get(4..8)? == [0; 4];
    is_refusal.then_some(Refused { protocol: "tcp", address: from, port: port_at(segment, 0)? })
}

/// Returns what is behind the head of IPv4.
fn behind_head(packet: &[u8]) -> Option<&[u8]> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(length..).filter(|_| length >= 20)
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: [u8; 4] = [203, 0, 113, 9];

    fn ip4(protocol: u8, options: usize) -> Vec<u8> {
        let mut head = vec![0; 20 + options];
        head[0] = 0x45 + u8::try_from(options / 4).unwrap();
        head[9] = protocol;
        head[12..16].copy_from_slice(&ADDRESS);
        head[16..20].copy_from_slice(&ADDRESS);
        head
    }

    fn segment(port: u16, number: u8, flags: u8) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[..2].copy_from_slice(&port.to_be_bytes());
        segment[7] = number;
        segment[13] = flags;
        segment
    }

    fn from() -> IpAddr {
        ADDRESS.into()
    }

    fn check(kind: Kind, packet: &[u8]) -> String {
        for length in 0..packet.len() {
            // Whatever is there of it can be read.
            read(kind, &packet[..length], from());
        }
        read(kind, packet, from())
            .map_or_else(|| "none".into(), |r| format!("{} {} {}", r.protocol, r.address, r.port))
    }

    #[test]
    fn a_reset_that_answers_a_first_packet_is_a_refusal() {
        for options in [0, 8] {
            let packet = |number, flags| [ip4(6, options), segment(8443, number, flags)].concat();
            assert_eq!(check(Kind::Tcp4, &packet(0, 0x14)), "tcp 203.0.113.9 8443");
            // One in the middle of a connection, and others than resets.
            for (number, flags) in [(1, 0x14), (0, 0x04), (0, 0x02), (0, 0x12), (0, 0x10)] {
                assert_eq!(check(Kind::Tcp4, &packet(number, flags)), "none", "{number} {flags}");
            }
        }
        assert_eq!(check(Kind::Tcp6, &segment(22, 0, 0x14)), "tcp 203.0.113.9 22");
    }

    #[test]
    fn a_datagram_that_no_port_takes_is_a_refusal() {
        let datagram = [0xc0, 0, 0x01, 0xbb, 0, 8, 0, 0];
        let icmp = |kind: u8, code: u8| [kind, code, 0, 0, 0, 0, 0, 0];
        let packet =
            |message: [u8; 8], inner: u8| [&ip4(1, 0)[..], &message, &ip4(inner, 4), &datagram].concat();
        assert_eq!(check(Kind::Icmp4, &packet(icmp(3, 3), 17)), "udp 203.0.113.9 443");
        assert_eq!(check(Kind::Icmp4, &packet(icmp(3, 3), 6)), "none");
        assert_eq!(check(Kind::Icmp4, &packet(icmp(8, 0), 17)), "none");
        let mut ip6 = [0; 40];
        ip6[6] = 17;
        ip6[24..40].copy_from_slice(&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        let packet = [&icmp(1, 4)[..], &ip6, &datagram].concat();
        assert_eq!(check(Kind::Icmp6, &packet), "udp 2001:db8::9 443");
    }
}
