//! Programs that need libraries: of the system, their own, and one loaded at run time.

use std::path::Path;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::{UnpackedKind, sandbox::finish};

use crate::support::docker::Engine;
use crate::support::image::{Built, build, build_in, sandbox};
use crate::support::{has_programs, program};

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

/// Opens everything of the C library that programs open at run time.
const OPENS: &str = r#"
#include <dlfcn.h>
#include <iconv.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *libraries[] = {"libanl.so.1", "libdl.so.2", "libm.so.6", "libpthread.so.0",
                               "libresolv.so.2", "librt.so.1", "libutil.so.1"};
    const char *sets[] = {"UTF-16", "CP1252", "SHIFT_JIS", "EUC-KR"};
    for (int i = 0; i < 7; i++)
        if (!dlopen(libraries[i], RTLD_NOW)) puts(libraries[i]);
    for (int i = 0; i < 4; i++)
        if (iconv_open(sets[i], "UTF-8") == (iconv_t)-1) puts(sets[i]);
    if (!setlocale(LC_ALL, "C.UTF-8")) puts("C.UTF-8");
    return system("true");
}
"#;

/// Makes a release of a program in C, and builds an image of it.
fn built_in_c(text: &str, arguments: &[&str]) -> Built {
    let sandbox = sandbox();
    let source = sandbox.path("program.c");
    fs::write(&source, text).expect("the sandbox is ours");
    let release = sandbox.path("opens");
    fs::create_dir(&release).expect("the sandbox is ours");
    let mut gcc = Command::new("gcc");
    gcc.arg(source).arg("-o").arg(release.join("opens"));
    drop(finish(&mut gcc, b"").success());
    build_in(sandbox, &release, "opens", arguments)
}

#[test]
fn the_c_library_comes_with_what_it_opens_and_a_shell_has_both_names() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["gcc"]) {
        return;
    }
    for name in ["sh", "/bin/sh"] {
        let built = built_in_c(OPENS, &["--program", name]);
        for engine in &engines {
            let image = engine.load(&built.archive, &built.reference);
            assert_eq!(image.run(&[]).success().stdout_text(), "");
            let outcome = image.run_with(&["--entrypoint=/bin/sh"], &["-c", "echo here"], b"");
            assert_eq!(outcome.success().stdout_text(), "here\n");
        }
    }
    let built = built_in_c(OPENS, &["--program", "/bin/sh", "--runtime", "minimal"]);
    for engine in &engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert!(outcome.stdout_text().contains("UTF-16\nCP1252\n"));
        assert!(outcome.stdout_text().contains("C.UTF-8\n"));
    }
}

#[test]
fn a_c_library_of_a_base_image_is_as_the_base_has_it() {
    let engines = Engine::each();
    if engines.is_empty() || !has_programs(&["gcc"]) {
        return;
    }
    let base = built_in_c(OPENS, &["--program", "sh", "--runtime", "minimal"]);
    let base = format!("--base={}", base.archive.display());
    let built = built_in_c(OPENS, &[&base, "--program", "true"]);
    let files = built.image.files();
    assert!(!files.keys().any(|path| path.ends_with("gconv-modules")));
    // Its `/lib` and `/lib64` are directories, and `/usr/bin` is new.
    assert_eq!(files[Path::new("lib")].kind, UnpackedKind::Directory);
    assert_eq!(files[Path::new("lib64")].kind, UnpackedKind::Directory);
    assert!(built.has("usr/bin/true"));
}
