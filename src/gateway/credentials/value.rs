//! The value of a credential.

use zeroize::Zeroizing;

/// Shortest value in bytes: a shorter one could not be told from other text in an answer.
const SHORTEST: usize = 8;
/// Longest value in bytes; tokens of forges and clouds have up to some kilobytes.
const LONGEST: usize = 8 * 1024;

/// A credential's value. It has neither `Debug` nor `Display`, so that no message can hold it, and is cleared when it is
/// dropped. Copies in the buffers of a connection are not.
pub struct Value(Zeroizing<Vec<u8>>);

/// What is wrong with a value. None of it tells the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// Too few bytes.
    #[error("it has fewer than 8 bytes")]
    TooShort,
    /// Too many bytes.
    #[error("it is longer than 8 KiB")]
    TooLong,
    /// A byte that no header can have.
    #[error("it has white space or bytes other than visible ASCII: it must be one word")]
    OddByte,
}

impl Value {
    /// Reads a value; white space around it does not count, because files and editors end in a line feed.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn read(bytes: Vec<u8>) -> Result<Self, ValueError> {
        let whole = Zeroizing::new(bytes);
        let word = whole.trim_ascii();
        if word.is_empty() {
            return Err(ValueError::Empty);
        }
        if word.len() < SHORTEST {
            return Err(ValueError::TooShort);
        }
        if word.len() > LONGEST {
            return Err(ValueError::TooLong);
        }
        if !word.iter().all(u8::is_ascii_graphic) {
            return Err(ValueError::OddByte);
        }
        Ok(Self(Zeroizing::new(word.to_vec())))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(b" sk-1234567\r\n", Ok("sk-1234567"))]
    #[case(b"12345678", Ok("12345678"))]
    #[case(b"\n \t", Err(ValueError::Empty))]
    #[case(b"", Err(ValueError::Empty))]
    #[case(b"1234567", Err(ValueError::TooShort))]
    #[case(b"two words here", Err(ValueError::OddByte))]
    #[case(b"12345678\r\nx-other: 1", Err(ValueError::OddByte))]
    #[case(b"12345678\0", Err(ValueError::OddByte))]
    #[case("schlüssel".as_bytes(), Err(ValueError::OddByte))]
    #[case(&[b'a'; LONGEST + 1], Err(ValueError::TooLong))]
    fn a_value_is_one_visible_word(#[case] bytes: &[u8], #[case] expected: Result<&str, ValueError>) {
        let read = Value::read(bytes.to_vec());
        let text = read.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap());
        assert_eq!(text.as_deref().map_err(|error| *error), expected);
    }
}
