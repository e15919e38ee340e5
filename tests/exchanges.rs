//! Files and directories that are exchanged while they are packed, as the owner of
//! a release can do.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Child;

use fs_err as fs;
use imgbuild_testing::Tree;

use crate::refusals::changed_while_written;
use crate::runs;

/// Writes a file of the size and time of another one.
fn write_like(planned: &Path, path: &Path) {
    let state = fs::metadata(planned).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut &file, b"SECRET").unwrap();
    file.set_len(state.len()).unwrap();
    file.file().set_modified(state.modified().unwrap()).unwrap();
}

/// A name, and the exchange of the file at a path.
type Exchange = (&'static str, fn(&Path));

const EXCHANGES: [Exchange; 4] = [
    ("a link to an equal file", |path| {
        let secret = path.with_file_name("secret");
        write_like(path, &secret);
        fs::remove_file(path).unwrap();
        symlink(secret, path).unwrap();
    }),
    ("a directory for a link", |path| {
        let directory = path.parent().unwrap();
        let home = directory.with_file_name("home");
        write_like(path, &home.join(path.file_name().unwrap()));
        fs::rename(directory, directory.with_file_name("moved")).unwrap();
        symlink(home, directory).unwrap();
    }),
    ("another file of the same size and time", |path| {
        let other = path.with_file_name("other");
        write_like(path, &other);
        fs::rename(other, path).unwrap();
    }),
    ("a FIFO", |path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::remove_file(path).unwrap();
        let tree = Tree::parse(&format!("fifo {name}")).unwrap();
        tree.write_to(path.parent().unwrap()).unwrap();
    }),
];

#[test]
fn a_file_that_is_exchanged_between_two_reads_is_an_error() {
    for (name, exchange) in EXCHANGES {
        let said = changed_while_written(exchange);
        let sentence = "error: `release/z/last` changed while it was being packaged\n  caused by: ";
        assert!(said.contains(sentence), "{name}: {said}");
    }
}

#[test]
fn a_file_that_is_exchanged_before_it_is_read_is_an_error() {
    for compression in ["--compression=none", "--compression=gzip:1"] {
        for (name, exchange) in EXCHANGES {
            let sandbox = runs::sandbox();
            // The plan is made when the program listens to signals; then the
            // larger file is read first.
            let text = "0644 file a/large 128M\n0644 file z/last 8K";
            let release = sandbox.tree("release", text).unwrap();
            let more = [
                "--output=image.tar",
                "--threads=1",
                "--max-layers=2",
                compression,
            ];
            let mut child = runs::start(&mut sandbox.command(runs::words("release", &more)));
            assert!(runs::becomes(|| runs::handles_signals(&child)));
            exchange(&release.join("z/last"));
            assert!(child.stdin.take().is_none());
            let (status, said) = runs::end(child);
            assert_eq!(status.code(), Some(1), "{name}: {said}");
            let sentence = "`release/z/last` changed while it was being packaged";
            assert!(said.contains(sentence), "{name}: {said}");
            assert_eq!(runs::names(sandbox.root()), ["release"], "{name}");
        }
    }
}

/// Returns whether a process has the file open whose path ends so.
fn has_open(child: &Child, end: &str) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.id()));
    let links = descriptors.into_iter().flatten().flatten();
    let mut targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    targets.any(|target| target.ends_with(end))
}

/// While a directory is listed, it is exchanged for a link to one that only the
/// packing user can read.
#[test]
fn a_directory_that_is_exchanged_while_it_is_listed_leads_nowhere_else() {
    let mut exchanged = 0;
    for _ in 0..100 {
        let sandbox = runs::sandbox();
        let tree = "0644 file release/d/.ssh/id \"x\"\n0600 file home/.ssh/id \"SECRET\"";
        sandbox.tree(".", tree).unwrap();
        let (release, home) = (sandbox.path("release"), sandbox.path("home"));
        for number in 0..4000 {
            symlink("x", release.join(format!("d/{number}"))).unwrap();
        }
        let words = runs::words("release", &["--output=image.tar", "--check=off"]);
        let mut child = runs::start(&mut sandbox.command(words));
        while child.try_wait().unwrap().is_none() {
            if has_open(&child, "release/d") {
                fs::rename(release.join("d"), release.join("moved")).unwrap();
                symlink(&home, release.join("d")).unwrap();
                exchanged += 1;
                break;
            }
        }
        let (_, said) = runs::end(child);
        if let Ok(bytes) = fs::read(sandbox.path("image.tar")) {
            let has_secret = bytes.windows(6).any(|window| window == b"SECRET");
            assert!(!has_secret, "{said}");
        }
        if exchanged == 3 {
            return;
        }
    }
    panic!("no directory was exchanged in time");
}
