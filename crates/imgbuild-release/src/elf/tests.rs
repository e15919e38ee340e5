use proptest::prelude::*;

use super::fixture::Fixture;
use super::*;

const ENCODINGS: [(Class, Endianness); 4] = [
    (Class::Bits64, Endianness::Little),
    (Class::Bits64, Endianness::Big),
    (Class::Bits32, Endianness::Little),
    (Class::Bits32, Endianness::Big),
];

pub(crate) fn full() -> Fixture {
    Fixture::new()
        .interpreter("/lib64/ld.so")
        .soname("libfull.so.1")
        .needed(&["libb.so.2", "liba.so.1"])
        .rpath("/old")
        .runpath("$ORIGIN/../lib:/new")
        .imports(&["malloc", "dlopen", "pthread_exitt"])
        .needs_version("libb.so.2", &[("B_1", false), ("B_2", true)])
        .needs_version("liba.so.1", &[("A_1", false)])
        .defines_versions(&["FULL_1", "FULL_2"])
        .flags_1(0x800)
}

#[test]
fn all_is_read_in_every_class_and_byte_order() {
    for (class, endianness) in ENCODINGS {
        let file = full().machine(8, class, endianness).elf();
        assert_eq!((file.class, file.endianness), (class, endianness));
        assert_eq!(file.interpreter.as_deref(), Some("/lib64/ld.so"));
        assert_eq!(file.soname.as_deref(), Some("libfull.so.1"));
        assert_eq!(file.needed, ["libb.so.2", "liba.so.1"]);
        assert_eq!(file.rpath.as_deref(), Some("/old"));
        assert_eq!(file.runpath.as_deref(), Some("$ORIGIN/../lib:/new"));
        assert!(file.ignores_default_directories);
        assert_eq!(file.defined_versions, ["FULL_1", "FULL_2"]);
        let needed: Vec<(&str, &str, bool)> = file
            .needed_versions
            .iter()
            .flat_map(|needed| {
                let library = needed.library.as_str();
                let versions = needed.versions.iter();
                versions.map(move |version| (library, version.name.as_str(), version.is_weak))
            })
            .collect();
        let expected = [
            ("libb.so.2", "B_1", false),
            ("libb.so.2", "B_2", true),
            ("liba.so.1", "A_1", false),
        ];
        assert_eq!(needed, expected);
        assert!(file.imports.dlopen);
        assert!(!file.imports.unwinding);
    }
}

#[test]
fn functions_that_unwind_are_noticed() {
    for name in ["pthread_exit", "pthread_cancel", "backtrace"] {
        let file = Fixture::new().imports(&["free", name]).elf();
        assert!(file.imports.unwinding, "{name}");
    }
}

#[test]
fn functions_for_character_sets_are_noticed() {
    for (name, expected) in [
        ("iconv_open", (true, false)),
        ("nl_langinfo", (false, true)),
        ("__nl_langinfo_l", (false, true)),
        ("iconv", (false, false)),
    ] {
        let imports = Fixture::new().imports(&["free", name]).elf().imports;
        assert_eq!((imports.iconv, imports.langinfo), expected, "{name}");
    }
}

#[test]
fn other_files_are_none() {
    for bytes in [
        b"".as_slice(),
        b"\x7fEL",
        b"\x7fELF",
        b"#!/bin/sh\nexit\n",
        b"MZ\x90\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"/* GNU ld script */ GROUP ( /lib/libc.so.6 )",
    ] {
        assert_eq!(Elf::read(bytes).unwrap(), None);
    }
}

