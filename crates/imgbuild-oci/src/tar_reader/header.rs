//! One 512-byte header block.

use tar::Header;

use super::{Extensions, ReadTarError, TarEntry, TarKind};

/// The unit that a tar is made of.
pub(super) const BLOCK_BYTES: usize = 512;

/// One header block, or what is read like one.
pub(super) type TarBlock = [u8; BLOCK_BYTES];

/// The place of the checksum in a header; it counts as spaces in its own sum.
const CHECKSUM_FIELD: std::ops::Range<usize> = 148..156;

/// A header block with the right checksum.
#[derive(Debug)]
pub(super) struct RawHeader {
    block: TarBlock,
    offset: u64,
}

impl RawHeader {
    pub(super) fn parse(block: TarBlock, offset: u64) -> Result<Self, ReadTarError> {
        let header = Self { block, offset };
        let expected = header.number("chksum", &header.fields().as_old().cksum)?;
        let sum = |value: fn(u8) -> i64| -> i64 {
            let bytes = block.iter().enumerate();
            let spaced = bytes.map(|(index, byte)| {
                if CHECKSUM_FIELD.contains(&index) {
                    value(b' ')
                } else {
                    value(*byte)
                }
            });
            spaced.sum()
        };
        let found = sum(i64::from);
        // Some old writers summed signed bytes; Go takes both.
        let signed = sum(|byte| i64::from(byte.cast_signed()));
        let is_expected = |sum: i64| u64::try_from(sum) == Ok(expected);
        if is_expected(found) || is_expected(signed) {
            return Ok(header);
        }
        Err(ReadTarError::Checksum {
            offset,
            expected,
            found: found.unsigned_abs(),
        })
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.fields().as_old().linkflag[0]
    }

    pub(super) fn size(&self) -> Result<u64, ReadTarError> {
        self.number("size", &self.fields().as_old().size)
    }

    /// Returns true if blocks with more of a sparse file's map follow (GNU
    /// format).
    pub(super) fn has_sparse_extension(&self) -> bool {
        let is_extended = |gnu: &tar::GnuHeader| gnu.isextended[0] != 0;
        self.type_flag() == b'S' && self.fields().as_gnu().is_some_and(is_extended)
    }

    /// Returns the entry, and how many bytes of the tar belong to it.
    pub(super) fn entry(&self, extensions: &Extensions) -> Result<(TarEntry, u64), ReadTarError> {
        let pax = &extensions.pax;
        let old = self.fields().as_old();
        let path = self.path(extensions)?;
        let kind = self.kind(&path, extensions)?;
        let stored = match (&kind, pax.size) {
            (TarKind::File | TarKind::SparseFile | TarKind::Unknown { .. }, Some(size)) => size,
            (TarKind::File | TarKind::SparseFile | TarKind::Unknown { .. }, None) => self.size()?,
            // Engines take the size of anything else for nothing.
            _ => 0,
        };
        let size = match kind {
            TarKind::SparseFile => pax.sparse_size.unwrap_or(stored),
            _ => stored,
        };
        let entry = TarEntry {
            path,
            kind,
            mode: self.signed("mode", &old.mode)?,
            uid: pax.uid.map_or_else(|| self.signed("uid", &old.uid), Ok)?,
            gid: pax.gid.map_or_else(|| self.signed("gid", &old.gid), Ok)?,
            mtime: pax
                .mtime
                .map_or_else(|| self.signed("mtime", &old.mtime), Ok)?,
            size,
            xattrs: pax.xattrs.clone(),
        };
        Ok((entry, stored))
    }

    fn fields(&self) -> &Header {
        Header::from_byte_slice(&self.block)
    }

