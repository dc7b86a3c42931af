//! Names blobs without git: thousands of files would be thousands of processes, and nothing here looks at names, attributes or
//! filters.

use std::io::{self, Read};

use sha1_checked::{Digest, Sha1};

use super::base::Oid;

/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;

/// Why a blob has no name.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content ended before its announced size.
    #[error("the content is shorter than its size")]
    Short,
    /// Made to collide with another content.
    #[error("the content collides under SHA-1")]
    Collision,
    /// Reading the content.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// Writing the object.
    #[error("{0}")]
    Write(#[source] io::Error),
}

/// The name of the blob of exactly `size` bytes of `content`.
pub fn name(content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {size}\0"));
    copy(content, size, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    finish(hasher)
}

/// Hands `size` bytes of `content` to `to`.
pub fn copy(
    content: &mut impl Read,
    size: u64,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BlobError> {
    let mut content = content.take(size);
    let mut buffer = vec![0; BUFFER];
    let mut copied: u64 = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BlobError::Read(error)),
        };
        to(buffer.get(..read).unwrap_or_default()).map_err(BlobError::Write)?;
        copied += read as u64;
    }
    if copied == size {
        Ok(())
    } else {
        Err(BlobError::Short)
    }
}

/// The name that was computed, unless the content was made to have that of another.
pub fn finish(hasher: Sha1) -> Result<Oid, BlobError> {
    let result = hasher.try_finalize();
    if result.has_collision() {
        return Err(BlobError::Collision);
    }
    Ok((*result.hash()).into())
}
