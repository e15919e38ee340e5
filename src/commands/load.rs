//! `--load`: handing the image to the engine of this machine.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use imgbuild_oci::bounded;
use imgbuild_oci::destination::PatientWriter;
use imgbuild_oci::monitor::Monitor;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::failure::{Failure, Result};

/// The engines that load archives; the first that answers is taken.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The most bytes of an engine's output that are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// An engine that reads an archive.
#[derive(Debug)]
pub(crate) struct Engine {
    name: &'static str,
    child: Child,
    /// A file in memory: a pipe would have to be read by a thread meanwhile.
    output: File,
}

impl Engine {
    /// Starts `docker load`, or `podman load`.
    ///
    /// # Errors
    ///
    /// If neither program is installed, and on an interruption.
    pub(crate) fn start(monitor: Monitor<'_>) -> Result<Self> {
        // An engine that does not answer is taken only if there is no other.
        let mut answering = None;
        for name in ENGINES {
            if answering.is_none() && answers(name, monitor)? {
                answering = Some(name);
            }
        }
        for name in answering.into_iter().chain(ENGINES) {
            match Self::start_load(name) {
                Ok(engine) => return Ok(engine),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("cannot start `{name} load`");
                    return Err(Failure::caused_by(error, message));
                }
            }
        }
        let failure =
            Failure::build("cannot load the image: neither `docker` nor `podman` is installed");
        Err(failure.hint(
            "write an archive with `--output FILE.tar`, and load it on a machine with an engine",
        ))
    }

    fn start_load(name: &'static str) -> io::Result<Self> {
        let output = File::from(memfd_create("output", MemfdFlags::CLOEXEC)?);
        let child = Command::new(name)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()?;
        Ok(Self {
            name,
            child,
            output,
        })
    }

    /// Lets `write` send the archive, and returns the names that the engine
    /// reports.
    ///
    /// # Errors
    ///
    /// If writing fails, or the engine reports an error or no image: an exit
    /// code of 0 is not enough; and on an interruption.
    pub(crate) fn load(
        mut self,
        monitor: Monitor<'_>,
        write: impl FnOnce(PatientWriter<'_>) -> Result<()>,
    ) -> Result<Vec<String>> {
        let name = self.name;
        let what = format!("`{name} load`");
        let input = self.child.stdin.take().expect("it was asked for");
        let mut input = File::from(OwnedFd::from(input));
        let written = write(PatientWriter::new(&mut input, &what, monitor));
        drop(input);
        let status = wait(&mut self.child, &what, monitor)?;
        let text = self.read_output();
        let loaded: Vec<String> = text.lines().filter_map(loaded_name).collect();
        let has_failed = !status.success() || text.contains("Error unpacking image");
        if has_failed || loaded.is_empty() {
            let said = text.trim().lines().collect::<Vec<_>>().join("; ");
            let message = format!("`{name} load` did not load the image: {said}");
            return Err(Failure::build(message));
        }
        written?;
        Ok(loaded)
    }

    /// Returns what the engine printed.
    fn read_output(&mut self) -> String {
        // What can be read is what there is to show.
        drop(self.output.rewind());
        let bytes = bounded::read_available(&self.output, MAX_OUTPUT_BYTES);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Returns whether an engine is installed and, if it has a daemon, reaches it.
fn answers(name: &str, monitor: Monitor<'_>) -> Result<bool> {
    let asked = Command::new(name)
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match asked {
        Ok(mut child) => Ok(wait(&mut child, &format!("`{name} info`"), monitor)?.success()),
        Err(_) => Ok(false),
    }
}

/// Waits for a program, and kills it on an interruption.
fn wait(child: &mut Child, what: &str, monitor: Monitor<'_>) -> Result<ExitStatus> {
    let ended = monitor.wait_for(what, |interval| match child.try_wait().transpose() {
        Some(ended) => Ok(Some(ended)),
        None => {
            thread::sleep(interval);
            Ok(None)
        }
    });
    if ended.is_err() {
        // It is not waited for: some programs cannot be killed.
        drop(child.kill());
    }
    ended?.map_err(Failure::build)
}

fn loaded_name(line: &str) -> Option<String> {
    let name = line
        .strip_prefix("Loaded image: ")
        .or_else(|| line.strip_prefix("Loaded image ID: "))
        .or_else(|| line.strip_prefix("Loaded image(s): "))?;
    Some(name.trim().to_owned())
}
