//! Which addresses a server may reach.
//!
//! **Where a machine is told about itself, with its credentials, is reached by writing that address alone**: neither by a
//! name, nor because a place may be private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_native::is_public;

/// Tells whether a connection to a place may go to an address that its name led to.
pub(crate) fn may_reach(address: IpAddr, may_be_private: bool) -> bool {
    is_public(address) || may_be_private && is_private(address)
}

/// Tells whether an address is one of a private network or of the machine itself.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    /// The metadata of Alibaba's cloud, in the range that carriers share.
    const ALIBABA: [u8; 4] = [100, 100, 100, 200];
    match address.octets() {
        ALIBABA => false,
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => true,
        _ => false,
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // The metadata of Amazon's and of Google's cloud.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254] => false,
        [first, ..] => first & 0xfe00 == 0xfc00 || address == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_reached_where_that_is_said() {
        let check = |address: &str| {
            let address = address.parse().unwrap();
            (may_reach(address, false), may_reach(address, true))
        };
        for address in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert_eq!(check(address), (true, true), "{address}");
        }
        let private = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "127.9.9.9"];
        for address in private.into_iter().chain(["::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"]) {
            assert_eq!(check(address), (false, true), "{address}");
        }
        let never = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"];
        let others = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "::", "fe80::1", "ff02::1"];
        let v6 = ["fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"];
        for address in never.into_iter().chain(others).chain(v6).chain(["64:ff9b::a00:1", "2002:7f00:1::"]) {
            assert_eq!(check(address), (false, false), "{address}");
        }
    }
}
