//! Places and contents in descriptions that a client which shows Markdown or HTML would load by itself.

use super::Suspicion;

/// The longest text of an image and the longest type of a data URL that are looked at, in bytes.
const NEAR: usize = 300;
/// From how many characters on the content of a data URL is more than an example.
const CONTENT: usize = 32;

/// Finds data URLs with content, and images from elsewhere; tells of each kind once.
pub(super) fn inspect(text: &str, mut tell: impl FnMut(Suspicion, &str)) {
    if let Some(passage) = data_url(text) {
        tell(Suspicion::DataUrl, passage);
    }
    if let Some(passage) = markdown_image(text).or_else(|| html_image(text)) {
        tell(Suspicion::RemoteImage, passage);
    }
}

fn data_url(text: &str) -> Option<&str> {
    let is_content = |c: &u8| c.is_ascii_alphanumeric() || b"+/=-_%".contains(c);
    let is_type = |c: &u8| c.is_ascii_alphanumeric() || b"/;=+-._".contains(c);
    places(text, "data:").find_map(|start| {
        let rest = &text.as_bytes()[start + "data:".len()..];
        let kind = rest.iter().take(NEAR).take_while(|c| is_type(c)).count();
        let content = rest[kind..].strip_prefix(b",")?;
        let length = content.iter().take(CONTENT).take_while(|c| is_content(c)).count();
        (length == CONTENT).then(|| &text[start..])
    })
}

fn markdown_image(text: &str) -> Option<&str> {
    let mut begun = None;
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            b"![" => begun = Some(at),
            b"](" => {
                let target = text[at + 2..].trim_start_matches([' ', '<']);
                if let Some(start) = begun.take().filter(|start| at - start <= NEAR && is_remote(target)) {
                    return Some(&text[start..]);
                }
            }
            _ => {}
        }
    }
    None
}

fn html_image(text: &str) -> Option<&str> {
    places(text, "<img").find_map(|start| {
        let tag = text[start + 1..].split(['<', '>']).next()?;
        let source = places(tag, "src").next()?;
        let target = tag[source + 3..].trim_start_matches([' ', '=', '"', '\'']);
        is_remote(target).then(|| &text[start..])
    })
}

fn is_remote(target: &str) -> bool {
    let begins = |prefix: &str| target.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix));
    begins("http://") || begins("https://") || begins("//")
}

/// Returns where a word of ASCII stands, in small or capital letters.
fn places<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let windows = text.as_bytes().windows(word.len()).enumerate();
    windows.filter(move |(_, window)| window.eq_ignore_ascii_case(word.as_bytes())).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) -> String {
        let mut found = Vec::new();
        inspect(text, |what, passage| found.push(format!("{}: {passage}", what.code())));
        found.join("; ")
    }

    #[test]
    fn what_would_be_loaded_is_found() {
        let content = "aGVsbG8gd29ybGQ".repeat(3);
        assert_eq!(
            check(&format!("see DATA:text/html;base64,{content}")),
            format!("data-url: DATA:text/html;base64,{content}")
        );
        insta::assert_snapshot!(check("a ![é](https://e.test/?q=1) b"), @"remote-image: ![é](https://e.test/?q=1) b");
        insta::assert_snapshot!(check("![]( <HTTP://e.test>)"), @"remote-image: ![]( <HTTP://e.test>)");
        insta::assert_snapshot!(check("<IMG alt='' src='//e.test/x.png'>"), @"remote-image: <IMG alt='' src='//e.test/x.png'>");
    }

    #[test]
    fn ordinary_texts_are_ordinary() {
        for text in [
            "A picture as a data URL, such as data:image/png;base64,iVBORw0KGgo=",
            "metadata: none; data: text, that is; data:",
            "![local](images/a.png), [a link](https://e.test/), `![x]` and ![",
            "<img src='a.png'> http://e.test; vec![\"](\"]; <img",
        ] {
            assert_eq!(check(text), "", "{text}");
        }
    }
}
