//! Docker engines: images loaded, containers run, both always removed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use fs_err as fs;
use imgbuild_testing::{Outcome, sandbox::finish};

use super::{limited, note, skip, unique};

/// Names the engine that keeps its images in containerd, if there is one.
const CONTAINERD_HOST: &str = "IMGBUILD_DOCKER_CONTAINERD_HOST";

/// An engine that answers.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    /// None is the engine of the environment.
    host: Option<String>,
}

impl Engine {
    /// The engine of the environment; a line says if there is none.
    pub(crate) fn require() -> Option<Self> {
        let engine = Self { host: None };
        if engine.answers() {
            return Some(engine);
        }
        skip("container engine");
        None
    }

    /// The engine with the containerd image store, if the environment names one.
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

    /// Every engine there is; the first is that of the environment. Lines say
    /// which there is not.
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

    /// Whether published ports can be reached from here.
    pub(crate) fn publishes_here(&self) -> bool {
        // The second engine lives in a network of its own.
        self.host.is_none()
    }

    /// `docker` with these arguments, talking to this engine.
    pub(crate) fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = limited("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.args(arguments);
        command
    }

    /// Loads an archive through standard input and checks what `docker load` says.
    ///
    /// The exit code alone means little: with the containerd store it is 0 for
    /// an image whose layers could not be unpacked.
    pub(crate) fn load(&self, archive: &Path, reference: &str) -> Loaded<'_> {
        let loaded = Loaded {
            engine: self,
            reference: reference.to_owned(),
        };
        let mut command = self.docker(["load"]);
        command.stdin(
            fs::File::open(archive)
                .expect("the archive was built")
                .into_file(),
        );
        let outcome = finish(&mut command, b"").success();
        let expected = format!("Loaded image: {reference}\n");
        assert_eq!(outcome.stdout_text(), expected, "{}", outcome.report());
        assert_eq!(outcome.stderr_text(), "", "{}", outcome.report());
        loaded
    }
}

/// An image that the engine has; removed in the end.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    engine: &'a Engine,
    reference: String,
}

impl Loaded<'_> {
    /// An image that something else loaded, to be removed in the end.
    pub(crate) fn adopt<'a>(engine: &'a Engine, reference: &str) -> Loaded<'a> {
        Loaded {
            engine,
            reference: reference.to_owned(),
        }
    }

    /// `docker run` without a network, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(&[], arguments, b"")
    }

    /// As [`Loaded::run`], with options of `docker run` and standard input.
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
        // Of a platform that is not the host's, for one.
        assert!(
            !outcome.stderr_text().contains("WARNING"),
            "{}",
            outcome.report()
        );
        outcome
    }

    /// `docker run --detach` with options and no argument.
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

    /// Writes the image to an archive, as the engine would.
    pub(crate) fn save(&self, archive: &Path) {
        let archive = archive.to_str().expect("a sandbox has a plain name");
        let mut command = self
            .engine
            .docker(["save", "--output", archive, &self.reference]);
        drop(finish(&mut command, b"").success());
    }

    /// A field of `docker image inspect`, by its Go template.
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
        // A failed removal must not hide why the test failed.
        drop(self.engine.docker(words).output());
    }
}

/// A container by its name; removed in the end, its output shown if the test fails.
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

    /// As [`Container::exec`], again until it succeeds: the program takes a while to start.
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

    /// As [`Container::exec`] with a terminal, on which `lines` are typed.
    pub(crate) fn exec_on_terminal(&self, command: &str, lines: &[&str]) -> Outcome {
        let host = self.engine.host.as_ref();
        let host = host.map_or(String::new(), |host| format!("--host {host} "));
        let name = &self.name;
        let line = format!("docker {host}exec --interactive --tty {name} {command}");
        // What is typed before the program reads is lost to its line editor.
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

    /// What the program wrote so far.
    pub(crate) fn logs(&self) -> String {
        let outcome = finish(&mut self.engine.docker(["logs", &self.name]), b"").success();
        let logs = [outcome.stdout, outcome.stderr].concat();
        String::from_utf8_lossy(&logs).into_owned()
    }

    /// `docker stop`: the program ends without an error before the engine would
    /// kill it, five seconds later.
    pub(crate) fn stop(&self) {
        let words = ["stop", "--time=5", &self.name];
        drop(finish(&mut self.engine.docker(words), b"").success());
        assert_eq!(self.exit_code(), 0, "{}", self.logs());
    }

    /// Asks the server at the published port 4000 for paths; each is answered by
    /// a line.
    pub(crate) fn answers(&self, answers: &[(&str, &str)]) {
        let address = self.published("4000/tcp");
        for (path, expected) in answers {
            assert_eq!(http_get(&address, path), format!("{expected}\n"), "{path}");
        }
    }

    /// `docker restart`: the same container, with what it has written.
    pub(crate) fn restart(&self) {
        let words = ["restart", &self.name];
        drop(finish(&mut self.engine.docker(words), b"").success());
    }

    /// Waits until the program has ended.
    pub(crate) fn exit_code(&self) -> i32 {
        let outcome = finish(&mut self.engine.docker(["wait", &self.name]), b"").success();
        let code = outcome.stdout_text().trim_end().parse();
        code.expect("an exit code is a number")
    }

    /// Where a published port can be reached.
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
        // As with images: cleaning up says nothing.
        drop(
            self.engine
                .docker(["rm", "--force", "--volumes", &self.name])
                .output(),
        );
    }
}

/// The body of `http://address/path`, asked again until the server has started.
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
