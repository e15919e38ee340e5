//! The source files of the workspace, as the rules read them: without their
//! tests, and on request without comments and literals.

use std::path::{Path, PathBuf};

use super::{files_below, shown};
use crate::Result;

/// A source file that is no test.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the workspace.
    pub(super) name: String,
    /// The package, for example `imgbuild-oci`.
    pub(super) package: String,
    /// The names of the module below the root of its crate, outermost first.
    pub(super) module: Vec<String>,
    /// Everything before the module of tests.
    pub(super) text: String,
    /// The same lines with spaces in place of comments and literals.
    pub(super) code: String,
}

impl Source {
    /// Returns `true` for files of the program and its libraries, and `false`
    /// for the tools of this workspace.
    pub(super) fn is_product(&self) -> bool {
        !matches!(self.package.as_str(), "imgbuild-testing" | "xtask")
    }
}

/// Reads every source file of the workspace but tests.
pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut packages = vec![
        ("imgbuild".to_owned(), root.join("src")),
        ("xtask".to_owned(), root.join("xtask/src")),
    ];
    for entry in fs_err::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let package = path.file_name().unwrap_or_default().to_string_lossy();
        packages.push((package.into_owned(), path.join("src")));
    }
    packages.sort();

    let mut sources = Vec::new();
    for (package, directory) in packages {
        for file in files_below(&directory, ".rs")? {
            let inside = shown(&directory, &file);
            if is_test(&inside) {
                continue;
            }
            let text = without_tests(&fs_err::read_to_string(&file)?);
            sources.push(Source {
                name: shown(root, &file),
                package: package.clone(),
                module: module(&inside),
                code: code_of(&text),
                text,
            });
        }
    }
    Ok(sources)
}

fn is_test(inside: &str) -> bool {
    let parts: Vec<&str> = inside.split('/').collect();
    parts.iter().any(|part| {
        matches!(*part, "tests" | "tests.rs" | "fuzz.rs") || part.starts_with("fixture")
    })
}

/// Returns the module that a file below `src` holds.
fn module(inside: &str) -> Vec<String> {
    let path = PathBuf::from(inside).with_extension("");
    let mut names: Vec<String> = path
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if matches!(
        names.last().map(String::as_str),
        Some("lib" | "main" | "mod")
    ) {
        names.pop();
    }
    names
}

/// Cuts a file before `#[cfg(test)]` with a module in braces.
fn without_tests(text: &str) -> String {
    const MARK: &str = "\n#[cfg(test)]\n";
    for (index, _) in text.match_indices(MARK) {
        let line = text[index + MARK.len()..].lines().next().unwrap_or("");
        if line.contains("mod ") && line.ends_with('{') {
            return text[..index].to_owned();
        }
    }
    text.to_owned()
}

/// Replaces comments and the content of literals by spaces; lines stay.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped_length(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (skipped, after) = rest.split_at(length);
        code.extend(skipped.chars().map(|letter| match letter {
            '\n' => '\n',
            _ => ' ',
        }));
        rest = after;
    }
    code
}

/// Returns the length of the comment or literal that `rest` starts with, in
/// bytes; 0 if it starts with code.
fn skipped_length(rest: &str, before: Option<char>) -> usize {
    let end = |pattern: &str, from: usize| {
        let found = rest[from..].find(pattern);
        found.map_or(rest.len(), |index| from + index + pattern.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return end("*/", 2);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    // A character, but not a lifetime.
    if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && rest.starts_with('\'') {
        return quoted_length(rest, '\'');
    }
    let is_in_name = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let raw = rest.strip_prefix('b').unwrap_or(rest);
    if let Some(raw) = raw.strip_prefix('r').filter(|_| !is_in_name) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = rest.len() - raw.len() + hashes + 1;
            return end(&format!("\"{}", "#".repeat(hashes)), start);
        }
    }
    0
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Makes the source of a file from its text, for tests of rules.
#[cfg(test)]
pub(super) fn source(package: &str, name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        package: package.to_owned(),
        module: module(name.split_once("src/").map_or(name, |(_, inside)| inside)),
        code: code_of(text),
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn sources_have_their_package_and_module() {
        let root = tree(&[
            ("src/main.rs", "mod a;\n"),
            ("src/a/b.rs", "x\n#[cfg(test)]\nmod tests {\n}\n"),
            ("src/a/tests.rs", ""),
            ("crates/one/src/lib.rs", ""),
            ("crates/one/tests/t.rs", ""),
            ("xtask/src/main.rs", ""),
        ]);
        let sources = read_all(root.path()).unwrap();
        let seen: Vec<(&str, &str, String)> = sources
            .iter()
            .map(|source| {
                let module = source.module.join("::");
                (source.package.as_str(), source.text.as_str(), module)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("imgbuild", "x", "a::b".to_owned()),
                ("imgbuild", "mod a;\n", String::new()),
                ("one", "", String::new()),
                ("xtask", "", String::new()),
            ]
        );
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b\n */ c", "a     \n    c"),
            ("f(\"x\\\"y\", z)", "f(      , z)"),
            ("r#\"a\"b\"# c", "         c"),
            ("br\"a\" c", "      c"),
            ("x = 'a'; y: &'a str", "x =    ; y: &'a str"),
            ("'\\'' 'b", "     'b"),
            ("for\"", "for "),
        ] {
            assert_eq!(code_of(text), code, "{text}");
        }
    }
}
