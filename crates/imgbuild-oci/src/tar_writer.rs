//! Entries as POSIX tar: `ustar` headers, with PAX records only for values that
//! do not fit in them.
//!
//! The dialect is fixed by `docs/decisions/0001-tar-dialect.md`; its source is
//! [POSIX pax, "ustar Interchange Format"][pax].
//!
//! [pax]: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html

use crate::content::ContentReader;
use crate::entry::{Entry, EntryKind, Member};
use crate::error::Result;
use crate::pipeline::SizedStream;
use crate::xattr::{DroppedXattrs, PAX_PREFIX};

/// The unit of a tar: headers are one block, contents are padded to blocks.
pub(crate) const BLOCK_BYTES: usize = 512;

/// The two zero blocks that end a tar; nothing follows them.
const END_BYTES: usize = 2 * BLOCK_BYTES;

const MAX_NAME_BYTES: usize = 100;
/// The largest number in an 11-digit octal field (size, mtime).
const MAX_OCTAL_11: u64 = 0o777_7777_7777;
/// The largest number in a 7-digit octal field (uid, gid).
const MAX_OCTAL_7: u64 = 0o777_7777;

/// A file of at least this many bytes starts a segment of its own.
///
/// A segment is compressed without the bytes before it, so its compressed
/// bytes depend on the file alone and can be found again when
/// other files of the layer change.
pub(crate) const SEGMENT_FILE_BYTES: u64 = 1 << 20;

/// Returns the size of the tar of `members` with its end, in bytes.
pub(crate) fn tar_size(members: &[Member]) -> u64 {
    let entries = members.iter().map(|member| &member.entry);
    entries.map(member_size).sum::<u64>() + END_BYTES as u64
}

/// Returns the bytes that one entry takes: headers, content and padding.
pub(crate) fn member_size(entry: &Entry) -> u64 {
    header_size(entry) as u64 + entry.content_size().next_multiple_of(BLOCK_BYTES as u64)
}

fn header_size(entry: &Entry) -> usize {
    let records = pax_records(entry);
    if records.is_empty() {
        return BLOCK_BYTES;
    }
    2 * BLOCK_BYTES + records.len().next_multiple_of(BLOCK_BYTES)
}

/// Appends the headers of `entry`, everything before its content.
pub(crate) fn append_header(entry: &Entry, output: &mut Vec<u8>) {
    let records = pax_records(entry);
    if !records.is_empty() {
        let mut name = b"PaxHeaders.0/".to_vec();
        name.extend_from_slice(entry.path.file_name());
        output.extend_from_slice(&ustar_header(&Ustar {
            name: &name,
            mode: 0o644,
            size: records.len() as u64,
            kind: b'x',
            ..Ustar::default()
        }));
        output.extend_from_slice(&records);
        pad(output);
    }
    let (kind, link) = match &entry.kind {
        EntryKind::Directory => (b'5', [].as_slice()),
        EntryKind::File { .. } => (b'0', [].as_slice()),
        EntryKind::Symlink { target } => (b'2', target.as_slice()),
        EntryKind::Hardlink { target } => (b'1', target.relative()),
    };
    output.extend_from_slice(&ustar_header(&Ustar {
        name: &tar_name(entry),
        mode: entry.mode,
        uid: u64::from(entry.owner.uid),
        gid: u64::from(entry.owner.gid),
        size: entry.content_size(),
        mtime: entry.mtime,
        kind,
        link,
    }));
}

/// Appends zeros up to the next block.
fn pad(output: &mut Vec<u8>) {
    output.resize(output.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Returns the path as it is in the tar: relative, a directory with a final
/// slash.
fn tar_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.relative().to_vec();
    if entry.kind == EntryKind::Directory {
        name.push(b'/');
    }
    name
}

/// Returns the PAX records of an entry, sorted by key; most have none.
fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let mut record = |key: &str, value: &[u8]| append_record(&mut records, key, value);
    for (name, value) in &entry.xattrs {
        record(&format!("{PAX_PREFIX}{name}"), value);
    }
    let (uid, gid) = (u64::from(entry.owner.uid), u64::from(entry.owner.gid));
    if gid > MAX_OCTAL_7 {
        record("gid", gid.to_string().as_bytes());
    }
    match &entry.kind {
        EntryKind::Symlink { target } if !fits_name(target) => record("linkpath", target),
        EntryKind::Hardlink { target } if !fits_name(target.relative()) => {
            record("linkpath", target.relative());
        }
        _ => {}
    }
    let is_directory = entry.kind == EntryKind::Directory;
    let path = entry.path.relative();
    if !fits_name(path) || path.len() + usize::from(is_directory) > MAX_NAME_BYTES {
        record("path", &tar_name(entry));
    }
    if entry.content_size() > MAX_OCTAL_11 {
        record("size", entry.content_size().to_string().as_bytes());
    }
    if uid > MAX_OCTAL_7 {
        record("uid", uid.to_string().as_bytes());
    }
    records
}

