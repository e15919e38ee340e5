//! Nothing is lost: GNU tar unpacks from an image every path, byte and link of the
//! release.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Sandbox, unpack};
use proptest::prelude::*;

use crate::runs;
use crate::support::has_programs;

/// A node of a tree, with the modes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory {
        mode: u32,
    },
    /// A regular file, with the first path of the same file in bytewise order.
    File {
        mode: u32,
        content: String,
        same_as: PathBuf,
    },
    Symlink {
        target: PathBuf,
    },
}

type Nodes = BTreeMap<PathBuf, Node>;

/// Returns everything below `root`; for the release, with the modes of an image.
fn nodes(root: &Path, mode: fn(bool, u32) -> u32) -> Nodes {
    let mut found = Nodes::new();
    let mut paths = vec![root.to_owned()];
    while let Some(directory) = paths.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            let bits = metadata.mode() & 0o7777;
            let node = if metadata.is_symlink() {
                Node::Symlink {
                    target: fs::read_link(&path).unwrap(),
                }
            } else if metadata.is_dir() {
                paths.push(path);
                Node::Directory {
                    mode: mode(true, bits),
                }
            } else {
                let content = runs::digest_of(&path);
                let same_as = PathBuf::from(metadata.ino().to_string());
                Node::File {
                    mode: mode(false, bits),
                    content,
                    same_as,
                }
            };
            found.insert(relative, node);
        }
    }
    name_same_files(&mut found);
    found
}

/// Replaces inode numbers, which differ, by the first path of the file.
fn name_same_files(nodes: &mut Nodes) {
    let mut first: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (path, node) in nodes {
        if let Node::File { same_as, .. } = node {
            *same_as = first.entry(same_as.clone()).or_insert(path.clone()).clone();
        }
    }
}

fn as_they_are(_: bool, mode: u32) -> u32 {
    mode
}

/// Returns the mode in the image: special bits stay, the umask has no effect.
fn as_in_an_image(is_directory: bool, mode: u32) -> u32 {
    let is_executable = is_directory || mode & 0o111 != 0;
    (if is_executable { 0o755 } else { 0o644 }) | mode & 0o7000
}

/// Unpacks the layers of a layout with GNU tar, lowest first.
fn untar(sandbox: &Sandbox, layout: &Path) -> PathBuf {
    let root = sandbox.path("unpacked");
    fs::create_dir(&root).unwrap();
    let image = unpack_lists(layout);
    for layer in image {
        let mut tar = Command::new("tar");
        tar.args([
            "--extract",
            "--preserve-permissions",
            "--no-same-owner",
            "--file",
        ]);
        tar.arg(layout.join("blobs/sha256").join(layer))
            .arg("--directory")
            .arg(&root);
        drop(finish(&mut tar, b"").success());
    }
    root
}

/// Returns the names of the blobs of the layers.
fn unpack_lists(layout: &Path) -> Vec<String> {
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let hex = |descriptor: &serde_json::Value| {
        descriptor["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:")
            .to_owned()
    };
    let index = json(&layout.join("index.json"));
    let manifest = json(
        &layout
            .join("blobs/sha256")
            .join(hex(&index["manifests"][0])),
    );
    manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(hex)
        .collect()
}

/// Builds `release`, unpacks the image and compares; returns the messages of the
/// build.
fn assert_nothing_is_lost(sandbox: &Sandbox, release: &Path, compression: &str) -> String {
    let layout = sandbox.path("layout");
    let compression = format!("--compression={compression}");
    let more = [
        "--output=oci:layout",
        "--allow-set-id",
        "--prefix=/app",
        &compression,
    ];
    let outcome = sandbox.run(runs::words(release, &more)).success();
    let expected = nodes(release, as_in_an_image);
    let found = nodes(&untar(sandbox, &layout).join("app"), as_they_are);
    assert_eq!(
        found.len(),
        expected.len(),
        "paths:\n{found:#?}\n{expected:#?}"
    );
    for (path, node) in &expected {
        assert_eq!(found.get(path), Some(node), "{}", path.display());
    }
    outcome.stderr_redacted()
}

