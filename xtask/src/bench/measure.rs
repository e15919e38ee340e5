//! Runs a script, and measures its time and memory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

use crate::Result;

/// The cost of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measurement {
    pub(super) wall: Duration,
    /// User and system time of all processes.
    pub(super) processor: Duration,
    /// The peak memory of the largest process, in bytes.
    pub(super) peak: u64,
    /// The size of all outputs, in bytes.
    pub(super) output: u64,
}

/// The directory of a subject, with `out` (`$OUT`) for its outputs and `state`
/// (`$STATE`) for what it keeps between rounds.
#[derive(Debug)]
pub(super) struct RunDirectory {
    pub(super) directory: PathBuf,
    pub(super) variables: Vec<(&'static str, OsString)>,
}

impl RunDirectory {
    pub(super) fn create(&self) -> Result {
        if self.directory.exists() {
            fs_err::remove_dir_all(&self.directory)?;
        }
        fs_err::create_dir_all(self.directory.join("out"))?;
        fs_err::create_dir_all(self.directory.join("state"))?;
        Ok(())
    }

    /// Runs a script that is not measured.
    pub(super) fn run_script(&self, script: &str) -> Result {
        if script.is_empty() {
            return Ok(());
        }
        let status = self.shell(script)?.status()?;
        self.check(script, status.success())
    }

    /// Runs and measures `script`, after the disk has come to rest.
    pub(super) fn measure(&self, script: &str) -> Result<Measurement> {
        rustix::fs::sync();
        let mut shell = self.shell(script)?;
        let start = Instant::now();
        let ended = shell.spawn()?.wait4()?;
        let wall = start.elapsed();
        self.check(script, ended.status.success())?;
        let usage = ended.rusage;
        Ok(Measurement {
            wall,
            processor: usage.utime + usage.stime,
            peak: usage.maxrss,
            output: size_below(&self.directory.join("out"))?,
        })
    }

    fn shell(&self, script: &str) -> Result<Command> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-e", "-u", "-c", script])
            .current_dir(&self.directory);
        shell.envs(self.variables.iter().cloned());
        shell.env("OUT", self.directory.join("out"));
        shell.env("STATE", self.directory.join("state"));
        shell.stdin(Stdio::null()).stdout(Stdio::null());
        shell.stderr(fs_err::File::create(self.messages())?.into_file());
        Ok(shell)
    }

    fn messages(&self) -> PathBuf {
        self.directory.join("messages")
    }

    fn check(&self, script: &str, success: bool) -> Result {
        if success {
            return Ok(());
        }
        let messages = fs_err::read(self.messages()).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages)
            .trim()
            .replace('\n', " / ");
        Err(format!("`{script}` failed: {messages}").into())
    }
}

/// Returns the size of all regular files below `path`, in bytes.
fn size_below(path: &Path) -> Result<u64> {
    let metadata = fs_err::symlink_metadata(path)?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    let mut size = 0;
    if metadata.is_dir() {
        for entry in fs_err::read_dir(path)? {
            size += size_below(&entry?.path())?;
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_directory(directory: &Path) -> RunDirectory {
        let run = RunDirectory {
            directory: directory.join("run"),
            variables: vec![("TREE", "/".into())],
        };
        run.create().unwrap();
        run
    }

    #[test]
    fn a_run_is_measured_with_its_output() {
        let scratch = tempfile::tempdir().unwrap();
        let run = run_directory(scratch.path());
        let script = "test \"$TREE\" = / && printf %5000s > \"$OUT/file\"";
        let measurement = run.measure(script).unwrap();
        assert_eq!(measurement.output, 5000);
        assert!(measurement.wall > Duration::ZERO);
        assert!(measurement.peak > 100_000);
    }

    #[test]
    fn the_error_of_a_failed_run_has_the_output_of_the_program() {
        let scratch = tempfile::tempdir().unwrap();
        let run = run_directory(scratch.path());
        let error = run.run_script("echo no space >&2; false").unwrap_err();
        assert!(error.to_string().ends_with("failed: no space"), "{error}");
        assert!(run.measure("exit 3").is_err());
    }
}
