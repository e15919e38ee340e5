//! Cuts a text into PEM blocks ([RFC 7468]), more forgiving than strict
//! readers are about blanks and line ends, and less about damaged markers.
//!
//! [RFC 7468]: https://www.rfc-editor.org/rfc/rfc7468

use std::mem;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;

use super::base64::{self, Base64Error};
use super::report::{ProblemReason, shown_label};

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
    pub(super) problems: Vec<(usize, ProblemReason)>,
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
                let label = shown_label(label);
                let begun_in = block.line;
                self.problems
                    .push((line, ProblemReason::WrongEnd { label, begun_in }));
                PemState::Outside
            }
            (PemMarker::End(label), PemState::Outside) => {
                let label = shown_label(label);
                self.problems
                    .push((line, ProblemReason::NotBegun { label }));
                PemState::Outside
            }
            (PemMarker::End(_), PemState::Lost) => PemState::Outside,
            (PemMarker::Damaged, _) => {
                self.problems.push((line, ProblemReason::DamagedMarker));
                PemState::Lost
            }
        }
    }
}

impl PemBlock<'_> {
    fn not_ended(&self) -> (usize, ProblemReason) {
        let label = shown_label(self.label);
        (self.line, ProblemReason::NotEnded { label })
    }

    /// Decodes the block's content. An error has the line that it is about.
    pub(super) fn decode(&self) -> Result<Vec<u8>, (usize, Base64Error)> {
        base64::decode(self.line, &self.body)
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
