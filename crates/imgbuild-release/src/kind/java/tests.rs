use std::os::unix::fs::PermissionsExt as _;

use super::jar::tests::jar;
use super::*;
use crate::error::Error;
use crate::release::ReleaseOptions;

const MAIN: &[u8] = b"Main-Class: shop.Main\n\n";
const SCRIPT: &[u8] = b"#!/bin/sh\nCLASSPATH=$APP_HOME/lib/shop-1.0.jar:$APP_HOME/lib/a-2.jar\nexec java -cp \"$CLASSPATH\" shop.Main\n";

fn runnable() -> Vec<u8> {
    jar(&[("META-INF/MANIFEST.MF", MAIN)])
}

/// Opens a directory called `shop` with files; those below `bin` are executable.
fn opened(files: &[(&str, &[u8])]) -> Release {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("shop");
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = if path.parent().unwrap().ends_with("bin") {
            0o755
        } else {
            0o644
        };
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    Release::open(&root, &ReleaseOptions::default()).unwrap()
}

fn command(release: &Release) -> Result<Option<Vec<String>>> {
    release
        .behavior
        .default_command(release, &Contents::default())
}

#[test]
fn the_command_follows_from_what_lies_there() {
    let (one, plain) = (runnable(), jar(&[("a.class", b"")]));
    let runtime = [
        ("jre/bin/java", b"\x7fELF".as_slice()),
        ("jre/lib/modules", b""),
    ];
    for (files, expected, because) in [
        (
            vec![
                ("shop.jar", one.as_slice()),
                ("shop-sources.jar", &plain),
                ("lib/a.jar", &one),
            ],
            "java -jar shop.jar",
            "`shop.jar` is the only jar with a `Main-Class`",
        ),
        (
            [
                &[("shop.jar", one.as_slice()), ("bin/tool", b"\x7fELF")],
                &runtime[..],
            ]
            .concat(),
            "jre/bin/java -jar shop.jar",
            "`shop.jar` is the only jar with a `Main-Class`",
        ),
        (
            vec![
                ("bin/shop", SCRIPT),
                ("bin/tool", SCRIPT),
                ("lib/a.jar", &plain),
            ],
            "bin/shop",
            "`bin/shop` starts the jars in `lib`",
        ),
        (
            vec![("META-INF/MANIFEST.MF", MAIN), ("BOOT-INF/classes/x", b"")],
            "java -cp . shop.Main",
            "`META-INF/MANIFEST.MF` names the class `shop.Main`",
        ),
    ] {
        let release = opened(&files);
        assert_eq!(release.kind.name, "java", "{expected}");
        assert_eq!(release.because, because);
        assert_eq!(command(&release).unwrap().unwrap().join(" "), expected);
    }
}

#[test]
fn a_directory_with_another_program_is_not_one_of_java() {
    let (one, plain) = (runnable(), jar(&[("a.class", b"")]));
    for files in [
        vec![("shop.jar", one.as_slice()), ("bin/shop", b"\x7fELF")],
        vec![
            ("shop.jar", one.as_slice()),
            ("bin/shop", b"#!/bin/sh\nexec java -jar shop.jar\n"),
        ],
        vec![("shop.jar", plain.as_slice())],
        vec![("lib/shop.jar", one.as_slice())],
        vec![
            ("bin/shop", SCRIPT),
            ("bin/other", b"\x7fELF"),
            ("lib/a.jar", &plain),
        ],
    ] {
        assert_eq!(opened(&files).kind.name, "tree", "{:?}", files[0].0);
    }
}

#[test]
fn several_candidates_are_named_with_the_words_for_one() {
    let one = runnable();
    for (files, reason, words) in [
        (
            vec![("a.jar", one.as_slice()), ("b.jar", &one)],
            "several jars name a `Main-Class`: `a.jar`, `b.jar`",
            "java -jar a.jar",
        ),
        (
            vec![
                ("bin/a", SCRIPT),
                ("bin/b", SCRIPT),
                ("bin/a.bat", b"@rem"),
                ("lib/a.jar", &one),
            ],
            "`bin` has several start scripts: `a`, `b`",
            "bin/a",
        ),
    ] {
        let Err(Error::NoStart(start)) = command(&opened(&files)) else {
            panic!("{reason}");
        };
        assert_eq!(
            (start.reason.as_str(), start.words.join(" ").as_str()),
            (reason, words)
        );
    }
}

#[test]
fn the_application_is_a_layer_above_its_dependencies_and_the_machine() {
    let files = [
        ("bin/shop", SCRIPT),
        ("jre/bin/java", b"\x7fELF"),
        ("jre/lib/modules", b""),
        ("jre/lib/jrt-fs.jar", b""),
        ("lib/a-2.jar", b""),
        ("lib/shop-1.0.jar", b""),
    ];
    let release = opened(&files);
    let weights = files.map(|(path, _)| Weight {
        path: path.as_bytes(),
        bytes: 0,
    });
    let units = release.behavior.divide(&weights, 100);
    let named = |unit: &Unit| {
        let paths = unit.paths.iter().map(|index| files[*index].0);
        format!(
            "{}: {}",
            String::from_utf8_lossy(&unit.name),
            paths.collect::<Vec<_>>().join(" ")
        )
    };
    let units: Vec<String> = units.iter().map(named).collect();
    let expected = [
        "java: jre/bin/java jre/lib/modules jre/lib/jrt-fs.jar",
        "dependencies: lib/a-2.jar",
        "application: bin/shop lib/shop-1.0.jar",
    ];
    assert_eq!(units, expected);
    let variables = release.behavior.environment();
    assert!(variables.contains(&("JAVA_HOME".to_owned(), "/app/jre".to_owned())));
}

#[test]
fn a_version_is_no_part_of_the_name_of_a_jar() {
    for (name, expected) in [
        ("jackson-core-2.15.0.jar", "jackson-core"),
        ("shop.jar", "shop"),
        ("log4j-1.2-api-2.20.0.jar", "log4j"),
    ] {
        assert_eq!(stem(name), expected);
    }
}
