// SPDX-License-Identifier: Apache-2.0
//! What was seen on a running reference, the surprises one by one, the limits, and laws that hold for all expressions.
//! `cargo xtask conformance filter` compares many more with the reference's own evaluator.

use proptest::prelude::*;

use super::*;

/// Properties as they are stored: `a=5 b=x`.
fn stored(pairs: &str) -> Vec<u8> {
    let pairs = pairs.split(' ').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.replacen('=', "\u{1}", 1) + "\u{2}");
    pairs.collect::<String>().into_bytes()
}

fn of(text: &str, pairs: &str) -> Result<Option<bool>, Incomparable> {
    let sql = Sql::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    sql.evaluate(&stored(pairs))
}

fn error(text: &str) -> String {
    Sql::compile(text).unwrap_err().to_string()
}

const TRUE: Result<Option<bool>, Incomparable> = Ok(Some(true));
const FALSE: Result<Option<bool>, Incomparable> = Ok(Some(false));
const NEITHER: Result<Option<bool>, Incomparable> = Ok(None);
const FAILS: Result<Option<bool>, Incomparable> = Err(Incomparable);

#[test]
fn the_reference_chose_these_messages() {
    let messages = ["a=5", "a=5.0", "a=abc", "", "a=true", "a=-3 b=7", "a=10 b=9"];
    let table: [(&str, &[usize]); 22] = [
        ("a = 5", &[0]),
        ("a > 4", &[0, 6]),
        ("a = '5'", &[0]),
        ("a <> 5", &[5, 6]),
        ("a is null", &[3]),
        ("a is not null", &[0, 1, 2, 4, 5, 6]),
        ("not (a > 4)", &[5]),
        ("a between 1 and 6", &[0]),
        ("a contains 'b'", &[2]),
        ("a not contains 'b'", &[0, 1, 4, 5, 6]),
        ("a in ('5','abc')", &[0, 2]),
        ("a not in ('5')", &[1, 2, 4, 5, 6]),
        ("a = true", &[4]),
        ("a", &[]),
        ("not a", &[0, 1, 2, 4, 5, 6]),
        ("b > a", &[5]),
        ("a >= 5.0", &[0, 1, 6]),
        ("a = 5.0", &[0, 1]),
        ("a <> 'abc'", &[0, 1, 4, 5, 6]),
        ("a > 4 or k = 3", &[0, 3, 6]),
        ("a > 4 b", &[0, 6]),
        ("a = 5)", &[0]),
    ];
    for (text, expected) in table {
        let sql = Sql::compile(text).unwrap();
        let wanted = messages.iter().enumerate().filter(|(k, message)| {
            let properties = stored(&format!("{message} k={k}"));
            sql.matches(&properties)
        });
        let wanted: Vec<usize> = wanted.map(|(k, _)| k).collect();
        assert_eq!(wanted, expected, "{text}");
    }
}

#[test]
fn which_side_is_missing_makes_a_difference() {
    assert_eq!(of("a = 5", ""), NEITHER);
    assert_eq!(of("5 = a", ""), FALSE);
    assert_eq!(of("a <> 5", ""), NEITHER);
    assert_eq!(of("5 <> a", ""), TRUE);
    assert_eq!(of("a = b", ""), TRUE);
    assert_eq!(of("a <> b", "a=1"), TRUE);
}

#[test]
fn a_literal_decides_what_a_property_is_read_as() {
    assert_eq!(of("a = 5", "a=5.0"), FAILS);
    assert_eq!(of("a > 5", "a=3000000000"), FAILS);
    assert_eq!(of("a > 5L", "a=3000000000"), FAILS);
    assert_eq!(of("a > 3000000000", "a=3000000001"), TRUE);
    assert_eq!(of("a > 5.0", "a=3000000000"), TRUE);
    assert_eq!(of("a = 16.0", "a=0x1p4"), TRUE);
    assert_eq!(of("a = TRUE", "a=TrUe"), TRUE);
    assert_eq!(of("a = FALSE", "a=no"), TRUE);
    assert_eq!(of("TRUE = a", "a=true"), FAILS);
    assert_eq!(of("5 = TRUE", ""), FALSE);
    assert_eq!(of("a > b", "a=10 b=9"), TRUE);
    assert_eq!(of("a > b", "a=10 b=x"), FAILS);
    assert_eq!(of("a = b", "a=x b=x"), TRUE);
    assert_eq!(of("a = b", "a=1 b=1.0"), FALSE);
}

