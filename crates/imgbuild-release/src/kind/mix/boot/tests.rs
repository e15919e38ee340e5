use fs_err as fs;

use super::*;
use crate::error::Result;
use crate::fuzz::{BOOT, ELIXIR, OWN};
use crate::pattern::{Pattern, Patterns};
use crate::release::ReleaseOptions;
use crate::release::facts::DirectoryFacts;
use crate::release::selection::Selection;
use crate::warning::Warning;

/// The start script of a release of relx.
pub(crate) const RELX: &str = "#!/bin/sh\nPRE_START_HOOKS=\"\"\nRELX_X=1\nexec \"$BINDIR/erlexec\" $FOREGROUNDOPTIONS \
    -boot_var SYSTEM_LIB_DIR \"$SYSTEM_LIB_DIR\"\n";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A release of `mix release`, with further files or others.
fn release(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let always = [
        ("releases/start_erl.data", "13.1 1.0"),
        (
            "releases/1.0/shop.rel",
            "{release,{\"shop\",\"1.0\"},{erts,\"13.1\"},[]}.",
        ),
        ("releases/1.0/start.boot", "boot"),
        ("releases/1.0/sys.config", "%% RUNTIME_CONFIG=false\n[].\n"),
        ("releases/1.0/vm.args", "## nothing\n"),
        ("releases/1.0/elixir", ELIXIR),
        ("releases/1.0/env.sh", "#!/bin/sh\n# nothing\n"),
        ("bin/shop", OWN),
        ("erts-13.1/bin/erlexec", ""),
    ];
    for (path, text) in always.iter().chain(files) {
        write(directory.path(), path, text);
    }
    directory
}

fn read_release(directory: &tempfile::TempDir) -> Result<(Direct, MixRelease, Vec<String>)> {
    read_with(directory, &[])
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn read_with(
    directory: &tempfile::TempDir,
    given: &[(&str, &str)],
) -> Result<(Direct, MixRelease, Vec<String>)> {
    let root = RootDirectory::open(directory.path()).unwrap();
    let mix = super::super::describe(&root)?;
    let (direct, warnings) = read_without("left.config", directory, &mix, given)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok((direct, mix, warnings))
}

/// Reads a release from which the user leaves files out.
fn read_without(
    excluded: &str,
    directory: &tempfile::TempDir,
    mix: &MixRelease,
    given: &[(&str, &str)],
) -> Result<(Direct, Vec<Warning>)> {
    let options = ReleaseOptions {
        patterns: Patterns::new(&[Pattern::Exclude(excluded.to_owned())]).unwrap(),
        variables: owned(given),
        ..ReleaseOptions::default()
    };
    let prefix = ImagePath::parse("/app").unwrap();
    let root = RootDirectory::open(directory.path()).unwrap();
    let facts = DirectoryFacts::default();
    let selection = Selection::new(&root, &prefix, &options, &facts);
    read(&selection, mix)
}

fn start_of(files: &[(&str, &str)], as_server: bool, given: &[(&str, &str)]) -> Command {
    let directory = release(files);
    let (direct, mix, _) = read_with(&directory, given).unwrap();
    let given = owned(given);
    direct.start(&ImagePath::parse("/app").unwrap(), &mix, as_server, &given)
}

fn value<'a>(start: &'a Command, name: &str) -> Option<&'a str> {
    let mut found = start.environment.iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} is set twice");
    value
}

