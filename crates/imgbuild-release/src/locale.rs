//! Locales of the building machine that an image gets.
//!
//! The C library of GNU looks for a locale first in one archive, then in a
//! directory of its name, both in `/usr/lib/locale` ([locale(7)],
//! `_nl_find_locale` in glibc's locale/findlocale.c). An image gets the
//! directory: what the archive has is taken apart, for the archive holds all
//! locales of the machine.
//!
//! The archive is made by `localedef` (glibc's locale/locarchive.h): a header,
//! a table of names, their texts, and for each locale the offsets of its files.
//! All numbers have four bytes in the order of the machine that made it. They
//! may be hostile: counts and sizes are bounded, and no read leaves the file.
//!
//! [locale(7)]: https://man7.org/linux/man-pages/man7/locale.7.html

use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::bounded;
use imgbuild_oci::content::HostFile;
use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use crate::programs::{Programs, ProgramsError};

pub(crate) const DIRECTORY: &str = "/usr/lib/locale";

/// Locales that are part of every C library.
pub(crate) const BUILT_IN: [&str; 2] = ["C", "POSIX"];

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
            programs.packages.files.push(file);
            for (file, bytes) in files {
                let path = format!("{DIRECTORY}/{normalized}/{file}");
                let path = ImagePath::parse(path).map_err(ProgramsError::Path)?;
                programs.place_data(Member::file(path, 0o644, bytes));
            }
            return Ok(());
        }
        known.extend(archive.names.into_iter().map(|(name, _)| name));
    }
    known.sort();
    known.dedup();
    let name = name.to_owned();
    Err(LocaleError::Unknown { name, known })
}

