use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use fs_err as fs;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::*;
use crate::cache::{Cache, CacheSource};
use crate::changeset::Changeset;
use crate::compression::Compression;
use crate::content::{Content, HostFile};
use crate::destination::{Destination, WriteOptions, Written, write};
use crate::entry::Member;
use crate::error::Error;
use crate::image::{Image, ImageOptions};
use crate::layer::{Layer, LayerOptions, build_layers};
use crate::monitor::{Monitor, Progress};
use crate::path::ImagePath;
use crate::source::SourceName;

const GZIP: &str = "gzip:1";

/// A directory with a release of some files and a store beside it.
struct World {
    directory: tempfile::TempDir,
    compression: Compression,
    reads_contents: bool,
    sources: Vec<String>,
}

impl World {
    fn new(compression: &str) -> Self {
        let world = Self {
            directory: tempfile::tempdir().unwrap(),
            compression: compression.parse().unwrap(),
            reads_contents: false,
            sources: Vec::new(),
        };
        fs::create_dir(world.path("release")).unwrap();
        for (name, size) in [("a", 1000), ("b", 400_000), ("c", 0)] {
            world.write(name, &vec![name.as_bytes()[0]; size]);
        }
        world.settle();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("release").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).unwrap();
    }

    /// Waits until a change shows in the state of every file.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(60));
    }

    fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.path("store")).unwrap())
    }

    fn changeset(&self) -> Changeset {
        let member = |name: &str| {
            let content = Content::File(HostFile::find(&self.file(name)).unwrap());
            let path = ImagePath::parse(format!("/{name}")).unwrap();
            Member::file(path, 0o644, content)
        };
        Changeset::new("test", ["a", "b", "c"].map(member).to_vec()).unwrap()
    }

    fn build_with(&self, store: Option<Arc<Store>>, changeset: Changeset) -> Layer {
        let sources = self.sources.iter().map(|name| {
            let name: SourceName = name.parse().unwrap();
            CacheSource::open(&name, self.directory.path()).unwrap()
        });
        let options = LayerOptions {
            compression: self.compression,
            threads: 2,
            scratch: self.directory.path().to_path_buf(),
            cache: Cache {
                store,
                sources: sources.map(Arc::new).collect(),
                reads_contents: self.reads_contents,
            },
        };
        let layers = build_layers(vec![changeset], &options, &|_| {}, Monitor::silent()).unwrap();
        layers.into_iter().next().unwrap()
    }

    fn build(&self) -> Layer {
        self.build_with(Some(self.store()), self.changeset())
    }

    fn build_without_cache(&self) -> Layer {
        self.build_with(None, self.changeset())
    }

    /// Builds with and without the store, and compares digests and bytes.
    fn check(&self) {
        let cached = self.build();
        let fresh = self.build_without_cache();
        assert_eq!(cached.digest(), fresh.digest());
        assert_eq!(cached.diff_id, fresh.diff_id);
        assert_eq!(cached.size(), fresh.size());
        assert_eq!(bytes_of(&cached).unwrap(), bytes_of(&fresh).unwrap());
    }

    /// Whether a build recognizes the layer by the state of its files: then it
    /// does not notice that they are not there any more.
    fn is_recognized_unread(&self) -> bool {
        let changeset = self.changeset();
        let hidden = self.path("hidden");
        fs::rename(self.path("release"), &hidden).unwrap();
        fs::create_dir(self.path("release")).unwrap();
        // The file system is asked for its type by the first file.
        self.write("a", b"decoy");
        let options = LayerOptions {
            compression: self.compression,
            threads: 1,
            scratch: self.directory.path().to_path_buf(),
            cache: Cache {
                store: Some(self.store()),
                sources: Vec::new(),
                reads_contents: self.reads_contents,
            },
        };
        let built = build_layers(vec![changeset], &options, &|_| {}, Monitor::silent());
        fs::remove_dir_all(self.path("release")).unwrap();
        fs::rename(hidden, self.path("release")).unwrap();
        built.is_ok()
    }

    fn names(&self, directory: &str) -> Vec<PathBuf> {
        let directory = self.path("store/v2").join(directory);
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn image(&self, layer: Layer) -> Image {
        Image::assemble(&ImageOptions::default(), &[layer])
    }

    fn write_image(&self, store: Option<&Store>, destination: &str) -> Result<Written, Error> {
        self.write_synced(store, destination, false)
    }

    fn write_synced(
        &self,
        store: Option<&Store>,
        destination: &str,
        sync: bool,
    ) -> Result<Written, Error> {
        let image = self.image(self.build());
        let destination: Destination = self.path(destination).to_str().unwrap().parse().unwrap();
        let options = WriteOptions {
            references: &["example".parse().unwrap()],
            threads: 2,
            sync,
            store,
        };
        write(
            &image,
            &destination,
            options,
            &mut Vec::new(),
            Monitor::silent(),
        )
    }
}

