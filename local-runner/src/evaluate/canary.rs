//! Secrets that open nothing, put where a server might look for some, and found again in whatever comes out of it.
//!
//! **A canary is recognised by twelve random letters and digits of it**, so that a part is enough: as they are, in capitals or
//! not, backwards, with anything between them, in hexadecimal digits, or in base64. **It cannot be seen** what is encrypted,
//! compressed, or encoded in another way.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How many of its letters a canary is known by.
const KNOWN: usize = 12;

/// Where a canary was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In an environment variable.
    Variable(String),
    /// In a file that nobody told the server of.
    Hidden(String),
    /// In a file of a folder that the server was given.
    Given(String),
}

/// A secret that opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canary {
    pub(crate) kept: Kept,
    /// All of it.
    pub(crate) value: String,
    /// What it is known by.
    mark: String,
}

/// How a canary came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Plain,
    Base64,
    Hex,
    Reversed,
    Split,
}

impl Form {
    /// Continues "a secret came out ...".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Plain => "as it is",
            Self::Base64 => "in base64",
            Self::Hex => "in hexadecimal digits",
            Self::Reversed => "backwards",
            Self::Split => "in pieces",
        }
    }
}

impl Canary {
    /// Makes one of random letters and digits, in the form that secrets of this name have.
    pub(crate) fn new(kept: Kept, name: &str, random: &[u8; 40]) -> Self {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        let (prefix, length, capitals) = form(&name.to_ascii_uppercase());
        let body: String = letters.take(length).collect();
        let body = if capitals { body.to_ascii_uppercase() } else { body };
        Self { kept, value: format!("{prefix}{body}"), mark: body[..KNOWN].to_ascii_lowercase() }
    }

    /// Says where it was.
    pub(crate) fn place(&self) -> String {
        match &self.kept {
            Kept::Variable(name) => format!("the environment variable {name}"),
            Kept::Hidden(path) => format!("the file {path}"),
            Kept::Given(path) => format!("the file {path} of a folder that it was given"),
        }
    }

    /// Tells whether it stands in a text, and how.
    pub(crate) fn stands_in(&self, text: &Searched) -> Option<Form> {
        let reversed: String = self.mark.chars().rev().collect();
        let forms = [
            (Form::Plain, text.lower.contains(&self.mark)),
            (Form::Reversed, text.lower.contains(&reversed)),
            (Form::Hex, text.has_bytes(&self.value, &self.mark, hex)),
            (Form::Base64, text.has_base64(&self.value)),
            (Form::Split, text.letters.contains(&self.mark)),
        ];
        forms.into_iter().find(|(_, stands)| *stands).map(|(form, _)| form)
    }
}

/// A text in which canaries are looked for.
#[derive(Debug)]
pub(crate) struct Searched {
    text: String,
    lower: String,
    /// Its letters and digits alone.
    letters: String,
}

impl Searched {
    pub(crate) fn new(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let letters = lower.chars().filter(char::is_ascii_alphanumeric).collect();
        Self { text: text.to_owned(), lower, letters }
    }

    fn has_bytes(&self, value: &str, mark: &str, encode: impl Fn(&[u8]) -> String) -> bool {
        let capitals = mark.to_ascii_uppercase();
        let mark = if value.contains(mark) { mark } else { &capitals };
        self.lower.contains(&encode(mark.as_bytes()))
    }

    /// Base64 of a part depends on where the part begins among three bytes.
    fn has_base64(&self, value: &str) -> bool {
        let part = &value.as_bytes()[value.len().saturating_sub(24)..];
        let plain: String = self
            .text
            .chars()
            .map(|c| {
                if c == '-' {
                    '+'
                } else if c == '_' {
                    '/'
                } else {
                    c
                }
            })
            .collect();
        (0..3).any(|skipped| {
            let whole = &part[skipped..skipped + (part.len() - skipped) / 3 * 3];
            plain.contains(&STANDARD_NO_PAD.encode(whole))
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Returns how secrets of a name begin, how long they go on, and whether in capitals.
fn form(name: &str) -> (&'static str, usize, bool) {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["GITHUB", "GH_"]) {
        ("ghp_", 36, false)
    } else if has(&["GITLAB"]) {
        ("glpat-", 20, false)
    } else if has(&["SLACK"]) {
        ("xoxb-", 36, false)
    } else if has(&["OPENAI"]) {
        ("sk-", 40, false)
    } else if has(&["ANTHROPIC"]) {
        ("sk-ant-", 40, false)
    } else if has(&["STRIPE"]) {
        ("sk_test_", 24, false)
    } else if has(&["ACCESS_KEY_ID"]) {
        ("AKIA", 16, true)
    } else if has(&["GOOGLE", "GEMINI"]) {
        ("AIza", 35, false)
    } else {
        ("", 40, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_form_of_its_name() {
        let value = |name| canary(name).value;
        assert!(value("GITHUB_TOKEN").starts_with("ghp_"));
        assert_eq!(value("AWS_ACCESS_KEY_ID").len(), 20);
        assert_eq!(value("PASSWORD").len(), 40);
    }

    #[test]
    fn is_found_however_it_comes_out() {
        for name in ["GITHUB_TOKEN", "AWS_ACCESS_KEY_ID", "PASSWORD"] {
            let canary = canary(name);
            let value = &canary.value;
            check(&canary, &format!("x={value}."), Some(Form::Plain));
            check(&canary, &value.to_ascii_uppercase(), Some(Form::Plain));
            check(&canary, &value.chars().rev().collect::<String>(), Some(Form::Reversed));
            check(&canary, &value.chars().flat_map(|c| [c, ' ']).collect::<String>(), Some(Form::Split));
            check(&canary, &format!("{}.example", hex(value.as_bytes())), Some(Form::Hex));
            for before in ["", "a", "ab", "abc"] {
                let encoded = STANDARD_NO_PAD.encode(format!("{before}{value}, and more"));
                check(&canary, &encoded, Some(Form::Base64));
            }
        }
    }

    #[test]
    fn is_not_found_elsewhere() {
        let other = Canary::new(Kept::Variable("B".into()), "B", &[9; 40]);
        check(&canary("A"), &other.value, None);
        check(&canary("A"), "", None);
    }

    fn canary(name: &str) -> Canary {
        let random = std::array::from_fn(|at| u8::try_from(at * 37 % 251).unwrap());
        Canary::new(Kept::Variable(name.to_owned()), name, &random)
    }

    fn check(canary: &Canary, text: &str, expected: Option<Form>) {
        assert_eq!(canary.stands_in(&Searched::new(text)), expected, "{text}");
    }
}
