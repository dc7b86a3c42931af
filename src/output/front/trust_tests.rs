use super::*;
use crate::testing::{Authority, published};
use rstest::rstest;

#[test]
fn what_the_api_server_publishes_is_believed() {
    let trust = parse(&published(&Authority::new("ca"))).unwrap();
    assert_eq!(
        (trust.names, trust.users),
        (vec!["front-proxy".to_owned()], vec!["x-remote-user".to_owned()])
    );
    assert_eq!(trust.extras, ["x-remote-extra-"]);
    // From before 1.32 there is no uid.
    let mut older = published(&Authority::new("ca"));
    older.remove("requestheader-uid-headers");
    assert_eq!(parse(&older).unwrap().uids, Vec::<String>::new());
}

#[rstest]
#[case("requestheader-allowed-names", Some("[]"))]
#[case("requestheader-allowed-names", Some("null"))]
#[case("requestheader-allowed-names", Some(""))]
#[case("requestheader-allowed-names", Some("[\"\"]"))]
#[case("requestheader-allowed-names", Some("front-proxy"))]
#[case("requestheader-allowed-names", None)]
#[case("requestheader-client-ca-file", None)]
#[case("requestheader-client-ca-file", Some(" "))]
#[case("requestheader-client-ca-file", Some("no certificate"))]
#[case("requestheader-username-headers", None)]
#[case("requestheader-username-headers", Some("[]"))]
fn where_everybody_or_nobody_could_be_believed_there_is_no_start(
    #[case] name: &str,
    #[case] value: Option<&str>,
) {
    let mut data = published(&Authority::new("ca"));
    assert!(parse(&data).is_ok());
    match value {
        Some(value) => data.insert(name.to_owned(), value.to_owned()),
        None => data.remove(name),
    };
    assert!(parse(&data).is_err(), "{name} {value:?}");
}
