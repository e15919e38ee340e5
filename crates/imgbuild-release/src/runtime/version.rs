//! Symbol versions: does every file find the versions that it needs?

use super::UnsatisfiedVersion;
use super::loader::Flavor;
use super::process::Process;
use crate::elf::Elf;

/// The version whose libc has the name services for files and DNS built in
/// (glibc 2.34, NEWS: `nss_files`, and `nss_dns` with libresolv moved in).
const WITH_NAME_SERVICES: &str = "GLIBC_2.34";

/// Returns whether this `libc.so.6` resolves names without further files.
pub(super) fn has_name_services(libc: &Elf) -> bool {
    libc.defined_versions.is_empty()
        || libc
            .defined_versions
            .iter()
            .any(|version| version == WITH_NAME_SERVICES)
}

/// Lists the versions that files of a process need and the libraries that
/// they found do not define.
///
/// As glibc's loader (`_dl_check_map_versions`, elf/dl-version.c): weak ones
/// do not count, nor does a library that defines no versions at all. musl's
/// loader does not look at versions.
pub(super) fn unsatisfied(process: &Process<'_>) -> Vec<UnsatisfiedVersion> {
    if process.loader.target.flavor == Flavor::Musl {
        return Vec::new();
    }
    let mut unsatisfied = Vec::new();
    for file in process.loaded.iter().filter(|file| !file.is_settled) {
        for needed in &file.elf.needed_versions {
            let Some(index) = process.names.get(&needed.library) else {
                // The library is missing, which is reported elsewhere.
                continue;
            };
            let library = &process.loaded[*index];
            let defined = &library.elf.defined_versions;
            for version in &needed.versions {
                if version.is_weak || defined.is_empty() || defined.contains(&version.name) {
                    continue;
                }
                unsatisfied.push(UnsatisfiedVersion {
                    object: file.file.clone(),
                    library: library.file.clone(),
                    version: version.name.clone(),
                    available: newest(defined, &version.name),
                    role: process.role,
                });
            }
        }
    }
    unsatisfied
}

/// Returns the newest of the versions with the same prefix: `GLIBC_2.36` of
/// `GLIBC_2.38`.
fn newest(defined: &[String], wanted: &str) -> Option<String> {
    let (prefix, _) = wanted.rsplit_once('_')?;
    defined
        .iter()
        .filter_map(|version| {
            let number = version.strip_prefix(prefix)?.strip_prefix('_')?;
            Some((numbers(number)?, version))
        })
        .max()
        .map(|(_, version)| version.clone())
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_numbers() {
        let defined: Vec<String> = [
            "GLIBC_2.2.5",
            "GLIBC_2.9",
            "GLIBC_2.36",
            "GLIBC_2.4",
            "GLIBC_PRIVATE",
            "GLIBCXX_3.4.30",
            "GLIBC_ABI_DT_RELR",
        ]
        .map(str::to_owned)
        .to_vec();
        for (wanted, expected) in [
            ("GLIBC_2.38", Some("GLIBC_2.36")),
            ("GLIBCXX_3.4.32", Some("GLIBCXX_3.4.30")),
            ("OPENSSL_3.0.0", None),
            ("plain", None),
        ] {
            assert_eq!(newest(&defined, wanted).as_deref(), expected, "{wanted}");
        }
    }
}
