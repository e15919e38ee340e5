//! Words and attributes that no source file may have, and the list of tests.

use std::path::Path;

use super::{Finding, files_below, shown};
use crate::Result;

/// The forbidden words, each with its reason; in two parts, so that this file
/// does not contain them.
const WORDS: [(&str, &str, &str); 6] = [
    ("todo", "!(", "finish the work first"),
    ("unimple", "mented!(", "finish the work first"),
    ("#[ign", "ore", "a test runs or is removed"),
    (
        "#[al",
        "low(",
        "use `#[expect(…, reason = …)]`, which fails once it is not needed",
    ),
    ("FIX", "ME", "write an issue"),
    ("XX", "X:", "write an issue"),
];

pub(super) fn check_words(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files_below(root, ".rs")? {
        let text = fs_err::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            for (first, second, reason) in WORDS {
                let word = format!("{first}{second}");
                if line.contains(&word) {
                    let file = shown(root, &file);
                    findings.push(format!("{file}:{}: `{word}`: {reason}", number + 1));
                }
            }
        }
    }
    Ok(findings)
}

/// Checks that every file of `tests/` is a module of the one test program.
pub(super) fn check_list_of_tests(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let main = root.join("tests/main.rs");
    let listed: Vec<String> = fs_err::read_to_string(&main)?
        .lines()
        .filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("mod ")?
                    .strip_suffix(';')?
                    .to_owned(),
            )
        })
        .collect();
    for file in files_below(&root.join("tests"), ".rs")? {
        let inside = shown(&root.join("tests"), &file);
        let Some(name) = inside.strip_suffix(".rs").filter(|name| *name != "main") else {
            continue;
        };
        // A part of a module is listed by the module.
        let name = name.strip_suffix("/mod").unwrap_or(name);
        if !name.contains('/') && !listed.iter().any(|listed| listed == name) {
            findings.push(format!(
                "tests/main.rs does not list `{name}`, which never runs"
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let text = format!("fn f() {{\n    {}{}) }}\n", "todo", "!(");
        let root = tree(&[("src/a.rs", &text), ("src/b.rs", "// todo, ignore, allow")]);
        let word = ["`", "todo", "!(`"].concat();
        assert_eq!(
            check_words(root.path()).unwrap(),
            [format!("src/a.rs:2: {word}: finish the work first")]
        );
    }

    #[test]
    fn a_test_that_is_not_listed_is_found() {
        let root = tree(&[
            ("tests/main.rs", "mod build;\nmod engine;\n"),
            ("tests/build.rs", ""),
            ("tests/engine/mod.rs", ""),
            ("tests/engine/load.rs", ""),
            ("tests/lost.rs", ""),
        ]);
        assert_eq!(
            check_list_of_tests(root.path()).unwrap(),
            ["tests/main.rs does not list `lost`, which never runs"]
        );
    }
}
