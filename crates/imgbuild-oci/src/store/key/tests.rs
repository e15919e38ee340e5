use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::cache::Cache;
use crate::entry::{Entry, Owner};
use crate::layer::{LayerOptions, build_layers};
use crate::monitor::Monitor;
use crate::path::ImagePath;
use imgbuild_deflate::Level;

fn path(text: impl AsRef<[u8]>) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

/// Bytes of every kind: text, repetitions far apart, and none of both.
fn corpus(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        match random() % 4 {
            0 => bytes.extend((0..random()).map(|_| random())),
            1 => bytes.extend_from_slice(format!("line {} of the text\n", random() % 9).as_bytes()),
            2 => bytes.extend(std::iter::repeat_n(random(), usize::from(random()))),
            _ => {
                let back = bytes.len().min(usize::from(random()) * 128);
                let from = bytes.len() - back;
                bytes.extend_from_within(from..from + back.min(300));
            }
        }
    }
    bytes.truncate(length);
    bytes
}

/// Everything that the tar and the blocks can tell apart.
fn everything() -> Changeset {
    let file = |name: &str, bytes: Vec<u8>| Member::file(path(name), 0o644, bytes);
    let mut owned = file("/d/owned", corpus(1000));
    owned.entry.owner = Owner {
        uid: 70_000_000,
        gid: 5,
    };
    owned.entry.mode = 0o4755;
    owned.entry.mtime = 1_000_000_000;
    let mut hard = Entry::file(path("/d/hard"), 0, 0o644);
    hard.kind = EntryKind::Hardlink {
        target: path("/d/a"),
    };
    let members = vec![
        Entry::directory(path("/d")).into(),
        file("/d/a", corpus(700_000)),
        hard.into(),
        owned,
        Entry::symlink(path("/d/link"), "a").into(),
        Entry::symlink(path("/d/long"), "x".repeat(200)).into(),
        file("/d/large", corpus(2_500_000)),
        file(&format!("/d/{}", "n".repeat(150)), corpus(10)),
        file("/d/empty", Vec::new()),
        file("/d/z", corpus(300_000)),
    ];
    Changeset::new("everything", members).unwrap()
}

#[test]
fn the_layer_format_names_the_bytes_that_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let levels = (1..=9).map(|level| Compression::Gzip(Level::new(level).unwrap()));
    let mut feed = Feed::new();
    for compression in [Compression::None].into_iter().chain(levels) {
        let options = LayerOptions {
            compression,
            threads: 2,
            scratch: directory.path().to_path_buf(),
            cache: Cache::default(),
        };
        let layers =
            build_layers(vec![everything()], &options, &|_| {}, Monitor::silent()).unwrap();
        feed.bytes(layers[0].digest().as_bytes());
    }
    assert_eq!(
        feed.finish().to_string(),
        LAYER_FORMAT,
        "the bytes of layers have changed: set `LAYER_FORMAT` to the new value"
    );
}

fn host_file(name: &str, inode: u64) -> HostFile {
    let time = |seconds| Timestamp {
        seconds,
        nanoseconds: 5,
    };
    HostFile {
        path: PathBuf::from(name),
        state: FileState {
            size: 3,
            mtime: time(10),
            ctime: time(20),
            inode,
            device: 7,
            mode: 0o100_644,
        },
        root: None,
    }
}

fn member(name: &str, host: HostFile) -> Member {
    Member {
        entry: Entry::file(path(name), host.state.size, 0o644),
        content: Some(Content::File(host)),
    }
}

fn key(members: Vec<Member>) -> (Digest, Digest) {
    let changeset = Changeset::new("test", members).unwrap();
    let key = LayerKey::of(&changeset, Compression::None);
    (key.shape, key.state)
}

