use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the library reads of `bytes`, and the heads that were read.
async fn read(bytes: &[u8]) -> (String, Vec<Result<String, HeadError>>) {
    let mut heads = requests(Vec::new(), bytes);
    let judged = heads.reader().judged();
    let mut given = vec![0; 4096];
    let mut length = 0;
    // A refused head leaves the library waiting for ever.
    while let Ok(Ok(read)) = tokio::time::timeout(HEAD_TIMEOUT * 2, heads.read(&mut given[length..])).await
        && read > 0
    {
        length += read;
    }
    let mut targets = Vec::new();
    while let Some(head) = judged.next() {
        targets.push(head.map(|head| format!("{} {}", head.method, head.target)));
    }
    (String::from_utf8_lossy(&given[..length]).into_owned(), targets)
}

fn targets(all: &[&str]) -> Vec<Result<String, HeadError>> {
    all.iter().map(|target| Ok((*target).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_follow_each_other_and_no_head_goes_through() {
    let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\n\r\nabcHEAD /c HTTP/1.1\r\n\r\n";
    let (given, heads) = read(bytes).await;
    assert_eq!(
        given,
        "POST / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcHEAD / HTTP/1.1\r\n\r\n"
    );
    assert_eq!(heads, targets(&["GET /a", "PUT /b", "HEAD /c"]));
}

#[tokio::test(start_paused = true)]
async fn a_chunked_request_is_the_last_one() {
    let body = "1\r\na\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
    let bytes = format!("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let (given, heads) = read(bytes.as_bytes()).await;
    let own = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    assert_eq!(given, format!("{own}{body}"));
    assert_eq!(heads, targets(&["POST /a"]));
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_refused_head_is_not_read() {
    for refused in [
        "GET /b HTTP/1.1\nX: y\r\n\r\n".to_owned(),
        format!("GET /b HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LIMIT)),
    ] {
        let bytes = format!("GET /a HTTP/1.1\r\n\r\n{refused}GET /c HTTP/1.1\r\n\r\n");
        let (given, heads) = read(bytes.as_bytes()).await;
        assert_eq!(
            given,
            "POST / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nconnection: close\r\n\r\n"
        );
        assert!(matches!(heads.as_slice(), [Ok(_), Err(_)]), "{heads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_library_has_to_know_of_a_head() {
    for (head, own) in [
        ("GET / HTTP/1.0", "POST / HTTP/1.0\r\nconnection: close\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nConnection: x, Close",
            "POST / HTTP/1.1\r\nconnection: close\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 0",
            "POST / HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
        ),
    ] {
        assert_eq!(read(format!("{head}\r\n\r\n").as_bytes()).await.0, own, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_ends_the_connection() {
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut heads = requests(Vec::new(), server);
    let before = tokio::time::Instant::now();
    assert_eq!(heads.read(&mut [0; 64]).await.unwrap(), 0);
    assert!(before.elapsed() >= HEAD_TIMEOUT);
    assert!(heads.reader().judged().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn of_one_request_alone_nothing_behind_it_is_read() {
    let received = b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\n".to_vec();
    let end = http1::end_of_head(&received, 0).unwrap();
    let head = http1::parse(received, end).unwrap();
    let mut heads = one_request(head, &b"GET /c HTTP/1.1\r\n\r\n"[..]);
    let judged = heads.reader().judged();
    let mut given = [0; 512];
    let mut length = 0;
    while let Ok(Ok(read)) = tokio::time::timeout(HEAD_TIMEOUT * 2, heads.read(&mut given[length..])).await
        && read > 0
    {
        length += read;
    }
    assert_eq!(
        &given[..length],
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
    );
    assert!(judged.next().is_some() && judged.next().is_none());
}

proptest! {
    /// However the bytes come, the same heads are read.
    #[test]
    fn pieces_make_no_difference(sizes in proptest::collection::vec(1usize..9, 1..60)) {
        let bytes = b"GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 5\r\n\r\n\r\n\r\n\nGET /c HTTP/1.1\r\n\r\n".to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let whole = runtime.block_on(read(&bytes));
        let pieces = runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1024);
            let mut heads = requests(Vec::new(), server);
            let judged = heads.reader().judged();
            let mut given = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                client.write_all(piece).await.unwrap();
                rest = after;
                let mut some = [0; 256];
                if let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(1), heads.read(&mut some)).await {
                    given.extend_from_slice(&some[..read]);
                }
                if rest.is_empty() {
                    break;
                }
            }
            drop(client);
            heads.read_to_end(&mut given).await.unwrap();
            let mut all = Vec::new();
            while let Some(head) = judged.next() {
                all.push(head.map(|head| format!("{} {}", head.method, head.target)));
            }
            (String::from_utf8_lossy(&given).into_owned(), all)
        });
        prop_assert_eq!(pieces, whole);
    }
}
