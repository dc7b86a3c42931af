use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;

use super::*;

#[rstest]
#[case("/", None)]
#[case("/a", None)]
#[case("/a/", None)]
#[case("/a/b.c?x=/../;%zz", None)]
#[case("/@scope%2fname", None)]
#[case("/%C3%A4/100%25", None)]
#[case("/~user/{id}|x", None)]
#[case("", Some(TargetError::NotAbsolute))]
#[case("*", Some(TargetError::NotAbsolute))]
#[case("a/b", Some(TargetError::NotAbsolute))]
#[case("?a=b", Some(TargetError::NotAbsolute))]
#[case("/a b", Some(TargetError::OddByte))]
#[case("/a\tb", Some(TargetError::OddByte))]
#[case("/a\u{0}", Some(TargetError::OddByte))]
#[case("/\u{e4}", Some(TargetError::OddByte))]
#[case("/a#b", Some(TargetError::OddByte))]
#[case("/a?b#c", Some(TargetError::OddByte))]
#[case("/a\\b", Some(TargetError::OddByte))]
#[case("/a?b\\c", Some(TargetError::OddByte))]
#[case("/a;b=c/d", Some(TargetError::Semicolon))]
#[case("//", Some(TargetError::EmptySegment))]
#[case("//a", Some(TargetError::EmptySegment))]
#[case("/a//b", Some(TargetError::EmptySegment))]
#[case("/a//", Some(TargetError::EmptySegment))]
#[case("/.", Some(TargetError::DotSegment))]
#[case("/..", Some(TargetError::DotSegment))]
#[case("/a/../b", Some(TargetError::DotSegment))]
#[case("/a/./", Some(TargetError::DotSegment))]
#[case("/a/%2e%2e/b", Some(TargetError::Encoded))]
#[case("/a/.%2E/b", Some(TargetError::Encoded))]
#[case("/a%2eb", Some(TargetError::Encoded))]
#[case("/a/%c0%ae%c0%ae/b", Some(TargetError::Encoded))]
#[case("/a/%c0%af..%c0%af", Some(TargetError::Encoded))]
#[case("/a/%E0%80%AE/b", Some(TargetError::Encoded))]
#[case("/a/%f0%80%80%ae/b", Some(TargetError::Encoded))]
#[case("/a/x%c1%9cb", Some(TargetError::Encoded))]
#[case("/a/%ef%bc%8e%ef%bc%8e/b", Some(TargetError::DotSegment))]
#[case("/a/%E2%80%A5/b", Some(TargetError::DotSegment))]
#[case("/a/..%20/b", Some(TargetError::DotSegment))]
#[case("/a/%20..", Some(TargetError::DotSegment))]
#[case("/a/..%c2%a0/b", Some(TargetError::DotSegment))]
#[case("/a/.%20", Some(TargetError::DotSegment))]
#[case("/a/...", Some(TargetError::DotSegment))]
#[case("/a/..b/c..d/.git/e%20f/%c3%a9/%e0%a4%85/%f0%9f%a6%80", None)]
#[case("/a/main...feature/%20/b", None)]
#[case("/a%5cb", Some(TargetError::Encoded))]
#[case("/a%00", Some(TargetError::Encoded))]
#[case("/a%0d%0aX:y", Some(TargetError::Encoded))]
#[case("/a%7f", Some(TargetError::Encoded))]
#[case("/a%", Some(TargetError::Encoded))]
#[case("/a%4", Some(TargetError::Encoded))]
#[case("/a%+2", Some(TargetError::Encoded))]
#[case("/a%zz", Some(TargetError::Encoded))]
fn targets(#[case] text: &str, #[case] error: Option<TargetError>) {
    let target = Target::parse(text);
    assert_eq!(target.as_ref().err(), error.as_ref());
    if let Ok(target) = target {
        assert_eq!(target.as_str(), text);
    }
}

