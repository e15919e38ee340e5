//! Same input, same bytes, in builds that differ in everything else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::{Sandbox, Tree};

use crate::runs;
use crate::support::{has_programs, skip_always};

/// Directories, compressed data and links, enough for two layers.
const RELEASE: &str = r##"
    0755 file bin/server "#!/bin/sh\n"
    0644 file lib/first/data 18M
    0644 file lib/second/data 18M
    0644 file lib/third/some "third"
    0644 file etc/app.toml "port = 80\n"
    0644 file grüße "x"
    0755 dir empty
    1777 dir spool
    link lib/current -> first
    hard etc/same -> etc/app.toml
"##;

/// The same tree as [`RELEASE`] in another order, written after deleted files.
const REVERSED: &str = r##"
    0644 file etc/same "port = 80\n"
    hard etc/app.toml -> etc/same
    link lib/current -> first
    1777 dir spool
    0755 dir empty
    0644 file grüße "x"
    0644 file lib/third/some "third"
    0644 file lib/second/data 18M
    0644 file lib/first/data 18M
    0755 file bin/server "#!/bin/sh\n"
"##;

/// The digests of the outputs of one build.
type Written = BTreeMap<String, String>;

/// Builds `release` for every kind of destination with `command`, which receives
/// the arguments of the build.
fn written(
    sandbox: &Sandbox,
    release: impl Into<OsString>,
    more: &[&str],
    command: impl FnOnce(&[OsString]) -> Command,
) -> Written {
    let place = tempfile::tempdir_in(sandbox.root()).unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(place.path(), all).unwrap();
    let output = |text: &str| {
        format!(
            "--output={}",
            text.replace("@", place.path().to_str().unwrap())
        )
    };
    let outputs = [
        "@/image.tar",
        "oci-archive:@/oci.tar",
        "@/image.tar.gz",
        "oci:@/layout",
        "-",
    ];
    let outputs: Vec<String> = outputs.map(output).into();
    let mut more: Vec<&str> = more.to_vec();
    more.extend(outputs.iter().map(String::as_str));
    more.extend(["--tag", "app"]);
    let words = runs::words(release, &more);
    let outcome = finish(&mut command(&words), b"").success();
    let mut written: Written = runs::listing(place.path())
        .into_iter()
        .map(|(path, digest)| (path.display().to_string(), digest))
        .collect();
    let piped = place.path().join("piped");
    fs::write(&piped, &outcome.stdout).unwrap();
    written.insert("-".to_owned(), runs::digest_of(&piped));
    written
}

/// Returns the outputs of a build in the usual environment.
fn plainly(sandbox: &Sandbox, release: impl Into<OsString>, more: &[&str]) -> Written {
    written(sandbox, release, more, |words| sandbox.command(words))
}

fn with_release() -> Sandbox {
    let sandbox = runs::sandbox();
    sandbox.tree("release", RELEASE).unwrap();
    sandbox
}

const BOTH: [&str; 2] = ["--compression=none", "--compression=gzip"];

#[test]
fn all_destinations_are_written_and_differ_by_compression() {
    let sandbox = with_release();
    let [plain, compressed] = BOTH.map(|flag| plainly(&sandbox, "release", &[flag]));
    for written in [&plain, &compressed] {
        assert_eq!(written["-"], written["image.tar"]);
        assert_eq!(written["oci.tar"], written["image.tar"]);
        let blobs = written
            .keys()
            .filter(|name| name.starts_with("layout/blobs/sha256/"));
        assert!(blobs.count() > 3, "several layers: {written:?}");
    }
    assert_ne!(plain["image.tar"], compressed["image.tar"]);
}

#[test]
fn repetition_and_threads_change_nothing() {
    let sandbox = with_release();
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        for threads in ["--threads=1", "--threads=2", "--threads=8"] {
            assert_eq!(
                plainly(&sandbox, "release", &[flag, threads]),
                first,
                "{flag} {threads}"
            );
        }
    }
}

#[test]
fn the_umask_of_the_build_changes_nothing() {
    let sandbox = with_release();
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        for umask in ["000", "022", "077"] {
            let script = format!("umask {umask}; exec \"$@\"");
            let second = written(&sandbox, "release", &[flag], |words| {
                runs::scripted(&sandbox, &script, words)
            });
            assert_eq!(second, first, "{flag} umask {umask}");
        }
    }
}

