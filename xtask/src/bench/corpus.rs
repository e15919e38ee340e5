//! Real bytes of this machine, in classes that compress differently.

use std::io::Read;
use std::path::{Path, PathBuf};

use fs_err::File;

use crate::Result;

/// The directories of programs, libraries and texts on every distribution.
const PLACES: [&str; 4] = ["/usr/bin", "/usr/lib", "/usr/share", "/usr/local"];

/// The size at which a class is complete, in bytes: repetitions are far apart.
const ENOUGH_BYTES: u64 = 600 << 20;

/// The size below which a file has no typical content, in bytes.
const MIN_FILE_BYTES: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Elf,
    Text,
    Compressed,
}

/// The files of each class as endless streams.
#[derive(Debug)]
pub(super) struct Corpus {
    elf: Endless,
    text: Endless,
    compressed: Endless,
    enough: u64,
}

/// Files one after the other, again and again.
#[derive(Debug, Default)]
struct Endless {
    files: Vec<PathBuf>,
    bytes: u64,
    next: usize,
    open: Option<File>,
}

impl Corpus {
    /// Collects files of this machine until each class suffices for a workload of
    /// `total` bytes.
    pub(super) fn open(total: u64) -> Result<Self> {
        let places: Vec<&Path> = PLACES.iter().map(Path::new).collect();
        let corpus = Self::of(&places, total.min(ENOUGH_BYTES));
        if corpus.elf.files.is_empty() || corpus.text.files.is_empty() {
            return Err("no programs or texts below `/usr`".into());
        }
        Ok(corpus)
    }

    pub(super) fn of(places: &[&Path], enough: u64) -> Self {
        let mut corpus = Self {
            elf: Endless::default(),
            text: Endless::default(),
            compressed: Endless::default(),
            enough,
        };
        let mut directories: Vec<PathBuf> = places.iter().rev().map(|place| place.into()).collect();
        while !corpus.is_complete()
            && let Some(directory) = directories.pop()
        {
            // Files that cannot be read are left out.
            let Ok(entries) = fs_err::read_dir(directory) else {
                continue;
            };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths.iter().rev() {
                match fs_err::symlink_metadata(path) {
                    Ok(metadata) if metadata.is_dir() => directories.push(path.clone()),
                    Ok(metadata) if metadata.is_file() => corpus.add(path, metadata.len()),
                    _ => {}
                }
            }
        }
        corpus
    }

    fn is_complete(&self) -> bool {
        let classes = [&self.elf, &self.text, &self.compressed];
        classes.iter().all(|class| class.bytes >= self.enough)
    }

    fn add(&mut self, path: &Path, size: u64) {
        if size < MIN_FILE_BYTES {
            return;
        }
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
        let Some(class) = read.ok().and_then(|_| classify(&start)) else {
            return;
        };
        let enough = self.enough;
        let endless = self.endless(class);
        if endless.bytes < enough {
            endless.files.push(path.to_path_buf());
            endless.bytes += size;
        }
    }

    fn endless(&mut self, class: Class) -> &mut Endless {
        match class {
            Class::Elf => &mut self.elf,
            Class::Text => &mut self.text,
            Class::Compressed => &mut self.compressed,
        }
    }

    /// Returns a reader that never ends.
    pub(super) fn reader(&mut self, class: Class) -> &mut impl Read {
        // A machine without manual pages and pictures may have no compressed files.
        let class = match class {
            Class::Compressed if self.compressed.files.is_empty() => Class::Elf,
            class => class,
        };
        self.endless(class)
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                match file.read(buffer)? {
                    0 => self.open = None,
                    count => return Ok(count),
                }
            }
            self.open = Some(File::open(&self.files[self.next])?);
            self.next = (self.next + 1) % self.files.len();
        }
    }
}

fn classify(start: &[u8]) -> Option<Class> {
    const COMPRESSED: [&[u8]; 7] = [
        b"\x1f\x8b",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
        b"BZh",
        b"PK\x03\x04",
        b"\x89PNG",
        b"\xff\xd8\xff",
    ];
    if start.starts_with(b"\x7fELF") {
        return Some(Class::Elf);
    }
    if COMPRESSED.iter().any(|magic| start.starts_with(magic)) {
        return Some(Class::Compressed);
    }
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\n' | b'\t' | b'\r');
    start.iter().all(is_text).then_some(Class::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_classified_by_their_start() {
        for (start, class) in [
            (b"\x7fELF\x02\x01".as_slice(), Some(Class::Elf)),
            (b"\x1f\x8b\x08\x00", Some(Class::Compressed)),
            ("Grüße\n".as_bytes(), Some(Class::Text)),
            (b"\x00\x01\x02", None),
        ] {
            assert_eq!(classify(start), class, "{start:?}");
        }
    }

    #[test]
    fn a_class_is_read_again_from_its_start() {
        let scratch = tempfile::tempdir().unwrap();
        let (a, b) = ("a".repeat(600), "b".repeat(600));
        fs_err::write(scratch.path().join("1"), &a).unwrap();
        fs_err::write(scratch.path().join("2"), &b).unwrap();
        let mut corpus = Corpus::of(&[scratch.path()], 1 << 20);
        assert_eq!(corpus.text.files.len(), 2);
        let mut text = String::new();
        corpus
            .reader(Class::Text)
            .take(2400)
            .read_to_string(&mut text)
            .unwrap();
        assert!(text == b.clone() + &a + &b + &a || text == a.clone() + &b + &a + &b);
    }
}
