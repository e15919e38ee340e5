use std::io::Cursor;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

/// Builds a tar block by block, valid or not.
#[derive(Default)]
struct Blocks(Vec<u8>);

impl Blocks {
    fn header(mut self, type_flag: u8, path: &str, size: u64) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkflag = [type_flag];
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn contents(mut self, contents: &[u8]) -> Self {
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    fn pax(self, records: &[u8]) -> Self {
        self.header(b'x', "PaxHeaders.0/x", records.len() as u64)
            .contents(records)
    }

    /// Changes the last header and fixes its checksum.
    fn patch(mut self, at: usize, bytes: &[u8]) -> Self {
        let start = self.0.len() - BLOCK_BYTES;
        self.0[start + at..start + at + bytes.len()].copy_from_slice(bytes);
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&self.0[start..]);
        header.set_cksum();
        self.0[start..].copy_from_slice(header.as_bytes());
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK_BYTES, 0);
        self.0
    }
}

fn read_all<R: Read>(mut tar: TarReader<R>) -> Result<Vec<(TarEntry, Vec<u8>)>, ReadTarError> {
    let mut entries = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut contents = Vec::new();
        let offset = tar.offset();
        tar.contents()
            .read_to_end(&mut contents)
            .map_err(|source| ReadTarError::Read { offset, source })?;
        entries.push((entry, contents));
    }
    Ok(entries)
}

fn entries(bytes: &[u8]) -> Vec<TarEntry> {
    let all = read_all(TarReader::new(bytes)).unwrap();
    all.into_iter().map(|(entry, _)| entry).collect()
}

fn first(bytes: &[u8]) -> TarEntry {
    entries(bytes).remove(0)
}

fn error(bytes: &[u8]) -> ReadTarError {
    let mut tar = TarReader::new(bytes);
    loop {
        match tar.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("there is no error"),
            Err(error) => return error,
        }
    }
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[test]
fn every_kind_is_told_apart() {
    let tar = |type_flag| Blocks::default().header(type_flag, "a", 0).end();
    let linked = |type_flag| {
        let blocks = Blocks::default().header(type_flag, "a", 0);
        first(&blocks.patch(157, b"to").end()).kind
    };
    let target = b"to".to_vec();
    assert_eq!(first(&tar(b'0')).kind, TarKind::File);
    assert_eq!(first(&tar(0)).kind, TarKind::File);
    assert_eq!(first(&tar(b'5')).kind, TarKind::Directory);
    assert_eq!(first(&tar(b'6')).kind, TarKind::Fifo);
    assert_eq!(first(&tar(b's')).kind, TarKind::Unknown { type_flag: b's' });
    assert_eq!(
        linked(b'1'),
        TarKind::Hardlink {
            target: target.clone()
        }
    );
    assert_eq!(linked(b'2'), TarKind::Symlink { target });
    let device = Blocks::default().header(b'3', "null", 0);
    let device = device
        .patch(329, b"0000001\0")
        .patch(337, b"0000003\0")
        .end();
    assert_eq!(first(&device).kind, TarKind::Device);
    let sparse = Blocks::default().header(b'S', "a", 3);
    let sparse = sparse.patch(257, b"ustar  \0").patch(483, b"00000000012\0");
    let sparse = first(&sparse.contents(b"abc").end());
    assert_eq!(sparse.kind, TarKind::Unknown { type_flag: b'S' });
}

#[test]
fn only_an_old_header_makes_a_directory_of_a_trailing_slash() {
    let kind = |flag| first(&Blocks::default().header(flag, "a/", 0).end()).kind;
    assert_eq!(kind(0), TarKind::Directory);
    assert_eq!(kind(b'0'), TarKind::File);
}

#[test]
fn pax_records_are_divided_by_their_length() {
    // A file capability may hold any byte; this one looks like a record.
    let records = [
        pax_record("SCHILY.xattr.user.x", b"a\n22 linkpath=/etc/evil\n"),
        pax_record("size", b"3"),
        pax_record("path", "naïve\nname".as_bytes()),
        pax_record("uid", b"4000000000"),
        pax_record("mtime", b"-1.5"),
    ]
    .concat();
    let tar = Blocks::default().pax(&records).header(b'0', "short", 0);
    let tar = tar.contents(b"abc").header(b'5', "next", 0).end();
    let all = read_all(TarReader::new(&*tar)).unwrap();
    let (entry, contents) = &all[0];
    assert_eq!(entry.path, "naïve\nname".as_bytes());
    assert_eq!((entry.uid, entry.mtime), (4_000_000_000, -2));
    assert_eq!(contents, b"abc");
    assert_eq!(all[1].0.path, b"next");
    assert_eq!(all[1].0.uid, 0);
}

