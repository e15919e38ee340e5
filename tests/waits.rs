//! Waits: the first signal ends each, and each is told after five seconds.

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use fs_err as fs;
use imgbuild_testing::Sandbox;
use imgbuild_testing::registry::{Behavior, Fault, Silence};
use imgbuild_testing::{FakeRegistry, skip};

use crate::runs;

/// A program that waits for what never comes, and what has to stay for that.
struct Waiting {
    child: Child,
    /// What it says that it waits for.
    says: &'static str,
    _input: Option<ChildStdin>,
    _kept: Vec<fs::File>,
    _sandbox: Sandbox,
    _listener: Option<TcpListener>,
}

impl Waiting {
    fn start(sandbox: Sandbox, says: &'static str, mut command: Command) -> Self {
        let mut child = runs::start(&mut command);
        Self {
            _input: child.stdin.take(),
            child,
            says,
            _kept: Vec::new(),
            _sandbox: sandbox,
            _listener: None,
        }
    }

    fn build(sandbox: Sandbox, says: &'static str, more: &[&str]) -> Self {
        let mut command = sandbox.command(runs::words("release", more));
        command.stdin(Stdio::piped());
        Self::start(sandbox, says, command)
    }
}

/// A release that fills every pipe.
fn with_noise() -> Sandbox {
    let sandbox = runs::with_small_release();
    fs::write(sandbox.path("release/noise"), runs::noise(1 << 20)).unwrap();
    sandbox
}

/// A sandbox whose only engine is a script.
fn with_engine(script: &str) -> Sandbox {
    let mut sandbox = with_noise();
    let directory = sandbox.path("only");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("docker");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.set("PATH", format!("{}:/usr/bin:/bin", directory.display()));
    sandbox
}

fn engines() -> Vec<Waiting> {
    let load = ["--load", "--tag=app:1"];
    [
        ("exec sleep 1000", "`docker info`"),
        ("[ $1 = info ] || exec sleep 1000", "`docker load`"),
        (
            "[ $1 = info ] || { cat >/dev/null; exec sleep 1000; }",
            "`docker load`",
        ),
    ]
    .map(|(script, says)| Waiting::build(with_engine(script), says, &load))
    .into()
}

fn outputs() -> Vec<Waiting> {
    let sandbox = with_noise();
    sandbox.tree("layout", "").unwrap();
    let layout = fs::File::open(sandbox.path("layout")).unwrap();
    let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(sandbox.path("layout/oci-layout"), marker).unwrap();
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    fs::write(sandbox.path("layout/index.json"), index).unwrap();
    layout.file().lock().unwrap();
    let mut locked = Waiting::build(
        sandbox,
        "another program that writes",
        &["-o", "oci:layout"],
    );
    locked._kept = vec![layout];

    let sandbox = runs::sandbox();
    sandbox.tree("layout", "").unwrap();
    let layout = fs::File::open(sandbox.path("layout")).unwrap();
    fs::write(sandbox.path("layout/oci-layout"), marker).unwrap();
    fs::write(sandbox.path("layout/index.json"), index).unwrap();
    layout.file().lock().unwrap();
    let command = sandbox.command(["cache", "prune", "--layout=layout"]);
    let mut pruned = Waiting::start(sandbox, "another program that writes", command);
    pruned._kept = vec![layout];

    let standard = with_noise();
    let standard = Waiting::build(
        standard,
        "a program that reads standard output",
        &["-o", "-"],
    );

    let sandbox = with_noise();
    sandbox.tree(".", "fifo pipe").unwrap();
    let unopened = Waiting::build(sandbox, "pipe`", &["-o=docker-archive:pipe"]);

    let sandbox = with_noise();
    sandbox.tree(".", "fifo pipe").unwrap();
    let path = sandbox.path("pipe");
    let both = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut unread = Waiting::build(sandbox, "pipe`", &["-o=docker-archive:pipe"]);
    unread._kept = vec![both];

    let files = ["--digest-file=pipe", "--iidfile=pipe"].map(|flag| {
        let sandbox = runs::with_small_release();
        sandbox.tree(".", "fifo pipe").unwrap();
        Waiting::build(sandbox, "pipe`", &[flag, "-o=x.tar"])
    });
    let mut all = vec![locked, pruned, standard, unopened, unread];
    all.extend(files);
    all
}

