//! Docker engines. Loaded images and containers are always removed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use fs_err as fs;
use imgbuild_testing::{Outcome, sandbox::finish};

use super::{limited, note, skip, unique};

/// The address of an engine with the containerd image store.
const CONTAINERD_HOST: &str = "IMGBUILD_DOCKER_CONTAINERD_HOST";

/// A running engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// The address; `None` for the engine of the environment.
    host: Option<String>,
}

impl Engine {
    /// Returns the engine of the environment; skips the test without one.
    pub(crate) fn require() -> Option<Self> {
        let engine = Self { host: None };
        if engine.answers() {
            return Some(engine);
        }
        skip("container engine");
        None
    }

    /// Returns the engine with the containerd image store, if the environment has one.
    pub(crate) fn containerd() -> Option<Self> {
        let engine = Self {
            host: Some(std::env::var(CONTAINERD_HOST).ok()?),
        };
        assert!(
            engine.answers(),
            "{CONTAINERD_HOST} names an engine that does not answer"
        );
        Some(engine)
    }

    /// Returns every engine, that of the environment first; skips the test
    /// without one.
    pub(crate) fn each() -> Vec<Self> {
        static NOTED: Once = Once::new();
        let Some(engine) = Self::require() else {
            return Vec::new();
        };
        let containerd = Self::containerd();
        if containerd.is_none() {
            let line = format!("no engine with containerd's images (set {CONTAINERD_HOST})");
            NOTED.call_once(|| note(&line));
        }
        [Some(engine), containerd].into_iter().flatten().collect()
    }

    fn answers(&self) -> bool {
        let mut command = self.docker(["version", "--format", "{{.Server.Version}}"]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Returns `true` if published ports can be reached from here.
    pub(crate) fn publishes_here(&self) -> bool {
        // The second engine has its own network namespace.
        self.host.is_none()
    }

    /// Returns the command `docker` for this engine.
    pub(crate) fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = limited("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.args(arguments);
        command
    }

    /// Loads an archive through standard input and checks the output of
    /// `docker load`.
    ///
    /// The exit code is not enough: with the containerd store it is 0 for an image
    /// whose layers could not be unpacked.
    pub(crate) fn load(&self, archive: &Path, reference: &str) -> Loaded<'_> {
        let loaded = Loaded {
            engine: self,
            reference: reference.to_owned(),
        };
        let load = || {
            let mut command = self.docker(["load"]);
            let archive = fs::File::open(archive).expect("the archive was built");
            finish(command.stdin(archive.into_file()), b"")
        };
        let mut outcome = load();
        // containerd may lose a snapshot to the removal of another image in between.
        if outcome.stderr_text().contains("does not exist: not found") {
            outcome = load();
        }
        let outcome = outcome.success();
        let expected = format!("Loaded image: {reference}\n");
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
        assert_eq!(outcome.stderr_text(), "", "{}", outcome.report());
        loaded
    }
}

/// An image in an engine; removed on drop.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    engine: &'a Engine,
    reference: String,
}

impl Loaded<'_> {
    /// Takes over an image that another program loaded.
    pub(crate) fn adopt<'a>(engine: &'a Engine, reference: &str) -> Loaded<'a> {
        Loaded {
            engine,
            reference: reference.to_owned(),
        }
    }

    /// Runs a container without a network to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(&[], arguments, b"")
    }

    /// Runs a container as [`Loaded::run`] does, with options of `docker run` and
    /// standard input.
    pub(crate) fn run_with(&self, options: &[&str], arguments: &[&str], input: &[u8]) -> Outcome {
        let container = Container {
            engine: self.engine,
            name: container_name(),
        };
        let fixed = [
            "run",
            "--interactive",
            "--network=none",
            "--name",
            &container.name,
        ];
        let words = fixed.into_iter().chain(options.iter().copied());
        let words = words
            .chain([self.reference.as_str()])
            .chain(arguments.iter().copied());
        let outcome = finish(&mut self.engine.docker(words), input);
        // For example of a platform that is not the host's.
        assert!(
            !outcome.stderr_text().contains("WARNING"),
            "{}",
            outcome.report()
        );
        outcome
    }

    /// Starts a container in the background, with options of `docker run`.
    pub(crate) fn start(&self, options: &[&str]) -> Container<'_> {
        let container = Container {
            engine: self.engine,
            name: container_name(),
        };
        let fixed = ["run", "--detach", "--name", &container.name];
        let words = fixed.into_iter().chain(options.iter().copied());
        let words = words.chain([self.reference.as_str()]);
        drop(finish(&mut self.engine.docker(words), b"").success());
        container
    }

    /// Writes the image to an archive by `docker save`.
    pub(crate) fn save(&self, archive: &Path) {
        let archive = archive.to_str().expect("a sandbox has a plain name");
        let mut command = self
            .engine
            .docker(["save", "--output", archive, &self.reference]);
        drop(finish(&mut command, b"").success());
    }

    /// Returns a field of `docker image inspect` by its Go template.
    pub(crate) fn inspect(&self, template: &str) -> String {
        let words = ["image", "inspect", "--format", template, &self.reference];
        finish(&mut self.engine.docker(words), b"")
            .success()
            .stdout_text()
            .trim_end()
            .to_owned()
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        let words = ["image", "rm", "--force", &self.reference];
        // A failed removal must not hide the failure of the test.
        drop(self.engine.docker(words).output());
    }
}

