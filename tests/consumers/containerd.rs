//! containerd through `ctr`, with a daemon in the sandbox.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox, sandbox::finish};

use super::indexes::{indexed, is_for_this_machine};
use super::{GREETING, command_in, everywhere};
use crate::support::{has_programs, unique};

/// A private daemon, stopped on drop.
struct Containerd<'a> {
    sandbox: &'a Sandbox,
    process: Child,
    address: String,
}

impl<'a> Containerd<'a> {
    fn start(sandbox: &'a Sandbox) -> Self {
        let place = |name: &str| sandbox.path("containerd").join(name).display().to_string();
        fs::create_dir(sandbox.path("containerd")).expect("the sandbox is ours");
        let address = place("socket");
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {address:?}\n",
            place("root"),
            place("state"),
        );
        fs::write(place("config.toml"), configuration).expect("the sandbox is ours");
        let log = fs::File::create(place("log"))
            .expect("the sandbox is ours")
            .into_file();
        let mut command = Command::new("containerd");
        command
            .args(["--config", &place("config.toml")])
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("containerd is installed");
        let daemon = Self {
            sandbox,
            process,
            address,
        };
        daemon.await_start(&place("log"));
        daemon
    }

    fn await_start(&self, log: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.ctr(&["version"]).code != Some(0) {
            let log = fs::read_to_string(log).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "containerd does not answer:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ctr(&self, words: &[&str]) -> Outcome {
        let words = [
            &["--address", &self.address, "--namespace", "imgbuild-test"],
            words,
        ]
        .concat();
        finish(&mut command_in(self.sandbox, "ctr", &words), b"")
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // It unmounts its file systems only on SIGTERM. `kill` is built into the
        // shell, and its package may be missing.
        let ask = format!("kill {}", self.process.id());
        drop(Command::new("sh").args(["-c", &ask]).status());
        drop(self.process.wait());
    }
}

#[test]
fn containerd_imports_every_archive_under_our_digest_and_runs_it() {
    if !has_programs(&["containerd", "ctr", "runc"]) {
        return;
    }
    let images = everywhere("containerd");
    let reference = images.built.reference.as_str();
    let daemon = Containerd::start(&images.built.sandbox);
    for (archive, keeps_digest) in [
        (&images.hybrid, true),
        (&images.oci_archive, true),
        (&images.docker_archive, false),
    ] {
        let archive = archive.display().to_string();
        drop(daemon.ctr(&["images", "import", &archive]).success());
        let listed = daemon.ctr(&["images", "list"]).success();
        let line = listed
            .stdout_text()
            .lines()
            .find(|line| line.starts_with(reference));
        let line = line.unwrap_or_else(|| panic!("{archive}: {}", listed.report()));
        if keeps_digest {
            assert!(line.contains(&images.built.digest), "{archive}: {line}");
        }
        let container = format!("imgbuild-test-{}", unique());
        let run = daemon
            .ctr(&["run", "--rm", reference, &container])
            .success();
        assert_eq!(run.stdout_text(), GREETING, "{archive}");
        drop(
            daemon
                .ctr(&["images", "remove", "--sync", reference])
                .success(),
        );
    }
}

#[test]
fn containerd_imports_an_index_under_our_digest_and_runs_its_image() {
    if !has_programs(&["containerd", "ctr", "runc"]) || !is_for_this_machine() {
        return;
    }
    let images = indexed("containerd-several", &[]);
    let daemon = Containerd::start(&images.sandbox);
    let archive = images.archive.display().to_string();
    drop(daemon.ctr(&["images", "import", &archive]).success());
    let listed = daemon.ctr(&["images", "list"]).success();
    let mut lines = listed.stdout_text().lines();
    let line = lines.find(|line| line.starts_with(&images.reference));
    let line = line.unwrap_or_else(|| panic!("{}", listed.report()));
    assert!(line.contains(&images.digest), "{line}");
    assert!(line.contains("linux/amd64,linux/arm64"), "{line}");
    let container = format!("imgbuild-test-{}", unique());
    let words = ["run", "--rm", &images.reference, &container];
    assert_eq!(daemon.ctr(&words).success().stdout_text(), GREETING);
}
