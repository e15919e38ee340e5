//! `--load`: handing the image to the engine of this machine.

use std::env;
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use imgbuild_oci::bounded;
use imgbuild_oci::destination::PatientWriter;
use imgbuild_oci::monitor::Monitor;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// The engines that load archives; the first that is installed is taken.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// The variable with the address of Docker's engine.
const ADDRESS: &str = "DOCKER_HOST";

/// The most bytes of an engine's output that are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// An engine that reads an archive.
#[derive(Debug)]
pub(crate) struct Engine {
    name: &'static str,
}

/// An image in an engine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoadedImage {
    pub(crate) name: String,
    /// The ID by which the engine runs it: the digest of its config, or of its
    /// manifest or index where the engine keeps these; else the name.
    pub(crate) image_id: String,
}

/// A running command of an engine.
struct EngineCommand {
    what: String,
    child: Child,
    /// A file in memory: a pipe would have to be read by a thread meanwhile.
    output: File,
}

impl Engine {
    /// Asks Docker or, where its client is not installed, Podman, and prints which
    /// takes the image.
    ///
    /// # Errors
    ///
    /// If neither program is installed, or the engine refuses or does not answer
    /// within `limit`; and on an interruption.
    pub(crate) fn find(limit: Duration, ui: &Ui) -> Result<Self> {
        let address = env::var(ADDRESS).ok().filter(|address| !address.is_empty());
        let (names, at, absent) = match address {
            Some(address) => (
                &ENGINES[..1],
                format!(" at `{ADDRESS}={address}`"),
                "`DOCKER_HOST` names an engine of Docker, and `docker` is not installed (without the variable, `podman` loads the image)",
            ),
            None => (
                &ENGINES[..],
                String::new(),
                "neither `docker` nor `podman` is installed",
            ),
        };
        for name in names {
            let Some(info) = EngineCommand::start(name, &["info"])? else {
                continue;
            };
            let (status, text) = ui.while_waiting(|monitor| info.finish(limit, monitor))?;
            if status.success() {
                ui.status(&format!("`--load`: `{name}`{at} takes the image"));
                return Ok(Self { name });
            }
            let said = reason(&text, status);
            let failure = Failure::build(format!(
                "cannot load the image: `{name}`{at} does not reach its engine: {said}"
            ));
            return Err(failure.hint(if *name == ENGINES[0] {
                "start the engine of `docker`, or name its address with `DOCKER_HOST`; `podman` loads images only where `docker` is not installed"
            } else {
                "check what `podman info` prints, or write an archive with `--output FILE.tar`"
            }));
        }
        let failure = Failure::build(format!("cannot load the image: {absent}"));
        Err(failure.hint(
            "write an archive with `--output FILE.tar`, and load it on a machine with an engine",
        ))
    }

