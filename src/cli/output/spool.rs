//! A file without a name that takes bytes until it is known what they are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// Bytes that are handed on at a time.
const PIECE: usize = 64 * 1024;

/// The file. It goes with the process.
pub struct Spool {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Spool {
    /// An empty one.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            file: tempfile::tempfile().map_err(Failure::io("a temporary file cannot be made"))?,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Takes more.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(piece)
            .map_err(Failure::io("the temporary file cannot be written"))?;
        self.hash.update(piece);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `sha256:…` of them.
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        self.hash
            .clone()
            .finalize()
            .iter()
            .fold(String::from("sha256:"), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    /// Hands all of it on.
    ///
    /// # Errors
    /// It cannot be read, or nobody takes it.
    pub fn copy_to(&mut self, to: &mut dyn Write) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.file.read(&mut piece)?;
            if read == 0 {
                return to.flush();
            }
            to.write_all(piece.get(..read).unwrap_or_default())?;
        }
    }

    /// All of it by `take`, a piece after the other.
    ///
    /// # Errors
    /// It cannot be read, or not be taken.
    pub fn each_piece(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let unreadable = "the temporary file cannot be read";
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(Failure::io(unreadable))?;
        let mut piece = vec![0; PIECE];
        loop {
            match self.file.read(&mut piece).map_err(Failure::io(unreadable))? {
                0 => return Ok(()),
                read => take(piece.get(..read).unwrap_or_default())?,
            }
        }
    }

    /// All of it, for what has to look at it as a whole.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.copy_to(&mut bytes)
            .map_err(Failure::io("the temporary file cannot be read"))?;
        Ok(bytes)
    }
}
