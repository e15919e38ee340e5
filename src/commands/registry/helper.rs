//! Credential helpers, the programs `docker-credential-NAME`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use imgbuild_oci::bounded;
use imgbuild_registry::credentials::parse_helper_output;
use imgbuild_registry::monitor::ClientMonitor;
use imgbuild_registry::secret::Credential;

use crate::failure::{Failure, FailureKind, Result};
use crate::ui::Ui;

/// The time after which a wait for a helper is reported.
const NOTICE_AFTER: Duration = Duration::from_secs(3);

/// The timeout of a helper: some ask the user, which is futile in CI.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The interval between two checks whether a helper ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The maximum size of the output of a helper, in bytes.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// The credentials of helpers by name and key. Each helper runs once for a key:
/// it may ask the user, and may create a new credential each time.
pub(super) type HelperCache = BTreeMap<(String, String), Option<Credential>>;

/// The credential helpers of a command.
pub(super) struct Helpers<'a> {
    pub(super) cache: &'a Mutex<HelperCache>,
    pub(super) ui: &'a Ui,
    pub(super) monitor: &'a dyn ClientMonitor,
}

impl Helpers<'_> {
    /// Returns the credential that a helper has for a key. One that failed is not
    /// asked again.
    pub(super) fn get(&self, name: &str, key: &str) -> Result<Option<Credential>> {
        let mut cache = self.cache.lock().expect("no holder of the lock panics");
        let entry = (name.to_owned(), key.to_owned());
        if let Some(credential) = cache.get(&entry) {
            return Ok(credential.clone());
        }
        let credential = run(name, key, self.ui, self.monitor);
        cache.insert(entry, credential.as_ref().ok().cloned().flatten());
        credential
    }
}

/// Runs `docker-credential-NAME get` ([protocol]). Its output is never shown.
///
/// [protocol]: https://github.com/docker/docker-credential-helpers#development
fn run(name: &str, key: &str, ui: &Ui, monitor: &dyn ClientMonitor) -> Result<Option<Credential>> {
    let program = format!("docker-credential-{name}");
    let is_name = name
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if !is_name {
        return Err(Failure::build(format!(
            "`{program}` is not a valid name of a credential helper"
        )));
    }
    let failed = |reason: &str| failure(&program, reason);
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("is not installed"),
        _ => failed("cannot be started"),
    })?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input still prints a result.
        drop(input.write_all(key.as_bytes()));
    }
    let output = read_output(&mut child);
    let output = output.map_err(|_| failed("cannot be read, since there is no thread left"))?;
    let (status, output) = wait(&mut child, &output, &program, ui, monitor)?;
    if status.success() {
        let credential = parse_helper_output(&output);
        return credential.map_err(|error| failed(&format!("failed: {error}")));
    }
    // All helpers print this if they have no credential.
    if String::from_utf8_lossy(&output).contains("credentials not found") {
        return Ok(None);
    }
    Err(failed(&format!("failed for `{key}` ({status})")))
}

fn failure(program: &str, reason: &str) -> Failure {
    let failure = Failure::build(format!("the credential helper `{program}` {reason}"));
    failure.hint("log in again with `docker login`, or give `--username` and `--password-stdin`")
}

/// Reads the output of a helper on another thread: a helper may leave a process
/// behind that keeps the pipe open.
fn read_output(child: &mut Child) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take();
    thread::Builder::new().spawn(move || {
        // Incomplete output is rejected when it is parsed.
        let read = |output| bounded::read_available(output, MAX_OUTPUT_BYTES);
        drop(sender.send(output.map(read).unwrap_or_default()));
    })?;
    Ok(receiver)
}

/// Waits for a helper to end, and reports a long wait.
fn wait(
    child: &mut Child,
    output: &Receiver<Vec<u8>>,
    program: &str,
    ui: &Ui,
    monitor: &dyn ClientMonitor,
) -> Result<(ExitStatus, Vec<u8>)> {
    let start = monitor.now();
    let mut is_reported = false;
    loop {
        let ended = child.try_wait().map_err(Failure::build)?;
        let waited = monitor.now().saturating_sub(start);
        if let Some(status) = ended {
            let bytes = output.recv_timeout(TIMEOUT.saturating_sub(waited));
            let bytes = bytes.map_err(|_| failure(program, "does not close its output"))?;
            return Ok((status, bytes));
        }

        if waited >= TIMEOUT || monitor.is_interrupted() {
            // A helper that cannot be killed is abandoned.
            drop(child.kill());
            drop(child.wait());
        }
        if monitor.is_interrupted() {
            return Err(Failure {
                kind: FailureKind::Interrupted,
                ..Failure::build("interrupted")
            });
        }
        let timeout = TIMEOUT.as_secs();
        if waited >= TIMEOUT {
            return Err(failure(program, &format!("timed out after {timeout} s")));
        }
        if !is_reported && waited >= NOTICE_AFTER {
            is_reported = true;
            ui.status(&format!(
                "waiting for the credential helper `{program}`, at most {timeout} s"
            ));
        }
        monitor.wait(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use imgbuild_registry::monitor::Event;

    use super::*;

    /// A clock that each wait advances by ten seconds.
    #[derive(Default)]
    struct FastClock(AtomicU64);

    impl ClientMonitor for FastClock {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn wait(&self, _: Duration) {
            self.0.fetch_add(10, Ordering::Relaxed);
        }

        fn random(&self) -> u64 {
            0
        }

        fn is_interrupted(&self) -> bool {
            false
        }

        fn report(&self, _: Event<'_>) {}
    }

    #[test]
    fn a_helper_that_does_not_end_is_killed() {
        // Waits for a line that never comes.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = read_output(&mut child).unwrap();
        let ui = Ui::new(true, 0, false);
        let waited = wait(
            &mut child,
            &output,
            "docker-credential-x",
            &ui,
            &FastClock::default(),
        );
        assert_eq!(
            waited.unwrap_err().error.to_string(),
            "the credential helper `docker-credential-x` timed out after 60 s"
        );
        assert!(child.try_wait().unwrap().is_some());
    }
}
