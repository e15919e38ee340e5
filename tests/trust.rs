//! What other users of a machine may have put there: links, and caches.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};

use crate::runs;
use crate::support::skip_always;

/// A user who is not root.
const OTHER: u32 = 65534;

/// Makes a directory with a mode that the umask does not change.
fn directory(sandbox: &Sandbox, name: &str, mode: u32) -> PathBuf {
    let path = sandbox.path(name);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Makes a link of a user in `shared`.
fn link(sandbox: &Sandbox, target: &str, name: &str, owner: u32) {
    let path = sandbox.path("shared").join(name);
    symlink(target, &path).unwrap();
    lchown(&path, Some(owner), Some(owner)).unwrap();
}

#[test]
fn a_link_of_another_user_in_a_shared_directory_is_not_followed() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    let sandbox = runs::with_small_release();
    directory(&sandbox, "shared", 0o1777);
    directory(&sandbox, "victim/deep", 0o755);
    fs::write(sandbox.path("victim/file"), "precious").unwrap();
    link(&sandbox, "../victim/file", "file.tar", OTHER);
    link(&sandbox, "../victim/new", "new", OTHER);
    link(&sandbox, "../victim", "directory", OTHER);
    symlink("shared/new", sandbox.path("own")).unwrap();
    let before = runs::listing(sandbox.root());
    for (more, place) in [
        (&["--output=shared/file.tar"][..], "shared/file.tar"),
        (&["--output=oci-archive:shared/new"], "shared/new"),
        (&["--output=oci:shared/new"], "shared/new"),
        (&["--output=oci:own"], "shared/new"),
        (&["--output=oci:shared/new/deep"], "shared/new"),
        (&["--output=shared/directory/x.tar"], "shared/directory"),
        (
            &["--output=shared/directory/deep/../x.tar"],
            "shared/directory",
        ),
        (&["--output=oci:shared/directory/x"], "shared/directory"),
        (&["--output=-", "--digest-file=shared/new"], "shared/new"),
        (
            &["--output=-", "--iidfile=shared/file.tar"],
            "shared/file.tar",
        ),
    ] {
        let outcome = runs::build(&sandbox, more).exited(1);
        let said =
            format!("`{place}` is a link of user {OTHER} in a directory of all users: remove it");
        assert!(
            outcome.stderr_text().contains(&said),
            "{}",
            outcome.report()
        );
        assert_eq!(runs::listing(sandbox.root()), before, "{more:?}");
    }
}

#[test]
fn links_that_the_kernel_follows_are_followed() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    for (mode, owner_of_directory, owner_of_link) in [
        // One's own, one of the directory's owner, and one in another directory.
        (0o1777, OTHER, 0),
        (0o1777, OTHER, OTHER),
        (0o777, 0, OTHER),
        (0o1775, 0, OTHER),
    ] {
        let sandbox = runs::with_small_release();
        let shared = directory(&sandbox, "shared", mode);
        chown(&shared, Some(owner_of_directory), None).unwrap();
        link(&sandbox, "../real.tar", "image.tar", owner_of_link);
        drop(runs::build(&sandbox, &["--output=shared/image.tar"]).success());
        assert!(sandbox.path("real.tar").is_file());
    }
}

/// Builds with a cache, whose layers are compressed.
fn build(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let words = runs::words("release", &["--output=oci:layout"]);
    let words = words.into_iter().filter(|word| word != "--no-cache");
    let words = words.chain(more.iter().map(Into::into));
    sandbox.run(words).success()
}

/// Builds, which must warn of the cache once, and use nothing of it.
fn assert_unused(sandbox: &Sandbox, more: &[&str], said: &str) {
    drop(fs::remove_dir_all(sandbox.path("layout")));
    let outcome = build(sandbox, more);
    let text = outcome.stderr_text();
    assert_eq!(
        text.matches("warning: no cache in `").count(),
        1,
        "{}",
        outcome.report()
    );
    assert!(text.contains(said), "{}", outcome.report());
    assert!(!text.contains("(cached)"), "{}", outcome.report());
}

