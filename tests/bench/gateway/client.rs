//! One client of HTTP/1.1 inside TLS, straight to the host or through a proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cofferdam_gateway::testing::address_of;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ADDRESS, HOST, RUNS};

/// A connection to the host.
pub type Stream = TlsStream<TcpStream>;

/// The way to the host.
#[derive(Clone)]
pub struct Way {
    proxy: Option<SocketAddr>,
    tokens: Arc<Vec<String>>,
    tls: TlsConnector,
}

impl Way {
    /// Through `proxy`, or straight where it is none; with a token for each run, or none; trusting the CAs of a file.
    pub fn new(proxy: &str, trusted: &str, tokens: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&std::fs::read(trusted).unwrap()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each new connection is one: of a client that has never been here.
        config.resumption = rustls::client::Resumption::disabled();
        let tokens = std::fs::read_to_string(tokens).unwrap_or_default();
        Self {
            proxy: proxy.parse().ok(),
            tokens: Arc::new(tokens.lines().map(str::to_owned).collect()),
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A connection of one of the runs.
    pub async fn open(&self, number: usize) -> io::Result<Stream> {
        let run = u8::try_from(number % usize::from(RUNS)).unwrap() + 1;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        let own: Ipv4Addr = address_of(run);
        socket.bind(SocketAddr::from((own, 0)))?;
        let to = self.proxy.unwrap_or(SocketAddr::new(ADDRESS, 443));
        let mut stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        if self.proxy.is_some() {
            self.tunnel(&mut stream, run).await?;
        }
        let name = ServerName::try_from(HOST).unwrap();
        self.tls.connect(name, stream).await
    }

    async fn tunnel(&self, stream: &mut TcpStream, run: u8) -> io::Result<()> {
        let identity = self
            .tokens
            .get(usize::from(run) - 1)
            .map_or_else(String::new, |token| {
                format!("Proxy-Authorization: Bearer {token}\r\n")
            });
        let request = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n{identity}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let head = head(stream).await?;
        if head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 ") {
            Ok(())
        } else {
            Err(io::Error::other(head))
        }
    }
}

/// Asks for a path.
pub async fn ask(stream: &mut Stream, path: &str) -> io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await
}

/// Reads a head.
pub async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Asks for the small answer and reads it.
pub async fn small(stream: &mut Stream) -> io::Result<()> {
    ask(stream, "/small").await?;
    let head = head(stream).await?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(head));
    }
    let mut body = [0; super::origin::SMALL];
    stream.read_exact(&mut body).await.map(drop)
}
