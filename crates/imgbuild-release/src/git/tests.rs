//! Repositories that git itself made, read and compared with what git says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use imgbuild_testing::Sandbox;
use imgbuild_testing::skip::has_programs;

use super::*;
use crate::fuzz;

const TIME: u64 = 1_700_000_000;

/// A directory with a repository in `work`.
struct Repository {
    sandbox: Sandbox,
}

impl Repository {
    /// Nothing but a directory, if git is installed.
    fn none() -> Option<Self> {
        if !has_programs(&["git"]) {
            return None;
        }
        let mut sandbox = Sandbox::new("git").unwrap();
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_AUTHOR_DATE", "1600000000 +0200"),
            ("GIT_COMMITTER_NAME", "C"),
            ("GIT_COMMITTER_EMAIL", "c@example.com"),
            ("GIT_COMMITTER_DATE", "1700000000 -0330"),
        ] {
            sandbox.set(name, value);
        }
        Some(Self { sandbox })
    }

    /// A repository without commits.
    fn empty(more: &[&str]) -> Option<Self> {
        let repository = Self::none()?;
        let words = ["init", "--quiet", "--initial-branch=main", "work"];
        drop(repository.sandbox.run(words.iter().chain(more)).success());
        Some(repository)
    }

    /// A repository with one commit of some files.
    fn new() -> Option<Self> {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Option<Self> {
        let repository = Self::empty(more)?;
        let files = "
            0644 file Cargo.toml \"[package]\"
            0644 file src/main.rs \"fn main() {}\"
            0644 file src.rs \"x\"
            0755 file src/deep/run \"exit\"
            0644 file src-other/b \"b\"
            link current -> src
        ";
        drop(repository.sandbox.tree("work", files).unwrap());
        repository.commit();
        Some(repository)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.sandbox.path(relative)
    }

    fn git(&self, words: &[&str]) -> String {
        self.git_in("work", words)
    }

    fn git_in(&self, directory: &str, words: &[&str]) -> String {
        let flags = ["-C", directory, "-c", "protocol.file.allow=always"];
        let outcome = self.sandbox.run(flags.iter().chain(words)).success();
        outcome.stdout_text().trim_end().to_owned()
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "x"]);
    }

    /// Lets git look at the files once more, when they are older than the
    /// grain of the times that it compares.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(1100));
        self.git(&["update-index", "--really-refresh"]);
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path("work").join(path), text).unwrap();
    }

    fn tree(&self, directory: &str) -> WorkTree {
        WorkTree::holding(&self.path(directory)).unwrap().unwrap()
    }

    /// Reads the commit of a directory, and checks it against what git says.
    #[track_caller]
    fn check(&self, directory: &str) {
        let head = self.tree(directory).head().unwrap().unwrap();
        let id = self.git_in(directory, &["rev-parse", "HEAD"]);
        assert_eq!((head.id.to_string(), head.time), (id, TIME));
    }

    /// Returns whether the work tree is dirty, and checks it against git.
    #[track_caller]
    fn is_dirty(&self) -> bool {
        // Asked first: git writes the index anew when it looks.
        let tree = self.tree("work");
        let head = tree.head().unwrap().unwrap();
        let is_dirty = tree.is_dirty(&head).unwrap();
        let said = self.git(&["describe", "--always", "--dirty"]);
        assert_eq!(is_dirty, said.ends_with("-dirty"), "git: {said}");
        is_dirty
    }
}

#[test]
fn the_commit_is_that_which_git_shows() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.check("work");
    repository.check("work/src/deep");
    assert_eq!(repository.tree("work/src").root(), repository.path("work"));
}

