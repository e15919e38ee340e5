use fs_err as fs;
use imgbuild_oci::store::Store;

use super::*;
use crate::host_file::file_member;
use crate::host_packages::tests::{INSTALLED, debian, write};

const DEBIAN: &str = "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";

/// Makes a root with a database of dpkg and a library of it.
fn root() -> tempfile::TempDir {
    let root = debian();
    let sums = format!(
        "{}  lib/amd/libtool.so.2\n{}  usr/share/x\n",
        "1".repeat(32),
        "2".repeat(32)
    );
    write(
        root.path(),
        &[
            ("/usr/lib/amd/libtool.so.2", "library"),
            ("/usr/lib/os-release", DEBIAN),
            ("/opt/own.so", "own"),
            ("/var/lib/dpkg/info/libtool2:amd64.md5sums", &sums),
        ],
    );
    root
}

/// Returns what is recorded of the files of a root in an image with other members.
fn recorded(
    root: &Path,
    files: &[(&str, &str)],
    image: &[Member],
    options: &ClosureOptions,
) -> (Vec<(String, String)>, Vec<String>) {
    let members: Vec<Member> = files
        .iter()
        .map(|(host, path)| {
            let host = fs::canonicalize(root)
                .unwrap()
                .join(host.trim_start_matches('/'));
            file_member(&host, ImagePath::parse(path).unwrap()).unwrap()
        })
        .collect();
    let parts = HostParts {
        members: [&members, &[]],
        packages: PackageSources::default(),
    };
    let mut contents = Contents::default();
    contents.add(image);
    let options = ClosureOptions {
        sysroot: Some(root.to_owned()),
        ..options.clone()
    };
    let (members, warnings) = parts.records(&contents, &options);
    let shown = members.into_iter().map(|member| {
        let content = member
            .content
            .map(|content| content.first_bytes(9999).unwrap());
        let text = String::from_utf8(content.unwrap_or_default()).unwrap();
        (member.entry.path.to_string(), text)
    });
    let warnings = warnings.iter().map(ToString::to_string);
    (shown.collect(), warnings.collect())
}

const LIBRARY: [(&str, &str); 1] = [("/usr/lib/amd/libtool.so.2", "/lib/amd/libtool.so.2")];

fn member(path: &str, text: &str) -> Member {
    Member::file(
        ImagePath::parse(path).unwrap(),
        0o644,
        text.as_bytes().to_vec(),
    )
}

#[test]
fn packages_of_files_are_recorded_as_distroless_images_do() {
    let root = root();
    let (files, warnings) = recorded(root.path(), &LIBRARY, &[], &ClosureOptions::default());
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/var/lib/dpkg/status.d/libtool2",
            "/var/lib/dpkg/status.d/libtool2.md5sums",
            "/usr/lib/os-release",
            "/etc/os-release",
        ]
    );
    assert!(
        files[0]
            .1
            .starts_with("Package: libtool2\nStatus: install ok installed\n")
    );
    assert_eq!(
        files[1].1,
        format!("{}  lib/amd/libtool.so.2\n", "1".repeat(32))
    );
    assert_eq!(files[2].1, DEBIAN);
    assert_eq!(warnings, [""; 0]);
    let (files, _) = recorded(
        root.path(),
        &[("/opt/own.so", "/opt/own.so")],
        &[],
        &ClosureOptions::default(),
    );
    assert_eq!(files, []);
}

#[test]
fn packages_of_apk_are_in_its_database() {
    let root = tempfile::tempdir().unwrap();
    let alpine = "ID=alpine\nVERSION_ID=3.20.1\n";
    let files = [
        ("/lib/apk/db/installed", INSTALLED),
        ("/etc/os-release", alpine),
        ("/usr/bin/jq", "program"),
    ];
    write(root.path(), &files);
    let jq = [("/usr/bin/jq", "/usr/bin/jq")];
    let (files, warnings) = recorded(root.path(), &jq, &[], &ClosureOptions::default());
    assert_eq!(files[0].0, "/lib/apk/db/installed");
    assert!(
        files[0].1.ends_with("F:usr/bin\nR:jq\nZ:Q1x=\n\n"),
        "{}",
        files[0].1
    );
    assert_eq!(files.len(), 3);
    assert_eq!(warnings, [""; 0]);

    let base = [
        member("/etc/os-release", alpine),
        member("/lib/apk/db/installed", "P:other\n"),
    ];
    let (files, warnings) = recorded(root.path(), &jq, &base, &ClosureOptions::default());
    assert_eq!(files, []);
    assert_eq!(
        warnings,
        [
            "packages of this machine are not recorded, since `/lib/apk/db/installed` of the image stays as it is: `jq`"
        ]
    );
}

