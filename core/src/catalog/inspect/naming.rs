//! Names that pass for other names: with letters of another script among Latin ones, or like another of the same list.

use std::collections::BTreeMap;

use super::folding::{fold, like_latin};

/// Returns the word of a name that has Latin letters and others that only look like some.
pub(super) fn mixed(name: &str) -> Option<&str> {
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.find(|word| {
        word.chars().any(|c| c.is_ascii_alphabetic()) && word.chars().any(|c| like_latin(c).is_some())
    })
}

/// Returns the other name that each name may be taken for, where there is one: one that differs only in case, in what is
/// not seen, or by characters that look alike.
pub(super) fn alike<'n>(names: &[&'n str]) -> Vec<Option<&'n str>> {
    let looks: Vec<String> = names.iter().map(|name| look(name)).collect();
    let mut first: BTreeMap<&str, (&'n str, Option<&'n str>)> = BTreeMap::new();
    for (name, look) in names.iter().zip(&looks) {
        let (one, other) = first.entry(look).or_insert((name, None));
        if *one != *name {
            other.get_or_insert(name);
        }
    }
    let other = |(name, look): (&&'n str, &String)| {
        let (one, other) = first.get(look.as_str())?;
        if one == name { *other } else { Some(*one) }
    };
    names.iter().zip(&looks).map(other).collect()
}

/// Returns what names that are taken for each other have in common.
fn look(name: &str) -> String {
    let drawn = |c| match c {
        '0' => 'o',
        '1' | '|' => 'l',
        '‐'..='―' | '−' => '-',
        c if c.is_whitespace() => ' ',
        c => c,
    };
    name.chars().filter_map(fold).map(drawn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str]) -> String {
        let alike = alike(names).into_iter().map(|other| other.unwrap_or("-").escape_default().to_string());
        alike.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn letters_of_another_script_are_found() {
        assert_eq!(mixed("get_pаypal"), Some("pаypal"));
        assert_eq!(mixed("ｇet"), Some("ｇet"));
        for name in ["get_x", "получить", "get_файл", "Δx", "取得get", "ünïcode", "サーバーinfo", ""]
        {
            assert_eq!(mixed(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_look_like_others_are_found() {
        insta::assert_snapshot!(check(&["get", "list", "Get", "gеt", "ge\u{200b}t"]), @"Get - get get get");
        insta::assert_snapshot!(check(&["list_1", "list_l", "file0", "fileO"]), @"list_l list_1 fileO file0");
        insta::assert_snapshot!(check(&["get", "get2", "get-x", "get_x", "set", "取得", "获取"]), @"- - - - - - -");
    }
}
