//! Third-party readers, run on an archive and a layout of imgbuild.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::process::{self, command, is_installed, succeeds, workspace};

/// The options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct InteropArguments {
    /// An archive in the form of `docker save` [default: one is made]
    archive: Option<PathBuf>,
}

/// A reader: its program, its title, and its script.
///
/// `$ARCHIVE` is the archive, `$LAYOUT` the same image as a layout with the tag
/// `1`, `$SCRATCH` an empty directory.
struct Reader {
    program: &'static str,
    name: &'static str,
    script: &'static str,
}

const READERS: [Reader; 12] = [
    Reader {
        program: "tar",
        name: "tar: list",
        script: "tar -tvf \"$ARCHIVE\"",
    },
    Reader {
        program: "bsdtar",
        name: "bsdtar: list",
        script: "bsdtar -tvf \"$ARCHIVE\"",
    },
    Reader {
        program: "python3",
        name: "Python tarfile: list",
        script: "python3 -m tarfile -l \"$ARCHIVE\"",
    },
    Reader {
        program: "skopeo",
        name: "skopeo: inspect docker-archive",
        script: "skopeo inspect docker-archive:\"$ARCHIVE\"",
    },
    Reader {
        program: "skopeo",
        name: "skopeo: inspect oci-archive",
        script: "skopeo inspect oci-archive:\"$ARCHIVE\"",
    },
    Reader {
        program: "skopeo",
        name: "skopeo: copy docker-archive to dir",
        script: "skopeo --insecure-policy copy docker-archive:\"$ARCHIVE\" dir:\"$SCRATCH/dir\"",
    },
    Reader {
        program: "skopeo",
        name: "skopeo: copy layout to dir",
        script: "skopeo --insecure-policy copy oci:\"$LAYOUT\":1 dir:\"$SCRATCH/dir\"",
    },
    Reader {
        program: "umoci",
        name: "umoci: unpack layout",
        script: "umoci unpack --rootless --image \"$LAYOUT\":1 \"$SCRATCH/bundle\"",
    },
    Reader {
        program: "crane",
        name: "crane: validate",
        script: "crane validate --tarball \"$ARCHIVE\"",
    },
    Reader {
        program: "buildah",
        name: "buildah: from oci-archive",
        script: "b() { buildah --root \"$SCRATCH/root\" --runroot \"$SCRATCH/run\" --storage-driver vfs \"$@\"; }\n\
                 b from oci-archive:\"$ARCHIVE\" && b rm -a && b rmi -af",
    },
    Reader {
        program: "podman",
        name: "podman: load",
        script: "podman --root \"$SCRATCH/root\" --runroot \"$SCRATCH/run\" --storage-driver vfs load -i \"$ARCHIVE\"",
    },
    // An engine may print an error and exit with 0.
    Reader {
        program: "docker",
        name: "docker: load",
        script: "said=$(docker load -i \"$ARCHIVE\" 2>&1)\n\
                 echo \"$said\"\n\
                 case $said in *rror*) exit 1 ;; *'Loaded image: '*) docker image rm -f \"${said##*Loaded image: }\" ;; *) exit 1 ;; esac",
    },
];

pub(crate) fn run(arguments: &InteropArguments) -> Result {
    let scratch = tempfile::tempdir()?;
    let (archive, layout) = match &arguments.archive {
        Some(archive) => (
            fs_err::canonicalize(archive)?,
            unpack(archive, scratch.path())?,
        ),
        None => make(scratch.path())?,
    };
    let mut failures = 0;
    for reader in &READERS {
        let is_there = is_installed(reader.program)
            && (reader.program != "docker" || succeeds(&["docker", "info"]));
        if !is_there {
            println!("not installed  {}", reader.name);
            continue;
        }
        match reader.read(&archive, &layout)? {
            None => println!("ok             {}", reader.name),
            Some(output) => {
                println!("FAILED         {}\n{output}", reader.name);
                failures += 1;
            }
        }
    }
    if failures > 0 {
        return Err(format!("{failures} readers failed").into());
    }
    Ok(())
}

