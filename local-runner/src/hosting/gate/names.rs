//! Which address stands for which name in a sandbox.
//!
//! **An address stands for one name as long as the sandbox lives**: what a program remembers cannot come to mean another.
//! The addresses look public, because programs refuse names that lead to others (`mcp-server-fetch` does); they are of a block
//! in which no public service is known. Whoever has one still reaches the places of its name alone.

use std::net::{IpAddr, Ipv4Addr};

/// The first address.
const FIRST: u32 = u32::from_be_bytes([28, 0, 0, 1]);
/// The most names that a sandbox can come to know.
pub(crate) const MOST: usize = 4096;

/// The names of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Box<str>>);

impl Names {
    /// Returns the address that stands for a name; nothing where there are too many names.
    pub(crate) fn address_of(&mut self, name: &str) -> Option<Ipv4Addr> {
        let index = match self.0.iter().position(|known| **known == *name) {
            Some(index) => index,
            None if self.0.len() < MOST => {
                self.0.push(name.into());
                self.0.len() - 1
            }
            None => return None,
        };
        Some(Ipv4Addr::from(FIRST + u32::try_from(index).ok()?))
    }

    /// Returns the name that an address stands for.
    pub(crate) fn name_at(&self, address: IpAddr) -> Option<&str> {
        let IpAddr::V4(address) = address else { return None };
        let index = usize::try_from(u32::from(address).checked_sub(FIRST)?).ok()?;
        self.0.get(index).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address() {
        let mut names = Names::default();
        let one = names.address_of("one.test").unwrap();
        let two = names.address_of("two.test").unwrap();
        assert_eq!((one.to_string().as_str(), two.to_string().as_str()), ("28.0.0.1", "28.0.0.2"));
        assert_eq!(names.address_of("one.test"), Some(one));
        assert_eq!(names.name_at(one.into()), Some("one.test"));
        assert_eq!(names.name_at(two.into()), Some("two.test"));
        for other in ["28.0.0.3", "28.0.0.0", "0.0.0.0", "255.255.255.255", "::1"] {
            assert_eq!(names.name_at(other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn there_is_an_end_to_names() {
        let mut names = Names::default();
        let last = (0..MOST).map(|number| names.address_of(&number.to_string())).last().flatten();
        assert_eq!(last.map(|last| last.to_string()).as_deref(), Some("28.0.16.0"));
        assert_eq!(names.address_of("another"), None);
        assert!(names.address_of("0").is_some());
    }
}
