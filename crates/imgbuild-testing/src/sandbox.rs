//! One program, run in a directory of its own with a known environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;

use crate::{ParseTreeError, Redactions, Tree};

/// A temporary directory and the program that runs in it.
///
/// The program sees a cleared environment (`HOME`, `TMPDIR`, `PATH`, `TZ=UTC`,
/// `LANG=C.UTF-8` and what [`Sandbox::set`] adds) and starts in [`Sandbox::root`].
#[derive(Debug)]
pub struct Sandbox {
    directory: tempfile::TempDir,
    root: PathBuf,
    /// The emulator that starts the program, with its arguments.
    emulator: Vec<OsString>,
    program: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

/// The exit code and output of a program.
#[derive(Debug, Clone)]
#[must_use = "assert how the program ended"]
pub struct Outcome {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    command: String,
    redactions: Redactions,
}

impl Sandbox {
    /// Makes a sandbox for `program`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn new(program: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("imgbuild-").tempdir()?;
        // The system's temporary directory may be a symbolic link; messages name the real one.
        let root = fs::canonicalize(directory.path())?.join("work");
        let mut sandbox = Self {
            root,
            emulator: Vec::new(),
            program: program.into(),
            environment: BTreeMap::new(),
            directory,
        };
        for (name, value) in [
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
        ] {
            sandbox.set(name, value);
        }
        for (name, place) in [("HOME", "home"), ("TMPDIR", "tmp")] {
            let place = sandbox.root.with_file_name(place);
            fs::create_dir(&place)?;
            sandbox.set(name, place);
        }
        fs::create_dir(&sandbox.root)?;
        Ok(sandbox)
    }

    /// Returns the working directory of the program, which is empty at first.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a path below [`Sandbox::root`].
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Sets an environment variable for every later run.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Runs the program by an emulator.
    #[must_use]
    pub fn under(mut self, emulator: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.emulator = emulator.into_iter().map(Into::into).collect();
        self
    }

    /// Writes a tree below [`Sandbox::root`] and returns its path.
    ///
    /// # Errors
    ///
    /// An invalid line, or an error of the file system.
    pub fn tree(&self, relative: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path(relative);
        let tree = Tree::parse(text).map_err(|error: ParseTreeError| io::Error::other(error))?;
        tree.write_to(&path)?;
        Ok(path)
    }

    /// Returns the command with the directory and environment of the sandbox, for
    /// [`Sandbox::finish`].
    #[expect(
        clippy::disallowed_methods,
        reason = "starting the program is what a sandbox is for"
    )]
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut words = self
            .emulator
            .iter()
            .map(OsString::as_os_str)
            .collect::<Vec<_>>();
        words.push(self.program.as_os_str());
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .envs(&self.environment);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.finish(&mut self.command(arguments), b"")
    }

    /// Runs a command to its end with `input` on its standard input.
    ///
    /// # Panics
    ///
    /// If the command cannot be started.
    pub fn finish(&self, command: &mut Command, input: &[u8]) -> Outcome {
        let mut outcome = finish(command, input);
        let redactions = Redactions::new()
            .path(&self.root, "[SANDBOX]")
            .path(self.directory.path(), "[SCRATCH]");
        outcome.redactions = redactions;
        outcome
    }
}

/// Runs any command to its end with `input` on its standard input.
///
/// # Panics
///
/// If the command cannot be started.
pub fn finish(command: &mut Command, input: &[u8]) -> Outcome {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let words = describe(command);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start `{words}`: {error}"));
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A program that ends early closes its input. Its exit code is checked.
            pipe.map(|mut pipe| pipe.write_all(input))
        });
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("cannot wait for `{words}`: {error}"));
    Outcome {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
        command: words,
        redactions: Redactions::new(),
    }
}

fn describe(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}

impl Outcome {
    /// Asserts exit code 0.
    ///
    /// # Panics
    ///
    /// With both outputs, if the program ended otherwise.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exited(0)
    }

    /// Asserts an exit code.
    ///
    /// # Panics
    ///
    /// With both outputs, if the program ended otherwise.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.report());
        self
    }

    /// Returns standard output.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn stdout_text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }

    /// Returns standard error.
    ///
    /// # Panics
    ///
    /// If it is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn stderr_text(&self) -> &str {
        str::from_utf8(&self.stderr).expect("standard error is UTF-8")
    }

    /// Returns standard error with paths and durations redacted, for snapshots.
    #[must_use]
    pub fn stderr_redacted(&self) -> String {
        self.redactions
            .apply(&String::from_utf8_lossy(&self.stderr))
    }

    /// Returns standard output with paths and durations redacted, for snapshots.
    #[must_use]
    pub fn stdout_redacted(&self) -> String {
        self.redactions
            .apply(&String::from_utf8_lossy(&self.stdout))
    }

    /// Returns the command, its exit code and both outputs, for a failed assertion.
    #[must_use]
    pub fn report(&self) -> String {
        let code = self
            .code
            .map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        format!(
            "`{}` ended with {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Sandbox {
        Sandbox::new("/bin/sh").unwrap()
    }

    #[test]
    fn the_environment_is_the_sandbox_s() {
        let mut sandbox = shell();
        sandbox.set("EXTRA", "1");
        let outcome = sandbox.run([
            "-c",
            "env | cut -d= -f1 | grep -v -e _ -e PWD -e SHLVL | sort",
        ]);
        assert_eq!(
            outcome.success().stdout_text(),
            "EXTRA\nHOME\nLANG\nPATH\nTMPDIR\nTZ\n"
        );
    }

    #[test]
    fn outputs_and_exit_code_are_captured() {
        let outcome = shell()
            .run(["-c", "echo out; echo err >&2; exit 3"])
            .exited(3);
        assert_eq!(
            (outcome.stdout_text(), outcome.stderr_text()),
            ("out\n", "err\n")
        );
    }

    #[test]
    fn input_reaches_the_program() {
        let sandbox = shell();
        let outcome = sandbox.finish(&mut sandbox.command(["-c", "cat"]), b"words");
        assert_eq!(outcome.success().stdout_text(), "words");
    }

    #[test]
    fn the_sandbox_s_own_paths_are_redacted() {
        let sandbox = shell();
        let outcome = sandbox
            .run(["-c", "echo \"$PWD/a in 0.1s\"; echo \"$HOME\" >&2"])
            .success();
        assert_eq!(outcome.stdout_redacted(), "[SANDBOX]/a in [DURATION]\n");
        assert_eq!(outcome.stderr_redacted(), "[SCRATCH]/home\n");
    }

    #[test]
    fn a_tree_is_written_below_the_root() {
        let sandbox = shell();
        let path = sandbox.tree("release", "0644 file a \"x\"").unwrap();
        assert_eq!(path, sandbox.path("release"));
        assert_eq!(fs::read(path.join("a")).unwrap(), b"x");
    }
}
