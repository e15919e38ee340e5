//! Base64 as PEM uses it: the standard alphabet, padded ([RFC 4648 §4]).
//!
//! [RFC 4648 §4]: https://www.rfc-editor.org/rfc/rfc4648#section-4

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};

/// A fault of a base64 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Base64Error {
    /// A byte outside of the alphabet.
    #[error("unexpected byte {}", shown(*.0))]
    Byte(u8),
    /// Something after the final `=`.
    #[error("data follows the final `=`")]
    AfterPadding,
    /// The end comes in the middle of a group of four.
    #[error("its last group of four characters is not complete")]
    Incomplete,
    /// The last character holds bits that belong to no byte, so another text
    /// would decode to the same bytes.
    #[error("its last character has unused bits that are not zero")]
    SpareBits,
}

fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}`", char::from(byte))
    } else {
        format!("0x{byte:02x}")
    }
}

/// Decodes the lines of one text, each with its number. An error comes with the
/// number of its line; `first` stands for a text without lines.
pub(super) fn decode(
    first: usize,
    lines: &[(usize, &[u8])],
) -> Result<Vec<u8>, (usize, Base64Error)> {
    let contents: Vec<&[u8]> = lines.iter().map(|(_, content)| *content).collect();
    let text = contents.concat();
    STANDARD.decode(&text).map_err(|error| {
        let (offset, error) = explain(&text, &error);
        (line_at(offset, lines).unwrap_or(first), error)
    })
}

/// Returns the offset of the byte that an error is about, and the error.
fn explain(text: &[u8], error: &DecodeError) -> (usize, Base64Error) {
    match *error {
        // An `=` in the third or fourth place of a group ends the text, so the
        // fault lies in the byte that follows the padding.
        DecodeError::InvalidByte(offset, b'=') if offset % 4 >= 2 => {
            let group_end = offset.next_multiple_of(4);
            let after = (offset..text.len()).find(|at| *at >= group_end || text[*at] != b'=');
            after.map_or((text.len(), Base64Error::Incomplete), |at| {
                (at, Base64Error::AfterPadding)
            })
        }
        DecodeError::InvalidByte(offset, _) if follows_padding(text, offset) => {
            (offset, Base64Error::AfterPadding)
        }
        DecodeError::InvalidByte(offset, byte) => (offset, Base64Error::Byte(byte)),
        DecodeError::InvalidLastSymbol { offset, .. } => (offset, Base64Error::SpareBits),
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            (text.len(), Base64Error::Incomplete)
        }
    }
}

/// Returns whether the group of four before `offset` is the last one.
fn follows_padding(text: &[u8], offset: usize) -> bool {
    offset > 0 && offset.is_multiple_of(4) && text[offset - 1] == b'='
}

/// Returns the number of the line with the byte at `offset`, or of the last.
fn line_at(offset: usize, lines: &[(usize, &[u8])]) -> Option<usize> {
    let mut end = 0;
    let found = lines.iter().find(|(_, content)| {
        end += content.len();
        offset < end
    });
    found.or(lines.last()).map(|(line, _)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_text(text: &str) -> Result<Vec<u8>, Base64Error> {
        decode(1, &[(1, text.as_bytes())]).map_err(|(_, error)| error)
    }

    #[test]
    fn the_vectors_of_the_standard_hold() {
        // RFC 4648 §10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(decode_text(text).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn a_text_that_is_not_canonical_is_refused() {
        for (text, error) in [
            ("Zm9", Base64Error::Incomplete),
            ("Zg=", Base64Error::Incomplete),
            ("Zg", Base64Error::Incomplete),
            ("Z", Base64Error::Incomplete),
            ("=", Base64Error::Byte(b'=')),
            ("Z===", Base64Error::Byte(b'=')),
            ("Zg==Zg==", Base64Error::AfterPadding),
            ("Zg===", Base64Error::AfterPadding),
            ("Zg=v", Base64Error::AfterPadding),
            ("Zh==", Base64Error::SpareBits),
            ("Zm9=", Base64Error::SpareBits),
            ("Zm 9v", Base64Error::Byte(b' ')),
            ("Zm-_", Base64Error::Byte(b'-')),
            ("Zm9v\u{e9}", Base64Error::Byte(0xc3)),
        ] {
            assert_eq!(decode_text(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_error_has_the_line_of_its_byte() {
        for (lines, line, error) in [
            (&["Zm9v", "Z*9v", "Zm9v"][..], 11, Base64Error::Byte(b'*')),
            (&["Zm9", "vZg==", "Zm9v"], 12, Base64Error::AfterPadding),
            (&["Zg=", "=", "="], 12, Base64Error::AfterPadding),
            (&["Zm9v", "Zm9"], 11, Base64Error::Incomplete),
            (&["Zm9v", "Zh=", "="], 11, Base64Error::SpareBits),
        ] {
            let lines: Vec<_> = (10..)
                .zip(lines.iter().map(|line| line.as_bytes()))
                .collect();
            assert_eq!(decode(9, &lines), Err((line, error)), "{lines:?}");
        }
        assert_eq!(decode(9, &[]), Ok(Vec::new()));
    }
}
