use super::*;
use rstest::rstest;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "sha256:0000c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[rstest]
#[case("nginx", "docker.io/library/nginx:latest")]
#[case("team/app:1", "docker.io/team/app:1")]
#[case("index.docker.io/nginx", "docker.io/library/nginx:latest")]
#[case("localhost/app", "localhost/app:latest")]
#[case("localhost:5000/app:x", "localhost:5000/app:x")]
#[case("ghcr.io/team/sub/app_b.c--d:V1.2-rc", "ghcr.io/team/sub/app_b.c--d:V1.2-rc")]
#[case("cofferdam.test/busybox:dev", "cofferdam.test/busybox:dev")]
fn references_have_one_spelling(#[case] text: &str, #[case] canonical: &str) {
    assert_eq!(ImageReference::parse(text).unwrap().to_string(), canonical);
}

#[test]
fn a_digest_overrules_the_tag_beside_it() {
    let both = ImageReference::parse(&format!("team/app:1@{DIGEST}")).unwrap();
    assert_eq!(both.to_string(), format!("docker.io/team/app@{DIGEST}"));
}

#[rstest]
#[case("", ImageError::Length)]
#[case("Team/app", ImageError::Repository)]
#[case("GHCR.io/team/app", ImageError::Registry)]
#[case("ghcr.io:99999/team/app", ImageError::Registry)]
#[case("-a.io/app", ImageError::Registry)]
#[case("ghcr.io//app", ImageError::Repository)]
#[case("ghcr.io/app/", ImageError::Repository)]
#[case("ghcr.io/team/../app", ImageError::Repository)]
#[case("team/app___x", ImageError::Repository)]
#[case("team/-app", ImageError::Repository)]
#[case("team/app x", ImageError::Repository)]
#[case("team/аpp", ImageError::Repository)]
#[case("team/*", ImageError::Repository)]
#[case("app:", ImageError::Tag)]
#[case("app:-x", ImageError::Tag)]
#[case("app:a b", ImageError::Tag)]
#[case("app@sha256:abc", ImageError::Digest)]
#[case("app@md5:d41d8cd98f00b204e9800998ecf8427e", ImageError::Digest)]
fn other_references_are_refused(#[case] text: &str, #[case] error: ImageError) {
    assert_eq!(ImageReference::parse(text), Err(error));
}

#[rstest]
#[case("ghcr.io/team/*", "ghcr.io/team/app:1", true)]
#[case("ghcr.io/team/*", "ghcr.io/team-evil/app:1", false)]
#[case("ghcr.io/team/*", "ghcr.io/team/sub/app:1", false)]
#[case("ghcr.io/team/**", "ghcr.io/team/sub/app:1", true)]
#[case("ghcr.io/team/**", "ghcr.io.evil.example/team/app", false)]
#[case("ghcr.io/**", "ghcr.io:8443/team/app", false)]
#[case("docker.io/**", "nginx", true)]
#[case("docker.io/**", "ghcr.io/nginx", false)]
#[case("nginx", "docker.io/library/nginx:1.2", true)]
#[case("docker.io/*", "nginx", true)]
#[case("docker.io/*", "team/app", false)]
#[case("ghcr.io/team/app:1", "ghcr.io/team/app:1", true)]
#[case("ghcr.io/team/app:1", "ghcr.io/team/app:2", false)]
#[case("ghcr.io/team/app:latest", "ghcr.io/team/app", true)]
fn patterns_compare_segments_and_versions(#[case] pattern: &str, #[case] image: &str, #[case] matches: bool) {
    let pattern = ImagePattern::parse(pattern).unwrap();
    assert_eq!(pattern.matches(&ImageReference::parse(image).unwrap()), matches);
}

#[test]
fn a_tag_and_a_digest_never_stand_for_each_other() {
    let image = |text: &str| ImageReference::parse(text).unwrap();
    let by_tag = ImagePattern::parse("team/app:1").unwrap();
    let by_digest = ImagePattern::parse(&format!("team/app@{DIGEST}")).unwrap();
    assert!(by_tag.matches(&image("team/app:1")));
    assert!(!by_tag.matches(&image(&format!("team/app:1@{OTHER}"))));
    assert!(by_digest.matches(&image(&format!("team/app:2@{DIGEST}"))));
    assert!(!by_digest.matches(&image(&format!("team/app:1@{OTHER}"))));
    assert!(!by_digest.matches(&image("team/app:1")));
}

#[rstest]
#[case("**", ImageError::RegistryWildcard)]
#[case("*/app", ImageError::RegistryWildcard)]
#[case("*.io/app", ImageError::RegistryWildcard)]
#[case("ghcr.io/team*", ImageError::Segment(SegmentError::Star))]
#[case("ghcr.io/**/app", ImageError::Segment(SegmentError::Star))]
#[case("ghcr.io/team/*:*", ImageError::Tag)]
#[case("ghcr.io", ImageError::RegistryAlone("ghcr.io".to_owned()))]
#[case("localhost:5000", ImageError::RegistryAlone("localhost:5000".to_owned()))]
#[case("registry.example.com:5000", ImageError::RegistryAlone("registry.example.com:5000".to_owned()))]
fn patterns_that_could_be_misread_are_refused(#[case] text: &str, #[case] error: ImageError) {
    assert_eq!(ImagePattern::parse(text), Err(error));
}

#[rstest]
#[case("ghcr.io/team/**", "ghcr.io/team/app:1", true)]
#[case("ghcr.io/team/**", "quay.io/team/**", false)]
#[case("ghcr.io/team/app:1", "ghcr.io/team/app:2", false)]
#[case("ghcr.io/team/app:1", "ghcr.io/*/app", true)]
fn patterns_that_share_an_image(#[case] one: &str, #[case] two: &str, #[case] overlap: bool) {
    let [one, two] = [one, two].map(|text| ImagePattern::parse(text).unwrap());
    assert_eq!((one.overlaps(&two), two.overlaps(&one)), (overlap, overlap));
    let by_digest = ImagePattern::parse(&format!("ghcr.io/team/app@{DIGEST}")).unwrap();
    assert_eq!(by_digest.overlaps(&one), one.to_string() == "ghcr.io/team/**");
    assert!(!by_digest.is_by_tag());
}
