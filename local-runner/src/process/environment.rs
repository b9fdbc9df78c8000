//! What a process sees of the gateway's environment: a safe base, and what its configuration adds.
//!
//! **The base is an allow-list**: credentials that the gateway was given (`PORTCULLIS_*`, cloud keys, tokens) never
//! reach a server that was not given them by name.

use std::ffi::{OsStr, OsString};

use portcullis_core::sorted::SortedMap;

/// Who and where the user is, how text looks, and what package runners (`npx`, `uvx`) need to reach their registry
/// and to trust its certificate.
const BASE: [&str; 20] = [
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "no_proxy",
];

/// Proxies belong to the base unless their URL carries a user or password.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy", "https_proxy"];

/// Resolves the environment of a process: the base out of `inherited`, overridden by `configured`.
pub(crate) fn resolve(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    configured: &SortedMap<String, String>,
) -> SortedMap<OsString, OsString> {
    let base = inherited.filter(|(key, value)| is_base(key, value));
    base.chain(configured.iter().map(|(key, value)| (key.into(), value.into()))).collect()
}

/// Says what is wrong with configured variables, if anything is.
pub(super) fn objection(configured: &SortedMap<String, String>) -> Option<String> {
    configured.iter().find_map(|(key, value)| {
        if key.is_empty() || key.contains(['=', '\0']) {
            Some(format!("{key:?} is no name of an environment variable"))
        } else if value.contains('\0') {
            Some(format!("the environment variable {key} contains a NUL byte"))
        } else {
            None
        }
    })
}

fn is_base(key: &OsStr, value: &OsStr) -> bool {
    let Some(key) = key.to_str() else { return false };
    BASE.contains(&key)
        || key.starts_with("LC_")
        || PROXIES.contains(&key) && !value.as_encoded_bytes().contains(&b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_base_alone() {
        let kept = keys(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("PORTCULLIS_SEAL_KEY", "secret"),
            ("PORTCULLIS_ADMIN_KEY", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("LD_PRELOAD", "/tmp/x.so"),
            ("NODE_OPTIONS", "--require /tmp/x.js"),
            ("XDG_CONFIG_HOME", "/home/me/.config"),
        ]);
        assert_eq!(kept, ["LC_ALL", "PATH", "XDG_CONFIG_HOME"]);
    }

    #[test]
    fn keeps_proxies_without_credentials() {
        let kept = keys(&[
            ("HTTPS_PROXY", "http://user:password@proxy:3128"),
            ("http_proxy", "http://proxy:3128"),
            ("NO_PROXY", "localhost"),
        ]);
        assert_eq!(kept, ["NO_PROXY", "http_proxy"]);
    }

    #[test]
    fn the_configuration_wins() {
        let configured = SortedMap::from([("PATH".to_owned(), "/opt/bin".to_owned())]);
        let inherited = [(OsString::from("PATH"), OsString::from("/bin"))];
        let resolved = resolve(inherited.into_iter(), &configured);
        assert_eq!(resolved.into_iter().collect::<Vec<_>>(), [("PATH".into(), "/opt/bin".into())]);
    }

    #[test]
    fn objects_to_what_is_no_variable() {
        check("A", "b", None);
        check("", "b", Some("\"\" is no name of an environment variable"));
        check("LD_PRELOAD=x", "b", Some("\"LD_PRELOAD=x\" is no name of an environment variable"));
        check("A", "b\0c", Some("the environment variable A contains a NUL byte"));
    }

    fn check(key: &str, value: &str, expected: Option<&str>) {
        let configured = SortedMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(objection(&configured).as_deref(), expected);
    }

    fn keys(inherited: &[(&str, &str)]) -> Vec<String> {
        let inherited = inherited.iter().map(|(key, value)| (key.into(), value.into()));
        let resolved = resolve(inherited, &SortedMap::new());
        resolved.into_keys().map(|key| key.into_string().expect("UTF-8")).collect()
    }
}