    fn path(&self, extensions: &Extensions) -> Result<Vec<u8>, ReadTarError> {
        let fields = self.fields();
        let pax = &extensions.pax;
        if let Some(path) = pax.sparse_path.as_ref().or(extensions.long_path.as_ref()) {
            return self.without_nul("path", path);
        }
        if let Some(path) = &pax.path {
            return self.without_nul("path", path);
        }
        let name = until_nul(&fields.as_old().name);
        // Only POSIX headers have a prefix; GNU keeps times in its place.
        let prefix = fields
            .as_ustar()
            .map_or(&[][..], |ustar| until_nul(&ustar.prefix));
        Ok(if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        })
    }

    fn link_target(&self, extensions: &Extensions) -> Result<Vec<u8>, ReadTarError> {
        match extensions
            .long_target
            .as_ref()
            .or(extensions.pax.link_target.as_ref())
        {
            Some(target) => self.without_nul("linkpath", target),
            None => Ok(until_nul(&self.fields().as_old().linkname).to_vec()),
        }
    }

    fn without_nul(&self, field: &'static str, value: &[u8]) -> Result<Vec<u8>, ReadTarError> {
        if value.contains(&0) {
            let offset = self.offset;
            return Err(ReadTarError::Nul { offset, field });
        }
        Ok(value.to_vec())
    }

    fn kind(&self, path: &[u8], extensions: &Extensions) -> Result<TarKind, ReadTarError> {
        Ok(match self.type_flag() {
            b'0' | 0 if extensions.pax.is_sparse => TarKind::SparseFile,
            // Before ustar, a slash at the end marked directories.
            0 if path.ends_with(b"/") => TarKind::Directory,
            b'0' | 0 => TarKind::File,
            b'1' => TarKind::Hardlink {
                target: self.link_target(extensions)?,
            },
            b'2' => TarKind::Symlink {
                target: self.link_target(extensions)?,
            },
            b'3' | b'4' => {
                self.check_device()?;
                TarKind::Device
            }
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            type_flag => TarKind::Unknown { type_flag },
        })
    }

    /// Checks the numbers of a device, which are of no use here.
    fn check_device(&self) -> Result<(), ReadTarError> {
        let fields = self.fields();
        let (major, minor) = match (fields.as_ustar(), fields.as_gnu()) {
            (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
            (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
            (None, None) => return Ok(()),
        };
        self.signed("devmajor", major)?;
        self.signed("devminor", minor).map(drop)
    }

    fn number(&self, field: &'static str, bytes: &[u8]) -> Result<u64, ReadTarError> {
        let number = self.signed(field, bytes)?;
        u64::try_from(number).map_err(|_| self.number_error(field))
    }

    /// Reads a number that Go takes although it is negative.
    fn signed(&self, field: &'static str, bytes: &[u8]) -> Result<i64, ReadTarError> {
        parse_number(bytes)
            .and_then(|number| i64::try_from(number).ok())
            .ok_or_else(|| self.number_error(field))
    }

    fn number_error(&self, field: &'static str) -> ReadTarError {
        let offset = self.offset;
        ReadTarError::Number { offset, field }
    }
}

/// Returns true if another block of a sparse file's map follows this one.
pub(super) fn sparse_extension_continues(block: &TarBlock) -> bool {
    // 21 pairs of an offset and a length, 12 bytes each, come first.
    block[21 * 24] != 0
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Parses octal digits, or the binary form that starts with a set bit.
fn parse_number(field: &[u8]) -> Option<i128> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_binary(field),
        _ => parse_octal(field),
    }
}

fn parse_octal(field: &[u8]) -> Option<i128> {
    let is_filler = |byte: &u8| *byte == b' ' || *byte == 0;
    let Some(start) = field.iter().position(|byte| !is_filler(byte)) else {
        return Some(0);
    };
    let digits = &field[start..];
    let end = digits.iter().position(is_filler).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    // Go stops at the first NUL, but wants nothing after a space.
    if rest.first() == Some(&b' ') && !until_nul(rest).iter().all(|byte| *byte == b' ') {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |number: i128, digit| match digit {
            b'0'..=b'7' => Some(number * 8 + i128::from(digit - b'0')),
            _ => None,
        })
}

/// The GNU form of large numbers: big endian, two's complement, with the
/// highest bit only a mark.
fn parse_binary(field: &[u8]) -> Option<i128> {
    let is_negative = field[0] & 0x40 != 0;
    let first = if is_negative {
        field[0]
    } else {
        field[0] & 0x7f
    };
    let start = if is_negative { -1 } else { 0 };
    let bytes = std::iter::once(first).chain(field[1..].iter().copied());
    let number = bytes.fold(start, |number: i128, byte| number << 8 | i128::from(byte));
    i64::try_from(number).ok().map(i128::from)
}
