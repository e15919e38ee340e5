//! Other programs that read what was pushed.

use fs_err as fs;
use imgbuild_testing::{Sandbox, sandbox::finish};

use super::assert_same_blobs;
use super::server::base64;
use crate::support::docker::{Engine, Loaded};
use crate::support::image::result_digest;
use crate::support::{image, limited, program, unique, unique_time};

/// The programs that [`Pushed::assert_read`] needs.
pub(super) const READERS: [&str; 3] = ["skopeo", "podman", "runc"];

/// What the program inside prints when it runs as the image says.
const GREETING: &str = "hello, user 65532\n";

/// An image that was pushed, and built into a layout by the same run.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) reference: String,
    pub(super) digest: String,
}

impl Pushed {
    /// Builds a program that runs, pushes it under a name that no engine knows
    /// yet, and writes the layout `layout`.
    pub(super) fn new(sandbox: &Sandbox, registry: &str, more: &[&str]) -> Self {
        let reference = format!("{registry}/me/hello:{}", unique());
        let release = program::c_release("hello", &["gcc"]);
        let release = release.display().to_string();
        let mtime = unique_time();
        let mut words = vec!["--release", &release, "--tag", &reference];
        words.extend(["--mtime", &mtime, "--output", "oci:layout", "--push"]);
        words.extend(more);
        let digest = image::result_digest(&sandbox.run(words).success());
        Self { reference, digest }
    }

    /// Asserts that this program, skopeo, Docker and podman find what was
    /// built, and that it runs. `password` is `USER:PASSWORD`.
    pub(super) fn assert_read(&self, sandbox: &Sandbox, engine: &Engine, password: Option<&str>) {
        let source = format!("docker://{}", self.reference);
        let layout = sandbox.path("layout");
        let ours = sandbox.run(["copy", &source, "oci:ours"]).success();
        assert_eq!(result_digest(&ours), self.digest);
        assert_same_blobs(&layout, &sandbox.path("ours"));

        let theirs = sandbox.path("theirs");
        let target = format!("oci:{}:1", theirs.display());
        let mut skopeo = limited("skopeo");
        skopeo.args(["copy", "--quiet", "--src-tls-verify=false"]);
        skopeo.args(password.map(|password| format!("--src-creds={password}")));
        drop(finish(skopeo.args([&source, &target]), b"").success());
        assert_same_blobs(&layout, &theirs);

        if engine.publishes_here() {
            self.assert_runs_in_docker(sandbox, engine, password);
        }
        self.assert_runs_in_podman(sandbox, password);
    }

    fn assert_runs_in_docker(&self, sandbox: &Sandbox, engine: &Engine, password: Option<&str>) {
        let reference = &self.reference;
        let mut pull = engine.docker(["pull", "--quiet", reference]);
        if let Some(password) = password {
            let registry = reference.split('/').next().unwrap_or_default();
            let auth = base64(password.as_bytes());
            let config = format!(r#"{{"auths":{{"{registry}":{{"auth":"{auth}"}}}}}}"#);
            fs::create_dir_all(sandbox.path("login")).expect("the sandbox is ours");
            fs::write(sandbox.path("login/config.json"), config).expect("the sandbox is ours");
            pull.env("DOCKER_CONFIG", sandbox.path("login"));
        }
        let pulled = finish(&mut pull, b"").success();
        assert_eq!(pulled.stdout_text().trim_end(), reference);
        let loaded = Loaded::adopt(engine, reference);
        assert_eq!(loaded.run(&[]).success().stdout_text(), GREETING);
        let digests = loaded.inspect("{{json .RepoDigests}}");
        assert!(digests.contains(&self.digest), "{digests}");
    }

    fn assert_runs_in_podman(&self, sandbox: &Sandbox, password: Option<&str>) {
        let store = sandbox.path("store");
        let podman = |words: &[&str]| {
            let mut command = limited("podman");
            // crun refuses a machine that mounts both versions of control groups.
            command.args(["--runtime=runc", "--cgroup-manager=cgroupfs"]);
            command.arg("--root").arg(store.join("root"));
            command.arg("--runroot").arg(store.join("run"));
            command.args(words).current_dir(sandbox.root());
            finish(&mut command, b"")
        };
        let credentials = password.map(|password| format!("--creds={password}"));
        let mut pull = vec!["pull", "--quiet", "--tls-verify=false"];
        pull.extend(credentials.as_deref());
        pull.push(&self.reference);
        drop(podman(&pull).success());
        let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
        let [files, processes] = limits;
        let run = ["run", "--rm", "--network=none", files, processes];
        let ran = podman(&[&run[..], &[&self.reference]].concat());
        drop(podman(&["rmi", "--all", "--force"]));
        drop(podman(&["unmount", "--all"]));
        assert_eq!(ran.success().stdout_text(), GREETING);
    }
}
