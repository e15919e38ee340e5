//! The forms in which one program is released: an archive, a package of Debian
//! and a wheel of Python.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::pack::{Packed, ar, gzipped, tar_gz, zip};
use crate::Result;

const SUMMARY: &str = "Container images from a finished build: no daemon, no root, no Dockerfile";
const HOMEPAGE: &str = "https://github.com/imgbuild/imgbuild";

/// What is released for one target.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) version: String,
    /// For example `x86_64-unknown-linux-musl`.
    pub(super) target: String,
    /// The time of all files, in seconds of Unix.
    pub(super) time: u64,
    pub(super) program: Vec<u8>,
    pub(super) manual: Vec<u8>,
    /// The scripts of bash, zsh and fish.
    pub(super) completions: [Vec<u8>; 3],
    /// Licenses and notices, by file name.
    pub(super) legal: Vec<Packed>,
}

impl Contents {
    fn is_static(&self) -> bool {
        self.target.ends_with("-musl")
    }

    fn processor(&self) -> &str {
        self.target.split('-').next().unwrap_or_default()
    }

    pub(super) fn archive_name(&self) -> String {
        format!("imgbuild-v{}-{}.tar.gz", self.version, self.target)
    }

    /// Returns the archive, in the form that `cargo binstall` expects.
    pub(super) fn archive(&self) -> Result<Vec<u8>> {
        let name = self.archive_name();
        let root = name.trim_end_matches(".tar.gz");
        let [bash, zsh, fish] = &self.completions;
        let mut files = vec![
            Packed::program("imgbuild", &self.program[..]),
            Packed::file("imgbuild.1", &self.manual[..]),
            Packed::file("completions/imgbuild.bash", &bash[..]),
            Packed::file("completions/_imgbuild", &zsh[..]),
            Packed::file("completions/imgbuild.fish", &fish[..]),
        ];
        files.extend(self.legal.iter().cloned());
        for file in &mut files {
            file.path = format!("{root}/{}", file.path);
        }
        tar_gz(&files, self.time)
    }

    pub(super) fn debian_name(&self) -> String {
        format!(
            "imgbuild_{}-1_{}.deb",
            self.version,
            self.debian_architecture()
        )
    }

    fn debian_architecture(&self) -> &str {
        match self.processor() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }

    /// Returns the package of Debian (deb(5)).
    pub(super) fn debian(&self) -> Result<Vec<u8>> {
        let [bash, zsh, fish] = &self.completions;
        let share = "./usr/share";
        let mut files = vec![
            Packed::program("./usr/bin/imgbuild", &self.program[..]),
            Packed::file(
                format!("{share}/man/man1/imgbuild.1.gz"),
                gzipped(&self.manual),
            ),
            Packed::file(
                format!("{share}/bash-completion/completions/imgbuild"),
                &bash[..],
            ),
            Packed::file(
                format!("{share}/zsh/vendor-completions/_imgbuild"),
                &zsh[..],
            ),
            Packed::file(
                format!("{share}/fish/vendor_completions.d/imgbuild.fish"),
                &fish[..],
            ),
        ];
        let mut copyright = Vec::new();
        for file in &self.legal {
            copyright.extend_from_slice(&file.bytes);
            copyright.push(b'\n');
        }
        files.push(Packed::file(
            format!("{share}/doc/imgbuild/copyright"),
            copyright,
        ));

        let kibibytes = |file: &Packed| file.bytes.len().div_ceil(1024);
        let size: usize = files.iter().map(kibibytes).sum();
        let depends = if self.is_static() {
            ""
        } else {
            "Depends: libc6, libgcc-s1\n"
        };
        let control = format!(
            "Package: imgbuild\nVersion: {}-1\nArchitecture: {}\nMaintainer: The imgbuild contributors \
             <imgbuild@users.noreply.github.com>\nInstalled-Size: {size}\n{depends}Section: devel\n\
             Priority: optional\nHomepage: {HOMEPAGE}\nDescription: {SUMMARY}\n",
            self.version,
            self.debian_architecture()
        );
        let control = tar_gz(&[Packed::file("./control", control)], self.time)?;
        let data = tar_gz(&files, self.time)?;
        let members = [
            ("debian-binary", &b"2.0\n"[..]),
            ("control.tar.gz", &control),
            ("data.tar.gz", &data),
        ];
        Ok(ar(&members, self.time))
    }

    /// Returns the tags of the wheel: a static program runs with every C library.
    fn wheel_tag(&self) -> String {
        let processor = self.processor();
        if self.is_static() {
            format!("py3-none-manylinux_2_17_{processor}.musllinux_1_1_{processor}")
        } else {
            format!("py3-none-linux_{processor}")
        }
    }