fn fits_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME_BYTES && name.is_ascii()
}

/// Appends `LENGTH key=value\n`, where the length counts its own digits.
fn append_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The fields of a `ustar` header that are not constant.
#[derive(Default)]
pub(crate) struct Ustar<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
    pub(crate) mtime: u64,
    pub(crate) kind: u8,
    pub(crate) link: &'a [u8],
}

/// Returns one header block. A text that does not fit is cut, and a number is
/// 0: a PAX record before it then has the full value.
pub(crate) fn ustar_header(fields: &Ustar<'_>) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    put_name(&mut header[0..100], fields.name);
    put_octal(&mut header[100..108], u64::from(fields.mode));
    put_octal(&mut header[108..116], fields.uid);
    put_octal(&mut header[116..124], fields.gid);
    put_octal(&mut header[124..136], fields.size);
    put_octal(&mut header[136..148], fields.mtime);
    header[148..156].fill(b' ');
    header[156] = fields.kind;
    put_name(&mut header[157..257], fields.link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut header[329..337], 0);
    put_octal(&mut header[337..345], 0);
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut header[148..155], sum);
    header
}

fn put_name(field: &mut [u8], name: &[u8]) {
    for (byte, value) in field.iter_mut().zip(name) {
        *byte = if value.is_ascii() { *value } else { b'_' };
    }
}

/// Fills a field with octal digits and a final NUL.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let fits = digits * 3 >= 64 || value >> (digits * 3) == 0;
    let mut rest = if fits { value } else { 0 };
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
}

/// Returns the offsets in the tar of `members` at which a segment begins:
/// the start and the end of every large file's content.
fn segment_starts(members: &[Member]) -> Vec<u64> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for member in members {
        let end = offset + member_size(&member.entry);
        if member.entry.content_size() >= SEGMENT_FILE_BYTES {
            starts.push(offset + header_size(&member.entry) as u64);
            starts.push(end);
        }
        offset = end;
    }
    starts.dedup();
    starts
}

/// A reader of the tar of some members. Files are read when their bytes are
/// asked for.
#[derive(Debug)]
pub(crate) struct TarStream<'a> {
    all: &'a [Member],
    /// The members that were not begun.
    members: std::slice::Iter<'a, Member>,
    has_end: bool,
    /// Headers, padding or the end: all bytes that are not from a file.
    pending: Vec<u8>,
    pending_start: usize,
    content: Option<OpenContent<'a>>,
    is_steady: bool,
    /// If there is a map, the extended attributes of the files are compared.
    pub(crate) dropped_xattrs: Option<DroppedXattrs>,
}

#[derive(Debug)]
struct OpenContent<'a> {
    reader: ContentReader<'a>,
    size: u64,
    rest: u64,
}

impl<'a> TarStream<'a> {
    /// Starts at the first of `members`; `has_end` puts the end of the tar
    /// after the last.
    pub(crate) fn new(members: &'a [Member], has_end: bool) -> Self {
        Self {
            all: members,
            members: members.iter(),
            has_end,
            pending: Vec::new(),
            pending_start: 0,
            content: None,
            is_steady: true,
            dropped_xattrs: None,
        }
    }

    /// Returns whether every file had its planned state, in all fields, after it
    /// was read.
    pub(crate) fn is_steady(&self) -> bool {
        self.is_steady
    }

