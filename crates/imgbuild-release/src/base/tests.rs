use imgbuild_oci::cache::Cache;
use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::destination::{Destination, WriteOptions, write};
use imgbuild_oci::entry::Member;
use imgbuild_oci::image::{Image, ImageOptions};
use imgbuild_oci::layer::{LayerOptions, build_layers};
use imgbuild_oci::monitor::Monitor;

use super::*;
use crate::contents::Contents;

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

fn directory(at: &str) -> Member {
    Entry::directory(path(at)).into()
}

fn file(at: &str) -> Member {
    Member::file(path(at), 0o644, b"x".to_vec())
}

fn link(at: &str, to: &str) -> Member {
    Entry::symlink(path(at), to).into()
}

/// A base image of these members.
fn base(members: Vec<Member>) -> (tempfile::TempDir, Base) {
    let directory = tempfile::tempdir().unwrap();
    let changeset = Changeset::new("base", members).unwrap();
    let options = LayerOptions {
        compression: Compression::None,
        threads: 1,
        scratch: directory.path().to_path_buf(),
        cache: Cache::default(),
    };
    let layers = build_layers(vec![changeset], &options, &|_| {}, Monitor::silent()).unwrap();
    let image = Image::assemble(&ImageOptions::default(), &layers);
    let layout = directory.path().join("layout");
    let destination = Destination::Layout(layout.clone(), None);
    let write_options = WriteOptions {
        references: &[],
        threads: 1,
        sync: false,
        store: None,
    };
    let mut sink = std::io::sink();
    let monitor = Monitor::silent();
    write(&image, &destination, write_options, &mut sink, monitor).unwrap();
    let source = Source::open(&layout, directory.path()).unwrap();
    let options = BaseOptions {
        name: "base".to_owned(),
        ..BaseOptions::default()
    };
    let mut base = Base::open(source, &options).unwrap();
    assert!(!base.knows_files());
    base.read_files(None, directory.path()).unwrap();
    assert!(base.knows_files());
    (directory, base)
}

fn merged_usr() -> (tempfile::TempDir, Base) {
    base(vec![
        directory("/usr"),
        directory("/usr/lib"),
        file("/usr/lib/old"),
        link("/lib", "usr/lib"),
        link("/gone", "nowhere"),
        directory("/etc"),
        file("/etc/passwd"),
        link("/etc/name", "passwd"),
    ])
}

fn placed(base: &Base, members: Vec<Member>) -> Vec<String> {
    let placed = base.place(members).unwrap();
    let paths = placed.iter().map(|member| member.entry.path.to_string());
    paths.collect()
}

#[test]
fn members_follow_the_links_of_the_base() {
    let (_directory, base) = merged_usr();
    let members = vec![
        directory("/app"),
        file("/app/x"),
        directory("/lib"),
        file("/lib/a"),
        file("/lib/b"),
        directory("/lib/d"),
        file("/lib/d/c"),
    ];
    assert_eq!(
        placed(&base, members),
        [
            "/app",
            "/app/x",
            "/usr/lib",
            "/usr/lib/a",
            "/usr/lib/b",
            "/usr/lib/d",
            "/usr/lib/d/c"
        ]
    );
    assert_eq!(base.directory_place(&path("/lib/x")), path("/usr/lib/x"));
}

#[test]
fn files_of_the_base_are_replaced_and_directories_are_not() {
    let (_directory, base) = merged_usr();
    let replaced = vec![file("/etc/name"), file("/etc/passwd"), link("/gone", "x")];
    assert_eq!(
        placed(&base, replaced),
        ["/etc/name", "/etc/passwd", "/gone"]
    );
    assert_eq!(placed(&base, vec![link("/lib", "usr/lib")]), ["/lib"]);
    for (member, expected) in [
        (
            file("/etc"),
            "`/etc` has two sources: a directory of the base image and imgbuild",
        ),
        (
            link("/lib", "opt"),
            "`/lib` has two sources: a link to a directory of the base image and a link to `opt`",
        ),
        (
            directory("/etc/passwd"),
            "`/etc/passwd` has two sources: a file of the base image and a directory",
        ),
        (
            directory("/gone"),
            "`/gone` has two sources: a file of the base image and a directory",
        ),
        (
            file("/etc/passwd/x"),
            "`/etc/passwd/x` lies below `/etc/passwd`, which is not a directory",
        ),
    ] {
        let error = base.place(vec![member]).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn two_paths_that_come_to_lie_at_one_place_are_refused() {
    let (_directory, base) = merged_usr();
    let members = vec![file("/lib/x"), file("/usr/lib/x")];
    let error = base.place(members).unwrap_err().to_string();
    assert!(error.contains("`/usr/lib/x` has two sources"), "{error}");
}

#[test]
fn contents_over_a_base_hide_what_lies_at_their_paths() {
    let (_directory, base) = merged_usr();
    let own = [link("/etc/passwd", "/usr/lib/old")];
    let contents = base.under(Contents::new(&own));
    assert!(contents.base(&path("/etc/passwd")).is_some());
    assert_eq!(
        contents.get(&path("/etc/passwd")).unwrap().entry.kind,
        own[0].entry.kind
    );
    let end = contents.file(&path("/etc/name")).unwrap();
    assert_eq!(end.entry.path, path("/usr/lib/old"));
}
