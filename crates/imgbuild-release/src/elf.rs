//! ELF files: what a program or library needs to run.
//!
//! Only what the kernel and the dynamic loader look at is read: headers, the
//! interpreter, the dynamic section, its strings and symbol versions. Files
//! may be of any size and may be hostile: what is read, kept and repeated is
//! bounded, and no content makes this panic.

mod architecture;
mod debug;
mod dynamic;
mod header;
mod import;
mod note;
mod source;
mod version;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::io;

use object::elf;
use serde::Serialize;

pub use architecture::Architecture;
pub(crate) use debug::debug_information;
use dynamic::Dynamic;
use header::{Encoding, Header, Segment};
use source::Source;
use version::Versions;

/// The longest path of an interpreter, as for the kernel (`PATH_MAX`).
const MAX_INTERPRETER_BYTES: u64 = 4096;

/// Something that gives its bytes from any offset.
pub trait ReadAt {
    /// Reads into the buffer from `offset` on; 0 only at the end.
    ///
    /// # Errors
    ///
    /// Fails when the bytes cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for fs_err::File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        fs_err::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for imgbuild_oci::content::FileRange {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Self::read_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let available = self.get(start..).unwrap_or_default();
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        Ok(count)
    }
}

/// A file that starts as an ELF file and cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be read.
    #[error("cannot read the ELF file")]
    Read {
        /// Why.
        source: io::Error,
    },
    /// The content contradicts itself.
    #[error("not a valid ELF file: {0}")]
    Malformed(&'static str),
}

/// Whether addresses have 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// The byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Endianness {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A program that a dynamic loader starts.
    Program,
    /// A program that the kernel starts alone, position-independent or not.
    StaticProgram,
    /// A library or module, also one that can be started as a program, as
    /// `libc.so.6`.
    SharedObject,
    /// An object file, a core dump or a processor's own type.
    Other,
}

/// The versions that a file needs of one library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeededVersions {
    /// The library, as [`Elf::needed`] names it.
    pub library: String,
    /// The versions.
    pub versions: Vec<NeededVersion>,
}

/// A version that a file needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeededVersion {
    /// The version: `GLIBC_2.34`.
    pub name: String,
    /// Whether the loader goes on without it.
    pub is_weak: bool,
}

/// What the imported symbols say about libraries that are loaded later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imports {
    /// `dlopen`: it may load libraries that no file names as needed.
    pub dlopen: bool,
    /// `pthread_cancel`, `pthread_exit` or `backtrace`: glibc loads
    /// `libgcc_s.so.1` when one of them is called.
    pub unwinding: bool,
}

/// What an ELF file says about itself.
///
/// Names are text: bytes that are not UTF-8 are replaced, and such a name is
/// then found nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elf {
    /// 32 or 64 bits.
    pub class: Class,
    /// The byte order.
    pub endianness: Endianness,
    /// The machine (`e_machine`).
    pub machine: u16,
    /// The machine's own flags (`e_flags`).
    pub flags: u32,
    /// The operating system's ABI (`EI_OSABI`).
    pub os_abi: u8,
    /// What it is for.
    pub kind: Kind,
    /// The loader's path (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// The name under which others need it (`DT_SONAME`).
    pub soname: Option<String>,
    /// The libraries that it needs, in order (`DT_NEEDED`).
    pub needed: Vec<String>,
    /// Where it and what it needs look for libraries (`DT_RPATH`).
    pub rpath: Option<String>,
    /// Where it looks for libraries (`DT_RUNPATH`).
    pub runpath: Option<String>,
    /// Whether the loader's default directories are not for it
    /// (`DF_1_NODEFLIB`).
    pub ignores_default_directories: bool,
    /// The symbol versions that it needs.
    pub needed_versions: Vec<NeededVersions>,
    /// The symbol versions that it defines.
    pub defined_versions: Vec<String>,
    /// What it imports that loads more.
    pub imports: Imports,
    /// The x86-64 level that it needs, 1 to 4.
    pub isa_level: Option<u8>,
    /// `Tag_CPU_arch` of a 32-bit ARM file.
    arm_cpu: Option<u64>,
}