fn bytes_of(layer: &Layer) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let error = |_| Error::Interrupted;
    layer.write_to(&mut bytes, &error, Monitor::silent())?;
    Ok(bytes)
}

fn set_mtime(path: &Path, time: Timestamp) {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

fn state(path: &Path) -> FileState {
    FileState::of(&fs::metadata(path).unwrap())
}

#[test]
fn an_unchanged_layer_is_not_read() {
    for compression in ["none", GZIP] {
        let world = World::new(compression);
        assert!(!world.is_recognized_unread());
        world.build();
        assert!(world.is_recognized_unread());
        world.check();
    }
}

/// Something that happens to a release, and its name.
type NamedChange = (&'static str, fn(&World));

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn no_change_of_a_file_goes_unnoticed() {
    let changes: [NamedChange; 8] = [
        ("another size", |world| world.write("a", b"x")),
        ("the same size", |world| world.write("a", &[b'x'; 1000])),
        ("the same size and time, in place", |world| {
            let before = state(&world.file("a"));
            let file = fs::OpenOptions::new()
                .write(true)
                .open(world.file("a"))
                .unwrap();
            file.file().write_all_at(b"changed", 3).unwrap();
            set_mtime(&world.file("a"), before.mtime);
            assert_eq!(state(&world.file("a")).mtime, before.mtime);
            assert_eq!(state(&world.file("a")).inode, before.inode);
        }),
        ("the same size and time, replaced", |world| {
            let before = state(&world.file("a"));
            fs::write(world.path("new"), [b'x'; 1000]).unwrap();
            set_mtime(&world.path("new"), before.mtime);
            fs::rename(world.path("new"), world.file("a")).unwrap();
        }),
        ("two files swapped", |world| {
            world.write("c", &[b'x'; 1000]);
            world.settle();
            world.build();
            fs::rename(world.file("a"), world.path("t")).unwrap();
            fs::rename(world.file("c"), world.file("a")).unwrap();
            fs::rename(world.path("t"), world.file("c")).unwrap();
        }),
        ("the directory swapped", |world| {
            let old = state(&world.file("a"));
            fs::create_dir(world.path("other")).unwrap();
            for name in ["a", "b", "c"] {
                fs::copy(world.file(name), world.path("other").join(name)).unwrap();
            }
            fs::write(world.path("other/a"), [b'x'; 1000]).unwrap();
            set_mtime(&world.path("other/a"), old.mtime);
            fs::rename(world.path("release"), world.path("old")).unwrap();
            fs::rename(world.path("other"), world.path("release")).unwrap();
        }),
        ("a time long ago", |world| {
            world.write("a", &[b'x'; 1000]);
            let long_ago = Timestamp {
                seconds: 1_000_000,
                nanoseconds: 1,
            };
            set_mtime(&world.file("a"), long_ago);
        }),
        ("a time to come", |world| {
            world.write("a", &[b'x'; 1000]);
            let future = Timestamp {
                seconds: 4_000_000_000,
                nanoseconds: 1,
            };
            set_mtime(&world.file("a"), future);
            world.check();
            world.write("a", &[b'y'; 1000]);
            set_mtime(&world.file("a"), future);
        }),
    ];
    for compression in ["none", GZIP] {
        for (name, change) in changes {
            let world = World::new(compression);
            world.build();
            change(&world);
            let cached = world.build();
            let fresh = world.build_without_cache();
            assert_eq!(cached.digest(), fresh.digest(), "{name}");
            world.settle();
            world.check();
            world.check();
        }
    }
}

#[test]
fn a_file_of_the_present_or_the_future_is_not_trusted() {
    for compression in ["none", GZIP] {
        let world = World::new(compression);
        // Changed again and again within one tick of the clock, at one size.
        for round in 0..40_u8 {
            world.write("a", &[round; 1000]);
            world.check();
        }
        let future = Timestamp {
            seconds: 4_000_000_000,
            nanoseconds: 1,
        };
        set_mtime(&world.file("a"), future);
        world.settle();
        world.build();
        assert!(!world.is_recognized_unread());
    }
}

#[test]
fn whole_seconds_are_not_trusted_for_two_of_them() {
    let world = World::new("none");
    let now = world.store().now().unwrap();
    let whole = Timestamp {
        seconds: now.seconds,
        nanoseconds: 0,
    };
    set_mtime(&world.file("a"), whole);
    world.settle();
    world.build();
    assert!(!world.is_recognized_unread());
}

#[test]
fn a_file_that_is_changed_while_it_is_read_is_not_remembered() {
    let world = World::new("none");
    let changeset = world.changeset();
    // A further name changes the state of the file, not its bytes.
    fs::hard_link(world.file("a"), world.path("link")).unwrap();
    world.build_with(Some(world.store()), changeset);
    assert_eq!(world.names("layers").len(), 0);
}

#[test]
fn touched_moved_and_copied_files_are_known_by_their_content() {
    let world = World::new(GZIP);
    let first = world.build();
    set_mtime(
        &world.file("a"),
        Timestamp {
            seconds: 5,
            nanoseconds: 5,
        },
    );
    fs::rename(world.file("b"), world.path("b")).unwrap();
    fs::copy(world.path("b"), world.file("b")).unwrap();
    world.settle();
    let blob = state(&world.names("blobs/sha256")[0]);
    let second = world.build();
    assert_eq!(first.digest(), second.digest());
    assert_eq!(
        state(&world.names("blobs/sha256")[0]),
        blob,
        "it was not made again"
    );
    assert!(world.is_recognized_unread());
}

#[test]
fn contents_alone_decide_when_asked_for() {
    let mut world = World::new(GZIP);
    world.reads_contents = true;
    world.build();
    assert_eq!(world.names("layers").len(), 0);
    assert!(!world.is_recognized_unread());
    let blob = state(&world.names("blobs/sha256")[0]);
    world.check();
    assert_eq!(state(&world.names("blobs/sha256")[0]), blob);
}

#[test]
fn a_damaged_blob_is_made_again() {
    let damages: [fn(&Path); 4] = [
        |path| drop(fs::remove_file(path)),
        |path| fs::write(path, b"").unwrap(),
        |path| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(100)
                .unwrap();
        },
        |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.file().write_all_at(b"damage", 50).unwrap();
        },
    ];
    for damage in damages {
        let world = World::new(GZIP);
        world.build();
        let path = world.names("blobs/sha256").remove(0);
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        damage(&path);
        world.check();
        world.check();
    }
}

