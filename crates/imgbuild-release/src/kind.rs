//! The kinds of release: the table of all, and how the kind of a directory is
//! found.
//!
//! A new kind is a folder here and a row in [`KINDS`]; `docs/extending.md`
//! has the steps.

pub(crate) mod cargo;
mod java;
pub(crate) mod mix;
mod next;
mod node;
mod python;
mod tree;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use globset::Glob;
use imgbuild_oci::bounded;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::RootDirectory;

use crate::error::{Error, Result};
use crate::release::facts::DirectoryFacts;
use crate::release::kind::ReleasesBelow;
use crate::release::selection::Selection;
use crate::release::{Kind, Release, ReleaseOptions};
use crate::script::MAX_LINE;
use crate::warning::Warning;

pub use cargo::CARGO;
pub use java::JAVA;
pub use mix::MIX;
pub use next::NEXT;
pub use node::NODE;
pub use python::PYTHON;
pub use tree::TREE;

/// All kinds, in the order in which they are tried; the last one fits all
/// directories.
pub static KINDS: [&Kind; 7] = [&MIX, &CARGO, &NEXT, &NODE, &PYTHON, &JAVA, &TREE];

/// The maximum number of directories that a pattern names.
const MAX_DIRECTORIES: usize = 2000;

/// A text that names no kind of release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind `{name}`")]
pub struct ParseKindError {
    name: String,
}

impl Kind {
    /// Finds a kind by its name.
    ///
    /// # Errors
    ///
    /// When there is no such kind.
    pub fn parse(name: &str) -> std::result::Result<&'static Self, ParseKindError> {
        let found = KINDS.into_iter().find(|kind| kind.name == name);
        found.ok_or_else(|| ParseKindError {
            name: name.to_owned(),
        })
    }
}

impl Release {
    /// Returns the directories at or below `root` that look like releases of a kind
    /// other than a tree, at most 2,000 for each of its patterns.
    #[must_use]
    pub fn places(root: &Path) -> Vec<PathBuf> {
        let facts = DirectoryFacts::default();
        let mut kinds = KINDS.into_iter().filter(|kind| **kind != TREE);
        if kinds.any(|kind| (kind.recognize)(root, &facts).is_some()) {
            return vec![root.to_path_buf()];
        }
        find_below(root, None, &facts).map_or_else(Vec::new, |(_, below)| below.places)
    }

    /// Opens the release at `root`.
    ///
    /// # Errors
    ///
    /// When there is no such directory, when nothing of it would be included,
    /// and with every path at once that cannot go into an image.
    pub fn open(root: &Path, options: &ReleaseOptions) -> Result<Self> {
        check_directory(root)?;
        let facts = DirectoryFacts::default();
        let mut kinds = KINDS.into_iter();
        let (kind, because) = match options.kind {
            Some(asked) => (asked, "`--kind` names it".to_owned()),
            None => kinds
                .find_map(|kind| Some((kind, (kind.recognize)(root, &facts)?)))
                .unwrap_or((&TREE, String::new())),
        };
        let may_be_above = match options.kind {
            Some(asked) => !asked.is_any_directory && (asked.recognize)(root, &facts).is_none(),
            None => kind.is_any_directory,
        };
        let mut below = None;
        if may_be_above {
            let is_other = |other: &Kind| options.kind.is_some() || *other != *kind;
            below = find_below(root, options.kind, &facts).filter(|(other, _)| is_other(other));
        }
        let wrong_level = |kind: &Kind, below: &ReleasesBelow| Error::WrongLevel {
            path: root.to_path_buf(),
            kind: kind.name,
            places: below.places.clone(),
        };
        if let Some((kind, below)) = &below
            && below.is_certain
        {
            return Err(wrong_level(kind, below));
        }

        let prefix = match &options.prefix {
            Some(prefix) => prefix.clone(),
            None => ImagePath::parse(kind.prefix)?,
        };
        let directory = RootDirectory::open(root)?;
        let mut selection = Selection::new(&directory, &prefix, options, &facts);
        let selected = (kind.select)(&mut selection).map_err(|error| match &below {
            Some((kind, below)) if options.kind.is_some() => wrong_level(kind, below),
            _ => error,
        })?;
        if let Some((kind, below)) = below {
            selection.warnings.push(Warning::ReleaseBelow {
                kind: kind.name,
                places: below.places,
            });
        }
        let mut release = Self::new(selection, kind, selected)?;
        release.because = because;
        Ok(release)
    }
}

