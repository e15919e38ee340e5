use std::io::{Read, Seek, Write};

use proptest::prelude::*;

use super::*;
use crate::violation::{Violation, ViolationKind};

/// The bytes after the value: the CRC, and the offset of the record.
const TRAILER_BYTES: usize = 4 + 8;

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

/// A file system of two layers with the contents `shell` and `conf`, and the
/// file that they lie in.
fn sample() -> (File, FileSystem) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"shellconf").unwrap();
    let shared = Arc::new(file.try_clone().unwrap());
    let kept = |at: &str, start, size| Member {
        entry: Entry {
            owner: Owner {
                uid: u32::MAX,
                gid: 7,
            },
            mtime: u64::MAX,
            ..Entry::file(path(at), size, 0o4755)
        },
        content: Some(Content::Range(FileRange::new(
            Arc::clone(&shared),
            start,
            size,
        ))),
    };
    let mut empty: Member = Entry::file(path("/etc/empty"), 0, 0o600).into();
    empty.content = Some(Content::Bytes(Arc::default()));
    let mut bin = Entry::directory(path("/bin"));
    bin.xattrs.insert("user.x".to_owned(), b"\n\xff".to_vec());
    let members = vec![
        bin.into(),
        Entry::directory(path("/bin-old")).into(),
        kept("/bin/sh", 0, 5),
        Entry::directory(path("/etc")).into(),
        kept("/etc/conf", 5, 4),
        empty,
        Entry::symlink(path("/etc/link"), b"\xff".to_vec()).into(),
        Entry::file(path("/large"), u64::MAX, 0o644).into(),
    ];
    let facts = |crc| BlobFacts {
        crc,
        tar_size: 1 << 40,
        entries: 3,
    };
    let files = FileSystem {
        members,
        specials: BTreeSet::from([path("/dev/null")]),
        blobs: vec![facts(u32::MAX), facts(0)],
        violations: vec![Violation::new(ViolationKind::LayerCount, "a").found("b")],
    };
    (file, files)
}

fn shown(files: &FileSystem) -> String {
    let members = files.members().iter().map(|member| {
        let bytes = member.content.as_ref().map(|content| {
            let bytes = content.first_bytes(100).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        format!("{:?} {bytes:?}\n", member.entry)
    });
    let members: String = members.collect();
    let (specials, violations) = (&files.specials, &files.violations);
    format!("{members}{specials:?} {:?} {violations:?}", files.blobs)
}

fn bytes_of(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Option<FileSystem> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    FileSystem::of_record(file, 2)
}

fn recorded() -> (Vec<u8>, FileSystem) {
    let (file, files) = sample();
    files.write_record(&file, 9).unwrap();
    (bytes_of(&file), files)
}

#[test]
fn a_record_reads_as_what_was_written() {
    let (bytes, files) = recorded();
    let found = read(&bytes).unwrap();
    assert_eq!(shown(&found), shown(&files));
}

#[test]
fn a_record_is_for_its_number_of_layers() {
    let (bytes, _) = recorded();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    assert!(FileSystem::of_record(file, 3).is_none());
}

#[test]
fn what_is_cut_or_altered_is_no_record() {
    let (bytes, _) = recorded();
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_none(), "{length}");
    }
    // The contents before it have no digest here: the store looks at that.
    for place in 9..bytes.len() {
        for bit in [1, 0x40, 0x80] {
            let mut altered = bytes.clone();
            altered[place] ^= bit;
            assert!(read(&altered).is_none(), "{place}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(read(&longer).is_none());
}

/// Reads a record without contents, of one layer, that has these members.
fn forged(members: &[MemberRecord<'_>]) -> Option<FileSystem> {
    let record = FileSystemRecord {
        blobs: vec![BlobFacts {
            crc: 1,
            tar_size: 2,
            entries: 3,
        }],
        members: members.to_vec(),
        specials: Vec::new(),
        violations: "[]".into(),
    };
    let mut file = tempfile::tempfile().unwrap();
    let bytes = record::encode(RecordKind::FileSystem, &record);
    file.write_all(&bytes).unwrap();
    file.write_all(&0_u64.to_le_bytes()).unwrap();
    FileSystem::of_record(file, 1)
}

#[test]
fn a_right_checksum_alone_makes_no_record() {
    let member = |path: &'static [u8], kind| MemberRecord {
        path,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        kind,
        xattrs: Cow::default(),
    };
    let directory = |path: &'static [u8]| member(path, KindRecord::Directory);
    let link = |target| member(b"/a", KindRecord::Symlink { target });
    let kept = |size, start| member(b"/a", KindRecord::KeptFile { size, start });
    let good = [directory(b"/a"), directory(b"/a/b")];
    assert_eq!(forged(&good).unwrap().members().len(), 2);

    let endless = vec![b'x'; MAX_PATH_BYTES + 1];
    let wide = MemberRecord {
        mode: 0o10_000,
        ..directory(b"/a")
    };
    for (name, members) in [
        ("unsorted", vec![directory(b"/b"), directory(b"/a")]),
        ("twice", vec![directory(b"/a"), directory(b"/a")]),
        ("without parent", vec![directory(b"/a/b")]),
        ("below nothing", vec![directory(b"/a"), directory(b"/b/c")]),
        ("below a link", vec![link(b"x"), directory(b"/a/b")]),
        ("the root", vec![directory(b"/")]),
        ("out of the root", vec![directory(b"/../a")]),
        ("another spelling", vec![directory(b"//a")]),
        ("relative", vec![directory(b"a")]),
        ("a wide mode", vec![wide]),
        ("no target", vec![link(b"")]),
        ("an endless target", vec![link(&endless)]),
        ("contents elsewhere", vec![kept(1, 0)]),
        ("contents around", vec![kept(2, u64::MAX)]),
    ] {
        assert!(forged(&members).is_none(), "{name}");
    }
}

#[test]
fn what_a_record_cannot_say_is_not_written() {
    let (file, mut files) = sample();
    files.members[6].entry.kind = EntryKind::Symlink {
        target: vec![b'x'; MAX_PATH_BYTES + 1],
    };
    assert!(files.write_record(&file, 9).is_err());
}

/// Puts the right checksum on a record that was altered.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - TRAILER_BYTES;
    let crc = crc32fast::hash(&bytes[9..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn an_index_of_anything_neither_panics_nor_breaks_its_promises(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut bytes, _) = recorded();
        let end = bytes.len() - TRAILER_BYTES;
        for (place, byte) in edits {
            bytes[18 + place.index(end - 18)] = byte;
        }
        if let Some(found) = read(&sealed(bytes)) {
            let paths: Vec<_> = found.members().iter().map(|one| &one.entry.path).collect();
            prop_assert!(paths.is_sorted());
            for path in paths {
                let parent = path.parent().filter(|parent| !parent.is_root());
                let is_there = parent.is_none_or(|parent| found.get(&parent).is_some());
                prop_assert!(is_there);
            }
        }
    }
}
