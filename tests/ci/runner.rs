//! A machine that runs a job as a CI service does, with fakes of the tools that
//! would fetch or compile.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox, sandbox::finish};

use super::workflow::{Context, Step, evaluate, holds, pairs, parse, steps, text};
use super::{ACTION, document};
use crate::support::limited;

/// Makes a program without libraries for a machine, given by its ELF number.
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    // Entry, program headers, section headers, flags.
    for number in [0x40_0078_u64, 64, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for size in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(size.to_le_bytes());
    }
    // One segment: the whole file.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    for number in [0_u64, 0x40_0000, 0x40_0000, 120, 120, 0x1000] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// Replaces Cargo: `install` installs the program under test, `build` makes a
/// program for the machine of the job or for a target. It fails where Cargo and
/// rustup would.
const CARGO: &str = r#"#!/bin/sh
set -e
fail() {
    echo "cargo: $*" >&2
    exit 101
}
command=$1 target= root= git= path= tag= package=
shift
while [ $# -gt 0 ]; do
    case $1 in
    --target) target=$2; shift ;;
    --root) root=$2; shift ;;
    --git) git=$2; shift ;;
    --path) path=$2; shift ;;
    --tag) tag=$2; shift ;;
    -*) ;;
    *) package=$1 ;;
    esac
    shift
done
check_repository() {
    [ "$package" = imgbuild ] || fail "multiple packages with binaries found"
    [ "$tag" = "v$VERSION" ] || fail "this is any commit, not v$VERSION"
}
check_toolchain() {
    [ -z "$RUSTUP_TOOLCHAIN$RUSTFLAGS$CARGO_BUILD_TARGET$CARGO_TARGET_DIR" ] ||
        fail "these settings are for another program"
    [ ! -e rust-toolchain.toml ] || cmp -s rust-toolchain.toml "$GITHUB_ACTION_PATH/rust-toolchain.toml" ||
        fail "the Rust of $PWD is too old for imgbuild"
}
check_target() {
    grep -qx "$target" "$HOME/targets" || fail "can't find crate for \`std\` of $target"
    [ "${target%%-*}" = "$MACHINE" ] || [ "$(linker)" = rust-lld ] || fail "error adding symbols: file in wrong format"
}
linker() {
    printenv "CARGO_TARGET_$(printf %s "$target" | tr a-z- A-Z_)_LINKER" || true
}
case $command in
install)
    [ -z "$git" ] || check_repository
    [ -z "$git$path" ] || check_toolchain
    mkdir -p "$root/bin"
    cp "$PROGRAM_UNDER_TEST" "$root/bin/imgbuild"
    ;;
build)
    [ -z "$target" ] || check_target
    directory=target/${target:+$target/}release
    mkdir -p "$directory/deps" "$directory/.fingerprint"
    cp "$PROGRAMS/${target%%-*}" "$directory/app" 2>/dev/null ||
        cp "$PROGRAMS/$MACHINE" "$directory/app"
    chmod 755 "$directory/app"
    ;;
xtask)
    # What it makes is there.
    ;;
*)
    exit 64
    ;;
esac
"#;

/// Replaces curl: serves the release of this version.
const CURL: &str = r#"#!/bin/sh
set -e
to=/dev/stdout
while [ $# -gt 0 ]; do
    case $1 in
    -o) to=$2; shift ;;
    --retry) shift ;;
    -*) ;;
    *) url=$1 ;;
    esac
    shift
done
name=imgbuild-v$VERSION-$MACHINE-unknown-linux-musl
archive=$HOME/$name.tar.gz
if [ ! -e "$archive" ]; then
    mkdir -p "$HOME/$name"
    cp "$PROGRAM_UNDER_TEST" "$HOME/$name/imgbuild"
    tar -cf - -C "$HOME" "$name" | gzip -1 >"$archive"
fi
case $url in
https://github.com/imgbuild/imgbuild/releases/download/v$VERSION/install.sh)
    cat "$GITHUB_ACTION_PATH/install.sh" >"$to" ;;
https://github.com/imgbuild/imgbuild/releases/download/v$VERSION/$name.tar.gz)
    cat "$archive" >"$to" ;;
https://github.com/imgbuild/imgbuild/releases/download/v$VERSION/$name.tar.gz.sha256)
    echo "${SERVED_DIGEST:-$(sha256sum "$archive" | cut -d ' ' -f 1)}  $name.tar.gz" >"$to" ;;
file://*)
    cat "${url#file://}" >"$to" ;;
*)
    echo "curl: (22) The requested URL returned error: 404: $url" >&2
    exit 22 ;;
esac
"#;

/// Replaces the program of GitHub: records its arguments.
const GH: &str = r#"#!/bin/sh
echo "$*" >>"$HOME/gh"
[ -n "$GH_TOKEN" ] || exit 4
exit "${GH_STATUS:-0}"
"#;