#[test]
fn every_field_of_a_state_is_in_the_key_and_none_in_the_shape() {
    let same = || key(vec![member("/a", host_file("a", 1))]);
    let (shape, state) = same();
    assert_eq!(same(), (shape, state));
    let changes: [fn(&mut HostFile); 7] = [
        |file| file.path = "b".into(),
        |file| file.state.mtime.seconds += 1,
        |file| file.state.mtime.nanoseconds += 1,
        |file| file.state.ctime.nanoseconds += 1,
        |file| file.state.inode += 1,
        |file| file.state.device += 1,
        |file| file.state.mode ^= 0o100,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut file = host_file("a", 1);
        change(&mut file);
        let changed = key(vec![member("/a", file)]);
        assert_eq!(changed.0, shape, "{number}");
        assert_ne!(changed.1, state, "{number}");
    }
}

#[test]
fn everything_that_the_tar_says_is_in_the_shape() {
    let (shape, _) = key(vec![member("/a", host_file("a", 1))]);
    let mut shapes = vec![shape];
    let changes: [fn(&mut Member); 5] = [
        |member| member.entry.path = path("/b"),
        |member| member.entry.mode = 0o755,
        |member| member.entry.owner.uid = 1,
        |member| member.entry.owner.gid = 1,
        |member| member.entry.mtime = 2,
    ];
    for change in changes {
        let mut changed = member("/a", host_file("a", 1));
        change(&mut changed);
        shapes.push(key(vec![changed]).0);
    }
    let mut larger = host_file("a", 1);
    larger.state.size = 4;
    shapes.push(key(vec![member("/a", larger)]).0);
    shapes.push(key(vec![Entry::symlink(path("/a"), "b").into()]).0);
    shapes.push(key(vec![Entry::symlink(path("/a"), "c").into()]).0);
    shapes.push(key(vec![Entry::directory(path("/a")).into()]).0);
    let changeset = Changeset::new("test", vec![member("/a", host_file("a", 1))]).unwrap();
    for compression in ["gzip:1", "gzip:3"] {
        let compression = compression.parse().unwrap();
        shapes.push(LayerKey::of(&changeset, compression).shape);
    }
    let count = shapes.len();
    shapes.sort_unstable();
    shapes.dedup();
    assert_eq!(shapes.len(), count);
}

#[test]
fn bytes_of_our_own_are_known_by_their_content() {
    let of = |bytes: &[u8]| key(vec![Member::file(path("/a"), 0o644, bytes.to_vec())]);
    assert_eq!(of(b"one"), of(b"one"));
    assert_eq!(of(b"one").0, of(b"two").0);
    assert_ne!(of(b"one").1, of(b"two").1);
}

#[test]
fn a_file_is_settled_when_the_grain_of_the_clock_is_over() {
    let time = |seconds, nanoseconds| Timestamp {
        seconds,
        nanoseconds,
    };
    for (mtime, ctime, expected) in [
        (time(1, 5), time(2, 990_000_000), time(3, 10_000_000)),
        (time(4, 5), time(2, 6), time(4, 20_000_005)),
        (time(1, 5), time(2, 0), time(4, 0)),
        (time(1, 0), time(2, 5), time(4, 5)),
        (time(i64::MAX, 0), time(2, 5), time(i64::MAX, 0)),
    ] {
        let mut file = host_file("a", 1);
        (file.state.mtime, file.state.ctime) = (mtime, ctime);
        assert_eq!(settled(&file.state), expected);
    }
}

#[test]
fn each_device_is_named_once() {
    let mut elsewhere = host_file("b", 2);
    elsewhere.state.device = 8;
    let members = vec![
        member("/a", host_file("a", 1)),
        member("/b", elsewhere),
        member("/c", host_file("c", 3)),
    ];
    let changeset = Arc::new(Changeset::new("test", members).unwrap());
    let key = LayerKey::of(&changeset, Compression::None);
    let devices: Vec<_> = key.devices.into_iter().collect();
    assert_eq!(devices, [(7, Path::new("a")), (8, Path::new("b"))]);
}
