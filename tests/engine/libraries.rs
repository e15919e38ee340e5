//! Programs that need libraries: of the system, their own, and one loaded at run time.

use crate::support::docker::Engine;
use crate::support::image::build;
use crate::support::program;

/// Returns the output of the program on the machine that built it.
fn on_this_machine(project: &std::path::Path, name: &str) -> String {
    let mut command = std::process::Command::new(project.join("target/release").join(name));
    imgbuild_testing::sandbox::finish(&mut command, b"")
        .success()
        .stdout_text()
        .to_owned()
}

#[test]
fn libssl_libsqlite3_and_zlib_are_included() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let project = program::cargo_project("libraries");
    let built = build(&project.join("target/release"), "libraries", &[]);
    let expected = on_this_machine(&project, "libraries");
    assert_eq!(expected.lines().count(), 3);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), expected);
    }
}

#[test]
fn a_cdylib_of_the_project_is_included_with_and_without_a_run_path() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let project = program::cargo_packages("greeting", &["greeting", "greeter"]);
    let built = build(
        &project.join("target/release"),
        "greeting",
        &["--no-entrypoint"],
    );
    let files = built.image.files();
    let names = files
        .keys()
        .filter(|path| path.ends_with("libgreeting.so"))
        .count();
    assert!(names > 0, "no libgreeting.so in {:?}", files.keys());
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        for program in ["/usr/local/bin/greeter", "/usr/local/bin/greeter-bare"] {
            let outcome = image.run(&[program]).success();
            assert_eq!(outcome.stdout_text(), "the answer is 42\n");
        }
    }
}

#[test]
fn a_library_that_is_only_opened_at_run_time_is_added_by_name() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let project = program::cargo_project("dlopen");
    let release = project.join("target/release");
    let without = build(&release, "dlopen", &[]);
    let with = build(&release, "dlopen", &["--add-library", "libz.so.1"]);
    for engine in engines {
        let image = engine.load(&without.archive, &without.reference);
        let failed = image.run(&[]).exited(1);
        assert!(
            failed.stderr_text().starts_with("libz.so.1: "),
            "{}",
            failed.report()
        );
        let image = engine.load(&with.archive, &with.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), on_this_machine(&project, "dlopen"));
    }
}
