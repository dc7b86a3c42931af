use super::*;
use crate::prepare::tests::root;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway that refuses each tunnel for want of its credential.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            let refusal = b"HTTP/1.1 503 CredentialUnavailable\r\nContent-Length: 3\r\n\r\nno\n";
            stream.write_all(refusal).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_refusal_is_told_of_the_repository_that_it_was_about() {
    let (_directory, paths) = root();
    let gateway = refusing().await.to_string();
    let stop = CancellationToken::new();
    let (keyed, way) = forwarder(&gateway, &paths, stop.clone()).await.unwrap();
    let (other, _) = forwarder(&gateway, &paths, stop.clone()).await.unwrap();
    let proxy = way.proxy.unwrap();
    let mut client = TcpStream::connect(proxy.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = b"CONNECT keyed.test:443 HTTP/1.1\r\nHost: keyed.test:443\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(other.take_refusal(), None);
    let failed = |forwarder: &Forwarder| {
        let failed = Failed {
            message: "no connection".to_owned(),
            passes: true,
            unauthorized: false,
        };
        not_cloned("app".to_owned(), Some("git"), failed, forwarder.take_refusal()).reason()
    };
    assert_eq!(failed(&other), Reason::CloneFailed);
    assert_eq!(failed(&keyed), Reason::CredentialFailed);
    stop.cancel();
}

#[test]
fn a_credential_that_a_server_does_not_take_is_no_wrong_url() {
    let failed = |unauthorized| Failed {
        message: "https://git.test/app.git: private or absent".to_owned(),
        passes: false,
        unauthorized,
    };
    for (credential, unauthorized, reason) in [
        (Some("forge"), true, Reason::CredentialFailed),
        (Some("forge"), false, Reason::CloneRefused),
        (None, true, Reason::CloneRefused),
    ] {
        let error = not_cloned("app".to_owned(), credential, failed(unauthorized), None);
        assert_eq!(error.reason(), reason, "{credential:?} {unauthorized}");
        let names_it = error.to_string().contains("SandboxCredential forge");
        assert_eq!(names_it, reason == Reason::CredentialFailed, "{error}");
        assert!(error.to_string().contains("https://git.test/app.git"), "{error}");
    }
}
