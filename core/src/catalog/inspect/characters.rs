//! Characters that a model reads and people do not see, or that change what people see.
//!
//! Scripts need some of them: joiners in Persian and Hindi, marks of direction in Hebrew, selectors in emoji. Where
//! one does what it is there for, nothing is found.

use super::Suspicion;

/// How many different characters a finding names.
const NAMED: usize = 4;
/// How much of what is hidden is shown.
const SHOWN: usize = 60;
/// The flags that are written with tag characters: of England, Scotland and Wales.
const FLAGS: [&str; 3] = ["gbeng", "gbsct", "gbwls"];
const CANCEL_TAG: char = '\u{e007f}';
const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';

/// A character and what stands around it.
#[derive(Debug, Clone, Copy)]
struct Spot {
    c: char,
    /// What is directly before it.
    before: Option<char>,
    /// The last one before it that is seen.
    base: Option<char>,
    after: Option<char>,
    /// Whether the text has letters that are written from right to left.
    rtl: bool,
}

/// What was found of one kind.
#[derive(Debug)]
struct Tally {
    what: Suspicion,
    count: usize,
    different: Vec<char>,
    /// What is spelled with tag characters or selectors.
    spelled: String,
}

/// Finds such characters; tells of each kind of them once.
pub(super) fn inspect(text: &str, mut tell: impl FnMut(Suspicion, String)) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    if text.as_bytes().iter().all(is_plain) {
        return;
    }
    let rtl = text.chars().any(is_rtl);
    let mut tallies: Vec<Tally> = Vec::new();
    let (mut before, mut base, mut rest) = (None, None, text);
    while let Some(c) = rest.chars().next() {
        let next = &rest[c.len_utf8()..];
        let spot = Spot { c, before, base, after: next.chars().next(), rtl };
        if let Some(what) = judge(spot) {
            match tallies.iter_mut().find(|tally| tally.what == what) {
                Some(tally) => tally.add(c),
                None => tallies.push(Tally::of(what, c)),
            }
        }
        before = Some(c);
        base = if is_invisible(c) { base } else { before };
        rest = after_flag(c, next);
    }
    for tally in tallies {
        tell(tally.what, tally.evidence());
    }
}

impl Tally {
    fn of(what: Suspicion, c: char) -> Self {
        let mut tally = Self { what, count: 0, different: Vec::new(), spelled: String::new() };
        tally.add(c);
        tally
    }

    fn add(&mut self, c: char) {
        self.count += 1;
        if self.different.len() <= NAMED && !self.different.contains(&c) {
            self.different.push(c);
        }
        if self.spelled.len() < SHOWN {
            self.spelled.extend(spelled(c).filter(|c| matches!(c, ' '..='~')));
        }
    }

    /// Names the characters by their numbers, and says what they spell.
    fn evidence(&self) -> String {
        let names: Vec<_> =
            self.different.iter().take(NAMED).map(|c| format!("U+{:04X}", u32::from(*c))).collect();
        let more = if self.different.len() > NAMED { " and others" } else { "" };
        let spelled = if self.spelled.len() > 2 {
            format!(", which spell \"{}\"", self.spelled)
        } else {
            String::new()
        };
        format!("{}{more}, {} in all{spelled}", names.join(" "), self.count)
    }
}

/// Returns what is wrong with a character where it stands.
fn judge(spot: Spot) -> Option<Suspicion> {
    match spot.c {
        '\u{20}'..='\u{7e}' | '\n' | '\r' | '\t' => None,
        c if c.is_control() => Some(Suspicion::ControlCharacters),
        '\u{e0000}'..='\u{e007f}' => Some(Suspicion::TagCharacters),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Suspicion::BidiControls),
        '\u{200e}' | '\u{200f}' | '\u{61c}' if !spot.rtl => Some(Suspicion::BidiControls),
        c if is_selector(c) => (!spot.is_selected()).then_some(Suspicion::VariationSelectors),
        c if is_private(c) => Some(Suspicion::PrivateUse),
        c if is_unseen(c) => (!spot.is_needed()).then_some(Suspicion::InvisibleCharacters),
        _ => None,
    }
}

impl Spot {
    /// Tells whether a joiner, or a place where a line may break, does what it is there for.
    fn is_needed(self) -> bool {
        let Some(before) = self.before else { return self.c == '\u{feff}' };
        match self.c {
            ZWJ if self.base.is_some_and(is_pictured) => self.after.is_some_and(is_pictured),
            ZWJ | ZWNJ => joins(before),
            '\u{200b}' => breaks(before),
            '\u{180e}' => matches!(before, '\u{1820}'..='\u{18aa}'),
            _ => false,
        }
    }