/// A node of a random tree; nodes are made in order.
#[derive(Debug, Clone)]
enum Make {
    Directory(Vec<OsString>, u32),
    File(Vec<OsString>, u32, Vec<u8>),
    Symlink(Vec<OsString>, OsString),
    /// A further name of an earlier file, by its number modulo the count.
    Hardlink(Vec<OsString>, usize),
}

/// Generates the bytes of a name: neither NUL nor slash.
fn name() -> impl Strategy<Value = OsString> {
    let name_bytes = |bytes: Vec<u8>| {
        let mut bytes: Vec<u8> = bytes
            .into_iter()
            .filter(|byte| ![0, b'/'].contains(byte))
            .collect();
        bytes.truncate(255);
        let is_bad =
            bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.starts_with(b".wh.");
        OsString::from_vec(if is_bad { b"x".to_vec() } else { bytes })
    };
    prop_oneof![
        // Few names, so that paths share directories.
        4 => "[ab]".prop_map(OsString::from),
        2 => "[ -.0-~]{1,12}".prop_map(String::into_bytes).prop_map(name_bytes),
        2 => "\\PC{1,60}".prop_map(String::into_bytes).prop_map(name_bytes),
        2 => prop::collection::vec(any::<u8>(), 1..40).prop_map(name_bytes),
        1 => "[a-z]{95,105}".prop_map(OsString::from),
        1 => "[a-zé]{150,255}".prop_map(String::into_bytes).prop_map(name_bytes),
        1 => prop_oneof![Just("line\nbreak"), Just(" "), Just("-"), Just("\t"), Just("é\r\n"), Just("...")]
            .prop_map(OsString::from),
    ]
}

fn path() -> impl Strategy<Value = Vec<OsString>> {
    prop_oneof![
        8 => prop::collection::vec(name(), 1..5),
        1 => prop::collection::vec(name(), 5..12),
    ]
}

fn target() -> impl Strategy<Value = OsString> {
    prop_oneof![
        path().prop_map(|names| names.join(OsStr::new("/"))),
        path().prop_map(|names| [OsStr::new("/app/"), &names.join(OsStr::new("/"))].concat_all()),
        path().prop_map(|names| [OsStr::new("../../"), &names.join(OsStr::new("/"))].concat_all()),
        Just("..".into()),
        Just("/".into()),
        Just("a//./b/".into()),
        "[a-z/]{101,500}".prop_map(OsString::from),
    ]
}

trait ConcatAll {
    fn concat_all(&self) -> OsString;
}

impl ConcatAll for [&OsStr; 2] {
    fn concat_all(&self) -> OsString {
        let mut all = self[0].to_owned();
        all.push(self[1]);
        all
    }
}