#[test]
fn a_failure_counts_only_where_it_is_reached() {
    assert_eq!(of("a = 1 or b = 1", "a=1 b=x"), TRUE);
    assert_eq!(of("b = 1 or a = 1", "a=1 b=x"), FAILS);
    assert_eq!(of("a = 2 and b = 1", "a=1 b=x"), FALSE);
    assert_eq!(of("c = 2 and b = 1", "a=1 b=x"), FAILS);
    assert_eq!(of("c > b and a = 1", "a=1 b=x"), NEITHER);
    assert_eq!(of("a not between 2 and 3", "a=1"), TRUE);
    assert_eq!(of("c between 2 and 3", "a=1"), NEITHER);
    assert_eq!(of("a between 2 and b", "a=1 b=x"), FALSE);
}

#[test]
fn what_is_not_known_leaves_the_rest_to_decide() {
    assert_eq!(of("c = 1 or a = 1", "a=1"), TRUE);
    assert_eq!(of("c = 1 or a = 2", "a=1"), NEITHER);
    assert_eq!(of("c = 1 and a = 2", "a=1"), FALSE);
    assert_eq!(of("c = 1 and a = 1", "a=1"), NEITHER);
    assert_eq!(of("not c = 1", ""), NEITHER);
    assert_eq!(of("(c = 1) is null", ""), TRUE);
    assert_eq!(of("c not contains 'x'", ""), FALSE);
    assert_eq!(of("a contains ''", "a=x"), FALSE);
    assert_eq!(of("a not contains ''", "a=x"), FALSE);
    assert_eq!(of("c not in ('x')", ""), NEITHER);
    assert_eq!(of("-a = 5", "a=5"), NEITHER);
    assert_eq!(of("5 <> -a", "a=5"), TRUE);
}

#[test]
fn the_surprises_of_the_words_are_kept() {
    assert_eq!(of("a = 05", "a=0"), TRUE);
    assert_eq!(of("a = -- 5", "a=5"), TRUE);
    assert_eq!(of("a = -- 6\n5", "a=5"), TRUE);
    assert_eq!(of("a = 1 -- not closed", "a=1"), TRUE);
    assert_eq!(of("A /**/ = 'it''s'", "A=it's"), TRUE);
    assert_eq!(of("A-B = 1", "A=1 B=1"), FALSE);
    assert_eq!(of("a like 'x'", "a=x"), FALSE);
    assert_eq!(of("NULL", "a=x"), NEITHER);
}

#[test]
fn the_last_of_several_properties_with_one_name_wins() {
    assert_eq!(of("a = 2", "a=1 b=3 a=2"), TRUE);
    assert_eq!(of("a is null", "a= b=1"), TRUE);
}

#[test]
fn properties_that_are_not_utf8_are_read_as_well_as_can_be() {
    let sql = Sql::compile("a = '\u{fffd}x' and b = 1").unwrap();
    assert!(sql.matches(b"a\x01\xffx\x02b\x011\x02"));
}

