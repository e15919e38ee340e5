//! The program is Rust all the way down: no crate that compiles C or links it,
//! and no network in the libraries that need none.

use std::path::Path;

use super::Finding;
use crate::Result;
use crate::process::{command, output};

/// Crates that bring C, and the package that must not have them.
const C_CRATES: [&str; 10] = [
    "aws-lc-sys",
    "bindgen",
    "cc",
    "cmake",
    "libz-sys",
    "native-tls",
    "openssl-sys",
    "pkg-config",
    "ring",
    "zstd-sys",
];

/// Crates that reach the network.
const NETWORK_CRATES: [&str; 8] = [
    "curl", "h2", "hyper", "reqwest", "rustls", "socket2", "tokio", "ureq",
];

const OFFLINE_PACKAGES: [&str; 2] = ["imgbuild-oci", "imgbuild-release"];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = banned(&tree(root, "imgbuild")?, "imgbuild", &C_CRATES);
    for package in OFFLINE_PACKAGES {
        findings.extend(banned(&tree(root, package)?, package, &NETWORK_CRATES));
    }
    Ok(findings)
}

/// Everything that is compiled for `package`, tests apart.
fn tree(root: &Path, package: &str) -> Result<String> {
    let words = [
        "cargo",
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_crates_are_found_by_their_whole_name() {
        let tree = "demo v0.1.0 (/demo)\ncc-traits v1.0.0\nzstd-sys v2.0.0 (*)\n";
        assert_eq!(
            banned(tree, "demo", &C_CRATES),
            ["`demo` is built with `zstd-sys` (see `cargo tree -i zstd-sys`)"]
        );
    }

    #[test]
    fn the_libraries_are_built_without_a_network() {
        let root = crate::process::workspace();
        let tree = tree(&root, "imgbuild-oci").unwrap();
        assert!(tree.starts_with("imgbuild-oci "), "{tree}");
        assert!(banned(&tree, "imgbuild-oci", &NETWORK_CRATES).is_empty());
    }
}