#[test]
fn a_blob_that_is_damaged_after_it_was_found_never_gets_its_name() {
    let world = World::new(GZIP);
    world.build();
    let layer = world.build();
    let path = world.names("blobs/sha256").remove(0);
    fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.file().write_all_at(b"damage", 50).unwrap();
    let error = bytes_of(&layer).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!path.exists());
    world.check();
}

#[test]
fn a_store_that_was_copied_is_checked_and_used() {
    let world = World::new(GZIP);
    let first = world.build();
    let blob = world.names("blobs/sha256").remove(0);
    let copy = world.path("copy");
    fs::copy(&blob, &copy).unwrap();
    fs::rename(&copy, &blob).unwrap();
    let inode = state(&blob).inode;
    assert_eq!(world.build().digest(), first.digest());
    assert_eq!(state(&blob).inode, inode, "it was not made again");
    world.check();
}

#[test]
fn damaged_records_are_as_good_as_none() {
    for directory in ["layers", "contents"] {
        let world = World::new(GZIP);
        world.build();
        for damage in [b"".as_slice(), b"imgbuild", &[0; 200]] {
            let path = world.names(directory).remove(0);
            fs::remove_file(&path).unwrap();
            fs::write(&path, damage).unwrap();
            world.check();
        }
    }
}

#[test]
fn a_blob_that_vanishes_after_it_was_found_can_be_written() {
    let world = World::new(GZIP);
    world.build();
    let layer = world.build();
    world.store().clear().unwrap();
    assert_eq!(world.store().usage().unwrap(), Usage::default());
    let fresh = world.build_without_cache();
    assert_eq!(bytes_of(&layer).unwrap(), bytes_of(&fresh).unwrap());
}

#[test]
fn a_store_that_vanishes_or_is_full_makes_no_difference() {
    for compression in ["none", GZIP] {
        let world = World::new(compression);
        let store = world.store();
        fs::remove_dir_all(world.path("store")).unwrap();
        let layer = world.build_with(Some(Arc::clone(&store)), world.changeset());
        let fresh = world.build_without_cache();
        assert_eq!(bytes_of(&layer).unwrap(), bytes_of(&fresh).unwrap());
        assert!(store.problem().is_some());
    }
}

