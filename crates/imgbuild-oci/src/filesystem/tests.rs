use std::io::Cursor;

use proptest::prelude::*;
use tar::EntryType::{self, Char, Directory, Link, Regular, Symlink};

use super::*;
use crate::content::Content;
use crate::entry::EntryKind;
use crate::source::fixture::{self, Fixture, Layer, TAR, TAR_GZIP, TAR_ZSTD};

type Line<'a> = (EntryType, &'a str, &'a str);

/// A layer of entries; the third text is the target of a link or the content
/// of a file.
fn layer(lines: &[Line<'_>]) -> Layer {
    let mut tar = Vec::new();
    for (kind, path, text) in lines {
        match kind {
            Regular => fixture::entry(&mut tar, *kind, path, "", text.as_bytes()),
            _ => fixture::entry(&mut tar, *kind, path, text, b""),
        }
    }
    Layer {
        tar: fixture::end(tar),
        media_type: TAR_GZIP,
        compress: fixture::gzip,
    }
}

fn image(layers: Vec<Layer>) -> Fixture {
    let mut fixture = Fixture::good();
    fixture.layers = layers;
    fixture.edit_config(|config| {
        config.as_object_mut().unwrap().remove("history");
    });
    fixture
}

fn read_fixture(fixture: &Fixture) -> Result<FileSystem, FileSystemError> {
    let opened = fixture.archive();
    let source = opened.source();
    let image = SelectedImage::select(&source, None, None).unwrap();
    let options = ReadOptions {
        scratch: opened.scratch(),
        keeps: &|entry| entry.path.as_bytes().ends_with(b".wanted"),
    };
    FileSystem::read(&source, &image, options)
}

fn merged(layers: &[&[Line<'_>]]) -> Result<FileSystem, FileSystemError> {
    let layers = layers.iter().map(|lines| layer(lines)).collect();
    read_fixture(&image(layers))
}

fn shown(file_system: &FileSystem) -> Vec<String> {
    let members = file_system.members().iter();
    let line = |member: &Member| {
        let path = &member.entry.path;
        match &member.entry.kind {
            EntryKind::Directory => format!("{path}/"),
            EntryKind::Symlink { target } => {
                format!("{path} -> {}", String::from_utf8_lossy(target))
            }
            _ => path.to_string(),
        }
    };
    members.map(line).collect()
}

fn why(result: Result<FileSystem, FileSystemError>) -> String {
    match result.unwrap_err() {
        FileSystemError::Layer { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

#[test]
fn upper_layers_replace_and_hide_what_is_below() {
    let lower: &[Line<'_>] = &[
        (Directory, "a/", ""),
        (Regular, "a/1", "x"),
        (Regular, "a/2", "x"),
        (Directory, "b/", ""),
        (Regular, "b/1", "x"),
        (Directory, "b/c/", ""),
        (Regular, "b/c/1", "x"),
        (Regular, "b-c", "x"),
        (Directory, "d/", ""),
        (Regular, "d/1", "x"),
        (Regular, "e", "x"),
    ];
    let upper: &[Line<'_>] = &[
        (Regular, "a/.wh.1", ""),
        (Regular, "a/3", "x"),
        (Regular, "b/2", "x"),
        (Regular, "b/.wh..wh..opq", ""),
        (Regular, ".wh.d", ""),
        (Regular, ".wh.gone", ""),
        (Directory, "e/", ""),
        (Regular, "e/1", "x"),
    ];
    let file_system = merged(&[lower, upper]).unwrap();
    assert_eq!(
        shown(&file_system),
        ["/a/", "/a/2", "/a/3", "/b/", "/b-c", "/b/2", "/e/", "/e/1"]
    );
}

/// As Docker 20.10 and containerd show it: a whiteout is a device until another entry
/// replaces it, and a directory shows the one below.
#[test]
fn a_whiteout_hides_nothing_below_a_directory_that_replaces_it() {
    let lower: &[Line<'_>] = &[
        (Directory, "d/", ""),
        (Regular, "d/1", "x"),
        (Regular, "f", "x"),
    ];
    let hidden = (Regular, ".wh.d", "");
    let cases: [(&[Line<'_>], &[&str]); 4] = [
        (&[hidden, (Directory, "d/", "")], &["/d/", "/d/1", "/f"]),
        (&[hidden, (Regular, "d", "x")], &["/d", "/f"]),
        (&[hidden, (Link, "f", "d"), (Regular, "e", "x")], &["/e"]),
        (
            &[hidden, (Link, "f", "d"), (Directory, "d/", "")],
            &["/d/", "/d/1"],
        ),
    ];
    for (upper, expected) in cases {
        assert_eq!(shown(&merged(&[lower, upper]).unwrap()), expected);
    }
}

#[test]
fn a_whiteout_spares_what_its_own_layer_has() {
    let lower: &[Line<'_>] = &[
        (Directory, "a/", ""),
        (Regular, "a/1", "x"),
        (Regular, "f", "x"),
    ];
    let upper: &[Line<'_>] = &[
        (Regular, "a/2", "x"),
        (Regular, "a/.wh..wh..opq", ""),
        (Regular, ".wh.f", ""),
        (Regular, "f", "y"),
    ];
    let file_system = merged(&[lower, upper]).unwrap();
    assert_eq!(shown(&file_system), ["/a/", "/a/2", "/f"]);
}

#[test]
fn a_file_in_place_of_a_directory_takes_everything_below() {
    let lower: &[Line<'_>] = &[
        (Directory, "a/", ""),
        (Regular, "a/1", "x"),
        (Regular, "a-b", "x"),
    ];
    let upper: &[Line<'_>] = &[(Regular, "a", "x")];
    let file_system = merged(&[lower, upper]).unwrap();
    assert_eq!(shown(&file_system), ["/a", "/a-b"]);
}

#[test]
fn a_path_through_a_link_of_its_layer_lies_where_the_link_leads() {
    let lower: &[Line<'_>] = &[(Directory, "usr/", ""), (Regular, "usr/old", "x")];
    let upper: &[Line<'_>] = &[
        (Directory, "usr/lib/", ""),
        (Directory, "opt/new/", ""),
        (Symlink, "lib", "usr/lib"),
        (Symlink, "up", "../../../usr"),
        (Symlink, "new", "/opt/new"),
        (Regular, "lib/1", "x"),
        (Regular, "up/lib/2", "x"),
        (Regular, "new/deep/3", "x"),
        (Regular, "up/.wh.old", ""),
    ];
    let file_system = merged(&[lower, upper]).unwrap();
    assert_eq!(file_system.violations(), []);
    assert_eq!(
        shown(&file_system),
        [
            "/lib -> usr/lib",
            "/new -> /opt/new",
            "/opt/",
            "/opt/new/",
            "/opt/new/deep/",
            "/opt/new/deep/3",
            "/up -> ../../../usr",
            "/usr/",
            "/usr/lib/",
            "/usr/lib/1",
            "/usr/lib/2",
        ]
    );
}

/// Engines unpack each layer into a directory of its own.
#[test]
fn a_directory_replaces_a_link_of_a_layer_below() {
    let lower: &[Line<'_>] = &[
        (Directory, "usr/", ""),
        (Regular, "usr/a", "x"),
        (Symlink, "lib", "usr"),
    ];
    for (name, expected) in [
        ("lib/b", &["/lib/", "/lib/b"][..]),
        ("lib/.wh.a", &["/lib/"]),
        ("lib/.wh..wh..opq", &["/lib/"]),
    ] {
        let found = merged(&[lower, &[(Regular, name, "")]]).unwrap();
        assert_eq!(found.violations(), [], "{name}");
        let rest = ["/usr/", "/usr/a"];
        assert_eq!(shown(&found), [expected, &rest].concat(), "{name}");
    }
}

#[test]
fn an_opaque_directory_may_be_named_through_a_link_and_is_not_the_root() {
    let lower: &[Line<'_>] = &[(Directory, "usr/", ""), (Regular, "usr/a", "x")];
    let link: &[Line<'_>] = &[
        (Directory, "usr/", ""),
        (Symlink, "lib", "usr"),
        (Regular, "lib/.wh..wh..opq", ""),
    ];
    let found = merged(&[lower, link]).unwrap();
    assert_eq!(shown(&found), ["/lib -> usr", "/usr/"]);
    let root: &[Line<'_>] = &[(Regular, ".wh..wh..opq", ""), (Regular, "b", "")];
    let found = merged(&[lower, root]).unwrap();
    assert_eq!(shown(&found), ["/b", "/usr/", "/usr/a"]);
    let root: &[Line<'_>] = &[(Symlink, "b", "/"), (Regular, "b/.wh..wh..opq", "")];
    let found = merged(&[lower, root]).unwrap();
    assert_eq!(shown(&found), ["/b -> /", "/usr/", "/usr/a"]);
}

#[test]
fn no_path_leaves_the_root() {
    let lines: &[Line<'_>] = &[
        (Regular, "../../etc/passwd", "x"),
        (Regular, "/a/../../b", "x"),
        (Symlink, "out", "../../../.."),
        (Regular, "out/c", "x"),
    ];
    let file_system = merged(&[lines]).unwrap();
    assert_eq!(
        shown(&file_system),
        ["/b", "/c", "/etc/", "/etc/passwd", "/out -> ../../../.."]
    );
}

#[test]
fn contents_that_matter_are_kept() {
    let program =
        std::str::from_utf8(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0more").unwrap();
    let object =
        std::str::from_utf8(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0>\0more").unwrap();
    let lower: &[Line<'_>] = &[
        (Regular, "program", program),
        (Regular, "object.o", object),
        (Regular, "script", "#!/bin/sh\necho"),
        (Regular, "etc/passwd", "root:x:0:0::/:/bin/sh"),
        (Regular, "data", "data"),
        (Regular, "x.wanted", "data"),
        (Regular, "empty", ""),
        (Link, "again", "program"),
    ];
    let file_system = merged(&[lower, &[(Regular, "program", "data")]]).unwrap();
    let content = |text: &str| {
        let member = file_system.get(&path(text)).unwrap();
        let content = member.content.as_ref()?;
        assert_eq!(content.size(), member.entry.content_size(), "{text}");
        Some(content.first_bytes(1000).unwrap())
    };
    for (at, expected) in [
        ("/again", Some(program)),
        ("/script", Some("#!/bin/sh\necho")),
        ("/etc/passwd", Some("root:x:0:0::/:/bin/sh")),
        ("/x.wanted", Some("data")),
        ("/empty", Some("")),
        ("/object.o", None),
        ("/data", None),
        ("/program", None),
    ] {
        assert_eq!(content(at).as_deref(), expected.map(str::as_bytes), "{at}");
    }
    let script = file_system.get(&path("/script")).unwrap();
    let script = script.content.as_ref().unwrap();
    assert_eq!(script.first_bytes(2).unwrap(), b"#!");
    assert!(matches!(script, Content::Range(_)));
}

#[test]
fn devices_are_known_and_are_no_members() {
    let file_system = merged(&[&[(Char, "dev/null", ""), (Regular, "a", "x")]]).unwrap();
    assert_eq!(shown(&file_system), ["/a", "/dev/"]);
    assert!(file_system.specials().contains(&path("/dev/null")));
}

/// Reads layers of which the upper one has an entry that every engine refuses.
fn assert_refused(lines: &[Line<'_>], expected: &str) {
    let found = merged(&[&[(Regular, "kept", "")], lines]).unwrap();
    let violation = Violation::refusal(found.violations()).unwrap().to_string();
    assert!(violation.contains(expected), "{expected}: {violation}");
    assert!(
        violation.ends_with("; refused by every engine"),
        "{violation}"
    );
    assert!(shown(&found).contains(&"/kept".to_owned()));
}

#[test]
fn what_engines_refuse_is_left_out_and_told() {
    for (lines, expected) in [
        (
            &[(Regular, "a", "x"), (Regular, "a/b", "x")][..],
            "below one that is not a directory: `a/b`",
        ),
        (
            &[(Char, "a", ""), (Regular, "a/b/c", "x")],
            "below one that is not a directory: `a/b/c`",
        ),
        (
            &[
                (Symlink, "a", "b"),
                (Symlink, "b", "a"),
                (Regular, "a/x", ""),
            ],
            "below one that is not a directory: `a/x`",
        ),
        (
            &[
                (Directory, "usr/", ""),
                (Symlink, "lib", "usr"),
                (Regular, "lib/f", ""),
                (Regular, "usr/f/g", ""),
            ],
            "below one that is not a directory: `usr/f/g`",
        ),
        (
            &[
                (Directory, "a/b/", ""),
                (Regular, "x/b", ""),
                (Symlink, "a", "x"),
                (Regular, "a/b/c", ""),
            ],
            "below one that is not a directory: `a/b/c`",
        ),
        (
            &[(Regular, "a/b", ""), (Regular, ".wh.a", "")],
            "or of an entry before it in the same layer: `.wh.a`",
        ),
        (
            &[(Symlink, "l", "")],
            "a symbolic link without a target: `l`",
        ),
        (&[(Regular, "a/.wh...", "")], "a whiteout of nothing"),
        (
            &[(EntryType::Continuous, "a", "")],
            "or pipe: `a`, type `7`",
        ),
    ] {
        assert_refused(lines, expected);
    }
}

#[test]
fn hard_links_to_what_is_no_file_are_left_out_and_told() {
    for (lines, expected) in [
        (
            &[(Link, "a", "none")][..],
            "not a file before it in the same layer: `a`, target `none`",
        ),
        (
            &[(Directory, "d/", ""), (Link, "a", "../d")],
            "not a file before it in the same layer: `a`, target `../d`",
        ),
        (
            &[
                (Directory, "a/b/", ""),
                (Regular, "a/b/f", ""),
                (Regular, "x/b", ""),
                (Symlink, "a", "x"),
                (Link, "c", "a/b/f"),
            ],
            "not a file before it in the same layer: `c`, target `a/b/f`",
        ),
    ] {
        assert_refused(lines, expected);
    }
}

#[test]
fn what_some_engines_refuse_is_told_and_read() {
    for (lines, expected, tree) in [
        (
            &[(Regular, "a", "x"), (Regular, "./a", "x")][..],
            "twice: `./a`; refused by Docker with graph drivers, and Podman",
            &["/a"][..],
        ),
        (
            &[(Symlink, "l", "none/.."), (Regular, "l/a", "x")],
            "same layer before it: `l/a`; refused by Docker with graph drivers, and Podman",
            &["/a", "/l -> none/.."],
        ),
        (
            &[(Regular, "../../a", "x")],
            "out of the root: `../../a`; refused by Docker with graph drivers",
            &["/a"],
        ),
    ] {
        let found = merged(&[lines]).unwrap();
        assert_eq!(found.violations().len(), 1);
        assert!(found.violations()[0].to_string().ends_with(expected));
        assert_eq!(shown(&found), tree);
    }
}

#[test]
fn what_engines_take_is_no_violation() {
    let long = "n".repeat(99) + "/";
    // Links of directories are followed, and a link may be one of several names.
    let linked: &[Line<'_>] = &[
        (Directory, "usr/", ""),
        (Symlink, "lib", "usr"),
        (Link, "again", "lib"),
        (Directory, "again/d/", ""),
        (Regular, "usr/d/x", ""),
        (Regular, "usr/a", "x"),
        (Link, "lib/b", "lib/a"),
        (Regular, "b/../c", "x"),
        (Directory, &long, ""),
    ];
    assert_eq!(merged(&[linked]).unwrap().violations(), []);
}

#[test]
fn a_link_into_a_layer_below_is_told() {
    let lower: &[Line<'_>] = &[(Regular, "a", "x")];
    let found = merged(&[lower, &[(Link, "b", "a")]]).unwrap();
    assert!(Violation::refusal(found.violations()).is_some());
    assert_eq!(shown(&found), ["/a"]);
}

/// Makes a layer of entries, each with a mode and a user.
fn owned_layer(lines: &[(Line<'_>, u32, u64)]) -> Layer {
    let mut all = layer(&lines.iter().map(|(line, ..)| *line).collect::<Vec<_>>());
    for (block, (_, mode, uid)) in all.tar.chunks_exact_mut(512).zip(lines) {
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_mode(*mode);
        header.set_uid(*uid);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    all
}

fn modes(layers: Vec<Layer>) -> Vec<String> {
    let found = read_fixture(&image(layers)).unwrap();
    assert_eq!(found.violations(), []);
    let entries = found.members().iter().map(|member| &member.entry);
    let line = |entry: &Entry| format!("{} {:o} {}", entry.path, entry.mode, entry.owner.uid);
    entries.map(line).collect()
}

#[test]
fn a_hard_link_changes_the_mode_and_owner_of_its_file() {
    let lines = [
        ((Regular, "a", ""), 0o644, 1),
        ((Link, "b", "a"), 0o755, 5),
        ((Symlink, "c", "a"), 0o777, 1),
        ((Link, "d", "c"), 0o600, 5),
    ];
    let found = modes(vec![owned_layer(&lines)]);
    assert_eq!(found, ["/a 755 5", "/b 755 5", "/c 777 5", "/d 777 5"]);
}

#[test]
fn a_directory_that_only_a_lower_layer_has_is_open_to_all() {
    let lower = [
        ((Directory, "p/", ""), 0o700, 0),
        ((Directory, "p/q/", ""), 0o1770, 0),
        ((Directory, "r/", ""), 0o700, 0),
    ];
    let upper = [
        ((Regular, "p/q/y", ""), 0o644, 0),
        ((Directory, "r/", ""), 0o700, 0),
        ((Regular, "r/y", ""), 0o644, 0),
    ];
    let found = modes(vec![owned_layer(&lower), owned_layer(&upper)]);
    let expected = [
        "/p 755 0",
        "/p/q 1775 0",
        "/p/q/y 644 0",
        "/r 700 0",
        "/r/y 644 0",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_directory_replaces_a_file_of_a_layer_below() {
    let lower: &[Line<'_>] = &[(Regular, "a", "x")];
    let found = merged(&[lower, &[(Regular, "a/b/c", "x")]]).unwrap();
    assert_eq!(found.violations(), []);
    assert_eq!(shown(&found), ["/a/", "/a/b/", "/a/b/c"]);
}

#[test]
fn every_compression_gives_the_same_tree() {
    let lines: &[Line<'_>] = &[(Directory, "a/", ""), (Regular, "a/1", "#!x")];
    for (media_type, compress) in [
        (TAR, fixture::plain as fn(&[u8]) -> Vec<u8>),
        (TAR_GZIP, fixture::gzip),
        (TAR_ZSTD, fixture::zstd),
    ] {
        let one = Layer {
            media_type,
            compress,
            ..layer(lines)
        };
        let file_system = read_fixture(&image(vec![one])).unwrap();
        assert_eq!(shown(&file_system), ["/a/", "/a/1"], "{media_type}");
    }
}

#[test]
fn layers_that_are_not_what_they_should_be_are_refused() {
    let good = || image(vec![layer(&[(Regular, "a", "x")])]);
    let blob_of = |fixture: &Fixture| {
        let blob = (fixture.layers[0].compress)(&fixture.layers[0].tar);
        crate::document::blob_name(&crate::digest::Digest::of(&blob))
    };
    let edited = |edit: fn(&mut Vec<u8>)| {
        let mut fixture = good();
        let name = blob_of(&fixture);
        fixture.edit_files(move |files| edit(files.get_mut(&name).unwrap()));
        why(read_fixture(&fixture))
    };
    assert!(edited(|blob| blob.push(0)).contains("bytes, found"));
    assert!(edited(|blob| blob[4] ^= 1).contains("expected the digest"));
    let found = edited(|blob| blob[12] ^= 0xff);
    assert!(found.contains("read"), "{found}");
    let mut other = good();
    other.edit_config(|config| {
        config["rootfs"]["diff_ids"][0] = format!("sha256:{}", "0".repeat(64)).into();
    });
    assert!(why(read_fixture(&other)).contains("expected the diff ID"));
    let mut missing = good();
    let name = blob_of(&missing);
    missing.edit_files(move |files| drop(files.remove(&name)));
    assert!(why(read_fixture(&missing)).contains("is missing"));
}

#[test]
fn what_expands_beyond_the_limit_is_not_read_to_its_end() {
    let fixture = image(vec![layer(&[(Regular, "a", "x"), (Regular, "b", "y")])]);
    let opened = fixture.archive();
    let source = opened.source();
    let image = SelectedImage::select(&source, None, None).unwrap();
    let mut tree = Tree::new(u64::MAX);
    let options = ReadOptions {
        scratch: opened.scratch(),
        keeps: &|_| false,
    };
    let mut keeper = Keeper::new(options, tempfile::tempfile().unwrap());
    let mut budget = 1500;
    let result = layer::read(
        &source,
        &image.layers[0],
        &mut tree,
        &mut keeper,
        &mut budget,
    );
    let error = crate::error::with_causes(&result.unwrap_err(), ": ");
    assert!(
        error.ends_with("it decompresses to more than 1500 bytes"),
        "{error}"
    );
}

#[test]
fn whiteouts_of_a_huge_directory_are_given_up() {
    let mut tree = Tree::new(u64::MAX);
    for number in 0..20_000 {
        let path = path(&format!("/a/{number}"));
        let file = Entry::file(path.clone(), 0, 0o644);
        tree.insert(&path, Some(file.into())).unwrap();
    }
    let hide = || {
        for _ in 0..10_000 {
            tree.hide_contents(b"/a/.wh..wh..opq")?;
        }
        Ok::<(), LayerError>(())
    };
    let mut hide = hide;
    assert!(matches!(hide(), Err(LayerError::TooMuchWork)));
}

/// A path of names that mean something, up to four of them.
fn any_path() -> impl Strategy<Value = String> {
    let names = ["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq"];
    let names = prop::sample::select(names.to_vec());
    prop::collection::vec(names, 1..5).prop_map(|names| names.join("/"))
}

fn any_layer() -> impl Strategy<Value = Vec<(EntryType, String, String)>> {
    let kinds = [Regular, Directory, Symlink, Link, Char];
    let line = (prop::sample::select(kinds.to_vec()), any_path(), any_path());
    prop::collection::vec(line, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_layers_say_the_tree_is_whole(
        layers in prop::collection::vec(any_layer(), 1..4),
    ) {
        let mut tree = Tree::new(u64::MAX);
        let directory = tempfile::tempdir().unwrap();
        let options = ReadOptions { scratch: directory.path(), keeps: &|_| false };
        let mut keeper = Keeper::new(options, tempfile::tempfile().unwrap());
        for (index, lines) in layers.iter().enumerate() {
            let lines: Vec<Line<'_>> = lines
                .iter()
                .map(|(kind, path, text)| (*kind, path.as_str(), text.as_str()))
                .collect();
            tree.layer = index;
            let mut tar = crate::tar_reader::TarReader::new(Cursor::new(layer(&lines).tar));
            // A layer that cannot be is refused in the middle; what is there
            // by then is whole as well.
            let mut rules = crate::rules::LayerRules::new("layer");
            drop(layer::read_entries(&mut tar, &mut tree, &mut keeper, &mut rules));
        }
        let (members, specials) = tree.finish();
        let at = |path: &ImagePath| members.binary_search_by(|member| member.entry.path.cmp(path));
        for member in &members {
            let path = &member.entry.path;
            prop_assert!(at(path).is_ok() && !specials.contains(path));
        }
        for path in members.iter().map(|member| &member.entry.path).chain(&specials) {
            let parent = path.parent().unwrap();
            let is_directory = parent.is_root()
                || at(&parent).is_ok_and(|at| members[at].entry.kind == EntryKind::Directory);
            prop_assert!(is_directory, "{} in {}", path, parent);
        }
    }
}