fn check_directory(root: &Path) -> Result<()> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Error::NotADirectory(root.to_path_buf())),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            Err(Error::Missing(root.to_path_buf()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Finds the releases below a directory that is made to hold them: a project,
/// or the directory in which its tool builds.
///
/// ```text
/// PROJECT/_build/ENVIRONMENT/rel/NAME     mix, rebar3
/// PROJECT/_rel/NAME                       erlang.mk
/// PROJECT/target/[TRIPLE/]release         Cargo
/// ```
///
/// Only a handful of names are tried in any directory.
fn find_below(
    root: &Path,
    asked: Option<&'static Kind>,
    facts: &DirectoryFacts,
) -> Option<(&'static Kind, ReleasesBelow)> {
    KINDS
        .into_iter()
        .filter(|kind| asked.is_none_or(|asked| asked == *kind))
        .find_map(|kind| Some((kind, (kind.find_below)(root, facts)?)))
}

/// Returns the directories below `root` that a pattern names, sorted, at most
/// [`MAX_DIRECTORIES`] of them. `*` and `?` match letters of one name.
fn expand(root: &Path, pattern: &str, facts: &DirectoryFacts) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let next = |directory: PathBuf| matching(&directory, part, facts);
        found = found
            .into_iter()
            .flat_map(next)
            .take(MAX_DIRECTORIES)
            .collect();
    }
    if root == Path::new(".") {
        let short = |path: &PathBuf| path.strip_prefix(root).map(Path::to_path_buf);
        found = found.iter().flat_map(short).collect();
    }
    found
}

fn first_name(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// Finds the releases among the directories that patterns name below `root`, or in
/// the only directory that it has.
fn releases_below(
    root: &Path,
    patterns: &[&str],
    facts: &DirectoryFacts,
    is_release: impl Fn(&Path) -> bool,
) -> Option<ReleasesBelow> {
    let is_wrapper = facts.list(root).len() == 1;
    let patterns = if is_wrapper { &["*"] } else { patterns };
    let places = (patterns.iter()).flat_map(|pattern| expand(root, pattern, facts));
    let places: Vec<PathBuf> = places.filter(|place| is_release(place)).collect();
    (!places.is_empty()).then_some(ReleasesBelow {
        places,
        is_certain: false,
    })
}

/// Returns whether a program that `interpreter` does not run lies at the top of a
/// directory or in its `bin`.
fn has_other_program(root: &Path, interpreter: &str, facts: &DirectoryFacts) -> bool {
    let is_other = |path: PathBuf| {
        let metadata = fs::metadata(&path);
        if !metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0) {
            return false;
        }
        let file = bounded::open_file(&path);
        let head = file.map(|file| bounded::read_available(file, MAX_LINE));
        let head = head.unwrap_or_default();
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default();
        let is_program = head.starts_with(b"\x7fELF") && !path.ends_with(interpreter);
        is_program || line.starts_with("#!") && !line.contains(interpreter)
    };
    [root.to_path_buf(), root.join("bin")]
        .iter()
        .any(|directory| {
            let list = facts.list(directory);
            let mut files = list.iter().filter(|it| !it.is_directory);
            files.any(|file| is_other(directory.join(&file.name)))
        })
}

