//! Locales of the host, in programs that use them.

use std::path::Path;
use std::process::Command;

use fs_err as fs;
use imgbuild_testing::{Sandbox, sandbox::finish};

use crate::support::docker::Engine;
use crate::support::image::{build_in, sandbox};
use crate::support::{has_programs, skip};

/// Makes a release that is data only; the command is a program of the host.
fn data(sandbox: &Sandbox) -> std::path::PathBuf {
    let tree = sandbox.tree("data", "0644 file words \"a\\n\"");
    tree.expect("there is room for it")
}

/// Makes another root with one program and the libraries that it needs.
fn root_with(sandbox: &Sandbox, program: &str) -> std::path::PathBuf {
    let root = sandbox.path("root");
    let outcome = finish(Command::new("ldd").arg(program), b"").success();
    let words = outcome.stdout_text().split_whitespace();
    let libraries = words.filter(|word| word.starts_with('/'));
    for path in libraries.chain([program]) {
        let place = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("it is below the root")).expect("it is ours");
        fs::copy(path, place).expect("the program runs here");
    }
    root
}

/// Returns `true` if locales can be made here; otherwise skips the test.
fn has_locale_sources() -> bool {
    let is_there = Path::new("/usr/share/i18n/locales/de_DE").is_file();
    if !is_there {
        skip("sources of locales");
    }
    is_there && has_programs(&["localedef"])
}

fn localedef(root: &Path, arguments: &[&str]) {
    fs::create_dir_all(root.join("usr/lib/locale")).expect("it is ours");
    let mut command = Command::new("localedef");
    command.arg("--prefix").arg(root).args(arguments);
    drop(finish(&mut command, b"").success());
}

#[test]
fn a_locale_of_the_archive_translates_messages() {
    let engines = Engine::each();
    if engines.is_empty() || !has_locale_sources() || !has_programs(&["ldd"]) {
        return;
    }
    let sandbox = sandbox();
    let root = root_with(&sandbox, "/bin/date");
    localedef(&root, &["-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"]);
    localedef(&root, &["-i", "fr_FR", "-f", "ISO-8859-1", "fr_FR"]);
    assert!(root.join("usr/lib/locale/locale-archive").is_file());
    let release = data(&sandbox);
    let root = root.to_str().expect("it has a plain name").to_owned();
    let arguments = [
        "--sysroot",
        &root,
        "--program=/bin/date",
        "--locale=de_DE.UTF-8",
        "--locale=fr_FR",
        "--cmd=/bin/date",
        "--cmd=-d@5270400",
        "--cmd=+%A, %d. %B",
    ];
    let built = build_in(sandbox, &release, "locale", &arguments);
    assert!(built.has("usr/lib/locale/de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES"));
    assert!(!built.has("usr/lib/locale/locale-archive"));
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&[]).success();
        assert_eq!(outcome.stdout_text(), "Dienstag, 03. März\n");
        let outcome = image.run_with(&["--env=LANG=fr_FR"], &[], b"").success();
        assert_eq!(outcome.stdout_text(), "mardi, 03. mars\n");
        let outcome = image.run_with(&["--env=LANG=C"], &[], b"").success();
        assert_eq!(outcome.stdout_text(), "Tuesday, 03. March\n");
    }
}

/// The files of the archive equal those that `localedef` writes without it.
#[test]
fn a_locale_of_the_archive_equals_that_of_a_directory() {
    if !has_locale_sources() {
        return;
    }
    let sandbox = sandbox();
    let release = data(&sandbox);
    let release = release.to_str().expect("it has a plain name");
    let words = ["--no-entrypoint", "--mtime=1", "--locale=de_DE.UTF-8"];
    let plans = ["archive", "directory"].map(|name| {
        let root = sandbox.path(name);
        let place = "usr/lib/locale/de_DE.utf8";
        match name {
            "archive" => localedef(&root, &["-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"]),
            _ => {
                let words = ["-i", "de_DE", "-f", "UTF-8", "--no-archive"];
                let place = root.join(place);
                let place = place.to_str().expect("it has a plain name");
                fs::create_dir_all(root.join("usr/lib/locale")).expect("it is ours");
                let mut command = Command::new("localedef");
                drop(finish(command.args(words).arg(place), b"").success());
            }
        }
        let root = root.to_str().expect("it has a plain name");
        let archive = sandbox.path(format!("{name}.tar"));
        let archive = archive.to_str().expect("it has a plain name");
        let given = ["--release", release, "--sysroot", root, "--output", archive];
        let outcome = sandbox.run([&given[..], &words].concat()).success();
        outcome.stdout_text().to_owned()
    });
    assert_eq!(plans[0], plans[1], "the digests of the images");
}

#[test]
fn a_locale_of_a_directory_is_included() {
    let engines = Engine::each();
    let directory = Path::new("/usr/lib/locale/C.utf8");
    if engines.is_empty() || !has_programs(&["locale"]) {
        return;
    }
    if !directory.is_dir() {
        return skip(&format!("`{}`", directory.display()));
    }
    let sandbox = sandbox();
    let release = data(&sandbox);
    let arguments = [
        "--program=locale",
        "--locale=C.UTF-8",
        "--cmd=locale",
        "--cmd=charmap",
    ];
    let built = build_in(sandbox, &release, "locale-c", &arguments);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        assert_eq!(image.run(&[]).success().stdout_text(), "UTF-8\n");
    }
}

#[test]
fn a_missing_locale_has_a_hint() {
    let sandbox = sandbox();
    let release = data(&sandbox);
    let release = release.to_str().expect("it has a plain name");
    let root = sandbox.path("empty");
    fs::create_dir_all(root.join("usr/lib/locale/C.utf8")).expect("it is ours");
    let root = root.to_str().expect("it has a plain name");
    let words = ["--release", release, "--dry-run", "--sysroot", root];
    let outcome = sandbox
        .run([&words[..], &["--locale=ja_JP.utf8"]].concat())
        .exited(1);
    let text = outcome.stderr_text();
    for expected in [
        "error: the locale `ja_JP.utf8` is not on this machine (it has: `C.utf8`)",
        "hint: create it with `localedef -i ja_JP -f UTF-8 ja_JP.utf8`",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let outcome = sandbox
        .run([&words[..], &["--locale=../etc"]].concat())
        .exited(2);
    assert!(
        outcome
            .stderr_text()
            .contains("cannot use `--locale ../etc`")
    );
}
