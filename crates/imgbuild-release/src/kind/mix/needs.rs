//! Programs and files of the host that the scripts and the virtual machine of a
//! mix release need.
//!
//! The list was found by reading the scripts that `mix release` (Elixir 1.9
//! to 1.18) and relx write, and by tracing them and the virtual machine:
//!
//! - The release's scripts are run by `/bin/sh` and call a handful of
//!   programs. Those of [`UTILITIES`] come along that they really call.
//! - The virtual machine starts every port program and `os:cmd` by `/bin/sh`,
//!   and `erlexec` starts `epmd` by it.
//! - `os_mon` has a shell run `df` by its path, and its node stops without.
//! - A remote shell needs the description of the user's terminal.
//! - File names are UTF-8 only with a locale of that encoding; the one of that
//!   kind that needs no other files is `C.UTF-8`.

use std::collections::BTreeSet;

use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use super::MixRelease;
use crate::contents::first_bytes;
use crate::programs::calls::calls_of;
use crate::programs::{Programs, ProgramsError};
use crate::release::Release;
use crate::runtime::{Object, Role};

/// Programs that generated scripts call, in one version or another.
const UTILITIES: [&str; 37] = [
    "awk", "basename", "cat", "chmod", "cp", "cut", "date", "dd", "dirname", "env", "expr",
    "getent", "grep", "head", "hexdump", "hostname", "id", "ls", "mkdir", "mktemp", "mv", "od",
    "openssl", "ps", "readlink", "realpath", "rm", "rmdir", "sed", "seq", "sleep", "sort", "tail",
    "touch", "tr", "uname", "wc",
];

/// Programs that a script calls as one option of several: they may be missing.
const OPTIONAL: [&str; 6] = ["getent", "hexdump", "hostname", "openssl", "ps", "realpath"];

/// The shell that starts every port program (erl_child_setup.c).
const SHELL: &str = "/bin/sh";

/// The path of `df` in `os_mon` for Linux.
const DF: &str = "/bin/df";

/// The terminals of users, and that of `docker exec`.
const TERMINALS: &str =
    "ansi dumb linux screen screen-256color tmux tmux-256color vt100 xterm xterm-256color";

/// The directory of the locale `C.UTF-8` of glibc.
const LOCALE: &str = "/usr/lib/locale/C.utf8";

/// Includes everything, and warns of what the host does not have.
pub(super) fn include(
    release: &Release,
    mix: &MixRelease,
    programs: &mut Programs<'_>,
) -> Result<(), ProgramsError> {
    if mix.direct.is_some() {
        return bring_locale(release, programs);
    }
    let scripts = scripts(release);
    let mut missing = BTreeSet::new();
    for script in &scripts {
        programs.add_interpreter_of(script.path);
        if !script.is_generated || !programs.brings_calls {
            continue;
        }
        let called = UTILITIES
            .iter()
            .filter(|name| script.calls.contains(**name));
        for name in called {
            if !programs.add_if_present(name) && !OPTIONAL.contains(name) {
                missing.insert(*name);
            }
        }
    }
    // It starts every port program.
    if !programs.add_if_present(SHELL) {
        warn(programs, SHELL, "`os:cmd` and port programs do not work");
    }
    // Without a runtime, it comes with a base's Erlang.
    let is_listed = mix.applications.iter().any(|name| name == "os_mon");
    let has_os_mon = is_listed || has_application(release, "os_mon");
    if has_os_mon && !programs.add_if_present(DF) {
        warn(programs, DF, "`os_mon` stops the node");
    }
    for name in missing {
        warn(programs, name, "scripts of the release call it");
    }
    programs.add_terminals(TERMINALS)?;
    bring_locale(release, programs)?;
    for script in &scripts {
        let calls = script.calls.iter().map(String::as_str);
        let is_brought = script.is_generated && programs.brings_calls;
        let is_expected = |name: &str| is_brought && UTILITIES.contains(&name);
        programs.warn_of_missing(script.path, calls.filter(|name| !is_expected(name)));
    }
    Ok(())
}