#[test]
fn an_error_names_the_place() {
    let table = [
        ("", "found the end, expected a value (at character 1)"),
        ("a = 1 and", "found the end, expected a value (at character 10)"),
        ("ä > 1", "'ä' is not understood (at character 1)"),
        ("a = 'ä' and b != 1", "'!' is not understood (at character 15)"),
        ("a = 'x", "the string does not end (at character 5)"),
        ("a /* = 5", "the comment does not end (at character 3)"),
        ("(a = 5", "found the end, expected ) (at character 7)"),
        ("a is 5", "found 5, expected NULL (at character 6)"),
        (
            "a not 5",
            "found 5, expected CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN (at character 7)",
        ),
        ("a in (5)", "found 5, expected a string (at character 7)"),
        ("'a' in ('b')", "IN stands behind a property (at character 5)"),
        ("5", "this is a value, expected a condition (at character 1)"),
        (
            "a = 1 and -b",
            "this is a value, expected a condition (at character 11)",
        ),
        (
            "a > 'x'",
            "only properties and numbers have an order (at character 5)",
        ),
        (
            "1 < a < TRUE",
            "only properties and numbers have an order (at character 1)",
        ),
        (
            "a between 5 and 1",
            "BETWEEN expects the smaller number first (at character 11)",
        ),
        (
            "a = 9223372036854775808",
            "the number is larger than 9223372036854775807 (at character 5)",
        ),
        (
            "a > 0.0",
            "the number is zero, or larger or smaller than a double can be (at character 5)",
        ),
        (
            "a = NULL",
            "nothing is equal or not equal to NULL; use IS NULL or IS NOT NULL (at character 5)",
        ),
        (
            "TRUE = 5",
            "TRUE and FALSE are not compared with numbers or strings (at character 8)",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn sizes_are_limited() {
    let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
    assert!(Sql::compile(&nested(NESTING_MAX - 1)).is_ok());
    assert!(error(&nested(NESTING_MAX)).starts_with("more than 100 expressions inside one another"));
    assert!(error(&nested(20_000)).starts_with("more than 100"));
    let chain = |links: usize| "a".to_owned() + &" is null".repeat(links);
    assert!(Sql::compile(&chain(NESTING_MAX - 1)).is_ok());
    assert!(error(&chain(NESTING_MAX)).starts_with("more than 100"));
    let wide = |terms: usize| vec!["a = 1"; terms].join(" or ");
    assert!(Sql::compile(&wide(CONSTANTS_MAX)).is_ok());
    assert!(error(&wide(CONSTANTS_MAX + 1)).starts_with("more than 4096 numbers and strings"));
    let names = |count: usize| {
        (0..count)
            .map(|i| format!("p{i}"))
            .collect::<Vec<_>>()
            .join(" and ")
    };
    assert!(Sql::compile(&names(PROPERTIES_MAX)).is_ok());
    assert!(error(&names(PROPERTIES_MAX + 1)).starts_with("more than 64 properties"));
    let long = "a".to_owned() + &" ".repeat(EXPRESSION_BYTES_MAX);
    assert_eq!(
        error(&long),
        "the expression has 65537 bytes, allowed are 65536 (at character 1)"
    );
}

/// Words that expressions are made of, valid or not.
const WORDS: [&str; 50] = [
    "a",
    "b",
    "c",
    "TAGS",
    "$x_1",
    "1",
    "05",
    "5L",
    "3000000000",
    "9223372036854775808",
    "5.0",
    ".5",
    "0.0",
    "1e400",
    "'x'",
    "''",
    "'5'",
    "'it''s'",
    "'",
    "TRUE",
    "false",
    "NULL",
    "=",
    "<>",
    ">",
    ">=",
    "<",
    "<=",
    "IS",
    "is not null",
    "not",
    "NOT",
    "and",
    "or",
    "BETWEEN",
    "between 1 and 5",
    "in",
    "in ('5', 'x')",
    "contains",
    "startswith 'x'",
    "endswith",
    "(",
    ")",
    ",",
    "+",
    "-",
    "--",
    "--\n",
    "/* x */",
    "!",
];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        proptest::collection::vec(proptest::sample::select(&WORDS[..]), 0..24)
            .prop_map(|words| words.join(" ")),
    ]
}

/// Conditions that compile.
fn conditions() -> impl Strategy<Value = String> {
    let value = proptest::sample::select(&["a", "b", "c", "1", "-5", "2.5", "3000000000", "(a)", "- -b"][..]);
    let sign = proptest::sample::select(&["=", "<>", ">", ">=", "<", "<="][..]);
    let test = prop_oneof![
        (value.clone(), sign, value.clone()).prop_map(|(l, s, r)| format!("{l} {s} {r}")),
        proptest::sample::select(
            &[
                "a",
                "TRUE",
                "NULL",
                "a = TRUE",
                "b = 'x'",
                "c IS NULL",
                "a IN ('5', 'x')",
                "b CONTAINS '.'"
            ][..]
        )
        .prop_map(str::to_owned),
        (value.clone(), value).prop_map(|(v, w)| format!("{v} NOT BETWEEN {w} AND 7")),
    ];
    test.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|c| format!("NOT ({c})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} AND {r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l} OR {r})")),
            inner.prop_map(|c| format!("({c}) IS NOT NULL")),
        ]
    })
}

