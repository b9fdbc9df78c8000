//! The keyring of the user's operating system: the Keychain on macOS; on Linux whatever serves the Secret Service, such as
//! GNOME's keyring or KDE's wallet. It knows texts by an id, and not what they are for (ADR 0036).

#[cfg(target_os = "linux")]
pub(crate) use secret_service::{get, put, remove};

#[cfg(target_os = "macos")]
pub(crate) use keychain::{get, put, remove};

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(crate) use nothing::{get, put, remove};

/// What all entries have in common.
#[cfg(any(target_os = "linux", target_os = "macos"))]
const SERVICE: &str = "portcullis";

/// The Secret Service of the session bus.
///
/// What is read travels over the bus as it is: the bus is this user's, and whoever can listen to it can also ask.
#[cfg(target_os = "linux")]
mod secret_service {
    use std::collections::HashMap;

    use anyhow::Context as _;
    use dbus_secret_service::{EncryptionType, Error, SecretService};

    use super::SERVICE;

    /// How long the user may take to unlock the keyring, in seconds.
    const PROMPT: u64 = 120;

    /// Returns the text with this id; nothing where there is none. A locked keyring asks the user to unlock it.
    ///
    /// # Errors
    ///
    /// Where no keyring can be reached, or it stays locked.
    pub(crate) fn get(id: &str) -> anyhow::Result<Option<String>> {
        let service = connect()?;
        let found = service.search_items(attributes(id)).context(UNREACHED)?;
        let Some(item) = found.unlocked.first().or(found.locked.first()) else { return Ok(None) };
        item.ensure_unlocked().map_err(told)?;
        let text = item.get_secret().map_err(told)?;
        String::from_utf8(text).map(Some).context("what the keyring has is no text")
    }

    /// Keeps a text under this id, in the keyring that is unlocked when the user signs in.
    ///
    /// # Errors
    ///
    /// Where no keyring can be reached, or it stays locked.
    pub(crate) fn put(id: &str, text: &str) -> anyhow::Result<()> {
        let service = connect()?;
        let keyring = service.get_default_collection().map_err(told)?;
        keyring.ensure_unlocked().map_err(told)?;
        let label = format!("Portcullis, seal key {id}");
        keyring.create_item(&label, attributes(id), text.as_bytes(), true, "text/plain").map_err(told)?;
        Ok(())
    }

    /// Removes the text with this id.
    ///
    /// # Errors
    ///
    /// Where no keyring can be reached, or it stays locked.
    pub(crate) fn remove(id: &str) -> anyhow::Result<()> {
        let service = connect()?;
        let found = service.search_items(attributes(id)).context(UNREACHED)?;
        found.unlocked.iter().chain(&found.locked).try_for_each(|item| item.delete().map_err(told))
    }

    const UNREACHED: &str = "no keyring can be reached: a Secret Service (GNOME's keyring, KDE's wallet) has to run in this \
                             user's session, at DBUS_SESSION_BUS_ADDRESS";

    fn connect() -> anyhow::Result<SecretService> {
        SecretService::connect_with_max_prompt_timeout(EncryptionType::Plain, PROMPT).context(UNREACHED)
    }

    fn attributes(id: &str) -> HashMap<&str, &str> {
        HashMap::from([("service", SERVICE), ("username", id)])
    }

    fn told(error: Error) -> anyhow::Error {
        let locked = matches!(error, Error::Locked | Error::Prompt);
        let error = anyhow::Error::new(error);
        error.context(if locked { "the keyring is locked: unlock it, and start again" } else { UNREACHED })
    }
}

/// The Keychain that is unlocked when the user signs in.
#[cfg(target_os = "macos")]
mod keychain {
    use anyhow::Context as _;
    use security_framework::passwords::{
        PasswordOptions, delete_generic_password, generic_password, set_generic_password,
    };

    use super::SERVICE;

    /// `errSecItemNotFound`
    const NOT_FOUND: i32 = -25300;

    /// Returns the text with this id; nothing where there is none. macOS may ask the user whether this program may have it.
    ///
    /// # Errors
    ///
    /// Where the Keychain is locked, or the user says no.
    pub(crate) fn get(id: &str) -> anyhow::Result<Option<String>> {
        match generic_password(PasswordOptions::new_generic_password(SERVICE, id)) {
            Ok(text) => String::from_utf8(text).map(Some).context("what the Keychain has is no text"),
            Err(error) if error.code() == NOT_FOUND => Ok(None),
            Err(error) => Err(error).context("the Keychain does not give the seal key"),
        }
    }

    /// Keeps a text under this id.
    ///
    /// # Errors
    ///
    /// Where the Keychain is locked, or the user says no.
    pub(crate) fn put(id: &str, text: &str) -> anyhow::Result<()> {
        set_generic_password(SERVICE, id, text.as_bytes()).context("the Keychain does not take the seal key")
    }

    /// Removes the text with this id.
    ///
    /// # Errors
    ///
    /// Where the Keychain is locked, or has no such text.
    pub(crate) fn remove(id: &str) -> anyhow::Result<()> {
        delete_generic_password(SERVICE, id).context("the Keychain does not remove the seal key")
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod nothing {
    const NONE: &str =
        "no keyring of this operating system is known: PORTCULLIS_SEAL_KEY cannot be `keyring` here";

    /// Says that there is no keyring.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn get(_id: &str) -> anyhow::Result<Option<String>> {
        anyhow::bail!(NONE)
    }

    /// Says that there is no keyring.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn put(_id: &str, _text: &str) -> anyhow::Result<()> {
        anyhow::bail!(NONE)
    }

    /// Says that there is no keyring.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn remove(_id: &str) -> anyhow::Result<()> {
        anyhow::bail!(NONE)
    }
}