#[test]
fn builds_share_a_store() {
    let world = World::new(GZIP);
    let expected = world.build_without_cache().digest();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..10 {
                    let layer = world.build();
                    assert_eq!(layer.digest(), expected);
                    assert_eq!(Digest::of(&bytes_of(&layer).unwrap()), expected);
                    if round % 3 == 0 {
                        world.store().prune(0).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(world.names("tmp").len(), 0);
}

#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let world = World::new(GZIP);
    world.build();
    let store = world.store();
    world.settle();
    world.write("a", b"another");
    world.settle();
    world.build();
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.records), (2, 4));
    world.write("a", &[b'a'; 1000]);
    world.settle();
    // The first one again: found by its content.
    let first = world.build();
    let pruned = store.prune(usage.bytes - 5000).unwrap();
    assert!(pruned.files > 0);
    let left = store.usage().unwrap();
    assert_eq!(left.blobs, 1);
    assert!(world.names("blobs/sha256")[0].ends_with(first.digest().hex()));
    store.prune(0).unwrap();
    assert_eq!(store.usage().unwrap(), Usage::default());
}

#[test]
fn what_killed_builds_have_left_is_removed_after_a_day() {
    let world = World::new(GZIP);
    let store = world.store();
    let now = store.now().unwrap();
    let hours_ago = |hours: i64| Timestamp {
        seconds: now.seconds - hours * 3600,
        ..now
    };
    for (name, hours) in [("old", 25), ("young", 23)] {
        let path = world.path("store/v2/tmp").join(name);
        fs::write(&path, b"half a blob").unwrap();
        set_mtime(&path, hours_ago(hours));
    }
    assert_eq!(
        store.prune(1 << 30).unwrap(),
        Pruned {
            files: 1,
            bytes: 11
        }
    );
    assert!(world.names("tmp")[0].ends_with("young"));
}

#[test]
fn what_no_build_uses_is_removed_at_once() {
    let world = World::new(GZIP);
    let store = world.store();
    let used = store.new_blob().unwrap();
    fs::write(world.path("store/v2/tmp/.imgbuild-Ab12Cd"), b"half").unwrap();
    let pruned = store.prune(1 << 30).unwrap();
    assert_eq!(pruned, Pruned { files: 1, bytes: 4 });
    assert_eq!(world.names("tmp"), [used.path()]);
}

#[test]
fn an_unchanged_archive_is_not_written_again() {
    for name in ["image.tar", "image.tar.gz"] {
        let world = World::new("none");
        let store = world.store();
        let place = world.path(name);
        let write = |expected| {
            assert_eq!(
                world.write_image(Some(&store), name).unwrap(),
                expected,
                "{name}"
            );
        };
        write(Written::New);
        let written = state(&place);
        let bytes = fs::read(&place).unwrap();
        write(Written::Unchanged);
        assert_eq!(state(&place), written);
        // In the same tick of the clock, perhaps.
        let file = fs::OpenOptions::new().write(true).open(&place).unwrap();
        file.file().write_all_at(b"x", 600).unwrap();
        write(Written::New);
        assert_eq!(fs::read(&place).unwrap(), bytes);
        fs::remove_file(&place).unwrap();
        write(Written::New);
        world.write("a", b"changed");
        write(Written::New);
        write(Written::Unchanged);
        assert_eq!(world.write_image(None, name).unwrap(), Written::New);
        write(Written::New);
    }
}

#[test]
fn an_archive_that_was_not_synced_does_not_count_as_one_that_was() {
    let world = World::new("none");
    let store = world.store();
    for (sync, expected) in [
        (false, Written::New),
        (false, Written::Unchanged),
        (true, Written::New),
        (true, Written::Unchanged),
        (false, Written::Unchanged),
    ] {
        let written = world.write_synced(Some(&store), "image.tar", sync);
        assert_eq!(written.unwrap(), expected);
    }
}

#[test]
fn a_change_right_after_the_end_is_noticed() {
    let world = World::new("none");
    let store = world.store();
    let place = world.path("image.tar");
    for round in 0..20 {
        assert_eq!(
            world.write_image(Some(&store), "image.tar").unwrap(),
            Written::New
        );
        let mut file = fs::OpenOptions::new().write(true).open(&place).unwrap();
        file.write_all(&[round]).unwrap();
    }
}

#[test]
fn an_unchanged_layout_is_not_touched() {
    let world = World::new(GZIP);
    assert_eq!(world.write_image(None, "layout").unwrap(), Written::New);
    let index = state(&world.path("layout/index.json"));
    assert_eq!(
        world.write_image(None, "layout").unwrap(),
        Written::Unchanged
    );
    assert_eq!(state(&world.path("layout/index.json")), index);
    world.write("a", b"changed");
    assert_eq!(world.write_image(None, "layout").unwrap(), Written::New);
}