#[rstest]
#[case("/", "/", true)]
#[case("/", "/?a=b", true)]
#[case("/", "/a", false)]
#[case("/**", "/", true)]
#[case("/**", "/a/b/", true)]
#[case("/**", "/a%2fb", false)]
#[case("/a", "/a", true)]
#[case("/a", "/a/", false)]
#[case("/a", "/ab", false)]
#[case("/a", "/A", false)]
#[case("/a/", "/a/", true)]
#[case("/a/", "/a", false)]
#[case("/a/*", "/a/b", true)]
#[case("/a/*", "/a/", false)]
#[case("/a/*", "/a", false)]
#[case("/a/*", "/a/b/", false)]
#[case("/a/*", "/a/b/c", false)]
#[case("/a/*", "/a/b%2fc", false)]
#[case("/a/*", "/a/b%2Fc", false)]
#[case("/a/*", "/a/b%252fc", false)]
#[case("/a/*", "/a/b%3bc", false)]
#[case("/a/*", "/a/b%20c", true)]
#[case("/a/*/", "/a/b/", true)]
#[case("/a/*/c", "/a/b/c", true)]
#[case("/a/**", "/a/", true)]
#[case("/a/**", "/a/b/c", true)]
#[case("/a/**", "/a", false)]
#[case("/a/**", "/a-evil/b", false)]
#[case("/a/**", "/a/b/c%2fd", false)]
#[case("/@scope%2fname", "/@scope%2fname", true)]
#[case("/@scope%2fname", "/@scope%2Fname", true)]
#[case("/@scope%2fname", "/@scope/name", false)]
#[case("/@scope%2f*", "/@scope%2Fname", true)]
#[case("/@scope%2f*", "/@other%2fname", false)]
#[case("/@scope%2f*", "/@scope/name", false)]
#[case("/*%2F*", "/@scope%2fname", true)]
#[case("/*%2F*", "/a%2fb%2fc", false)]
#[case("/*%2F*", "/a%2fb%252fc", false)]
#[case("/*%2F*", "/a%2f", false)]
#[case("/*%2F*", "/a", false)]
#[case("/*%2F*", "/a%2fb/c", false)]
#[case("/p/*%2F*%2Fc/**", "/p/a%2fb%2fc/d", true)]
#[case("/a?service=up", "/a?service=up", true)]
#[case("/a?service=up", "/a", false)]
#[case("/a?service=up", "/a?service=receive", false)]
#[case("/a?service=up", "/a?service=up&service=receive", false)]
#[case("/a?service=up", "/a?service=up&service=up", false)]
#[case("/a?service=up", "/a?service=up;service=receive", false)]
#[case("/a?service=up", "/a?service=%75p", false)]
#[case("/a?service=up", "/a?service=up&", false)]
#[case("/a?service=up", "/a?Service=up", false)]
#[case("/a?x=1&y=2", "/a?y=2&x=1", true)]
#[case("/a?", "/a", true)]
#[case("/a?", "/a?", true)]
#[case("/a?", "/a?b", false)]
#[case("/a", "/a?b=c&d", true)]
fn patterns(#[case] pattern: &str, #[case] target: &str, #[case] matches: bool) {
    let pattern = PathPattern::parse(pattern).unwrap();
    assert_eq!(pattern.matches(&Target::parse(target).unwrap()), matches);
}

#[rstest]
#[case("", "begin with '/'")]
#[case("a", "begin with '/'")]
#[case("/a//b", "empty segment")]
#[case("/a/../b", "'..' segment")]
#[case("/a;b", "';'")]
#[case("/a%2e", "stands for a dot")]
#[case("/a\\b", "'\\'")]
#[case("/a#b", "'#'")]
#[case("/a*", "whole segment")]
#[case("/**/a", "whole segment")]
#[case("/**/", "whole segment")]
#[case("/a*%2fb", "whole segment")]
#[case("/*%2f", "empty segment")]
#[case("/**%2fb", "whole segment")]
#[case("/a|b", "percent-encoded")]
#[case("/a'b", "percent-encoded")]
#[case("/a?b=*", "percent-encoded")]
#[case("/a?b=%00", "stands for")]
#[case("/a?b&&c", "empty pair")]
#[case("/a?&", "empty pair")]
fn other_patterns_are_refused(#[case] text: &str, #[case] error: &str) {
    let refused = PathPattern::parse(text).unwrap_err().to_string();
    assert!(refused.contains(error), "{refused}");
    assert_eq!(
        PathPattern::parse(&format!("/{}", "a".repeat(256))),
        Err(PathError::TooLong)
    );
}

