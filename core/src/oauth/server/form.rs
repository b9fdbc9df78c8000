//! Parameters as OAuth has them: in a query or a form, each at most once, and none that is empty (RFC 6749 §3.1, §3.2).

use url::form_urlencoded;

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

/// A parameter that stands there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the parameter `{0}` may appear once")]
pub(crate) struct Repeated(pub(crate) &'static str);

impl Form {
    /// Reads parameters; what is malformed in them is no value of any.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Returns a parameter, where it is there.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() { Err(Repeated(name)) } else { Ok(first) }
    }

    /// Tells whether a parameter is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_there_once_or_not() {
        let form = Form::parse(b"a=1&b=x%20y+z&c=&d=1&d=1&e");
        assert_eq!((form.one("a"), form.one("b")), (Ok(Some("1")), Ok(Some("x y z"))));
        assert_eq!((form.one("c"), form.one("e"), form.one("f")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!(form.one("d"), Err(Repeated("d")));
        assert!(form.has("d") && !form.has("c"));
    }
}
