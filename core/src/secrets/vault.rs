//! Secrets as a store writes them down: sealed with the gateway's own keys, each bound to its name.
//!
//! **Whoever reads the store can use nothing of it**, and whoever writes to it cannot give one secret the value of another.

use zeroize::Zeroizing;

use super::{Secret, SecretName};
use crate::gateway::SealKeys;
use crate::ports::Entropy;
use crate::session::{Purpose, Sealer};

/// Seals values and opens them. Its keys are derived once.
#[derive(Debug, Clone)]
pub struct Vault(Sealer);

impl Vault {
    /// Makes one: the first key seals, all open.
    pub fn new(keys: &SealKeys) -> Self {
        Self(Sealer::new(&keys.first, &keys.others))
    }

    /// Returns a value sealed for a name, as text.
    pub fn seal(&self, entropy: &impl Entropy, name: &SecretName, value: &Secret) -> String {
        let (name, value) = (name.as_str(), value.reveal());
        let mut plain = Zeroizing::new(Vec::with_capacity(name.len() + 1 + value.len()));
        plain.extend_from_slice(name.as_bytes());
        // No name has it, so that it is certain where the value begins.
        plain.push(b'\n');
        plain.extend_from_slice(value.as_bytes());
        self.0.seal(entropy, Purpose::Secret, &plain)
    }

    /// Opens what was sealed for a name; nothing where it was changed, is another's, or was sealed by keys that are not
    /// here.
    pub fn open(&self, name: &SecretName, sealed: &str) -> Option<Secret> {
        let plain = Zeroizing::new(self.0.open(Purpose::Secret, sealed)?);
        let value = plain.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b"\n")?;
        Secret::new(std::str::from_utf8(value).ok()?.to_owned()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secrets::LONGEST_VALUE;

    struct Fixed;
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    fn vault(first: u8, others: &[u8]) -> Vault {
        Vault::new(&SealKeys { first: [first; 32], others: others.iter().map(|key| [*key; 32]).collect() })
    }

    fn name(name: &str) -> SecretName {
        SecretName::parse(name).unwrap()
    }

    #[test]
    fn a_value_opens_under_its_own_name_and_by_its_own_key() {
        let secret = Secret::new("s3cret".into()).unwrap();
        let sealed = vault(1, &[]).seal(&Fixed, &name("a"), &secret);
        let check = |vault: Vault, of: &str| vault.open(&name(of), &sealed).is_some_and(|one| one == secret);
        assert!(check(vault(1, &[]), "a") && check(vault(2, &[3, 1]), "a"));
        assert!(!check(vault(2, &[]), "a") && !check(vault(1, &[]), "b") && !check(vault(1, &[]), "ab"));
        assert!(vault(1, &[]).open(&name("a"), &sealed[1..]).is_none());
        assert!(!sealed.contains("s3cret"));
    }

    #[test]
    fn the_longest_value_fits() {
        let secret = Secret::new("é".repeat(LONGEST_VALUE / 2)).unwrap();
        let long = name(&"n".repeat(128));
        assert!(vault(1, &[]).open(&long, &vault(1, &[]).seal(&Fixed, &long, &secret)) == Some(secret));
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in "[^\u{0}]{1,40}") {
            let secret = Secret::new(value).unwrap();
            let sealed = vault(1, &[]).seal(&Fixed, &name("a"), &secret);
            prop_assert!(vault(1, &[]).open(&name("a"), &sealed) == Some(secret));
        }
    }
}