#[test]
fn the_umask_of_the_release_s_maker_changes_nothing() {
    if !has_programs(&["mkdir"]) {
        return;
    }
    let sandbox = runs::sandbox();
    let script = r#"
        umask "$1"; mkdir -p "$1/bin" "$1/etc/deep" "$1/empty"
        echo '#!/bin/sh' > "$1/bin/server"; chmod +x "$1/bin/server"
        echo port > "$1/etc/deep/app.toml"; ln -s ../bin "$1/etc/link"
    "#;
    for umask in ["000", "022", "077"] {
        let mut make = Command::new("/bin/sh");
        make.args(["-ec", script, "sh", umask])
            .current_dir(sandbox.root());
        drop(finish(&mut make, b"").success());
    }
    for flag in BOTH {
        let [all, usual, none] = ["000", "022", "077"].map(|at| plainly(&sandbox, at, &[flag]));
        assert_eq!(all, usual, "{flag}");
        assert_eq!(usual, none, "{flag}");
    }
}

#[test]
fn the_environment_changes_nothing() {
    let sandbox = with_release();
    let noise: [(&str, &str); 14] = [
        ("TZ", "Pacific/Kiritimati"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("HOME", "/nonexistent"),
        ("USER", "somebody"),
        ("HOSTNAME", "elsewhere"),
        ("PATH", ""),
        ("COLUMNS", "7"),
        ("NO_COLOR", "1"),
        ("CLICOLOR_FORCE", "1"),
        ("RUST_BACKTRACE", "1"),
        ("RAYON_NUM_THREADS", "3"),
        ("DOCKER_HOST", "tcp://192.0.2.1:1"),
        ("NOISE", "\u{1b}[31m\n"),
    ];
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        for (name, value) in noise {
            let second = written(&sandbox, "release", &[flag, "--threads=2"], |words| {
                let mut command = sandbox.command(words);
                command.env(name, value);
                command
            });
            assert_eq!(second, first, "{flag} {name}={value}");
            if flag == BOTH[1] {
                // One compressed build with all variables suffices.
                break;
            }
        }
        let second = written(&sandbox, "release", &[flag], |words| {
            let mut command = sandbox.command(words);
            command.env_clear().envs(noise);
            command
        });
        assert_eq!(second, first, "{flag}");
    }
}

#[test]
fn the_user_changes_nothing() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    if !has_programs(&["chown"]) {
        return;
    }
    let sandbox = with_release();
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        let second = written(&sandbox, "release", &[flag], |words| {
            runs::as_somebody(&sandbox, words)
        });
        assert_eq!(second, first, "{flag}: built by another user");
    }
    let first = plainly(&sandbox, "release", &[]);
    let mut give_away = Command::new("chown");
    give_away
        .args(["-Rh", "12345:23456"])
        .arg(sandbox.path("release"));
    drop(finish(&mut give_away, b"").success());
    assert_eq!(
        plainly(&sandbox, "release", &[]),
        first,
        "a release of another user"
    );
}

#[test]
fn the_place_of_the_release_changes_nothing() {
    let sandbox = with_release();
    let elsewhere = "some/where/else entirely/grüße/release";
    sandbox.tree(elsewhere, RELEASE).unwrap();
    std::os::unix::fs::symlink("release", sandbox.path("link")).unwrap();
    let first = plainly(&sandbox, "release", &[]);
    let absolute = sandbox.path("release");
    for release in [
        elsewhere.into(),
        "release/".into(),
        "./some/../release/.".into(),
        "link".into(),
        absolute.into_os_string(),
    ] {
        let second = plainly(&sandbox, release.clone(), &[]);
        assert_eq!(second, first, "{}", release.display());
    }
    let inside = written(&sandbox, ".", &[], |words| {
        let mut command = sandbox.command(words);
        command.current_dir(sandbox.path("release"));
        command
    });
    assert_eq!(inside, first, "from inside");
}

#[test]
fn the_order_of_directories_and_inode_numbers_change_nothing() {
    let sandbox = with_release();
    let passing: String = (0..100)
        .map(|number| format!("0644 file passing/{number} \"\"\n"))
        .collect();
    let passing = sandbox.tree("reversed", &passing).unwrap().join("passing");
    sandbox.tree("reversed", REVERSED).unwrap();
    fs::remove_dir_all(passing).unwrap();
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        assert_eq!(plainly(&sandbox, "reversed", &[flag]), first, "{flag}");
    }
}

