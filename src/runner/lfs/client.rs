//! HTTP as `prepare` speaks it to servers of Git LFS: through the forwarder's tunnels, no redirect followed. Connections are
//! kept, for the gateway lets a run open only so many a second.

use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::LfsError;
use crate::clone::Transport;
use crate::text::escape;

/// How long a server may take to begin its answer: as long as git's HTTP library waits for a connection.
const ANSWER: Duration = Duration::from_mins(5);
/// Longest head of a proxy's answer.
const PROXY_HEAD: usize = 16 * 1024;

/// A connection that takes requests.
type Sender = http1::SendRequest<Full<Bytes>>;

/// How servers are reached.
#[derive(Debug)]
pub struct Client {
    /// `address:port` of the proxy; absent: none.
    proxy: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    /// Whether servers without TLS are spoken to, as tests have them.
    plain: bool,
    /// Connections that wait for their next request, by host and port.
    idle: Mutex<Vec<(String, Sender)>>,
}

/// An answer, and the connection that it came by.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Its head, and its body as it comes.
    pub response: Response<Incoming>,
    client: &'a Client,
    authority: String,
    sender: Sender,
}

impl Answer<'_> {
    /// Keeps the connection for another request, once the body was read to its end.
    pub fn keep(self) {
        let Self {
            client,
            authority,
            sender,
            ..
        } = self;
        client.idle.lock().push((authority, sender));
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub target: String,
    secure: bool,
}

impl Address {
    /// Reads an `https://` address without a user.
    pub fn parse(text: &str) -> Result<Self, LfsError> {
        let odd = || LfsError::Answer(format!("{} is no https:// address", escape(text.as_bytes())));
        let uri: Uri = text.parse().map_err(|_| odd())?;
        let authority = uri.authority().ok_or_else(odd)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(odd()),
        };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(odd());
        }
        Ok(Self {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            secure,
        })
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Client {
    /// One that reaches servers as git does.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn new(transport: &Transport) -> Result<Self, LfsError> {
        let tls = transport.certificates.as_deref().map(tls).transpose()?;
        let proxy = transport.proxy.as_deref();
        Ok(Self {
            proxy: proxy.map(|proxy| proxy.trim_start_matches("http://").to_owned()),
            tls,
            plain: transport.protocols.split(':').any(|protocol| protocol == "http"),
            idle: Mutex::default(),
        })
    }

    /// Sends a request. An error status is no error here.
    ///
    /// # Errors
    /// No answer came.
    pub async fn send(
        &self,
        method: Method,
        address: &Address,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer<'_>, LfsError> {
        let mut request = Request::builder()
            .method(method)
            .uri(address.target.as_str())
            .header(HOST, address.authority());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| LfsError::Answer(error.to_string()))?;
        let answered = async {
            let mut sender = self.sender(address).await?;
            let response = sender.send_request(request).await.map_err(broken)?;
            Ok((response, sender))
        };
        let silent = |_| Err(broken("it says nothing"));
        let (response, sender) = timeout(ANSWER, answered).await.unwrap_or_else(silent)?;
        Ok(Answer {
            response,
            client: self,
            authority: address.authority(),
            sender,
        })
    }

    /// A connection that is kept, or a new one.
    async fn sender(&self, address: &Address) -> Result<Sender, LfsError> {
        while let Some(mut sender) = self.kept(&address.authority()) {
            // One that the server has closed meanwhile says so.
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = self.connect(address).await?;
        if !address.secure {
            return begin(stream).await;
        }
        let (Some(tls), Ok(name)) = (&self.tls, ServerName::try_from(address.host.clone())) else {
            return Err(broken("TLS to it cannot be begun"));
        };
        let connector = TlsConnector::from(Arc::clone(tls));
        begin(connector.connect(name, stream).await.map_err(broken)?).await
    }

    fn kept(&self, authority: &str) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let at = idle.iter().position(|(kept, _)| kept == authority)?;
        Some(idle.swap_remove(at).1)
    }

    async fn connect(&self, address: &Address) -> Result<TcpStream, LfsError> {
        if !address.secure && !self.plain {
            let message = format!("{} is not reached by https", escape(address.host.as_bytes()));
            return Err(LfsError::Answer(message));
        }
        let authority = address.authority();
        let Some(proxy) = &self.proxy else {
            return TcpStream::connect(authority).await.map_err(broken);
        };
        let mut stream = TcpStream::connect(proxy).await.map_err(broken)?;
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let status = tunnel_status(&mut stream).await?;
        if status == 200 {
            Ok(stream)
        } else {
            let host = escape(authority.as_bytes());
            Err(broken(format!("no connection to {host} was opened ({status})")))
        }
    }
}