#[test]
fn global_headers_change_nothing() {
    let records = pax_record("path", b"global");
    let tar = Blocks::default().header(b'g', "g", records.len() as u64);
    let tar = tar.contents(&records).header(b'0', "own", 0).end();
    assert_eq!(first(&tar).path, b"own");
}

#[test]
fn gnu_long_names_reach_the_next_entry_only() {
    let tar = Blocks::default()
        .header(b'L', "././@LongLink", 5)
        .contents(b"long\0")
        .header(b'K', "././@LongLink", 6)
        .contents(b"target")
        .header(b'2', "short", 0)
        .header(b'0', "plain", 0)
        .end();
    let all = entries(&tar);
    let target = b"target".to_vec();
    assert_eq!(
        (&*all[0].path, &all[0].kind),
        (&b"long"[..], &TarKind::Symlink { target })
    );
    assert_eq!(all[1].path, b"plain");
}

#[test]
fn a_prefix_counts_in_posix_headers_only() {
    let posix = Blocks::default().header(b'0', "name", 0).patch(345, b"dir");
    assert_eq!(first(&posix.end()).path, b"dir/name");
    let gnu = Blocks::default().header(b'0', "name", 0);
    let gnu = gnu.patch(257, b"ustar  \0").patch(345, b"dir");
    assert_eq!(first(&gnu.end()).path, b"name");
}

