use std::path::Path;

use fs_err as fs;

use super::*;

/// A database of dpkg: a tool with a library, and what they depend on.
pub(crate) const STATUS: &str = "\
Package: tool
Status: install ok installed
Architecture: amd64
Source: toolkit (1.0)
Version: 1.0-1
Depends: libtool2 (>= 1), editor | nano, tool-data, debconf (>= 0.5) | debconf-2.0
Pre-Depends: awk
Recommends: extra, nowhere
Description: tool
 with a line that is continued

Package: libtool2
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: toolkit
Depends: libc6

Package: libtool2
Status: install ok installed
Architecture: i386
Multi-Arch: same
Source: toolkit

Package: tool-data
Status: install ok installed
Architecture: all
Depends: libtool2, absent (>= 2)

Package: nano
Status: install ok installed
Architecture: amd64

Package: mawk
Status: install ok triggers-pending
Architecture: amd64
Provides: awk

Package: libc6
Status: hold ok installed
Architecture: amd64

Package: extra
Status: install ok installed
Architecture: amd64

Package: editor
Status: deinstall ok config-files
Architecture: amd64

Package: debconf
Status: install ok installed
Architecture: all

Package: dpkg
Status: install ok installed
Architecture: amd64
";

/// One paragraph of apk.
pub(crate) const INSTALLED: &str = "\
C:Q1abc=
P:jq
V:1.6
A:x86_64
o:jq
D:so:libc.musl-x86_64.so.1 oniguruma>6 !old
p:cmd:jq=1.6
F:usr
F:usr/bin
R:jq
Z:Q1x=

P:musl
A:x86_64
o:musl
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
";

pub(crate) fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

pub(crate) fn debian() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let info = "/var/lib/dpkg/info";
    let mut files = vec![("/var/lib/dpkg/status".to_owned(), STATUS)];
    for (name, text) in [
        (
            "tool",
            "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/diverted\n",
        ),
        (
            "libtool2:amd64",
            "/.\n/lib\n/lib/amd\n/lib/amd/libtool.so.2\n",
        ),
        (
            "libtool2:i386",
            "/.\n/lib\n/lib/i386\n/lib/i386/libtool.so.2\n",
        ),
        ("tool-data", "/usr\n/usr/share\n/usr/share/tool\n"),
        ("nano", "/usr\n/usr/bin\n/usr/bin/nano\n"),
        ("mawk", "/usr/bin/mawk\n"),
        ("libc6:amd64", "/lib/amd/libc.so.6\n"),
        ("extra", "/usr/bin/diverted\n"),
        ("debconf", "/usr/bin/debconf\n"),
        ("dpkg", "/usr/bin/dpkg\n"),
    ] {
        files.push((format!("{info}/{name}.list"), text));
    }
    let diversions = "/usr/bin/diverted\n/usr/bin/diverted.real\nextra\n";
    files.push(("/var/lib/dpkg/diversions".to_owned(), diversions));
    let awk = "auto\n/usr/bin/awk\n\n/usr/bin/mawk\n5\n\n";
    files.push(("/var/lib/dpkg/alternatives/awk".to_owned(), awk));
    for (path, text) in &files {
        write(root.path(), &[(path, text)]);
    }
    root
}

fn open(root: &Path) -> PackageDatabase {
    PackageDatabase::open(&Host::new(Some(root)))
}

fn names(packages: &BTreeSet<&HostPackage>) -> Vec<String> {
    let names = packages.iter();
    let names = names.map(|one| format!("{}:{}", one.name, one.architecture));
    names.collect()
}

