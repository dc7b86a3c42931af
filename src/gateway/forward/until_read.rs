//! An answer's body, until a client has read it or given it up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::activity::Activity;
use super::exchange::Exchange;
use super::link::Body;

/// The body, with the exchange that it ends.
pub struct UntilRead {
    /// The bytes.
    pub body: Body,
    /// Its record is written when this is dropped.
    #[expect(dead_code, reason = "held until the body has been read, or is given up")]
    pub exchange: Arc<Exchange>,
    /// Is not busy from then on.
    pub activity: Arc<Activity>,
}

impl Drop for UntilRead {
    fn drop(&mut self) {
        self.activity.set_busy(false);
    }
}

impl hyper::body::Body for UntilRead {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
