//! The releases that the benchmark packages, made of files of this machine; they
//! are the same in every run.

use std::io::{self, Read, Write};
use std::path::Path;

use fs_err::File;

use super::corpus::{Class, Corpus};
use crate::Result;

/// The size of the file that changes between builds, in bytes.
const CHANGING_BYTES: u64 = 5_000_000;

/// A kind of release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// 3,000 files of all sizes, 1 GB together
    Tree,
    /// 100,000 files of 2 KiB on average
    Small,
    /// One file of 1 GB
    One,
    /// One program of 10 MB
    Binary,
}

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Small => "small",
            Self::One => "one",
            Self::Binary => "binary",
        }
    }
}

/// Writes `workload` to `directory`, which appears when it is complete.
pub(super) fn make(workload: Workload, scale: f64, directory: &Path) -> Result {
    let scaled = |count: f64| scaled(count, scale);
    let total = match workload {
        Workload::Tree | Workload::One => scaled(1e9),
        Workload::Small => scaled(205e6),
        // The same at every scale.
        Workload::Binary => 10_000_000,
    };
    make_of(Corpus::open(total)?, workload, scale, total, directory)
}

fn make_of(corpus: Corpus, workload: Workload, scale: f64, total: u64, directory: &Path) -> Result {
    let mut maker = Maker {
        corpus,
        random: Random(0x1234_5678_9abc_def1),
    };
    let scaled = |count: f64| scaled(count, scale);
    let parent = directory.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(parent)?;
    let fresh = tempfile::Builder::new()
        .prefix(".making-")
        .tempdir_in(parent)?;
    match workload {
        Workload::Tree => maker.tree(fresh.path(), scaled(3_000.0), total)?,
        Workload::Small => maker.small(fresh.path(), scaled(100_000.0))?,
        Workload::One => maker.one(fresh.path(), total)?,
        Workload::Binary => maker.file(&fresh.path().join("server"), Class::Elf, total)?,
    }
    fs_err::rename(fresh.keep(), directory)?;
    Ok(())
}

fn scaled(count: f64, scale: f64) -> u64 {
    (count * scale).round().max(1.0) as u64
}

struct Maker {
    corpus: Corpus,
    random: Random,
}

impl Maker {
    fn tree(&mut self, root: &Path, count: u64, total: u64) -> Result {
        // Sizes between 256 bytes and 2.5 MiB, as many in each doubling.
        let sizes: Vec<f64> = (0..count)
            .map(|_| 256.0 * (self.random.fraction() * 10_240_f64.ln()).exp())
            .collect();
        let rest = total.saturating_sub(CHANGING_BYTES) as f64;
        let factor = rest / sizes.iter().sum::<f64>();
        for (index, size) in sizes.iter().enumerate() {
            let class = match self.random.below(100) {
                0..50 => Class::Elf,
                50..85 => Class::Text,
                _ => Class::Compressed,
            };
            let directory = root.join(format!("lib/part-{:02}/{}", index / 100, index % 100 / 10));
            fs_err::create_dir_all(&directory)?;
            let name = format!("file-{index:04}");
            self.file(&directory.join(name), class, (size * factor) as u64)?;
        }
        self.file(&root.join("lib/changing"), Class::Elf, CHANGING_BYTES)
    }

    fn small(&mut self, root: &Path, count: u64) -> Result {
        for index in 0..count {
            let class = if self.random.below(5) == 0 {
                Class::Elf
            } else {
                Class::Text
            };
            let directory = root.join(format!("modules/{:03}", index / 200));
            if index % 200 == 0 {
                fs_err::create_dir_all(&directory)?;
            }
            let size = self.random.below(4097);
            self.file(&directory.join(format!("module-{index}")), class, size)?;
        }
        Ok(())
    }

    /// Writes a file like an archive of assets, with all classes in turn.
    fn one(&mut self, root: &Path, total: u64) -> Result {
        let mut file = File::create(root.join("data"))?;
        let mut rest = total;
        for class in [Class::Elf, Class::Text, Class::Elf, Class::Compressed]
            .iter()
            .cycle()
        {
            if rest == 0 {
                break;
            }
            let count = rest.min(4 << 20);
            self.fill(&mut file, *class, count)?;
            rest -= count;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, class: Class, size: u64) -> Result {
        self.fill(&mut File::create(path)?, class, size)
    }

    fn fill(&mut self, sink: &mut impl Write, class: Class, size: u64) -> Result {
        io::copy(&mut self.corpus.reader(class).take(size), sink)?;
        Ok(())
    }
}

/// Xorshift: short, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::bound::list;
    use super::*;

    fn corpus(place: &Path) -> Corpus {
        for (name, start) in [("elf", "\x7fELF"), ("text", "text"), ("gzip", "\x1f\u{8b}")] {
            let content = format!("{start}{}", name.repeat(1000));
            fs_err::create_dir_all(place).unwrap();
            fs_err::write(place.join(name), content).unwrap();
        }
        Corpus::of(&[place], 1 << 20)
    }

    #[test]
    fn workloads_have_their_size() {
        let scratch = tempfile::tempdir().unwrap();
        for (workload, (scale, total), files, bytes) in [
            (
                Workload::Tree,
                (0.01, 10_000_000),
                31,
                9_999_000..10_000_001,
            ),
            (Workload::Small, (0.001, 205_000), 100, 180_000..230_000),
            (Workload::One, (0.01, 10_000_000), 1, 10_000_000..10_000_001),
            (
                Workload::Binary,
                (1.0, 10_000_000),
                1,
                10_000_000..10_000_001,
            ),
        ] {
            let tree = scratch.path().join(workload.name());
            let corpus = corpus(&scratch.path().join("corpus"));
            make_of(corpus, workload, scale, total, &tree).unwrap();
            let list = list(&tree).unwrap();
            let size: u64 = list.iter().map(|(_, size)| size).sum();
            assert_eq!(list.len(), files, "{workload:?}");
            assert!(bytes.contains(&size), "{workload:?}: {size}");
        }
    }

    #[test]
    fn a_workload_is_the_same_every_time() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name| {
            let tree = scratch.path().join(name);
            let corpus = corpus(&scratch.path().join("corpus"));
            make_of(corpus, Workload::Small, 0.0001, 20_500, &tree).unwrap();
            fs_err::read(tree.join("modules/000/module-3")).unwrap()
        };
        assert_eq!(make("a"), make("b"));
    }
}