    pub(super) fn wheel_name(&self) -> String {
        format!("imgbuild-{}-{}.whl", self.version, self.wheel_tag())
    }

    /// Returns the wheel, which installs the program beside that of Python.
    pub(super) fn wheel(&self, readme: &str) -> Vec<u8> {
        let version = &self.version;
        let information = format!("imgbuild-{version}.dist-info");
        let script = format!("imgbuild-{version}.data/scripts/imgbuild");
        let mut files = vec![Packed::program(script, &self.program[..])];
        let mut names = String::new();
        for file in &self.legal {
            let path = format!("{information}/licenses/{}", file.path);
            files.push(Packed::file(path, &file.bytes[..]));
            names.push_str(&format!("License-File: {}\n", file.path));
        }
        let metadata = format!(
            "Metadata-Version: 2.4\nName: imgbuild\nVersion: {version}\nSummary: {SUMMARY}\n\
             Project-URL: Source, {HOMEPAGE}\nLicense-Expression: MIT OR Apache-2.0\n{names}\
             Requires-Python: >=3.7\nDescription-Content-Type: text/markdown\n\n{readme}"
        );
        let mut wheel =
            String::from("Wheel-Version: 1.0\nGenerator: cargo-xtask\nRoot-Is-Purelib: false\n");
        let tag = self.wheel_tag();
        let (language, platforms) = tag.rsplit_once('-').unwrap_or_default();
        for platform in platforms.split('.') {
            wheel.push_str(&format!("Tag: {language}-{platform}\n"));
        }
        files.push(Packed::file(format!("{information}/METADATA"), metadata));
        files.push(Packed::file(format!("{information}/WHEEL"), wheel));
        let record = format!("{information}/RECORD");
        let mut lines: String = files.iter().map(recorded).collect();
        lines.push_str(&format!("{record},,\n"));
        files.push(Packed::file(record, lines));
        zip(&files)
    }
}

/// Returns the line of a file in `RECORD`.
fn recorded(file: &Packed) -> String {
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&file.bytes));
    format!("{},sha256={digest},{}\n", file.path, file.bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{command, output};

    fn contents(target: &str) -> Contents {
        Contents {
            version: "1.2.3".to_owned(),
            target: target.to_owned(),
            time: 86_400,
            program: b"#!/bin/sh\necho here\n".to_vec(),
            manual: b".TH imgbuild\n".to_vec(),
            completions: [b"bash".to_vec(), b"zsh".to_vec(), b"fish".to_vec()],
            legal: vec![Packed::file("LICENSE-MIT", "Permission")],
        }
    }

    #[test]
    fn names_follow_the_target() {
        let names = |target| {
            let contents = contents(target);
            [
                contents.archive_name(),
                contents.debian_name(),
                contents.wheel_name(),
            ]
        };
        assert_eq!(
            names("aarch64-unknown-linux-musl"),
            [
                "imgbuild-v1.2.3-aarch64-unknown-linux-musl.tar.gz",
                "imgbuild_1.2.3-1_arm64.deb",
                "imgbuild-1.2.3-py3-none-manylinux_2_17_aarch64.musllinux_1_1_aarch64.whl",
            ]
        );
        // Such a program needs the C library of its builder, or a newer one.
        let wheel = &names("x86_64-unknown-linux-gnu")[2];
        assert_eq!(wheel, "imgbuild-1.2.3-py3-none-linux_x86_64.whl");
    }

    #[test]
    fn dpkg_reads_the_package() {
        if !imgbuild_testing::skip::has_programs(&["dpkg-deb"]) {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("a.deb");
        let contents = contents("x86_64-unknown-linux-musl");
        fs_err::write(&file, contents.debian().unwrap()).unwrap();
        let file = file.to_str().unwrap();
        let fields = output(&mut command(&["dpkg-deb", "--field", file])).unwrap();
        assert!(
            fields.contains("Version: 1.2.3-1\nArchitecture: amd64\n"),
            "{fields}"
        );
        assert!(!fields.contains("Depends"));
        let unpacked = scratch.path().join("root");
        let words = ["dpkg-deb", "--extract", file, unpacked.to_str().unwrap()];
        drop(output(&mut command(&words)).unwrap());
        let program = unpacked.join("usr/bin/imgbuild");
        let printed = output(&mut command(&[program.to_str().unwrap()])).unwrap();
        assert_eq!(printed, "here\n");
        assert!(unpacked.join("usr/share/man/man1/imgbuild.1.gz").is_file());
    }
}
