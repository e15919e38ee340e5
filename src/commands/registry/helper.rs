//! Credential helpers: programs of others that know passwords.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use imgbuild_registry::credentials::parse_helper_answer;
use imgbuild_registry::monitor::Monitor;
use imgbuild_registry::secret::Credential;

use crate::failure::{Failure, FailureKind, Result};
use crate::ui::Ui;

/// How long a helper is waited for in silence.
const QUIET: Duration = Duration::from_secs(3);

/// How long a helper is waited for: some ask the user something, and in CI
/// nobody answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether there is something to say.
const SLICE: Duration = Duration::from_millis(50);

/// The longest answer of a helper.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// What helpers have answered: each is asked once for a key. It may ask the
/// user, and what it gives may be new every time.
pub(super) type Answers = BTreeMap<(String, String), Option<Credential>>;

/// Helpers, and those who have to know of them.
pub(super) struct Helpers<'a> {
    pub(super) answers: &'a Mutex<Answers>,
    pub(super) ui: &'a Ui,
    pub(super) monitor: &'a dyn Monitor,
}

impl Helpers<'_> {
    /// Returns what a helper knows of a key.
    pub(super) fn ask(&self, name: &str, key: &str) -> Result<Option<Credential>> {
        let mut answers = self.answers.lock().expect("no holder of the lock panics");
        let asked = (name.to_owned(), key.to_owned());
        if let Some(answer) = answers.get(&asked) {
            return Ok(answer.clone());
        }
        let answer = ask(name, key, self.ui, self.monitor)?;
        answers.insert(asked, answer.clone());
        Ok(answer)
    }
}

/// Runs `docker-credential-NAME get` ([its protocol]). What it prints is never
/// shown.
///
/// [its protocol]: https://github.com/docker/docker-credential-helpers#development
fn ask(name: &str, key: &str, ui: &Ui, monitor: &dyn Monitor) -> Result<Option<Credential>> {
    let program = format!("docker-credential-{name}");
    let is_name = name
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if !is_name {
        return Err(Failure::build(format!(
            "`{program}` is no name of a credential helper"
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
        // A helper that does not read says so by what it answers.
        drop(input.write_all(key.as_bytes()));
    }
    let output = read_output(&mut child);
    let (status, output) = wait(&mut child, &output, &program, ui, monitor)?;
    if status.success() {
        let credential = parse_helper_answer(&output);
        return credential
            .map(Some)
            .map_err(|error| failed(&format!("is of no use: {error}")));
    }
    // The words that all helpers say when there is nothing.
    let said = String::from_utf8_lossy(&output);
    match said.contains("credentials not found") {
        true => Ok(None),
        false => Err(failed(&format!("failed for `{key}` ({status})"))),
    }
}

fn failure(program: &str, reason: &str) -> Failure {
    let failure = Failure::build(format!("the credential helper `{program}` {reason}"));
    failure.hint("log in again with `docker login`, or give `--username` and `--password-stdin`")
}

/// Reads what a helper prints, on a thread of its own: a helper may leave
/// others behind that hold the pipe open.
fn read_output(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let output = child.stdout.take();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(output) = output {
            // What is cut is no answer, which its reader says.
            drop(output.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes));
        }
        drop(sender.send(bytes));
    });
    receiver
}

/// Waits for a helper to end, and says so if it takes long.
fn wait(
    child: &mut Child,
    output: &Receiver<Vec<u8>>,
    program: &str,
    ui: &Ui,
    monitor: &dyn Monitor,
) -> Result<(ExitStatus, Vec<u8>)> {
    let start = monitor.now();
    let mut is_quiet = true;
    loop {
        let ended = child.try_wait().map_err(Failure::build)?;
        let waited = monitor.now().saturating_sub(start);
        if let Some(status) = ended {
            let bytes = output.recv_timeout(PATIENCE.saturating_sub(waited));
            return match bytes {
                Ok(bytes) => Ok((status, bytes)),
                Err(_) => Err(failure(program, "does not end its answer")),
            };
        }
        let is_over = waited >= PATIENCE;
        if is_over || monitor.is_interrupted() {
            // Whether or not it can be ended, it is left.
            drop(child.kill());
            drop(child.wait());
        }
        if monitor.is_interrupted() {
            return Err(Failure {
                kind: FailureKind::Interrupted,
                ..Failure::build("interrupted")
            });
        }
        if is_over {
            let reason = format!("has not answered for {} s", PATIENCE.as_secs());
            return Err(failure(program, &reason));
        }
        if is_quiet && waited >= QUIET {
            is_quiet = false;
            ui.status(&format!(
                "waiting for the credential helper `{program}`, at most {} s",
                PATIENCE.as_secs()
            ));
        }
        monitor.wait(SLICE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use imgbuild_registry::monitor::Event;

    use super::*;

    /// A clock that only waiting moves, ten seconds at a time.
    #[derive(Default)]
    struct FastClock(AtomicU64);

    impl Monitor for FastClock {
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
    fn a_helper_that_never_answers_is_ended() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = read_output(&mut child);
        let ui = Ui::new(true, 0);
        let waited = wait(
            &mut child,
            &output,
            "docker-credential-x",
            &ui,
            &FastClock::default(),
        );
        assert_eq!(
            waited.unwrap_err().error.to_string(),
            "the credential helper `docker-credential-x` has not answered for 60 s"
        );
        assert!(child.try_wait().unwrap().is_some());
    }
}