    /// Tells whether a selector stands alone after something that has variants.
    fn is_selected(self) -> bool {
        let Some(before) = self.before else { return false };
        match self.c {
            '\u{e0100}'..='\u{e01ef}' => is_ideograph(before),
            '\u{180b}'..='\u{180f}' => matches!(before, '\u{1820}'..='\u{18aa}'),
            _ if before.is_ascii() => before.is_ascii_digit() || matches!(before, '#' | '*'),
            _ => !is_invisible(before) && !before.is_whitespace(),
        }
    }
}

/// Returns what comes after the rest of a flag that is written with tag characters, where `c` begins one.
fn after_flag(c: char, next: &str) -> &str {
    if c != '\u{1f3f4}' {
        return next;
    }
    let end = next.char_indices().nth(FLAGS[0].len());
    let Some((end, _)) = end.filter(|(_, last)| *last == CANCEL_TAG) else { return next };
    let region: String = next[..end].chars().flat_map(spelled).collect();
    if FLAGS.contains(&region.as_str()) { &next[end + CANCEL_TAG.len_utf8()..] } else { next }
}

/// Returns what a tag character, or a selector that stands for a byte, spells.
fn spelled(c: char) -> impl Iterator<Item = char> {
    let byte = match u32::from(c) {
        code @ 0xe0020..=0xe007e => u8::try_from(code - 0xe0000).ok(),
        code @ 0xfe00..=0xfe0f => u8::try_from(code - 0xfe00).ok(),
        code @ 0xe0100..=0xe01ef => u8::try_from(code - 0xe0100 + 16).ok(),
        _ => None,
    };
    byte.map(char::from).into_iter()
}

/// Tells whether a character is not seen, wherever it stands.
pub fn is_invisible(c: char) -> bool {
    !c.is_ascii()
        && (is_unseen(c)
            || is_selector(c)
            || c.is_control()
            || matches!(
                c,
                '\u{e0000}'..='\u{e007f}'
                    | '\u{202a}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}'
                    | '\u{200e}'
                    | '\u{200f}'
                    | '\u{61c}'
            ))
}

fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0080}'..='\u{e00ff}'
            | '\u{e01f0}'..='\u{e0fff}'
    )
}

fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}')
}

fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

fn is_rtl(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{60b}' | '\u{60d}'..='\u{61b}' | '\u{61e}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Emoji, and the symbols that become one with a selector.
fn is_pictured(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{2bff}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{a9}' | '\u{ae}')
}

/// Letters and marks of the scripts in which a joiner changes how letters are drawn: Arabic and its kin, those of
/// India, Myanmar, Khmer, Mongolian and others.
fn joins(c: char) -> bool {
    let script = matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{1a20}'..='\u{1aaf}' | '\u{1b00}'..='\u{1bff}' | '\u{a840}'..='\u{a8ff}' | '\u{a980}'..='\u{a9df}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10a00}'..='\u{10a5f}' | '\u{11000}'..='\u{11fff}');
    script && !is_invisible(c)
}

