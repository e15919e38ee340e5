//! The names that the OCI specification has for machines.

use object::elf;
use serde::Serialize;

use super::{Class, Elf, Endianness};

/// `EF_MIPS_ABI2`: 32-bit pointers on a 64-bit machine.
const MIPS_N32_FLAG: u32 = 0x20;

/// A processor architecture as a [platform] names it.
///
/// [platform]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md#image-index-property-descriptions
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Architecture {
    /// The name: `amd64`, `arm64`, ….
    pub name: &'static str,
    /// The variant, if engines distinguish some: `v7` of `arm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)?;
        match self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl Elf {
    /// Returns the architecture that runs this file; `None` for machines that
    /// have no name in a platform, such as the x32 ABI.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        let wide = self.class == Class::Bits64;
        let little = self.endianness == Endianness::Little;
        let name = match elf::Machine(self.machine) {
            elf::EM_X86_64 if wide => "amd64",
            elf::EM_386 => "386",
            elf::EM_AARCH64 if wide && little => "arm64",
            elf::EM_AARCH64 if wide => "arm64be",
            elf::EM_ARM if little => "arm",
            elf::EM_ARM => "armbe",
            elf::EM_RISCV if wide => "riscv64",
            elf::EM_RISCV => "riscv",
            elf::EM_PPC64 if little => "ppc64le",
            elf::EM_PPC64 => "ppc64",
            elf::EM_PPC => "ppc",
            elf::EM_S390 if wide => "s390x",
            elf::EM_S390 => "s390",
            elf::EM_LOONGARCH if wide => "loong64",
            elf::EM_MIPS => mips(self.flags, wide, little),
            _ => return None,
        };
        let variant = (name == "arm").then(|| arm_variant(self)).flatten();
        Some(Architecture { name, variant })
    }
}

fn mips(flags: u32, wide: bool, little: bool) -> &'static str {
    match (wide, flags & MIPS_N32_FLAG != 0, little) {
        (true, _, true) => "mips64le",
        (true, _, false) => "mips64",
        (false, true, true) => "mips64p32le",
        (false, true, false) => "mips64p32",
        (false, false, true) => "mipsle",
        (false, false, false) => "mips",
    }
}

/// Returns the variant of ARM: the exact one of the build attributes, or that
/// of the float ABI in the header: distributions with hard floats start at v7, those with soft
/// floats at v5.
fn arm_variant(file: &Elf) -> Option<&'static str> {
    match file.arm_cpu {
        // Tag_CPU_arch of "Addenda to, and Errata in, the ABI for the Arm
        // Architecture" (ARM IHI 0045).
        Some(3..=5) => Some("v5"),
        Some(6..=9 | 11 | 12) => Some("v6"),
        Some(10 | 13) => Some("v7"),
        Some(14..) => Some("v8"),
        Some(..=2) => None,
        None if file.flags & elf::EF_ARM_ABI_FLOAT_HARD != 0 => Some("v7"),
        None if file.flags & elf::EF_ARM_SOFT_FLOAT.0 != 0 => Some("v5"),
        None => None,
    }
}
