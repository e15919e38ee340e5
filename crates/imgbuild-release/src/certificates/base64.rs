//! Base64 as PEM uses it: the standard alphabet, padded ([RFC 4648 §4]).
//!
//! [RFC 4648 §4]: https://www.rfc-editor.org/rfc/rfc4648#section-4

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a text is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Base64Error {
    /// A byte outside of the alphabet.
    #[error("byte {} cannot stand there", shown(*.0))]
    Byte(u8),
    /// Something after the final `=`.
    #[error("something follows the final `=`")]
    AfterPadding,
    /// The end comes in the middle of a group of four.
    #[error("its last group of four characters is not complete")]
    Incomplete,
    /// The last character holds bits that belong to no byte, so another text
    /// would decode to the same bytes.
    #[error("its last character holds more bits than it should")]
    SpareBits,
}

fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}`", char::from(byte))
    } else {
        format!("0x{byte:02x}")
    }
}

/// Encodes `bytes` with padding, without line breaks.
pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let digit = bits >> (18 - 6 * position) & 63;
            let is_padding = position > group.len();
            text.push(if is_padding {
                b'='
            } else {
                ALPHABET[digit as usize]
            });
        }
    }
    text
}

/// Decodes one text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    bits: u32,
    digits: u8,
    padding: u8,
}

impl Decoder {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Base64Error> {
        for byte in piece {
            self.push_byte(*byte)?;
        }
        Ok(())
    }

    /// Returns the bytes of a complete text.
    pub(super) fn finish(self) -> Result<Vec<u8>, Base64Error> {
        match self.digits {
            0 => Ok(self.bytes),
            _ => Err(Base64Error::Incomplete),
        }
    }

    fn push_byte(&mut self, byte: u8) -> Result<(), Base64Error> {
        let is_complete = self.digits == 0 && self.padding > 0;
        match (digit(byte), byte) {
            (_, _) if is_complete => return Err(Base64Error::AfterPadding),
            (Some(_), _) if self.padding > 0 => return Err(Base64Error::AfterPadding),
            (Some(digit), _) => self.bits = self.bits << 6 | u32::from(digit),
            (None, b'=') if self.digits >= 2 => {
                self.bits <<= 6;
                self.padding += 1;
            }
            (None, _) => return Err(Base64Error::Byte(byte)),
        }
        self.digits += 1;
        if self.digits == 4 {
            self.take_group()?;
        }
        Ok(())
    }

    fn take_group(&mut self) -> Result<(), Base64Error> {
        let [_, group @ ..] = self.bits.to_be_bytes();
        let (kept, spare) = group.split_at(3 - usize::from(self.padding));
        if spare.iter().any(|byte| *byte != 0) {
            return Err(Base64Error::SpareBits);
        }
        self.bytes.extend_from_slice(kept);
        self.bits = 0;
        self.digits = 0;
        Ok(())
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
        let mut decoder = Decoder::default();
        decoder.push(text.as_bytes())?;
        decoder.finish()
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
            assert_eq!(encode(bytes.as_bytes()), text.as_bytes());
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
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
            assert_eq!(decode(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_length_survives_a_round_trip() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in 0..=bytes.len() {
            let text = String::from_utf8(encode(&bytes[..length])).unwrap();
            assert_eq!(decode(&text).unwrap(), &bytes[..length]);
        }
    }
}
