//! Text in a line: whatever could end it, reorder it or move a cursor is spelled out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Tells whether a character changes how others are shown, or cannot be seen at all.
fn is_hidden(c: char) -> bool {
    // Most text is of these.
    let is_plain = matches!(c, ' '..='~');
    !is_plain
        && (c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}

/// Tells whether all of a text stands for itself in a JSON string: most texts are such.
pub(super) fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    // Eight at a time without a way out take as long as two with one.
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    eights.iter().all(|eight| eight.iter().fold(true, |all, byte| all & is_plain(*byte)))
        && rest.iter().all(|byte| is_plain(*byte))
}

/// Appends a number.
pub(super) fn write_number(out: &mut String, mut number: u64) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a JSON string of one line without control characters, line separators and bidi controls.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    if is_plain(text) {
        out.push_str(text);
        rest = "";
    }
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || is_hidden(c)) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let c = from.chars().next().unwrap_or_default();
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c => spell_out(out, c),
        }
        rest = &from[c.len_utf8()..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Returns a text fit for one line of a terminal or a table: what is hidden is spelled out, as JSON does.
pub fn visible(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { spell_out(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn spell_out(out: &mut String, c: char) {
    let mut units = [0; 2];
    for unit in c.encode_utf16(&mut units) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        write_string(&mut out, text);
        out
    }

    #[test]
    fn what_could_mislead_is_spelled_out() {
        let check = |text: &str, expected: &str| assert_eq!(written(text), format!("\"{expected}\""));
        check("plain é 漢 🦀", "plain é 漢 🦀");
        check("a\nb\r\t", r"a\u000ab\u000d\u0009");
        check("\u{1b}[2J", r"\u001b[2J");
        check("\u{2028}\u{85}\u{202e}\u{2066}\u{7f}", r"\u2028\u0085\u202e\u2066\u007f");
        check("\u{e0041}", r"\udb40\udc41");
        check("\"\\", r#"\"\\"#);
        assert_eq!(visible("=1\n\"x\""), "=1\\u000a\"x\"");
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_and_reads_as_itself(text in any::<String>()) {
            let line = written(&text);
            prop_assert!(!line.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