#[test]
fn layers_are_taken_from_layouts_archives_and_stores() {
    for (destination, prefix) in [
        ("layout", "oci:"),
        ("image.tar", ""),
        ("store", ""),
        ("blobs", ""),
    ] {
        let mut world = World::new(GZIP);
        world.write_image(None, destination).unwrap();
        if destination == "blobs" {
            fs::remove_file(world.path("blobs/index.json")).unwrap();
            fs::remove_file(world.path("blobs/oci-layout")).unwrap();
        }
        let fresh = world.build_without_cache();
        let moved = world.path("elsewhere");
        fs::rename(world.path(destination), &moved).unwrap();
        drop(fs::remove_dir_all(world.path("store")));
        world.sources = vec![format!("{prefix}{}", moved.display())];
        let layer = world.build();
        assert!(layer.is_reused && !fresh.is_reused, "{destination}");
        assert_eq!(layer.digest(), fresh.digest(), "{destination}");
        assert_eq!(bytes_of(&layer).unwrap(), bytes_of(&fresh).unwrap());
        world.sources.clear();
        assert!(
            world.is_recognized_unread(),
            "{destination}: it is in our store, too"
        );
    }
}

#[test]
fn a_layer_of_another_encoder_is_not_taken() {
    let mut world = World::new("gzip:9");
    world.write_image(None, "layout").unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    world.compression = GZIP.parse().unwrap();
    let fresh = world.build_without_cache();
    world.sources = vec![world.path("layout").display().to_string()];
    let layer = world.build();
    assert!(!layer.is_reused);
    assert_eq!(layer.digest(), fresh.digest());
}

#[test]
fn a_damaged_source_makes_no_difference() {
    let mut world = World::new(GZIP);
    world.write_image(None, "layout").unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    let fresh = world.build_without_cache();
    let blob = world.path("layout/blobs/sha256").join(fresh.digest().hex());
    let size = fs::metadata(&blob).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&blob).unwrap();
    // Far behind the bytes that are compared, before the trailer.
    file.file().write_all_at(b"x", size - 20).unwrap();
    world.sources = vec![world.path("layout").display().to_string()];
    let layer = world.build();
    assert!(!layer.is_reused);
    assert_eq!(layer.digest(), fresh.digest());
    assert_eq!(bytes_of(&layer).unwrap(), bytes_of(&fresh).unwrap());
}

#[test]
fn notes_hold_as_long_as_their_files_do() {
    let world = World::new("none");
    let store = world.store();
    let file = || HostFile::find(&world.file("a")).unwrap();
    let note = |kind: &str| store.note(kind, [&file()].into_iter());
    let (key, none) = note("kind").unwrap();
    assert_eq!(none, None);
    store.remember_note(key, b"text");
    assert_eq!(note("kind").unwrap().1.as_deref(), Some(b"text".as_slice()));
    assert_eq!(note("another").unwrap().1, None);
    world.write("a", &[b'x'; 1000]);
    world.settle();
    assert_eq!(note("kind").unwrap().1, None);
}

#[test]
fn progress_tells_of_layers_that_are_found_too() {
    let world = World::new(GZIP);
    world.build();
    let (read, layers) = (Mutex::new(0), Mutex::new(0));
    let follow = |progress: Progress| {
        if let Progress::Read(bytes) = progress {
            *read.lock().unwrap() += bytes;
        }
    };
    let finished = |_: &Layer| *layers.lock().unwrap() += 1;
    let never = AtomicBool::new(false);
    let options = LayerOptions {
        compression: world.compression,
        threads: 1,
        scratch: world.directory.path().to_path_buf(),
        cache: Cache {
            store: Some(world.store()),
            ..Cache::default()
        },
    };
    let changeset = world.changeset();
    let size = changeset.tar_size();
    let monitor = Monitor::new(&follow, &never);
    build_layers(vec![changeset], &options, &finished, monitor).unwrap();
    assert_eq!((*read.lock().unwrap(), *layers.lock().unwrap()), (size, 1));
}

#[test]
fn a_directory_that_cannot_be_written_is_no_store() {
    let world = World::new("none");
    fs::write(world.path("file"), b"").unwrap();
    assert!(Store::open(&world.path("file")).is_err());
    assert!(Store::open(&world.path("file/store")).is_err());
    assert!(Store::open_read_only(&world.path("nothing")).is_none());
}