#[test]
fn the_virtual_machine_gets_what_the_script_would_give_it() {
    let start = start_of(&[], false, &[]);
    assert_eq!(
        start.words().join(" "),
        "/app/erts-13.1/bin/erlexec -noshell -s elixir start_cli -mode embedded \
         -config /app/releases/1.0/sys -boot /app/releases/1.0/start -boot_var RELEASE_LIB /app/lib \
         -args_file /app/releases/1.0/vm.args -extra --no-halt"
    );
    for (name, expected) in [
        ("BINDIR", "/app/erts-13.1/bin"),
        ("ROOTDIR", "/app"),
        ("RELEASE_ROOT", "/app"),
        ("RELEASE_NAME", "shop"),
        ("RELEASE_VSN", "1.0"),
        ("RELEASE_MODE", "embedded"),
        ("RELEASE_DISTRIBUTION", "none"),
        ("RELEASE_SYS_CONFIG", "/app/releases/1.0/sys"),
    ] {
        assert_eq!(value(&start, name), Some(expected), "{name}");
    }
    assert_eq!(value(&start, "RELEASE_COOKIE"), None);
}

#[test]
fn the_environment_decides_as_it_does_for_the_script() {
    let files = [(
        "releases/1.0/env.sh",
        "export RELEASE_MODE=interactive\nexport RELEASE_DISTRIBUTION=name\nexport A=1\n",
    )];
    let start = start_of(&files, false, &[]);
    assert!(start.words().join(" ").contains("-mode interactive "));
    assert_eq!(value(&start, "A"), Some("1"));
    assert_eq!(value(&start, "RELEASE_DISTRIBUTION"), Some("none"));
    let given = [
        ("RELEASE_MODE", "embedded"),
        ("RELEASE_BOOT_SCRIPT", "other"),
        ("B", "2"),
    ];
    let start = start_of(&files, false, &given);
    let command = start.words().join(" ");
    assert!(
        command.contains("-mode embedded ") && command.contains("-boot /app/releases/1.0/other ")
    );
    assert_eq!(value(&start, "B"), None, "it is the user's own");
}

#[test]
fn the_server_adds_its_variables() {
    let text = "#!/bin/sh\nset -eu\ncd -P -- \"$(dirname -- \"$0\")\"\nPHX_SERVER=true exec ./shop start\n";
    let files = [("bin/server", text)];
    assert_eq!(
        value(&start_of(&files, true, &[]), "PHX_SERVER"),
        Some("true")
    );
    assert_eq!(value(&start_of(&files, false, &[]), "PHX_SERVER"), None);
}

#[test]
fn what_runs_programs_by_a_shell_is_not_started() {
    let files = [("lib/os_mon-2.8/ebin/os_mon.app", "")];
    let command = start_of(&files, false, &[]).words().join(" ");
    assert!(
        command.contains(" -os_mon start_disksup false "),
        "{command}"
    );
    let directory = release(&files);
    let (_, _, warnings) = read_release(&directory).unwrap();
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_release_of_relx_starts_by_its_own_flags() {
    let files = [
        ("bin/shop", RELX),
        (
            "releases/1.0/vm.args",
            "-sname shop\n-setcookie secret-value\n+K true\n",
        ),
    ];
    let directory = release(&files);
    let (direct, mix, warnings) = read_release(&directory).unwrap();
    let start = direct.start(&ImagePath::parse("/").unwrap(), &mix, false, &[]);
    assert_eq!(
        start.words().join(" "),
        "/erts-13.1/bin/erlexec -noinput +Bd -mode embedded -config /releases/1.0/sys \
         -boot /releases/1.0/start -boot_var SYSTEM_LIB_DIR /lib -args_file /releases/1.0/direct.vm.args --"
    );
    let kept = b"\n\n+K true\n".to_vec();
    assert_eq!(
        direct.files(&mix),
        [("releases/1.0/direct.vm.args".to_owned(), kept)]
    );
    let warning = warnings.concat();
    assert!(warning.contains("`-sname`, `-setcookie`") && !warning.contains("secret-value"));
}

#[test]
fn everything_that_needs_a_shell_is_named_at_once() {
    let directory = release(&[
        ("releases/1.0/env.sh", "#!/bin/sh\nexport A=$(hostname)\n"),
        ("releases/1.0/sys.config", "%% RUNTIME_CONFIG=true\n[].\n"),
        ("bin/server", "#!/bin/sh\n./migrate\nexec ./shop start\n"),
    ]);
    fs::remove_dir_all(directory.path().join("erts-13.1")).unwrap();
    fs::remove_file(directory.path().join("releases/1.0/vm.args")).unwrap();
    let text = read_release(&directory).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "it has no Erlang runtime of its own: `erts-13.1` is missing",
            "line 2 of `releases/1.0/env.sh` does more than set a variable to a plain value",
            "line 2 of `bin/server` does more than set a variable to a plain value",
            "`reboot_system_after_config` is set, for which the start script copies the configuration; `releases/1.0/start.boot` is not a boot file that can do so",
            "`releases/1.0/vm.args` is missing",
        ]
    );
}