/// Spells the character set of a name as the archive does: lower case, only
/// letters and digits, `iso` before a mere number (`_nl_normalize_codeset` in
/// glibc's intl/l10nflist.c).
pub(crate) fn normalize(name: &str) -> String {
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

/// The first number (`AR_MAGIC`).
const MAGIC: u32 = 0xde02_0109;

/// The number of integers in the header.
const HEADER_NUMBERS: usize = 14;

/// The most places that the table of names may have: there are some 500
/// locales, and a table is twice as large as what it holds.
const MAX_NAMES: u32 = 1 << 16;

/// The record of a place in the table that has no name.
const FREE: u32 = 0;

const MAX_NAME_BYTES: u64 = 256;

/// The most bytes of one file of a locale; the largest of glibc's has 3 MiB.
const MAX_FILE_BYTES: u32 = 32 << 20;

/// The files of a locale by the number of their category (locale.h); the
/// seventh, `LC_ALL`, has no file.
const CATEGORIES: [Option<&str>; 13] = [
    Some("LC_CTYPE"),
    Some("LC_NUMERIC"),
    Some("LC_TIME"),
    Some("LC_COLLATE"),
    Some("LC_MONETARY"),
    Some("LC_MESSAGES/SYS_LC_MESSAGES"),
    None,
    Some("LC_PAPER"),
    Some("LC_NAME"),
    Some("LC_ADDRESS"),
    Some("LC_TELEPHONE"),
    Some("LC_MEASUREMENT"),
    Some("LC_IDENTIFICATION"),
];

/// A failure to read an archive of locales.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A call on it failed.
    #[error(transparent)]
    File(#[from] io::Error),
    /// It does not start as one.
    #[error("it is not an archive of locales for this processor")]
    NotAnArchive,
    /// It contradicts itself.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

type ArchiveResult<T> = Result<T, ArchiveError>;

/// The files of a locale by their names in its directory.
type LocaleFiles = Vec<(&'static str, Vec<u8>)>;

/// An open archive, with the names in it.
pub(crate) struct LocaleArchive {
    file: fs::File,
    size: u64,
    /// Each locale with the offset of its record.
    pub(crate) names: Vec<(String, u64)>,
}

impl LocaleArchive {
    /// Opens an archive and reads its table of names.
    pub(crate) fn open(path: &Path) -> ArchiveResult<Self> {
        let file = HostFile::find(path)?.open().map_err(io::Error::other)?;
        let size = file.metadata()?.len();
        let mut archive = Self {
            file,
            size,
            names: Vec::new(),
        };
        let not_an_archive = Err(ArchiveError::NotAnArchive);
        if size < HEADER_NUMBERS as u64 * 4 {
            return not_an_archive;
        }
        let header = archive.numbers(0, HEADER_NUMBERS)?;
        let [MAGIC, _, offset, _, count, ..] = header[..] else {
            return not_an_archive;
        };
        if count > MAX_NAMES {
            return Err(ArchiveError::Damaged("its table of names is too large"));
        }
        let table = archive.numbers(u64::from(offset), count as usize * 3)?;
        for place in table.chunks_exact(3) {
            if let [_, name, record] = *place
                && record != FREE
            {
                let name = archive.name(u64::from(name))?;
                archive.names.push((name, u64::from(record)));
            }
        }
        Ok(archive)
    }

    pub(crate) fn locale(&mut self, name: &str) -> ArchiveResult<Option<LocaleFiles>> {
        let found = self.names.iter().find(|(known, _)| known == name);
        let Some(record) = found.map(|(_, record)| *record) else {
            return Ok(None);
        };
        // How often it is named stands in front.
        let places = self.numbers(record, 1 + 2 * CATEGORIES.len())?;
        let places = places.get(1..).unwrap_or_default().chunks_exact(2);
        let (mut files, mut left) = (Vec::new(), MAX_FILE_BYTES);
        for (category, place) in CATEGORIES.iter().zip(places) {
            if let (Some(category), [offset, length]) = (category, place) {
                let too_large = ArchiveError::Damaged("a file in it is too large");
                left = left.checked_sub(*length).ok_or(too_large)?;
                let bytes = self.bytes(u64::from(*offset), u64::from(*length))?;
                files.push((*category, bytes));
            }
        }
        Ok(Some(files))
    }

    fn name(&mut self, offset: u64) -> ArchiveResult<String> {
        let length = self.size.saturating_sub(offset).min(MAX_NAME_BYTES);
        let bytes = self.bytes(offset, length)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let end = end.ok_or(ArchiveError::Damaged("a name in it has no end"))?;
        let name = String::from_utf8(bytes[..end].to_vec());
        let name = name.map_err(|_| ArchiveError::Damaged("a name in it is not UTF-8"))?;
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            Err(ArchiveError::Damaged(
                "a name in it is not the name of a locale",
            ))
        } else {
            Ok(name)
        }
    }

    fn numbers(&mut self, offset: u64, count: usize) -> ArchiveResult<Vec<u32>> {
        let bytes = self.bytes(offset, count as u64 * 4)?;
        let numbers = bytes.chunks_exact(4);
        let numbers = numbers.filter_map(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
        Ok(numbers.collect())
    }

    fn bytes(&mut self, offset: u64, length: u64) -> ArchiveResult<Vec<u8>> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.size) {
            return Err(ArchiveError::Damaged("an offset is beyond its end"));
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let bytes = bounded::read_start(&self.file, length)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(ArchiveError::Damaged("it was truncated"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
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

    /// An archive with one locale, `xx_YY.utf8`, whose files hold the number
    /// of their category.
    pub(crate) fn archive() -> Vec<u8> {
        const TABLE: u32 = 56;
        const NAME: u32 = TABLE + 3 * 12;
        const RECORD: u32 = NAME + 16;
        const FILES: u32 = RECORD + 27 * 4;
        let mut numbers = vec![MAGIC, 1, TABLE, 1, 3, NAME, 16, 16, RECORD, 1, 1, 0, 0, 0];
        numbers.extend([0; 3]);
        numbers.extend([7, NAME, RECORD]);
        numbers.extend([0; 3]);
        let mut bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        bytes.extend(b"xx_YY.utf8\0\0\0\0\0\0");
        let places = (0..13).flat_map(|category| [FILES + category, 1]);
        let record = [1].into_iter().chain(places);
        bytes.extend(record.flat_map(u32::to_ne_bytes));
        bytes.extend(0..13);
        bytes
    }

    fn opened(bytes: &[u8]) -> ArchiveResult<LocaleArchive> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        LocaleArchive::open(file.path())
    }

    #[test]
    fn the_files_of_a_locale_are_found_by_its_name() {
        let mut archive = opened(&archive()).unwrap();
        let files = archive.locale("xx_YY.utf8").unwrap().unwrap();
        assert_eq!(files.len(), 12);
        assert_eq!(files[0], ("LC_CTYPE", vec![0]));
        assert_eq!(files[5], ("LC_MESSAGES/SYS_LC_MESSAGES", vec![5]));
        assert_eq!(files[6], ("LC_PAPER", vec![7]));
        assert!(archive.locale("xx_YY").unwrap().is_none());
        assert_eq!(archive.names[0].0, "xx_YY.utf8");
    }

    #[test]
    fn no_change_of_a_byte_and_no_cut_panics() {
        let whole = archive();
        for length in 0..whole.len() {
            let found = opened(&whole[..length]).and_then(|mut found| found.locale("xx_YY.utf8"));
            assert!(found.is_err(), "cut to {length}");
        }
        for position in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[position] = byte;
                let found = opened(&changed).and_then(|mut found| found.locale("xx_YY.utf8"));
                if let Ok(Some(files)) = found {
                    assert_eq!(files.len(), 12);
                }
            }
        }
    }

    #[test]
    fn what_is_no_archive_or_too_large_is_refused() {
        let changed = |position: usize, number: u32| {
            let mut bytes = archive();
            bytes[position..position + 4].copy_from_slice(&number.to_ne_bytes());
            opened(&bytes).and_then(|mut found| found.locale("xx_YY.utf8"))
        };
        assert!(matches!(changed(0, 1), Err(ArchiveError::NotAnArchive)));
        for (position, number) in [
            (16, MAX_NAMES + 1),
            (8, u32::MAX),
            (112, MAX_FILE_BYTES + 1),
        ] {
            let found = changed(position, number);
            assert!(
                matches!(found, Err(ArchiveError::Damaged(_))),
                "{position}: {found:?}"
            );
        }
    }
}
