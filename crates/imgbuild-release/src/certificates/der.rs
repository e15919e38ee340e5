//! A reader of elements of DER ([X.690]), one after the other.
//!
//! The crate `der` reads tags and lengths. Its types for what certificates
//! consist of are not used: they refuse real certificates that programs accept,
//! for example with a time before 1970, a `BOOLEAN` of 1 or an unsorted `SET`.
//!
//! [X.690]: https://www.itu.int/rec/T-REC-X.690-202102-I/en

use der::{ErrorKind, Length, Reader as _, SliceReader};

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
// Both constructed, as DER demands.
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Returns the tag `[number]`, constructed.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// Returns the tag `[number]`, primitive.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// A fault of bytes that should be the DER of an X.509 certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DerError {
    /// The bytes end before what they announce.
    #[error("it ends in the middle of an element")]
    Truncated,
    /// A length that DER does not allow: indefinite, or not in its shortest
    /// form.
    #[error("the length of an element is not valid DER")]
    Length,
    /// Something else than the structure of a certificate.
    #[error("its {0} is not that of a certificate")]
    Unexpected(&'static str),
    /// A part holds more than it should.
    #[error("{bytes} bytes follow its {part}")]
    Trailing {
        /// The part that should have ended.
        part: &'static str,
        /// The number of bytes that are left over.
        bytes: usize,
    },
}

/// Reads element after element of one constructed element's content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DerReader<'a>(pub(crate) &'a [u8]);

impl<'a> DerReader<'a> {
    /// Reads the next element of any kind: its tag and content.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), DerError> {
        let mut reader = SliceReader::new(self.0)?;
        let tag = reader.read_byte()?;
        let length = reader.decode::<Length>()?;
        let content = reader.read_slice(length)?;
        self.0 = reader.read_slice(reader.remaining_len())?;
        Ok((tag, content))
    }

    /// Reads an element that must have `tag`; `part` names it in an error.
    pub(crate) fn element(&mut self, tag: u8, part: &'static str) -> Result<&'a [u8], DerError> {
        match self.any()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(DerError::Unexpected(part)),
        }
    }

    /// Reads the elements inside of a `SEQUENCE`.
    pub(crate) fn sequence(&mut self, part: &'static str) -> Result<Self, DerError> {
        self.element(SEQUENCE, part).map(Self)
    }

    /// Reads the next element if it has `tag`.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerError> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        self.any().map(|(_, content)| Some(content))
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self, part: &'static str) -> Result<(), DerError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(DerError::Trailing { part, bytes }),
        }
    }
}

impl From<der::Error> for DerError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            ErrorKind::Incomplete { .. } | ErrorKind::Overflow => Self::Truncated,
            _ => Self::Length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_one_after_the_other() {
        let mut reader = DerReader(&[0x02, 0x01, 0x05, 0x30, 0x02, 0x05, 0x00]);
        assert_eq!(reader.element(INTEGER, "number").unwrap(), [5]);
        assert_eq!(reader.optional(INTEGER).unwrap(), None);
        assert!(!reader.sequence("sequence").unwrap().0.is_empty());
        reader.finish("bytes").unwrap();
    }

    #[test]
    fn a_length_has_one_form() {
        for (bytes, error) in [
            (&[0x30][..], DerError::Truncated),
            (&[0x30, 0x01], DerError::Truncated),
            (&[0x30, 0x81], DerError::Truncated),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], DerError::Truncated),
            (&[0x30, 0x80, 0x00, 0x00], DerError::Length),
            (&[0x30, 0x81, 0x01, 0x00], DerError::Length),
            (&[0x30, 0x82, 0x00, 0x80], DerError::Length),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], DerError::Length),
        ] {
            assert_eq!(DerReader(bytes).any(), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn a_long_length_is_read_whole() {
        let mut bytes = vec![0x04, 0x82, 0x01, 0x00];
        bytes.resize(4 + 256, 7);
        let content = DerReader(&bytes).element(OCTET_STRING, "string").unwrap();
        assert_eq!(content, [7; 256]);
    }
}