#[test]
fn the_file_system_changes_nothing() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return skip_always("no /dev/shm");
    };
    let sandbox = with_release();
    let release = memory.path().join("release");
    Tree::parse(RELEASE).unwrap().write_to(&release).unwrap();
    for flag in BOTH {
        let first = plainly(&sandbox, "release", &[flag]);
        assert_eq!(plainly(&sandbox, release.clone(), &[flag]), first, "{flag}");
    }
}

#[test]
fn the_times_of_files_change_nothing() {
    let sandbox = with_release();
    let first = plainly(&sandbox, "release", &[]);
    for seconds in [0, 1_000_000_000, 4_000_000_000] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        set_times(&sandbox.path("release"), time);
        assert_eq!(plainly(&sandbox, "release", &[]), first, "{seconds}");
    }
}

/// Sets the modification time of everything but links.
fn set_times(directory: &Path, time: SystemTime) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            set_times(&path, time);
        }
        if !metadata.is_symlink() {
            fs::File::open(&path)
                .unwrap()
                .file()
                .set_modified(time)
                .unwrap();
        }
    }
}

#[test]
fn existing_files_at_the_destination_change_nothing() {
    let sandbox = with_release();
    let more = ["--output=image.tar", "--output=oci:layout", "--tag=app"];
    let outcome = runs::build(&sandbox, &more).success();
    let first = crate::support::image::result_digest(&outcome);
    let archive = runs::digest_of(&sandbox.path("image.tar"));
    let layout = runs::listing(&sandbox.path("layout"));
    let outcome = runs::build(&sandbox, &more).success();
    assert_eq!(crate::support::image::result_digest(&outcome), first);
    assert_eq!(runs::digest_of(&sandbox.path("image.tar")), archive);
    assert_eq!(runs::listing(&sandbox.path("layout")), layout);
}

#[test]
fn the_cache_changes_nothing() {
    let sandbox = with_release();
    let without = plainly(&sandbox, "release", &[BOTH[1]]);
    let cached = |what: &str| {
        let with_cache = written(&sandbox, "release", &[BOTH[1]], |words| {
            sandbox.command(words.iter().filter(|word| *word != "--no-cache"))
        });
        assert_eq!(with_cache, without, "{what}");
    };
    cached("cold");
    cached("warm");
    let moved = sandbox.path("moved");
    fs::rename(sandbox.path("release"), &moved).unwrap();
    sandbox.tree("release", REVERSED).unwrap();
    cached("of another release with the same bytes");
}

#[test]
fn an_archive_of_an_earlier_build_in_the_release_changes_nothing() {
    let sandbox = with_release();
    let build = || {
        let words = runs::words(".", &["--output=image.tar", "--output=oci:layout"]);
        let mut command = sandbox.command(words);
        command.current_dir(sandbox.path("release"));
        let outcome = sandbox.finish(&mut command, b"").success();
        crate::support::image::result_digest(&outcome)
    };
    let first = build();
    assert_eq!(build(), first);
    assert!(sandbox.path("release/image.tar").exists());
}

#[test]
fn the_creation_time_is_in_the_configuration_only() {
    let sandbox = with_release();
    let layers = |created: &str, output: &str| {
        let output_flag = format!("--output={output}");
        let outcome = runs::build(&sandbox, &["--created", created, &output_flag]).success();
        let digest = crate::support::image::result_digest(&outcome);
        let image = crate::support::image::confirmed(&sandbox.path(output), &digest);
        (
            digest,
            image.manifest["layers"].clone(),
            image.config["created"].clone(),
        )
    };
    let old = layers("0", "old.tar");
    let new = layers("2030-01-01T00:00:00Z", "new.tar");
    assert_eq!(old.1, new.1);
    assert_ne!(old.0, new.0);
    assert_eq!(
        (old.2, new.2),
        ("1970-01-01T00:00:00Z".into(), "2030-01-01T00:00:00Z".into())
    );
}

#[test]
fn source_date_epoch_is_the_default_creation_time() {
    let mut sandbox = with_release();
    sandbox.set("SOURCE_DATE_EPOCH", "1700000000");
    let by_variable = plainly(&sandbox, "release", &[]);
    let by_flag = plainly(&sandbox, "release", &["--created=1700000000"]);
    assert_eq!(by_variable, by_flag);
    let by_other_flag = plainly(&sandbox, "release", &["--created=5"]);
    assert_ne!(by_variable, by_other_flag);
}
