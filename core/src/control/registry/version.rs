//! Which of two versions is the newer one: by semantic versioning (2.0.0, section 11) where both follow it.

use std::cmp::Ordering;

/// A version as far as it can be compared. What does not follow semantic versioning comes before what does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(Option<([u64; 3], Vec<Part>)>);

/// A part of what stands before a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

impl Version {
    pub(crate) fn of(text: &str) -> Self {
        Self(parse(text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some((one, before_one)), Some((other, before_other))) => one.cmp(other).then_with(|| {
                // Without such parts it is the release itself.
                let is_release = |parts: &[Part]| parts.is_empty();
                let released = is_release(before_one).cmp(&is_release(before_other));
                released.then_with(|| before_one.cmp(before_other))
            }),
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }
}

fn parse(text: &str) -> Option<([u64; 3], Vec<Part>)> {
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let (release, before) = match text.split_once('-') {
        Some((release, before)) => (release, Some(before)),
        None => (text, None),
    };
    let mut numbers = release.split('.').map(number);
    let release = [numbers.next()??, numbers.next()??, numbers.next()??];
    if numbers.next().is_some() {
        return None;
    }
    let parts = before.into_iter().flat_map(|before| before.split('.'));
    let parts = parts.map(|part| match number(part) {
        _ if part.is_empty() => None,
        Some(number) => Some(Part::Number(number)),
        None => Some(Part::Text(part.to_owned())),
    });
    Some((release, parts.collect::<Option<_>>()?))
}

fn number(text: &str) -> Option<u64> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_semantic_versioning() {
        let ascending = [
            "banana",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.2.3",
            "1.10.0",
            "2.0.0",
        ];
        for pair in ascending.windows(2) {
            assert!(Version::of(pair[0]) < Version::of(pair[1]), "{pair:?}");
        }
        assert_eq!(Version::of("1.0.0+a"), Version::of("1.0.0+b"));
        assert_eq!(Version::of("1.0"), Version::of("01.0.0"));
    }
}
