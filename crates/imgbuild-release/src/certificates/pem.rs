//! Cuts a text into PEM blocks ([RFC 7468]), more forgiving than strict
//! readers are about blanks and line ends, and less about damaged markers.
//!
//! Base64 is that of [RFC 4648 §4], padded.
//!
//! [RFC 4648 §4]: https://www.rfc-editor.org/rfc/rfc4648#section-4
//! [RFC 7468]: https://www.rfc-editor.org/rfc/rfc7468

use std::mem;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};

use super::report::shown_label;

/// The width of the lines that [`write_certificate`] writes (RFC 7468 §2).
const LINE_BYTES: usize = 64;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Fragments that only a marker has. A line with one that is not a marker is
/// a damaged marker: to take it for text would lose a certificate, as when two
/// files were joined without a line end between them.
const MARKER_FRAGMENTS: [&str; 5] = [
    "-----BEGIN",
    "-----END",
    "BEGIN CERTIFICATE",
    "END CERTIFICATE",
    "PRIVATE KEY-",
];

/// The number of problems after which a text is not read further: a file that is
/// not PEM at all may have one in each line.
const MAX_PROBLEMS: usize = 100;

/// A block, from its `BEGIN` line to its `END` line.
#[derive(Debug)]
pub(super) struct PemBlock<'a> {
    /// The number of its `BEGIN` line, from 1.
    pub(super) line: usize,
    /// The label of its `BEGIN` line.
    pub(super) label: &'a [u8],
    body: Vec<(usize, &'a [u8])>,
}

/// The blocks of a text, and the faults of the rest.
#[derive(Debug, Default)]
pub(super) struct PemBlocks<'a> {
    /// The complete blocks.
    pub(super) blocks: Vec<PemBlock<'a>>,
    /// The problems between them, each with its line.
    pub(super) problems: Vec<(usize, String)>,
    /// The first line of text outside of blocks that is not a `#` comment.
    pub(super) first_text: Option<usize>,
    /// The first line that begins with a byte order mark: of the whole text,
    /// or of a file that was appended to it.
    pub(super) first_byte_order_mark: Option<usize>,
    /// The first line that ends in a carriage return.
    pub(super) first_carriage_return: Option<usize>,
}

enum PemMarker<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
    Damaged,
}

enum PemState<'a> {
    Outside,
    Inside(PemBlock<'a>),
    /// After a damaged marker nothing is known until the next sound one.
    Lost,
}

/// Cuts `text` into blocks.
pub(super) fn parse(text: &[u8]) -> PemBlocks<'_> {
    let mut found = PemBlocks::default();
    let mut state = PemState::Outside;
    for (line, (content, has_carriage_return)) in (1..).zip(PemLines { rest: text }) {
        if found.problems.len() >= MAX_PROBLEMS {
            let reason = "there are too many problems: the rest is not read";
            found.problems.push((line, reason.to_owned()));
            return found;
        }
        if has_carriage_return {
            found.first_carriage_return.get_or_insert(line);
        }
        let unmarked = content.strip_prefix(BYTE_ORDER_MARK);
        if unmarked.is_some() {
            found.first_byte_order_mark.get_or_insert(line);
        }
        let content = unmarked.unwrap_or(content).trim_ascii();
        if content.is_empty() {
            continue;
        }
        state = match (marker(content), state) {
            (Some(marker), state) => found.take_marker(line, &marker, state),
            (None, PemState::Inside(mut block)) => {
                block.body.push((line, content));
                PemState::Inside(block)
            }
            (None, PemState::Outside) => {
                if !content.starts_with(b"#") {
                    found.first_text.get_or_insert(line);
                }
                PemState::Outside
            }
            (None, PemState::Lost) => PemState::Lost,
        };
    }
    if let PemState::Inside(block) = state {
        found.problems.push(block.not_ended());
    }
    found
}

