//! Betas of Anthropic's API, which a client asks for by a header, on requests that get a credential: some have the provider act
//! where nobody here looks, or keep what no later request shows. The rest shape text, and clients do not work without them. Pure.

use cofferdam_service::http1::Head;

use crate::denial::Denial;
use cofferdam_wire::denial::DenialCode;

/// How such betas begin, whatever their date, and what they do.
const REFUSED: [(&str, &str); 11] = [
    ("mcp-client-", "the provider calls servers that the request names"),
    (
        "mcp-tunnels-",
        "the provider calls servers that the request names",
    ),
    (
        "code-execution-",
        "the provider runs code that the request brings",
    ),
    ("skills-", "the provider runs code that the request names"),
    ("managed-agents-", "the provider runs an agent of its own"),
    ("files-api-", "files are kept with the provider"),
    ("message-threads-", "the conversation is kept with the provider"),
    ("server-side-fallback-", "another model may answer"),
    ("advisor-tool-", "another model is asked, too"),
    ("compact-", "the provider asks the model again by itself"),
    ("fast-mode-", "the answer costs more"),
];

/// Refuses a request that asks for one.
///
/// # Errors
/// `BetaNotAllowed`, with its name.
pub fn check(head: &Head) -> Result<(), Denial> {
    for value in head.values("anthropic-beta") {
        let text = String::from_utf8_lossy(value);
        for beta in text.split(',').map(str::trim) {
            let known = REFUSED
                .iter()
                .find(|(prefix, _)| beta.to_ascii_lowercase().starts_with(prefix));
            if let Some((prefix, what)) = known {
                let message = format!("anthropic-beta asks for {prefix}…, with which {what}");
                return Err(Denial::new(DenialCode::BetaNotAllowed, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_service::http1;
    use rstest::rstest;

    #[rstest]
    #[case("claude-code-20250219,interleaved-thinking-2025-05-14", None)]
    #[case("per-turn-control-2026-07-01", None)]
    #[case("claude-code-20250219, mcp-client-2025-11-20", Some("mcp-client-"))]
    #[case("Files-API-2025-04-14", Some("files-api-"))]
    #[case("compact-2026-01-12", Some("compact-"))]
    #[case("", None)]
    fn betas_that_act_elsewhere_are_refused(#[case] value: &str, #[case] refused: Option<&str>) {
        let text =
            format!("POST / HTTP/1.1\r\nHost: x\r\nAnthropic-Beta: a\r\nanthropic-beta: {value}\r\n\r\n");
        let end = http1::end_of_head(text.as_bytes(), 0).unwrap();
        let head = http1::parse(text.into_bytes(), end).unwrap();
        let said = check(&head).err().map(|denial| denial.message.into_owned());
        assert_eq!(said.is_some(), refused.is_some(), "{said:?}");
        if let (Some(said), Some(refused)) = (said, refused) {
            assert!(said.contains(refused), "{said}");
        }
    }
}