fn inputs() -> Vec<Waiting> {
    let push = ["--push", "--tag=127.0.0.1:1/app"];
    let password = [&push[..], &["--username=me", "--password-stdin"]].concat();
    let password = Waiting::build(with_noise(), "the password on standard input", &password);
    let with_fifo = || {
        let sandbox = with_noise();
        sandbox.tree(".", "fifo config.json").unwrap();
        sandbox
    };
    let file = [&push[..], &["--ca-file=config.json"]].concat();
    let authority = Waiting::build(with_fifo(), "`config.json`", &file);
    let variables = ["--env-file=config.json", "-o=x.tar"];
    let variables = Waiting::build(with_fifo(), "`config.json`", &variables);
    let mut sandbox = with_fifo();
    sandbox.set("DOCKER_CONFIG", sandbox.root().to_owned());
    let login = Waiting::build(sandbox, "config.json`", &push);
    let added = ["--cacert=config.json", "-o=x.tar"];
    let added = Waiting::build(with_fifo(), "`config.json`", &added);
    let sandbox = with_fifo();
    let command = sandbox.command(["certificates", "config.json"]);
    let listed = Waiting::start(sandbox, "`config.json`", command);
    vec![password, authority, variables, login, added, listed]
}

fn registry() -> Waiting {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap();
    let source = format!("docker://{name}/app");
    let sandbox = runs::sandbox();
    let command = sandbox.command(["copy", &source, "oci:x"]);
    let mut waiting = Waiting::start(sandbox, "`127.0.0.1:", command);
    waiting._listener = Some(listener);
    waiting
}

fn all() -> Vec<Waiting> {
    let mut all = engines();
    all.extend(outputs());
    all.extend(inputs());
    all.push(registry());
    all
}

/// Returns what a program says until it tells a wait.
fn told(child: &mut Child) -> String {
    let mut said = Vec::new();
    let mut stderr = child.stderr.take().unwrap();
    let mut byte = [0];
    while stderr.read(&mut byte).unwrap() > 0 {
        said.push(byte[0]);
        let text = String::from_utf8_lossy(&said);
        if text.lines().any(|line| line.starts_with("waiting for ")) && text.ends_with('\n') {
            break;
        }
    }
    child.stderr = Some(stderr);
    String::from_utf8(said).unwrap()
}

#[test]
fn a_wait_is_told_after_a_while_and_ended_by_the_first_signal() {
    let mut quiet = with_engine("exec sleep 1000");
    quiet.set("IGNORED", "1");
    let quiet = Waiting::build(quiet, "", &["--load", "--tag=app:1", "--quiet"]);
    for Waiting {
        mut child,
        says,
        _input,
        _kept,
        _sandbox,
        _listener,
    } in all()
    {
        let said = told(&mut child);
        let line = said.lines().last().unwrap_or_default();
        assert!(
            line.starts_with("waiting for ") && line.contains(says),
            "{says}: {said}"
        );
        runs::signal(&child, "TERM");
        assert!(runs::becomes(|| child.try_wait().unwrap().is_some()));
        let (status, said) = runs::end(child);
        assert_eq!(status.code(), Some(130), "{says}: {said}");
        assert!(said.contains("error: interrupted"), "{says}: {said}");
    }
    runs::signal(&quiet.child, "TERM");
    let (status, said) = runs::end(quiet.child);
    assert_eq!(
        (status.code(), said.as_str()),
        (Some(130), "error: interrupted\n")
    );
}

#[test]
fn a_registry_that_says_nothing_is_given_up_after_the_timeout() {
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let mute = Fault::Mute(Silence::Complete);
    registry.fail(usize::MAX, "GET", "/manifests/", mute);
    let sandbox = runs::sandbox();
    let name = registry.name();
    let source = format!("docker://{name}/app:1");
    let outcome = sandbox.run(["copy", "--timeout=600ms", &source, "oci:x"]);
    assert_eq!(outcome.code, Some(1));
    let said = outcome.stderr_text();
    let error = format!(
        "error: cannot read the manifest `1` at `{name}/app`: \
         waiting for the response timed out after 300ms in each of 2 attempts\n\
         hint: run it again, or wait longer with `--timeout`, for example `--timeout 5m`: \
         each of two attempts has half of this time\n"
    );
    assert!(said.ends_with(&error), "{said}");
    for time in ["0s", "2days", "99ms"] {
        let timeout = format!("--timeout={time}");
        let outcome = sandbox.run(["copy", &timeout, &source, "oci:x"]).exited(2);
        let said = outcome.stderr_text();
        assert!(
            said.contains("it must be at least 100ms and at most 1day"),
            "{said}"
        );
    }
}