#[test]
fn a_system_that_restarts_gets_a_configuration_that_can_be_written() {
    let directory = release(&[("releases/1.0/sys.config", "%% RUNTIME_CONFIG=true\n[].\n")]);
    fs::write(directory.path().join("releases/1.0/start.boot"), BOOT).unwrap();
    let (direct, mix, _) = read_release(&directory).unwrap();
    let start = direct.start(&ImagePath::parse("/app").unwrap(), &mix, false, &[]);
    let command = start.words().join(" ");
    let expected = "-config /tmp/shop-1.0.start -boot /app/releases/1.0/direct ";
    assert!(command.contains(expected), "{command}");
    let start = direct.start(&ImagePath::parse("/app").unwrap(), &mix, false, &[]);
    let written = value(&start, "RELEASE_SYS_CONFIG");
    assert_eq!(written, Some("/tmp/shop-1.0.runtime"));
    let files = direct.files(&mix);
    assert_eq!(files.len(), 1);
    let text = String::from_utf8_lossy(&files[0].1);
    assert_eq!(text.matches("/tmp/shop-1.0.runtime.config").count(), 2);
    assert_eq!(text.matches("/tmp/shop-1.0.start.config").count(), 3);
}

#[test]
fn what_the_user_names_is_read_in_the_place_of_the_usual() {
    let directory = release(&[
        ("releases/1.0/other.config", "%% RUNTIME_CONFIG=true\n[].\n"),
        ("own.args", "-sname a\n+K true\n"),
        ("releases/1.0/vm.args", "-heart\n"),
    ]);
    fs::write(directory.path().join("releases/1.0/other.boot"), BOOT).unwrap();
    let given = [
        ("RELEASE_BOOT_SCRIPT", "other"),
        ("RELEASE_SYS_CONFIG", "/app/releases/1.0/other"),
        ("RELEASE_VM_ARGS", "/app/own.args"),
    ];
    let (direct, mix, warnings) = read_with(&directory, &given).unwrap();
    assert!(warnings.concat().contains("`own.args`"), "{warnings:?}");
    assert_eq!(direct.arguments.as_ref().unwrap().0, "own.args");
    let names: Vec<String> = direct
        .files(&mix)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        names,
        ["releases/1.0/direct.vm.args", "releases/1.0/direct.boot"]
    );
    let start = direct.start(
        &ImagePath::parse("/app").unwrap(),
        &mix,
        false,
        &owned(&given),
    );
    let command = start.words().join(" ");
    for expected in [
        "-config /tmp/shop-1.0.start -boot /app/releases/1.0/direct ",
        "-args_file /app/releases/1.0/direct.vm.args ",
    ] {
        assert!(command.contains(expected), "{command}");
    }
    assert_eq!(
        start.overrides,
        owned(&[
            ("RELEASE_BOOT_SCRIPT", "direct"),
            ("RELEASE_SYS_CONFIG", "/tmp/shop-1.0.runtime"),
            ("RELEASE_VM_ARGS", "/app/releases/1.0/direct.vm.args"),
        ])
    );
    for (name, expected) in &start.overrides {
        assert_eq!(value(&start, name), Some(expected.as_str()));
    }
}

