use super::*;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

const PAGE_HEAD: &str = "\
# Denials

Every code with which the gateway denies a request. A code is the reason phrase of a refused `CONNECT`, stands in
`status.lastDenied` of an AgentRun and in the run's events, and is the `code` of the gateway's records. The message
beside it names the host, the policy layer and what that layer allows. This page is written from the code
(`INSTA_UPDATE=always cargo test -p cofferdam-wire denial`).

Status is that of an answer to a request for the outside; where a control route, which only the run's own containers
call, answers with another one, it stands in brackets.

| code | status | cause | what to do |
|---|---|---|---|
";

fn status(class: Class) -> String {
    let (proxy, control) = (class.proxy_status().as_u16(), class.control_status().as_u16());
    if proxy == control {
        proxy.to_string()
    } else {
        format!("{proxy} ({control})")
    }
}

fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for code in DenialCode::ALL {
        let (status, cause, advice) = (status(code.class()), code.cause(), code.advice());
        writeln!(page, "| `{code}` | {status} | {cause} | {advice} |").unwrap();
    }
    page
}

#[test]
fn page_lists_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/denials.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        written,
        page(),
        "docs/denials.md is not what the codes say; run INSTA_UPDATE=always cargo test -p cofferdam-wire denial"
    );
}

#[test]
fn spelling_is_the_name_and_reads_back() {
    for code in DenialCode::ALL {
        let json = serde_json::to_string(code).unwrap();
        assert_eq!(json, format!("\"{code}\""));
        assert_eq!(code.as_str().parse(), Ok(*code));
        assert_eq!(serde_json::from_str::<DenialCode>(&json).unwrap(), *code);
    }
    assert_eq!("hostNotAllowed".parse::<DenialCode>(), Err(UnknownDenialCode));
}

#[test]
fn every_code_has_a_cause_and_an_advice_of_its_own_sentences() {
    let mut causes = HashSet::new();
    for code in DenialCode::ALL {
        for text in [code.cause(), code.advice()] {
            assert!(text.len() > 20 || text == "Nothing.", "{code}: {text}");
            assert!(
                text.ends_with('.') && !text.contains(['|', '\n']),
                "{code}: {text}"
            );
        }
        assert!(
            causes.insert(code.cause()),
            "{code} repeats the cause of another code"
        );
    }
}

#[test]
fn status_of_each_class() {
    for (class, proxy, control) in [
        (Class::Unauthenticated, 407, 401),
        (Class::Impostor, 407, 403),
        (Class::NotYet, 407, 425),
        (Class::Stale, 403, 425),
        (Class::Denied, 403, 403),
        (Class::Malformed, 400, 400),
        (Class::NotFound, 404, 404),
        (Class::MethodNotAllowed, 405, 405),
        (Class::TooLarge, 413, 413),
        (Class::ExpectationFailed, 417, 417),
        (Class::UpstreamFailed, 502, 502),
        (Class::Unavailable, 503, 503),
    ] {
        assert_eq!(
            (class.proxy_status().as_u16(), class.control_status().as_u16()),
            (proxy, control),
            "{class:?}"
        );
    }
}

#[test]
fn reason_has_the_name_of_its_code() {
    let mut found = 0;
    for code in DenialCode::ALL {
        let same_name = code.as_str().parse::<Reason>().ok();
        found += usize::from(same_name.is_some());
        // What is waited for at first is not yet the end of a run, which has a name of its own.
        let expected = match code {
            DenialCode::CredentialUnavailable => Some(Reason::CredentialFailed),
            _ => same_name,
        };
        assert_eq!(code.reason(), expected, "{code}");
    }
    assert_eq!(found, 2);
}