impl Reader {
    /// Returns the output of the reader, if it failed.
    fn read(&self, archive: &Path, layout: &Path) -> Result<Option<String>> {
        let scratch = tempfile::tempdir()?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", self.script]).stdin(Stdio::null());
        shell
            .env("ARCHIVE", archive)
            .env("LAYOUT", layout)
            .env("SCRATCH", scratch.path());
        let output = shell.output()?;
        if output.status.success() {
            return Ok(None);
        }
        let output = [output.stdout, output.stderr].concat();
        Ok(Some(String::from_utf8_lossy(&output).into_owned()))
    }
}

/// Unpacks the layout in the archive; its tag becomes `1`.
fn unpack(archive: &Path, scratch: &Path) -> Result<PathBuf> {
    let layout = scratch.join("layout");
    fs_err::create_dir(&layout)?;
    process::run(
        Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&layout),
    )?;
    let index = fs_err::read_to_string(layout.join("index.json"))?;
    fs_err::write(layout.join("index.json"), with_tag(&index))?;
    Ok(layout)
}

/// Replaces the first tag of an index.
fn with_tag(index: &str) -> String {
    const KEY: &str = "\"org.opencontainers.image.ref.name\":\"";
    match index
        .split_once(KEY)
        .and_then(|(before, rest)| Some((before, rest.split_once('"')?.1)))
    {
        Some((before, after)) => format!("{before}{KEY}1\"{after}"),
        None => index.to_owned(),
    }
}

/// Builds an image of a release with unusual names and all kinds of links.
fn make(scratch: &Path) -> Result<(PathBuf, PathBuf)> {
    let release = scratch.join("release");
    let long = format!("share/{}/{}", "directory".repeat(12), "name".repeat(30));
    for (name, content) in [
        ("bin/hello", "#!/bin/sh\necho hello\n"),
        ("share/Grüße und\nZeilen", "text"),
        ("share/empty", ""),
        (&long, "long"),
    ] {
        let path = release.join(name);
        fs_err::create_dir_all(path.parent().unwrap_or(&release))?;
        fs_err::write(path, content)?;
    }
    fs_err::os::unix::fs::symlink("../share/empty", release.join("bin/link"))?;
    fs_err::hard_link(release.join("bin/hello"), release.join("bin/again"))?;
    process::run(&mut command(&[
        "cargo", "build", "--locked", "-p", "imgbuild",
    ]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let (archive, layout) = (scratch.join("image.tar"), scratch.join("layout"));
    let mut imgbuild = Command::new(workspace().join(target).join("debug/imgbuild"));
    imgbuild
        .arg("--release")
        .arg(&release)
        .arg("--output")
        .arg(&archive);
    imgbuild
        .arg("--output")
        .arg(format!("oci:{}", layout.display()));
    imgbuild.args([
        "--kind",
        "tree",
        "--runtime",
        "none",
        "--no-entrypoint",
        "--cacert",
    ]);
    imgbuild.args(["--quiet", "--tag", "imgbuild-interop:1"]);
    process::run(imgbuild.stdout(Stdio::null()))?;
    Ok((archive, layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_index_is_replaced() {
        let index = r#"{"annotations":{"org.opencontainers.image.ref.name":"latest"}}"#;
        assert_eq!(
            with_tag(index),
            r#"{"annotations":{"org.opencontainers.image.ref.name":"1"}}"#
        );
        assert_eq!(with_tag("{}"), "{}");
    }

    #[test]
    fn a_reader_that_fails_returns_its_output() {
        let reader = Reader {
            program: "sh",
            name: "a reader",
            script: "test \"$ARCHIVE\" = /a && test -d \"$SCRATCH\" && echo bad header >&2; exit 1",
        };
        let output = reader.read(Path::new("/a"), Path::new("/b")).unwrap();
        assert_eq!(output.as_deref(), Some("bad header\n"));
        let reader = Reader {
            script: "true",
            ..reader
        };
        assert_eq!(reader.read(Path::new("/a"), Path::new("/b")).unwrap(), None);
    }
}
