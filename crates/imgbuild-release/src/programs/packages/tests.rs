use std::os::unix::fs::PermissionsExt as _;

use fs_err as fs;
use imgbuild_oci::entry::Member;

use super::*;
use crate::contents::Contents;
use crate::host_packages::tests::write;

const STATUS: &str = "\
Package: tool
Status: install ok installed
Architecture: amd64
Depends: data, sh
Recommends: more

Package: data
Status: install ok installed
Architecture: all

Package: dash
Status: install ok installed
Architecture: amd64
Provides: sh

Package: other
Status: install ok installed
Architecture: all
";

const FILES: [(&str, &str); 26] = [
    (
        "/var/lib/ucf/registry",
        "tool   /etc/other/tool.ini\nelse /etc/other/no.ini\n",
    ),
    ("/etc/other/tool.ini", "registered"),
    ("/var/lib/dpkg/status", STATUS),
    (
        "/var/lib/dpkg/info/tool.list",
        "/.\n/usr\n/usr/bin\n/usr/bin/tool.real\n/usr/bin/helper\n/usr/bin/script\n/etc\n/etc/tool\n\
         /etc/tool/tool.conf\n/usr/share\n/usr/share/doc\n/usr/share/doc/tool\n/usr/share/doc/tool/copyright\n\
         /usr/share/doc/tool/README\n/var\n/var/lib\n/var/lib/tool\n/etc/tool/conf.d\n/lib\n/lib/libtool.so\n/usr/bin/gone\n/usr/lib/tool\n/usr/lib/tool/plugin\n",
    ),
    (
        "/var/lib/dpkg/info/data.list",
        "/.\n/usr\n/usr/share\n/usr/share/tool\n/usr/share/tool/list\n/usr/share/shared\n/usr/share/locale\n\
         /usr/share/locale/de\n/usr/share/shared/one\n",
    ),
    ("/var/lib/dpkg/info/dash.list", "/bin\n/bin/sh\n"),
    (
        "/var/lib/dpkg/info/other.list",
        "/usr\n/usr/bin\n/usr/share\n/usr/share/shared\n/usr/share/shared/two\n",
    ),
    (
        "/var/lib/dpkg/alternatives/tool",
        "auto\n/usr/bin/tool\ntool.1\n/usr/share/man/tool.1\n\n/usr/bin/absent\n90\n\n/usr/bin/tool.real\n5\n/x\n\n",
    ),
    ("/usr/bin/tool.real", "tool"),
    ("/usr/bin/sh", "shell"),
    ("/usr/bin/script", "#!/bin/sh\n"),
    ("/usr/lib/libtool.so", "library"),
    ("/usr/lib/tool/plugin", "plugin"),
    ("/usr/lib/tool/config6", "made by a script"),
    ("/etc/tool/tool.conf", "configuration"),
    ("/etc/tool/made.conf", "made by a script"),
    ("/etc/tool/old.conf.dpkg-old", "old"),
    ("/usr/share/doc/tool/copyright", "license"),
    ("/usr/share/doc/tool/README", "read me"),
    ("/usr/share/tool/list", "data"),
    ("/usr/share/tool/cache", "made by a script"),
    ("/usr/share/shared/one", "1"),
    ("/usr/share/shared/two", "2"),
    ("/usr/share/shared/mime.cache", "made by a script"),
    ("/usr/share/shared/stray", "stray"),
    ("/var/lib/tool/state", "state of this machine"),
];

fn root() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    let link = |target, name: &str| {
        fs_err::os::unix::fs::symlink(target, root.join(name)).unwrap();
    };
    link("usr/bin", "bin");
    link("usr/lib", "lib");
    write(root, &FILES);
    link("../../usr/share/tool/list", "etc/tool/list");
    fs::create_dir_all(root.join("etc/tool/conf.d")).unwrap();
    link("../../other/tool.ini", "etc/tool/conf.d/1.ini");
    let mode = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        fs::set_permissions(root.join(path), mode).unwrap();
    };
    mode("usr/bin/tool.real", 0o4755);
    mode("usr/bin/script", 0o755);
    mode("usr/bin/sh", 0o755);
    fs::hard_link(root.join("usr/bin/tool.real"), root.join("usr/bin/helper")).unwrap();
    directory
}

fn options(names: &[&str]) -> PackageOptions {
    PackageOptions {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..PackageOptions::default()
    }
}

