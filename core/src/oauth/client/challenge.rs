//! What a server demands that refuses a request: its `WWW-Authenticate` challenges (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1).

use http::{HeaderMap, StatusCode, header};

use super::Scopes;

/// The most that is read: of one header's value, in bytes, and of challenges and parameters.
const LONGEST: usize = 16 << 10;
const MOST: usize = 32;

/// One challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns a parameter; nothing where it stands there twice, for then nobody knows which counts.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.as_str());
        value.filter(|_| found.next().is_none())
    }
}

/// What a server demands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Where it says what it is.
    pub(crate) metadata: Option<String>,
    /// The scopes that the request needs.
    pub(crate) scopes: Option<Scopes>,
    /// Whether the token is good and its scopes do not suffice.
    pub(crate) is_about_scopes: bool,
}

impl Demand {
    /// Reads what an answer demands; nothing where it is no refusal that another token could help.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let bearer = bearer(headers);
        let parameter = |name| bearer.as_ref().and_then(|bearer| bearer.parameter(name));
        let is_about_scopes =
            status == StatusCode::FORBIDDEN && parameter("error") == Some("insufficient_scope");
        (status == StatusCode::UNAUTHORIZED || is_about_scopes).then(|| Self {
            metadata: parameter("resource_metadata").map(str::to_owned),
            scopes: parameter("scope").map(Scopes::parse).filter(|scopes| !scopes.is_empty()),
            is_about_scopes,
        })
    }

    /// Returns the scopes that the request needs besides those of a token that is good.
    pub(crate) fn besides(&self) -> Option<&Scopes> {
        self.scopes.as_ref().filter(|_| self.is_about_scopes)
    }
}

/// Returns the first challenge that a bearer of a token can meet; one that says where the metadata is, before others.
fn bearer(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().take(MOST);
    let texts = values.filter_map(|value| value.to_str().ok().filter(|text| text.len() <= LONGEST));
    let mut found: Vec<_> = texts.flat_map(parse).filter(|one| one.scheme == "bearer").collect();
    let telling = found.iter().position(|one| one.parameter("resource_metadata").is_some());
    (!found.is_empty()).then(|| found.swap_remove(telling.unwrap_or_default()))
}

/// Reads the challenges of one header; what follows something odd is not read.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (name, after) = token(rest);
        if name.is_empty() || challenges.len() > MOST {
            return challenges;
        }
        if let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            let value = value.trim_start_matches([' ', '\t']);
            let (Some(challenge), Some((value, after))) = (challenges.last_mut(), parameter_value(value))
            else {
                return challenges;
            };
            if challenge.parameters.len() < MOST {
                challenge.parameters.push((name.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            challenges.push(Challenge { scheme: name.to_ascii_lowercase(), parameters: Vec::new() });
            rest = without_token68(after);
        }
    }
}

/// Splits a token off (RFC 9110 §5.6.2).
fn token(text: &str) -> (&str, &str) {
    let of_a_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !of_a_token(c)).unwrap_or(text.len()))
}

fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = token(text);
        return (!value.is_empty()).then(|| (value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// Takes off the credentials in one piece that may stand behind a scheme in place of parameters (RFC 9110 §11.2).
fn without_token68(text: &str) -> &str {
    let trimmed = text.trim_start_matches(' ');
    let of_a_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let after =
        trimmed.trim_start_matches(of_a_token68).trim_start_matches('=').trim_start_matches([' ', '\t']);
    if after.is_empty() || after.starts_with(',') { after } else { text }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn demand(status: u16, values: &[&str]) -> Option<Demand> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).expect("a header"));
        }
        Demand::read(StatusCode::from_u16(status).expect("a status"), &headers)
    }

    fn check(status: u16, values: &[&str]) -> String {
        demand(status, values).map_or("nothing".into(), |demand| {
            let scopes = demand.scopes.unwrap_or_default();
            let about = if demand.is_about_scopes { ", step up" } else { "" };
            format!("{} [{scopes}]{about}", demand.metadata.unwrap_or_default())
        })
    }

    #[test]
    fn what_a_server_demands_is_found_among_its_challenges() {
        let url = "https://a.example/.well-known/oauth-protected-resource/mcp";
        let plain = format!("Bearer resource_metadata=\"{url}\", scope=\"b a\"");
        insta::assert_snapshot!(check(401, &[&plain]), @"https://a.example/.well-known/oauth-protected-resource/mcp [a b]");
        insta::assert_snapshot!(check(401, &["Negotiate dG9rZW4=, Basic realm=\"a, b=\\\"c\\\"\", bearer scope = x , error=invalid_token"]), @" [x]");
        insta::assert_snapshot!(check(401, &["Basic realm=x", "BEARER scope=\"x\"", "Bearer resource_metadata=\"u\""]), @"u []");
        insta::assert_snapshot!(check(403, &["Bearer error=\"insufficient_scope\", scope=\"x y\""]), @" [x y], step up");
        insta::assert_snapshot!(check(401, &[]), @" []");
        insta::assert_snapshot!(check(401, &["DPoP, Bearer"]), @" []");
    }

    #[test]
    fn what_no_token_can_help_is_no_demand() {
        for (status, value) in
            [(403, "Bearer error=\"invalid_token\""), (403, "Bearer"), (200, "Bearer"), (404, "Bearer")]
        {
            assert_eq!(demand(status, &[value]), None, "{status} {value}");
        }
    }

    #[test]
    fn what_is_doubtful_is_not_read() {
        insta::assert_snapshot!(check(401, &["Bearer scope=a, scope=b, resource_metadata=\"unclosed"]), @" []");
        insta::assert_snapshot!(check(401, &["scope=a"]), @" []");
        insta::assert_snapshot!(check(401, &["Bearer scope=\"\", x=\"y\\"]), @" []");
        let long = format!("Bearer scope=a, x=\"{}\"", "y".repeat(LONGEST));
        insta::assert_snapshot!(check(401, &[&long]), @" []");
    }

    proptest! {
        #[test]
        fn any_header_is_read(text in "[A-Za-z=,\" \\\\/+.;é-]{0,60}") {
            parse(&text);
        }

        #[test]
        fn what_is_quoted_is_read_back(value in "[ -~]{0,40}", before in "(Basic abc=, |Negotiate, |Basic realm=\"x\", )?") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let read = parse(&format!("{before}Bearer a=b, scope=\"{quoted}\""));
            prop_assert_eq!(read.last().and_then(|last| last.parameter("scope")), Some(&*value));
        }
    }
}
