//! URI templates (RFC 6570), the other way round: does a URI come from this template?

/// A template whose expressions have been told apart from its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Expression(char),
}

/// The longest URI that is compared, in bytes.
const LONGEST: usize = 4096;

impl Template {
    /// Reads a template; a brace without its partner is text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, (expression, after))) =
            rest.split_once('{').and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
        {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Expression(
                expression.chars().next().filter(|c| "+#./;?&".contains(*c)).unwrap_or(' '),
            ));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Self(parts)
    }

    /// Tells whether some values of the variables give this URI.
    pub(crate) fn matches(&self, uri: &str) -> bool {
        if uri.len() > LONGEST {
            return false;
        }
        // Which positions the parts so far can end at: no backtracking, however the template is made.
        let mut ends = vec![false; uri.len() + 1];
        ends[0] = true;
        for part in &self.0 {
            let mut next = vec![false; uri.len() + 1];
            for start in (0..=uri.len()).filter(|at| ends[*at]) {
                part.mark_ends(uri.as_bytes(), start, &mut next);
            }
            ends = next;
        }
        ends[uri.len()]
    }
}

impl Part {
    fn mark_ends(&self, uri: &[u8], start: usize, ends: &mut [bool]) {
        match self {
            Self::Text(text) if uri[start..].starts_with(text.as_bytes()) => ends[start + text.len()] = true,
            Self::Text(_) => {}
            Self::Expression(operator) => {
                let (opening, inner): (Option<u8>, fn(u8) -> bool) = match operator {
                    '+' => (None, |_| true),
                    '#' => (Some(b'#'), |_| true),
                    '?' => (Some(b'?'), |b| b != b'#'),
                    '&' => (Some(b'&'), |b| b != b'#'),
                    '/' => (Some(b'/'), |b| !matches!(b, b'?' | b'#')),
                    '.' => (Some(b'.'), |b| !matches!(b, b'/' | b'?' | b'#')),
                    ';' => (Some(b';'), |b| !matches!(b, b'/' | b'?' | b'#')),
                    _ => (None, |b| !matches!(b, b'/' | b'?' | b'#')),
                };
                let mut from = start;
                if let Some(opening) = opening {
                    ends[start] = true;
                    if uri.get(start) != Some(&opening) {
                        return;
                    }
                    from += 1;
                }
                let run = uri[from..].iter().take_while(|b| inner(**b)).count();
                let least = usize::from(opening.is_none());
                ends[from..=from + run].iter_mut().skip(least).for_each(|end| *end = true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, uri: &str, expected: bool) {
        assert_eq!(Template::parse(template).matches(uri), expected, "{template} {uri}");
    }

    #[test]
    fn matches_as_expansion_would() {
        check("test://template/{id}/data", "test://template/42/data", true);
        check("test://template/{id}/data", "test://template/a/b/data", false);
        check("test://template/{id}/data", "test://template//data", false);
        check("file:///{+path}", "file:///a/b/c", true);
        check("x://{a}-{b}", "x://1-2-3", true);
        check("x://s{?q,r}", "x://s", true);
        check("x://s{?q,r}", "x://s?q=1&r=2", true);
        check("x://s{?q}", "x://st", false);
        check("x://a{/b,c}", "x://a/1/2", true);
        check("x://{open", "x://{open", true);
        check("x://é/{a}", "x://é/ü", true);
        check(&"{+a}".repeat(50), &"x".repeat(4000), true);
    }
}
