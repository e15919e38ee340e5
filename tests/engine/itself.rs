//! The program builds its own image, as the README shows.

use std::path::Path;

use imgbuild_testing::sandbox::finish;

use crate::support::docker::{Engine, Loaded};
use crate::support::image::{build, confirmed, result_digest, sandbox};
use crate::support::note;

/// Returns the directory of this workspace's profile, with all files of Cargo.
fn profile_directory() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_imgbuild"))
        .parent()
        .expect("a program is in a directory")
}

#[test]
fn imgbuild_runs_in_its_own_image() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let built = build(profile_directory(), "imgbuild", &[]);
    let here = built.sandbox.run(["--version"]).success();
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let there = image.run(&["--version"]).success();
        assert_eq!(there.stdout_text(), here.stdout_text());
    }
}

#[test]
fn the_lines_of_the_readme_work() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let sandbox = sandbox();
    let release = profile_directory()
        .to_str()
        .expect("the target directory has a plain name");
    let digest = result_digest(&sandbox.run(["--release", release, "--cacert"]).success());
    let archive = sandbox.path("imgbuild.tar");
    let image = confirmed(&archive, &digest);
    assert_eq!(image.names(), ["docker.io/library/imgbuild:latest"]);

    let mut inspect = engine.docker(["image", "inspect", "imgbuild:latest"]);
    if finish(&mut inspect, b"").code == Some(0) {
        // Loading would take the name away from another image.
        note("not loading imgbuild:latest: this engine has one");
        return;
    }
    let _image = Loaded::adopt(&engine, "imgbuild:latest");
    let script = "docker load < imgbuild.tar && docker run --rm imgbuild --version";
    let mut shell = std::process::Command::new("timeout");
    shell
        .args(["120", "sh", "-c", script])
        .current_dir(sandbox.root());
    let outcome = finish(&mut shell, b"").success();
    let version = sandbox.run(["--version"]).success();
    let expected = format!("Loaded image: imgbuild:latest\n{}", version.stdout_text());
    assert_eq!(outcome.stdout_text(), expected);
}