#[test]
fn a_file_that_is_cut_short_is_malformed_or_says_less() {
    let bytes = full().bytes();
    let whole = full().elf();
    for end in 16..bytes.len() {
        match Elf::read(&bytes[..end]) {
            Ok(Some(file)) => assert_ne!(file, whole, "{end}"),
            Ok(None) => panic!("it starts as an ELF file: {end}"),
            Err(ElfError::Malformed(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_kind_is_told_by_type_flag_interpreter_and_name() {
    const PIE: u64 = 0x0800_0000;
    let interpreter = |fixture: Fixture| fixture.interpreter("/lib/ld.so");
    for (fixture, expected) in [
        (Fixture::new().file_type(2), ElfKind::StaticProgram),
        (interpreter(Fixture::new().file_type(2)), ElfKind::Program),
        (Fixture::new().flags_1(PIE), ElfKind::StaticProgram),
        (interpreter(Fixture::new().flags_1(PIE)), ElfKind::Program),
        (interpreter(Fixture::new()), ElfKind::Program),
        (Fixture::new(), ElfKind::SharedObject),
        (
            interpreter(Fixture::new().soname("libc.so.6")),
            ElfKind::SharedObject,
        ),
        (Fixture::new().file_type(1), ElfKind::Other),
        (Fixture::new().file_type(4), ElfKind::Other),
    ] {
        assert_eq!(fixture.elf().kind, expected);
    }
}

#[test]
fn machines_have_the_names_of_platforms() {
    const LITTLE: Endianness = Endianness::Little;
    const BIG: Endianness = Endianness::Big;
    for (machine, class, endianness, flags, expected) in [
        (62, Class::Bits64, LITTLE, 0, Some("amd64")),
        (62, Class::Bits32, LITTLE, 0, None),
        (3, Class::Bits32, LITTLE, 0, Some("386")),
        (183, Class::Bits64, LITTLE, 0, Some("arm64")),
        (40, Class::Bits32, LITTLE, 0x0500_0400, Some("arm/v7")),
        (40, Class::Bits32, LITTLE, 0x0500_0200, Some("arm/v5")),
        (40, Class::Bits32, LITTLE, 0x0500_0000, Some("arm")),
        (243, Class::Bits64, LITTLE, 0, Some("riscv64")),
        (21, Class::Bits64, LITTLE, 0, Some("ppc64le")),
        (21, Class::Bits64, BIG, 0, Some("ppc64")),
        (22, Class::Bits64, BIG, 0, Some("s390x")),
        (258, Class::Bits64, LITTLE, 0, Some("loong64")),
        (8, Class::Bits64, LITTLE, 0, Some("mips64le")),
        (8, Class::Bits32, BIG, 0, Some("mips")),
        (2, Class::Bits32, BIG, 0, None),
    ] {
        let fixture = Fixture::new().machine(machine, class, endianness);
        let architecture = fixture.flags(flags).elf().architecture();
        let name = architecture.map(|architecture| architecture.to_string());
        assert_eq!(name.as_deref(), expected, "{machine}");
    }
}

#[test]
fn arm_attributes_tell_the_variant() {
    let attributes = |cpu: u8| {
        let mut bytes = b"A\x1f\0\0\0aeabi\0\x01\x15\0\0\0".to_vec();
        // A name, Tag_compatibility, then the processor.
        bytes.extend(b"\x05cortex\0\x20\x01gnu\0\x06");
        bytes.push(cpu);
        bytes
    };
    for (cpu, expected) in [(4, "v5"), (6, "v6"), (10, "v7"), (14, "v8")] {
        let fixture = Fixture::new().machine(40, Class::Bits32, Endianness::Little);
        let mut bytes = fixture.flags(0x400).bytes();
        let at = u32::try_from(bytes.len()).unwrap();
        let content = attributes(cpu);
        bytes.extend(&content);
        let table = u32::try_from(bytes.len()).unwrap();
        let mut section = [0; 40];
        section[4..8].copy_from_slice(&0x7000_0003_u32.to_le_bytes());
        section[16..20].copy_from_slice(&at.to_le_bytes());
        section[20..24].copy_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes.extend(section);
        bytes[32..36].copy_from_slice(&table.to_le_bytes());
        bytes[46..48].copy_from_slice(&40_u16.to_le_bytes());
        bytes[48..50].copy_from_slice(&1_u16.to_le_bytes());
        let file = Elf::read(bytes.as_slice()).unwrap().unwrap();
        assert_eq!(file.architecture().unwrap().variant, Some(expected));
    }
}

#[test]
fn the_x86_64_level_is_the_highest_of_the_note() {
    for (bits, expected) in [
        (1, Some(1)),
        (3, Some(2)),
        (7, Some(3)),
        (8, Some(4)),
        (0, None),
    ] {
        assert_eq!(Fixture::new().isa(bits).elf().isa_level, expected);
    }
    assert_eq!(Fixture::new().elf().isa_level, None);
}

#[test]
fn a_file_of_another_system_is_not_for_linux() {
    assert!(Fixture::new().elf().is_for_linux());
    assert!(Fixture::new().os_abi(3).elf().is_for_linux());
    assert!(!Fixture::new().os_abi(9).elf().is_for_linux());
}

#[test]
fn a_table_without_end_is_refused_quickly() {
    // Each of 65,536 entries names the same string of 1 MiB.
    let long = "x".repeat(1 << 20);
    let names = vec![long.as_str(); 9];
    let error = Elf::read(Fixture::new().needed(&names).bytes().as_slice()).unwrap_err();
    assert!(matches!(error, ElfError::Malformed(_)), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_change_of_a_valid_file_panics(
        wide in any::<bool>(),
        little in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let class = if wide { Class::Bits64 } else { Class::Bits32 };
        let endianness = if little { Endianness::Little } else { Endianness::Big };
        let mut bytes = full().machine(62, class, endianness).isa(4).bytes();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _file = Elf::read(bytes.as_slice());
        let _file = Elf::read(&bytes[..end.index(bytes.len())]);
    }

    #[test]
    fn no_bytes_behind_an_identification_panic(
        class in 0..4u8,
        data in 0..4u8,
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data, 1, 0];
        bytes.extend(rest);
        let _file = Elf::read(bytes.as_slice());
    }
}