fn mode() -> impl Strategy<Value = u32> {
    // Readable by the owner, since other files are refused.
    (0..0o7777u32).prop_map(|mode| mode | 0o400)
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        4 => prop::collection::vec(any::<u8>(), 1..64),
        1 => prop::collection::vec(any::<u8>(), 510..515),
        1 => (any::<u8>(), 1..300_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn make() -> impl Strategy<Value = Make> {
    prop_oneof![
        2 => (path(), mode()).prop_map(|(path, mode)| Make::Directory(path, mode)),
        5 => (path(), mode(), content()).prop_map(|(path, mode, bytes)| Make::File(path, mode, bytes)),
        2 => (path(), target()).prop_map(|(path, target)| Make::Symlink(path, target)),
        2 => (path(), any::<usize>()).prop_map(|(path, which)| Make::Hardlink(path, which)),
    ]
}

/// Makes the nodes that can be made: a name may exist, or be below a file or link.
fn make_tree(root: &Path, makes: &[Make]) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for make in makes {
        let (names, is_directory) = match make {
            Make::Directory(names, _) => (names, true),
            Make::File(names, ..) | Make::Symlink(names, _) | Make::Hardlink(names, _) => {
                (names, false)
            }
        };
        let path: PathBuf = [root.as_os_str()]
            .into_iter()
            .chain(names.iter().map(OsString::as_os_str))
            .collect();
        let parents = path.ancestors().skip(1).take_while(|above| *above != root);
        let leads_out = parents.into_iter().any(|above| above.is_symlink());
        let is_possible = !leads_out && fs::symlink_metadata(&path).is_err();
        if !is_possible || fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        match make {
            Make::Directory(_, mode) if is_directory => {
                fs::create_dir(&path).unwrap();
                modes.push((path, *mode | 0o700));
            }
            Make::Directory(..) => {}
            Make::File(_, mode, bytes) => {
                fs::write(&path, bytes).unwrap();
                modes.push((path.clone(), *mode));
                files.push(path);
            }
            Make::Symlink(_, target) => symlink(target, &path).unwrap(),
            Make::Hardlink(_, which) if !files.is_empty() => {
                fs::hard_link(&files[which % files.len()], &path).unwrap();
            }
            Make::Hardlink(..) => {}
        }
    }
    for (path, mode) in modes {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, permissions).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back_as_they_were(makes in prop::collection::vec(make(), 1..40), is_gzip: bool) {
        if !has_programs(&["tar"]) {
            return Ok(());
        }
        let sandbox = runs::sandbox();
        let release = sandbox.path("release");
        fs::create_dir(&release).unwrap();
        make_tree(&release, &makes);
        fs::write(release.join("always-there"), "").unwrap();
        let compression = if is_gzip { "gzip:1" } else { "none" };
        assert_nothing_is_lost(&sandbox, &release, compression);
    }
}

#[test]
fn the_fixture_of_all_names_comes_back() {
    if !has_programs(&["tar"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/releases/names.tree");
    let release = sandbox
        .tree("release", &fs::read_to_string(fixture).unwrap())
        .unwrap();
    assert_nothing_is_lost(&sandbox, &release, "none");
}

#[test]
fn a_release_of_many_layers_comes_back() {
    if !has_programs(&["tar"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let mut text = String::new();
    for number in 0..5 {
        text.push_str(&format!(
            "0644 file part{number}/data 9M\n2755 dir part{number}/shared\n"
        ));
        text.push_str(&format!(
            "0644 file part{number}/shared/small \"{number}\"\n"
        ));
        text.push_str(&format!("hard part{number}/again -> part{number}/data\n"));
    }
    let release = sandbox.tree("release", &text).unwrap();
    assert_nothing_is_lost(&sandbox, &release, "none");
    assert!(unpack_lists(&sandbox.path("layout")).len() > 2);
}

#[test]
fn a_hard_link_is_stored_once() {
    let sandbox = runs::sandbox();
    let text = "0644 file original 1M\nhard again -> original\nhard below/it -> original\n";
    sandbox.tree("release", text).unwrap();
    drop(runs::build(&sandbox, &["--output=image.tar"]).success());
    let size = fs::metadata(sandbox.path("image.tar")).unwrap().len();
    assert!((1 << 20..5 << 18).contains(&size), "{size}");
}

/// Makes a tree whose deepest path has `length` bytes. This is longer than a
/// system call accepts, so the tree is made in parts that are moved together.
fn deep_tree(sandbox: &Sandbox, length: usize) -> PathBuf {
    let release = sandbox.path("release");
    fs::create_dir(&release).unwrap();
    let directories = |bytes: usize| -> PathBuf {
        let names = vec!["d".repeat(100); bytes / 101];
        names.iter().collect()
    };
    let upper = directories(2020);
    fs::create_dir_all(release.join(&upper)).unwrap();
    let rest = length - upper.as_os_str().len() - 1;
    let lower = directories(rest - 2);
    let last = "e".repeat(rest - lower.as_os_str().len() - 1);
    assert!((1..=255).contains(&last.len()), "{}", last.len());
    let beside = sandbox.path("x");
    fs::create_dir_all(beside.join(&lower)).unwrap();
    fs::write(beside.join(&lower).join(last), "deep").unwrap();
    let first = lower.components().next().unwrap();
    fs::rename(beside.join(first), release.join(&upper).join(first)).unwrap();
    release
}

/// Returns the lengths of the paths in the image above 4,000 bytes.
fn long_paths(source: &Path) -> Vec<usize> {
    let image = unpack(source).unwrap();
    let lengths = image
        .files()
        .into_keys()
        .map(|path| path.as_os_str().len() + 1);
    lengths.filter(|length| *length > 4000).collect()
}

#[test]
fn paths_of_4095_bytes_are_carried() {
    let sandbox = runs::sandbox();
    // `/app/` takes five, `./` on this side two.
    let release = deep_tree(&sandbox, 4090);
    let output = format!("--output={}", sandbox.path("image.tar").display());
    let mut command = sandbox.command(runs::words(".", &[&output]));
    command.current_dir(&release);
    drop(sandbox.finish(&mut command, b"").success());
    assert_eq!(long_paths(&sandbox.path("image.tar")).last(), Some(&4095));
}

#[test]
fn longer_paths_are_refused_by_name() {
    let sandbox = runs::sandbox();
    let release = deep_tree(&sandbox, 4090);
    let output = format!("--output={}", sandbox.path("image.tar").display());
    let mut command = sandbox.command(runs::words(".", &[&output, "--prefix=/longer"]));
    command.current_dir(&release);
    let outcome = sandbox.finish(&mut command, b"").exited(1);
    let text = outcome.stderr_text();
    assert!(text.contains("it is longer than 4,095 bytes"), "{text}");
    assert!(text.contains("/eeee"), "{text}");
    assert!(!sandbox.path("image.tar").exists());
}

/// A writer that keeps only the length and the end of its input.
#[derive(Default)]
struct Tail {
    length: u64,
    end: Vec<u8>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let is_zero = bytes
            .chunks(ZEROS.len())
            .all(|chunk| chunk == &ZEROS[..chunk.len()]);
        self.length += bytes.len() as u64;
        if !is_zero {
            let from = bytes.iter().position(|byte| *byte != 0).unwrap();
            self.end.extend_from_slice(&bytes[from..]);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_beyond_8_gib_is_carried() {
    const SIZE: u64 = (8 << 30) + 5;
    let sandbox = runs::sandbox();
    sandbox.tree("release", "0644 file big \"\"").unwrap();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(sandbox.path("release/big"))
        .unwrap();
    file.seek(SeekFrom::Start(SIZE - 3)).unwrap();
    file.write_all(b"end").unwrap();
    drop(file);
    let mut child = runs::start(&mut sandbox.command(runs::words("release", &["--output=-"])));
    let mut archive = tar::Archive::new(child.stdout.take().unwrap());
    let mut found = BTreeMap::new();
    for blob in archive.entries().unwrap() {
        let mut blob = blob.unwrap();
        if blob.size() < SIZE {
            continue;
        }
        let mut layer = tar::Archive::new(&mut blob);
        for entry in layer.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            let mut tail = Tail::default();
            io::copy(&mut entry, &mut tail).unwrap();
            found.insert(path, (tail.length, String::from_utf8(tail.end).unwrap()));
        }
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).unwrap();
    let (status, text) = runs::end(child);
    assert!(status.success(), "{text}");
    assert_eq!(found[Path::new("app/big")], (SIZE, "end".to_owned()));
}

#[test]
fn links_that_lead_out_or_nowhere_are_kept_and_named() {
    if !has_programs(&["tar"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let release = r#"
        0644 file there ""
        link good -> there
        link dangling -> gone
        link leaves -> ../../etc/hostname
        link absolute -> /usr/bin/env
        link loop -> loop
    "#;
    let release = sandbox.tree("release", release).unwrap();
    let said = assert_nothing_is_lost(&sandbox, &release, "none");
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("warning"))
        .collect();
    insta::assert_snapshot!(warnings.join("\n"), @r#"
    warning: `/app/absolute` is a symlink to `/usr/bin/env`, which does not exist in the image [link-dangling]
    warning: `/app/dangling` is a symlink to `gone`, which does not exist in the image [link-dangling]
    warning: `/app/leaves` is a symlink to `../../etc/hostname`, which does not exist in the image [link-dangling]
    warning: `/app/loop` is a symlink to `loop`, which is a symlink loop [link-dangling]
    "#);
}

#[test]
fn every_path_is_in_the_image_or_in_the_list_of_left_out_paths() {
    let sandbox = runs::sandbox();
    let release = r#"
        0644 file kept/a ""
        0644 file dropped/b ""
        0644 file kept/c.map ""
        0644 file dropped/keep.txt ""
    "#;
    let release = sandbox.tree("release", release).unwrap();
    let more = [
        "--exclude=dropped",
        "--exclude=*.map",
        "--include=keep.txt",
        "--dry-run",
        "--json",
    ];
    let outcome = runs::build(&sandbox, &more).success();
    let plan: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let plan = &plan["images"][0];
    let text = |value: &serde_json::Value| value["path"].as_str().unwrap().to_owned();
    let layers = plan["layers"].as_array().unwrap().iter();
    let taken: Vec<String> = layers
        .flat_map(|layer| layer["entries"].as_array().unwrap())
        .map(text)
        .collect();
    let left: Vec<String> = plan["leftOut"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    for path in nodes(&release, as_they_are).keys() {
        let path = path.to_str().unwrap();
        let is_taken = taken.contains(&format!("/app/{path}"));
        let is_left = left
            .iter()
            .any(|left| path.starts_with(left.trim_end_matches('/')));
        assert!(is_taken || is_left, "{path}: {taken:?} {left:?}");
    }
    assert!(taken.contains(&"/app/dropped/keep.txt".to_owned()));
}

#[test]
fn the_reader_of_this_test_sees_differences() {
    let sandbox = runs::sandbox();
    let one = sandbox
        .tree("one", "0644 file a \"x\"\nhard b -> a\nlink c -> a")
        .unwrap();
    for other in [
        "0644 file a \"y\"\nhard b -> a\nlink c -> a",
        "0644 file a \"x\"\n0644 file b \"x\"\nlink c -> a",
        "0644 file a \"x\"\nhard b -> a\nlink c -> b",
        "0755 file a \"x\"\nhard b -> a\nlink c -> a",
        "0644 file a \"x\"\nhard b -> a",
    ] {
        let place = tempfile::tempdir_in(sandbox.root()).unwrap();
        let tree = imgbuild_testing::Tree::parse(other).unwrap();
        tree.write_to(place.path()).unwrap();
        assert_ne!(
            nodes(&one, as_they_are),
            nodes(place.path(), as_they_are),
            "{other}"
        );
    }
}

#[test]
fn a_tree_is_included_without_its_history_and_what_docker_ignores() {
    let sandbox = runs::sandbox();
    let release = r#"
        0644 file .dockerignore "*.log\n!keep.log\n.env\n"
        0644 file .env "A=b"
        0644 file .git/HEAD "ref: refs/heads/main"
        0644 file module/.git "gitdir: ../.git/modules/module"
        0644 file a.log ""
        0644 file keep.log ""
        0644 file module/b.log ""
    "#;
    let release = sandbox.tree("release", release).unwrap();
    let paths = |more: &[&str]| {
        let words = [more, &["--output=image.tar"]].concat();
        let outcome = runs::build(&sandbox, &words).success();
        let image = imgbuild_testing::unpack(&sandbox.path("image.tar")).unwrap();
        let entries = image.layers.iter().flat_map(|layer| &layer.entries);
        let paths = entries.filter_map(|(path, _)| path.strip_prefix("app").ok());
        let paths = paths.map(|path| path.display().to_string());
        let paths: Vec<String> = paths.filter(|path| !path.is_empty()).collect();
        (paths, outcome.stderr_text().to_owned())
    };
    let (included, said) = paths(&[]);
    let expected = [".dockerignore", "keep.log", "module", "module/b.log"];
    let expected = expected.map(str::to_owned);
    let trimmed: Vec<&str> = included
        .iter()
        .map(|path| path.trim_end_matches('/'))
        .collect();
    assert_eq!(trimmed, expected);
    assert!(said.contains("4 paths left out"), "{said}");
    let (included, _) = paths(&["--include=.git", "--include=.env"]);
    assert!(included.contains(&".git/HEAD".to_owned()), "{included:?}");
    assert!(included.contains(&".env".to_owned()), "{included:?}");

    fs::write(release.join(".dockerignore"), "ok\n[z-a]\n").unwrap();
    let refused = runs::build(&sandbox, &["--output=image.tar"]).exited(1);
    assert!(
        refused.stderr_text().contains("`[z-a]`"),
        "{}",
        refused.report()
    );
}