/// A container; removed on drop, with its output printed if the test fails.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    engine: &'a Engine,
    name: String,
}

fn container_name() -> String {
    format!("imgbuild-test-{}", unique())
}

impl Container<'_> {
    /// Runs a program of the image inside the container.
    pub(crate) fn exec(&self, words: &[&str]) -> Outcome {
        let words = ["exec", &self.name]
            .into_iter()
            .chain(words.iter().copied());
        finish(&mut self.engine.docker(words), b"")
    }

    /// Repeats [`Container::exec`] until it succeeds, since the program needs time to
    /// start.
    pub(crate) fn exec_until_success(&self, words: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let outcome = self.exec(words);
            if outcome.code == Some(0) {
                return;
            }
            assert!(Instant::now() < deadline, "{}", outcome.report());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command on a terminal, where `lines` are typed.
    pub(crate) fn exec_on_terminal(&self, command: &str, lines: &[&str]) -> Outcome {
        let host = self.engine.host.as_ref();
        let host = host.map_or(String::new(), |host| format!("--host {host} "));
        let name = &self.name;
        let line = format!("docker {host}exec --interactive --tty {name} {command}");
        // The line editor drops input from before the program reads.
        let typed = "for line; do sleep 4; printf %s \"$line\"; done; sleep 2";
        let script = "timeout 60 script --quiet --command \"$LINE\" /dev/null";
        let mut shell = limited("sh");
        let script = format!("({typed}) | TERM=xterm {script}");
        shell
            .args(["-c", &script, "sh"])
            .args(lines)
            .env("LINE", line);
        finish(&mut shell, b"")
    }

    /// Returns the output of the program so far.
    pub(crate) fn logs(&self) -> String {
        let outcome = finish(&mut self.engine.docker(["logs", &self.name]), b"").success();
        let logs = [outcome.stdout, outcome.stderr].concat();
        String::from_utf8_lossy(&logs).into_owned()
    }

    /// Stops the container, and checks that the program ends with 0 before the
    /// engine would kill it, after five seconds.
    pub(crate) fn stop(&self) {
        let words = ["stop", "--time=5", &self.name];
        drop(finish(&mut self.engine.docker(words), b"").success());
        assert_eq!(self.exit_code(), 0, "{}", self.logs());
    }

    /// Checks the answers of the server at the published port 4000: a line for
    /// each path.
    pub(crate) fn answers(&self, answers: &[(&str, &str)]) {
        let address = self.published("4000/tcp");
        for (path, expected) in answers {
            assert_eq!(http_get(&address, path), format!("{expected}\n"), "{path}");
        }
    }

    /// Restarts the same container, with the files that it wrote.
    pub(crate) fn restart(&self) {
        let words = ["restart", &self.name];
        drop(finish(&mut self.engine.docker(words), b"").success());
    }

    /// Waits for the end of the program and returns its exit code.
    pub(crate) fn exit_code(&self) -> i32 {
        let outcome = finish(&mut self.engine.docker(["wait", &self.name]), b"").success();
        let code = outcome.stdout_text().trim_end().parse();
        code.expect("an exit code is a number")
    }

    /// Returns the address of a published port.
    pub(crate) fn published(&self, port: &str) -> String {
        let outcome = finish(&mut self.engine.docker(["port", &self.name, port]), b"").success();
        outcome
            .stdout_text()
            .lines()
            .next()
            .expect("the port is published")
            .to_owned()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(output) = self.engine.docker(["logs", &self.name]).output()
        {
            let logs = [output.stdout, output.stderr].concat();
            note(&format!(
                "logs of {}:\n{}",
                self.name,
                String::from_utf8_lossy(&logs)
            ));
        }
        // A failed removal must not hide the failure of the test.
        drop(
            self.engine
                .docker(["rm", "--force", "--volumes", &self.name])
                .output(),
        );
    }
}

/// Returns the body of `http://address/path`; repeats the request until the
/// server has started.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match http_get_once(address, path) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
                let body = answer
                    .split_once("\r\n\r\n")
                    .map(|(_, body)| body.to_owned());
                return body.expect("an answer has a body");
            }
            other if Instant::now() > deadline => panic!("`{path}` is answered by {other:?}"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn http_get_once(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
