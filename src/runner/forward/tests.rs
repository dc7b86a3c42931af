use super::*;
use std::net::SocketAddr;

/// A gateway that answers one connection: reads a head, sends `answer`, then echoes until the end. Yields the head.
async fn gateway(
    answer: &'static str,
    echo: bool,
) -> (SocketAddr, tokio::task::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = http1::read(&mut stream).await.unwrap();
        let mut rest = head.received.split_off(head.body_start);
        stream.write_all(answer.as_bytes()).await.unwrap();
        if echo {
            let mut more = [0; 100];
            loop {
                if !rest.is_empty() {
                    stream.write_all(&rest).await.unwrap();
                }
                let read = stream.read(&mut more).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                rest = more[..read].to_vec();
            }
        } else {
            // A refused connection stays open, as a gateway that waits for another try does.
            let mut more = [0; 100];
            while let Ok(Ok(read)) = timeout(Duration::from_millis(500), stream.read(&mut more)).await {
                if read == 0 {
                    break;
                }
                rest.extend_from_slice(&more[..read]);
            }
        }
        (String::from_utf8(head.received).unwrap(), rest)
    });
    (address, served)
}

async fn forwarder(gateway: SocketAddr) -> (SocketAddr, Forwarder, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("egress");
    std::fs::write(&token, "first\n").unwrap();
    let forwarder = Forwarder::new(&gateway.to_string(), token);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(forwarder.clone().serve(listener, CancellationToken::new()));
    (address, forwarder, directory)
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1000];
    let read = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_under_the_token_of_the_moment() {
    let (address, served) = gateway("HTTP/1.1 200 OK\r\n\r\n", true).await;
    let (proxy, _forwarder, directory) = forwarder(address).await;
    std::fs::write(directory.path().join("egress"), "renewed\n").unwrap();
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client
        .write_all(b"CONNECT one.test:443 HTTP/1.1\r\nProxy-Authorization: Bearer forged\r\n\r\nearly")
        .await
        .unwrap();
    assert_eq!(read_some(&mut client).await, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(read_some(&mut client).await, "early");
    client.write_all(b"late").await.unwrap();
    assert_eq!(read_some(&mut client).await, "late");
    drop(client);
    let (head, _) = served.await.unwrap();
    assert!(head.contains("Proxy-Authorization: Bearer renewed\r\n"), "{head}");
    assert!(!head.contains("forged"), "{head}");
}

#[tokio::test]
async fn a_refusal_passes_unchanged_and_nothing_of_the_client_follows_it() {
    let refusal = "HTTP/1.1 403 HostDenied\r\nContent-Length: 5\r\n\r\nno.\r\n";
    let (address, served) = gateway(refusal, false).await;
    let (proxy, forwarder, _directory) = forwarder(address).await;
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client
        .write_all(b"CONNECT two.test:443 HTTP/1.1\r\n\r\nGET /v1/whoami HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(4), client.read_to_string(&mut answer))
        .await
        .expect("the connection ends with the refusal")
        .unwrap();
    assert_eq!(answer, refusal);
    assert_eq!(served.await.unwrap().1, b"");
    assert_eq!(
        forwarder.take_refusal().as_deref(),
        Some("HTTP/1.1 403 HostDenied")
    );
    assert_eq!(forwarder.take_refusal(), None);
}

#[tokio::test]
async fn a_plain_request_ends_after_its_body() {
    let (address, served) = gateway("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false).await;
    let (proxy, _forwarder, _directory) = forwarder(address).await;
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client
        .write_all(
            b"POST http://one.test/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET /v1/state HTTP/1.1\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    let (head, rest) = served.await.unwrap();
    assert!(head.contains("Bearer first"), "{head}");
    assert_eq!(rest, b"body");
}

#[tokio::test]
async fn control_routes_cannot_be_asked_for() {
    // Nothing listens there: had the request been passed on, the answer would be 502.
    let (proxy, _forwarder, _directory) = forwarder("127.0.0.1:1".parse().unwrap()).await;
    for (request, status) in [
        ("GET /v1/whoami HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
        (
            "POST /v1/output HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 400",
        ),
        ("CONNECT one.test:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 502"),
        (
            &format!("GET http://a/ HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(40_000)),
            "HTTP/1.1 431",
        ),
    ] {
        let mut client = TcpStream::connect(proxy).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(read_some(&mut client).await.starts_with(status), "{request}");
    }
}
