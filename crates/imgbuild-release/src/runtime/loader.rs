//! Dynamic loaders: glibc's and musl's, and what each takes and where it looks.

use object::elf;
use serde::Serialize;

use crate::elf::{Class, Elf, Endianness};

/// The C library that a program was built for. Each has its own loader, and
/// neither can load what was built for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// The GNU C library, and any loader that is not musl's.
    Glibc,
    /// musl, the C library of Alpine.
    Musl,
}

impl std::fmt::Display for Flavor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

impl Flavor {
    pub(super) fn of_interpreter(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with("ld-musl-") {
            Self::Musl
        } else {
            Self::Glibc
        }
    }

    /// Returns the C library by a file's loader, name and needed libraries; `None`
    /// for a file that works with both.
    pub(crate) fn of(file: &Elf) -> Option<Self> {
        if let Some(interpreter) = &file.interpreter {
            return Some(Self::of_interpreter(interpreter));
        }
        file.soname
            .iter()
            .chain(&file.needed)
            .find_map(|name| Self::of_library(name))
    }

    fn of_library(name: &str) -> Option<Self> {
        const GLIBC: [&str; 6] = [
            "libc.so.",
            "libm.so.",
            "libpthread.so.",
            "libdl.so.",
            "ld-linux",
            "ld64.so.",
        ];
        let starts_with_one_of = |known: &[&str]| known.iter().any(|it| name.starts_with(it));
        // `libc.so` is what musl's linker takes for the C library. glibc's
        // file of that name is a text for the linker, which nothing needs.
        if name == "libc.so" || starts_with_one_of(&["libc.musl-", "ld-musl-"]) {
            Some(Self::Musl)
        } else {
            starts_with_one_of(&GLIBC).then_some(Self::Glibc)
        }
    }
}

/// The properties that all files of one process share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessTarget {
    pub(super) flavor: Flavor,
    class: Class,
    endianness: Endianness,
    machine: u16,
    arm_float: Option<bool>,
}

impl ProcessTarget {
    pub(super) fn new(flavor: Flavor, file: &Elf) -> Self {
        Self {
            flavor,
            class: file.class,
            endianness: file.endianness,
            machine: file.machine,
            arm_float: arm_float(file),
        }
    }

    pub(super) fn has_machine_of(&self, file: &Elf) -> bool {
        let float = arm_float(file);
        (self.class, self.endianness, self.machine) == (file.class, file.endianness, file.machine)
            && (self.arm_float.is_none() || float.is_none() || self.arm_float == float)
    }

    /// Returns why a file is not for this process.
    pub(super) fn objection(&self, file: &Elf) -> Option<String> {
        if !self.has_machine_of(file) {
            return Some(match file.architecture() {
                Some(architecture) => format!("it is for {architecture}"),
                None => "it is for another processor".to_owned(),
            });
        }
        if !file.is_for_linux() {
            return Some("it is not for Linux".to_owned());
        }
        match Flavor::of(file) {
            Some(flavor) if flavor != self.flavor => Some(format!("it is for {flavor}")),
            Some(_) | None => None,
        }
    }
}

/// Returns whether a file of 32-bit ARM passes floats in float registers;
/// `None` when it has no such flag, since it passes no floats.
fn arm_float(file: &Elf) -> Option<bool> {
    if file.machine != elf::EM_ARM.0 {
        return None;
    }
    let is_hard = file.flags & elf::EF_ARM_ABI_FLOAT_HARD != 0;
    let is_soft = file.flags & elf::EF_ARM_ABI_FLOAT_SOFT != 0;
    (is_hard != is_soft).then_some(is_hard)
}

/// The defaults of a loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Defaults {
    /// The directories, without a slash at the end.
    pub(super) directories: Vec<Vec<u8>>,
    /// The value of `$LIB`.
    pub(super) lib: Vec<u8>,
    /// The value of `$PLATFORM`.
    pub(super) platform: Option<&'static str>,
}

impl Defaults {
    /// Takes them from the loader's own bytes, or else what most
    /// distributions have.
    pub(super) fn new(target: ProcessTarget, program: &Elf, loader: Option<&[u8]>) -> Self {
        let mut directories = match target.flavor {
            // `sys_path` of musl's ldso/dynlink.c.
            Flavor::Musl => ["/lib", "/usr/local/lib", "/usr/lib"]
                .map(|directory| directory.as_bytes().to_vec())
                .to_vec(),
            Flavor::Glibc => loader.map(directories_in).unwrap_or_default(),
        };
        if directories.is_empty() {
            directories = usual_directories(program);
        }
        Self {
            lib: lib_token(&directories[0]),
            directories,
            platform: platform(program),
        }
    }
}

/// Finds the default directories of glibc in its loader.
///
/// They differ by distribution (`/lib/x86_64-linux-gnu/`, `/lib64/`, a store
/// path) and are one run of strings that end with a slash: `system_dirs` of
/// glibc's elf/dl-load.c. Of several runs the longest counts, then the first.
fn directories_in(loader: &[u8]) -> Vec<Vec<u8>> {
    let mut longest: Vec<Vec<u8>> = Vec::new();
    let mut run: Vec<Vec<u8>> = Vec::new();
    for string in loader.split(|byte| *byte == 0).chain([b"".as_slice()]) {
        match library_directory(string) {
            Some(directory) => run.push(directory.to_vec()),
            None => {
                if run.len() > longest.len() {
                    longest.clone_from(&run);
                }
                run.clear();
            }
        }
    }
    longest
}