fn bring_locale(release: &Release, programs: &mut Programs<'_>) -> Result<(), ProgramsError> {
    if !programs.add_data(LOCALE)? && !uses_musl(release) {
        let purpose = "the Erlang runtime takes file names as Latin-1";
        warn(programs, LOCALE, purpose);
    }
    Ok(())
}

fn warn(programs: &mut Programs<'_>, name: &str, effect: &str) {
    let text = format!("`{name}` is neither on this machine nor in the image: {effect}");
    programs.warnings.push(text.into());
}

/// Makes modules of programs for another processor than the virtual machine's:
/// they are prebuilt parts of packages, and never start in the image.
pub(super) fn set_roles(release: &Release, erts: &str, objects: &mut [Object]) {
    let machine = format!("erts-{erts}/bin/beam.smp");
    let machine = release.prefix.join(machine).ok();
    let is_machine = |object: &&Object| Some(&object.image) == machine.as_ref();
    let Some(machine) = objects.iter().find(is_machine) else {
        return;
    };
    let architecture = machine.elf.architecture();
    for object in objects {
        if object.elf.architecture() != architecture {
            object.role = Role::Module;
        }
    }
}

/// A script that is meant to be run.
struct ReleaseScript<'a> {
    path: &'a ImagePath,
    calls: BTreeSet<String>,
    /// `mix release`, Phoenix or relx writes one of this name.
    is_generated: bool,
}

fn scripts(release: &Release) -> Vec<ReleaseScript<'_>> {
    let depth = release.prefix.as_bytes().len();
    let scripts = release.members.iter().filter_map(|member| {
        let path = &member.entry.path;
        let relative = String::from_utf8_lossy(path.as_bytes().get(depth..)?);
        Some(ReleaseScript {
            path,
            is_generated: is_generated(relative.trim_start_matches('/'), &release.name)?,
            calls: calls_of(member)?,
        })
    });
    scripts.collect()
}

/// Returns whether the tools write a script of this name; `None` for files
/// that are not started by hand, such as the templates in `lib`.
fn is_generated(path: &str, name: &str) -> Option<bool> {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let is_script_of_release = [name, "server", "migrate", "install_upgrade.escript"];
    if directory == "bin" {
        // relx writes `NAME-VSN` as well.
        let is_versioned = file
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('-'));
        return Some(is_versioned || is_script_of_release.contains(&file));
    }
    if directory.starts_with("releases/") {
        return Some(["env.sh", "elixir", "iex"].contains(&file));
    }
    // `start` and `start_erl` are for installations, not for releases.
    let is_start = directory.starts_with("erts-") && directory.ends_with("/bin") && file == "erl";
    is_start.then_some(true)
}

fn has_application(release: &Release, name: &str) -> bool {
    let start = format!("{}/lib/{name}-", &release.prefix);
    let mut members = release.members.iter();
    members.any(|member| member.entry.path.as_bytes().starts_with(start.as_bytes()))
}

/// Returns whether the virtual machine is linked with musl, which has the
/// locale built in.
fn uses_musl(release: &Release) -> bool {
    let is_machine = |member: &&Member| member.entry.path.file_name() == b"erlexec";
    let machine = release.members.iter().find(is_machine);
    let content = machine.and_then(|member| member.content.as_ref());
    content.is_some_and(|content| {
        let head = first_bytes(content, 4096);
        head.windows(8).any(|window| window == b"ld-musl-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(UTILITIES.is_sorted() && OPTIONAL.is_sorted());
        assert!(OPTIONAL.iter().all(|name| UTILITIES.contains(name)));
    }

    #[test]
    fn generated_scripts_are_told_from_others() {
        for (path, expected) in [
            ("bin/shop", Some(true)),
            ("bin/shop-1.2.0", Some(true)),
            ("bin/server", Some(true)),
            ("bin/backup", Some(false)),
            ("releases/1.2.0/env.sh", Some(true)),
            ("releases/1.2.0/hook.sh", Some(false)),
            ("erts-13.1.5/bin/erl", Some(true)),
            ("erts-13.1.5/bin/start", None),
            ("lib/inets-8.2.2/priv/bin/runcgi.sh", None),
            ("shop", None),
        ] {
            assert_eq!(is_generated(path, "shop"), expected, "{path}");
        }
    }
}
