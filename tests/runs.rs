//! Helpers that run the program without an engine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use imgbuild_testing::sandbox::finish;
use imgbuild_testing::skip::{find_program, skip_always};
use imgbuild_testing::{Outcome, Sandbox};
use sha2::{Digest, Sha256};

/// The flags that keep everything but the release out of an image, use no cache,
/// and do not wait for the disk.
pub(crate) const BARE: [&str; 9] = [
    "--no-cache",
    "--runtime",
    "none",
    "--skeleton",
    "none",
    "--no-entrypoint",
    "--no-sync",
    "--platform",
    "linux/amd64",
];

/// The timeout for a state of another process.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a sandbox for the program under test.
pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_imgbuild")).expect("there is room for it")
}

/// Makes a sandbox with a release of a script, data and a link.
pub(crate) fn with_small_release() -> Sandbox {
    let sandbox = sandbox();
    let release = r##"
        0755 file bin/server "#!/bin/sh\nexit 0\n"
        0644 file etc/app.toml "port = 80\n"
        link current -> bin/server
    "##;
    sandbox.tree("release", release).expect("it is a tree");
    sandbox
}

/// Returns the arguments of a build of `release` with [`BARE`] and `more`.
pub(crate) fn words(release: impl Into<OsString>, more: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--release".into(), release.into()];
    words.extend(BARE.iter().chain(more).map(Into::into));
    words
}

/// Builds the sandbox's `release` with [`BARE`] and `more`.
pub(crate) fn build(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    sandbox.run(words("release", more))
}

/// Returns a build that another program starts: its command line follows `before`.
pub(crate) fn wrapped(sandbox: &Sandbox, before: &[&str], words: &[OsString]) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_imgbuild"));
    wrapped_program(sandbox, before, program, words)
}

/// Runs imgbuild under `strace` with more words for it; `None` if this machine cannot
/// trace.
pub(crate) fn traced(sandbox: &Sandbox, before: &[&str], words: &[OsString]) -> Option<Outcome> {
    let before = [&["strace", "-f", "-qq"], before].concat();
    let outcome = find_program("strace")
        .map(|_| finish(&mut wrapped(sandbox, &before, words), b""))
        .filter(|outcome| !outcome.stderr_text().contains("strace:"));
    if outcome.is_none() {
        skip_always("cannot trace");
    }
    outcome
}

fn wrapped_program(
    sandbox: &Sandbox,
    before: &[&str],
    program: &Path,
    words: &[OsString],
) -> Command {
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(program).args(words);
    command.current_dir(sandbox.root()).env_clear();
    for (name, value) in sandbox.command(words).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.stdin(Stdio::null());
    command
}

/// Returns `sh -c SCRIPT`, where `"$@"` is the build.
pub(crate) fn scripted(sandbox: &Sandbox, script: &str, words: &[OsString]) -> Command {
    wrapped(sandbox, &["/bin/sh", "-c", script, "sh"], words)
}

/// Returns the paths below a directory, with their kinds and the digests of their
/// contents.
pub(crate) fn listing(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    list_into(directory, directory, &mut found);
    found
}

fn list_into(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).expect("the directory is readable") {
        let path = entry.expect("the directory is readable").path();
        let metadata = fs::symlink_metadata(&path).expect("nobody else removes it");
        let text = if metadata.is_dir() {
            list_into(root, &path, found);
            "directory".to_owned()
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).expect("it is a link");
            format!("link to {}", target.display())
        } else if metadata.is_file() {
            digest_of(&path)
        } else {
            "neither".to_owned()
        };
        let relative = path.strip_prefix(root).expect("it is below").to_owned();
        found.insert(relative, text);
    }
}

/// Returns `sha256:…` of a file.
pub(crate) fn digest_of(path: &Path) -> String {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).expect("it is readable");
    io::copy(&mut file, &mut Hashing(&mut hasher)).expect("it is readable");
    hex(&hasher.finalize())
}

pub(crate) fn hex(hash: &[u8]) -> String {
    let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns incompressible bytes, the same every time.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Returns the names in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory is readable");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("the directory is readable").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns `true` if the tests run as root.
pub(crate) fn is_root() -> bool {
    let own = fs::metadata("/proc/self").expect("Linux has it");
    own.uid() == 0
}

/// Makes the sandbox accessible for every user.
pub(crate) fn open_to_all(sandbox: &Sandbox) {
    let above = sandbox.root().parent().expect("it is a temporary one");
    for directory in [above, &above.join("tmp"), sandbox.root()] {
        let permissions = std::fs::Permissions::from_mode(0o777);
        fs::set_permissions(directory, permissions).expect("it is ours");
    }
}

/// Returns a build by a user who is not root, with a copy of the program that every
/// user can start.
pub(crate) fn as_somebody(sandbox: &Sandbox, words: &[OsString]) -> Command {
    if !is_root() {
        return sandbox.command(words);
    }
    open_to_all(sandbox);
    let program = sandbox.root().with_file_name("imgbuild-for-all");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_imgbuild"), &program).expect("there is room for it");
        let permissions = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, permissions).expect("it is ours");
    }
    let switch = [
        "setpriv",
        "--reuid=12345",
        "--regid=23456",
        "--clear-groups",
        "--",
    ];
    wrapped_program(sandbox, &switch, &program, words)
}

/// Starts a command with pipes for both outputs.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program is there")
}

/// Sends a signal, for example `INT`, to a process.
pub(crate) fn signal(child: &Child, name: &str) {
    let script = format!("kill -{name} {}", child.id());
    let status = Command::new("/bin/sh").args(["-c", &script]).status();
    assert!(status.expect("every system has a shell").success());
}

/// Waits for a condition; returns `false` after a timeout.
pub(crate) fn becomes(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Returns `true` if a process handles SIGINT, which it does from the start of the
/// build.
pub(crate) fn handles_signals(child: &Child) -> bool {
    const SIGINT_BIT: u64 = 1 << 1;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & SIGINT_BIT != 0)
}

/// Returns `true` if a process has opened a path, for example of a layout that it
/// is going to lock.
pub(crate) fn has_open(child: &Child, path: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{}/fd", child.id()));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| fs::read_link(file.path()).is_ok_and(|found| found == path))
}

/// Returns `true` once a process ends a run by itself when it is interrupted.
pub(crate) fn catches_interrupts(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mut lines = status.lines();
    let caught = lines.find_map(|line| line.strip_prefix("SigCgt:"));
    // The signals are bits from 1 on, and `SIGINT` is 2.
    let caught = caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    caught.is_some_and(|bits| bits & 0b10 != 0)
}

/// Waits for a started program; returns its status and standard error.
pub(crate) fn end(child: Child) -> (std::process::ExitStatus, String) {
    let output = child.wait_with_output().expect("it was started here");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text)
}