#[test]
fn a_cache_with_a_link_in_it_is_not_used_and_nothing_behind_it_is_removed() {
    for part in ["v2/layers", "v2/blobs", "v2/tmp", "v2", "CACHEDIR.TAG"] {
        let sandbox = runs::with_small_release();
        drop(build(&sandbox, &["--cache-dir=cache"]));
        let path = sandbox.path("cache").join(part);
        let victim = sandbox.path("victim");
        fs::rename(&path, &victim).unwrap();
        if part == "CACHEDIR.TAG" {
            fs::remove_file(&victim).unwrap();
        }
        symlink(&victim, &path).unwrap();
        let before = runs::listing(sandbox.root());
        let said = format!("`{}` is a link", sandbox.path("cache").join(part).display());
        let said = said.replace(&format!("{}/", sandbox.root().display()), "");
        for command in ["clear", "prune", "info"] {
            let words = ["cache", command, "--cache-dir", "cache"];
            let outcome = sandbox.run(words).exited(1);
            assert!(
                outcome.stderr_text().contains(&said),
                "{}",
                outcome.report()
            );
        }
        assert_eq!(runs::listing(sandbox.root()), before, "{part}");
        assert_unused(&sandbox, &["--cache-dir=cache"], &said);
        let after = runs::listing(sandbox.root());
        let before = before
            .keys()
            .chain(after.keys().filter(|path| path.starts_with("layout")));
        assert_eq!(after.keys().collect::<BTreeSet<_>>(), before.collect());
        assert_eq!(victim.exists(), part != "CACHEDIR.TAG");
    }
}

#[test]
fn a_cache_of_another_user_is_not_used() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    let mut sandbox = runs::with_small_release();
    for more in [&["--cache-dir=cache"][..], &[]] {
        let cache = sandbox.path("cache");
        sandbox.set("XDG_CACHE_HOME", &cache);
        let root = if more.is_empty() {
            cache.join("imgbuild")
        } else {
            cache
        };
        drop(build(&sandbox, more));
        assert!(build(&sandbox, more).stderr_text().contains("unchanged"));
        for part in ["v2/contents", "v2", "CACHEDIR.TAG", ""] {
            let part = root.join(part);
            lchown(&part, Some(OTHER), None).unwrap();
            assert_unused(&sandbox, more, &format!("belongs to user {OTHER}"));
            lchown(&part, Some(0), None).unwrap();
        }
        drop(fs::remove_dir_all(sandbox.path("layout")));
        assert!(build(&sandbox, more).stderr_text().contains("(cached)"));
    }
}

#[test]
fn a_cache_that_others_can_write_is_not_used() {
    let sandbox = runs::with_small_release();
    let more = ["--cache-dir=cache"];
    for (part, mode) in [
        ("cache", 0o777),
        ("cache/v2/layers", 0o702),
        ("cache", 0o1777),
    ] {
        drop(build(&sandbox, &more));
        directory(&sandbox, part, mode);
        assert_unused(&sandbox, &more, "can be written by other users");
        directory(&sandbox, part, 0o700);
    }
    // The user's own group, as with the umask 002.
    directory(&sandbox, "cache", 0o775);
    drop(fs::remove_dir_all(sandbox.path("layout")));
    assert!(build(&sandbox, &more).stderr_text().contains("(cached)"));
    if runs::is_root() {
        chown(sandbox.path("cache"), None, Some(OTHER)).unwrap();
        assert_unused(&sandbox, &more, "can be written by other users");
    }
}

#[test]
fn an_empty_directory_that_is_not_trusted_is_not_an_empty_cache() {
    let sandbox = runs::sandbox();
    let cache = directory(&sandbox, "cache", 0o777);
    let run = |command| sandbox.run(["cache", command, "--cache-dir=cache"]);
    let refused = |said: &str| {
        for command in ["clear", "prune", "info"] {
            let outcome = run(command).exited(1);
            let text = outcome.stderr_text();
            assert!(text.contains("cannot use the cache in `cache`") && text.contains(said));
        }
        assert!(runs::names(&cache).is_empty());
    };
    refused("can be written by other users");
    directory(&sandbox, "cache", 0o700);
    if runs::is_root() {
        lchown(&cache, Some(OTHER), None).unwrap();
        refused(&format!("belongs to user {OTHER}"));
        lchown(&cache, Some(0), None).unwrap();
    }
    drop(run("info").success());
    assert!(runs::names(&cache).is_empty());
}

#[test]
fn a_cache_behind_a_link_of_another_user_is_not_used() {
    if !runs::is_root() {
        return skip_always("not root");
    }
    let sandbox = runs::with_small_release();
    directory(&sandbox, "shared", 0o1777);
    link(&sandbox, "../own", "cache", OTHER);
    assert_unused(
        &sandbox,
        &["--cache-dir=shared/cache"],
        &format!("is a link of user {OTHER}"),
    );
    assert!(!sandbox.path("own").exists());
    // A link of the user is followed.
    link(&sandbox, "../own", "mine", 0);
    drop(build(&sandbox, &["--cache-dir=shared/mine"]));
    assert!(sandbox.path("own/v2/layers").is_dir());
}
