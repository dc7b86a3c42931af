//! The connection to a host, over which the requests of one client's connection follow each other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::in_flight::Flow;
use crate::transport::sockets::CHUNK;

/// A body on its way.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The way in to an open connection, and its address.
pub struct Sender {
    /// Takes requests.
    pub requests: SendRequest<Body>,
    /// Where they go.
    pub address: SocketAddr,
    /// The connection's entry to the account of bytes in flight.
    pub flow: Flow,
}

/// An open connection on which no request is under way. Dropping it closes it.
pub struct Open {
    sender: Sender,
    driver: BoxFuture<'static, ()>,
}

impl Open {
    /// Begins HTTP on a connection.
    ///
    /// # Errors
    /// The library fails; for people.
    pub async fn begin(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: SocketAddr,
        flow: &Flow,
    ) -> Result<Self, String> {
        let (requests, connection) = Builder::new()
            .max_buf_size(CHUNK)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self {
            sender: Sender {
                requests,
                address,
                flow: flow.clone(),
            },
            // Its error reaches the request or the body that is under way.
            driver: async move { drop(connection.await) }.boxed(),
        })
    }

    /// Where it leads.
    pub const fn address(&self) -> SocketAddr {
        self.sender.address
    }

    /// Whether the host has closed it, or sent what nobody asked for.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.driver.poll_unpin(context)
    }

    /// Whether it can take a request, as far as can be told now.
    pub fn is_alive(&mut self) -> bool {
        (&mut self.driver).now_or_never().is_none() && self.sender.requests.is_ready()
    }
}

/// At most one connection to the host, driven by whoever drives the client's connection: no task is left behind when the
/// run's right ends.
#[derive(Default)]
pub struct Link {
    idle: Mutex<Option<Sender>>,
    driver: Mutex<Option<BoxFuture<'static, ()>>>,
    has_served: AtomicBool,
}

impl Link {
    /// The open connection that is free for a request, if there is one.
    pub async fn take(&self) -> Option<Sender> {
        let mut sender = self.idle.lock().take()?;
        // It is ready once the answer before has been read, and fails where the host has closed it since.
        sender.requests.ready().await.ok()?;
        Some(sender)
    }

    /// Has the link lead through this connection from now on.
    pub fn adopt(&self, open: Open) -> Sender {
        let Open { sender, driver } = open;
        *self.driver.lock() = Some(driver);
        sender
    }

    /// Has the first request find this connection.
    pub fn offer(&self, open: Open) {
        let sender = self.adopt(open);
        *self.idle.lock() = Some(sender);
    }

    /// Gives a connection back that has answered, for the next request.
    pub fn give_back(&self, sender: Sender) {
        self.has_served.store(true, Ordering::Relaxed);
        *self.idle.lock() = Some(sender);
    }

    /// The connection, where it has answered, no request is under way on it and the host has not closed it.
    pub fn part(&self) -> Option<Open> {
        self.has_served.load(Ordering::Relaxed).then_some(())?;
        let sender = self.idle.lock().take()?;
        let driver = self.driver.lock().take()?;
        let mut open = Open { sender, driver };
        open.is_alive().then_some(open)
    }

    /// Drives the connection for ever. It is polled after whatever may have opened one.
    pub async fn drive(&self) -> Infallible {
        poll_fn(|context| {
            let mut driver = self.driver.lock();
            if let Some(open) = driver.as_mut()
                && open.poll_unpin(context).is_ready()
            {
                *driver = None;
            }
            Poll::Pending
        })
        .await
    }
}
