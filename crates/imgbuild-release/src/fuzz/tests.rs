use imgbuild_testing::fuzz::check;

use super::*;
use crate::elf::fixture::Fixture;
use crate::kind::mix::boot::tests::RELX;
use crate::{elf as elf_files, git as repositories, locale};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn any_file_is_a_program_or_not() {
    check("elf", elf, 4000, || {
        vec![
            elf_files::tests::full().bytes(),
            Fixture::new()
                .file_type(2)
                .interpreter("/lib/ld.so")
                .bytes(),
            Fixture::new()
                .isa(0xff)
                .appendix(b"/lib:/usr/lib\0")
                .bytes(),
        ]
    });
}

#[test]
fn any_certificates_make_a_bundle_or_are_refused() {
    check("certificates", certificates, 2000, || {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/certificates");
        let entries = fs::read_dir(fixtures).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| fs::read(path).unwrap()).collect()
    });
}

#[test]
fn any_boot_file_with_calls_is_one_or_is_refused() {
    check("boot_file", boot_file, 4000, || {
        // `{progress, #{a => <<"b">>}, [1.0, 256, "x"]}` before the controller.
        let more = b"\x83h\x03w\x06scriptk\0\x01al\0\0\0\x02h\x03w\x08progresst\0\0\0\x01w\x01am\0\0\0\x01b\
            l\0\0\0\x03F\0\0\0\0\0\0\0\0n\x02\0\x01\x01k\0\x01xj\
            h\x03w\x0dkernelProcessd\0\x16application_controllera\x01j";
        vec![BOOT.to_vec(), more.to_vec()]
    });
}

#[test]
fn any_file_of_a_mix_release_is_read_or_refused() {
    check("mix_release", mix_release, 500, || {
        let files = texts(&[
            "13.1 1.0",
            "%% x\n{release,{\"shop\",\"1.0\"},{erts,\"13.1\"},[{kernel,\"8.5\"},{'a b',\"1\",permanent}]}.",
            "",
            "%% RUNTIME_CONFIG=true\n[{kernel,[{x,1}]}].\n",
            "-sname a\n-setcookie b # c\n+K true\n-start_epmd false\n",
            ELIXIR,
            "#!/bin/sh\nset -e\nexport A=\"b c\"\nB='x $y'\nexport B\n",
            OWN,
            "#!/bin/sh\nset -eu\ncd -P -- \"$(dirname -- \"$0\")\"\nPHX_SERVER=true exec ./shop start\n",
        ]);
        let files = (0..)
            .zip(files)
            .chain([(7, RELX.into()), (2, BOOT.to_vec())]);
        files
            .map(|(which, bytes)| [&[which], &bytes[..]].concat())
            .collect()
    });
}

/// A cache of `count` entries with one path of 4,000 bytes.
fn long_paths(count: u32) -> Vec<u8> {
    let mut cache = b"glibc-ld.so.cache1.1".to_vec();
    cache.extend(count.to_le_bytes());
    cache.extend([0, 0, 0, 0, 2]);
    cache.resize(48, 0);
    let strings = 48 + 24 * count;
    for number in 0..count {
        for field in [1, strings + number % 4000, strings, 0, 0, 0] {
            cache.extend(field.to_le_bytes());
        }
    }
    cache.extend(b"/a".repeat(2000));
    cache.push(0);
    cache
}

#[test]
fn any_loader_cache_is_read_as_far_as_it_makes_sense() {
    check("loader_cache", loader_cache, 4000, || {
        use crate::runtime::cache::tests::{new_cache, old_cache};
        let new = new_cache(u32::to_le_bytes, 2);
        vec![
            [&b"ld.so-1.7.0\0\0\0\0\0"[..], &new].concat(),
            new,
            new_cache(u32::to_be_bytes, 3),
            old_cache(u32::to_le_bytes),
            old_cache(u32::to_be_bytes),
            long_paths(80_000),
        ]
    });
}

#[test]
fn any_archive_of_locales_is_read_or_refused() {
    check("locale_archive", locale_archive, 1500, || {
        vec![locale::tests::archive()]
    });
}

#[test]
fn any_package_database_is_read_as_far_as_it_makes_sense() {
    check("package_database", package_database, 1500, || {
        use crate::host_packages::tests::{INSTALLED, STATUS};
        let files = texts(&[
            STATUS,
            "/.\n/usr\n/usr/bin\n/usr/bin/a\n",
            "/usr/bin/a\n/usr/bin/b\nb\n",
            "auto\n/usr/bin/awk\nawk.1\n/man/awk.1\n\n/usr/bin/mawk\n5\n/man/mawk.1\n\n",
            INSTALLED,
        ]);
        let files = (0..).zip(files);
        files
            .map(|(which, bytes): (u8, _)| [&[which], &bytes[..]].concat())
            .collect()
    });
}

