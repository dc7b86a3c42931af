//! The connection to a host, over which the requests of one client's connection follow each other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::sockets::CHUNK;

/// A body on its way.
pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// An open connection and its address.
pub struct Sender {
    /// Takes requests.
    pub requests: SendRequest<Body>,
    /// Where they go.
    pub address: SocketAddr,
}

/// At most one connection to the host. It belongs to one connection of one run and ends with it: nothing is pooled
/// between runs, and no task is left behind when the run's right ends.
#[derive(Default)]
pub struct Link {
    idle: Mutex<Option<Sender>>,
    driver: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Link {
    /// The open connection that is free for a request, if there is one.
    pub async fn take(&self) -> Option<Sender> {
        let mut sender = self.idle.lock().take()?;
        // It is ready once the answer before has been read, and fails where the host has closed it since.
        sender.requests.ready().await.ok()?;
        Some(sender)
    }

    /// Opens HTTP on a connection.
    ///
    /// # Errors
    /// The library fails; for people.
    pub async fn open(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: SocketAddr,
    ) -> Result<Sender, String> {
        let (requests, connection) = Builder::new()
            .max_buf_size(CHUNK)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Its error reaches the request or the body that is under way.
        *self.driver.lock() = Some(async move { drop(connection.await) }.boxed());
        Ok(Sender { requests, address })
    }

    /// Gives a connection back, for the next request.
    pub fn give_back(&self, sender: Sender) {
        *self.idle.lock() = Some(sender);
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
