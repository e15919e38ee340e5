use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;

fn written(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Tree::parse(text)
        .unwrap()
        .write_to(directory.path())
        .unwrap();
    directory
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn every_kind_is_made_as_written() {
    let directory = written(
        r#"
        # a release
        0750 dir  empty
        4755 file bin/server "\x7fELF\n"
        0600 file data 3K
        link bin/run -> server
        hard bin/copy -> bin/server
        fifo run/pipe
        socket run/sock
        "#,
    );
    let at = |name: &str| directory.path().join(name);
    assert_eq!(mode(&at("empty")), 0o750);
    assert_eq!(fs::read(at("bin/server")).unwrap(), b"\x7fELF\n");
    assert_eq!(mode(&at("bin/server")), 0o4755);
    assert_eq!(fs::read(at("data")).unwrap(), vec![0; 3072]);
    assert_eq!(fs::read_link(at("bin/run")).unwrap(), Path::new("server"));
    let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    assert_eq!(inode("bin/copy"), inode("bin/server"));
    assert!(fs::metadata(at("run/pipe")).unwrap().file_type().is_fifo());
    assert!(
        fs::metadata(at("run/sock"))
            .unwrap()
            .file_type()
            .is_socket()
    );
}

#[test]
fn names_carry_blanks_and_bytes_that_are_not_utf8() {
    let directory = written("0644 file \"a b\" \"\"\n0644 file caf\\xe9\\n \"x\"");
    assert!(directory.path().join("a b").exists());
    assert!(
        directory
            .path()
            .join(OsStr::from_bytes(b"caf\xe9\n"))
            .exists()
    );
}

#[test]
fn a_read_only_directory_is_filled_before_it_is_closed() {
    let directory = written("0555 dir closed\n0444 file closed/inside \"x\"");
    assert_eq!(mode(&directory.path().join("closed")), 0o555);
    assert_eq!(
        fs::read(directory.path().join("closed/inside")).unwrap(),
        b"x"
    );
}

#[test]
fn a_line_that_says_nothing_known_is_refused_with_its_number() {
    let cases = [
        ("0644 file a", "a file needs its content or size"),
        ("0644 file a b", "content is quoted, a size is a number"),
        ("0644 file a \"b", "a quote is not closed"),
        ("0644 file a \"\\q\"", "no such escape"),
        ("0644 file a \"\\x0\"", "`\\x` needs two hexadecimal digits"),
        (
            "644 file a \"\"",
            "no known kind and no mode of four octal digits",
        ),
        ("0644 pipe a", "neither `dir` nor `file` after the mode"),
        (
            "0644 file ../a \"\"",
            "a path is relative and stays inside the tree",
        ),
        (
            "0644 file /a \"\"",
            "a path is relative and stays inside the tree",
        ),
        ("link a b", "a link is written `name -> target`"),
        ("link a ->", "a link needs a target"),
        (
            "0755 dir a b",
            "more words than its kind takes (quote a name with blanks)",
        ),
    ];
    for (line, reason) in cases {
        let error = Tree::parse(&format!("0755 dir first\n{line}")).unwrap_err();
        assert_eq!((error.line, error.reason), (2, reason), "{line}");
    }
}
