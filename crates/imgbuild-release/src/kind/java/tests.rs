use std::os::unix::fs::PermissionsExt as _;

use super::jar::tests::jar;
use super::modules::MAIN_CLASS;
use super::modules::tests::image;
use super::*;
use crate::error::Error;
use crate::release::ReleaseOptions;

const MAIN: &[u8] = b"Main-Class: shop.Main\n\n";
const SCRIPT: &[u8] = b"#!/bin/sh\nCLASSPATH=$APP_HOME/lib/shop-1.0.jar:$APP_HOME/lib/a-2.jar\nexec java -cp \"$CLASSPATH\" shop.Main\n";

const ELF: &[u8] = b"\x7fELF";
const LAUNCHER: &[u8] = b"#!/bin/sh\nJLINK_VM_OPTIONS=\"-Xmx64m\"\nDIR=`dirname $0`\n$DIR/java $JLINK_VM_OPTIONS -m shop/shop.Main \"$@\"\n";
const PACKAGED: [(&str, &[u8]); 5] = [
    ("bin/shop", ELF),
    ("lib/app/greeting-2.0.jar", b""),
    ("lib/app/shop-1.0.jar", b""),
    ("lib/app/shop.cfg", b"[Application]\napp.classpath=$APPDIR/shop-1.0.jar\napp.classpath=$APPDIR/greeting-2.0.jar\n"),
    ("lib/runtime/lib/modules", b""),
];

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
    let runtime = [("jre/bin/java", ELF), ("jre/lib/modules", b"")];
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
                &[("shop.jar", one.as_slice()), ("bin/tool", ELF)],
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
            vec![
                ("bin/java", ELF),
                ("bin/shop", LAUNCHER),
                ("lib/modules", b""),
            ],
            "bin/java -Xmx64m -m shop/shop.Main",
            "`bin/shop` is a launcher of `jlink`",
        ),
        (
            PACKAGED.to_vec(),
            "bin/shop",
            "`lib/app/shop.cfg` is of an application of `jpackage`",
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
fn an_image_of_jlink_without_a_launcher_starts_the_module_with_a_main_class() {
    let modules = image(&[("shop", MAIN_CLASS), ("tool", b"")]);
    let files = [
        ("bin/java", ELF),
        ("bin/keytool", ELF),
        ("lib/modules", &modules),
    ];
    let release = opened(&files);
    let because = "the module `shop` in `lib/modules` has a main class";
    assert_eq!(
        (release.kind.name, release.because.as_str()),
        ("java", because)
    );
    let words = command(&release).unwrap().unwrap();
    assert_eq!(words.join(" "), "bin/java -m shop");

    let modules = image(&[("java.base", MAIN_CLASS), ("shop", b"")]);
    let files = [("bin/java", ELF), ("lib/modules", modules.as_slice())];
    assert_eq!(opened(&files).kind.name, "tree");
}

#[test]
fn extracted_layers_of_spring_boot_start_by_their_class() {
    let manifest =
        b"Main-Class: org.springframework.boot.loader.launch.JarLauncher\nStart-Class: shop.Main\n";
    let files = [
        (
            "application/BOOT-INF/classes/shop/Main.class",
            b"".as_slice(),
        ),
        ("application/META-INF/MANIFEST.MF", manifest),
        ("dependencies/BOOT-INF/lib/greeting-2.0.jar", b""),
        ("spring-boot-loader/org/Launcher.class", b""),
    ];
    let release = opened(&files);
    assert_eq!(release.kind.name, "java");
    let words = command(&release).unwrap().unwrap();
    let path = "application/BOOT-INF/classes:dependencies/BOOT-INF/lib/*";
    assert_eq!(words, ["java", "-cp", path, "shop.Main"]);
    let expected = [
        "dependencies: dependencies/BOOT-INF/lib/greeting-2.0.jar",
        "application: application/BOOT-INF/classes/shop/Main.class application/META-INF/MANIFEST.MF spring-boot-loader/org/Launcher.class",
    ];
    assert_eq!(divided(&files), expected);
}

#[test]
fn a_directory_with_another_program_is_not_one_of_java() {
    let (one, plain) = (runnable(), jar(&[("a.class", b"")]));
    for files in [
        vec![("shop.jar", one.as_slice()), ("bin/shop", ELF)],
        vec![
            ("shop.jar", one.as_slice()),
            ("bin/shop", b"#!/bin/sh\nexec java -jar shop.jar\n"),
        ],
        vec![("shop.jar", plain.as_slice())],
        vec![("lib/shop.jar", one.as_slice())],
        vec![
            ("bin/shop", SCRIPT),
            ("bin/other", ELF),
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
            "the release has several jars with a `Main-Class`: `a.jar`, `b.jar`",
            "java -jar a.jar",
        ),
        (
            vec![
                ("bin/java", ELF),
                ("bin/a", LAUNCHER),
                ("bin/b", LAUNCHER),
                ("lib/modules", b""),
            ],
            "`bin` has several launchers of `jlink`: `a`, `b`",
            "bin/java -Xmx64m -m shop/shop.Main",
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

/// Shows the layers of a release.
fn divided(files: &[(&str, &[u8])]) -> Vec<String> {
    let release = opened(files);
    let weights = files.iter().map(|(path, _)| Weight {
        path: path.as_bytes(),
        bytes: 0,
    });
    let units = release.behavior.divide(&weights.collect::<Vec<_>>(), 100);
    let shown = units.iter().map(|unit| {
        let paths = unit.paths.iter().map(|index| files[*index].0);
        let name = String::from_utf8_lossy(&unit.name);
        format!("{name}: {}", paths.collect::<Vec<_>>().join(" "))
    });
    shown.collect()
}

#[test]
fn the_application_is_a_layer_above_its_dependencies_and_the_machine() {
    let files = [
        ("bin/shop", SCRIPT),
        ("jre/bin/java", ELF),
        ("jre/lib/modules", b""),
        ("jre/lib/jrt-fs.jar", b""),
        ("lib/a-2.jar", b""),
        ("lib/shop-1.0.jar", b""),
    ];
    let expected = [
        "java: jre/bin/java jre/lib/modules jre/lib/jrt-fs.jar",
        "dependencies: lib/a-2.jar",
        "application: bin/shop lib/shop-1.0.jar",
    ];
    assert_eq!(divided(&files), expected);
    let variables = opened(&files).behavior.environment();
    assert!(variables.contains(&("JAVA_HOME".to_owned(), "/app/jre".to_owned())));

    let linked = [
        ("bin/java", ELF),
        ("bin/shop", LAUNCHER),
        ("data/x", b""),
        ("lib/modules", b""),
        ("lib/server/libjvm.so", b""),
    ];
    let expected = [
        "java: bin/java bin/shop lib/server/libjvm.so",
        "application: data/x lib/modules",
    ];
    assert_eq!(divided(&linked), expected);
    let expected = [
        "java: lib/runtime/lib/modules",
        "dependencies: lib/app/greeting-2.0.jar",
        "application: bin/shop lib/app/shop-1.0.jar lib/app/shop.cfg",
    ];
    assert_eq!(divided(&PACKAGED), expected);
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
