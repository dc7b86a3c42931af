use super::*;
use rstest::rstest;

#[rstest]
#[case("https://github.com/team/app", "https://github.com/team/app")]
#[case("HTTPS://GitHub.COM/Team/app", "https://github.com/Team/app")]
#[case("https://github.com:443/team/app", "https://github.com/team/app")]
#[case(
    "https://git.example.com:8443/app.git",
    "https://git.example.com:8443/app.git"
)]
#[case("https://github.com/team/app/", "https://github.com/team/app")]
#[case(
    "https://git.example.com/a/b/c/d~e+f_g",
    "https://git.example.com/a/b/c/d~e+f_g"
)]
#[case(
    "https://dev.azure.com/org/My%20Project/_git/shop",
    "https://dev.azure.com/org/My%20Project/_git/shop"
)]
#[case("https://github.com/%74eam/app", "https://github.com/team/app")]
#[case(
    "https://dev.azure.com/org/C%23%20%26%20%c3%a9t%C3%A9/_git/x",
    "https://dev.azure.com/org/C%23%20%26%20%C3%A9t%C3%A9/_git/x"
)]
#[case("https://github.com/a%2Ab/app", "https://github.com/a%2Ab/app")]
#[case("https://github.com/a%2bb/app%2Egit", "https://github.com/a+b/app.git")]
fn urls_have_one_spelling(#[case] text: &str, #[case] canonical: &str) {
    assert_eq!(RepositoryUrl::parse(text).unwrap().as_str(), canonical);
    assert_eq!(RepositoryUrl::parse(canonical).unwrap().as_str(), canonical);
}

#[rstest]
#[case("git@github.com:team/app.git", RepositoryError::Scheme)]
#[case("github.com/team/app", RepositoryError::Scheme)]
#[case("http://github.com/team/app", RepositoryError::Scheme)]
#[case("ssh://git@github.com/team/app", RepositoryError::Scheme)]
#[case("file:///etc", RepositoryError::Scheme)]
#[case("ext::sh -c id", RepositoryError::Scheme)]
#[case(" https://github.com/team/app", RepositoryError::Scheme)]
#[case("https://user@github.com/team/app", RepositoryError::UserInfo)]
#[case("https://user:word@github.com/team/app", RepositoryError::UserInfo)]
#[case("https://github.com@evil.example/team/app", RepositoryError::UserInfo)]
#[case("https://github.com:0/team/app", RepositoryError::Port)]
#[case("https://github.com:65536/team/app", RepositoryError::Port)]
#[case("https://github.com:0443/team/app", RepositoryError::Port)]
#[case("https://github.com:/team/app", RepositoryError::Port)]
#[case("https://github.com:+443/team/app", RepositoryError::Port)]
#[case("https://github.com/team%2fapp", RepositoryError::PercentEncoding)]
#[case("https://github.com/%2e%2e/app", RepositoryError::Path)]
#[case("https://github.com/team/%2egit", RepositoryError::Path)]
#[case("https://github.com/team%5Capp", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%252fapp", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%00app", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%0aapp", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%E2%80%AEapp", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%ff", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%2", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%+1", RepositoryError::PercentEncoding)]
#[case("https://github.com/team%é1", RepositoryError::PercentEncoding)]
#[case("https://github.com/team/app?x=1", RepositoryError::Query)]
#[case("https://github.com/team/app#x", RepositoryError::Query)]
#[case("https://github.com?/team/app", RepositoryError::Query)]
#[case("https://github.com/team\\app", RepositoryError::OddByte)]
#[case("https://github.com/team app", RepositoryError::OddByte)]
#[case("https://github.com/team\napp", RepositoryError::OddByte)]
#[case("https://github.com/team/äpp", RepositoryError::OddByte)]
#[case("https://github.com/team/*", RepositoryError::OddByte)]
#[case("https://github.com", RepositoryError::Path)]
#[case("https://github.com/", RepositoryError::Path)]
#[case("https://github.com//team/app", RepositoryError::Path)]
#[case("https://github.com/team//app", RepositoryError::Path)]
#[case("https://github.com/team/../app", RepositoryError::Path)]
#[case("https://github.com/team/./app", RepositoryError::Path)]
#[case("https://github.com/team/.git", RepositoryError::Path)]
#[case("https://github.com/team/app//", RepositoryError::Path)]
#[case("https://127.0.0.1/team/app", RepositoryError::Host(HostError::Address))]
#[case("https://[::1]:443/team/app", RepositoryError::Host(HostError::Address))]
#[case("https://localhost/team/app", RepositoryError::Host(HostError::SingleLabel))]
#[case("https://github.com./team/app", RepositoryError::Host(HostError::TrailingDot))]
#[case("https:///team/app", RepositoryError::Host(HostError::Empty))]
fn other_urls_are_refused(#[case] text: &str, #[case] error: RepositoryError) {
    assert_eq!(RepositoryUrl::parse(text), Err(error));
}

