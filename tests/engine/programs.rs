//! Programs that need the C library or no library at all.

use crate::support::docker::Engine;
use crate::support::image::{Built, build};
use crate::support::{has_programs, program};

/// The paths that no image of a Cargo project may contain.
const BUILD_LEFTOVERS: [&str; 6] = [
    "deps",
    "build",
    "incremental",
    ".fingerprint",
    "examples",
    ".d",
];

fn assert_no_leftovers(built: &Built) {
    let files = built.image.files();
    // `status.d` is one of dpkg's.
    for path in files
        .keys()
        .filter(|path| !path.starts_with("var/lib/dpkg"))
    {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        assert!(
            !BUILD_LEFTOVERS.iter().any(|leftover| name == *leftover),
            "{}",
            path.display()
        );
        assert!(!name.ends_with(".d"), "{}", path.display());
    }
}

fn shared_objects(built: &Built) -> Vec<String> {
    let files = built.image.files();
    let names = files.keys().map(|path| path.display().to_string());
    names.filter(|name| name.contains(".so")).collect()
}

#[test]
fn a_command_line_tool_searches_its_input() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let release = program::cargo_project("search").join("target/release");
    let built = build(&release, "search", &[]);
    assert_no_leftovers(&built);
    assert_eq!(
        built.paths_below("usr/local/bin"),
        ["usr/local/bin/", "usr/local/bin/search"]
    );
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let found = image
            .run_with(&[], &["needle"], b"hay\na needle\nhay\n")
            .success();
        assert_eq!(found.stdout_text(), "2:a needle\n");
        let nothing = image.run_with(&[], &["needle"], b"hay\n").exited(1);
        assert_eq!(nothing.stdout_text(), "");
        let file = image
            .run(&["BEGIN CERT", "/etc/ssl/certs/ca-certificates.crt"])
            .success();
        assert!(
            file.stdout_text().lines().count() > 100,
            "{}",
            file.report()
        );
    }
}

#[test]
fn a_program_linked_with_the_toolchain_s_shared_standard_library_runs() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    // The run path leads from the program to the toolchain, outside the image.
    let flags = "-C prefer-dynamic -C rpath";
    let project = program::cargo_variant("search", "search-dynamic", &[], flags);
    let built = build(&project.join("target/release"), "search-dynamic", &[]);
    assert!(
        shared_objects(&built)
            .iter()
            .any(|path| path.contains("libstd-")),
        "{built:?}"
    );
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let found = image.run_with(&[], &["needle"], b"a needle\n").success();
        assert_eq!(found.stdout_text(), "1:a needle\n");
    }
}

#[test]
fn a_static_musl_program_brings_nothing_and_runs() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["musl-gcc"]) {
        return;
    }
    let release = program::c_release("hello-static", &["musl-gcc", "-static"]);
    let built = build(&release, "hello-static", &[]);
    assert_eq!(shared_objects(&built), [""; 0]);
    assert_eq!(built.config("WorkingDir"), "/app");
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&["again"]).success();
        assert_eq!(outcome.stdout_text(), "hello again, user 65532\n");
    }
}

#[test]
fn a_dynamic_musl_program_brings_musl_and_no_glibc() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["musl-gcc"]) {
        return;
    }
    let release = program::c_release("hello-musl", &["musl-gcc"]);
    let built = build(&release, "hello-musl", &[]);
    // Where `/lib` is a link here, it is one in the image.
    let places = ["lib", "usr/lib"];
    let mut loaders = places
        .map(|it| format!("{it}/ld-musl-x86_64.so.1"))
        .into_iter();
    assert!(
        loaders.any(|path| built.has(&path)),
        "{:?}",
        shared_objects(&built)
    );
    assert!(
        !shared_objects(&built)
            .iter()
            .any(|path| path.ends_with("libc.so.6"))
    );
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "hello, user 65532\n");
    }
}

#[test]
fn a_static_rust_program_for_a_named_target_runs() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["--target", triple.as_str()];
    let flags = "-C target-feature=+crt-static";
    let project = program::cargo_variant("static-rust", "static-rust", &arguments, flags);
    let built = build(
        &project.join("target").join(triple).join("release"),
        "static-rust",
        &[],
    );
    assert_eq!(shared_objects(&built), [""; 0]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(
            image.run(&["and", "sound"]).success().stdout_text(),
            "static and sound\n"
        );
    }
}