fn matching(directory: &Path, pattern: &str, facts: &DirectoryFacts) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?']) {
        let path = directory.join(pattern);
        return Vec::from_iter(path.is_dir().then_some(path));
    }
    let Ok(glob) = Glob::new(pattern).map(|glob| glob.compile_matcher()) else {
        return Vec::new();
    };
    let list = facts.list(directory);
    let found = list
        .iter()
        .filter(|it| it.is_directory && glob.is_match(&it.name));
    found.map(|it| directory.join(&it.name)).collect()
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::release::ReleaseOptions;

    /// Writes a release that is given as text.
    pub(super) fn written(tree: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::parse(tree).unwrap();
        tree.write_to(directory.path()).unwrap();
        directory
    }

    /// Returns the name of the kind that is recognized.
    pub(super) fn kind_of(tree: &str) -> &'static str {
        let directory = written(tree);
        let release = Release::open(directory.path(), &ReleaseOptions::default());
        release.unwrap().kind.name
    }

    fn found(tree: &str, at: &str) -> Option<(Vec<String>, bool)> {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        Tree::parse(tree).unwrap().write_to(&top).unwrap();
        let root = if at.is_empty() { top } else { top.join(at) };
        let (_, below) = find_below(&root, None, &DirectoryFacts::default())?;
        let relative = |path: &PathBuf| {
            let path = path.strip_prefix(&root).unwrap();
            path.display().to_string()
        };
        Some((
            below.places.iter().map(relative).collect(),
            below.is_certain,
        ))
    }

    /// What makes a directory a release of mix.
    fn release(at: &str) -> String {
        format!(
            "0644 file {at}/releases/start_erl.data \"13.1 1.0\"\n\
             0644 file {at}/releases/1.0/x.rel \"\"\n0755 dir {at}/lib\n"
        )
    }

    #[test]
    fn every_kind_has_a_row_in_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kinds.md");
        let text = fs::read_to_string(path).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let cells: Vec<Vec<&str>> = rows
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        let named: Vec<(String, String)> = cells
            .iter()
            .map(|cells| (cells[1].to_owned(), cells[3].to_owned()))
            .collect();
        let known = KINDS.map(|kind| (format!("`{}`", kind.name), format!("`{}`", kind.prefix)));
        assert_eq!(named, known, "in the order in which they are tried");
    }

    #[test]
    fn the_release_of_a_mix_project_is_found_at_every_level() {
        let project = [
            "0644 file mix.exs \"\"\n0755 dir _build/prod/lib\n0755 dir rel/overlays\n",
            &release("_build/prod/rel/shop"),
        ]
        .concat();
        for (at, expected) in [
            ("", "_build/prod/rel/shop"),
            ("_build", "prod/rel/shop"),
            ("_build/prod", "rel/shop"),
            ("_build/prod/rel", "shop"),
        ] {
            let expected = (vec![expected.to_owned()], true);
            assert_eq!(found(&project, at), Some(expected), "{at}");
        }
        assert_eq!(found(&project, "_build/prod/lib"), None);
        let several = project.clone() + &release("_build/dev/rel/shop");
        let expected = ["_build/prod/rel/shop", "_build/dev/rel/shop"];
        assert_eq!(found(&several, "").unwrap().0, expected);
    }

    #[test]
    fn a_tree_that_is_none_of_a_tool_is_left_alone() {
        assert_eq!(found(&release("services/shop"), ""), None);
        assert_eq!(found(&release("shop"), ""), None);
        assert_eq!(found("0644 file mix.exs \"\"\n", ""), None);
        assert_eq!(found("0755 dir rel/x/lib\n", "rel"), None);
        assert_eq!(found("0755 dir release\n", ""), None);
    }

    #[test]
    fn the_release_of_a_cargo_project_is_found() {
        use crate::elf::fixture::Fixture;
        let below = |root: &Path| find_below(root, None, &DirectoryFacts::default());
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path();
        let profile = project.join("target/x86_64-unknown-linux-musl/release");
        fs::create_dir_all(profile.join(".fingerprint")).unwrap();
        fs::write(project.join("Cargo.toml"), "").unwrap();
        fs::write(project.join("target/.rustc_info.json"), "").unwrap();
        assert_eq!(below(project), None, "nothing was built");
        let program = profile.join("app");
        fs::write(&program, Fixture::new().file_type(2).bytes()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).unwrap();
        for (root, is_certain) in [
            (project.to_path_buf(), false),
            (project.join("target"), true),
            (profile.parent().unwrap().to_path_buf(), true),
        ] {
            let (kind, below) = below(&root).unwrap();
            assert_eq!(below.places, std::slice::from_ref(&profile));
            assert_eq!((kind, below.is_certain), (&CARGO, is_certain));
        }
        assert_eq!(below(&profile), None);
    }
}
