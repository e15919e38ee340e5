//! The golden digests on processors that this machine does not have.

use crate::Result;
use crate::process::{self, command, is_installed, succeeds};

/// A processor, and how programs for it are built and started.
struct Processor {
    title: &'static str,
    target: &'static str,
    emulator: &'static str,
    /// In the environment of cargo, beside the emulator.
    linker: Option<(&'static str, &'static str)>,
    runner: &'static str,
}

const PROCESSORS: [Processor; 2] = [
    Processor {
        title: "x86-64 without AVX2, PCLMULQDQ and SHA",
        target: "x86_64-unknown-linux-gnu",
        emulator: "qemu-x86_64-static -cpu Nehalem",
        linker: None,
        runner: "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
    },
    Processor {
        title: "aarch64",
        target: "aarch64-unknown-linux-musl",
        emulator: "qemu-aarch64-static",
        // The toolchain brings it, and musl's start files: no cross compiler is needed.
        linker: Some(("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")),
        runner: "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER",
    },
];

/// The tests that hold digests: of compressed blocks, and of whole images.
const TESTS: [&[&str]; 2] = [
    &["-p", "imgbuild-deflate", "--test", "golden"],
    &[
        "-p",
        "imgbuild",
        "--test",
        "tests",
        "--",
        "goldens::",
        "--skip",
        "old_processor",
    ],
];

pub(crate) fn run() -> Result {
    for processor in &PROCESSORS {
        println!("== {}", processor.title);
        processor.check()?;
        for test in TESTS {
            process::run(&mut processor.test(test))?;
        }
    }
    Ok(())
}

impl Processor {
    fn check(&self) -> Result {
        let program = self.emulator.split(' ').next().unwrap_or_default();
        if !is_installed(program) {
            return Err(format!("`{program}` is not installed (Debian: qemu-user-static)").into());
        }
        let target = self.target;
        let library = format!("rustc --print target-libdir --target {target}");
        match succeeds(&["/bin/sh", "-c", &format!("test -d \"$({library})\"")]) {
            true => Ok(()),
            false => {
                Err(format!("no standard library for it (`rustup target add {target}`)").into())
            }
        }
    }

    fn test(&self, words: &[&str]) -> std::process::Command {
        let mut test = command(&[
            "cargo",
            "test",
            "--release",
            "--locked",
            "--target",
            self.target,
        ]);
        test.args(words)
            .env(self.runner, self.emulator)
            .env("IMGBUILD_EMULATOR", self.emulator)
            .envs(self.linker);
        test
    }
}
