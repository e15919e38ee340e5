//! Installs each output of `target/dist` on a fresh Debian system without Rust
//! and network, and builds an image there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use super::{directory, names};
use crate::Result;
use crate::process::{self, command, is_installed, output, succeeds};

/// The longest time from unpacking to the image on an idle machine.
const LIMIT: Duration = Duration::from_secs(1);

/// The name of the image in the engine of this machine.
fn image_name() -> String {
    format!("imgbuild-dist-check-{}:latest", std::process::id())
}

/// A fresh Debian system with the outputs in `/dist`, and a program in `/release`.
struct System {
    root: PathBuf,
    version: String,
}

pub(super) fn run(version: &str) -> Result {
    if !is_installed("debootstrap") {
        return Err("`debootstrap` is not installed (Debian: debootstrap)".into());
    }
    let scratch = tempfile::tempdir()?;
    let system = System::make(scratch.path().join("root"), version)?;
    let archive = system.archive()?;
    system.check_time(&archive)?;

    let digests = [
        ("archive", format!("/{archive}/imgbuild")),
        ("package of Debian", system.debian()?),
        ("wheel", system.wheel()?),
        ("install.sh", system.script()?),
    ]
    .map(|(name, program)| system.digest_by(name, &program));
    let digests: Vec<String> = digests.into_iter().collect::<Result<_>>()?;
    if digests.iter().any(|digest| *digest != digests[0]) {
        return Err(format!("the programs built other images: {digests:?}").into());
    }
    system.check_damage()?;
    let program = system.root.join(&archive).join("imgbuild");
    load(&system.root.join("image.tar"), &program)?;
    load_own(version, &program, scratch.path())
}

impl System {
    fn make(root: PathBuf, version: &str) -> Result<Self> {
        let mut bootstrap = command(&[
            "debootstrap",
            "--variant=minbase",
            "--include=curl,python3-venv",
            "bookworm",
        ]);
        println!("== a fresh Debian 12");
        output(bootstrap.arg(&root))?;
        let release = root.join("release");
        fs::create_dir(&release)?;
        // A program of about 5 MB with shared libraries.
        fs::copy(root.join("usr/bin/python3.11"), release.join("server"))?;
        let dist = root.join("dist");
        fs::create_dir(&dist)?;
        for name in names(&directory())? {
            fs::copy(directory().join(&name), dist.join(&name))?;
        }
        let version = version.to_owned();
        Ok(Self { root, version })
    }

    /// Runs a script on the system, without a network, as a user without privileges or as root.
    fn shell(&self, user: &str, script: &str) -> Result<String> {
        let words = ["unshare", "--net", "chroot", "--userspec", user];
        let mut shell = command(&words);
        shell.arg(&self.root).args(["sh", "-euc", script]);
        shell
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(output(shell.env("HOME", "/tmp"))?.trim_end().to_owned())
    }

    /// Returns the name of the output that starts and ends so.
    fn named(&self, start: &str, end: &str) -> Result<String> {
        let names = names(&directory())?;
        let mut fits = names.into_iter().filter(|name| {
            let is_here = name.contains(std::env::consts::ARCH) || !end.ends_with(".gz");
            name.starts_with(start) && name.ends_with(end) && is_here
        });
        fits.next()
            .ok_or_else(|| format!("target/dist has no {start}…{end}").into())
    }

    /// Unpacks the archive, and returns the name of its directory.
    fn archive(&self) -> Result<String> {
        let name = self.named(&format!("imgbuild-v{}", self.version), ".tar.gz")?;
        self.shell("0:0", &format!("tar -xzf /dist/{name} -C /"))?;
        Ok(name.trim_end_matches(".tar.gz").to_owned())
    }

