//! The crates that the workspace depends on: their licenses, no C in the
//! program, and no network in the libraries that need none.
//!
//! The lists are those of `deny.toml`, so that `cargo deny` agrees.

use std::path::Path;

use serde::Deserialize;

use super::Finding;
use crate::Result;
use crate::process::{command, output};

/// Crates that reach the network.
const NETWORK_CRATES: [&str; 8] = [
    "curl", "h2", "hyper", "reqwest", "rustls", "socket2", "tokio", "ureq",
];

const OFFLINE_PACKAGES: [&str; 2] = ["imgbuild-oci", "imgbuild-release"];

/// The parts of `deny.toml` that are checked here.
#[derive(Debug, Deserialize)]
struct Policy {
    licenses: LicensePolicy,
    bans: BanPolicy,
}

#[derive(Debug, Deserialize)]
struct LicensePolicy {
    allow: Vec<String>,
    exceptions: Vec<LicenseException>,
}

#[derive(Debug, Deserialize)]
struct LicenseException {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct BanPolicy {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let policy: Policy = toml::from_str(&fs_err::read_to_string(root.join("deny.toml"))?)?;
    let bans: Vec<&str> = policy
        .bans
        .deny
        .iter()
        .map(|ban| ban.name.as_str())
        .collect();

    let mut findings = banned(&built_crates(root, "imgbuild")?, "imgbuild", &bans);
    for package in OFFLINE_PACKAGES {
        findings.extend(banned(
            &built_crates(root, package)?,
            package,
            &NETWORK_CRATES,
        ));
    }
    findings.extend(unlicensed(&licenses(root)?, &policy.licenses));
    Ok(findings)
}

/// Returns a line for each crate that is compiled for `package`, without its tests.
fn built_crates(root: &Path, package: &str) -> Result<String> {
    tree(
        root,
        &[
            "--package",
            package,
            "--edges",
            "normal,build",
            "--format",
            "{p}",
        ],
    )
}

/// Returns a line with name, version and license for each crate that the
/// workspace is made of.
fn licenses(root: &Path) -> Result<String> {
    tree(root, &["--workspace", "--format", "{p}\t{l}"])
}

fn tree(root: &Path, arguments: &[&str]) -> Result<String> {
    let words = [
        &["cargo", "tree", "--locked", "--prefix", "none"],
        arguments,
    ]
    .concat();
    output(command(&words).current_dir(root))
}

fn banned(tree: &str, package: &str, crates: &[&str]) -> Vec<Finding> {
    let built: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let found = crates.iter().filter(|name| built.contains(name));
    found
        .map(|name| format!("`{package}` is built with `{name}` (see `cargo tree -i {name}`)"))
        .collect()
}

fn unlicensed(tree: &str, policy: &LicensePolicy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, license) = line.split_once('\t').unwrap_or((line, ""));
        let license = license.trim_end_matches(" (*)");
        let name = package.split(' ').next().unwrap_or_default();
        let exception = policy
            .exceptions
            .iter()
            .find(|exception| exception.name == name);
        let exception = exception.map_or(&[][..], |exception| &exception.allow);
        let is_allowed = |term: &str| {
            policy
                .allow
                .iter()
                .chain(exception)
                .any(|allowed| allowed == term)
        };
        if !satisfies(license, &is_allowed) {
            findings.push(format!(
                "the license of {package} is not allowed: `{license}`"
            ));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Evaluates a license expression of SPDX; `/` is the old form of `OR`.
fn satisfies(license: &str, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    // `OR` binds weakest, so the expression is split there first.
    for (operator, is_any) in [(" OR ", true), ("/", true), (" AND ", false)] {
        let parts = split_outside_brackets(license, operator);
        if parts.len() > 1 {
            let mut parts = parts.into_iter().map(|part| satisfies(part, is_allowed));
            return if is_any {
                parts.any(|part| part)
            } else {
                parts.all(|part| part)
            };
        }
    }
    let license = license.trim();
    let inner = license
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    inner.map_or_else(|| is_allowed(license), |inner| satisfies(inner, is_allowed))
}

fn split_outside_brackets<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && text[index..].starts_with(separator) => {
                parts.push(&text[start..index]);
                start = index + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_crates_are_found_by_their_whole_name() {
        let tree = "demo v0.1.0 (/demo)\ncc-traits v1.0.0\nzstd-sys v2.0.0 (*)\n";
        assert_eq!(
            banned(tree, "demo", &["cc", "zstd-sys"]),
            ["`demo` is built with `zstd-sys` (see `cargo tree -i zstd-sys`)"]
        );
    }

    #[test]
    fn the_libraries_are_built_without_a_network() {
        let root = crate::process::workspace();
        let crates = built_crates(&root, "imgbuild-oci").unwrap();
        assert!(crates.starts_with("imgbuild-oci "), "{crates}");
        assert!(banned(&crates, "imgbuild-oci", &NETWORK_CRATES).is_empty());
    }

    #[test]
    fn license_expressions_are_evaluated() {
        let is_allowed =
            |term: &str| matches!(term, "MIT" | "ISC" | "Apache-2.0 WITH LLVM-exception");
        for (license, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("ISC AND (GPL-3.0 OR MIT)", true),
            ("(GPL-3.0 AND MIT) OR ISC", true),
            ("GPL-3.0 OR (ISC AND BSL-1.0)", false),
            ("Apache-2.0 WITH LLVM-exception", true),
        ] {
            assert_eq!(satisfies(license, &is_allowed), expected, "{license}");
        }
    }

    #[test]
    fn an_exception_holds_for_one_crate() {
        let policy = LicensePolicy {
            allow: vec!["MIT".to_owned()],
            exceptions: vec![LicenseException {
                name: "data".to_owned(),
                allow: vec!["CC0-1.0".to_owned()],
            }],
        };
        let tree =
            "a v1.0.0\tMIT\ndata v1.0.0\tCC0-1.0 (*)\nb v1.0.0\tCC0-1.0\nb v1.0.0\tCC0-1.0 (*)\n";
        let found = ["the license of b v1.0.0 is not allowed: `CC0-1.0`"];
        assert_eq!(unlicensed(tree, &policy), found);
    }
}
