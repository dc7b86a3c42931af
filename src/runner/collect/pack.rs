//! A pack of blobs: one file for all of them, and an index that says where each begins. A file for each blob would cost
//! several calls of the kernel for each, which is what collecting many small files would then wait for.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use sha1_checked::{Digest, Sha1};

use super::base::{Oid, hex};
use super::blob::{BlobError, copy, finish};

/// Bytes that are written or read at a time.
const BUFFER: usize = 64 * 1024;
/// A pack's first bytes: what it is, and the version.
const MAGIC: &[u8] = b"PACK\0\0\0\x02";
/// The same of an index.
const INDEX_MAGIC: &[u8] = b"\xfftOc\0\0\0\x02";
/// How a pack calls a blob.
const BLOB: u8 = 3;
/// From here on an index would need its table of long offsets.
const LONGEST: u64 = 1 << 31;

/// A pack that is being written.
#[derive(Debug)]
pub struct Pack {
    directory: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    /// Where the next blob begins.
    end: u64,
    blobs: Vec<Blob>,
    known: HashSet<Oid>,
}

#[derive(Debug)]
struct Blob {
    oid: Oid,
    crc: u32,
    offset: u32,
}

impl Pack {
    /// An empty one that is to stand in `directory` (`objects/pack` of a repository).
    pub fn create(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let temporary = directory.join("tmp_pack_collect");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        let mut pack = Self {
            directory: directory.to_owned(),
            temporary,
            file: BufWriter::with_capacity(BUFFER, file),
            end: 0,
            blobs: Vec::new(),
            known: HashSet::new(),
        };
        pack.file.write_all(&head(0))?;
        pack.end = head(0).len() as u64;
        Ok(pack)
    }

    /// Adds the blob of exactly `size` bytes of `content` unless it is there; returns its name.
    pub fn add(&mut self, content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
        let offset = u32::try_from(self.end).ok().filter(|_| self.end < LONGEST);
        let offset = offset.ok_or_else(|| BlobError::Write(io::Error::other("the pack is too large")))?;
        let mut entry = Entry {
            file: &mut self.file,
            crc: Crc::new(),
            bytes: 0,
        };
        let named = entry.write(content, size);
        let (crc, bytes) = (entry.crc.sum(), entry.bytes);
        if let Ok(oid) = named
            && self.known.insert(oid)
        {
            self.blobs.push(Blob { oid, crc, offset });
            self.end += bytes;
        } else {
            // It is written over by the next one.
            self.file
                .seek(SeekFrom::Start(self.end))
                .map_err(BlobError::Write)?;
        }
        named
    }

    /// Puts the pack and its index into place.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        let mut file = self.file.get_ref();
        file.set_len(self.end)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&head(self.blobs.len()))?;
        // The number of blobs, which stands first, is known only now.
        file.seek(SeekFrom::Start(0))?;
        let digest = digest(&mut file)?;
        file.write_all(&digest)?;
        self.blobs.sort_unstable_by_key(|blob| blob.oid);
        let index = index(&self.blobs, &digest)?;
        let name = self.directory.join(format!("pack-{}", hex(&digest)));
        fs::rename(&self.temporary, name.with_extension("pack"))?;
        fs::write(name.with_extension("idx"), index)
    }
}

/// A blob on its way into the pack.
struct Entry<'a> {
    file: &'a mut BufWriter<File>,
    crc: Crc,
    bytes: u64,
}

impl Entry<'_> {
    fn write(&mut self, content: &mut impl Read, size: u64) -> Result<Oid, BlobError> {
        self.write_all(&entry_head(size)).map_err(BlobError::Write)?;
        let mut hasher = Sha1::new();
        hasher.update(format!("blob {size}\0"));
        let mut encoder = ZlibEncoder::new(self, Compression::fast());
        copy(content, size, |bytes| {
            hasher.update(bytes);
            encoder.write_all(bytes)
        })?;
        encoder.finish().map_err(BlobError::Write)?;
        finish(hasher)
    }
}

impl Write for Entry<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.crc.update(buffer.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// First bytes of a pack of `blobs` blobs.
fn head(blobs: usize) -> Vec<u8> {
    let blobs = u32::try_from(blobs).unwrap_or(u32::MAX);
    [MAGIC, &blobs.to_be_bytes()].concat()
}

/// What a pack says before a blob: its kind and its size, from the lowest bits on.
fn entry_head(size: u64) -> Vec<u8> {
    let mut head = vec![(BLOB << 4) | low(size, 0x0f)];
    let mut rest = size >> 4;
    while rest > 0 {
        // Another byte follows.
        if let Some(last) = head.last_mut() {
            *last |= 0x80;
        }
        head.push(low(rest, 0x7f));
        rest >>= 7;
    }
    head
}

fn low(number: u64, mask: u8) -> u8 {
    u8::try_from(number & u64::from(mask)).unwrap_or_default()
}

/// The index of blobs that stand in the order of their names.
fn index(blobs: &[Blob], pack: &Oid) -> io::Result<Vec<u8>> {
    let mut index = INDEX_MAGIC.to_vec();
    let mut blobs_left = blobs;
    let mut before: u32 = 0;
    for first in 0..=u8::MAX {
        let these = blobs_left.partition_point(|blob| blob.oid.first().is_some_and(|byte| *byte <= first));
        before += u32::try_from(these).map_err(io::Error::other)?;
        blobs_left = blobs_left.get(these..).unwrap_or_default();
        index.extend(before.to_be_bytes());
    }
    index.extend(blobs.iter().flat_map(|blob| blob.oid));
    index.extend(blobs.iter().flat_map(|blob| blob.crc.to_be_bytes()));
    index.extend(blobs.iter().flat_map(|blob| blob.offset.to_be_bytes()));
    index.extend(pack);
    let digest = digest(&mut index.as_slice())?;
    index.extend(digest);
    Ok(index)
}

/// SHA-1 of all bytes of `from`.
fn digest(from: &mut impl Read) -> io::Result<Oid> {
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_spelt_from_its_lowest_bits() {
        assert_eq!(entry_head(0), [0x30]);
        assert_eq!(entry_head(15), [0x3f]);
        assert_eq!(entry_head(16), [0xb0, 0x01]);
        assert_eq!(entry_head(0x1234), [0xb4, 0xa3, 0x02]);
    }
}
