//! A connection whose first bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::read_through::{ReadFrom, ReadThrough};

/// Bytes to be read before those that are still to come.
pub struct Prefix(Bytes);

/// A connection with such bytes.
pub type Prefixed<I> = ReadThrough<Prefix, I>;

/// `prefix` is read first.
pub fn prefixed<I>(prefix: Vec<u8>, stream: I) -> Prefixed<I> {
    ReadThrough::new(Prefix(prefix.into()), stream)
}

impl<I: AsyncRead + Unpin> ReadFrom<I> for Prefix {
    fn poll_read_from(
        &mut self,
        stream: &mut I,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let length = self.0.len().min(buffer.remaining());
        buffer.put_slice(&self.0.split_to(length));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn prefix_comes_first_and_writes_pass_through() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b" and the rest").await.unwrap();
        let mut stream = prefixed(b"first".to_vec(), near);
        let mut small = [0; 3];
        stream.read_exact(&mut small).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        drop(stream.shutdown().await);
        let mut rest = [0; 15];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!((&small, &rest), (b"fir", b"st and the rest"));
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}
