//! Packages of the host that do their work in an image.

use crate::support::docker::Engine;
use crate::support::image::{build_in, sandbox};
use crate::support::skip;

/// Builds an image with a package, and checks what its program writes.
fn check(package: &str, arguments: &[&str], input: &[u8], expected: &str) {
    let flag = format!("--package={package}");
    check_flag(package, &flag, arguments, input, expected);
}

/// Builds an image with what a flag brings of a package, as [`check`] does.
fn check_flag(package: &str, flag: &str, arguments: &[&str], input: &[u8], expected: &str) {
    let info = "/var/lib/dpkg/info";
    let lists = [
        format!("{info}/{package}.list"),
        format!("{info}/{package}:amd64.list"),
    ];
    if !lists.iter().any(|path| std::path::Path::new(path).exists()) {
        return skip(&format!("the package `{package}`"));
    }
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let sandbox = sandbox();
    let release = sandbox
        .tree("data", "0644 file readme \"x\"")
        .expect("there is room for it");
    let built = build_in(sandbox, &release, "package", &[flag, "--no-entrypoint"]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run_with(&[], arguments, input).success();
        assert!(
            outcome.stdout_text().contains(expected),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn a_query_is_answered() {
    check("jq", &["jq", ".a | add"], b"{\"a\":[1,2]}", "3\n");
}

#[test]
fn a_digest_is_computed() {
    check("openssl", &["openssl", "dgst", "-sha256"], b"", "e3b0c442");
}

#[test]
fn a_graph_is_drawn_by_plugins_that_a_maintainer_script_registered() {
    check("graphviz", &["dot", "-Tsvg"], b"digraph{a->b}", "<svg");
}

#[test]
fn a_program_finds_the_plugins_that_a_maintainer_script_registered() {
    let words = ["dot", "-Tsvg"];
    check_flag(
        "graphviz",
        "--program=dot",
        &words,
        b"digraph{a->b}",
        "<svg",
    );
}

#[test]
fn a_script_of_a_package_calls_essential_programs() {
    check("elixir", &["elixir", "-e", "IO.puts(1 + 2)"], b"", "3\n");
}

#[test]
fn an_image_is_scaled_by_a_program_behind_alternatives() {
    let words = ["convert", "xc:red", "-resize", "9x9!", "txt:-"];
    check("imagemagick", &words, b"", "9,9,");
}

#[test]
fn an_interpreter_has_its_modules() {
    let words = [
        "perl",
        "-MPOSIX",
        "-MJSON::PP",
        "-e",
        "print POSIX::floor(2.5)",
    ];
    check("perl", &words, b"", "2");
}

#[test]
fn files_of_the_host_give_no_warnings_about_their_names() {
    let modules = std::path::Path::new("/usr/lib/x86_64-linux-gnu/perl/5.36");
    if !modules.join("Sys").exists() || !modules.join("sys").exists() {
        return skip("Debian's `perl`");
    }
    let sandbox = sandbox();
    let one = "0644 file Readme \"x\"";
    let both = "0644 file Readme \"x\"\n0644 file readme \"y\"";
    for (name, tree, warnings) in [("one", one, 0), ("both", both, 1)] {
        let release = sandbox.tree(name, tree).expect("there is room for it");
        let words = [
            "--release".as_ref(),
            release.as_os_str(),
            "--package=perl".as_ref(),
            "--no-entrypoint".as_ref(),
            "--dry-run".as_ref(),
        ];
        let outcome = sandbox.run(words).success();
        let found = outcome.stderr_text().matches("case-collision").count();
        assert_eq!(found, warnings, "{}", outcome.report());
    }
}

#[test]
fn a_program_finds_the_other_programs_of_its_package() {
    let git = "/usr/bin/git";
    if !std::path::Path::new("/usr/lib/git-core/git-remote-https").exists() {
        return skip("Debian's `git`");
    }
    let sandbox = sandbox();
    let release = sandbox
        .tree("data", "0644 file readme \"x\"")
        .expect("there is room for it");
    let words = ["--program", git, "--no-entrypoint"];
    let built = build_in(sandbox, &release, "program-files", &words);
    assert!(built.has("usr/lib/git-core/git-remote-https"));
    for engine in Engine::each() {
        let image = engine.load(&built.archive, &built.reference);
        // Said by the program that git starts.
        let outcome = image.run(&[git, "ls-remote", "https://localhost:1/x"]);
        let text = outcome.stderr_text();
        assert!(text.contains("unable to access"), "{}", outcome.report());
    }
}
