//! Fuzz targets as tests: their seeds, the inputs that failed once, and changes
//! of both, the same in every run.
//!
//! A target is a function of any bytes that panics if a promise is broken.
//! `fuzz/` runs it under libFuzzer; [`check`] needs neither that nor another
//! compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use crate::sandbox::finish;

/// The file that a process of its own writes each input to before it runs it.
const INPUT: &str = "IMGBUILD_FUZZ_INPUT";

/// The directory to write the seeds to, instead of running anything.
const CORPUS: &str = "IMGBUILD_FUZZ_CORPUS";

/// The peak memory of the process of a target in KiB.
const MAX_PEAK_KIB: u64 = 256 << 10;

/// Limits of the process in case that an input takes far more: 4 GiB of
/// addresses, two minutes of processor time, no core file.
const LIMITS: &str = "ulimit -c 0; ulimit -t 120; ulimit -v 4194304; exec \"$0\" \"$@\"";

/// The largest input that is changed; larger ones run as they are.
const MAX_CHANGED_BYTES: usize = 64 << 10;

/// Runs a target over its seeds, its regressions and `changes` changed inputs,
/// in a process of its own, whose memory is bounded.
///
/// `name` is that of a file in `fuzz/fuzz_targets`, without `.rs`.
///
/// # Panics
///
/// If the target panics, is ended by a signal, or takes too much memory. The
/// input is kept, and its path is shown.
pub fn check(name: &str, target: fn(&[u8]), changes: usize, seeds: fn() -> Vec<Vec<u8>>) {
    if let Some(input) = variable(INPUT) {
        let mut inputs = seeds();
        inputs.extend(regressions(name));
        run_all(target, changes, &inputs, &input);
    } else if let Some(corpus) = variable(CORPUS) {
        write_seeds(&corpus.join(name), &seeds()).expect("the corpus is writable");
    } else {
        run_in_process(name);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment tells a process of a target from a test"
)]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Starts the current test again, as a process with limits.
#[expect(
    clippy::disallowed_methods,
    reason = "peak memory is that of a process"
)]
fn run_in_process(name: &str) {
    let program = std::env::current_exe().expect("a test knows its program");
    let input = program.with_file_name(format!("fuzz-{name}-{}", std::process::id()));
    let thread = std::thread::current();
    let test = thread.name().expect("a test runs in a thread of its name");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LIMITS]).arg(program);
    command
        .args([test, "--exact", "--nocapture"])
        .env(INPUT, &input);
    let outcome = finish(&mut command, b"");
    let is_run = String::from_utf8_lossy(&outcome.stdout).contains("1 passed");
    assert!(
        outcome.code == Some(0) && is_run,
        "the last input of the fuzz target `{name}` is in `{}`\n{}",
        input.display(),
        outcome.report()
    );
    fs::remove_file(input).expect("every target runs at least one input");
}

fn run_all(target: fn(&[u8]), changes: usize, inputs: &[Vec<u8>], file: &Path) {
    let run = |bytes: &[u8]| {
        fs::write(file, bytes).expect("the directory of the test programs is writable");
        target(bytes);
        let peak = peak_kib();
        assert!(peak <= MAX_PEAK_KIB, "the peak memory is {peak} KiB");
    };
    inputs.iter().for_each(|input| run(input));
    let short = inputs
        .iter()
        .filter(|input| input.len() <= MAX_CHANGED_BYTES);
    let short: Vec<&[u8]> = short.map(Vec::as_slice).collect();
    let mut mutator = Mutator(0);
    for _ in 0..changes {
        run(&mutator.change(&short));
    }
}

/// Returns the peak memory of this process in KiB ([proc(5)]); 0 where it is
/// unknown.
///
/// [proc(5)]: https://man7.org/linux/man-pages/man5/proc.5.html
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Returns the inputs that failed once.
fn regressions(name: &str) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    assert!(
        fuzz.join(format!("fuzz_targets/{name}.rs")).is_file(),
        "`fuzz` has no target `{name}`"
    );
    let Ok(entries) = fs::read_dir(fuzz.join("regressions").join(name)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the directory is readable").path())
        .collect();
    files.sort();
    let read = |path: &PathBuf| fs::read(path).expect("a regression is readable");
    files.iter().map(read).collect()
}

fn write_seeds(directory: &Path, seeds: &[Vec<u8>]) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{index:03}")), seed)?;
    }
    Ok(())
}

/// Numbers at which counts, sizes and offsets turn over.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX >> 1,
    u64::MAX,
];

/// Makes changed inputs, the same ones in every run.
struct Mutator(u64);

impl Mutator {
    /// Returns a number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed >> 8).unwrap_or(0) % end
    }

    fn change(&mut self, inputs: &[&[u8]]) -> Vec<u8> {
        let index = self.below(inputs.len());
        let mut bytes = inputs[index].to_vec();
        for _ in 0..=self.below(4) {
            let start = self.below(bytes.len() + 1);
            let (removed, piece) = self.edit(&bytes[start..], inputs);
            bytes.splice(start..start + removed, piece);
        }
        bytes
    }

    /// Returns the number of bytes to remove from the start of `rest`, and
    /// those to insert in their place.
    fn edit(&mut self, rest: &[u8], inputs: &[&[u8]]) -> (usize, Vec<u8>) {
        let bit = 1_u8 << self.below(8);
        let edge = EDGES[self.below(EDGES.len())];
        let width = 1 << self.below(4);
        let length = self.below(rest.len().min(600) + 1);
        match self.below(9) {
            0 | 1 => (
                rest.len().min(1),
                rest.iter().take(1).map(|byte| byte ^ bit).collect(),
            ),
            2 => (rest.len().min(width), edge.to_le_bytes()[..width].to_vec()),
            3 => (
                rest.len().min(width),
                edge.to_be_bytes()[8 - width..].to_vec(),
            ),
            4 => (0, vec![bit; width]),
            5 => (0, rest[..length].repeat(width)),
            6 => (length, Vec::new()),
            7 => (rest.len(), Vec::new()),
            _ => {
                let other = inputs[self.below(inputs.len())];
                let start = self.below(other.len() + 1);
                let count = self.below((other.len() - start).min(600) + 1);
                (count.min(rest.len()), other[start..start + count].to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_many_and_the_same_in_every_run() {
        let inputs: [&[u8]; 2] = [b"hello world", b""];
        let changes = || {
            let mut mutator = Mutator(0);
            (0..1000)
                .map(|_| mutator.change(&inputs))
                .collect::<Vec<_>>()
        };
        let mut made = changes();
        assert_eq!(made, changes());
        made.sort();
        made.dedup();
        assert!(made.len() > 500, "{}", made.len());
    }

    #[test]
    fn peak_memory_is_known() {
        if Path::new("/proc/self/status").exists() {
            assert!(peak_kib() > 1000);
        }
    }

    #[test]
    fn seeds_are_files() {
        let directory = tempfile::tempdir().unwrap();
        write_seeds(directory.path(), &[b"a".to_vec(), b"b".to_vec()]).unwrap();
        assert_eq!(fs::read(directory.path().join("seed-001")).unwrap(), b"b");
    }
}
