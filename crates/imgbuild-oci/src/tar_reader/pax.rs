//! PAX extended headers: `LENGTH KEY=VALUE` and a line feed, by length.
//!
//! Values may hold line feeds (file capabilities do), so the length decides
//! where a record ends, never the line feed.

use super::ReadTarError;
use crate::xattr::{PAX_PREFIX, Xattrs};

/// The records of one PAX header that are of use here.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<i64>,
    pub(super) is_sparse: bool,
    pub(super) sparse_path: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) xattrs: Xattrs,
}

impl PaxRecords {
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self, ReadTarError> {
        let mut records = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = split_record(rest).ok_or(ReadTarError::Pax { offset })?;
            records.take(key, value, offset)?;
            rest = after;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8], offset: u64) -> Result<(), ReadTarError> {
        let number = |field| decimal(value).map_err(|()| ReadTarError::Number { offset, field });
        let signed = |field, parse: fn(&[u8]) -> Result<Option<i64>, ()>| {
            parse(value).map_err(|()| ReadTarError::Number { offset, field })
        };
        let no_nul = |field| {
            let fault = ReadTarError::Nul { offset, field };
            if value.contains(&0) {
                Err(fault)
            } else {
                Ok(())
            }
        };
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link_target = text(value),
            b"size" => self.size = number("size")?,
            b"uid" => self.uid = signed("uid", parse_integer)?,
            b"gid" => self.gid = signed("gid", parse_integer)?,
            b"mtime" => self.mtime = signed("mtime", seconds)?,
            // Engines do not use these, but Go parses them.
            b"atime" => drop(signed("atime", seconds)?),
            b"ctime" => drop(signed("ctime", seconds)?),
            b"uname" => no_nul("uname")?,
            b"gname" => no_nul("gname")?,
            b"GNU.sparse.major" | b"GNU.sparse.map" | b"GNU.sparse.numblocks" => {
                self.is_sparse = true;
            }
            b"GNU.sparse.name" => self.sparse_path = text(value),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse_size = number("GNU.sparse.realsize")?;
            }
            _ => {
                let name = key.strip_prefix(PAX_PREFIX.as_bytes());
                if let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) {
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

/// Splits off the first record: its key, its value and the rest.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space]).ok()??).ok()?;
    let record = bytes.get(space + 1..length)?;
    let (last, record) = record.split_last()?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at(equals);
    let is_valid = *last == b'\n' && !key.is_empty() && !key.contains(&0);
    is_valid.then(|| (key, &value[1..], &bytes[length..]))
}

/// An empty value removes an earlier one.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn decimal(value: &[u8]) -> Result<Option<u64>, ()> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = value.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    });
    match number {
        Some(number) if i64::try_from(number).is_ok() => Ok(Some(number)),
        _ => Err(()),
    }
}

/// Parses `[+|-]DIGITS` as Go does (`strconv.ParseInt`).
fn parse_integer(value: &[u8]) -> Result<Option<i64>, ()> {
    let text = str::from_utf8(value).map_err(drop)?;
    let number = (!text.is_empty()).then(|| text.parse());
    number.transpose().map_err(drop)
}

/// Parses `[-]SECONDS[.FRACTION]`, rounding down.
fn seconds(value: &[u8]) -> Result<Option<i64>, ()> {
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let dot = value.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = value.split_at(dot.unwrap_or(value.len()));
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let Some(whole) = decimal(whole)?.map(u64::cast_signed) else {
        return if value.is_empty() && !is_negative {
            Ok(None)
        } else {
            Err(())
        };
    };
    let has_fraction = fraction.iter().any(|digit| *digit != b'0');
    Ok(Some(match (is_negative, has_fraction) {
        (false, _) => whole,
        (true, false) => -whole,
        (true, true) => -whole - 1,
    }))
}
