//! Locales of the building machine that an image gets.
//!
//! The C library of GNU looks for a locale first in one archive, then in a
//! directory of its name, both in `/usr/lib/locale` ([locale(7)],
//! `_nl_find_locale` in glibc's locale/findlocale.c). An image gets the
//! directory: what the archive has is taken apart, for the archive holds all
//! locales of the machine.
//!
//! [locale(7)]: https://man7.org/linux/man-pages/man7/locale.7.html

mod archive;

use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use crate::programs::{Programs, ProgramsError};
use archive::LocaleArchive;

pub use archive::ArchiveError;

const DIRECTORY: &str = "/usr/lib/locale";

/// Locales that are part of every C library.
const BUILT_IN: [&str; 2] = ["C", "POSIX"];

/// A failure to add a locale.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocaleError {
    /// It is neither a directory nor in the archive.
    #[error("the locale `{name}` is not on this machine{}", known_text(known))]
    Unknown {
        /// The name as given.
        name: String,
        /// The locales of this machine.
        known: Vec<String>,
    },
    /// The archive cannot be used.
    #[error("cannot read the archive of locales `{path}`")]
    Archive {
        /// The archive.
        path: String,
        /// The fault.
        #[source]
        cause: ArchiveError,
    },
    /// Its files cannot be included.
    #[error(transparent)]
    Files(#[from] ProgramsError),
}

/// Adds a locale by its name.
///
/// # Errors
///
/// When the machine does not have it, and when the archive is damaged.
pub(crate) fn add(name: &str, programs: &mut Programs<'_>) -> Result<(), LocaleError> {
    if BUILT_IN.contains(&name) {
        return Ok(());
    }
    let normalized = normalize(name);
    for directory in [name, &normalized] {
        // Every locale has the file of its characters.
        let characters = format!("{DIRECTORY}/{directory}/LC_CTYPE");
        if programs.host_file(&characters).is_some() {
            programs.add_data(&format!("{DIRECTORY}/{directory}"))?;
            return Ok(());
        }
    }
    let mut known = programs.host_names(DIRECTORY);
    known.retain(|name| !name.starts_with("locale-archive"));
    let path = format!("{DIRECTORY}/locale-archive");
    if let Some(file) = programs.host_file(&path) {
        let error = |cause| {
            let path = path.clone();
            LocaleError::Archive { path, cause }
        };
        let mut archive = LocaleArchive::open(&file).map_err(error)?;
        if let Some(files) = archive.locale(&normalized).map_err(error)? {
            for (file, bytes) in files {
                let path = format!("{DIRECTORY}/{normalized}/{file}");
                let path = ImagePath::parse(path).map_err(ProgramsError::Path)?;
                programs.place_data(Member::file(path, 0o644, bytes));
            }
            return Ok(());
        }
        known.extend(archive.into_names());
    }
    known.sort();
    known.dedup();
    let name = name.to_owned();
    Err(LocaleError::Unknown { name, known })
}

/// Spells the character set of a name as the archive does: lower case, only
/// letters and digits, `iso` before a mere number (`_nl_normalize_codeset` in
/// glibc's intl/l10nflist.c).
fn normalize(name: &str) -> String {
    let (rest, modifier) = match name.split_once('@') {
        Some((rest, modifier)) => (rest, format!("@{modifier}")),
        None => (name, String::new()),
    };
    let Some((language, set)) = rest.split_once('.') else {
        return name.to_owned();
    };
    let letters = set.chars().filter(char::is_ascii_alphanumeric);
    let set: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let prefix = if set.bytes().all(|letter| letter.is_ascii_digit()) {
        "iso"
    } else {
        ""
    };
    format!("{language}.{prefix}{set}{modifier}")
}

fn known_text(known: &[String]) -> String {
    if known.is_empty() {
        ", which has no locales".to_owned()
    } else {
        format!(" (it has: `{}`)", known.join("`, `"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fs_err as fs;

    use super::*;
    use crate::contents::Contents;

    #[test]
    fn character_sets_are_spelled_as_the_archive_does() {
        for (name, expected) in [
            ("de_DE.UTF-8", "de_DE.utf8"),
            ("de_DE.ISO-8859-15@euro", "de_DE.iso885915@euro"),
            ("ru_RU.1251", "ru_RU.iso1251"),
            ("de_DE@euro", "de_DE@euro"),
            ("de_DE", "de_DE"),
        ] {
            assert_eq!(normalize(name), expected);
        }
    }

    fn brought(root: &Path, name: &str) -> Result<Vec<String>, LocaleError> {
        let contents = Contents::new(&[]);
        let mut programs = Programs::new(Some(root), &contents, Vec::new(), 1);
        add(name, &mut programs)?;
        let members = programs.finish()?.members.into_iter();
        Ok(members
            .map(|member| member.entry.path.to_string())
            .collect())
    }

    #[test]
    fn a_directory_is_taken_by_either_spelling() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("usr/lib/locale/xx_YY.utf8");
        fs::create_dir_all(directory.join("LC_MESSAGES")).unwrap();
        fs::write(directory.join("LC_CTYPE"), "characters").unwrap();
        fs::write(directory.join("LC_MESSAGES/SYS_LC_MESSAGES"), "yes").unwrap();
        for name in ["xx_YY.UTF-8", "xx_YY.utf8"] {
            assert_eq!(
                brought(root.path(), name).unwrap(),
                [
                    "/usr/lib/locale/xx_YY.utf8/LC_CTYPE",
                    "/usr/lib/locale/xx_YY.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
                ]
            );
        }
        assert_eq!(brought(root.path(), "C").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_nowhere_is_told_with_what_there_is() {
        let root = tempfile::tempdir().unwrap();
        let error = brought(root.path(), "xx_YY.UTF-8").unwrap_err().to_string();
        assert_eq!(
            error,
            "the locale `xx_YY.UTF-8` is not on this machine, which has no locales"
        );
        fs::create_dir_all(root.path().join("usr/lib/locale/C.utf8")).unwrap();
        let error = brought(root.path(), "xx_YY.UTF-8").unwrap_err().to_string();
        assert!(error.ends_with("(it has: `C.utf8`)"), "{error}");
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib/locale")).unwrap();
        fs::write(root.path().join("usr/lib/locale/locale-archive"), "x").unwrap();
        assert!(matches!(
            brought(root.path(), "xx_YY.UTF-8"),
            Err(LocaleError::Archive { .. })
        ));
    }
}