    /// Fills `buffer` and returns its length; less only at the end.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut count = 0;
        while count < buffer.len() {
            let room = &mut buffer[count..];
            count += if self.pending_start < self.pending.len() {
                self.take_pending(room)
            } else if self.content.is_some() {
                self.take_content(room)?
            } else if self.start_next()? {
                0
            } else {
                break;
            };
        }
        Ok(count)
    }

    fn take_pending(&mut self, room: &mut [u8]) -> usize {
        let pending = &self.pending[self.pending_start..];
        let count = pending.len().min(room.len());
        room[..count].copy_from_slice(&pending[..count]);
        self.pending_start += count;
        count
    }

    fn take_content(&mut self, room: &mut [u8]) -> Result<usize> {
        let content = self.content.as_mut().expect("the caller saw a content");
        let count = usize::try_from(content.rest).map_or(room.len(), |rest| rest.min(room.len()));
        content.reader.read_exact(&mut room[..count])?;
        content.rest -= count as u64;
        if content.rest == 0
            && let Some(content) = self.content.take()
        {
            self.is_steady &= content.reader.finish()?;
            let padded = content.size.next_multiple_of(BLOCK_BYTES as u64);
            let padding = usize::try_from(padded - content.size).expect("less than a block");
            self.set_pending(|pending| pending.resize(padding, 0));
        }
        Ok(count)
    }

    /// Prepares the next headers and content, or the end; `false` after it.
    fn start_next(&mut self) -> Result<bool> {
        let Some(member) = self.members.next() else {
            let has_end = std::mem::take(&mut self.has_end);
            if has_end {
                self.set_pending(|pending| pending.resize(END_BYTES, 0));
            }
            return Ok(has_end);
        };
        self.set_pending(|pending| append_header(&member.entry, pending));
        if let Some(content) = &member.content {
            let size = content.size();
            let reader = ContentReader::open_at(content, 0)?;
            if let Some(dropped) = &mut self.dropped_xattrs {
                reader.check_xattrs(&member.entry.xattrs, dropped)?;
            }
            if size == 0 {
                self.is_steady &= reader.finish()?;
            } else {
                let rest = size;
                self.content = Some(OpenContent { reader, size, rest });
            }
        }
        Ok(true)
    }

    fn set_pending(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.pending.clear();
        self.pending_start = 0;
        write(&mut self.pending);
    }
}