/// Replaces uname.
const UNAME: &str = r#"#!/bin/sh
case $1 in
-m) echo "$MACHINE" ;;
*) echo Linux ;;
esac
"#;

/// Replaces rustup: records the added targets.
const RUSTUP: &str = r#"#!/bin/sh
[ "$1 $2" = "target add" ] || exit 64
shift 2
printf '%s\n' "$@" >>"$HOME/targets"
"#;

/// The directories of programs on every system.
const SYSTEM: &str = "/usr/local/bin:/usr/bin:/bin";

/// A machine of a CI service, with one job on it.
pub(super) struct Runner {
    pub(super) root: PathBuf,
    pub(super) context: Context,
    environment: Vec<(String, String)>,
    /// The directories that steps put before `PATH`.
    pub(super) path: Vec<String>,
    /// The registry in place of GitHub's.
    pub(super) registry: String,
    /// The directories of the system's programs.
    system: String,
    /// The requested cache keys, with the names of their inputs.
    pub(super) keys: Vec<(String, String)>,
}

pub(super) fn write_executable(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the sandbox is ours");
    let mode = std::fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).expect("the sandbox is ours");
}

impl Runner {
    pub(super) fn new(sandbox: &Sandbox, name: &str, machine: &str) -> Self {
        let root = sandbox.path(name);
        for directory in ["tools", "temporary", "home", "work", "programs"] {
            fs::create_dir_all(root.join(directory)).expect("the sandbox is ours");
        }
        for (name, script) in [
            ("cargo", CARGO),
            ("rustup", RUSTUP),
            ("curl", CURL),
            ("gh", GH),
            ("uname", UNAME),
        ] {
            write_executable(&root.join("tools").join(name), script.as_bytes());
        }
        for (name, number) in [("x86_64", 62), ("aarch64", 183)] {
            fs::write(root.join("programs").join(name), program(number)).unwrap();
        }
        let place = |name: &str| root.join(name).display().to_string();
        let environment = [
            ("HOME", place("home")),
            ("RUNNER_TEMP", place("temporary")),
            ("GITHUB_OUTPUT", place("output")),
            ("GITHUB_PATH", place("path")),
            ("GITHUB_ACTOR", "octocat".to_owned()),
            ("GITHUB_WORKFLOW", "image".to_owned()),
            ("GITHUB_JOB", "image".to_owned()),
            ("GITHUB_ACTION_PATH", env!("CARGO_MANIFEST_DIR").to_owned()),
            (
                "PROGRAM_UNDER_TEST",
                env!("CARGO_BIN_EXE_imgbuild").to_owned(),
            ),
            ("PROGRAMS", place("programs")),
            ("VERSION", env!("CARGO_PKG_VERSION").to_owned()),
            ("MACHINE", machine.to_owned()),
        ];
        let context = [
            ("github.repository", "me/app"),
            ("github.ref_name", "v1.2.3"),
            ("github.sha", "0123456789abcdef"),
            ("github.server_url", "https://github.com"),
            ("github.actor", "octocat"),
            ("github.token", "token-of-the-job"),
            ("github.workflow", "image"),
            ("github.job", "image"),
            ("github.run_id", "1"),
            ("github.run_attempt", "1"),
            ("runner.os", "Linux"),
            ("runner.arch", machine),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            context: context.map(owned).into(),
            path: vec![place("tools")],
            registry: "ghcr.io".to_owned(),
            system: SYSTEM.to_owned(),
            keys: Vec::new(),
            root,
        }
    }

    /// Sets a variable of the job.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Removes all programs but these.
    pub(super) fn keep_only(&mut self, programs: &[&str]) {
        let kept = self.root.join("system");
        fs::create_dir(&kept).unwrap();
        for program in programs {
            let places = SYSTEM
                .split(':')
                .map(|place| Path::new(place).join(program));
            let found = places
                .into_iter()
                .find(|place| place.exists())
                .expect("it is installed");
            symlink(found, kept.join(program)).unwrap();
        }
        self.system = kept.display().to_string();
        self.path.clear();
    }

    /// Checks out a project that has its own Rust version.
    pub(super) fn check_out(&self) {
        let work = self.root.join("work");
        let manifest = "[package]\nname = \"app\"\nversion = \"1.0.0\"\n";
        fs::write(work.join("Cargo.toml"), manifest).unwrap();
        let toolchain = "[toolchain]\nchannel = \"1.80.0\"\n";
        fs::write(work.join("rust-toolchain.toml"), toolchain).unwrap();
    }