#[test]
fn packed_objects_and_references_are_found() {
    let Some(repository) = Repository::new() else {
        return;
    };
    for number in 0..20 {
        let lines: String = (0..200 + number).map(|line| format!("{line}\n")).collect();
        repository.write("src/main.rs", &lines);
        repository.commit();
    }
    repository.git(&["gc", "--quiet", "--aggressive"]);
    assert!(repository.path("work/.git/packed-refs").is_file());
    repository.check("work");
    // A tree of a hash that is a delta is read, too.
    repository.git(&["read-tree", "--empty"]);
    repository.git(&["add", "--all"]);
    assert!(!repository.is_dirty());
    // With names of bases instead of the way to them.
    let packs = ["-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq"];
    repository.git(&packs);
    repository.check("work");
    repository.git(&["read-tree", "--empty"]);
    repository.git(&["add", "--all"]);
    assert!(!repository.is_dirty());
}

#[test]
fn head_may_be_detached_or_a_tag_s_commit() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.git(&["checkout", "--quiet", "--detach"]);
    repository.check("work");
    repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
    repository.git(&["checkout", "--quiet", "v1"]);
    repository.check("work");
}

#[test]
fn linked_work_trees_have_their_own_head() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.git(&["worktree", "add", "--quiet", "../linked", "-b", "other"]);
    repository.write("src.rs", "changed");
    repository.commit();
    repository.check("linked");
    repository.check("work");
    repository.git(&["pack-refs", "--all"]);
    repository.check("linked/src");
}

#[test]
fn shallow_and_borrowing_clones_are_read() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.write("src.rs", "changed");
    repository.commit();
    let url = format!("file://{}", repository.path("work").display());
    repository.git_in(".", &["clone", "--quiet", "--depth=1", &url, "shallow"]);
    repository.git_in(".", &["clone", "--quiet", "--shared", "work", "shared"]);
    for clone in ["shallow", "shared"] {
        repository.check(clone);
        let tree = repository.tree(clone);
        let head = tree.head().unwrap().unwrap();
        assert!(!tree.is_dirty(&head).unwrap(), "{clone}");
    }
}

#[test]
fn sha_256_is_another_format_of_the_same() {
    let Some(repository) = Repository::with(&["--object-format=sha256"]) else {
        return;
    };
    repository.check("work");
    assert!(!repository.is_dirty());
    repository.git(&["gc", "--quiet"]);
    repository.check("work");
    repository.write("src.rs", "other");
    assert!(repository.is_dirty());
}

