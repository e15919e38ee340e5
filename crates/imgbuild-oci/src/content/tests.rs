use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use fs_err as fs;
use rustix::fs::{CWD, Mode, mknodat};
use tempfile::TempDir;

use super::*;

/// A release with the planned file `d/file`, and a file of the same size and time
/// outside of it.
struct World {
    directory: TempDir,
    planned: HostFile,
}

impl World {
    fn new(has_root: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (parent, text) in [("release/d", "planned"), ("outside", "secret!")] {
            fs::create_dir_all(at(parent)).unwrap();
            fs::write(at(parent).join("file"), text).unwrap();
        }
        let path = at("release/d/file");
        let planned = HostFile {
            root: has_root.then(|| RootDirectory::open(&at("release")).unwrap()),
            ..HostFile::find(&path).unwrap()
        };
        let world = Self { directory, planned };
        world.set_time(&world.at("outside/file"));
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Gives a file the planned modification time.
    fn set_time(&self, path: &Path) {
        let Timestamp {
            seconds,
            nanoseconds,
        } = self.planned.state.mtime;
        let since = std::time::Duration::new(
            u64::try_from(seconds).unwrap(),
            u32::try_from(nanoseconds).unwrap(),
        );
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + since;
        file.file().set_modified(time).unwrap();
        let state = FileState::of(&file.metadata().unwrap());
        assert_eq!(state.mtime, self.planned.state.mtime);
        assert_eq!(state.size, self.planned.state.size);
    }

    /// Reads the planned file to its end.
    fn read(&self) -> Result<(Vec<u8>, bool)> {
        let content = Content::File(self.planned.clone());
        let mut reader = ContentReader::open_at(&content, 0)?;
        let mut bytes = vec![0; 7];
        reader.read_exact(&mut bytes)?;
        Ok((bytes, reader.finish()?))
    }

    /// Returns the reason why the file is not read, in all ways of reading.
    fn refusal(&self) -> String {
        let content = Content::File(self.planned.clone());
        assert!(content.first_bytes(7).is_err());
        match self.read() {
            Err(Error::Changed { path, source }) => {
                assert_eq!(path, self.planned.path);
                source.to_string()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn with_and_without_root(test: impl Fn(World)) {
    test(World::new(true));
    test(World::new(false));
}

#[test]
fn an_unchanged_file_is_read_also_with_another_name_or_mode() {
    with_and_without_root(|world| {
        assert_eq!(world.read().unwrap(), (b"planned".to_vec(), true));
        let path = &world.planned.path;
        fs::hard_link(path, world.at("release/other")).unwrap();
        assert_eq!(world.read().unwrap(), (b"planned".to_vec(), false));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, mode).unwrap();
        assert_eq!(world.read().unwrap(), (b"planned".to_vec(), false));
    });
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    with_and_without_root(|world| {
        fs::remove_file(&world.planned.path).unwrap();
        symlink(world.at("outside/file"), &world.planned.path).unwrap();
        assert_eq!(world.refusal(), REPLACED);
    });
}

#[test]
fn a_link_in_place_of_a_directory_above_is_not_followed() {
    with_and_without_root(|world| {
        fs::rename(world.at("release/d"), world.at("release/e")).unwrap();
        symlink(world.at("outside"), world.at("release/d")).unwrap();
        assert_eq!(world.refusal(), REPLACED);
        // Not even to the planned file.
        fs::remove_file(world.at("release/d")).unwrap();
        symlink("e", world.at("release/d")).unwrap();
        assert_eq!(world.refusal(), REPLACED);
    });
}

#[test]
fn another_file_of_the_same_size_and_time_is_not_read() {
    with_and_without_root(|world| {
        fs::rename(world.at("outside/file"), &world.planned.path).unwrap();
        assert_eq!(world.refusal(), REPLACED);
    });
}

#[test]
fn a_file_that_became_something_else_is_not_waited_for() {
    with_and_without_root(|world| {
        let path = &world.planned.path;
        fs::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(world.refusal(), "it is no longer a regular file");
        fs::remove_file(path).unwrap();
        drop(UnixListener::bind(path).unwrap());
        assert_eq!(world.refusal(), REPLACED);
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
        assert_eq!(world.refusal(), "it is no longer a regular file");
    });
}

#[test]
fn a_root_that_was_moved_is_still_the_planned_one() {
    let world = World::new(true);
    fs::rename(world.at("release"), world.at("moved")).unwrap();
    symlink("outside", world.at("release")).unwrap();
    assert_eq!(world.read().unwrap().0, b"planned");
}

#[test]
fn extended_attributes_are_those_of_the_open_file() {
    let world = World::new(true);
    let content = Content::File(world.planned.clone());
    let check = |planned: &Xattrs| {
        let mut dropped = DroppedXattrs::new();
        let reader = ContentReader::open_at(&content, 0).unwrap();
        let checked = reader.check_xattrs(planned, &mut dropped);
        checked.map(|()| dropped).map_err(|error| error.to_string())
    };
    let one: Xattrs = [("user.one".to_owned(), b"1".to_vec())].into();
    assert_eq!(check(&Xattrs::new()), Ok(DroppedXattrs::new()));
    assert!(check(&one).is_err());

    let flags = rustix::fs::XattrFlags::empty();
    for (name, value) in [("user.one", "1"), ("user.two", "2")] {
        if rustix::fs::setxattr(&world.planned.path, name, value.as_bytes(), flags).is_err() {
            return imgbuild_testing::skip::skip_always("no extended attributes here");
        }
    }
    assert_eq!(check(&one), Ok([("user.two".to_owned(), 1)].into()));
    let other: Xattrs = [("user.one".to_owned(), b"2".to_vec())].into();
    assert!(check(&other).is_err());
}