/// Returns the members and the warnings.
fn brought(root: &Path, release: &[Member], options: &PackageOptions) -> [Vec<String>; 2] {
    let contents = Contents::new(release);
    let mut programs = Programs::new(Some(root), &contents, vec!["/usr/bin".to_owned()], 1);
    programs.add_packages(options).unwrap();
    programs.request("/bin/sh");
    let added = programs.finish().unwrap();
    let shown = added.members.iter().map(|member| {
        let path = &member.entry.path;
        match &member.entry.kind {
            EntryKind::Symlink { target } => {
                format!("{path} -> {}", String::from_utf8_lossy(target))
            }
            _ => format!("{path} {:o}", member.entry.mode),
        }
    });
    let recommended = "the packages recommend others, which are not included: `more`";
    assert_eq!(added.notes, [recommended]);
    let warnings = added.warnings.iter().map(ToString::to_string);
    [shown.collect(), warnings.collect()]
}

const EXPECTED: [&str; 21] = [
    "/bin -> usr/bin",
    "/etc/alternatives/tool -> /usr/bin/tool.real",
    "/etc/other/tool.ini 644",
    "/etc/tool/conf.d 755",
    "/etc/tool/conf.d/1.ini -> ../../other/tool.ini",
    "/etc/tool/list -> ../../usr/share/tool/list",
    "/etc/tool/tool.conf 644",
    "/lib -> usr/lib",
    "/usr/bin/helper 755",
    "/usr/bin/script 755",
    "/usr/bin/sh 755",
    "/usr/bin/tool -> /etc/alternatives/tool",
    "/usr/bin/tool.real -> /usr/bin/helper",
    "/usr/lib/libtool.so 644",
    "/usr/lib/tool/config6 644",
    "/usr/lib/tool/plugin 644",
    "/usr/share/doc/tool/copyright 644",
    "/usr/share/shared/mime.cache 644",
    "/usr/share/shared/one 644",
    "/usr/share/tool/cache 644",
    "/usr/share/tool/list 644",
];

#[test]
fn a_package_comes_with_what_it_needs_and_what_its_scripts_made() {
    let root = root();
    let [members, warnings] = brought(root.path(), &[], &options(&["tool"]));
    let mut expected = EXPECTED.map(str::to_owned).to_vec();
    // Its state is that of this machine.
    expected.push("/var/lib/tool 755".to_owned());
    assert_eq!(members, expected);
    assert_eq!(
        warnings,
        [
            "files of packages are not on this machine, or cannot be read: `/usr/bin/gone`",
            "files that no package lists are not included from directories of packages: `/etc/tool/made.conf`",
            "set-id files of packages are included without these bits: `/usr/bin/helper`, `/usr/bin/tool.real`",
        ]
    );
    let again = brought(self::root().path(), &[], &options(&["tool"]));
    assert_eq!(again, [members, warnings]);
}

