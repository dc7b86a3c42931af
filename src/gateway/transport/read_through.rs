//! A connection that is read in a way of its own and written as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A way to read a connection.
pub trait ReadFrom<I> {
    /// Reads, as [`AsyncRead::poll_read`] does.
    fn poll_read_from(
        &mut self,
        stream: &mut I,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;
}

/// The connection.
pub struct ReadThrough<R, I> {
    reader: R,
    stream: I,
}

impl<R, I> ReadThrough<R, I> {
    /// `stream`, read by `reader`.
    pub const fn new(reader: R, stream: I) -> Self {
        Self { reader, stream }
    }

    /// What reads it.
    pub const fn reader(&self) -> &R {
        &self.reader
    }

    /// The connection itself.
    pub fn into_stream(self) -> I {
        self.stream
    }
}

impl<R: ReadFrom<I> + Unpin, I: Unpin> AsyncRead for ReadThrough<R, I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.reader.poll_read_from(&mut this.stream, context, buffer)
    }
}

impl<R: Unpin, I: AsyncWrite + Unpin> AsyncWrite for ReadThrough<R, I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
