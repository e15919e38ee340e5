//! A workspace of three binaries, one with the name of the package.

use fs_err as fs;

use crate::support::docker::Engine;
use crate::support::image::{build, sandbox};
use crate::support::program;

fn release() -> std::path::PathBuf {
    program::cargo_project("trio").join("target/release")
}

#[test]
fn the_program_with_the_name_of_the_package_is_the_entrypoint() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let built = build(&release(), "trio", &[]);
    for name in ["trio", "second", "third"] {
        assert!(built.has(&format!("usr/local/bin/{name}")), "{name}");
    }
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "trio speaking\n");
        let other = image
            .run_with(&["--entrypoint", "/usr/local/bin/third"], &[], b"")
            .success();
        assert_eq!(other.stdout_text(), "third speaking\n");
    }
}

#[test]
fn one_chosen_program_is_included_alone_and_is_the_entrypoint() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let built = build(&release(), "second", &["--bin", "second"]);
    assert_eq!(
        built.paths_below("usr/local/bin"),
        ["usr/local/bin/", "usr/local/bin/second"]
    );
    let image = engine.load(&built.archive, &built.reference);
    assert_eq!(image.run(&[]).success().stdout_text(), "second speaking\n");
}

#[test]
fn without_a_program_named_like_the_package_a_choice_is_needed() {
    let sandbox = sandbox();
    let release = release();
    let release = release
        .to_str()
        .expect("the target directory has a plain name");
    let words = ["--release", release, "--bin", "second", "--bin", "third"];
    let refused = sandbox.run(words).exited(1);
    let choice = "hint: add `--entrypoint second` or `--entrypoint third`; ";
    for word in ["second", "third", choice, "--no-entrypoint"] {
        assert!(
            refused.stderr_text().contains(word),
            "no `{word}`: {}",
            refused.report()
        );
    }
    assert_eq!(refused.stdout_text(), "");
    assert_eq!(
        fs::read_dir(sandbox.root()).unwrap().count(),
        0,
        "nothing is written"
    );
}

#[test]
fn a_chosen_entrypoint_and_an_image_without_one_both_run() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let chosen = ["--bin", "second", "--bin", "third", "--entrypoint", "third"];
    let built = build(&release(), "third", &chosen);
    let image = engine.load(&built.archive, &built.reference);
    assert_eq!(image.run(&[]).success().stdout_text(), "third speaking\n");

    let bare = build(&release(), "bare", &["--no-entrypoint"]);
    let image = engine.load(&bare.archive, &bare.reference);
    let named = image.run(&["/usr/local/bin/second"]).success();
    assert_eq!(named.stdout_text(), "second speaking\n");
    // The programs are on the default `PATH` of the image as well.
    assert_eq!(
        image.run(&["third"]).success().stdout_text(),
        "third speaking\n"
    );
}
