//! What a client reads whose request is denied, in the shape that it understands. Pure.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use serde_json::{Value, json};

use crate::denial::Denial;
use cofferdam_text::bounded;
use cofferdam_wire::denial::{Class, DenialCode};

use super::stage::Scheme;

/// The SDKs of model APIs know it.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Longest message, in bytes.
const MESSAGE_LIMIT: usize = 1000;

/// Whose words an error is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Plain text, which git and people are shown.
    Text,
    /// Anthropic's API.
    Anthropic,
    /// The API of `OpenAI`, and those that speak like it.
    OpenAi,
    /// Google's API of Gemini.
    Gemini,
}

impl Shape {
    /// By the host, or by a path that is known wherever the API is served.
    pub fn of(host: &str, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        match host {
            "api.anthropic.com" => Self::Anthropic,
            "api.openai.com" => Self::OpenAi,
            "generativelanguage.googleapis.com" => Self::Gemini,
            _ if path.ends_with("/v1/messages") || path.ends_with("/v1/messages/count_tokens") => {
                Self::Anthropic
            }
            _ if [
                "/chat/completions",
                "/v1/completions",
                "/v1/responses",
                "/v1/embeddings",
            ]
            .iter()
            .any(|known| path.ends_with(known)) =>
            {
                Self::OpenAi
            }
            _ if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") => {
                Self::Gemini
            }
            _ => Self::Text,
        }
    }

    fn body(self, status: StatusCode, code: DenialCode, message: &str) -> Bytes {
        let of = |value: &Value| Bytes::from(value.to_string());
        let policy = status == StatusCode::BAD_REQUEST;
        match self {
            Self::Text => Bytes::from(format!("{message}\n")),
            Self::Anthropic => {
                let kind = if policy {
                    "invalid_request_error"
                } else {
                    "api_error"
                };
                of(&json!({"type": "error", "error": {"type": kind, "message": message}}))
            }
            Self::OpenAi => {
                let kind = if policy {
                    "invalid_request_error"
                } else {
                    "server_error"
                };
                of(
                    &json!({"error": {"message": message, "type": kind, "param": null, "code": code.as_str()}}),
                )
            }
            Self::Gemini => {
                let kind = if policy {
                    "FAILED_PRECONDITION"
                } else {
                    "UNAVAILABLE"
                };
                of(&json!({"error": {"code": status.as_u16(), "message": message, "status": kind}}))
            }
        }
    }
}

