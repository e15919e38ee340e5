use std::io::Write as _;
use std::os::unix::net::UnixListener;

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn pipe_at(path: &Path) {
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}

/// Reads an input that is not interrupted.
fn read_input(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    crate::input::read_input(path, limit, crate::monitor::Monitor::silent())
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let directory = directory();
    let path = directory.path().join("file");
    fs::write(&path, "12345").unwrap();
    assert_eq!(read_file(&path, 5).unwrap(), b"12345");
    assert_eq!(read_text(&path, 5).unwrap(), "12345");
    assert_eq!(read_input(&path, 5).unwrap(), b"12345");
    for read in [read_file, read_input] {
        let error = read(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let shown = path.display();
        let expected =
            format!("`{shown}` has more than 4 bytes, the limit: check that it is the right one");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(read_start(&b"12345"[..], 4).unwrap(), b"1234");
    assert_eq!(read_all(&b"12345"[..], 5).unwrap(), b"12345");
    let error = read_all(io::repeat(0), 3 << 10).unwrap_err().to_string();
    assert!(
        error.starts_with("the input has more than 3 KiB"),
        "{error}"
    );
    fs::write(&path, b"\xff").unwrap();
    let error = read_text(&path, 1 << 20).unwrap_err().to_string();
    assert!(
        error.ends_with("is not UTF-8: save it as UTF-8 text"),
        "{error}"
    );
}

#[test]
fn the_size_that_the_system_reports_is_not_trusted() {
    let path = Path::new("/proc/self/status");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
    assert!(!read_file(path, 1 << 20).unwrap().is_empty());
    let error = read_file(path, 2).unwrap_err().to_string();
    assert!(error.contains("more than 2 bytes"), "{error}");
}

#[test]
fn only_a_regular_file_is_one() {
    let directory = directory();
    let (pipe, socket) = (
        directory.path().join("pipe"),
        directory.path().join("socket"),
    );
    pipe_at(&pipe);
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &socket, directory.path(), Path::new("/dev/zero")] {
        let error = read_file(path, 9).unwrap_err().to_string();
        assert!(error.contains("failed to open file"), "{error}");
    }
    assert!(read_input(directory.path(), 9).is_err());
}

#[test]
fn an_input_may_be_a_pipe_or_a_device() {
    let directory = directory();
    let path = directory.path().join("pipe");
    pipe_at(&path);
    // The writer comes late, writes more than a pipe holds, and goes.
    let writer = || fs::OpenOptions::new().write(true).open(&path).unwrap();
    let written = vec![b'x'; 200_000];
    std::thread::scope(|scope| {
        scope.spawn(|| writer().write_all(&written).unwrap());
        assert_eq!(read_input(&path, 1 << 20).unwrap(), written);
        scope.spawn(|| drop(writer()));
        assert_eq!(read_input(&path, 1 << 20).unwrap(), b"");
    });
    assert_eq!(read_input(Path::new("/dev/null"), 9).unwrap(), b"");
    let error = read_input(Path::new("/dev/zero"), 1 << 20).unwrap_err();
    let expected = "`/dev/zero` has more than 1 MiB, the limit: check that it is the right one";
    assert_eq!(error.to_string(), expected);
}