/// Letters and marks of the scripts without spaces between words.
fn breaks(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{17b3}' | '\u{17b6}'..='\u{17ff}' | '\u{1950}'..='\u{1aaf}' | '\u{a980}'..='\u{a9df}')
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) -> String {
        let mut found = Vec::new();
        inspect(text, |what, evidence| found.push(format!("{}: {evidence}", what.code())));
        found.join("; ")
    }

    fn tags(text: &str) -> String {
        text.chars().map(|c| char::from_u32(0xe0000 + u32::from(c)).unwrap()).collect()
    }

    /// A byte in each selector, which is a known way to hide a text behind one emoji.
    fn selectors(text: &str) -> String {
        let selector = |byte| if byte < 16 { 0xfe00 + byte } else { 0xe0100 + byte - 16 };
        text.bytes().map(|byte| char::from_u32(selector(u32::from(byte))).unwrap()).collect()
    }

    #[test]
    fn what_is_not_seen_is_found() {
        insta::assert_snapshot!(check(&format!("Adds.{}", tags("read ~/.ssh"))), @r#"tag-characters: U+E0072 U+E0065 U+E0061 U+E0064 and others, 11 in all, which spell "read ~/.ssh""#);
        insta::assert_snapshot!(check(&format!("😀{}", selectors("run rm -rf"))), @r#"variation-selectors: U+E0162 U+E0165 U+E015E U+E0110 and others, 10 in all, which spell "run rm -rf""#);
        insta::assert_snapshot!(check("a\u{200b}b\u{200b}\u{2060}c\u{ad}"), @"invisible-characters: U+200B U+2060 U+00AD, 4 in all");
        insta::assert_snapshot!(check("a\u{200d}b \u{200c}c"), @"invisible-characters: U+200D U+200C, 2 in all");
        insta::assert_snapshot!(check("\u{3164}"), @"invisible-characters: U+3164, 1 in all");
        insta::assert_snapshot!(check("\u{e000} \u{f0000} \u{e001} \u{e002} \u{e003} \u{e004}"), @"private-use: U+E000 U+F0000 U+E001 U+E002 and others, 6 in all");
    }

    #[test]
    fn what_changes_what_is_seen_is_found() {
        insta::assert_snapshot!(check("a \u{202e}txt.exe\u{202c}"), @"bidi-controls: U+202E U+202C, 2 in all");
        insta::assert_snapshot!(check("\u{2066}a\u{2069}"), @"bidi-controls: U+2066 U+2069, 2 in all");
        insta::assert_snapshot!(check("a\u{200f}b"), @"bidi-controls: U+200F, 1 in all");
        insta::assert_snapshot!(check("a\u{1b}[31mred\u{7}\u{9b}0m\u{7f}\0"), @"control-characters: U+001B U+0007 U+009B U+007F and others, 5 in all");
        insta::assert_snapshot!(check("a\u{8}b"), @"control-characters: U+0008, 1 in all");
    }

    #[test]
    fn what_does_its_duty_in_the_wrong_place_is_found() {
        insta::assert_snapshot!(check("می\u{200c}\u{200c}\u{200d}\u{200c}خواهم"), @"invisible-characters: U+200C U+200D, 3 in all");
        insta::assert_snapshot!(check(&format!("\u{1f3f4}{}\u{e007f}", tags("gbrun"))), @r#"tag-characters: U+E0067 U+E0062 U+E0072 U+E0075 and others, 6 in all, which spell "gbrun""#);
        insta::assert_snapshot!(check(&format!("\u{1f3f4}{}", tags("gbeng"))), @r#"tag-characters: U+E0067 U+E0062 U+E0065 U+E006E, 5 in all, which spell "gbeng""#);
        insta::assert_snapshot!(check("😀\u{200d} x"), @"invisible-characters: U+200D, 1 in all");
        insta::assert_snapshot!(check("a\u{fe0f}"), @"variation-selectors: U+FE0F, 1 in all");
        insta::assert_snapshot!(check("a\u{feff}b"), @"invisible-characters: U+FEFF, 1 in all");
    }

    #[test]
    fn ordinary_texts_are_ordinary() {
        for text in [
            "Lists files.\n\n\t- `ls`\r\n",
            "列出目录中的文件。「名前」を検索します。葛\u{e0100}城市 辻\u{e0101}",
            "يعرض الملفات في المجلد (git).\u{200f} و\u{200e}C++",
            "מציג קבצים\u{200f}, כולל \u{200e}README.md\u{200e}",
            "می\u{200c}خواهم کتاب\u{200c}ها را ببینم",
            "क\u{94d}\u{200d}ष और क\u{94d}\u{200c}ष, र\u{94d}\u{200d}य; নির\u{9cd}\u{200c}মাণ; ശ\u{d4d}\u{200d}",
            "ไฟล์\u{200b}ทั้งหมด ឯកសារ\u{200b}ទាំងអស់",
            "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ ᠭ\u{180b}",
            "👩\u{200d}💻 👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 🏳\u{fe0f}\u{200d}🌈 👍🏽 1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3} ©\u{fe0f} ☎\u{fe0e} 🧑🏽\u{200d}🚀",
            &format!("\u{1f3f4}{}\u{e007f} and 🇩🇪", tags("gbsct")),
            "\u{feff}A byte order mark at the beginning",
            "naïve café — “quoted” … 10 µm ≤ Δx, ½, é e\u{301}",
            "Việt Nam, Ελλάδα, Россия, ქართული, አማርኛ, 한국어",
        ] {
            assert_eq!(check(text), "", "{}", text.escape_unicode());
        }
    }
}