#[test]
fn where_there_is_nothing_to_read_nothing_is_said() {
    let Some(repository) = Repository::none() else {
        return;
    };
    fs::create_dir_all(repository.path("release/.git")).unwrap();
    let found = WorkTree::holding(&repository.path("release")).unwrap();
    assert!(found.is_none_or(|tree| !tree.root().starts_with(repository.path(""))));
    let Some(repository) = Repository::empty(&[]) else {
        return;
    };
    assert_eq!(repository.tree("work").head().unwrap(), None);
    let Some(repository) = Repository::empty(&["--bare"]) else {
        return;
    };
    assert!(
        WorkTree::holding(&repository.path("work"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn references_in_a_table_are_none() {
    let Some(repository) = Repository::none() else {
        return;
    };
    let words = ["init", "--quiet", "--ref-format=reftable", "work"];
    // Git before 2.45 knows no such thing.
    if repository.sandbox.run(words).code == Some(0) {
        assert!(
            WorkTree::holding(&repository.path("work"))
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn a_clean_work_tree_is_clean_in_every_form_of_the_index() {
    let Some(repository) = Repository::new() else {
        return;
    };
    assert!(!repository.is_dirty());
    repository.settle();
    assert!(!repository.is_dirty());
    for version in ["2", "3", "4"] {
        repository.git(&["update-index", "--index-version", version]);
        assert!(!repository.is_dirty(), "version {version}");
    }
    repository.git(&[
        "update-index",
        "--index-version",
        "4",
        "--skip-worktree",
        "src.rs",
    ]);
    assert!(!repository.is_dirty());
    let cone = [
        "sparse-checkout",
        "set",
        "--cone",
        "--sparse-index",
        "src-other",
    ];
    repository.git(&cone);
    assert!(!repository.path("work/src").exists());
    assert!(!repository.is_dirty());
}

/// A name, a change of a clean work tree, and whether it is dirty then.
type Change = (&'static str, fn(&Repository), bool);

const CHANGES: [Change; 16] = [
    ("another size", |it| it.write("src.rs", "longer"), true),
    ("the same size", |it| it.write("src.rs", "y"), true),
    ("the same content", |it| it.write("src.rs", "x"), false),
    ("a new file", |it| it.write("new", "x"), false),
    (
        "a link in place of a directory",
        |it| {
            fs::rename(it.path("work/src"), it.path("moved")).unwrap();
            fs::os::unix::fs::symlink("../moved", it.path("work/src")).unwrap();
            it.write("src/deep/run", "exit");
        },
        true,
    ),
    (
        "a file added",
        |it| {
            it.write("src/new", "x");
            it.git(&["add", "src/new"]);
        },
        true,
    ),
    (
        "a change added",
        |it| {
            it.write("src/deep/run", "other");
            it.git(&["add", "--all"]);
        },
        true,
    ),
    (
        "a change added and undone",
        |it| {
            it.write("src/deep/run", "other");
            it.git(&["add", "--all"]);
            it.write("src/deep/run", "exit");
            it.git(&["add", "--all"]);
        },
        false,
    ),
    (
        "a file intended",
        |it| {
            it.write("new", "x");
            it.git(&["add", "--intent-to-add", "new"]);
        },
        true,
    ),
    (
        "removed",
        |it| fs::remove_file(it.path("work/src.rs")).unwrap(),
        true,
    ),
    (
        "removed from the index",
        |it| drop(it.git(&["rm", "--cached", "-q", "src.rs"])),
        true,
    ),
    (
        "executable",
        |it| set_mode(&it.path("work/src.rs"), 0o755),
        true,
    ),
    (
        "executable, ignored",
        |it| {
            it.git(&["config", "core.fileMode", "false"]);
            set_mode(&it.path("work/src.rs"), 0o755);
        },
        false,
    ),
    (
        "private",
        |it| set_mode(&it.path("work/src.rs"), 0o600),
        false,
    ),
    (
        "another link",
        |it| {
            fs::remove_file(it.path("work/current")).unwrap();
            fs_err::os::unix::fs::symlink("sra", it.path("work/current")).unwrap();
        },
        true,
    ),
    (
        "a link instead of a file",
        |it| {
            fs::remove_file(it.path("work/src.rs")).unwrap();
            fs_err::os::unix::fs::symlink("x", it.path("work/src.rs")).unwrap();
        },
        true,
    ),
];

fn set_mode(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn changes_of_known_files_make_a_work_tree_dirty() {
    for (name, change, expected) in CHANGES {
        let Some(repository) = Repository::new() else {
            return;
        };
        change(&repository);
        assert_eq!(repository.is_dirty(), expected, "{name}");
    }
}

#[test]
fn a_change_of_files_that_git_looked_at_long_ago_is_seen() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.settle();
    repository.write("src.rs", "y");
    assert!(repository.is_dirty());
    repository.write("src.rs", "x");
    assert!(!repository.is_dirty());
}

#[test]
fn a_copy_of_a_clean_work_tree_is_clean() {
    let Some(repository) = Repository::new() else {
        return;
    };
    let copy = Sandbox::new("cp").unwrap();
    let (from, to) = (repository.path("work"), repository.path("copy"));
    let words = ["-r".as_ref(), from.as_os_str(), to.as_os_str()];
    drop(copy.run(words).success());
    let tree = repository.tree("copy");
    let head = tree.head().unwrap().unwrap();
    assert!(!tree.is_dirty(&head).unwrap());
}

#[test]
fn conflicts_are_changes() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.git(&["checkout", "--quiet", "-b", "other"]);
    repository.write("src.rs", "other");
    repository.commit();
    repository.git(&["checkout", "--quiet", "main"]);
    repository.write("src.rs", "main");
    repository.commit();
    let words = ["-C", "work", "merge", "--quiet", "other"];
    drop(repository.sandbox.run(words).exited(1));
    assert!(repository.is_dirty());
}

#[test]
fn submodules_count_with_their_commit_and_their_files() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.git_in(".", &["init", "--quiet", "inner"]);
    fs::write(repository.path("inner/file"), "1").unwrap();
    repository.git_in("inner", &["add", "--all"]);
    repository.git_in("inner", &["commit", "--quiet", "--message", "x"]);
    repository.git(&["submodule", "--quiet", "add", "../inner", "sub"]);
    repository.commit();
    assert!(!repository.is_dirty());
    repository.check("work/sub");
    assert_eq!(
        repository.tree("work/sub").root(),
        repository.path("work/sub")
    );
    fs::write(repository.path("work/sub/file"), "22").unwrap();
    assert!(repository.is_dirty());
    repository.git_in(
        "work/sub",
        &["commit", "--quiet", "--all", "--message", "y"],
    );
    assert!(repository.is_dirty());
    repository.commit();
    assert!(!repository.is_dirty());
}

#[test]
fn split_indexes_are_said_to_be_unknown() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.git(&["update-index", "--split-index"]);
    let tree = repository.tree("work");
    let head = tree.head().unwrap().unwrap();
    let error = tree.is_dirty(&head).unwrap_err();
    assert!(error.to_string().contains("a split index"), "{error}");
}

#[test]
fn the_origin_is_a_web_address() {
    let Some(repository) = Repository::new() else {
        return;
    };
    assert_eq!(repository.tree("work").origin(), None);
    let url = "https://me:secret@example.com/o/r.git";
    repository.git(&["remote", "add", "upstream", url]);
    let expected = Some("https://example.com/o/r".to_owned());
    assert_eq!(repository.tree("work").origin(), expected);
    repository.git(&["remote", "add", "origin", "git@example.com:mine/r"]);
    let expected = Some("https://example.com/mine/r".to_owned());
    assert_eq!(repository.tree("work").origin(), expected);
}

/// Reads everything of a repository, as far as it goes.
fn read_all(path: &Path) -> GitResult<bool> {
    let Some(tree) = WorkTree::holding(path)? else {
        return Ok(false);
    };
    drop(tree.origin());
    match tree.head()? {
        Some(head) => tree.is_dirty(&head),
        None => Ok(false),
    }
}

/// Every file of a repository.
fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn damaged_repositories_are_errors_or_nothing() {
    let Some(repository) = Repository::new() else {
        return;
    };
    repository.write("src.rs", "changed");
    repository.commit();
    repository.git(&["gc", "--quiet"]);
    repository.write("src/main.rs", "loose");
    repository.commit();
    let mut files = Vec::new();
    files_below(&repository.path("work/.git"), &mut files);
    files.retain(|path| !path.to_string_lossy().contains("hooks"));
    assert!(files.len() > 15, "{files:?}");
    let mut failures = 0;
    for file in &files {
        let whole = fs::read(file).unwrap();
        set_mode(file, 0o644);
        let length = whole.len();
        let cuts = [0, 1, 4, 8, length / 2, length.saturating_sub(1)];
        for cut in cuts.into_iter().filter(|cut| *cut < length) {
            fs::write(file, &whole[..cut]).unwrap();
            failures += usize::from(read_all(&repository.path("work")).is_err());
        }
        for place in (0..length).step_by((length / 97).max(1)) {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            fs::write(file, &changed).unwrap();
            failures += usize::from(read_all(&repository.path("work")).is_err());
        }
        fs::write(file, &whole).unwrap();
    }
    assert!(failures > 50, "{failures}");
    assert!(read_all(&repository.path("work")).is_ok());
}

#[test]
fn what_is_damaged_is_named() {
    for (file, text, expected) in [
        ("HEAD", "nothing", "neither a commit nor a reference"),
        ("HEAD", "ref: ../../etc/passwd", "it names no reference"),
        (
            "HEAD",
            "ref: refs/heads/a\n",
            "it is a chain of too many references",
        ),
        (
            "HEAD",
            "0123456789012345678901234567890123456789",
            "is not in",
        ),
        ("config", "[core", "it has an invalid line"),
        ("index", "x", "it is truncated"),
        ("commondir", "", "it names no directory"),
    ] {
        let Some(repository) = Repository::new() else {
            return;
        };
        let heads = repository.path("work/.git/refs/heads");
        fs::write(heads.join("a"), "ref: refs/heads/b").unwrap();
        fs::write(heads.join("b"), "ref: refs/heads/a").unwrap();
        fs::write(repository.path("work/.git").join(file), text).unwrap();
        let error = read_all(&repository.path("work")).unwrap_err();
        assert!(error.to_string().contains(expected), "{file}: {error}");
    }
    let Some(repository) = Repository::none() else {
        return;
    };
    for text in ["", "gitdir: ", "gitdir: nowhere", "x"] {
        fs::write(repository.path(".git"), text).unwrap();
        assert!(read_all(&repository.path("")).is_err(), "{text}");
    }
}

/// Returns files of a repository in every form that git writes, as inputs of the
/// fuzz target `git`.
pub(crate) fn fuzz_seeds() -> Vec<Vec<u8>> {
    let Some(repository) = Repository::new() else {
        return Vec::new();
    };
    let read = |path: &str| fs::read(repository.path("work/.git").join(path)).unwrap();
    let mut seeds = Vec::new();
    let mut add = |form: u8, parts: &[&[u8]]| seeds.push([&[form], &parts.concat()[..]].concat());
    for version in ["2", "3", "4"] {
        repository.git(&["update-index", "--index-version", version]);
        add(fuzz::GIT_INDEX, &[&read("index")]);
    }
    repository.git(&[
        "remote",
        "add",
        "origin",
        "https://me:x@example.com/o/r.git",
    ]);
    add(fuzz::GIT_CONFIG, &[&read("config")]);
    add(fuzz::GIT_HEAD, &[&read("HEAD")]);
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let (first, rest) = commit.split_at(2);
    add(
        fuzz::GIT_LOOSE,
        &[&read(&format!("objects/{first}/{rest}"))],
    );
    let text = repository.git(&["cat-file", "commit", "HEAD"]);
    add(fuzz::GIT_COMMIT, &[text.as_bytes()]);

    let lines: String = (0..200).map(|line| format!("{line}\n")).collect();
    for number in 0..3 {
        repository.write("src.rs", &format!("{number}{lines}"));
        repository.commit();
    }
    repository.git(&["tag", "--annotate", "--message", "x", "v1"]);
    repository.git(&["gc", "--quiet", "--aggressive"]);
    add(fuzz::GIT_PACKED_REFS, &[&read("packed-refs")]);
    let mut files = Vec::new();
    files_below(&repository.path("work/.git/objects/pack"), &mut files);
    let index = files
        .iter()
        .find(|path| path.extension().is_some_and(|it| it == "idx"));
    let index = index.unwrap();
    add(fuzz::GIT_PACK_INDEX, &[&fs::read(index).unwrap()]);
    let pack = fs::read(index.with_extension("pack")).unwrap();
    // `NAME KIND SIZE SIZE-IN-PACK OFFSET [DEPTH BASE]` of each object.
    let objects = repository.git(&["verify-pack", "--verbose", &index.display().to_string()]);
    for line in objects.lines() {
        if let [_, "commit" | "blob", _, _, offset, ..] = line.split(' ').collect::<Vec<_>>()[..] {
            let offset: u16 = offset.parse().unwrap();
            add(fuzz::GIT_PACK, &[&offset.to_be_bytes(), &pack]);
        }
    }
    seeds
}