#[test]
fn an_image_keeps_its_records_and_its_distribution() {
    let root = root();
    let base = [
        member("/etc/os-release", DEBIAN),
        member("/var/lib/dpkg/status", "Package: base\n"),
    ];
    let (files, warnings) = recorded(root.path(), &LIBRARY, &base, &ClosureOptions::default());
    assert_eq!(files.len(), 2);
    assert_eq!(warnings, [""; 0]);
    let base = [
        member("/etc/os-release", DEBIAN),
        member("/var/lib/dpkg/status.d/libtool2", "Package: libtool2\n"),
    ];
    let (files, _) = recorded(root.path(), &LIBRARY, &base, &ClosureOptions::default());
    assert_eq!(files, []);
    let base = [member(
        "/usr/lib/os-release",
        "ID='ubuntu'\nVERSION_ID=24.04\n",
    )];
    let (files, warnings) = recorded(root.path(), &LIBRARY, &base, &ClosureOptions::default());
    assert_eq!(files, []);
    assert_eq!(
        warnings,
        [
            "packages of this machine are not recorded, since they are of `debian 12`, and the image is of `ubuntu 24.04`: `libtool2`"
        ]
    );
}

#[test]
fn a_broken_database_is_one_warning_and_records_nothing() {
    let root = root();
    let status = root.path().join("var/lib/dpkg/status");
    let escaping = "Package: ../../x\nStatus: install ok installed\nArchitecture: amd64\n";
    for text in ["nonsense", escaping] {
        fs::write(&status, text).unwrap();
        write(
            root.path(),
            &[("/var/lib/x:amd64.list", "/usr/lib/amd/libtool.so.2\n")],
        );
        let (files, warnings) = recorded(root.path(), &LIBRARY, &[], &ClosureOptions::default());
        assert_eq!(files, []);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let problem = "the package database of the host, `/var/lib/dpkg/status`, is incomplete: ";
        assert!(warnings[0].starts_with(problem));
    }
}

#[test]
fn records_are_remembered_until_the_database_changes() {
    let (root, store) = (root(), tempfile::tempdir().unwrap());
    let store = Store::open(store.path()).unwrap();
    let options = ClosureOptions {
        store: Some(store.into()),
        ..ClosureOptions::default()
    };
    let records = || recorded(root.path(), &LIBRARY, &[], &options).0.len();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(records(), 4);
    // A list that changes without its directory is not read again.
    fs::write(
        root.path().join("var/lib/dpkg/info/libtool2:amd64.list"),
        "/x\n",
    )
    .unwrap();
    assert_eq!(records(), 4);
    fs::write(root.path().join("var/lib/dpkg/info/new"), "").unwrap();
    assert_eq!(records(), 0);
}

#[test]
fn what_records_find_wrong_in_an_open_database_is_a_warning() {
    let root = root();
    let paragraph = "Package: ../../x\nStatus: install ok installed\n";
    write(root.path(), &[("/var/lib/dpkg/status", paragraph)]);
    let packages = PackageSources {
        names: vec!["../../x".to_owned()],
        ..PackageSources::default()
    };
    let host = Host::new(Some(root.path()));
    let database = PackageDatabase::open(&host).into();
    assert!(packages.database.set(database).is_ok());
    assert_eq!(packages.problem(), None);
    let parts = HostParts {
        members: [&[], &[]],
        packages,
    };
    let options = ClosureOptions {
        sysroot: Some(root.path().to_owned()),
        ..ClosureOptions::default()
    };
    let (_, warnings) = parts.records(&Contents::default(), &options);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_machine_without_a_distribution_is_named_as_the_reason() {
    let root = root();
    fs::remove_file(root.path().join("usr/lib/os-release")).unwrap();
    let image = [member("/etc/os-release", DEBIAN)];
    let (_, warnings) = recorded(root.path(), &LIBRARY, &image, &ClosureOptions::default());
    assert_eq!(
        warnings,
        [
            "packages of this machine are not recorded, since this machine has no `/etc/os-release`: `libtool2`"
        ]
    );
}
