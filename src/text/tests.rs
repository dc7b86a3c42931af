use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case::colour("\u{1b}[31m", r"\u{1b}[31m")]
#[case::line_break("a\r\nb", r"a\u{d}\u{a}b")]
#[case::next_line("\u{85}", r"\u{85}")]
#[case::direction("\u{202e}\u{2066}\u{61c}", r"\u{202e}\u{2066}\u{61c}")]
#[case::zero_width("a\u{200b}\u{2060}\u{feff}b", r"a\u{200b}\u{2060}\u{feff}b")]
#[case::separators("\u{2028}\u{2029}", r"\u{2028}\u{2029}")]
#[case::tags("\u{e0041}\u{e007f}", r"\u{e0041}\u{e007f}")]
#[case::variation_selectors("x\u{fe0f}\u{e0100}", r"x\u{fe0f}\u{e0100}")]
#[case::fillers("\u{3164}\u{ffa0}\u{115f}", r"\u{3164}\u{ffa0}\u{115f}")]
#[case::soft_hyphen("git\u{ad}hub", r"git\u{ad}hub")]
#[case::what_is_seen(r#"https://é.例え/"a\b""#, r#"https://é.例え/"a\b""#)]
fn escape_shows_what_is_hidden(#[case] text: &str, #[case] shown: &str) {
    assert_eq!(escape(text), shown);
    assert_eq!(escape_bytes(text.as_bytes()), shown);
}

#[test]
fn escape_bytes_shows_what_is_no_text() {
    assert_eq!(escape_bytes(b"a\xff\xfe\xc3b\n"), r"a\xff\xfe\xc3b\u{a}");
}

#[rstest]
#[case("exact", 5, "exact")]
#[case("longer", 5, "long…")]
#[case("äöü", 2, "ä…")]
#[case("ab", 1, "…")]
#[case("ab", 0, "")]
#[case("", 0, "")]
fn cut_counts_characters(#[case] text: &str, #[case] limit: usize, #[case] kept: &str) {
    assert_eq!(cut(text, limit), kept);
}

#[rstest]
#[case("two\r\n\tlines ", "two lines")]
#[case("\u{2028}a\u{2029}b\u{85}c", "a b c")]
#[case("a\u{202e}b\0", r"a\u{202e}b\u{0}")]
fn one_line_has_no_breaks(#[case] text: &str, #[case] line: &str) {
    assert_eq!(one_line(text), line);
}

#[rstest]
#[case("exact", 5, "exact")]
#[case("longer", 5, "lo…")]
#[case("ab cdef", 6, "ab…")]
#[case("äöüäöü", 8, "äö…")]
#[case("a\u{202e}b", 9, "a…")]
#[case("a\u{202e}bcdef", 12, r"a\u{202e}…")]
#[case("longer", 2, "")]
fn bounded_counts_bytes(#[case] text: &str, #[case] limit: usize, #[case] kept: &str) {
    assert_eq!(bounded(text, limit), kept);
}

/// Text in which hidden characters are as frequent as others.
fn hostile() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        any::<char>().prop_filter("hidden", |character| is_hidden(*character)),
        prop::sample::select(vec![' ', '\n', '\t', '\u{2028}', '…', '\\', 'a']),
        (0xe_0000_u32..0xe_1000).prop_filter_map("no character", char::from_u32),
    ];
    prop::collection::vec(character, 0..60).prop_map(String::from_iter)
}

fn shows_all(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

proptest! {
    #[test]
    fn escape_leaves_nothing_hidden_and_is_idempotent(text in hostile()) {
        let once = escape(&text);
        prop_assert!(shows_all(&once), "{once}");
        prop_assert_eq!(escape(&once), once.clone());
        // What was visible is still there, in order.
        let seen: String = text.chars().filter(|character| !is_hidden(*character)).collect();
        let mut rest = once.chars();
        prop_assert!(seen.chars().all(|character| rest.any(|other| other == character)));
    }

    #[test]
    fn escape_bytes_leaves_nothing_hidden(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let once = escape_bytes(&bytes);
        prop_assert!(shows_all(&once), "{once}");
        prop_assert_eq!(escape(&once), once.clone());
    }

    #[test]
    fn cut_keeps_its_limit_and_is_idempotent(text in hostile(), limit in 0..80_usize) {
        let once = cut(&text, limit);
        prop_assert!(once.chars().count() <= limit);
        prop_assert_eq!(cut(&once, limit), once.clone());
        prop_assert!(text.chars().count() > limit || once == text);
    }

    #[test]
    fn one_line_leaves_nothing_hidden_and_is_idempotent(text in hostile()) {
        let once = one_line(&text);
        prop_assert!(shows_all(&once), "{once}");
        prop_assert_eq!(one_line(&once), once.clone());
    }

    #[test]
    fn bounded_keeps_its_limit_and_is_idempotent(text in hostile(), limit in 0..200_usize) {
        let once = bounded(&text, limit);
        prop_assert!(once.len() <= limit, "{} > {limit}", once.len());
        prop_assert!(shows_all(&once), "{once}");
        prop_assert_eq!(bounded(&once, limit), once.clone());
        let whole = one_line(&text);
        prop_assert!(whole.len() > limit || once == whole);
        prop_assert!(whole.starts_with(once.trim_end_matches(ELLIPSIS)));
    }
}