    /// Measures the time from the archive to a first image.
    fn check_time(&self, archive: &str) -> Result {
        let script = format!(
            "rm -rf /tmp/first && mkdir /tmp/first && cd /tmp/first && start=$(date +%s%N)
            tar -xzf /dist/{archive}.tar.gz
            {archive}/imgbuild --quiet --release /release --cacert --output first.tar >/dev/null
            echo $(($(date +%s%N) - start))"
        );
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let nanoseconds = self.shell("65534:65534", &script)?.parse()?;
            best = best.min(Duration::from_nanos(nanoseconds));
        }
        let limit = LIMIT.mul_f64(load_average()?.max(1.0));
        let (took, allowed) = (best.as_millis(), limit.as_millis());
        println!("from unpacking to the image: {took} ms (at most {allowed} under this load)");
        if best > limit {
            return Err(format!("this took more than {allowed} ms").into());
        }
        Ok(())
    }

    fn debian(&self) -> Result<String> {
        let name = self.named("imgbuild_", ".deb")?;
        self.shell("0:0", &format!("dpkg --install /dist/{name} >&2"))?;
        Ok("/usr/bin/imgbuild".to_owned())
    }

    fn wheel(&self) -> Result<String> {
        let name = self.named("imgbuild-", ".whl")?;
        let script = format!(
            "python3 -m venv /venv && /venv/bin/pip install --quiet --no-cache-dir --no-index /dist/{name}"
        );
        self.shell("0:0", &script)?;
        Ok("/venv/bin/imgbuild".to_owned())
    }

    fn script(&self) -> Result<String> {
        let script = "export IMGBUILD_DOWNLOAD_URL=file:///dist; sh /dist/install.sh >&2";
        self.shell("65534:65534", script)?;
        Ok("/tmp/.local/bin/imgbuild".to_owned())
    }

    /// Builds an image with a program, and returns its digest.
    fn digest_by(&self, name: &str, program: &str) -> Result<String> {
        let tag = image_name();
        let script = format!(
            "{program} --quiet --release /release --cacert --tag {tag} --output /image.tar"
        );
        let digest = self.shell("0:0", &script)?;
        println!("{name}: {digest}");
        Ok(digest)
    }

    /// Checks that a damaged archive is refused.
    fn check_damage(&self) -> Result {
        let script = "mkdir /tmp/damaged && cp /dist/*.tar.gz /tmp/damaged
            for file in /tmp/damaged/*; do echo >>\"$file\"; done
            export IMGBUILD_DOWNLOAD_URL=file:///tmp/damaged IMGBUILD_INSTALL_DIR=/tmp/none
            ! sh /dist/install.sh 2>/tmp/message
            test ! -e /tmp/none && grep -q 'nothing was installed' /tmp/message";
        self.shell("65534:65534", script)?;
        println!("install.sh refuses a damaged archive");
        Ok(())
    }
}

/// Returns the average number of programs that run or wait, for each processor.
fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let running: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(running / std::thread::available_parallelism()?.get() as f64)
}

/// Loads an archive into the engine of this machine, and runs it.
fn load(archive: &Path, program: &Path) -> Result {
    process::run(command(&[&program.to_string_lossy(), "validate"]).arg(archive))?;
    if !is_installed("docker") || !succeeds(&["docker", "info"]) {
        println!("note: no engine here loads {}", archive.display());
        return Ok(());
    }
    let name = image_name();
    process::run(command(&["docker", "load", "--quiet", "--input"]).arg(archive))?;
    let ended = process::run(&mut command(&["docker", "run", "--rm", &name, "--version"]));
    drop(output(&mut command(&[
        "docker", "image", "rm", "--force", &name,
    ]))?);
    ended
}

/// Loads the image of imgbuild, under another name.
fn load_own(version: &str, program: &Path, scratch: &Path) -> Result {
    let own = directory().join(format!("imgbuild-v{version}-image.tar"));
    let copied = scratch.join("own.tar");
    let mut copy = command(&[&program.to_string_lossy(), "copy", "--quiet"]);
    copy.arg(format!("oci-archive:{}", own.display()));
    copy.arg(format!(
        "docker-archive:{}:{}",
        copied.display(),
        image_name()
    ));
    process::run(&mut copy)?;
    load(&copied, program)
}
