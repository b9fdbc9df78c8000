//! Variants, from a file to what they are made of.

use crate::config::access::tests::{check, config, read};
use crate::config::{Fixed, Wording};

/// Lists the problems of one variant.
fn variant(fields: &str) -> String {
    check(&format!("variants: {{ github: {{ v: {{ {fields} }} }} }}"))
}

/// Lists the problems of one argument of a variant.
fn argument(fields: &str) -> String {
    variant(&format!("from: a, arguments: {{ x: {{ {fields} }} }}"))
}

#[test]
fn variants_are_read() {
    let config = config(
        r#"
variants:
  GitHub:
    file_bug:
      from: create_issue
      replace: true
      title: "File a bug"
      description: { append: "Web shop only." }
      arguments:
        owner: { fix: acme }
        count: { fix: 1.50 }
        none: { fix: ~ }
        labels: { default: [bug, { a: 0x10 }] }
        body: { describe: { rewrite: "Steps." }, rename: text }
        text: { rename: body }
        size: { enum: [s, 5, "5"], pattern: "^.", minimum: -1, maximum: 9.5, describe: Big. }
      result: { select: "/items", cut: 4000 }
    create_issue: { description: Careful. }
    ask: { from: help, kind: prompt, description: { rewrite: Ask. }, arguments: { a: { fix: 5 }, b: { default: x, enum: [x, 1.0], pattern: "^." } } }
"#,
    );
    let [ask, create_issue, file_bug] = &config.variants[..] else { panic!("three variants") };
    assert!(!ask.replaces && create_issue.replaces && file_bug.replaces);
    assert_eq!((ask.server.as_str(), create_issue.from.as_str()), ("github", "create_issue"));
    assert_eq!(create_issue.description, Some(Wording::Rewrite("Careful.".to_owned())));
    assert_eq!(file_bug.description, Some(Wording::Append("Web shop only.".to_owned())));
    assert_eq!(file_bug.fixed, Fixed::Gone);
    insta::assert_snapshot!(format!("{:?} from {}, a = {:?}", ask.kind, ask.from, ask.arguments["a"].fix), @r#"Prompt from help, a = Some("\"5\"")"#);
    insta::assert_snapshot!(format!("{:?}", ask.arguments["b"].one_of), @r#"Some(["\"x\"", "\"1.0\""])"#);
    let fixed =
        ["owner", "count", "none"].map(|name| file_bug.arguments[name].fix.as_deref().unwrap_or_default());
    insta::assert_snapshot!(fixed.join(" "), @r#""acme" 1.50 null"#);
    insta::assert_snapshot!(format!("{:?}", file_bug.arguments["labels"].default), @r#"Some("[\"bug\",{\"a\":16}]")"#);
    insta::assert_snapshot!(format!("{:?}", file_bug.arguments["body"]), @r#"Argument { fix: None, default: None, rename: Some("text"), describe: Some(Rewrite("Steps.")), one_of: None, pattern: None, minimum: None, maximum: None }"#);
    insta::assert_snapshot!(format!("{:?}", file_bug.arguments["size"]), @r#"Argument { fix: None, default: None, rename: None, describe: Some(Rewrite("Big.")), one_of: Some(["\"s\"", "5", "\"5\""]), pattern: Some("^."), minimum: Some(-1.0), maximum: Some(9.5) }"#);
    insta::assert_snapshot!(format!("{:?} {:?} {}", file_bug.title, file_bug.result, file_bug.origin), @r#"Some("File a bug") Narrowing { select: Some("/items"), cut: Some(4000) } p.yaml:9: variants.GitHub.file_bug"#);
}

#[test]
fn variants_have_servers_and_names() {
    insta::assert_snapshot!(check("variants: { githb: { v: {} }, 'git*': { v: {} }, github: { v: {}, v: {}, 'a*': {}, '': {} }, GITHUB: { w: {} }, time: [] }"), @r#"
    p.yaml:6:13: error: variants.githb: no server is called "githb"
      hint: did you mean "github"?
    p.yaml:6:31: error: variants."git*": no server is called "git*"
      hint: servers: "bad", "github", "time"
    p.yaml:6:67: error: variants.github.v: the key "v" stands here twice, on line 6 and again on line 6
      hint: keep one of them
    p.yaml:6:74: error: variants.github."a*": a name has 1 to 128 characters, none of them `*`, `?` or a control character; found "a*"
    p.yaml:6:84: error: variants.github."": a name has 1 to 128 characters, none of them `*`, `?` or a control character; found ""
    p.yaml:6:94: error: variants.GITHUB: this is the server of line 6 again; case makes no difference
      hint: put its variants together
    p.yaml:6:119: error: variants.time: expected a map, found a list
    "#);
    assert_eq!(config("variants: { time: { v: {} }, bad: { v: {} } }").variants.len(), 2);
}

#[test]
fn variants_have_a_beginning() {
    insta::assert_snapshot!(check("variants:\n  github:\n    a: { from: b }\n    b: { from: c }\n    c: { from: b }\n    d: { from: d }\n    e: { from: d, replace: true }\n"), @r#"
    p.yaml:9:16: error: variants.github.b.from: this variant is made from itself: "b" from "c" from "b"
      hint: make one of them from something that the server offers
    p.yaml:10:16: error: variants.github.c.from: this variant is made from itself: "c" from "b" from "c"
      hint: make one of them from something that the server offers
    "#);
    insta::assert_snapshot!(check("variants: { github: { a: { from: b, kind: prompt }, b: { from: a } } }"), @"");
    insta::assert_snapshot!(check("variants: { github: { a: { from: b } }, time: { b: { from: a } } }"), @"");
    let chain: Vec<_> = (0..40).map(|n| format!("    v{n}: {{ from: v{} }}\n", n + 1)).collect();
    assert_eq!(read(&format!("variants:\n  github:\n{}", chain.concat())).problems.len(), 1 + 7);
}

#[test]
fn variants_are_possible() {
    insta::assert_snapshot!(variant("replace: false, kind: resource, titel: x, title: '', description: { rewrite: a, append: b }"), @r#"
    p.yaml:6:37: error: variants.github.v.replace: a variant with the name of what it is made from stands in its place
      hint: give it another name, and say `from`
    p.yaml:6:50: error: variants.github.v.kind: expected `tool` or `prompt`, found "resource"
    p.yaml:6:60: error: variants.github.v.titel: unknown key "titel"; known: from, kind, replace, title, description, fixed, arguments, result
      hint: did you mean `title`?
    p.yaml:6:77: error: variants.github.v.title: expected a text, found an empty text
    p.yaml:6:94: error: variants.github.v.description: expected either `rewrite` or `append`
    "#);
    insta::assert_snapshot!(variant("description: {}, result: { select: items, cut: 0, x: y }"), @r#"
    p.yaml:6:41: error: variants.github.v.description: expected either `rewrite` or `append`
    p.yaml:6:63: error: variants.github.v.result.select: expected a JSON Pointer such as "/items/0", found "items"
    p.yaml:6:75: error: variants.github.v.result.cut: expected a whole number from 1 to 1000000000, found "0"
    p.yaml:6:78: error: variants.github.v.result.x: unknown key "x"; known: select, cut
    "#);
    insta::assert_snapshot!(variant("kind: prompt, from: p, result: { select: /a, cut: 5 }, arguments: { x: { fix: ~ }, y: { default: [a], enum: [b, {}], pattern: x, minimum: 1, maximum: 2 } }"), @"
    p.yaml:6:69: error: variants.github.v.result.select: `select` belongs to a tool: results of prompts are messages
    p.yaml:6:106: error: variants.github.v.arguments.x.fix: expected a text, found nothing
    p.yaml:6:125: error: variants.github.v.arguments.y.default: expected a text, found a list
    p.yaml:6:140: error: variants.github.v.arguments.y.enum[1]: expected a text, found a map
    ");
}

#[test]
fn arguments_are_possible() {
    insta::assert_snapshot!(argument("fix: 1, default: 2, rename: y, describe: z"), @"
    p.yaml:6:63: error: variants.github.v.arguments.x.default: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:75: error: variants.github.v.arguments.x.rename: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:86: error: variants.github.v.arguments.x.describe: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    ");
    insta::assert_snapshot!(argument("fix: .inf, enum: [], pattern: '(', minimum: a, maximum: 1e999, fixed: 1"), @r#"
    p.yaml:6:60: error: variants.github.v.arguments.x.fix: ".inf" is no number in JSON
      hint: quote it where a text is meant
    p.yaml:6:66: error: variants.github.v.arguments.x.enum: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:72: error: variants.github.v.arguments.x.enum: expected a list of values, found an empty one
    p.yaml:6:76: error: variants.github.v.arguments.x.pattern: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:85: error: variants.github.v.arguments.x.pattern: this is no regular expression here: found open group without closing ')'
      hint: look-around and back references are not known
    p.yaml:6:90: error: variants.github.v.arguments.x.minimum: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:99: error: variants.github.v.arguments.x.minimum: expected a number, found "a"
    p.yaml:6:102: error: variants.github.v.arguments.x.maximum: the argument is fixed, which leaves nothing else to say about it
      hint: keep `fix` alone, or remove it
    p.yaml:6:111: error: variants.github.v.arguments.x.maximum: expected a number, found "1e999"
    p.yaml:6:118: error: variants.github.v.arguments.x.fixed: unknown key "fixed"; known: fix, default, rename, describe, enum, pattern, minimum, maximum
      hint: did you mean `fix`?
    "#);
    insta::assert_snapshot!(argument("fix: { a: [1, { b: .nan }], c: 1, c: 2 }"), @r#"
    p.yaml:6:74: error: variants.github.v.arguments.x.fix.a[1].b: ".nan" is no number in JSON
      hint: quote it where a text is meant
    p.yaml:6:89: error: variants.github.v.arguments.x.fix.c: the key "c" stands here twice, on line 6 and again on line 6
      hint: keep one of them
    "#);
    insta::assert_snapshot!(argument("minimum: 2, maximum: 1, enum: a, rename: 'a?'"), @r#"
    p.yaml:6:76: error: variants.github.v.arguments.x.maximum: the maximum is less than the minimum
    p.yaml:6:85: error: variants.github.v.arguments.x.enum: expected a list of values, found a text
    p.yaml:6:96: error: variants.github.v.arguments.x.rename: a name has 1 to 128 characters, none of them `*`, `?` or a control character; found "a?"
    "#);
}

#[test]
fn arguments_have_names_of_their_own() {
    let arguments = |fields: &str| variant(&format!("from: a, arguments: {{ {fields} }}"));
    insta::assert_snapshot!(arguments("x: { rename: y }, y: { rename: x }, z: { rename: z }"), @"");
    insta::assert_snapshot!(arguments("x: { rename: z }, y: { rename: z }"), @r#"
    p.yaml:6:81: error: variants.github.v.arguments.y.rename: another argument is called "z" already, on line 6
      hint: each argument needs a name of its own, in what it is made from and in the variant
    "#);
    insta::assert_snapshot!(arguments("x: { rename: y }, y: { describe: d }"), @r#"
    p.yaml:6:68: error: variants.github.v.arguments.y: another argument is called "y" already, on line 6
      hint: each argument needs a name of its own, in what it is made from and in the variant
    "#);
    insta::assert_snapshot!(arguments("x: { fix: 1 }, y: { rename: x }, y: {}"), @r#"
    p.yaml:6:78: error: variants.github.v.arguments.y.rename: another argument is called "x" already, on line 6
      hint: each argument needs a name of its own, in what it is made from and in the variant
    p.yaml:6:83: error: variants.github.v.arguments.y: the key "y" stands here twice, on line 6 and again on line 6
      hint: keep one of them
    "#);
}
