//! Source in, source out, for each genre.

use super::*;
use crate::list::{Genre, Place};

/// A mutant that begins where `what` first stands.
fn mutant(id: u32, text: &str, what: &str, genre: Genre, replacement: &str) -> Mutant {
    let at = text.find(what).unwrap();
    let place = |offset: usize| Place {
        line: text[..offset].matches('\n').count() + 1,
        column: text[..offset]
            .chars()
            .rev()
            .take_while(|c| *c != '\n')
            .count()
            + 1,
    };
    Mutant {
        id,
        name: format!("{id}"),
        file: "a.rs".into(),
        start: place(at),
        genre,
        replacement: replacement.to_owned(),
    }
}

/// `what`, its genre, its replacement.
type Change = (&'static str, Genre, &'static str);

fn rewritten(text: &str, changes: &[Change]) -> Rewritten {
    let changes = changes.iter().zip(1..);
    let mutants: Vec<_> = changes
        .map(|((what, genre, with), id)| mutant(id, text, what, *genre, with))
        .collect();
    let mutants: Vec<_> = mutants.iter().collect();
    rewrite(text, &mutants, &BTreeSet::from(["kept".to_owned()])).unwrap()
}

/// The source without the switch's path, for reading.
fn source(text: &str, changes: &[Change]) -> String {
    let rewritten = rewritten(text, changes);
    assert!(rewritten.left_out.is_empty(), "{:?}", rewritten.left_out);
    let text = rewritten.edited.text;
    assert!(syn::parse_file(&text).is_ok(), "does not parse: {text}");
    text.replace(SWITCH, "on")
}

#[test]
fn each_genre_is_switched() {
    use Genre::{BinaryOperator, FnValue, MatchArm, MatchArmGuard, StructField, UnaryOperator};
    let cases: [(&str, &[Change], &str); 11] = [
        (
            "fn f() -> bool { a }",
            &[("a }", FnValue, "true"), ("a }", FnValue, "false")],
            "fn f() -> bool { if on(1) { return true; } if on(2) { return false; } a }",
        ),
        (
            "fn f() { a == b; }",
            &[("==", BinaryOperator, "!=")],
            "fn f() { (if on(1) { (a) != (b) } else { a == b }); }",
        ),
        (
            "fn f() { a < b }",
            &[("<", BinaryOperator, "=="), ("<", BinaryOperator, ">")],
            "fn f() { (if on(1) { (a) == (b) } else if on(2) { (a) > (b) } else { a < b }) }",
        ),
        (
            "fn f() { *x += 1; }",
            &[("+=", BinaryOperator, "-=")],
            "fn f() { (if on(1) { (*x) -= (1) } else { *x += 1 }); }",
        ),
        (
            "fn f() { if !a && b {} }",
            &[("!a", UnaryOperator, ""), ("&&", BinaryOperator, "||")],
            "fn f() { if (if on(2) { (!a) || (b) } else { (if on(1) { (a) } else { !a }) && b }) {} }",
        ),
        (
            "fn f() { if let A = x && !y {} }",
            &[("!y", UnaryOperator, "")],
            "fn f() { if let A = x && (if on(1) { (y) } else { !y }) {} }",
        ),
        (
            "fn f() { match a { A(x) if g(x) => 1, _ => 2 } }",
            &[
                ("g(x)", MatchArmGuard, "true"),
                ("g(x)", MatchArmGuard, "false"),
            ],
            "fn f() { match a { A(x) if (on(1) || (!on(2) && (g(x)))) => 1, _ => 2 } }",
        ),
        (
            "fn f() { match a { A | B => 1, _ => 2 } }",
            &[("A |", MatchArm, "")],
            "fn f() { match a { A | B if !on(1)  => 1, _ => 2 } }",
        ),
        (
            "fn f() { S { a: 1, b, ..c } }",
            &[("a: 1", StructField, ""), ("b,", StructField, "")],
            "fn f() { (if on(1) { S {  b, ..c } } else if on(2) { S { a: 1,  ..c } } \
             else { S { a: 1, b, ..c } }) }",
        ),
        (
            "const fn f() -> u8 { a }",
            &[("a }", FnValue, "1")],
            "/* const */ fn f() -> u8 { if on(1) { return 1; } a }",
        ),
        (
            "impl A { fn f() -> i8 {\n    // → why\n    -1\n} }",
            &[("-1", UnaryOperator, ""), ("-1", FnValue, "0")],
            "impl A { fn f() -> i8 { if on(2) { return 0; }\n    // → why\n    \
             (if on(1) { (1) } else { -1 })\n} }",
        ),
    ];
    for (text, changes, expected) in cases {
        assert_eq!(source(text, changes), expected);
    }
}

#[test]
fn a_guard_keeps_its_own_operators() {
    let text = "fn f() { match a { A if b == c => 1, _ => 2 } }";
    let changes = [
        ("b ==", Genre::MatchArmGuard, "true"),
        ("==", Genre::BinaryOperator, "!="),
    ];
    assert_eq!(
        source(text, &changes),
        "fn f() { match a { A if (on(1) || ((if on(2) { (b) != (c) } else { b == c }))) => 1, \
         _ => 2 } }"
    );
}

#[test]
fn what_cannot_be_switched_is_said_and_left_as_it_is() {
    let cases: [(&str, Change, &str); 7] = [
        (
            "const A: u8 = 1 + 2;",
            ("+", Genre::BinaryOperator, "-"),
            "constant",
        ),
        (
            "fn f() -> [u8; 1 + 2] { a }",
            ("+", Genre::BinaryOperator, "-"),
            "constant",
        ),
        (
            "const fn kept() -> u8 { a }",
            ("a }", Genre::FnValue, "0"),
            "constant",
        ),
        (
            "fn f() { if let A = x && y {} }",
            ("&&", Genre::BinaryOperator, "||"),
            "let",
        ),
        (
            "fn f() -> impl A { a() }",
            ("a()", Genre::FnValue, "empty()"),
            "impl",
        ),
        ("fn f() { a }", ("a", Genre::Other, "b"), "not found"),
        (
            "fn f() { m!(a + b) }",
            ("+", Genre::BinaryOperator, "-"),
            "not found",
        ),
    ];
    for (text, change, why) in cases {
        let rewritten = rewritten(text, &[change]);
        assert_eq!(rewritten.edited.text, text);
        assert!(rewritten.left_out[&1].contains(why), "{rewritten:?}");
    }
}

#[test]
fn a_text_that_is_no_rust_is_an_error() {
    assert!(rewrite("fn", &[], &BTreeSet::new()).is_err());
}
