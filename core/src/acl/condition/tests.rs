//! What conditions come to, what is refused, and that nothing makes them panic.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// 2026-07-28 09:05 UTC, a Tuesday.
const NOW: u64 = 1_785_229_500_000;

fn facts(arguments: Option<&str>) -> Facts<'_> {
    Facts {
        arguments: arguments.map(|text| Arguments::check(text).expect("JSON")),
        caller: CallerFacts { agent: "intern", client: Some("Cursor"), principal: None, tag: Some("ci") },
        now: NOW,
    }
}

/// Says what each expression comes to.
fn check(arguments: &str, expressions: &[&str]) -> String {
    let mut said = String::new();
    for text in expressions {
        let outcome = match Condition::parse(text) {
            Err(error) => format!("{error}"),
            Ok(condition) => match condition.holds(&facts(Some(arguments))) {
                Ok(truth) => truth.to_string(),
                Err(undecided) => format!("undecided: {undecided}"),
            },
        };
        let _ = writeln!(said, "{text:?}: {outcome}");
    }
    said
}

#[test]
fn reads_arguments_and_the_caller() {
    let said = check(
        r#"{"repo":"sandbox","count":3,"big":18446744073709551615,"part":2.5,"whole":3.0,"none":null,"tags":["a","b"],"to":{"name":"x"}}"#,
        &[
            r#"args.repo == "sandbox" && caller.client == "Cursor""#,
            r#"args["repo"] == "sandbox""#,
            r#"args.repo in ["sandbox", "playground"]"#,
            r#"args.repo.startsWith("sand") && args.repo.endsWith("box") && args.repo.contains("db")"#,
            r#""SandBox".lowerAscii() == args.repo"#,
            "args.count > 2 && args.count == args.whole && args.part < 3.0 && args.part < 3",
            "args.big > 9223372036854775807",
            "args.none == null",
            r#"args.tags.exists(tag, tag == "b") && args.tags.all(tag, tag != "c") && size(args.tags) == 2"#,
            r#"args.tags.exists_one(tag, tag == "b") && args.tags[0] == "a""#,
            r#"args.to.name == "x" && has(args.to.name) && !has(args.to.other)"#,
            r#"has(args.repo) && !has(args.other) && "repo" in args && !("other" in args)"#,
            r#"args.all(key, key in ["repo", "count"])"#,
            r#"caller.agent == "intern" && caller.tag == "ci" && has(caller.tag) && !has(caller.principal)"#,
            r#"args.repo == "prod" ? caller.agent == "admin" : true"#,
        ],
    );
    insta::assert_snapshot!(said, @r#"
    "args.repo == \"sandbox\" && caller.client == \"Cursor\"": true
    "args[\"repo\"] == \"sandbox\"": true
    "args.repo in [\"sandbox\", \"playground\"]": true
    "args.repo.startsWith(\"sand\") && args.repo.endsWith(\"box\") && args.repo.contains(\"db\")": true
    "\"SandBox\".lowerAscii() == args.repo": true
    "args.count > 2 && args.count == args.whole && args.part < 3.0 && args.part < 3": true
    "args.big > 9223372036854775807": true
    "args.none == null": true
    "args.tags.exists(tag, tag == \"b\") && args.tags.all(tag, tag != \"c\") && size(args.tags) == 2": true
    "args.tags.exists_one(tag, tag == \"b\") && args.tags[0] == \"a\"": true
    "args.to.name == \"x\" && has(args.to.name) && !has(args.to.other)": true
    "has(args.repo) && !has(args.other) && \"repo\" in args && !(\"other\" in args)": true
    "args.all(key, key in [\"repo\", \"count\"])": false
    "caller.agent == \"intern\" && caller.tag == \"ci\" && has(caller.tag) && !has(caller.principal)": true
    "args.repo == \"prod\" ? caller.agent == \"admin\" : true": true
    "#);
}

#[test]
fn knows_the_time() {
    let said = check(
        "{}",
        &[
            "now.year == 2026 && now.month == 7 && now.day == 28",
            "now.hour == 9 && now.minute == 5",
            "now.weekday == 2 && now.weekday <= 5 && now.hour >= 8 && now.hour < 18",
            "now.unix == 1785229500",
            "has(now.hour)",
        ],
    );
    insta::assert_snapshot!(said, @r#"
    "now.year == 2026 && now.month == 7 && now.day == 28": true
    "now.hour == 9 && now.minute == 5": true
    "now.weekday == 2 && now.weekday <= 5 && now.hour >= 8 && now.hour < 18": true
    "now.unix == 1785229500": true
    "has(now.hour)": true
    "#);
}

#[test]
fn is_undecided_where_it_cannot_be_told() {
    let said = check(
        r#"{"repo":"sandbox","count":"3","secret":"hunter2","list":[1]}"#,
        &[
            r#"args.other == "x""#,
            r#"caller.principal == "key:1""#,
            "args.count > 2",
            "args.repo",
            "args.repo.name == 1",
            "args.list[5] == 1",
            r#"{"a": 1}[args.secret] == 1"#,
            "args.secret + 1 == 1",
            "args.secret < 1",
            "int(args.secret) == 1",
            "1 / (size(args.list) - 1) == 1",
            "9223372036854775807 + size(args.list) > 0",
            "-args.secret == 1",
            "args.secret.all(x, true)",
            // Where the rest decides alone, a part that cannot be told does not matter.
            "args.other == 1 || true",
            "args.other == 1 && false",
        ],
    );
    assert!(!said.replace("args.secret", "").contains("hunter2"));
    insta::assert_snapshot!(said, @r#"
    "args.other == \"x\"": undecided: `other` is missing
    "caller.principal == \"key:1\"": undecided: `principal` is missing
    "args.count > 2": undecided: `>` does not apply to string and int
    "args.repo": undecided: it comes to a value of type string, not to true or false
    "args.repo.name == 1": undecided: `.` does not apply to string and string
    "args.list[5] == 1": undecided: something that it reads is missing
    "{\"a\": 1}[args.secret] == 1": undecided: something that it reads is missing
    "args.secret + 1 == 1": undecided: it meets values of a type that it does not expect
    "args.secret < 1": undecided: `<` does not apply to string and int
    "int(args.secret) == 1": undecided: it meets values of a type that it does not expect
    "1 / (size(args.list) - 1) == 1": undecided: it divides by zero
    "9223372036854775807 + size(args.list) > 0": undecided: a number becomes too large
    "-args.secret == 1": undecided: `-` does not apply to string
    "args.secret.all(x, true)": undecided: it meets values of a type that it does not expect
    "args.other == 1 || true": true
    "args.other == 1 && false": false
    "#);
}

#[test]
fn arguments_that_two_readers_could_read_differently_are_undecided() {
    let on = |arguments: &str| check(arguments, &[r#"args.repo == "a""#]);
    let all = [
        r#"{"repo":"a","repo":"b"}"#,
        r#"{"repo":"a","re\u0070o":"b"}"#,
        r#"{"repo":"a","x":1,"x":2}"#,
        r#"{"repo":{"x":1,"x":2}}"#,
        r#"{"repo":"\ud800"}"#,
        r#"{"repo":1e999}"#,
        r#"["repo"]"#,
        "null",
        r#"{"re\u0070o":"\u0061"}"#,
        r#"{"repo":"A"}"#,
    ];
    insta::assert_snapshot!(all.map(|arguments| format!("{arguments} {}", on(arguments))).concat(), @r#"
    {"repo":"a","repo":"b"} "args.repo == \"a\"": undecided: the arguments have two members of one name
    {"repo":"a","re\u0070o":"b"} "args.repo == \"a\"": undecided: the arguments have two members of one name
    {"repo":"a","x":1,"x":2} "args.repo == \"a\"": undecided: the arguments have two members of one name
    {"repo":{"x":1,"x":2}} "args.repo == \"a\"": undecided: the arguments have two members of one name
    {"repo":"\ud800"} "args.repo == \"a\"": undecided: the arguments have a text with half a character
    {"repo":1e999} "args.repo == \"a\"": undecided: the arguments have a number that is too large
    ["repo"] "args.repo == \"a\"": undecided: the arguments are not an object
    null "args.repo == \"a\"": undecided: the arguments are not an object
    {"re\u0070o":"\u0061"} "args.repo == \"a\"": true
    {"repo":"A"} "args.repo == \"a\"": false
    "#);
}

#[test]
fn what_is_unknown_is_refused_with_its_place() {
    let said = check(
        "{}",
        &[
            "",
            "args.repo ==",
            "args.repo == 'a",
            "args.repo == 'é' && arg.repo == 'b'",
            "true &&\n  agrs.x",
            "client == 'Cursor'",
            "caller == 'Cursor'",
            "caller.name == 'Cursor'",
            "now.second == 1",
            "now > 1",
            "server.x == 1",
            "args.x.matches('a+')",
            "args.x.size(1) == 1",
            "contains(args.x, 'a')",
            "timestamp('2026-01-01T00:00:00Z') == now",
            "type(args.x) == string",
            "has(args)",
            "args.x.map(v, v) == []",
            "args.x.filter(v, v > 1) == []",
            "args.x.all(v, args.y.all(w, v == w))",
            "args.x.all(args, true)",
            "args.x.all(v)",
            "args.x.all(1, true)",
            "args.?x == 1",
            "Message{x: 1} == 1",
            "@result",
            "args.`x`",
            "a b",
        ],
    );
    insta::assert_snapshot!(said, @r#"
    "": line 1, column 1: mismatched input the end expecting expression
    "args.repo ==": line 1, column 13: mismatched input the end expecting expression
    "args.repo == 'a": line 1, column 14: unterminated string literal
    "args.repo == 'é' && arg.repo == 'b'": line 1, column 21: unknown variable `arg`; known are args, caller, now
    "true &&\n  agrs.x": line 2, column 3: unknown variable `agrs`; known are args, caller, now
    "client == 'Cursor'": line 1, column 1: unknown variable `client`; known are args, caller, now
    "caller == 'Cursor'": line 1, column 1: `caller` is used by its members: agent, client, principal, tag
    "caller.name == 'Cursor'": line 1, column 8: `caller` has no member `name`; it has agent, client, principal, tag
    "now.second == 1": line 1, column 5: `now` has no member `second`; it has year, month, day, hour, minute, weekday, unix
    "now > 1": line 1, column 1: `now` is used by its members: year, month, day, hour, minute, weekday, unix
    "server.x == 1": line 1, column 1: unknown variable `server`; known are args, caller, now
    "args.x.matches('a+')": line 1, column 8: unknown function `matches`; known are size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), x.endsWith(y), x.lowerAscii(), has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "args.x.size(1) == 1": line 1, column 8: `size` is written `size(x)`
    "contains(args.x, 'a')": line 1, column 1: `contains` is written `x.contains(y)`
    "timestamp('2026-01-01T00:00:00Z') == now": line 1, column 1: unknown function `timestamp`; known are size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), x.endsWith(y), x.lowerAscii(), has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "type(args.x) == string": line 1, column 1: unknown function `type`; known are size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), x.endsWith(y), x.lowerAscii(), has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "has(args)": line 1, column 5: invalid argument to has() macro
    "args.x.map(v, v) == []": line 1, column 12: `map` and `filter` are not known; known are has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "args.x.filter(v, v > 1) == []": line 1, column 15: `map` and `filter` are not known; known are has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "args.x.all(v, args.y.all(w, v == w))": line 1, column 26: a loop cannot be within a loop
    "args.x.all(args, true)": line 1, column 1: `args` has another meaning already
    "args.x.all(v)": line 1, column 8: unknown function `all`; known are size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), x.endsWith(y), x.lowerAscii(), has(x.y), x.all(v, …), x.exists(v, …), x.exists_one(v, …)
    "args.x.all(1, true)": line 1, column 12: argument must be a simple name
    "args.?x == 1": line 1, column 5: unsupported syntax '.?'
    "Message{x: 1} == 1": line 1, column 1: `Message{…}` makes a message; there are none here
    "@result": line 1, column 1: unexpected character
    "args.`x`": line 1, column 6: unsupported syntax: '`'
    "a b": line 1, column 3: mismatched input 'b' expecting the end
    "#);
}

#[test]
fn size_and_depth_are_bounded() {
    let refused = |text: String| Condition::parse(&text).expect_err("it is too much").to_string();
    let all = [
        refused(format!("true || {}", "x".repeat(MAX_LENGTH))),
        refused(format!("{}true{}", "!(".repeat(400), ")".repeat(400))),
        refused(format!("0{} == 1", " + 1".repeat(400))),
        refused(format!("args{} == 1", ".x".repeat(400))),
        refused(format!("{}1{} == 1", "[".repeat(400), "]".repeat(400))),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    line 1, column 1: it is longer than 2000 bytes
    line 1, column 1: it nests, or chains operators, more than 24 deep
    line 1, column 1: it nests, or chains operators, more than 24 deep
    line 1, column 1: it nests, or chains operators, more than 24 deep
    line 1, column 1: it nests, or chains operators, more than 24 deep
    "#);

    let holds = |text: &str, arguments: &str| match Condition::of(text).holds(&facts(Some(arguments))) {
        Ok(truth) => truth.to_string(),
        Err(undecided) => undecided.to_string(),
    };
    let list = |count: usize| format!(r#"{{"x":[{}1]}}"#, "1,".repeat(count - 1));
    assert_eq!(holds("size(args.x) > 0", &list(999)), "true");
    let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let text = |size| format!(r#"{{"y":1,"x":"{}"}}"#, "x".repeat(size));
    let all = [
        holds("size(args.x) > 0", &list(1000)),
        holds("size(args.x) > 0", &deep),
        holds("size(args.x) > 0", &text(1 << 20)),
        holds("args.x.all(c, true)", &text(64 << 10)),
        // What is not read may be as large as it likes.
        holds("args.y == 1", &text(1 << 22)),
        holds("has(args.z)", &deep),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    the arguments are larger than a condition reads: too many values
    the arguments are larger than a condition reads: nested too deeply
    the arguments are larger than a condition reads: too much text
    the arguments are larger than a condition reads: too much text
    true
    false
    "#);
}

#[test]
fn the_largest_expression_fits_a_small_stack() {
    let nested = (1..=400).rev().map(|depth| format!("{}true{}", "!(".repeat(depth), ")".repeat(depth)));
    let chained = (1..=400).rev().map(|length| format!("0{} > 0", " + 1".repeat(length)));
    let grouped = (1..=900).rev().map(|depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth)));
    let choice = (1..=300)
        .rev()
        .map(|length| format!("{}true", "true ? 1 == 1 : ".repeat(length).replace("1 == 1", "1>0")));
    for mut family in [
        Box::new(nested) as Box<dyn Iterator<Item = String>>,
        Box::new(chained),
        Box::new(choice),
        Box::new(grouped),
    ] {
        let deepest = family.find_map(|text| Condition::parse(&text).ok()).expect("one that is accepted");
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let held = small.spawn(move || deepest.holds(&facts(Some("{}"))).is_ok()).expect("a thread");
        assert!(held.join().expect("no panic"));
    }
}

#[test]
fn says_whether_it_reads_arguments() {
    let reads = |text: &str| Condition::of(text).reads_arguments();
    assert!(
        reads("has(args.x)")
            && reads("size(args) == 0")
            && reads("'x' in args")
            && reads("true || args['x'] == 1")
    );
    assert!(!reads("caller.client == 'args'") && !reads("['args'].all(x, x == 'args')"));
    let of_arguments = Condition::of("args.x == 1 || true");
    assert_eq!(of_arguments.holds(&facts(None)), Err(Undecided::NoArguments));
    assert_eq!(Condition::of("caller.client == 'Cursor'").holds(&facts(None)), Ok(true));
}

#[test]
fn conditions_are_compared_by_their_text() {
    fn is_shared<T: Send + Sync + Clone>(value: T) -> T {
        value
    }
    let condition = is_shared(Condition::of("args.x == 1"));
    assert_eq!(condition, Condition::of("args.x == 1"));
    assert_ne!(condition, Condition::of("args.x ==  1"));
    assert_eq!(format!("{condition:?}"), r#"Condition("args.x == 1")"#);
}

/// Parts of expressions, so that many of them can be read.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(vec![
            "args", "caller", "now", "other", ".", "x", "y", "agent", "hour", "[", "]", "(", ")", "{", "}", ",", ":", "?",
            "&&", "||", "!", "==", "!=", "<", ">=", "in", "+", "-", "*", "/", "%", "0", "1", "-1", "9223372036854775807",
            "-9223372036854775808", "1u", "2.5", "1e308", "0x7f", "'a'", "\"\"", "b'\\xff'", "r'\\'", "'''", "null", "true",
            "has", "size", "int", "double", "string", "contains", "startsWith", "lowerAscii", "all", "exists", "exists_one",
            "map", "filter", "matches", "`", "//", "\\", "'\\u00", "'\\U0010FFFF'", " ", "\n", "@", "é", "\u{0}",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ]
}

/// Expressions that can be read, over the members of [`arguments`].
fn expression() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "args.x",
        "args.y",
        "args",
        "args.x.y",
        "args['x']",
        "1",
        "-1",
        "0",
        "2.5",
        "1u",
        "9223372036854775807",
        "-9223372036854775808",
        "'a'",
        "''",
        "'é'",
        "b'\\xff'",
        "null",
        "true",
        "[]",
        "{}",
        "caller.agent",
        "now.hour",
        "caller.tag",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = proptest::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ]);
        let function = proptest::sample::select(vec!["size", "int", "double", "string", "!", "-"]);
        let member = proptest::sample::select(vec!["contains", "startsWith", "endsWith"]);
        let each = proptest::sample::select(vec!["all", "exists", "exists_one"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), member, inner.clone()).prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), each, inner.clone()).prop_map(|(a, f, b)| format!("({a}).{f}(v, {b} == v)")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.prop_map(|a| format!("({a}).lowerAscii()")),
        ]
    })
}

