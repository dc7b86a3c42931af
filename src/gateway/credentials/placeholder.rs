//! Placeholders where they should not be: an agent that sends one elsewhere than to its host does what nobody meant. Pure.
//!
//! This is a tripwire and not a wall: what is only looked for can be written in another way. Nothing is lost with a
//! placeholder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_policy::pattern::host::Host;
use cofferdam_service::http1::Head;

/// The credential whose placeholder for this run stands in a request to `host`, which is none of its hosts.
pub fn leaked<'a>(
    credentials: &'a [Credential],
    run_uid: &str,
    host: &Host,
    head: &Head,
) -> Option<&'a Credential> {
    let elsewhere = credentials
        .iter()
        .filter(|credential| !credential.may_go_to(host));
    let mut marked = elsewhere.filter_map(|credential| {
        let (_, placeholder) = credential.placeholder(run_uid)?;
        Some((credential, placeholder))
    });
    marked
        .find(|(_, placeholder)| {
            let mark = placeholder.as_bytes();
            has(head.target.as_bytes(), mark)
                || head
                    .headers
                    .iter()
                    .any(|line| has(&line.value, mark) || has(&decoded(&line.value), mark))
        })
        .map(|(credential, _)| credential)
}

fn has(text: &[u8], mark: &[u8]) -> bool {
    !mark.is_empty() && text.len() >= mark.len() && text.windows(mark.len()).any(|part| part == mark)
}

/// What basic authentication says; nothing where there is none.
fn decoded(value: &[u8]) -> Vec<u8> {
    let word = value
        .split_at_checked(6)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "));
    word.and_then(|(_, word)| STANDARD.decode(word.trim_ascii()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::store::testing::credential;
    use cofferdam_policy::dimension::credentials::Placeholder;
    use cofferdam_service::http1;
    use rstest::rstest;

    const UID: &str = "run-1";

    fn keyed() -> Credential {
        Credential {
            placeholder: Some(Placeholder {
                env: "API_KEY".to_owned(),
                prefix: "sk-".to_owned(),
                length: 52,
            }),
            ..credential("model", "a.example.com")
        }
    }

    fn found(uid: &str, host: &str, text: &str) -> bool {
        let (_, placeholder) = keyed().placeholder(UID).unwrap();
        let basic = STANDARD.encode(format!("user:{placeholder}"));
        let text = text.replace("BASIC", &basic).replace("MARK", &placeholder);
        let bytes = text.into_bytes();
        let end = http1::end_of_head(&bytes, 0).unwrap();
        let head = http1::parse(bytes, end).unwrap();
        leaked(&[keyed()], uid, &host.parse().unwrap(), &head).is_some()
    }

    #[rstest]
    #[case("GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: MARK\r\n\r\n", true)]
    #[case("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer MARK\r\n\r\n", true)]
    #[case("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: bAsIc BASIC\r\n\r\n", true)]
    #[case("GET /a?key=MARK HTTP/1.1\r\nHost: x\r\n\r\n", true)]
    #[case("GET /MARK/b HTTP/1.1\r\nHost: x\r\n\r\n", true)]
    #[case("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic MARK\r\n\r\n", true)]
    #[case(
        "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n",
        false
    )]
    #[case("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false)]
    fn a_placeholder_is_found_wherever_a_head_has_it(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(found(UID, "b.example.com", text), expected);
        assert!(!found(UID, "a.example.com", text), "its own host");
        assert!(!found("run-2", "b.example.com", text), "another run's");
    }
}
