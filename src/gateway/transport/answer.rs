//! Answers that are written without an HTTP server, and closing so that they arrive.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::denial::Denial;
use cofferdam_text::bounded;
use cofferdam_wire::denial::DenialCode;

/// Longest message of an answer, in bytes.
const MESSAGE_LIMIT: usize = 1000;
/// Time and bytes for which a refused client may go on sending: closing earlier would destroy the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// What opens a tunnel.
pub const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Refuses a request on the data path: the status of its code, and the code as reason phrase.
pub async fn refuse(stream: TcpStream, denial: &Denial) {
    let status = denial.code.class().proxy_status();
    let extra = match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => "Proxy-Authenticate: Bearer\r\n",
        // What a policy says is the same a second later. The SDKs of model APIs know the header.
        _ if denial.layer.is_some() => "X-Should-Retry: false\r\n",
        _ => "",
    };
    write(stream, status, denial.code, extra, &denial.message).await;
}

/// Refuses bytes that are not a request which the gateway serves.
pub async fn malformed(stream: TcpStream, message: &str) {
    refuse(stream, &Denial::new(DenialCode::BadRequest, message.to_owned())).await;
}

async fn write(mut stream: TcpStream, status: StatusCode, code: DenialCode, extra: &str, message: &str) {
    let body = format!("cofferdam: {code}: {}\n", bounded(message, MESSAGE_LIMIT));
    let status = status.as_u16();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} {code}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         {extra}Connection: close\r\n\r\n{body}"
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        close(stream).await;
    }
}

/// Closes our side and reads on for a moment: a reset for bytes that were not read would destroy the answer.
pub async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = (&mut stream).take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_policy::refusal::{Layer, LayerKind};
    use tokio::net::TcpListener;

    async fn answer_of(denial: Denial) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::spawn(async move { refuse(server, &denial).await });
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn refusals_reach_even_those_who_still_send() {
        let text = answer_of(Denial::new(DenialCode::HostNotAllowed, "no\r\nX: y")).await;
        assert!(text.starts_with("HTTP/1.1 403 HostNotAllowed\r\n"), "{text}");
        assert!(
            text.ends_with("\r\n\r\ncofferdam: HostNotAllowed: no X: y\n"),
            "{text}"
        );
        let text = answer_of(Denial::new(DenialCode::TokenInvalid, "no")).await;
        assert!(text.starts_with("HTTP/1.1 407 TokenInvalid\r\n"), "{text}");
        assert!(text.contains("\r\nProxy-Authenticate: Bearer\r\n"), "{text}");
    }

    #[tokio::test]
    async fn who_is_denied_by_a_policy_is_told_not_to_try_again() {
        let layer = Layer {
            kind: LayerKind::SandboxPolicy,
            name: "default".to_owned(),
        };
        for (layer, told) in [(Some(layer), true), (None, false)] {
            let denial = Denial {
                layer,
                ..Denial::new(DenialCode::RequestNotAllowed, "no")
            };
            let text = answer_of(denial).await;
            assert_eq!(text.contains("\r\nX-Should-Retry: false\r\n"), told, "{text}");
        }
    }
}
