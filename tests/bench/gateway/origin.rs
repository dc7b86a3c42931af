//! The host: HTTP/1.1 at port 80 and, inside TLS, at 443. It answers `/small`, `/endless` and `/events`.

use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::ADDRESS;

/// Bytes of a small answer.
pub const SMALL: usize = 1024;
/// Between the two events of a stream.
pub const PAUSE: Duration = Duration::from_millis(200);

pub async fn serve(certificate: &str, key: &str) {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&fs::read(certificate).unwrap())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key).unwrap()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (clear, tls) = (listener(80).await, listener(443).await);
    loop {
        tokio::select! {
            accepted = clear.accept() => {
                let (stream, _) = accepted.unwrap();
                tokio::spawn(answer(stream));
            }
            accepted = tls.accept() => {
                let (stream, _) = accepted.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = answer(stream).await;
                    }
                });
            }
        }
    }
}

async fn listener(port: u16) -> TcpListener {
    TcpListener::bind((ADDRESS, port)).await.unwrap()
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufStream::with_capacity(8192, 1 << 16, stream);
    let chunk = vec![b'x'; 1 << 16];
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"GET /small ") {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SMALL}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&chunk[..SMALL]).await?;
        } else if head.starts_with(b"GET /endless ") {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
            stream.write_all(head.as_bytes()).await?;
            stream.flush().await?;
            loop {
                stream.get_mut().write_all(&chunk).await?;
            }
        } else {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(b"9\r\ndata: 1\n\n\r\n").await?;
            stream.flush().await?;
            tokio::time::sleep(PAUSE).await;
            stream.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n").await?;
        }
        stream.flush().await?;
    }
}
