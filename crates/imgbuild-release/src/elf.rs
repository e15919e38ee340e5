//! ELF files: what a program or library needs to run.
//!
//! Only the parts that the kernel and the dynamic loader use are read: headers, the
//! interpreter, the dynamic section, its strings and symbol versions. Files
//! may be of any size and may be hostile: what is read, kept and repeated is
//! bounded, and no content makes this panic.

mod architecture;
mod block_reader;
mod dynamic;
mod note;
mod tables;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::ops::Range;

pub use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::FileHeader;

pub use architecture::Architecture;
use block_reader::BlockReader;
pub(crate) use note::debug_information;
use tables::{ElfTables, identify};

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

    /// Fills the buffer from `offset` on, as far as there are bytes, and returns
    /// their number.
    ///
    /// # Errors
    ///
    /// Fails when the bytes cannot be read.
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
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

/// A file that begins like an ELF file and cannot be read as one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be read.
    #[error("cannot read the ELF file")]
    Read {
        /// The cause.
        source: io::Error,
    },
    /// The content contradicts itself.
    #[error("not a valid ELF file: {0}")]
    Malformed(&'static str),
}

/// The size of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    #[default]
    Bits64,
}

/// The use of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ElfKind {
    /// A program that a dynamic loader starts.
    Program,
    /// A program that the kernel starts alone, position-independent or not.
    StaticProgram,
    /// A library or module, also one that can be started as a program, as
    /// `libc.so.6`.
    SharedObject,
    /// An object file, a core dump or a processor's own type.
    #[default]
    Other,
}

/// The versions that a file needs of one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededVersions {
    /// The library, as [`Elf::needed`] names it.
    pub library: String,
    /// The versions.
    pub versions: Vec<NeededVersion>,
}

/// A version that a file needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededVersion {
    /// The version: `GLIBC_2.34`.
    pub name: String,
    /// Set if the loader continues without it.
    pub is_weak: bool,
}

/// The imported functions that need files at run time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imports {
    /// `dlopen`: it may load libraries that no file names as needed.
    pub dlopen: bool,
    /// `pthread_cancel`, `pthread_exit` or `backtrace`: glibc loads
    /// `libgcc_s.so.1` when one of them is called.
    pub unwinding: bool,
    /// A function that takes the CA certificates of the system.
    pub system_roots: bool,
    /// `setlocale`: it follows the variables of the locale.
    pub locale: bool,
    /// `system`, `popen` or `wordexp`, which start `/bin/sh`.
    pub shell: bool,
    /// `iconv_open`: it converts between character sets.
    pub iconv: bool,
    /// `nl_langinfo`: it takes the character set of the locale.
    pub langinfo: bool,
}

/// The properties of an ELF file that matter for running it.
///
/// Names are text: bytes that are not UTF-8 are replaced, and such a name is
/// then found nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The use of the file.
    pub kind: ElfKind,
    /// The path of the loader (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// The name by which other files need it (`DT_SONAME`).
    pub soname: Option<String>,
    /// The libraries that it needs, in order (`DT_NEEDED`, `DT_FILTER`).
    pub needed: Vec<String>,
    /// The libraries that are loaded with it if they exist (`DT_AUXILIARY`,
    /// `DT_AUDIT`, `DT_DEPAUDIT`).
    pub optional: Vec<String>,
    /// The directories in which it and its libraries search (`DT_RPATH`).
    pub rpath: Option<String>,
    /// The directories in which it searches (`DT_RUNPATH`).
    pub runpath: Option<String>,
    /// Set if the loader must not search its default directories
    /// (`DF_1_NODEFLIB`).
    pub ignores_default_directories: bool,
    /// The symbol versions that it needs.
    pub needed_versions: Vec<NeededVersions>,
    /// The symbol versions that it defines.
    pub defined_versions: Vec<String>,
    /// The imported functions that load more libraries.
    pub imports: Imports,
    /// The x86-64 level that it needs, 1 to 4.
    pub isa_level: Option<u8>,
    /// `Tag_CPU_arch` of a 32-bit ARM file.
    arm_cpu: Option<u64>,
}