fn messages() -> impl Strategy<Value = String> {
    let value = proptest::sample::select(&["5", "5.0", "-3", "x", "true", "3000000000", "NaN", "1e3"][..]);
    let value = proptest::option::of(value);
    (value.clone(), value.clone(), value).prop_map(|(a, b, c)| {
        let pair = |name: &str, value: Option<&str>| value.map(|value| format!("{name}={value} "));
        [pair("a", a), pair("b", b), pair("c", c)]
            .into_iter()
            .flatten()
            .collect()
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in texts(), message in proptest::collection::vec(any::<u8>(), 0..80)) {
        match Sql::compile(&text) {
            Ok(sql) => {
                prop_assert_eq!(sql.matches(&message), sql.evaluate(&message) == TRUE);
                prop_assert_eq!(sql.evaluate(b""), Sql::compile(&text).unwrap().evaluate(b""));
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.at)),
        }
    }

    #[test]
    fn not_turns_true_into_false_and_leaves_the_rest(c in conditions(), message in messages()) {
        let result = of(&c, &message);
        prop_assert_eq!(of(&format!("NOT ({c})"), &message), result.map(|truth| truth.map(|truth| !truth)));
        prop_assert_eq!(of(&format!("NOT (NOT ({c}))"), &message), result);
    }

    #[test]
    fn constants_decide_or_change_nothing(c in conditions(), message in messages()) {
        let result = of(&c, &message);
        prop_assert_eq!(of(&format!("TRUE AND ({c})"), &message), result);
        prop_assert_eq!(of(&format!("FALSE OR ({c})"), &message), result);
        prop_assert_eq!(of(&format!("FALSE AND ({c})"), &message), FALSE);
        prop_assert_eq!(of(&format!("TRUE OR ({c})"), &message), TRUE);
        prop_assert_eq!(of(&format!("({c}) AND ({c})"), &message), result);
    }

    #[test]
    fn and_and_or_are_each_others_mirror(l in conditions(), r in conditions(), message in messages()) {
        let and = of(&format!("NOT (({l}) AND ({r}))"), &message);
        prop_assert_eq!(and, of(&format!("NOT ({l}) OR NOT ({r})"), &message));
        let or = of(&format!("({l}) OR ({r})"), &message);
        if or.is_ok() && of(&r, &message).is_ok() {
            prop_assert_eq!(or, of(&format!("({r}) OR ({l})"), &message));
        }
    }

    #[test]
    fn what_stands_behind_does_not_matter(c in conditions(), message in messages()) {
        prop_assert_eq!(of(&format!("{c} likes ! what ' follows"), &message), of(&c, &message));
    }

    #[test]
    fn a_range_is_two_comparisons(value in -9..9_i32, low in -9..0_i32, high in 0..9_i32) {
        // The smaller number of a range may be written with a sign only where no literal can be checked.
        let message = format!("a={value}");
        let between = of(&format!("a BETWEEN {low} AND {high}"), &message);
        prop_assert_eq!(between, of(&format!("a >= {low} AND a <= {high}"), &message));
        let not_between = of(&format!("a NOT BETWEEN {low} AND {high}"), &message);
        prop_assert_eq!(not_between, of(&format!("a < {low} OR a > {high}"), &message));
    }
}