#[rstest]
#[case("https://github.com/team/app", "https://github.com/team/app.git", true)]
#[case("https://github.com/team/app.git", "https://github.com/team/app", true)]
#[case("https://GITHUB.com:443/team/app", "https://github.com/team/app", true)]
#[case("https://github.com/team/*", "https://github.com/team/app", true)]
#[case("https://github.com/team/*", "https://github.com/team-evil/app", false)]
#[case("https://github.com/team/*", "https://github.com/team/sub/app", false)]
#[case("https://github.com/team/**", "https://github.com/team/sub/app", true)]
#[case("https://github.com/**", "https://github.com/team/app", true)]
#[case(
    "https://dev.azure.com/org/My%20Project/**",
    "https://dev.azure.com/org/My%20Project/_git/shop",
    true
)]
#[case(
    "https://dev.azure.com/org/my%2dproject/*",
    "https://dev.azure.com/org/my-project/x",
    true
)]
#[case(
    "https://dev.azure.com/org/My%20Project/**",
    "https://dev.azure.com/org/My/_git/shop",
    false
)]
#[case("https://github.com/%2A/app", "https://github.com/team/app", false)]
#[case("https://github.com/**", "https://github.com:8443/team/app", false)]
#[case("https://github.com/**", "https://github.com.evil.example/team/app", false)]
#[case("https://github.com/Team/*", "https://github.com/team/app", false)]
fn patterns_compare_host_port_and_segments(#[case] pattern: &str, #[case] url: &str, #[case] matches: bool) {
    let pattern = RepositoryPattern::parse(pattern).unwrap();
    assert_eq!(pattern.matches(&RepositoryUrl::parse(url).unwrap()), matches);
}

#[rstest]
#[case("https://*.example.com/team/*")]
#[case("https://github.com")]
#[case("https://github.com/team*")]
#[case("https://github.com/**/app")]
#[case("https://github.com/team/../*")]
#[case("**")]
fn patterns_that_could_be_misread_are_refused(#[case] text: &str) {
    assert!(RepositoryPattern::parse(text).is_err());
}

#[rstest]
#[case("https://a.example/team/**", "https://a.example/team/app.git", true)]
#[case("https://a.example/team/**", "https://b.example/team/**", false)]
#[case("https://a.example/team/**", "https://a.example:8443/team/**", false)]
fn patterns_that_share_a_repository(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
    let [one, two] = [one, two].map(|text| RepositoryPattern::parse(text).unwrap());
    assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
}

#[rstest]
#[case("https://github.com/team/app")]
#[case("https://github.com/team/app.git")]
#[case("https://forge.example:8443/a/b/c")]
#[case("https://dev.azure.com/org/My%20Project/_git/shop")]
#[case("https://a.example/%2A/%2A%2A")]
fn every_url_is_a_pattern_of_itself(#[case] url: &str) {
    let url = RepositoryUrl::parse(url).unwrap();
    let pattern = RepositoryPattern::of(&url);
    assert_eq!(pattern, RepositoryPattern::parse(url.as_str()).unwrap());
    assert!(pattern.matches(&url));
    assert!(!pattern.matches(&RepositoryUrl::parse("https://github.com/team/other").unwrap()));
}
