//! Letters as people and models read them: what looks like a Latin letter is one, case does not count, and what is not
//! seen is not there.
//!
//! The table has the letters of other scripts that are drawn like Latin ones in common fonts. Unicode's own list
//! (UTS 39) is a hundred times as long; what is missing here is told apart as it would be without a table.

use super::characters::is_invisible;

/// Letters of other scripts, each before the Latin one that it looks like.
const LIKE_LATIN: &str = "\
    аaеeоoрpсcуyхxіiјjѕsһhԁdԛqԝwѵvкkӏlԍgеe\
    АaВbЕeКkМmНhОoРpСcТtУyХxІiЈjЅsԌgԚqԜwҺhӀl\
    αaοoρpνvιiκkυuγyχxϲcϳj\
    ΑaΒbΕeΖzΗhΙiΚkΜmΝnΟoΡpΤtΥyΧxϹc\
    օoսuհhոnցgզqՕoՍuԼl\
    ᎪaᎬeᏟcᏚsᎢtᏢpᎷmᏴbᎻhᏀgᏦkᏙvᎫjᏞlᎳwᏃzᎡr\
    ɑaɡgıiſsℓlǃlʏyᴏoᴄcᴠvᴡwᴢzꜱsɩi";

/// Returns how a character is read; nothing where it is not seen.
pub(crate) fn fold(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c.to_ascii_lowercase());
    }
    if is_invisible(c) || matches!(c, '\u{300}'..='\u{36f}') {
        return None;
    }
    Some(like_latin(c).unwrap_or_else(|| c.to_lowercase().next().unwrap_or(c)))
}

/// Returns the Latin letter or digit that a character of another kind looks like, in lower case.
pub(super) fn like_latin(c: char) -> Option<char> {
    let letter = |index: u32| char::from_u32(u32::from('a') + index % 26);
    let code = u32::from(c);
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(code - 0xfee0).map(|c| c.to_ascii_lowercase()),
        '\u{1d400}'..='\u{1d6a3}' => letter((code - 0x1d400) % 52),
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_digit((code - 0x1d7ce) % 10, 10),
        '\u{24b6}'..='\u{24e9}' => letter(code - 0x24b6),
        '\u{1f130}'..='\u{1f149}' => letter(code - 0x1f130),
        '\u{80}'..='\u{58f}'
        | '\u{13a0}'..='\u{13ff}'
        | '\u{1d00}'..='\u{1d7f}'
        | '\u{2113}'
        | '\u{a730}'..='\u{a7ff}' => {
            let mut table = LIKE_LATIN.chars();
            table.find(|found| *found == c)?;
            table.next()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        text.chars().filter_map(fold).collect()
    }

    #[test]
    fn what_looks_alike_is_read_alike() {
        assert_eq!(check("раураl ΡΑΥΡΑL"), "paypal paypal");
        assert_eq!(check("ｉｇｎｏｒｅ 𝐈𝐠𝐧𝐨𝐫𝐞 𝗶𝗴𝗻𝗼𝗿𝗲 ⓘⓖⓝⓞⓡⓔ 𝟙𝟚"), "ignore ignore ignore ignore 12");
        assert_eq!(check("i\u{200b}gn\u{e0041}o\u{301}re"), "ignore");
        assert_eq!(check("ДОМ 家 Ä"), "дom 家 ä");
    }

    #[test]
    fn the_table_is_made_of_pairs() {
        let all: Vec<_> = LIKE_LATIN.chars().collect();
        assert!(all.chunks(2).all(|pair| !pair[0].is_ascii() && pair[1].is_ascii_lowercase()));
    }
}