#[test]
fn dependencies_are_those_that_are_installed() {
    let root = debian();
    let database = open(root.path());
    let set = database.closure(&[database.find("tool").unwrap()], false);
    assert_eq!(
        names(&set.packages),
        [
            "libc6:amd64",
            "libtool2:amd64",
            "mawk:amd64",
            "nano:amd64",
            "tool:amd64",
            "tool-data:all"
        ]
    );
    assert_eq!(set.recommended, ["extra", "nowhere"].into());
    assert_eq!(set.missing, ["absent"].into());
    let with = database.closure(&[database.find("tool").unwrap()], true);
    assert_eq!(with.packages.len(), set.packages.len() + 1);
    assert_eq!(with.recommended, ["nowhere"].into());
    assert!(database.find("editor").is_none());
    assert_eq!(database.problem(), None);
}

#[test]
fn a_path_has_an_owner_by_either_of_its_names() {
    let root = debian();
    let database = open(root.path());
    let owner = |path| database.owners(path).next().map(|one| one.name.as_str());
    for (path, expected) in [
        ("/usr/bin/tool", Some("tool")),
        ("/bin/tool", Some("tool")),
        ("/usr/lib/amd/libtool.so.2", Some("libtool2")),
        ("/usr/bin/diverted", Some("extra")),
        ("/usr/bin/diverted.real", Some("tool")),
        ("/usr/bin/none", None),
        ("/usr/share/tool/none", None),
    ] {
        assert_eq!(owner(path), expected, "{path}");
    }
    assert_eq!(database.owners("/usr/bin").count(), 2);
}

#[test]
fn files_are_where_diversions_put_them() {
    let root = debian();
    let database = open(root.path());
    let tool = database.find("tool").unwrap();
    let expected = [
        "/usr",
        "/usr/bin",
        "/usr/bin/tool",
        "/usr/bin/diverted.real",
    ];
    assert_eq!(database.files(tool), expected);
    assert_eq!(tool.source, "toolkit");
    let i386 = database.find("libtool2:i386").unwrap();
    assert!(database.files(i386)[2].contains("i386"));
    for name in ["tool:i386", "tool:nonsense", "tool:", "nothing:amd64"] {
        assert_eq!(database.find(name), None, "{name}");
    }
    assert_eq!(database.find("tool:amd64"), Some(tool));
}

#[test]
fn packages_of_apk_provide_libraries_and_programs() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("/lib/apk/db/installed", INSTALLED)]);
    let database = open(root.path());
    let jq = database.find("jq").unwrap();
    let set = database.closure(&[jq], false);
    assert_eq!(names(&set.packages), ["jq:x86_64", "musl:x86_64"]);
    assert_eq!(set.missing, ["oniguruma"].into());
    assert_eq!(database.files(jq), ["/usr", "/usr/bin", "/usr/bin/jq"]);
    let owner = database.owners("/lib/ld-musl-x86_64.so.1").next().unwrap();
    assert_eq!(owner.name, "musl");
}

#[test]
fn a_broken_database_is_one_problem() {
    for (path, text) in [
        ("/var/lib/dpkg/status", "\0\n\nnonsense"),
        ("/lib/apk/db/installed", ""),
        (
            "/var/lib/dpkg/status",
            "Package: a\nStatus: install ok installed\n",
        ),
        ("/var/lib/dpkg/status/x", ""),
    ] {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[(path, text)]);
        let database = open(root.path());
        assert!(database.owners("/usr/bin/a").next().is_none());
        let problem = database.problem().unwrap();
        let place = path.strip_suffix("/x").unwrap_or(path);
        assert!(problem.contains(&format!("`{place}`")), "{problem}");
    }
    let root = tempfile::tempdir().unwrap();
    assert_eq!(open(root.path()).problem(), None);
}

#[test]
fn too_many_diversions_are_a_problem() {
    let root = tempfile::tempdir().unwrap();
    let status = "Package: a\nStatus: install ok installed\n";
    let diversions = "/a\n/b\nc\n".repeat(MAX_DIVERSIONS + 1);
    write(
        root.path(),
        &[
            ("/var/lib/dpkg/status", status),
            ("/var/lib/dpkg/diversions", &diversions),
        ],
    );
    let problem = open(root.path()).problem().unwrap();
    assert!(
        problem.ends_with("it has more than 1,000 diversions"),
        "{problem}"
    );
}
