//! Records come in pieces that end anywhere.

use crate::failure::Failure;

/// Longest record that is waited for; the archive takes shorter ones only.
const RECORD: usize = 64 * 1024;

/// Cuts pieces into whole lines.
#[derive(Default)]
pub struct Whole {
    rest: Vec<u8>,
}

impl Whole {
    /// Hands on each line that `piece` completes, without its end.
    ///
    /// # Errors
    /// A line is longer than any record can be, or is not taken.
    pub fn take(
        &mut self,
        piece: &[u8],
        mut line: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.rest.extend_from_slice(piece);
        let end = self
            .rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        if self.rest.len() - end > RECORD {
            return Err(Failure::Broken("a record is longer than any can be".to_owned()));
        }
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        for text in whole.split_inclusive(|byte| *byte == b'\n') {
            line(text.strip_suffix(b"\n").unwrap_or(text))?;
        }
        Ok(())
    }
}