#[test]
fn numbers_are_octal_or_binary() {
    for (field, expected) in [
        (b"0000017\0", 15),
        (b"     17 ", 15),
        (b"17\0junk\xff", 15),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"\x80\0\0\0\0\x01\0\0", 65_536),
        (&[0xff; 8], -1),
        (b"\xff\xff\xff\xff\x7f\xff\xff\xff", -2_147_483_649),
    ] {
        let tar = Blocks::default().header(b'0', "a", 0).patch(108, field);
        assert_eq!(first(&tar.end()).uid, expected, "{field:?}");
    }
    for field in [b"000000x\0", b"17 17\0\0\0", b"-1\0\0\0\0\0\0"] {
        let tar = Blocks::default().header(b'0', "a", 0).patch(108, field);
        let error = error(&tar.end());
        assert!(
            matches!(error, ReadTarError::Number { field: "uid", .. }),
            "{field:?}"
        );
    }
    let before = Blocks::default()
        .header(b'0', "a", 0)
        .patch(136, &[0xff; 12]);
    assert_eq!(first(&before.end()).mtime, -1);
    let mode = Blocks::default()
        .header(b'0', "a", 0)
        .patch(100, &[0xff; 8]);
    assert_eq!(first(&mode.end()).mode, -1);
    for (value, expected) in [("-1", -1), ("+5", 5), ("4294967296", 1 << 32), ("", 0)] {
        let record = pax_record("gid", value.as_bytes());
        let tar = Blocks::default().pax(&record).header(b'0', "a", 0);
        assert_eq!(first(&tar.end()).gid, expected, "{value}");
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_without_overflow() {
    for size in [
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let tar = Blocks::default()
            .header(b'0', "a", 0)
            .patch(124, size)
            .end();
        assert!(matches!(
            error(&tar),
            ReadTarError::Number { field: "size", .. }
        ));
    }
    let largest = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    let tar = Blocks::default()
        .header(b'0', "a", 0)
        .patch(124, largest)
        .end();
    assert!(matches!(error(&tar), ReadTarError::Truncated(_)));
    let mut tar = TarReader::seekable(Cursor::new(tar));
    assert_eq!(
        tar.next_entry().unwrap().unwrap().size,
        i64::MAX.cast_unsigned()
    );
    assert!(matches!(tar.next_entry(), Err(ReadTarError::Truncated(_))));
}

#[test]
fn extension_headers_are_bounded() {
    for flag in [b'x', b'g', b'L', b'K'] {
        let tar = Blocks::default()
            .header(flag, "a", MAX_EXTENSION_BYTES + 1)
            .end();
        assert!(matches!(
            error(&tar),
            ReadTarError::ExtensionTooLarge { .. }
        ));
    }
}

#[test]
fn malformed_pax_headers_are_refused() {
    for records in [
        &b"x"[..],
        b"5 a=b",
        b"0 a=b\n",
        b"6 =abc\n",
        b"99 a=b\n",
        b"6  a=b\n",
        b"5 ab\n",
        b"-6 a=b\n",
        b"18446744073709551616 a=b\n",
        b"3 \n",
        b"1 ",
    ] {
        let tar = Blocks::default().pax(records).header(b'0', "a", 0).end();
        assert!(
            matches!(error(&tar), ReadTarError::Pax { .. }),
            "{records:?}"
        );
    }
    for record in [
        pax_record("size", b"-1"),
        pax_record("mtime", b"1.x"),
        pax_record("atime", b"abc"),
        pax_record("ctime", b"1.x"),
        pax_record("uid", b"0x1"),
        pax_record("uid", b"1.5"),
        pax_record("gid", b"9223372036854775808"),
    ] {
        let tar = Blocks::default().pax(&record).header(b'0', "a", 0).end();
        assert!(
            matches!(error(&tar), ReadTarError::Number { .. }),
            "{record:?}"
        );
    }
    for name in ["path", "uname", "gname"] {
        let nul = Blocks::default().pax(&pax_record(name, b"a\0b"));
        assert!(matches!(
            error(&nul.header(b'0', "a", 0).end()),
            ReadTarError::Nul { field, .. } if field == name
        ));
    }
    let lone = Blocks::default().pax(&pax_record("path", b"a"));
    assert!(matches!(
        error(&lone.end()),
        ReadTarError::LoneExtension { offset: 0 }
    ));
}

#[test]
fn a_damaged_header_is_told_with_both_sums() {
    let mut tar = Blocks::default().header(b'0', "a", 0).end();
    tar[0] = b'b';
    let error = error(&tar).to_string();
    assert_eq!(
        error,
        "the header at byte 0 is damaged: expected checksum 3135, found 3136"
    );
}

#[test]
fn the_end_mark_may_be_missing_but_not_broken() {
    let whole = Blocks::default()
        .header(b'0', "a", 3)
        .contents(b"abc")
        .end();
    for length in [whole.len() - 1, 1536, 1024, 515] {
        let read = read_all(TarReader::new(&whole[..length]));
        assert_eq!(read.is_ok(), length != whole.len() - 1, "{length}");
    }
    let half = Blocks::default()
        .contents(&[0; 512])
        .header(b'0', "a", 0)
        .end();
    assert!(matches!(error(&half), ReadTarError::EndMark { offset: 0 }));
    let after = [&whole[..], b"anything"].concat();
    assert_eq!(entries(&after).len(), 1);
}

#[test]
fn contents_that_end_early_are_an_error() {
    let tar = Blocks::default().header(b'0', "a", 600).0;
    let tar = [&tar[..], &[1; 100]].concat();
    assert!(matches!(error(&tar), ReadTarError::Truncated(612)));
    let mut reader = TarReader::new(&*tar);
    reader.next_entry().unwrap();
    let error = io::copy(&mut reader.contents(), &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_seekable_tar_is_read_alike() {
    let tar = Blocks::default().header(b'0', "a", 600).contents(&[1; 600]);
    let tar = tar.header(b'0', "b", 3).contents(b"abc").end();
    let mut reader = TarReader::seekable(Cursor::new(&tar));
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    assert_eq!(reader.offset(), 512);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!(reader.offset(), 2048);
    assert!(reader.next_entry().unwrap().is_none());
    let mut cut = TarReader::seekable(Cursor::new(&tar[..1000]));
    cut.next_entry().unwrap();
    assert!(matches!(
        cut.next_entry(),
        Err(ReadTarError::Truncated(1000))
    ));
}

#[test]
fn whiteouts_say_what_they_hide() {
    let whiteout = |path| first(&Blocks::default().header(b'0', path, 0).end()).whiteout();
    assert_eq!(whiteout("a/.wh.b"), Some(Whiteout::Path(b"/a/b".to_vec())));
    assert_eq!(whiteout(".wh.b"), Some(Whiteout::Path(b"/b".to_vec())));
    assert_eq!(
        whiteout("a/.wh..wh..opq"),
        Some(Whiteout::Directory(b"/a/.wh..wh..opq".to_vec()))
    );
    assert_eq!(
        whiteout(".wh..wh..opq"),
        Some(Whiteout::Directory(b"/.wh..wh..opq".to_vec()))
    );
    assert_eq!(whiteout("a/.wh.b/c"), None);
    assert_eq!(whiteout("a"), None);
}

#[test]
fn paths_that_mean_the_same_place_are_cleaned_alike() {
    for (path, expected) in [
        ("a", "/a"),
        ("./a/", "/a"),
        ("/a//./b", "/a/b"),
        ("a/../b", "/b"),
        ("../../evil", "/evil"),
        ("", "/"),
        (".", "/"),
        ("a/..", "/"),
    ] {
        assert_eq!(clean_path(path.as_bytes()), expected.as_bytes(), "{path}");
    }
}

/// What a benign archive holds: path, type, contents or link target.
type Benign = (String, u8, Vec<u8>);

fn benign() -> impl Strategy<Value = Vec<Benign>> {
    let path = "[a-zé]{1,120}(/[a-z ]{1,60}){0,3}";
    let kind = prop::sample::select(vec![b'0', b'1', b'2', b'5']);
    let contents = prop::collection::vec(any::<u8>(), 0..1500);
    prop::collection::vec((path, kind, contents), 0..6)
}

fn write_benign(entries: &[Benign], header: fn() -> Header) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (index, (path, kind, contents)) in entries.iter().enumerate() {
        let mut header = header();
        header.set_entry_type(EntryType::new(*kind));
        header.set_mode(0o640);
        header.set_uid(index as u64 * 3_000_000);
        header.set_gid(7);
        header.set_mtime(1_700_000_000);
        match kind {
            b'1' | b'2' => {
                header.set_size(0);
                builder
                    .append_link(&mut header, path, format!("to/{path}"))
                    .unwrap();
            }
            b'5' => {
                header.set_size(0);
                builder.append_data(&mut header, path, io::empty()).unwrap();
            }
            _ => {
                header.set_size(contents.len() as u64);
                builder
                    .append_data(&mut header, path, &contents[..])
                    .unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn assert_read_as_by_the_tar_crate(bytes: &[u8]) {
    let ours = read_all(TarReader::new(bytes)).unwrap();
    let mut archive = tar::Archive::new(bytes);
    let mut theirs = archive.entries().unwrap();
    for (entry, contents) in ours {
        let mut their = theirs.next().unwrap().unwrap();
        assert_eq!(entry.path, &*their.path_bytes());
        assert_eq!(entry.mode, i64::from(their.header().mode().unwrap()));
        assert_eq!(entry.uid, their.header().uid().unwrap().cast_signed());
        assert_eq!(entry.gid, their.header().gid().unwrap().cast_signed());
        assert_eq!(entry.mtime.unsigned_abs(), their.header().mtime().unwrap());
        let target = match &entry.kind {
            TarKind::Symlink { target } | TarKind::Hardlink { target } => Some(&target[..]),
            _ => None,
        };
        assert_eq!(target, their.link_name_bytes().as_deref());
        let mut their_contents = Vec::new();
        their.read_to_end(&mut their_contents).unwrap();
        assert_eq!(contents, their_contents);
    }
    assert!(theirs.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn benign_archives_are_read_as_by_the_tar_crate(entries in benign()) {
        assert_read_as_by_the_tar_crate(&write_benign(&entries, Header::new_gnu));
        assert_read_as_by_the_tar_crate(&write_benign(&entries, Header::new_ustar));
    }

    #[test]
    fn damaged_archives_never_panic(
        entries in benign(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = write_benign(&entries, Header::new_gnu);
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            // With a checksum that fits, damage gets past the first check.
            let start = at / BLOCK_BYTES * BLOCK_BYTES;
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[start..start + BLOCK_BYTES]);
            header.set_cksum();
            bytes[start..start + BLOCK_BYTES].copy_from_slice(header.as_bytes());
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        let read = read_all(TarReader::new(&*bytes)).map(|entries| entries.len()).ok();
        let mut seekable = TarReader::seekable(Cursor::new(&bytes));
        let mut skipped = 0;
        while let Ok(Some(_)) = seekable.next_entry() {
            skipped += 1;
        }
        prop_assert!(read.is_none_or(|read| read == skipped));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let read = read_all(TarReader::new(&*bytes));
        prop_assert!(read.is_err() || bytes.iter().all(|byte| *byte == 0) || bytes.is_empty());
    }
}