/// Values with the numbers and texts that arithmetic stumbles over.
fn arguments() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "null",
        "true",
        "0",
        "-0",
        "1",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "-1e308",
        "1e-320",
        "0.1",
        "1e999",
        "\"\"",
        "\"a\"",
        "\"é\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "\"-9223372036854775808\"",
        "\"1e999\"",
        "\"nan\"",
    ])
    .prop_map(str::to_owned);
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        let key = proptest::sample::select(vec!["x", "y", "\\u0078", "é"]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            proptest::collection::vec((key, inner), 0..3).prop_map(|all| {
                let all: Vec<_> = all.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    });
    prop_oneof![
        4 => (value.clone(), value.clone()).prop_map(|(x, y)| format!("{{\"x\":{x},\"y\":{y}}}")),
        1 => value,
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", parts in proptest::collection::vec(part(), 0..40)) {
        for text in [text, parts.concat(), parts.join(" ")] {
            match Condition::parse(&text) {
                Ok(condition) => drop(condition.holds(&facts(Some(r#"{"x":[1],"y":"a"}"#)))),
                Err(error) => prop_assert!(error.line >= 1 && error.column >= 1, "{text:?} {error}"),
            }
        }
    }

    #[test]
    fn no_arguments_make_it_panic(text in expression(), arguments in arguments()) {
        if let Ok(condition) = Condition::parse(&text) {
            let facts = facts(Some(&arguments));
            prop_assert_eq!(condition.holds(&facts), condition.holds(&facts));
        }
    }

    #[test]
    fn a_member_is_compared_as_what_it_is(value in "\\PC{0,20}", other in "\\PC{0,20}") {
        let arguments = serde_json::json!({ "x": value, "other": other }).to_string();
        let literal = serde_json::Value::from(value.as_str()).to_string();
        let holds = |text: &str| Condition::of(text).holds(&facts(Some(&arguments)));
        prop_assert_eq!(holds(&format!("args.x == {literal}")), Ok(true), "{}", literal);
        prop_assert_eq!(holds(&format!("args.other == {literal}")), Ok(value == other));
    }
}