/// A whole tar as input of the compressor.
impl SizedStream for TarStream<'_> {
    fn size(&self) -> u64 {
        tar_size(self.all)
    }

    fn segment_starts(&self) -> Vec<u64> {
        segment_starts(self.all)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let count = self.fill(buffer)?;
        debug_assert_eq!(count, buffer.len(), "the size of the tar is known");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Owner;
    use crate::path::ImagePath;
    use crate::tar_reader::{TarKind, TarReader};

    fn path(text: impl AsRef<[u8]>) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn tar_of(members: &[Member], piece: usize) -> Vec<u8> {
        let mut stream = TarStream::new(members, true);
        let mut tar = Vec::new();
        let mut buffer = vec![0xaa; piece];
        loop {
            let count = stream.fill(&mut buffer).unwrap();
            tar.extend_from_slice(&buffer[..count]);
            if count < piece {
                return tar;
            }
        }
    }

    #[test]
    fn a_plain_entry_is_one_ustar_header() {
        let mut header = Vec::new();
        let mut entry = Entry::file(path("/app/bin/server"), 300, 0o755);
        entry.owner = Owner { uid: 8, gid: 9 };
        append_header(&entry, &mut header);
        let mut expected = [0; BLOCK_BYTES];
        for (start, field) in [
            (0, "app/bin/server"),
            (100, "0000755"),
            (108, "0000010"),
            (116, "0000011"),
            (124, "00000000454"),
            (136, "00000000001"),
            (148, "012000\0 "),
            (156, "0"),
            (257, "ustar\x0000"),
            (329, "0000000"),
            (337, "0000000"),
        ] {
            expected[start..start + field.len()].copy_from_slice(field.as_bytes());
        }
        assert_eq!(
            header.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn pieces_of_any_size_give_the_same_tar() {
        let members = [
            Entry::directory(path("/d")).into(),
            Member::file(path("/d/a"), 0o644, b"hello".to_vec()),
            Member::file(path("/d/b"), 0o644, vec![7; 1024]),
            Member::file(path("/d/c"), 0o644, vec![]),
            Entry::symlink(path("/d/l"), "a").into(),
        ];
        let whole = tar_of(&members, 1 << 20);
        assert_eq!(whole.len() as u64, tar_size(&members));
        for piece in [1, 7, 511, 512, 513, 4096] {
            assert!(tar_of(&members, piece) == whole, "{piece}");
        }
    }

    #[test]
    fn extended_attributes_are_pax_records_of_any_bytes() {
        let mut member = Member::file(path("/program"), 0o755, b"1".to_vec());
        // A reader that splits records at line feeds would find a size.
        let hostile = b"a\n9 size=3\n\xff\0".to_vec();
        let capability = [1, 0, 0, 2, 10, 10, 0, 0].repeat(3)[..20].to_vec();
        for (name, value) in [
            ("user.x", hostile),
            ("user.empty", Vec::new()),
            ("security.capability", capability),
        ] {
            member.entry.xattrs.insert(name.to_owned(), value);
        }
        member.entry.owner.gid = 3_000_000;
        let members = [member, Entry::directory(path("/z")).into()];
        let tar = tar_of(&members, 4096);
        assert_eq!(tar.len() as u64, tar_size(&members));

        let records = &tar[BLOCK_BYTES..];
        let first = b"57 SCHILY.xattr.security.capability=\x01\0\0\x02\x0a\x0a";
        assert_eq!(
            records[..first.len()].escape_ascii().to_string(),
            first.escape_ascii().to_string()
        );
        let mut reader = TarReader::new(tar.as_slice());
        let read = reader.next_entry().unwrap().unwrap();
        assert_eq!((read.size, read.gid), (1, 3_000_000));
        assert_eq!(read.xattrs, members[0].entry.xattrs);
        assert!(reader.next_entry().unwrap().unwrap().xattrs.is_empty());
    }

    #[test]
    fn what_ustar_cannot_say_is_a_pax_record_that_readers_understand() {
        let long = format!("/{}/{}", "d".repeat(90), "n".repeat(90));
        let mut large_owner = Entry::symlink(path("/owner"), "x");
        large_owner.owner = Owner {
            uid: 3_000_000,
            gid: 2_147_483_647,
        };
        let members = [
            Member::file(path(&long), 0o644, b"1".to_vec()),
            Member::file(path("/é\n"), 0o644, b"22".to_vec()),
            Member::file(path(b"/\xff\xfe"), 0o644, b"333".to_vec()),
            large_owner.into(),
            Entry::symlink(path("/to"), "t".repeat(101)).into(),
            Entry::directory(path(format!("/{}", "e".repeat(100)))).into(),
        ];
        let tar = tar_of(&members, 4096);
        assert_eq!(tar.len() as u64, tar_size(&members));
        let mut reader = TarReader::new(tar.as_slice());
        for member in &members {
            let read = reader.next_entry().unwrap().unwrap();
            assert_eq!(read.path, tar_name(&member.entry));
            assert_eq!(read.size, member.entry.content_size());
            let Owner { uid, gid } = member.entry.owner;
            assert_eq!((read.uid, read.gid), (i64::from(uid), i64::from(gid)));
            if let EntryKind::Symlink { target } = &member.entry.kind {
                let target = target.clone();
                assert_eq!(read.kind, TarKind::Symlink { target });
            }
        }
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 80, 90, 91, 92, 93, 94, 990, 991, 992, 9990] {
            let mut records = Vec::new();
            append_record(&mut records, "path", &vec![b'x'; length]);
            let digits = records.iter().position(|byte| *byte == b' ').unwrap();
            let said = std::str::from_utf8(&records[..digits]).unwrap();
            assert_eq!(said.parse::<usize>().unwrap(), records.len());
        }
    }

    #[test]
    fn large_files_are_segments_of_their_own() {
        let large = vec![0; 1 << 20];
        let members = [
            Member::file(path("/a"), 0o644, vec![1; 600]),
            Member::file(path("/b"), 0o644, large.clone()),
            Member::file(path("/c"), 0o644, large),
            Member::file(path("/d"), 0o644, vec![1; 1]),
        ];
        let a_end = 512 + 1024;
        let b = a_end + 512;
        let b_end = b + (1 << 20);
        let c = b_end + 512;
        assert_eq!(segment_starts(&members), [b, b_end, c, c + (1 << 20)]);
    }
}
