use std::io::Read as _;
use std::os::unix::fs::symlink;

use fs_err as fs;
use rustix::fs::{FileType, mknodat};
use tempfile::TempDir;

use super::*;

/// A directory `root` with a file, links and a FIFO, beside a file `outside`.
fn world() -> (TempDir, Arc<RootDirectory>) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("root/d/empty")).unwrap();
    fs::write(at("root/d/file"), "inside").unwrap();
    fs::write(at("outside"), "outside").unwrap();
    for (link, target) in [
        ("file", "d/file"),
        ("absolute", "/d/file"),
        ("up", "../../root/d/file"),
        ("chain", "d/back"),
        ("d/back", "../file"),
        ("directory", "d"),
        ("out", "../outside"),
        ("loop", "loop"),
    ] {
        symlink(target, at("root").join(link)).unwrap();
    }
    symlink(at("outside"), at("root/out-absolute")).unwrap();
    mknodat(CWD, at("root/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let root = RootDirectory::open(&at("root")).unwrap();
    (directory, root)
}

fn text(file: io::Result<File>) -> Option<String> {
    let mut text = String::new();
    file.ok()?.read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn links_are_followed_as_below_a_root() {
    let (_directory, root) = world();
    for path in ["d/file", "file", "absolute", "chain", "directory/file"] {
        let found = text(root.open_file(Path::new(path)));
        assert_eq!(found.as_deref(), Some("inside"), "{path}");
    }
    for path in [
        "out",
        "out-absolute",
        "up",
        "loop",
        "../outside",
        "d",
        "fifo",
        "",
    ] {
        assert_eq!(text(root.open_file(Path::new(path))), None, "{path}");
    }
}

#[test]
fn errors_name_the_file() {
    let (_directory, root) = world();
    let error = root.open_file(Path::new("fifo")).unwrap_err();
    let said = crate::error::with_causes(&error, ": ");
    assert!(
        said.ends_with("root/fifo`: it is not a regular file"),
        "{said}"
    );
    let error = root.open_file(Path::new("nothing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = RootDirectory::open(&root.path().join("nothing")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = RootDirectory::open(&root.path().join("d/file")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn a_directory_behind_a_link_is_not_opened() {
    let (_directory, root) = world();
    for path in ["", "d", "d/empty"] {
        assert!(root.open_directory(Path::new(path)).is_ok(), "{path}");
    }
    for path in ["directory", "directory/empty", "..", "file", "fifo"] {
        assert!(root.open_directory(Path::new(path)).is_err(), "{path}");
    }
}

#[test]
fn links_in_a_path_are_seen() {
    let (directory, root) = world();
    let path = directory.path();
    for (relative, expected) in [
        ("root/d/file", false),
        ("root/d/../d", false),
        ("root/nothing", false),
        ("root/fifo", false),
        ("root/file", true),
        ("root/directory", true),
        ("root/directory/file", true),
        ("root/out", true),
    ] {
        assert_eq!(
            leads_through_link(&path.join(relative)),
            expected,
            "{relative}"
        );
    }
    assert!(!leads_through_link(root.path()));
}

/// Kernels and sandboxes without `openat2` see the same files.
#[test]
fn opening_step_by_step_is_the_same() {
    let (directory, root) = world();
    let absolute = directory.path().join("root/d/file");
    let through = directory.path().join("root/directory/file");
    for (root, path) in [
        (Some(&*root), Path::new(".")),
        (Some(&*root), Path::new("d")),
        (Some(&*root), Path::new("d/file")),
        (Some(&*root), Path::new("d/nothing")),
        (Some(&*root), Path::new("d/file/x")),
        (Some(&*root), Path::new("file")),
        (Some(&*root), Path::new("directory/file")),
        (None, &absolute),
        (None, &through),
        (None, Path::new("/")),
    ] {
        let base = root.map_or(CWD, |root| root.descriptor.as_fd());
        for flags in [FILE, DIRECTORY] {
            let identity = |opened: OwnedFd| {
                let found = rustix::fs::fstat(opened).unwrap();
                (found.st_dev, found.st_ino)
            };
            let replaced = |error: Errno| {
                (
                    is_replaced(error),
                    !is_replaced(error) && error == Errno::NOENT,
                )
            };
            let expected = open_exact(root, path, flags)
                .map(identity)
                .map_err(replaced);
            let opened = open_stepwise(base, path, flags);
            let found = opened.map(identity).map_err(replaced);
            assert_eq!(found, expected, "{root:?} {path:?} {flags:?}");
        }
    }
}