#[rstest]
#[case("/a/*", "/*/b", Some("/a/b"))]
#[case("/a/**", "/*/b/**", Some("/a/b/**"))]
#[case("/a/**", "/a/b/c", Some("/a/b/c"))]
#[case("/a/**", "/a/", Some("/a/"))]
#[case("/a/**", "/a", None)]
#[case("/**", "/", Some("/"))]
#[case("/*", "/", None)]
#[case("/*", "/a%2fb", None)]
#[case("/**", "/a/b%2fc", None)]
#[case("/a%2Fb", "/a%2fb", Some("/a%2Fb"))]
#[case("/a%2F*", "/*%2Fb", Some("/a%2Fb"))]
#[case("/a%2F*", "/*%2F*/**", None)]
#[case("/*%2F*", "/a%2Fb", Some("/a%2Fb"))]
#[case("/*%2F*", "/*", None)]
#[case("/*%2F*", "/**", None)]
#[case("/*%2F*", "/*%2F*%2F*", None)]
#[case("/a", "/b", None)]
#[case("/a?x=1", "/*", Some("/a?x=1"))]
#[case("/a?x=1", "/a?x=2", None)]
#[case("/a?x=1&y=2", "/a?y=2&x=1", Some("/a?x=1&y=2"))]
#[case("/a?", "/a", Some("/a?"))]
fn meets(#[case] one: &str, #[case] two: &str, #[case] met: Option<&str>) {
    let [one, two] = [one, two].map(|text| PathPattern::parse(text).unwrap());
    assert_eq!(one.meet(&two).map(|met| met.to_string()).as_deref(), met);
    assert_eq!(two.meet(&one), one.meet(&two));
}

const PARTS: [&str; 9] = ["a", "b", "*", "*", "x%2Fy", "%20", "*%2Fy", "x%2F*", "*%2F*"];

fn any_pattern() -> impl Strategy<Value = PathPattern> {
    let end = select(&["", "/", "/**", "/**"][..]);
    let query = select(&["", "", "", "", "?", "?k=v", "?k=v&l=w"][..]);
    (vec(select(&PARTS[..]), 0..3), end, query).prop_filter_map("the path", |(parts, end, query)| {
        let path: String = parts.iter().flat_map(|part| ["/", *part]).collect();
        PathPattern::parse(&format!("{path}{end}{query}")).ok()
    })
}

fn any_target() -> impl Strategy<Value = Target> {
    let parts = vec(select(&["a", "a", "b", "x%2fy"][..]), 0..4);
    let query = select(&["", "", "?", "?k=v", "?l=w&k=v", "?k=v&k=v"][..]);
    (parts, any::<bool>(), query).prop_map(|(parts, open, query)| {
        let path: String = parts.iter().flat_map(|part| ["/", *part]).collect();
        let end = if open || path.is_empty() { "/" } else { "" };
        Target::parse(&format!("{path}{end}{query}")).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The meet means what both mean, and nothing else.
    #[test]
    fn a_meet_is_both(one in any_pattern(), two in any_pattern(), target in any_target()) {
        let both = one.matches(&target) && two.matches(&target);
        let met = one.meet(&two);
        prop_assert_eq!(met.as_ref().is_some_and(|met| met.matches(&target)), both, "{:?}", met);
        prop_assert_eq!(two.meet(&one), met);
    }

    #[test]
    fn a_pattern_that_covers_another_means_all_of_it(one in any_pattern(), two in any_pattern(), target in any_target()) {
        prop_assert!(one.covers(&one));
        if one.covers(&two) && two.matches(&target) {
            prop_assert!(one.matches(&target));
        }
    }

    #[test]
    fn a_pattern_reads_back_as_itself(pattern in any_pattern()) {
        prop_assert_eq!(PathPattern::parse(&pattern.to_string()), Ok(pattern));
    }

    /// Whatever comes is read or refused, and what is read is sent as it came and holds nothing that is read in two ways.
    #[test]
    fn a_target_has_one_meaning(text in "/[ -~]{0,24}|.{0,12}") {
        let Ok(target) = Target::parse(&text) else { return Ok(()) };
        prop_assert_eq!(target.as_str(), &text);
        let path = target.path().to_ascii_lowercase();
        for odd in ["//", "/./", "/../", "%2e", "%5c", "%00", "%0d", ";", "\\", "#", " "] {
            prop_assert!(!path.contains(odd), "{path}");
        }
        prop_assert!(!path.ends_with("/.") && !path.ends_with("/.."));
    }
}

/// The law about meets is about something: many pairs meet in targets that were generated.
#[test]
fn generated_patterns_often_meet() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut both = 0;
    for _ in 0..20_000 {
        let (one, two, target) = (any_pattern(), any_pattern(), any_target())
            .new_tree(&mut runner)
            .unwrap()
            .current();
        both += usize::from(one.matches(&target) && two.matches(&target) && one != two);
    }
    assert!(both > 200, "{both}");
}
