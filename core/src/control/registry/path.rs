//! The paths of the registry's API.

use crate::endpoint::decode;

/// What every path of it begins with.
pub(crate) const ROOT: &str = "/v0.1/";

/// What a path leads to. Names and versions are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    Servers,
    Versions(String),
    Version(String, String),
    Status(String, String),
    AllStatus(String),
    Publish,
}

impl At {
    /// Finds what a path leads to.
    pub(crate) fn find(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.strip_prefix(ROOT)?.split('/').collect();
        let name = |part: &str| decode(part).filter(|name| !name.is_empty());
        match parts.as_slice() {
            ["servers"] => Some(Self::Servers),
            ["publish"] => Some(Self::Publish),
            ["servers", server, "versions"] => Some(Self::Versions(name(server)?)),
            ["servers", server, "status"] => Some(Self::AllStatus(name(server)?)),
            ["servers", server, "versions", version] => Some(Self::Version(name(server)?, name(version)?)),
            ["servers", server, "versions", version, "status"] => {
                Some(Self::Status(name(server)?, name(version)?))
            }
            _ => None,
        }
    }

    /// Returns the methods that are answered there.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Servers | Self::Versions(_) => "GET",
            Self::Version(..) => "GET, DELETE",
            Self::Status(..) | Self::AllStatus(_) => "PATCH",
            Self::Publish => "POST",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment() {
        let version = At::Version("a.b/c".into(), "1.0".into());
        assert_eq!(At::find("/v0.1/servers/a.b%2Fc/versions/1.0"), Some(version));
        assert_eq!(At::find("/v0.1/servers/a.b/c/versions/1.0"), None);
        assert_eq!(At::find("/v0.1/servers//versions"), None);
        assert_eq!(At::find("/v0.1/servers/%ff/versions"), None);
        assert_eq!(At::find("/v0/servers"), None);
    }
}
