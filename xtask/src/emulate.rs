//! Checks the golden digests on other processors, by emulation.

use crate::Result;
use crate::process::{self, command, has_standard_library, is_installed};

/// A processor, with the target and emulator of its programs.
struct Processor {
    title: &'static str,
    target: &'static str,
    emulator: &'static str,
    /// The variable of Cargo for the linker, and its value.
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
        // Part of the toolchain, with the start files of musl: no cross compiler is needed.
        linker: Some(("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld")),
        runner: "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER",
    },
];

/// The tests with digests of compressed blocks and of whole images.
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
        if !has_standard_library(target) {
            let hint = format!("rustup target add {target}");
            return Err(format!("no standard library for {target} (`{hint}`)").into());
        }
        Ok(())
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
