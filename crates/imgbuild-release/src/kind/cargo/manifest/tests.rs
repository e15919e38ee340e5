//! Packages of written manifests.

use imgbuild_testing::Sandbox;

use super::*;

/// The package of `target/release` below a tree.
fn found(tree: &str, executables: &[&str]) -> Option<Package> {
    let sandbox = Sandbox::new("unused").unwrap();
    drop(sandbox.tree("work", tree).unwrap());
    let root = sandbox.path("work/target/release");
    fs::create_dir_all(&root).unwrap();
    let executables: Vec<String> = executables.iter().map(ToString::to_string).collect();
    package(&root, &executables)
}

#[test]
fn a_manifest_says_what_a_package_is() {
    let tree = r#"0644 file Cargo.toml "[package]\nname = 'app'\nversion = '1.2.3'\nlicense = 'MIT/Apache-2.0'\nrepository = 'https://example.com/r'\nhomepage = 'https://example.com'\nauthors = ['A <a@b.c>', 'D']\ndescription = '''\n  Two\n  lines.\n'''\n""#;
    let expected = Package {
        source: SOURCE,
        name: "app".to_owned(),
        version: Some("1.2.3".to_owned()),
        license: Some("MIT OR Apache-2.0".to_owned()),
        repository: Some("https://example.com/r".to_owned()),
        homepage: Some("https://example.com".to_owned()),
        authors: vec!["A <a@b.c>".to_owned(), "D".to_owned()],
        description: Some("Two lines.".to_owned()),
    };
    assert_eq!(found(tree, &[]), Some(expected));
}

const WORKSPACE: &str = r#"
    0644 file Cargo.toml "[workspace]\nmembers = ['crates/*', 'tool']\n[workspace.package]\nversion = '2.0.0'\nlicense = 'MIT'"
    0644 file crates/one/Cargo.toml "[package]\nname = 'one'\nversion.workspace = true\nlicense = { workspace = true }\ndescription.workspace = true"
    0644 file crates/one/src/main.rs ""
    0644 file crates/two/Cargo.toml "[package]\nname = 'two'\nversion = '3.0.0'\n[[bin]]\nname = 'second'"
    0644 file tool/Cargo.toml "[package]\nname = 'tool'"
    0644 file tool/src/bin/third.rs ""
    0644 file crates/broken/Cargo.toml "["
"#;

#[test]
fn the_member_that_makes_the_only_executable_is_the_package() {
    for (executables, name, version) in [
        (&["one"][..], Some("one"), Some("2.0.0")),
        (&["second"], Some("two"), Some("3.0.0")),
        (&["third"], Some("tool"), None),
        (&["fourth"], None, None),
        (&["one", "second"], None, None),
        (&[], None, None),
    ] {
        let package = found(WORKSPACE, executables);
        let package = package.as_ref();
        assert_eq!(package.map(|it| it.name.as_str()), name, "{executables:?}");
        let found = package.and_then(|it| it.version.as_deref());
        assert_eq!(found, version, "{executables:?}");
    }
    let one = found(WORKSPACE, &["one"]).unwrap();
    assert_eq!(one.license.as_deref(), Some("MIT"));
    assert_eq!(one.description, None);
}

#[test]
fn what_is_no_manifest_says_nothing() {
    for text in ["", "[", "package = 1", "[package]", "[package]\\nname = 1"] {
        let tree = format!("0644 file Cargo.toml \"{text}\"");
        assert_eq!(found(&tree, &["app"]), None, "{text}");
    }
    let tree = r#"0644 file Cargo.toml "[package]\nname = 'a'\nversion = 1\nauthors = 'x'\nlicense.workspace = true""#;
    let package = found(tree, &[]).unwrap();
    assert_eq!((package.version, package.license), (None, None));
    assert!(package.authors.is_empty());
}
