//! Placeholders where they should not be: an agent that sends one elsewhere than to its host does what nobody meant. Pure.
//!
//! This is a tripwire and not a wall: what is only looked for can be written in another way. Nothing is lost with a
//! placeholder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::has;
use cofferdam_policy::dimension::credentials::Credential;
use cofferdam_policy::pattern::host::Host;
use cofferdam_service::http1::Head;

/// The placeholders of a run that may not go to a host.
#[derive(Debug)]
pub struct Marks(Vec<Mark>);

#[derive(Debug)]
struct Mark {
    credential: String,
    placeholder: String,
}

impl Marks {
    /// The placeholders that the run with this uid has of `credentials`, but for those of credentials that go to `host`.
    pub fn of(credentials: &[Credential], run_uid: &str, host: &Host) -> Self {
        let elsewhere = credentials
            .iter()
            .filter(|credential| !credential.may_go_to(host));
        let marks = elsewhere.filter_map(|credential| {
            let (_, placeholder) = credential.placeholder(run_uid)?;
            Some(Mark {
                credential: credential.name.clone(),
                placeholder,
            })
        });
        Self(marks.collect())
    }

    /// Name of the credential whose placeholder stands in the head of a request.
    pub fn leaked(&self, head: &Head) -> Option<&str> {
        let is_in = |mark: &&Mark| {
            let mark = mark.placeholder.as_bytes();
            has(head.target.as_bytes(), mark)
                || head
                    .headers
                    .iter()
                    .any(|line| has(&line.value, mark) || has(&decoded(&line.value), mark))
        };
        self.0.iter().find(is_in).map(|mark| mark.credential.as_str())
    }
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
        Marks::of(&[keyed()], uid, &host.parse().unwrap())
            .leaked(&head)
            .is_some()
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
