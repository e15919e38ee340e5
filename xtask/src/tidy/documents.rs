//! Documents that must agree with each other and with the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Finding, files_below, shown};
use crate::Result;

const ARCHITECTURE: &str = "docs/architecture.md";
const GLOSSARY: &str = "docs/glossary.md";
const DECISIONS: &str = "docs/decisions";

/// Checks that every decision note is listed, has a unique number, and exists if
/// a source file or a document names it.
pub(super) fn check_decisions(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let architecture = fs_err::read_to_string(root.join(ARCHITECTURE))?;
    let mut numbers = BTreeSet::new();
    for note in files_below(&root.join(DECISIONS), ".md")? {
        let name = shown(&root.join(DECISIONS), &note);
        if !architecture.contains(&format!("(decisions/{name})")) {
            findings.push(format!("{ARCHITECTURE} does not link {DECISIONS}/{name}"));
        }
        let number = name.split('-').next().unwrap_or_default().to_owned();
        if number.len() != 4 || number.parse::<u32>().is_err() {
            findings.push(format!(
                "{DECISIONS}/{name} does not start with four digits"
            ));
        }
        if !numbers.insert(number) {
            findings.push(format!("{DECISIONS}/{name} has the number of another note"));
        }
    }
    for ending in [".rs", ".md"] {
        let files = files_below(root, ending)?;
        // The tests of this program name notes that do not exist.
        let is_own = |file: &PathBuf| file.starts_with(root.join("xtask"));
        for file in files.into_iter().filter(|file| !is_own(file)) {
            let text = fs_err::read_to_string(&file)?;
            for name in named_notes(&text) {
                if !root.join(DECISIONS).join(&name).is_file() {
                    let file = shown(root, &file);
                    findings.push(format!(
                        "{file} names the note `{name}`, which does not exist"
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// Returns the names after `decisions/` that have the form of a note's.
fn named_notes(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let after = text.split("decisions/").skip(1);
    let names = after.map(|rest| {
        rest.split(|letter| !is_of_name(letter))
            .next()
            .unwrap_or("")
    });
    names
        .filter_map(|name| Some(format!("{}.md", name.split_once(".md")?.0)))
        .filter(|name| name.starts_with(|letter: char| letter.is_ascii_digit()))
        .collect()
}

/// Checks that the newest version of the changelog has a section on digests.
pub(super) fn check_changelog(root: &Path) -> Result<Vec<Finding>> {
    let path = root.join("CHANGELOG.md");
    if !path.is_file() {
        return Ok(vec!["CHANGELOG.md is missing".to_owned()]);
    }
    let text = fs_err::read_to_string(path)?;
    let Some(newest) = text.split("\n## ").nth(1) else {
        return Ok(vec!["CHANGELOG.md has no version".to_owned()]);
    };
    if newest.lines().any(|line| line.trim() == "### Digests") {
        return Ok(Vec::new());
    }
    let version = newest.lines().next().unwrap_or_default();
    Ok(vec![format!(
        "CHANGELOG.md has no `### Digests` under `{version}`"
    )])
}

/// Checks that a crate defines every name of the glossary's second column.
pub(super) fn check_glossary(root: &Path) -> Result<Vec<Finding>> {
    let glossary = fs_err::read_to_string(root.join(GLOSSARY))?;
    let mut defined = BTreeSet::new();
    for file in files_below(&root.join("crates"), ".rs")? {
        defined.extend(definitions(&fs_err::read_to_string(file)?));
    }
    let named = glossary
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(quoted);
    let missing = named.filter(|name| !defined.contains(*name));
    let findings = missing.map(|name| format!("{GLOSSARY} names `{name}`, which no crate defines"));
    Ok(findings.collect())
}

/// Returns the texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the names of types and constants that a source file defines.
fn definitions(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let mut words = words.filter(|word| !word.is_empty());
        let keyword = words.find(|word| !["pub", "crate", "super"].contains(word));
        if matches!(
            keyword,
            Some("struct" | "enum" | "trait" | "type" | "const")
        ) {
            names.extend(words.next().map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn consistent_notes_have_no_findings() {
        let root = tree(&[
            (ARCHITECTURE, "[tar](decisions/0001-tar.md)"),
            ("docs/decisions/0001-tar.md", "See [times](0002-times.md)."),
            (
                "src/a.rs",
                "//! See `docs/decisions/0001-tar.md`.\n//! And docs/decisions/.",
            ),
        ]);
        assert_eq!(check_decisions(root.path()).unwrap(), Vec::<Finding>::new());
    }

    #[test]
    fn inconsistent_notes_are_found() {
        let root = tree(&[
            (ARCHITECTURE, "[tar](decisions/0001-tar.md)"),
            ("docs/decisions/0001-tar.md", ""),
            ("docs/decisions/0001-times.md", ""),
            ("docs/decisions/layers.md", ""),
            ("src/a.rs", "//! docs/decisions/0009-gone.md"),
        ]);
        assert_eq!(
            check_decisions(root.path()).unwrap(),
            [
                "docs/architecture.md does not link docs/decisions/0001-times.md",
                "docs/decisions/0001-times.md has the number of another note",
                "docs/architecture.md does not link docs/decisions/layers.md",
                "docs/decisions/layers.md does not start with four digits",
                "src/a.rs names the note `0009-gone.md`, which does not exist",
            ]
        );
    }

    #[test]
    fn only_the_newest_version_needs_a_word_on_digests() {
        let good = "# Changelog\n\n## Unreleased\n\n### Digests\n\nNone.\n\n## 0.1.0\n";
        let root = tree(&[("CHANGELOG.md", good)]);
        assert!(check_changelog(root.path()).unwrap().is_empty());
        for (text, expected) in [
            ("# Changelog\n", "CHANGELOG.md has no version"),
            (
                "# Changelog\n\n## 0.2.0\n\n### Added\n\n## 0.1.0\n\n### Digests\n",
                "CHANGELOG.md has no `### Digests` under `0.2.0`",
            ),
        ] {
            let root = tree(&[("CHANGELOG.md", text)]);
            assert_eq!(check_changelog(root.path()).unwrap(), [expected]);
        }
        assert_eq!(
            check_changelog(tree(&[]).path()).unwrap(),
            ["CHANGELOG.md is missing"]
        );
    }

    #[test]
    fn the_glossary_names_what_is_defined() {
        let root = tree(&[
            (
                GLOSSARY,
                "| say | in code |\n|---|---|\n| layer | `Layer` | text `x` |\n| block | `BLOCK` |\n| unit | `Unit` |",
            ),
            (
                "crates/a/src/lib.rs",
                "pub struct Layer(u8);\npub(crate) const BLOCK: u8 = 1;\n// a Unit",
            ),
        ]);
        assert_eq!(
            check_glossary(root.path()).unwrap(),
            ["docs/glossary.md names `Unit`, which no crate defines"]
        );
    }
}
