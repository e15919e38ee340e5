//! Lower bounds of this machine: only the same reads, hashes and writes, on all
//! cores.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

use fs_err::File;
use sha2::{Digest, Sha256};

use crate::Result;

const CHUNK_BYTES: usize = 256 * 1024;

/// The largest file that one thread hashes and copies, in bytes; a larger one is
/// copied by several.
const MAX_WHOLE_BYTES: u64 = 16 << 20;

/// Calls `stat` for every path of `tree` on all cores.
pub(super) fn stat(tree: &Path) -> Result {
    list(tree).map(|_| ())
}

/// Reads every file of `tree`.
pub(super) fn read(tree: &Path) -> Result {
    let files = list(tree)?;
    on_all_cores(files.len(), |turn, buffer| {
        read_range(&files[turn].0, 0, files[turn].1, buffer, &mut |_, _| Ok(()))
    })
}

/// Reads and hashes every file of `tree`.
pub(super) fn hash(tree: &Path) -> Result {
    let files = list(tree)?;
    on_all_cores(files.len(), |turn, buffer| {
        let mut sha = Sha256::new();
        let (path, size) = &files[turn];
        read_range(path, 0, *size, buffer, &mut |_, bytes| {
            sha.update(bytes);
            Ok(())
        })?;
        std::hint::black_box(sha.finalize());
        Ok(())
    })
}

/// Writes as many bytes to `file` as the files of `tree` have.
pub(super) fn write(tree: &Path, file: &Path) -> Result {
    let total: u64 = list(tree)?.iter().map(|(_, size)| size).sum();
    let file = reserve(file, total)?;
    let step = 8 << 20;
    let pieces = usize::try_from(total.div_ceil(step))?;
    on_all_cores(pieces, |turn, buffer| {
        let start = turn as u64 * step;
        let mut at = start;
        while at < total.min(start + step) {
            let count = (total.min(start + step) - at).min(buffer.len() as u64) as usize;
            file.write_all_at(&buffer[..count], at)?;
            at += count as u64;
        }
        Ok(())
    })
}

/// Reads, hashes and writes every file of `tree`.
pub(super) fn copy(tree: &Path, file: &Path) -> Result {
    let mut jobs = Vec::new();
    let mut total = 0;
    for (path, size) in &list(tree)? {
        if *size <= MAX_WHOLE_BYTES {
            let job = Job {
                path: path.clone(),
                start: 0,
                end: *size,
                hashes: true,
                target: Some(total),
            };
            jobs.push(job);
        } else {
            jobs.push(Job {
                path: path.clone(),
                start: 0,
                end: *size,
                hashes: true,
                target: None,
            });
            for start in (0..*size).step_by(8 << 20) {
                let end = (*size).min(start + (8 << 20));
                let target = Some(total + start);
                jobs.push(Job {
                    path: path.clone(),
                    start,
                    end,
                    hashes: false,
                    target,
                });
            }
        }
        total += size;
    }
    // The longest first, so that all threads end together.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.end - job.start));
    let file = reserve(file, total)?;
    on_all_cores(jobs.len(), |turn, buffer| jobs[turn].run(&file, buffer))
}

/// A range of a file, to be hashed, written or both.
struct Job {
    path: PathBuf,
    start: u64,
    end: u64,
    hashes: bool,
    target: Option<u64>,
}

impl Job {
    fn run(&self, file: &std::fs::File, buffer: &mut [u8]) -> io::Result<()> {
        let mut sha = Sha256::new();
        read_range(
            &self.path,
            self.start,
            self.end,
            buffer,
            &mut |offset, bytes| {
                if self.hashes {
                    sha.update(bytes);
                }
                match self.target {
                    Some(target) => file.write_all_at(bytes, target + offset - self.start),
                    None => Ok(()),
                }
            },
        )?;
        std::hint::black_box(sha.finalize());
        Ok(())
    }
}

fn reserve(path: &Path, size: u64) -> Result<std::fs::File> {
    let file = File::create(path)?.into_file();
    if size > 0 {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    }
    Ok(file)
}