impl<'a> PemBlocks<'a> {
    fn take_marker(
        &mut self,
        line: usize,
        marker: &PemMarker<'a>,
        state: PemState<'a>,
    ) -> PemState<'a> {
        match (marker, state) {
            (PemMarker::Begin(label), state) => {
                if let PemState::Inside(block) = state {
                    self.problems.push(block.not_ended());
                }
                let body = Vec::new();
                PemState::Inside(PemBlock { line, label, body })
            }
            (PemMarker::End(label), PemState::Inside(block)) if *label == block.label => {
                self.blocks.push(block);
                PemState::Outside
            }
            (PemMarker::End(label), PemState::Inside(block)) => {
                let (label, begun_in) = (shown_label(label), block.line);
                let reason = format!("`END {label}` does not match the `BEGIN` of line {begun_in}");
                self.problems.push((line, reason));
                PemState::Outside
            }
            (PemMarker::End(label), PemState::Outside) => {
                let reason = format!("`END {}` has no `BEGIN` line", shown_label(label));
                self.problems.push((line, reason));
                PemState::Outside
            }
            (PemMarker::End(_), PemState::Lost) => PemState::Outside,
            (PemMarker::Damaged, _) => {
                let reason =
                    "a `BEGIN` or `END` line is damaged, or shares its line with other text";
                self.problems.push((line, reason.to_owned()));
                PemState::Lost
            }
        }
    }
}

impl PemBlock<'_> {
    fn not_ended(&self) -> (usize, String) {
        let label = shown_label(self.label);
        (self.line, format!("the block `{label}` has no `END` line"))
    }

    /// Decodes the block's content. An error has the line that it is about.
    pub(super) fn decode(&self) -> Result<Vec<u8>, (usize, Base64Error)> {
        decode(self.line, &self.body)
    }
}

fn marker(line: &[u8]) -> Option<PemMarker<'_>> {
    let label = line
        .strip_prefix(b"-----")
        .and_then(|rest| rest.strip_suffix(b"-----"))
        .filter(|label| !label.contains(&b'-') || !contains_fragment(label));
    if let Some(label) = label.and_then(|label| label.strip_prefix(b"BEGIN ")) {
        return Some(PemMarker::Begin(label));
    }
    if let Some(label) = label.and_then(|label| label.strip_prefix(b"END ")) {
        return Some(PemMarker::End(label));
    }
    let is_comment = line.starts_with(b"#");
    (!is_comment && contains_fragment(line)).then_some(PemMarker::Damaged)
}

fn contains_fragment(line: &[u8]) -> bool {
    MARKER_FRAGMENTS.iter().any(|fragment| {
        line.windows(fragment.len())
            .any(|window| window.eq_ignore_ascii_case(fragment.as_bytes()))
    })
}

/// Iterates over lines that end in LF, CR LF or CR.
struct PemLines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PemLines<'a> {
    type Item = (&'a [u8], bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let is_end = |byte: &u8| matches!(*byte, b'\n' | b'\r');
        let Some(end) = self.rest.iter().position(is_end) else {
            return Some((mem::take(&mut self.rest), false));
        };
        let (line, rest) = self.rest.split_at(end);
        let has_carriage_return = rest.starts_with(b"\r");
        let end_bytes = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.rest = &rest[end_bytes..];
        Some((line, has_carriage_return))
    }
}

/// Appends one clean block to `text`: 64 columns, LF, nothing around it.
pub(super) fn write_certificate(text: &mut Vec<u8>, der: &[u8]) {
    text.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(LINE_BYTES) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END CERTIFICATE-----\n");
}

/// A fault of a base64 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Base64Error {
    #[error("unexpected byte {}", shown(*.0))]
    Byte(u8),
    #[error("data follows the final `=`")]
    AfterPadding,
    #[error("its last group of four characters is not complete")]
    Incomplete,
    /// Another text would decode to the same bytes.
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
fn decode(first: usize, lines: &[(usize, &[u8])]) -> Result<Vec<u8>, (usize, Base64Error)> {
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