#[test]
fn any_script_calls_programs_or_none() {
    check("shell_script", shell_script, 4000, || {
        // Each of these was read once for each of its parts.
        let nested = ["\"$(a", "a\\${;", "<<A\n", "a|", "./a\n"];
        let nested = nested.map(|form| form.repeat(100).into_bytes());
        let scripts = texts(&[
            OWN,
            ELIXIR,
            RELX,
            "#!/usr/bin/env -S -u A B=1 node --x\n",
            "#! /bin/sh -e\nif test -f x; then cat <<-EOF | sed 's/a/b/' >&2; $(id -u)\n`hostname`\nEOF\nfi\n\
             f() { case $1 in a|b) exec \"$@\";; esac; }\nf \"${A:-$(date '+%s')}\" && command ls # x\n",
        ]);
        scripts.into_iter().chain(nested).collect()
    });
}

#[test]
fn any_configuration_of_a_base_is_inherited_or_refused() {
    check("base_configuration", base_configuration, 3000, || {
        texts(&[
            "{\"config\":{\"Env\":[\"PATH=/bin\",\"A=b\"],\"Cmd\":[\"sh\"],\"Entrypoint\":null,\"Labels\":{\"a\":\"b\"},\
             \"ExposedPorts\":{\"80/tcp\":{}},\"Volumes\":{\"/data\":{}},\"StopSignal\":\"SIGQUIT\",\"User\":\"\",\
             \"Shell\":[\"/bin/bash\"],\"ArgsEscaped\":false,\"Healthcheck\":{\"Test\":[\"CMD\",\"x\"],\"StartInterval\":5,\"Retries\":null}},\
             \"history\":[{\"created_by\":\"a\"},{\"empty_layer\":true},{\"created_by\":\"b\"}]}",
            "{\"config\":null,\"history\":[1]}",
        ])
    });
}

/// An index of version 4 whose paths all begin with the first one.
fn repeated_paths(length: usize, count: u32) -> Vec<u8> {
    let entry = |suffix: &[u8]| [&[0; 60][..], b"\0\0\0", suffix, b"\0"].concat();
    let mut index = b"DIRC\0\0\0\x04".to_vec();
    index.extend((count + 1).to_be_bytes());
    index.extend(entry(&vec![b'a'; length]));
    for _ in 0..count {
        index.extend(entry(b"b"));
    }
    index.extend([0; 20]);
    index
}

/// A pack in which each delta makes 64 MiB out of the one before, and the offset
/// of the last.
fn large_deltas(count: usize) -> (u16, Vec<u8>) {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
    let mut add = |head: &[u8], size: usize, base: Option<usize>, content: &[u8]| {
        let start = pack.len();
        let mut size = size;
        let mut first = head[0] | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            pack.push(first | 0x80);
            first = (size & 127) as u8;
            size >>= 7;
        }
        pack.push(first);
        if let Some(base) = base {
            let distance = start - base;
            if distance >= 128 {
                pack.push(0x80 | ((distance >> 7) - 1) as u8);
            }
            pack.push((distance & 127) as u8);
        }
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        pack.extend(encoder.finish().unwrap());
        start
    };
    let number = |mut size: usize| {
        let mut bytes = Vec::new();
        while size > 127 {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    };
    let mut base = add(&[1 << 4], 65536, None, &[0; 65536]);
    let mut base_size = 65536;
    for _ in 0..count {
        let delta = [number(base_size), number(64 << 20), vec![0x80; 1024]].concat();
        base = add(&[6 << 4], delta.len(), Some(base), &delta);
        base_size = 64 << 20;
    }
    (u16::try_from(base).unwrap(), pack)
}

#[test]
fn any_repository_is_read_or_refused() {
    check("git", git, 800, || {
        let mut seeds = repositories::tests::fuzz_seeds();
        seeds.push([&[GIT_INDEX][..], &repeated_paths(20, 3)].concat());
        seeds.push([&[GIT_INDEX][..], &repeated_paths(1_000_000, 3000)].concat());
        let (offset, pack) = large_deltas(2400);
        seeds.push([&[GIT_PACK][..], &offset.to_be_bytes(), &pack].concat());
        seeds
    });
}
