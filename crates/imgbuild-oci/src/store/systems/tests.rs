use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use fs_err as fs;

use super::*;
use crate::source::fixture::{Fixture, Opened};
use crate::store::record::Record as _;

/// A store, and a base image beside it.
struct World {
    directory: tempfile::TempDir,
    opened: Opened,
}

impl World {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            opened: Fixture::good().archive(),
        }
    }

    fn store(&self) -> Store {
        Store::open(&self.directory.path().join("cache")).unwrap()
    }

    fn image(&self) -> (Source, SelectedImage) {
        let source = self.opened.source();
        let image = SelectedImage::select(&source, None, None).unwrap();
        (source, image)
    }

    fn read(&self) -> FileSystem {
        let (source, image) = self.image();
        let options = ReadOptions {
            scratch: self.opened.scratch(),
            keeps: &|_| false,
        };
        let found = self.store().read_file_system(&source, &image, options);
        found.unwrap()
    }

    fn remembered(&self) -> Option<FileSystem> {
        self.store().file_system(&self.image().1.layers)
    }

    fn files(&self, directory: &str) -> Vec<PathBuf> {
        let place = self.directory.path().join("cache/v2").join(directory);
        let entries = fs::read_dir(place).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn only(&self, directory: &str) -> PathBuf {
        let mut files = self.files(directory);
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

/// Everything that is known, with the contents that were kept.
fn shown(files: &FileSystem) -> String {
    let members = files.members().iter().map(|member| {
        let content = member.content.as_ref();
        let content = content.map(|content| content.first_bytes(1 << 20).unwrap());
        format!("{:?} {content:?}\n", member.entry)
    });
    let members: String = members.collect();
    format!("{members}{:?} {:?}", files.specials(), files.blobs())
}

#[test]
fn what_a_base_holds_is_remembered() {
    let world = World::new();
    assert!(world.remembered().is_none());
    let read = world.read();
    assert!(shown(&read).contains("Some(["), "{}", shown(&read));
    assert_eq!(shown(&world.remembered().unwrap()), shown(&read));
    let usage = world.store().usage().unwrap();
    assert_eq!((usage.bases, usage.records), (1, 1));
    let size = fs::metadata(world.only(BASE_SYSTEMS)).unwrap().len();
    assert_eq!(usage.base_bytes, size);
}

#[test]
fn other_layers_are_another_system() {
    let world = World::new();
    drop(world.read());
    let mut layers = world.image().1.layers;
    layers[0].digest = Digest::of(b"another");
    assert!(world.store().file_system(&layers).is_none());
    let fewer = &world.image().1.layers[1..];
    assert!(world.store().file_system(fewer).is_none());
}

#[test]
fn what_was_carried_over_is_hashed_and_taken() {
    let world = World::new();
    let read = world.read();
    let path = world.only(BASE_SYSTEMS);
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert_eq!(shown(&world.remembered().unwrap()), shown(&read));
}

#[test]
fn what_is_damaged_is_forgotten_and_made_anew() {
    let world = World::new();
    let read = shown(&world.read());
    let size = fs::metadata(world.only(BASE_SYSTEMS)).unwrap().len();
    for place in [0, size / 2, size - 1] {
        let path = world.only(BASE_SYSTEMS);
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(place).unwrap()] ^= 1;
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(world.remembered().is_none(), "{place}");
        assert_eq!(world.files(SYSTEMS).len(), 0);
        assert_eq!(world.files(BASE_SYSTEMS).len(), 0);
        assert_eq!(shown(&world.read()), read);
    }
    for bytes in [&b""[..], b"imgbuild", &[0; 10_000]] {
        fs::write(world.only(SYSTEMS), bytes).unwrap();
        assert!(world.remembered().is_none());
    }
}

#[test]
fn a_file_of_another_version_is_no_record() {
    let world = World::new();
    drop(world.read());
    // Whole, by a record that fits it, and yet not ours.
    let mut file = NamedTempFile::new_in(world.directory.path()).unwrap();
    file.write_all(&[7; 100_000]).unwrap();
    let digest = hash(file.as_file()).unwrap();
    let file = file.persist(world.only(BASE_SYSTEMS)).unwrap();
    let state = FileState::of(&file.metadata().unwrap());
    let record = SystemRecord { digest, state };
    let bytes = crate::record::encode(SystemRecord::KIND, &record);
    fs::write(world.only(SYSTEMS), bytes).unwrap();
    assert!(world.remembered().is_none());
}

#[test]
fn a_store_that_only_is_read_takes_nothing() {
    let world = World::new();
    drop(world.store());
    let store = Store::open_read_only(&world.directory.path().join("cache")).unwrap();
    let (source, image) = world.image();
    let options = ReadOptions {
        scratch: world.opened.scratch(),
        keeps: &|_| false,
    };
    drop(store.read_file_system(&source, &image, options).unwrap());
    assert_eq!(world.store().usage().unwrap().bases, 0);
    assert!(store.problem().is_none());
}

#[test]
fn pruning_takes_a_system_and_its_record_together() {
    let world = World::new();
    drop(world.read());
    let pruned = world.store().prune(0).unwrap();
    assert_eq!(pruned.files, 2);
    assert!(world.remembered().is_none());
    assert_eq!(
        world.files(SYSTEMS).len() + world.files(BASE_SYSTEMS).len(),
        0
    );
    drop(world.read());
    assert_eq!(world.store().clear().unwrap().files, 2);
    assert_eq!(world.store().usage().unwrap().bytes, 0);
}
