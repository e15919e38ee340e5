//! The rules of this project that neither the compiler nor clippy checks.

mod circles;
mod dependencies;
mod documents;
mod measures;
mod source;
mod sources;

use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::workspace;

/// The options of the command.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TidyArguments {
    /// Print the figures of all measures, each with its places
    #[arg(long)]
    places: bool,
}

/// A violation of a rule, with its place.
type Finding = String;

/// A check of the workspace.
type Rule = fn(&Path) -> Result<Vec<Finding>>;

const RULES: [(&str, Rule); 7] = [
    ("measures", measures::check),
    ("words and attributes", sources::check_words),
    ("list of tests", sources::check_list_of_tests),
    ("decision notes", documents::check_decisions),
    ("glossary", documents::check_glossary),
    ("changelog", documents::check_changelog),
    ("dependencies", dependencies::check),
];

pub(crate) fn run(arguments: &TidyArguments) -> Result {
    let root = workspace();
    if arguments.places {
        return measures::print(&root);
    }
    let mut count = 0;
    for (name, check) in RULES {
        for finding in check(&root)? {
            eprintln!("{name}: {finding}");
            count += 1;
        }
    }
    if count > 0 {
        return Err(format!("{count} violations of the rules").into());
    }
    Ok(())
}

/// Returns the files below `directory` whose name ends in `ending`, sorted.
fn files_below(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        if !directory.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if kind.is_file() && name.ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns a path relative to the workspace, for findings.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a workspace with these files.
    pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn files_are_found_below_but_not_in_build_directories() {
        let root = tree(&[
            ("a.rs", ""),
            ("b/c.rs", ""),
            ("b/c.txt", ""),
            ("target/d.rs", ""),
            (".git/e.rs", ""),
        ]);
        let found = files_below(root.path(), ".rs").unwrap();
        let found: Vec<String> = found.iter().map(|path| shown(root.path(), path)).collect();
        assert_eq!(found, ["a.rs", "b/c.rs"]);
        assert!(
            files_below(&root.path().join("none"), ".rs")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn the_workspace_keeps_its_rules() {
        // A call of cargo for each crate is left to `cargo xtask ci`.
        for (name, check) in RULES.iter().filter(|(name, _)| *name != "dependencies") {
            assert_eq!(
                check(&workspace()).unwrap(),
                Vec::<Finding>::new(),
                "{name}"
            );
        }
    }
}