#[test]
fn an_engine_that_fails_is_reported_with_its_reason() {
    let dead = "printf 'Client:\nServer:\nERROR: Cannot connect to x\nerrors pretty printing info\n'; exit 1";
    for (script, more, expected) in [
        (
            dead,
            "-q",
            "does not reach its engine: ERROR: Cannot connect to x\n",
        ),
        (
            "exit 3",
            "-q",
            "does not reach its engine: it printed nothing (exit status: 3)\nhint: start the engine of `docker`",
        ),
        (
            "[ $1 = info ] || { cat >/dev/null; exit 3; }",
            "-q",
            "`docker load` did not load the image: it printed nothing (exit status: 3)\n",
        ),
        (
            "exec sleep 1000",
            "--timeout=600ms",
            "cannot load the image: the engine did not answer `docker info` within 600ms\n",
        ),
    ] {
        let sandbox = with_engine(script);
        let load = runs::words("release", &["--load", "--tag=app:1", more]);
        let outcome = sandbox.run(load).exited(1);
        let said = outcome.stderr_text();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn without_docker_the_hint_is_about_podman() {
    let mut sandbox = with_engine("exit 3");
    fs::rename(sandbox.path("only/docker"), sandbox.path("only/podman")).unwrap();
    sandbox.set("PATH", sandbox.path("only"));
    let load = runs::words("release", &["--load", "--tag=app:1", "-q"]);
    let outcome = sandbox.run(load).exited(1);
    let said = outcome.stderr_text();
    let expected = "`podman` does not reach its engine: it printed nothing (exit status: 3)\n\
         hint: check what `podman info` prints, or write an archive with `--output FILE.tar`\n";
    assert!(said.ends_with(expected), "{said}");
}

/// Runs the program as a user who can have only this many processes and threads.
fn limited(
    sandbox: &Sandbox,
    user: u32,
    count: u32,
    more: &[&str],
) -> (std::process::ExitStatus, String) {
    let words = runs::words("release", more);
    let program = sandbox.root().with_file_name("imgbuild-for-all");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_imgbuild"), &program).unwrap();
    }
    let script = format!(
        "exec setpriv --reuid={user} --regid={user} --clear-groups \
         prlimit --nproc={count} \"$@\""
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh"]).arg(program).args(words);
    command.current_dir(sandbox.root()).stdin(Stdio::null());
    runs::end(runs::start(&mut command))
}

#[test]
fn images_are_built_with_the_threads_that_there_are() {
    if !runs::is_root() {
        return skip::skip_always("not root");
    }
    if !skip::has_programs(&["setpriv", "prlimit"]) {
        return;
    }
    let sandbox = with_noise();
    runs::open_to_all(&sandbox);
    // More names than one thread looks at.
    for number in 0..3000 {
        fs::write(sandbox.path(format!("release/{number}")), "").unwrap();
    }
    for (index, (name, more)) in [
        ("a.tar", &["--output=a.tar"][..]),
        ("a.tar.gz", &["--output=a.tar.gz"]),
        ("layout", &["--output=oci:layout", "--compression=gzip"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut digests = Vec::new();
        for count in [1, 2, 3, 5, 100] {
            let user = 61_000 + u32::try_from(index).unwrap();
            let mut all = more.to_vec();
            all.extend(["--threads=4", "--digest-file=digest"]);
            let (status, said) = limited(&sandbox, user, count, &all);
            assert!(status.success(), "{name} with {count}: {said}");
            digests.push(fs::read_to_string(sandbox.path("digest")).unwrap());
            let path = sandbox.path(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
            fs::remove_file(sandbox.path("digest")).unwrap();
        }
        digests.dedup();
        assert_eq!(digests.len(), 1, "{name}");
    }
}

#[test]
fn memory_that_cannot_be_had_is_one_line() {
    if !skip::has_programs(&["prlimit"]) {
        return;
    }
    let sandbox = with_noise();
    let run = |mebibytes: u32, words: &[OsString]| {
        let limit = format!("--as={}", mebibytes << 20);
        let mut command = runs::wrapped(&sandbox, &["prlimit", &limit], words);
        runs::end(runs::start(&mut command))
    };
    let output = ["--output=a.tar.gz", "--quiet"];
    let words = runs::words("release", &[&output[..], &["--threads=64"]].concat());
    let mut failures = 0;
    // Without some of it, the program itself cannot be loaded.
    for mebibytes in 10..70 {
        if !run(mebibytes, &["--version".into()]).0.success() {
            continue;
        }
        let (status, said) = run(mebibytes, &words);
        if !status.success() {
            failures += 1;
            assert_eq!(status.code(), Some(1), "{mebibytes}: {said}");
            // The standard library and the C library fail in their own words.
            assert!(!said.contains("internal error"), "{mebibytes}: {said}");
            assert!(!said.contains("stack backtrace"), "{mebibytes}: {said}");
        }
    }
    assert!(failures > 0, "no limit was small enough");
    // More threads may reserve all addresses for themselves.
    let words = runs::words("release", &[&output[..], &["--threads=2"]].concat());
    let (status, said) = run(400, &words);
    assert!(status.success(), "{status} {said}");
}