/// Reads the proxy's answer to its end, byte by byte, for what follows is the tunnel's.
async fn tunnel_status(stream: &mut TcpStream) -> Result<u16, LfsError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD {
            return Err(broken("the proxy's answer is too long"));
        }
        head.push(stream.read_u8().await.map_err(broken)?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split(' ').nth(1));
    status
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| broken("the proxy's answer is none"))
}

async fn begin<S>(stream: S) -> Result<Sender, LfsError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with its sender.
    tokio::spawn(connection);
    Ok(sender)
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LfsError {
    LfsError::Connection(error.into().to_string())
}

fn tls(certificates: &str) -> Result<Arc<ClientConfig>, LfsError> {
    let file = std::fs::File::open(certificates)?;
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_reader_iter(BufReader::new(file));
    // What rustls does not take as a root, such as certificates of old forms, others do not either.
    let (_taken, _left) = roots.add_parsable_certificates(read.filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn addresses() {
        let address = Address::parse("https://S.example/a%20b?x=1&y=%2F").unwrap();
        assert_eq!(address.authority(), "s.example:443");
        assert_eq!(address.target, "/a%20b?x=1&y=%2F");
        assert_eq!(Address::parse("https://s.example:8443").unwrap().target, "/");
        for text in [
            "ftp://s.example/a",
            "/a",
            "https://u:p@s.example/a",
            "https:///a",
            "",
            "https://s .example/",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    /// A proxy behind whose tunnels a server with this certificate answers each request of a connection.
    async fn secure(certificate: rcgen::CertifiedKey<rcgen::KeyPair>) -> (String, Arc<AtomicU32>) {
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    stream
                        .write_all(b"HTTP/1.1 200 Established\r\n\r\n")
                        .await
                        .unwrap();
                    // Who does not trust the certificate goes.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut part = [0; 4096];
                    while matches!(stream.read(&mut part).await, Ok(read) if read > 0) {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .await
                            .unwrap();
                    }
                });
            }
        });
        (proxy, connections)
    }

    #[tokio::test]
    async fn only_a_server_that_is_trusted_under_its_name_is_spoken_to() {
        use http_body_util::BodyExt;
        let certificate = rcgen::generate_simple_self_signed(["storage.test".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        // Beside it a certificate that is none, as bundles have them.
        let bundle = format!(
            "{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            certificate.cert.pem()
        );
        std::fs::write(&file, bundle).unwrap();
        let (proxy, connections) = secure(certificate).await;
        let client = |certificates: &std::path::Path| {
            let transport = Transport {
                proxy: Some(proxy.clone()),
                certificates: Some(certificates.display().to_string()),
                protocols: "https",
            };
            Client::new(&transport).unwrap()
        };
        let trusting = client(&file);
        let address = Address::parse("https://storage.test/a").unwrap();
        for _ in 0..3 {
            let mut answer = trusting
                .send(Method::GET, &address, &[], Bytes::new())
                .await
                .unwrap();
            let body = answer.response.body_mut().collect().await.unwrap().to_bytes();
            assert_eq!(body, "ok");
            answer.keep();
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1, "connections are kept");
        let other = Address::parse("https://other.test/a").unwrap();
        let error = trusting
            .send(Method::GET, &other, &[], Bytes::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        let plain = Address::parse("http://storage.test/a").unwrap();
        let error = trusting
            .send(Method::GET, &plain, &[], Bytes::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is not reached by https"), "{error}");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let error = client(&empty)
            .send(Method::GET, &address, &[], Bytes::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