#[test]
fn documentation_recommended_packages_and_set_id_bits_come_if_asked_for() {
    let root = root();
    let options = PackageOptions {
        include_docs: true,
        include_recommended: true,
        allow_set_id: true,
        ..options(&["tool", "data"])
    };
    let [members, warnings] = brought(root.path(), &[], &options);
    assert!(members.contains(&"/usr/share/doc/tool/README 644".to_owned()));
    assert!(members.contains(&"/usr/bin/helper 4755".to_owned()));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn a_program_comes_with_the_data_of_its_package() {
    let root = root();
    let contents = Contents::default();
    let brought = |takes_package_files| {
        let search = vec!["/usr/bin".to_owned()];
        let mut programs = Programs::new(Some(root.path()), &contents, search, 1);
        programs.takes_package_files = takes_package_files;
        programs.request("helper");
        let added = programs.finish().unwrap();
        let paths = added.members.iter().map(|it| it.entry.path.to_string());
        let warnings = added.warnings.iter().map(ToString::to_string);
        (paths.collect::<Vec<_>>(), [added.notes, warnings.collect()])
    };
    let (paths, notes) = brought(true);
    assert_eq!(
        paths,
        [
            "/etc/tool/conf.d",
            "/etc/tool/tool.conf",
            "/usr/bin/helper",
            "/usr/lib/tool/config6",
            "/usr/lib/tool/plugin",
            "/var/lib/tool",
        ]
    );
    let expected = [
        "`helper` comes with files of the package `tool` and those it needs: 3, 1 KiB",
        "files that no package lists are not included from directories of packages: `/etc/tool/made.conf`",
    ];
    assert_eq!(notes.concat(), expected);
    assert_eq!(brought(false).0, ["/usr/bin/helper"]);
}

#[test]
fn what_the_image_has_is_not_brought() {
    let path = |text: &str| ImagePath::parse(text).unwrap();
    let file = |at: &str| Member::file(path(at), 0o644, b"x".to_vec());
    let release = [file("/bin/own"), file("/usr/share/tool/list")];
    let root = root();
    let [members, _] = brought(root.path(), &release, &options(&["tool"]));
    assert!(!members.contains(&"/usr/share/tool/list 644".to_owned()));
    assert!(!members.contains(&"/bin -> usr/bin".to_owned()));
    assert!(members.contains(&"/lib -> usr/lib".to_owned()));
}

#[test]
fn packages_that_are_not_installed_are_named_with_similar_ones() {
    let root = root();
    let contents = Contents::default();
    let mut programs = Programs::new(Some(root.path()), &contents, Vec::new(), 1);
    let error = programs.add_packages(&options(&["data", "tols", "dat"]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "packages that the image needs are not installed\n  `tols`\n  `dat` (similar: `data`)"
    );
    let broken = tempfile::tempdir().unwrap();
    write(broken.path(), &[("/var/lib/dpkg/status", "nonsense")]);
    let mut programs = Programs::new(Some(broken.path()), &contents, Vec::new(), 1);
    let error = programs.add_packages(&options(&["tool"])).unwrap_err();
    let reason = "the package database of the host, `/var/lib/dpkg/status`, is incomplete";
    assert!(error.to_string().contains(reason), "{error}");
    for (path, expected) in [
        ("srv", "it has no database of dpkg or apk"),
        ("var/lib/rpm", "its package manager is rpm, not dpkg or apk"),
    ] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(path)).unwrap();
        let mut programs = Programs::new(Some(root.path()), &contents, Vec::new(), 1);
        let error = programs.add_packages(&options(&["tool"])).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

/// A root with an essential package, and `text` as the script of `tool`.
fn with_essential(text: &str) -> tempfile::TempDir {
    let root = root();
    let status = "\nPackage: base\nStatus: install ok installed\nEssential: yes\n";
    let list =
        "/usr/bin/sed\n/usr/bin/perl\n/usr/lib/x/perl-base\n/usr/lib/x/perl-base/strict.pm\n";
    let files = [
        ("/var/lib/dpkg/status", &*format!("{STATUS}{status}")),
        ("/var/lib/dpkg/info/base.list", list),
        ("/usr/bin/script", text),
        ("/usr/bin/sed", "sed"),
        ("/usr/bin/perl", "perl"),
        ("/usr/bin/stray", "stray"),
        ("/usr/lib/x/perl-base/strict.pm", "1;"),
        ("/usr/share/perl/5.36/Full.pm", "1;"),
    ];
    write(root.path(), &files);
    for name in ["sed", "perl", "stray"] {
        let path = root.path().join("usr/bin").join(name);
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    root
}

/// Adds `tool`, and a program if it has a name; returns the paths, notes and
/// findings.
fn added(text: &str, brings_calls: bool, program: Option<&str>) -> [Vec<String>; 3] {
    let root = with_essential(text);
    let contents = Contents::default();
    let mut programs = Programs::new(Some(root.path()), &contents, vec!["/usr/bin".to_owned()], 1);
    programs.brings_calls = brings_calls;
    programs.takes_package_files = true;
    programs.add_packages(&options(&["tool"])).unwrap();
    program.into_iter().for_each(|name| programs.request(name));
    let added = programs.finish().unwrap();
    let paths = added.members.iter().map(|it| it.entry.path.to_string());
    let findings = added.findings.into_iter().map(|it| it.reason);
    [paths.collect(), added.notes, findings.collect()]
}

#[test]
fn scripts_of_packages_have_the_essential_programs_that_they_call() {
    let text = "#!/bin/sh\nsed x | stray\n";
    let [paths, notes, findings] = added(text, true, None);
    assert!(paths.contains(&"/usr/bin/sed".to_owned()), "{paths:?}");
    assert!(!paths.contains(&"/usr/bin/stray".to_owned()), "{paths:?}");
    assert_eq!(
        notes[1..],
        ["programs that scripts of the packages call are included: `sed`"]
    );
    assert_eq!(findings, [""; 0]);
    let [paths, _, findings] = added(text, false, None);
    assert!(!paths.contains(&"/usr/bin/sed".to_owned()), "{paths:?}");
    assert_eq!(
        findings,
        ["`/usr/bin/script` seems to call programs that the image does not have: `sed`"]
    );
    assert_eq!(added(text, false, Some("sed"))[2], [""; 0]);
}

#[test]
fn perl_comes_where_it_is_called_and_with_all_modules_where_it_is_asked_for() {
    let [base, full] = [
        "/usr/lib/x/perl-base/strict.pm",
        "/usr/share/perl/5.36/Full.pm",
    ];
    for (text, program, expected) in [
        ("#!/bin/sh\n", None, [false; 2]),
        ("#!/bin/sh\n", Some("perl"), [true; 2]),
        ("#!/usr/bin/perl\n", None, [true, false]),
        ("#!/bin/sh\nperl -e 1\n", None, [true, false]),
        ("#!/usr/bin/perl\n", Some("perl"), [true; 2]),
    ] {
        let [paths, ..] = added(text, true, program);
        let has = |path: &str| paths.iter().any(|known| known == path);
        assert_eq!(
            [has(base), has(full)],
            expected,
            "{text} {program:?}: {paths:?}"
        );
    }
}
