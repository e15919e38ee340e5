//! `--load`: handing the image to the engine of this machine.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use imgbuild_oci::bounded;

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
}

impl Engine {
    /// Starts `docker load`, or `podman load`.
    ///
    /// # Errors
    ///
    /// If neither program is installed.
    pub(crate) fn start() -> Result<Self> {
        // An engine that does not answer is taken only if there is no other.
        let answering = ENGINES.into_iter().filter(|name| answers(name));
        for name in answering.chain(ENGINES) {
            let started = Command::new(name)
                .arg("load")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            match started {
                Ok(child) => return Ok(Self { name, child }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::build(error)),
            }
        }
        let failure =
            Failure::build("cannot load the image: neither `docker` nor `podman` is installed");
        Err(failure.hint(
            "write an archive with `--output FILE.tar`, and load it on a machine with an engine",
        ))
    }

    /// Lets `write` send the archive, and returns the names that the engine
    /// reports.
    ///
    /// # Errors
    ///
    /// If writing fails, or the engine reports an error or no image: an exit
    /// code of 0 is not enough.
    pub(crate) fn load(
        mut self,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut input = self.child.stdin.take().expect("it was asked for");
        let output = self.child.stdout.take().expect("it was asked for");
        let errors = self.child.stderr.take().expect("it was asked for");
        let output = thread::spawn(move || read(output));
        let errors = thread::spawn(move || read(errors));
        let written = write(&mut input);
        drop(input);
        let status = self.child.wait().map_err(Failure::build)?;
        let text = [output, errors].map(|reader| reader.join().unwrap_or_default());
        let text = text.join("\n");
        let loaded: Vec<String> = text.lines().filter_map(loaded_name).collect();
        let has_failed = !status.success() || text.contains("Error unpacking image");
        if has_failed || loaded.is_empty() {
            let name = self.name;
            let said = text.trim().lines().collect::<Vec<_>>().join("; ");
            let message = format!("`{name} load` did not load the image: {said}");
            return Err(Failure::build(message));
        }
        written?;
        Ok(loaded)
    }
}

/// Returns whether an engine is installed and, if it has a daemon, reaches it.
fn answers(name: &str) -> bool {
    let asked = Command::new(name)
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn read(mut stream: impl Read) -> String {
    // What could be read until then is what there is to show.
    let bytes = bounded::read_available(&mut stream, MAX_OUTPUT_BYTES);
    // An engine that waits for its reader would never end.
    drop(io::copy(&mut stream, &mut io::sink()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn loaded_name(line: &str) -> Option<String> {
    let name = line
        .strip_prefix("Loaded image: ")
        .or_else(|| line.strip_prefix("Loaded image ID: "))
        .or_else(|| line.strip_prefix("Loaded image(s): "))?;
    Some(name.trim().to_owned())
}