#[test]
fn what_the_user_names_outside_of_the_release_is_taken_as_it_is() {
    let given = [
        ("RELEASE_SYS_CONFIG", "/run/config/sys"),
        ("RELEASE_VM_ARGS", "/run/config/vm.args"),
    ];
    let files = [("releases/1.0/sys.config", "%% RUNTIME_CONFIG=true\n[].\n")];
    let start = start_of(&files, false, &given);
    let command = start.words().join(" ");
    for expected in [
        "-config /run/config/sys ",
        "-args_file /run/config/vm.args ",
    ] {
        assert!(command.contains(expected), "{command}");
    }
    assert!(start.overrides.is_empty());
}

#[test]
fn what_is_left_out_is_not_called_missing() {
    let directory = release(&[("releases/1.0/left.config", "[].\n")]);
    let root = RootDirectory::open(directory.path()).unwrap();
    let mix = super::super::describe(&root).unwrap();
    let error = read_without("vm.args", &directory, &mix, &[]).unwrap_err();
    let expected = "`releases/1.0/vm.args` is left out, but the virtual machine needs it to start";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn variables_without_an_effect_are_named() {
    for (name, value, expected) in [
        ("ELIXIR_ERL_OPTIONS", "+fnu", Some("`ELIXIR_ERL_OPTIONS`")),
        ("RELEASE_VSN", "2.0", Some("`RELEASE_VSN`")),
        ("RELEASE_VSN", "1.0", None),
        (
            "RELEASE_DISTRIBUTION",
            "name",
            Some("`RELEASE_DISTRIBUTION`"),
        ),
        ("RELEASE_DISTRIBUTION", "none", None),
        ("RELEASE_MODE", "fast", Some("`RELEASE_MODE` is `fast`")),
        ("RELEASE_MODE", "interactive", None),
        ("VMARGS_PATH", "/x", None),
    ] {
        let (_, _, warnings) = read_with(&release(&[]), &[(name, value)]).unwrap();
        let told = warnings.concat();
        assert_eq!(
            told.is_empty(),
            expected.is_none(),
            "{name}={value}: {told}"
        );
        assert!(told.contains(expected.unwrap_or_default()), "{told}");
    }
    let relx = release(&[("bin/shop", RELX)]);
    let (_, _, warnings) = read_with(&relx, &[("VMARGS_PATH", "/x")]).unwrap();
    assert!(warnings.concat().contains("`VMARGS_PATH`"), "{warnings:?}");
}

#[test]
fn scripts_of_others_are_refused() {
    for (path, text) in [
        ("releases/1.0/elixir", "#!/bin/sh\nexec erl\n"),
        ("bin/shop", "#!/bin/sh\nexec erl\n"),
        ("bin/shop", "#!/bin/sh\n: RELX_\nexec erl\n"),
    ] {
        let text = read_release(&release(&[(path, text)]))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(&format!("`{path}` is not a script")),
            "{text}"
        );
    }
}

#[test]
fn what_nothing_can_run_is_unwanted() {
    let directory = release(&[
        ("erts-13.1/bin/beam.smp", "ELF"),
        ("erts-13.1/bin/epmd", "ELF"),
        ("bin/tool", "ELF"),
        ("bin/shop.bat", "@echo"),
        ("lib/inets-8.2/priv/bin/runcgi.sh", "#!/bin/sh"),
    ]);
    let root = RootDirectory::open(directory.path()).unwrap();
    for (path, expected) in [
        ("erts-13.1/bin/beam.smp", false),
        ("erts-13.1/bin/erlexec", false),
        ("erts-13.1/bin/epmd", true),
        ("erts-13.1/bin", false),
        ("bin/shop", true),
        ("bin/shop.bat", true),
        ("bin/tool", false),
        ("releases/1.0/env.sh", true),
        ("releases/1.0/elixir", true),
        ("releases/1.0/sys.config", false),
        ("lib/inets-8.2/priv/bin/runcgi.sh", false),
    ] {
        let found = unwanted(&root, Path::new(path));
        assert_eq!(found.is_some(), expected, "{path}");
    }
}