fn read_range(
    path: &Path,
    start: u64,
    end: u64,
    buffer: &mut [u8],
    see: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let file = File::open(path)?.into_file();
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        file.read_exact_at(&mut buffer[..count], at)?;
        see(at, &buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// Runs `work(0)` … `work(count - 1)` on all cores, each with a buffer.
fn on_all_cores(count: usize, work: impl Fn(usize, &mut [u8]) -> io::Result<()> + Sync) -> Result {
    let next = AtomicUsize::new(0);
    let run = || -> io::Result<()> {
        // Some processors copy from the kernel more slowly into a buffer that
        // starts at a page, or a few bytes after it.
        let mut memory = vec![0; CHUNK_BYTES + 4096 + 64];
        let start = memory.as_ptr().align_offset(4096) + 64;
        let buffer = &mut memory[start..start + CHUNK_BYTES];
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                return Ok(());
            }
            work(turn, buffer)?;
        }
    };
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().expect("reading does not panic"));
        ended.collect::<io::Result<()>>()
    })?;
    Ok(())
}

/// The state that the threads of a walk share.
#[derive(Default)]
struct Walk {
    directories: Vec<PathBuf>,
    busy: usize,
    files: Vec<(PathBuf, u64)>,
    failure: Option<io::Error>,
}

/// Lists the regular files of `tree` with their sizes, walking on all cores.
pub(super) fn list(tree: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let walk = Mutex::new(Walk {
        directories: vec![tree.to_path_buf()],
        ..Walk::default()
    });
    let changed = Condvar::new();
    let threads = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| walk_on(&walk, &changed));
        }
    });
    let walk = walk.into_inner().expect("no holder of the lock panics");
    match walk.failure {
        Some(error) => Err(error.into()),
        None => Ok(walk.files),
    }
}

fn walk_on(walk: &Mutex<Walk>, changed: &Condvar) {
    let mut state = walk.lock().expect("no holder of the lock panics");
    loop {
        let Some(directory) = state.directories.pop() else {
            if state.busy == 0 {
                return;
            }
            state = changed.wait(state).expect("no holder of the lock panics");
            continue;
        };
        state.busy += 1;
        drop(state);
        let seen = look_into(&directory);
        state = walk.lock().expect("no holder of the lock panics");
        state.busy -= 1;
        match seen {
            Ok((directories, files)) => {
                state.directories.extend(directories);
                state.files.extend(files);
            }
            Err(error) => state.failure = Some(error),
        }
        changed.notify_all();
    }
}

type Seen = (Vec<PathBuf>, Vec<(PathBuf, u64)>);

fn look_into(directory: &Path) -> io::Result<Seen> {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            directories.push(entry.path());
        } else if metadata.is_file() {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok((directories, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("a/b")).unwrap();
        fs_err::write(root.path().join("a/one"), vec![1; 300_000]).unwrap();
        fs_err::write(root.path().join("a/b/two"), vec![2; 17 << 20]).unwrap();
        fs_err::write(root.path().join("empty"), []).unwrap();
        root
    }

    #[test]
    fn a_tree_is_listed_with_sizes() {
        let root = tree();
        let mut list = list(root.path()).unwrap();
        list.sort();
        let sizes: Vec<u64> = list.iter().map(|(_, size)| *size).collect();
        assert_eq!(sizes, [17 << 20, 300_000, 0]);
        assert!(stat(&root.path().join("none")).is_err());
    }

    #[test]
    fn a_copy_has_every_byte_once() {
        let root = tree();
        let file = tempfile::NamedTempFile::new().unwrap();
        copy(root.path(), file.path()).unwrap();
        let copied = fs_err::read(file.path()).unwrap();
        let count = |value| copied.iter().filter(|byte| **byte == value).count();
        assert_eq!(
            (copied.len(), count(1), count(2)),
            (300_000 + (17 << 20), 300_000, 17 << 20)
        );
        write(root.path(), file.path()).unwrap();
        assert_eq!(
            fs_err::metadata(file.path()).unwrap().len(),
            300_000 + (17 << 20)
        );
        hash(root.path()).unwrap();
        read(root.path()).unwrap();
    }
}