impl Elf {
    /// Reads an opened file; `None` unless it is an ELF file without errors.
    pub(crate) fn of<E>(opened: Result<fs_err::File, E>) -> Option<Self> {
        Self::read(&opened.ok()?).ok()?
    }

    /// Returns whether the kernel starts the file as a program.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self.kind, ElfKind::Program | ElfKind::StaticProgram)
    }

    /// Reads the properties of an ELF file; `None` for any other file.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, or starts as an ELF file and
    /// contradicts itself.
    pub fn read<R: ReadAt + ?Sized>(file: &R) -> Result<Option<Self>, ElfError> {
        let mut reader = BlockReader::new(file);
        let Some((class, endianness)) = identify(&mut reader)? else {
            return Ok(None);
        };
        let mut file = Self {
            class,
            endianness,
            ..Self::default()
        };
        match class {
            Class::Bits32 => {
                file.fill(ElfTables::<_, FileHeader32<_>>::open(reader, endianness)?)?;
            }
            Class::Bits64 => {
                file.fill(ElfTables::<_, FileHeader64<_>>::open(reader, endianness)?)?;
            }
        }
        Ok(Some(file))
    }

    fn fill<R, H>(&mut self, mut tables: ElfTables<'_, R, H>) -> Result<(), ElfError>
    where
        R: ReadAt + ?Sized,
        H: FileHeader<Endian = Endianness>,
    {
        let (header, endian) = (tables.header, tables.endian);
        let file_type = header.e_type(endian);
        self.machine = header.e_machine(endian).0;
        self.flags = header.e_flags(endian).0;
        self.os_abi = header.e_ident().os_abi.0;
        if !matches!(file_type, elf::ET_EXEC | elf::ET_DYN) {
            return Ok(());
        }

        tables.read_segments()?;
        // A file of debug information has the segment without content.
        let interpreter = tables.segments(elf::PT_INTERP).find(|it| !it.is_empty());
        if let Some(Range { start, end }) = interpreter {
            let end = end.min(start.saturating_add(MAX_INTERPRETER_BYTES));
            self.interpreter = Some(tables.reader.string(start..end)?);
        }

        let dynamic = tables.dynamic()?;
        for at in &dynamic.needed {
            self.needed.push(tables.string(&dynamic, *at)?);
        }
        for at in &dynamic.optional {
            let names = tables.string(&dynamic, *at)?;
            self.optional.extend(names.split(':').map(str::to_owned));
        }
        self.soname = tables.optional_string(&dynamic, dynamic.soname)?;
        self.rpath = tables.optional_string(&dynamic, dynamic.rpath)?;
        self.runpath = tables.optional_string(&dynamic, dynamic.runpath)?;
        self.ignores_default_directories = dynamic.flags_1.contains(elf::DF_1_NODEFLIB);
        self.needed_versions = tables.needed_versions(&dynamic)?;
        self.defined_versions = tables.defined_versions(&dynamic)?;

        // A position-independent program looks like a library. Linkers mark it
        // (`DF_1_PIE`) since binutils 2.26; before, only the interpreter is a
        // sign, which some libraries have as well, but not without a name.
        let is_program = file_type == elf::ET_EXEC
            || dynamic.flags_1.contains(elf::DF_1_PIE)
            || (self.interpreter.is_some() && self.soname.is_none());
        self.kind = match &self.interpreter {
            _ if !is_program => ElfKind::SharedObject,
            Some(_) => ElfKind::Program,
            None => ElfKind::StaticProgram,
        };

        // None of these decides whether the file runs, so none can refuse it.
        self.imports = tables.imports(&dynamic).unwrap_or_default();
        self.isa_level = tables.isa_level().unwrap_or_default();
        self.arm_cpu = tables.arm_cpu().unwrap_or_default();
        Ok(())
    }

    /// Returns whether it is for Linux, or for no particular system.
    #[must_use]
    pub fn is_for_linux(&self) -> bool {
        matches!(
            elf::OsAbi(self.os_abi),
            elf::ELFOSABI_SYSV | elf::ELFOSABI_GNU | elf::ELFOSABI_ARM
        )
    }
}