/// The status of a denial. Behind TLS it looks like the server's own, and 400 is the one at which clients of every kind
/// stop; to a client that knows that it speaks to a proxy it is the proxy's.
fn status(code: DenialCode, scheme: Scheme) -> StatusCode {
    let class = code.class();
    match (scheme, code, class) {
        (Scheme::Http, ..) => class.proxy_status(),
        (_, DenialCode::UpgradeRefused, _) => StatusCode::UPGRADE_REQUIRED,
        (_, DenialCode::LimitExceeded, _) => StatusCode::TOO_MANY_REQUESTS,
        (_, DenialCode::UpstreamTimeout, _) => StatusCode::GATEWAY_TIMEOUT,
        (_, _, Class::UpstreamFailed) => StatusCode::BAD_GATEWAY,
        (_, _, Class::NotYet | Class::Stale | Class::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, _, Class::ExpectationFailed) => StatusCode::EXPECTATION_FAILED,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The answer to a request that is denied. `closes`: the client is not to send another one on the connection.
pub fn answer(denial: &Denial, shape: Shape, scheme: Scheme, closes: bool) -> Response<Bytes> {
    let code = denial.code;
    let status = status(code, scheme);
    let message = bounded(&denial.message, MESSAGE_LIMIT);
    let mut text = format!("cofferdam: {code}: {message}");
    if denial.layer.is_some() || scheme == Scheme::Https {
        text = format!("{text}\n{}", code.advice());
    }
    let mut answer = Response::new(shape.body(status, code, &text));
    *answer.status_mut() = status;
    answer
        .extensions_mut()
        .insert(ReasonPhrase::from_static(code.as_str().as_bytes()));
    let headers = answer.headers_mut();
    let media_type = match shape {
        Shape::Text => "text/plain; charset=utf-8",
        Shape::Anthropic | Shape::OpenAi | Shape::Gemini => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What a policy says, or the request itself is, is the same a second later.
    let is_lasting =
        matches!(status, StatusCode::BAD_REQUEST | StatusCode::UPGRADE_REQUIRED) || denial.layer.is_some();
    if is_lasting {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    }
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_policy::refusal::{Layer, LayerKind};
    use rstest::rstest;

    fn denial(code: DenialCode) -> Denial {
        Denial {
            layer: Some(Layer {
                kind: LayerKind::SandboxPolicy,
                name: "default".to_owned(),
            }),
            ..Denial::new(code, "DELETE /a of b.test:443 is denied by SandboxPolicy/default")
        }
    }

    #[rstest]
    #[case("api.anthropic.com", "/api/event_logging", Shape::Anthropic)]
    #[case("proxy.internet.test", "/v1/messages?beta=true", Shape::Anthropic)]
    #[case("proxy.internet.test", "/openai/v1/chat/completions", Shape::OpenAi)]
    #[case("api.openai.com", "/", Shape::OpenAi)]
    #[case("a.test", "/v1beta/models/x:streamGenerateContent?alt=sse", Shape::Gemini)]
    #[case("git.internet.test", "/a/b.git/info/refs", Shape::Text)]
    fn shapes(#[case] host: &str, #[case] path: &str, #[case] expected: Shape) {
        assert_eq!(Shape::of(host, path), expected);
    }

    #[rstest]
    #[case(Shape::Text)]
    #[case(Shape::Anthropic)]
    #[case(Shape::OpenAi)]
    #[case(Shape::Gemini)]
    fn a_denial_behind_tls_is_the_servers_own_400_and_says_what_to_do(#[case] shape: Shape) {
        let answer = answer(
            &denial(DenialCode::RequestNotAllowed),
            shape,
            Scheme::Https,
            false,
        );
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let body = std::str::from_utf8(answer.body()).unwrap();
        for part in [
            "RequestNotAllowed",
            "SandboxPolicy/default",
            "Add the method and the path",
        ] {
            assert!(body.contains(part), "{body}");
        }
        if shape != Shape::Text {
            let read: Value = serde_json::from_str(body).unwrap();
            assert!(read["error"]["message"].is_string(), "{body}");
        }
    }

    #[rstest]
    #[case(DenialCode::UpgradeRefused, 426, true)]
    #[case(DenialCode::ExpectRefused, 417, true)]
    #[case(DenialCode::UpstreamCertificateExpired, 502, true)]
    #[case(DenialCode::UpstreamTimeout, 504, true)]
    #[case(DenialCode::Stale, 503, true)]
    fn statuses(#[case] code: DenialCode, #[case] expected: u16, #[case] closes: bool) {
        let answer = answer(&denial(code), Shape::Text, Scheme::Https, closes);
        assert_eq!(answer.status().as_u16(), expected);
        assert_eq!(answer.headers().contains_key("connection"), closes);
    }

    #[test]
    fn a_limit_asks_to_come_again_and_a_proxys_denial_is_the_proxys() {
        let limit = Denial::new(DenialCode::LimitExceeded, "too much");
        let told = answer(&limit, Shape::Text, Scheme::Https, false);
        assert_eq!(told.status().as_u16(), 429);
        assert!(!told.headers().contains_key("x-should-retry"));
        let plain = answer(
            &denial(DenialCode::RequestNotAllowed),
            Shape::Text,
            Scheme::Http,
            false,
        );
        assert_eq!(plain.status().as_u16(), 403);
        let reason = plain.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(reason.as_bytes(), b"RequestNotAllowed");
    }
}
