//! The words of a line, with quotes and escapes resolved.

/// A word, perhaps in quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) bytes: Vec<u8>,
    pub(super) quoted: bool,
}

/// Splits a line at white space outside quotes.
pub(super) fn split(line: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.as_bytes().trim_ascii_start();
    while let Some(&first) = rest.first() {
        let quoted = first == b'"';
        let (bytes, after) = take(&rest[usize::from(quoted)..], quoted)?;
        words.push(Word { bytes, quoted });
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// Takes bytes until the end of the word, and returns the byte after it.
fn take(text: &[u8], quoted: bool) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' if quoted => return Ok((bytes, &text[at + 1..])),
            b if !quoted && b.is_ascii_whitespace() => break,
            b'\\' => {
                let (escaped, length) = escape(&text[at + 1..])?;
                bytes.push(escaped);
                at += 1 + length;
            }
            plain => {
                bytes.push(plain);
                at += 1;
            }
        }
    }
    if quoted {
        Err("a quote is not closed")
    } else {
        Ok((bytes, &text[at..]))
    }
}

/// Returns the byte of an escape, and the length of the escape.
fn escape(text: &[u8]) -> Result<(u8, usize), &'static str> {
    match text.first() {
        Some(b'n') => Ok((b'\n', 1)),
        Some(b'r') => Ok((b'\r', 1)),
        Some(b't') => Ok((b'\t', 1)),
        Some(b's') => Ok((b' ', 1)),
        Some(&same @ (b'\\' | b'"')) => Ok((same, 1)),
        Some(b'x') => text
            .get(1..3)
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .map(|byte| (byte, 3))
            .ok_or("`\\x` needs two hexadecimal digits"),
        _ => Err("no such escape"),
    }
}