    /// Runs a script as a runner does.
    pub(super) fn script(&mut self, script: &str, environment: &[(String, String)]) -> Outcome {
        let file = self.root.join("script");
        fs::write(&file, script).expect("the sandbox is ours");
        let mut command = limited("bash");
        command
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&file)
            .current_dir(self.root.join("work"))
            .env_clear();
        for (name, value) in self.environment.iter().chain(environment) {
            command.env(name, value);
        }
        let path = self.path.join(":");
        command.env("PATH", format!("{path}:{}", self.system));
        let outcome = finish(&mut command, b"");
        if let Ok(added) = fs::read_to_string(self.root.join("path")) {
            let added = added.lines().map(str::to_owned);
            self.path.splice(0..0, added);
            fs::remove_file(self.root.join("path")).unwrap();
        }
        outcome
    }

    /// Runs steps to their end, or to the first that fails.
    pub(super) fn run(&mut self, steps: &[Step]) -> Outcome {
        let mut last = None;
        for step in steps {
            if step
                .condition
                .as_ref()
                .is_some_and(|one| !holds(one, &self.context))
            {
                continue;
            }
            let Some(outcome) = self.run_step(step) else {
                continue;
            };
            let has_failed = outcome.code != Some(0);
            last = Some(outcome);
            if has_failed {
                break;
            }
        }
        last.expect("some step does something")
    }

    fn run_step(&mut self, step: &Step) -> Option<Outcome> {
        let all = |pairs: &[(String, String)], context: &Context| -> Vec<(String, String)> {
            let one = |(name, value): &(String, String)| (name.clone(), evaluate(value, context));
            pairs.iter().map(one).collect()
        };
        let environment = all(&step.env, &self.context);
        let with = all(&step.with, &self.context);
        if let Some(script) = &step.run {
            let outcome = self.script(script, &environment);
            self.take_outputs(step.id.as_deref());
            return Some(outcome);
        }
        let uses = step.uses.as_deref().expect("a step does something");
        match uses.split_once('@').expect("it has a version").0 {
            ACTION => return Some(self.run_action(&with, step.id.as_deref())),
            "actions/checkout" => self.check_out(),
            "actions/cache" => self.take_keys(&with),
            "actions/upload-artifact" | "actions/download-artifact" | "actions/attest" => {}
            other => panic!("`{other}` is not known here"),
        }
        None
    }

    /// Refuses keys as the cache of GitHub does.
    fn take_keys(&mut self, with: &[(String, String)]) {
        let is_key = |name: &str| matches!(name, "key" | "restore-keys");
        let keys = with.iter().filter(|(name, _)| is_key(name));
        for (name, value) in keys {
            for key in value.lines() {
                assert!(!key.contains(','), "`{key}` cannot contain commas");
                assert!(key.len() <= 512, "`{key}` is too long");
                self.keys.push((name.clone(), key.to_owned()));
            }
        }
    }

    /// Runs `action.yml` with these inputs.
    pub(super) fn run_action(&mut self, with: &[(String, String)], id: Option<&str>) -> Outcome {
        let action = parse(&document("action.yml").replace("ghcr.io", &self.registry));
        let outside = self.context.clone();
        for (name, input) in pairs(&action["inputs"]) {
            let given = with.iter().find(|(known, _)| *known == name);
            let value = given.map(|(_, value)| value.clone());
            let value = value.or_else(|| text(&input["default"]));
            let value = value.unwrap_or_else(|| panic!("the input `{name}` is missing"));
            self.context.insert(format!("inputs.{name}"), value);
        }
        let unknown = with
            .iter()
            .find(|(name, _)| !self.context.contains_key(&format!("inputs.{name}")));
        assert_eq!(unknown, None, "there is such an input");
        let outcome = self.run(&steps(&action["runs"]));
        let inside = std::mem::replace(&mut self.context, outside);
        if outcome.code == Some(0) {
            for (name, output) in pairs(&action["outputs"]) {
                let value = evaluate(&text(&output["value"]).unwrap(), &inside);
                let id = id.unwrap_or("action");
                self.context
                    .insert(format!("steps.{id}.outputs.{name}"), value);
            }
        }
        outcome
    }

    /// Reads the outputs that a step wrote to `$GITHUB_OUTPUT`.
    fn take_outputs(&mut self, id: Option<&str>) {
        let file = self.root.join("output");
        let Ok(written) = fs::read_to_string(&file) else {
            return;
        };
        fs::remove_file(&file).unwrap();
        let mut lines = written.lines();
        while let Some(line) = lines.next() {
            let id = id.expect("a step with outputs has an id");
            let (name, value) = match line.split_once("<<") {
                Some((name, end)) if !name.contains('=') => {
                    let value = lines.by_ref().take_while(|line| *line != end);
                    (name, value.collect::<Vec<_>>().join("\n"))
                }
                _ => {
                    let (name, value) = line.split_once('=').expect("NAME=VALUE");
                    (name, value.to_owned())
                }
            };
            self.context
                .insert(format!("steps.{id}.outputs.{name}"), value);
        }
    }

    pub(super) fn output(&self, name: &str) -> &str {
        &self.context[&format!("steps.action.outputs.{name}")]
    }
}