impl Elf {
    /// Reads what `file` says about itself; `None` when it is no ELF file.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or starts as an ELF file and
    /// contradicts itself.
    pub fn read<R: ReadAt + ?Sized>(file: &R) -> Result<Option<Self>, ElfError> {
        let mut source = Source::new(file);
        let Some(header) = Header::read(&mut source)? else {
            return Ok(None);
        };
        let mut file = Self::new(&header);
        if !matches!(header.file_type, elf::ET_EXEC | elf::ET_DYN) {
            return Ok(Some(file));
        }
        let segments = header.segments(&mut source)?;
        file.interpreter = interpreter(&mut source, &segments)?;
        let dynamic = segments
            .iter()
            .find(|segment| segment.kind == elf::PT_DYNAMIC)
            .map(|segment| Dynamic::read(&mut source, header.encoding, segment))
            .transpose()?
            .unwrap_or_default();
        file.read_dynamic(&mut source, header.encoding, (&dynamic, &segments))?;
        file.kind = kind(&header, &dynamic, &file);
        // Neither decides whether the file runs, so neither can refuse it.
        file.isa_level = note::isa_level(&mut source, &header, &segments).unwrap_or_default();
        file.arm_cpu = note::arm_cpu(&mut source, &header).unwrap_or_default();
        Ok(Some(file))
    }

    fn new(header: &Header) -> Self {
        Self {
            class: header.encoding.class,
            endianness: header.encoding.endianness,
            machine: header.machine,
            flags: header.flags,
            os_abi: header.os_abi,
            kind: Kind::Other,
            interpreter: None,
            soname: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
            ignores_default_directories: false,
            needed_versions: Vec::new(),
            defined_versions: Vec::new(),
            imports: Imports::default(),
            isa_level: None,
            arm_cpu: None,
        }
    }

    fn read_dynamic<R: ReadAt + ?Sized>(
        &mut self,
        source: &mut Source<'_, R>,
        encoding: Encoding,
        (dynamic, segments): (&Dynamic, &[Segment]),
    ) -> Result<(), ElfError> {
        let strings = dynamic.strings(segments)?;
        dynamic.read_names(source, strings, self)?;
        self.ignores_default_directories = dynamic.has_flag(elf::DF_1_NODEFLIB);
        let versions = Versions {
            encoding,
            segments,
            strings,
        };
        self.needed_versions = versions.needed(source, dynamic)?;
        self.defined_versions = versions.defined(source, dynamic)?;
        self.imports =
            import::imports(source, encoding, (dynamic, strings), segments).unwrap_or_default();
        Ok(())
    }

    /// Returns the architecture that runs this file; `None` for machines
    /// that have no name in a platform.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        architecture::architecture(self)
    }

    /// Returns whether it is for Linux, or says nothing about the system.
    #[must_use]
    pub fn is_for_linux(&self) -> bool {
        matches!(
            elf::OsAbi(self.os_abi),
            elf::ELFOSABI_SYSV | elf::ELFOSABI_GNU | elf::ELFOSABI_ARM
        )
    }
}

fn interpreter<R: ReadAt + ?Sized>(
    source: &mut Source<'_, R>,
    segments: &[Segment],
) -> Result<Option<String>, ElfError> {
    let Some(segment) = segments
        .iter()
        .find(|segment| segment.kind == elf::PT_INTERP && segment.file_bytes > 0)
    else {
        // A file of debug information has the header without the content.
        return Ok(None);
    };
    let end = segment
        .offset
        .saturating_add(segment.file_bytes.min(MAX_INTERPRETER_BYTES));
    source.string(segment.offset, end).map(Some)
}

/// A position-independent program looks like a library. Linkers mark it
/// (`DF_1_PIE`) since binutils 2.26; before, only the interpreter tells, which
/// some libraries have as well, but not without a name of their own.
fn kind(header: &Header, dynamic: &Dynamic, file: &Elf) -> Kind {
    let is_program = header.file_type == elf::ET_EXEC
        || dynamic.has_flag(elf::DF_1_PIE)
        || (file.interpreter.is_some() && file.soname.is_none());
    match (is_program, &file.interpreter) {
        (true, Some(_)) => Kind::Program,
        (true, None) => Kind::StaticProgram,
        (false, _) => Kind::SharedObject,
    }
}