fn library_directory(string: &[u8]) -> Option<&[u8]> {
    // Bytes of other data may come right before the first string.
    let start = string.iter().rposition(|byte| !byte.is_ascii_graphic());
    let path = &string[start.map_or(0, |at| at + 1)..];
    let path = path.strip_suffix(b"/")?;
    let is_short = path.len() <= imgbuild_oci::path::MAX_PATH_BYTES;
    let names_libraries = path
        .strip_prefix(b"/")?
        .split(|byte| *byte == b'/')
        .any(|name| name.starts_with(b"lib"));
    (is_short && names_libraries).then_some(path)
}

/// The directories of Debian, then those of the others.
fn usual_directories(program: &Elf) -> Vec<Vec<u8>> {
    let mut directories = Vec::new();
    if let Some(triplet) = triplet(program) {
        directories.push(format!("/lib/{triplet}"));
        directories.push(format!("/usr/lib/{triplet}"));
    }
    if program.class == Class::Bits64 {
        directories.extend(["/lib64".to_owned(), "/usr/lib64".to_owned()]);
    }
    directories.extend(["/lib".to_owned(), "/usr/lib".to_owned()]);
    directories.into_iter().map(String::into_bytes).collect()
}

/// The names of Debian's directories (<https://wiki.debian.org/Multiarch/Tuples>).
fn triplet(program: &Elf) -> Option<&'static str> {
    Some(match program.architecture()?.name {
        "amd64" => "x86_64-linux-gnu",
        "386" => "i386-linux-gnu",
        "arm64" => "aarch64-linux-gnu",
        "arm" if arm_float(program) == Some(false) => "arm-linux-gnueabi",
        "arm" => "arm-linux-gnueabihf",
        "riscv64" => "riscv64-linux-gnu",
        "ppc64le" => "powerpc64le-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        "loong64" => "loongarch64-linux-gnu",
        "mips64le" => "mips64el-linux-gnuabi64",
        "mipsle" => "mipsel-linux-gnu",
        _ => return None,
    })
}

/// `$LIB` is set when glibc is built, as are the directories: it is the last
/// part of the first one.
fn lib_token(directory: &[u8]) -> Vec<u8> {
    let inside = directory
        .strip_prefix(b"/usr/")
        .or_else(|| directory.strip_prefix(b"/"))
        .unwrap_or(directory);
    if inside.starts_with(b"lib") {
        return inside.to_vec();
    }
    let start = inside.iter().rposition(|byte| *byte == b'/');
    inside[start.map_or(0, |at| at + 1)..].to_vec()
}

/// Returns the platform name of the kernel (`ELF_PLATFORM`), if it is the same
/// on every machine of an architecture.
fn platform(program: &Elf) -> Option<&'static str> {
    match program.architecture()?.name {
        "amd64" => Some("x86_64"),
        "386" => Some("i686"),
        "arm64" => Some("aarch64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;

    fn texts(directories: &[Vec<u8>]) -> Vec<&str> {
        directories
            .iter()
            .map(|directory| std::str::from_utf8(directory).unwrap())
            .collect()
    }

    #[test]
    fn the_default_directories_are_read_from_the_loader() {
        for (bytes, expected) in [
            (
                b"\0x\0/lib/a/\0/usr/lib/a/\0/lib/\0/usr/lib/\0\0/lib/b/\0".as_slice(),
                ["/lib/a", "/usr/lib/a", "/lib", "/usr/lib"].as_slice(),
            ),
            (b"\x13/lib64/\0/usr/lib64/\0", &["/lib64", "/usr/lib64"]),
            (
                b"/nix/store/abc-glibc/lib/\0",
                &["/nix/store/abc-glibc/lib"],
            ),
            (b"/proc/self/\0/etc/ld.so.cache\0/\0", &[]),
            (b"", &[]),
        ] {
            assert_eq!(texts(&directories_in(bytes)), expected);
        }
    }

    #[test]
    fn without_a_loader_the_usual_directories_are_taken() {
        let program = Fixture::new().elf();
        let target = ProcessTarget::new(Flavor::Glibc, &program);
        let defaults = Defaults::new(target, &program, None);
        assert_eq!(
            texts(&defaults.directories),
            [
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib64",
                "/usr/lib64",
                "/lib",
                "/usr/lib"
            ]
        );
        assert_eq!(defaults.lib, b"lib/x86_64-linux-gnu");
    }

    #[test]
    fn the_lib_token_is_the_end_of_the_first_directory() {
        for (directory, expected) in [
            ("/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"),
            ("/usr/lib64", "lib64"),
            ("/nix/store/abc-glibc-2.40/lib", "lib"),
        ] {
            assert_eq!(lib_token(directory.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn the_flavor_is_that_of_the_loader_or_of_the_c_library() {
        let glibc = Some(Flavor::Glibc);
        let musl = Some(Flavor::Musl);
        for (name, expected) in [
            ("libc.so.6", glibc),
            ("libc.so.6.1", glibc),
            ("ld-linux-x86-64.so.2", glibc),
            ("libc.so", musl),
            ("libc.musl-x86_64.so.1", musl),
            ("libz.so.1", None),
        ] {
            let file = Fixture::new().needed(&["liba.so", name]).elf();
            assert_eq!(Flavor::of(&file), expected, "{name}");
        }
        let program = Fixture::new().interpreter("/lib/ld-musl-aarch64.so.1");
        assert_eq!(Flavor::of(&program.elf()), musl);
        let program = Fixture::new().interpreter("/lib/ld-linux.so.2");
        assert_eq!(Flavor::of(&program.elf()), glibc);
    }
}