    /// Lets `write` send the archive to `docker load` or `podman load`, and returns
    /// the image by the names that the engine reports.
    ///
    /// # Errors
    ///
    /// If writing fails, or the engine reports an error or no image: an exit
    /// code of 0 is not enough; and on an interruption.
    pub(crate) fn load(
        self,
        monitor: Monitor<'_>,
        write: impl FnOnce(PatientWriter<'_>) -> Result<()>,
    ) -> Result<Vec<LoadedImage>> {
        let name = self.name;
        let mut command = self.start(&["load"])?;
        let input = command.child.stdin.take().expect("it was asked for");
        let mut input = File::from(OwnedFd::from(input));
        let written = write(PatientWriter::new(&mut input, &command.what, monitor));
        drop(input);
        let (status, text) = command.finish(Duration::MAX, monitor)?;
        let loaded: Vec<String> = text.lines().filter_map(loaded_name).collect();
        let has_failed = !status.success() || text.contains("Error unpacking image");
        if has_failed || loaded.is_empty() {
            let said = reason(&text, status);
            let message = format!("`{name} load` did not load the image: {said}");
            return Err(Failure::build(message));
        }
        written?;
        let loaded = loaded.into_iter().map(|name| {
            let image_id = self.image_id(&name, monitor)?;
            Ok(LoadedImage { name, image_id })
        });
        loaded.collect()
    }

    fn image_id(&self, name: &str, monitor: Monitor<'_>) -> Result<String> {
        let command = self.start(&["image", "inspect", "--format", "{{.Id}}", name])?;
        let (_, text) = command.finish(Duration::MAX, monitor)?;
        // Clients print warnings, too.
        let is_id = |line: &&str| {
            let digits = line.strip_prefix("sha256:").unwrap_or(line);
            digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        let id = text.lines().map(str::trim).find(is_id);
        Ok(id.unwrap_or(name).to_owned())
    }

    fn start(&self, arguments: &[&str]) -> Result<EngineCommand> {
        let name = self.name;
        let command = EngineCommand::start(name, arguments)?;
        command.ok_or_else(|| Failure::build(format!("`{name}` is not installed any more")))
    }
}

impl EngineCommand {
    /// Starts a command; `None` if the engine's program is not installed.
    fn start(name: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let what = format!("`{name} {}`", arguments.join(" "));
        let started = memfd_create("output", MemfdFlags::CLOEXEC).map_err(io::Error::from);
        let started = started.and_then(|output| {
            let output = File::from(output);
            let mut command = Command::new(name);
            let child = command
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?)
                .spawn()?;
            Ok((child, output))
        });
        match started {
            Ok((child, output)) => Ok(Some(Self {
                what,
                child,
                output,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::caused_by(error, format!("cannot start {what}"))),
        }
    }

    /// Waits for the end, and returns what the engine printed.
    fn finish(mut self, limit: Duration, monitor: Monitor<'_>) -> Result<(ExitStatus, String)> {
        drop(self.child.stdin.take());
        let status = self.wait(limit, monitor)?;
        // What can be read is what there is to show.
        drop(self.output.rewind());
        let bytes = bounded::read_available(&self.output, MAX_OUTPUT_BYTES);
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Waits for the program, and kills it on an interruption or after `limit`.
    fn wait(&mut self, limit: Duration, monitor: Monitor<'_>) -> Result<ExitStatus> {
        let mut waited = Duration::ZERO;
        let child = &mut self.child;
        let ended = monitor.wait_for(&self.what, |interval| {
            let ended = child.try_wait().transpose();
            if ended.is_some() || waited >= limit {
                return Ok(Some(ended));
            }
            thread::sleep(interval);
            waited += interval;
            Ok(None)
        });
        if !matches!(ended, Ok(Some(_))) {
            // It is not waited for: some programs cannot be killed.
            drop(self.child.kill());
        }
        let timed_out = || {
            let time = humantime::format_duration(limit);
            let message = format!("the engine did not answer {} within {time}", self.what);
            let failure = Failure::build(format!("cannot load the image: {message}"));
            failure.hint("check the engine, or wait longer with `--timeout`")
        };
        ended?.ok_or_else(timed_out)?.map_err(Failure::build)
    }
}

/// Returns the errors in the output of a program that failed, or its last lines.
fn reason(text: &str, status: ExitStatus) -> String {
    let is_error = |line: &&str| {
        let line = line.to_ascii_lowercase();
        let starts = ["error:", "error ", "cannot "];
        starts.iter().any(|start| line.starts_with(start))
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut said: Vec<&str> = lines.clone().filter(is_error).collect();
    if said.is_empty() {
        said = lines.collect();
    }
    if said.is_empty() {
        return format!("it printed nothing ({status})");
    }
    said[said.len().saturating_sub(3)..].join("; ")
}

fn loaded_name(line: &str) -> Option<String> {
    let starts = ["Loaded image: ", "Loaded image ID: ", "Loaded image(s): "];
    let name = starts.iter().find_map(|start| line.strip_prefix(start))?;
    Some(name.trim().to_owned())
}
