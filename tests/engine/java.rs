//! Applications in Java in containers with the fewest privileges, after one default
//! command.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::read_file;
use imgbuild_testing::sandbox::finish;

use super::applications::{CONFINED, check};
use crate::support::docker::Engine;
use crate::support::image::{Built, build};
use crate::support::{has_programs, program};

const TOOLS: [&str; 6] = ["jar", "java", "javac", "jlink", "jpackage", "openssl"];

fn run(project: &Path, words: &[&str]) {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(project);
    drop(finish(&mut command, b"").success());
}

/// Returns a directory with `lib/shop-1.0.jar`, `lib/greeting-2.0.jar` and the directories
/// that `make` made of them, which are named `key`.
fn application(key: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let project = program::variant("java_app", key, |project| {
        for old in [key, "lib", "out"] {
            drop(fs::remove_dir_all(project.join(old)));
        }
        fs::create_dir(project.join("lib")).expect("the target directory is ours");
        for words in [
            "javac -d out/greeting greeting/module-info.java greeting/greeting/Greeting.java",
            "javac -p out -d out/shop shop/module-info.java shop/shop/Main.java",
            "jar --create --file lib/greeting-2.0.jar -C out/greeting .",
            "jar --create --file lib/shop-1.0.jar --main-class shop.Main -C out/shop .",
        ] {
            run(project, &words.split(' ').collect::<Vec<_>>());
        }
        make(project);
    });
    project.join(key)
}

/// Makes a Java virtual machine with few modules.
fn link_jre(project: &Path, to: &str, more: &[&str]) {
    let words = [
        "jlink",
        "--output",
        to,
        "--strip-java-debug-attributes",
        "--no-man-pages",
    ];
    run(project, &[&words, more].concat());
}

/// Makes `ca.pem`, and in a release `server.p12` with a certificate that it signed.
fn sign(project: &Path, release: &str) {
    let store = format!("{release}/server.p12");
    for words in [
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=Private",
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout server.key -out server.pem -subj /CN=localhost -CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE",
        &format!(
            "openssl pkcs12 -export -inkey server.key -in server.pem -passout pass:password -out {store}"
        ),
    ] {
        run(project, &words.split(' ').collect::<Vec<_>>());
    }
}

fn copy(project: &Path, pairs: &[(&str, &str)]) {
    for (from, to) in pairs {
        let to = project.join(to);
        fs::create_dir_all(to.parent().expect("it is below")).expect("the directory is ours");
        fs::copy(project.join(from), to).expect("the directory is ours");
    }
}

fn check_java(engine: &Engine, built: &Built, answers: &[(&str, &str)]) {
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    let of_all = [
        ("/", "hello from another jar"),
        ("/user", "65532"),
        ("/pid", "1"),
        ("/directory", "/app"),
        ("/roots", &built.roots()),
        ("/file", "/app/gr%C3%B6%C3%9Fe"),
    ];
    check(&container, &[&of_all, answers].concat());
}

#[test]
fn a_start_script_serves_with_its_programs_and_the_machine_of_the_host() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&TOOLS) {
        return;
    }
    let release = application("start-script", |project| {
        copy(
            project,
            &[
                ("bin/shop", "start-script/bin/shop"),
                ("lib/shop-1.0.jar", "start-script/lib/shop-1.0.jar"),
                ("lib/greeting-2.0.jar", "start-script/lib/greeting-2.0.jar"),
            ],
        );
    });
    let built = build(&release, "shop", &[]);
    assert_eq!(built.config("Cmd"), &serde_json::json!(["/app/bin/shop"]));
    check_java(&engine, &built, &[("/option", "two words")]);
}

#[test]
fn a_jar_serves_with_the_machine_beside_it() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&TOOLS) {
        return;
    }
    let release = application("jar-and-jre", |project| {
        let manifest = "Main-Class: shop.Main\nClass-Path: lib/greeting-2.0.jar\n";
        fs::write(project.join("manifest"), manifest).expect("the directory is ours");
        copy(
            project,
            &[("lib/greeting-2.0.jar", "jar-and-jre/lib/greeting-2.0.jar")],
        );
        let words = "jar --create --file jar-and-jre/shop.jar --manifest manifest -C out/shop .";
        run(project, &words.split(' ').collect::<Vec<_>>());
        link_jre(
            project,
            "jar-and-jre/jre",
            &["--add-modules", "jdk.httpserver"],
        );
        sign(project, "jar-and-jre");
    });
    let authority = format!("--cacert={}", release.with_file_name("ca.pem").display());
    let built = build(&release, "shop", &[&authority]);
    assert!(!built.has("usr/bin/java"));
    let store = Path::new("etc/ssl/certs/java/cacerts");
    let store = read_file(&built.archive, store).expect("it is a file");
    fs::write(built.sandbox.path("store"), store).expect("there is room for it");
    let words = "keytool -list -storepass changeit -keystore store";
    let mut command = Command::new("keytool");
    command
        .args(words.split(' ').skip(1))
        .current_dir(built.sandbox.path(""));
    let outcome = finish(&mut command, b"").success();
    let listed = outcome.stdout_text();
    let count = listed.matches("trustedCertEntry").count().to_string();
    assert_eq!(count, built.roots(), "{listed}");
    check_java(
        &engine,
        &built,
        &[("/home", "/app/jre"), ("/handshake", "200")],
    );
}

#[test]
fn an_image_of_jlink_serves_by_its_launcher_or_main_class() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&TOOLS) {
        return;
    }
    let release = application("linked", |project| {
        let words = "-p lib --add-modules shop --launcher serve=shop/shop.Main";
        link_jre(project, "linked", &words.split(' ').collect::<Vec<_>>());
    });
    let built = build(&release, "shop", &[]);
    // Without a shell, Java is process 1.
    assert!(!built.has("bin/sh"));
    check_java(&engine, &built, &[("/home", "/app")]);

    fs::remove_file(release.join("bin/serve")).expect("the target directory is ours");
    let arguments = [Path::new("--dry-run"), Path::new("--release"), &release];
    let outcome = built.sandbox.run(arguments).success();
    let because = "kind java, because the module `shop` in `lib/modules` has a main class";
    assert!(outcome.report().contains(because), "{}", outcome.report());
}

#[test]
fn an_application_of_jpackage_serves() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&TOOLS) {
        return;
    }
    let release = application("packaged", |project| {
        let words = "jpackage --type app-image --name packaged --input lib --main-jar shop-1.0.jar --main-class shop.Main --add-modules jdk.httpserver";
        run(project, &words.split(' ').collect::<Vec<_>>());
    });
    let built = build(&release, "shop", &[]);
    check_java(&engine, &built, &[("/home", "/app/lib/runtime")]);
}
