//! The benchmark: imgbuild as a whole process, beside an older imgbuild, other
//! programs, and lower bounds of this machine.
//!
//! The subjects of a case run in turn (A B C A B C …), so that a slow minute of
//! the machine meets all of them; ratios are taken within a round. No test
//! depends on a time.

mod bound;
mod builds;
mod corpus;
mod measure;
mod push;
mod subject;
mod table;
mod workload;

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use clap::ValueEnum;

use crate::Result;
use crate::process::{self, command, is_installed, workspace};
use measure::{Measurement, RunDirectory};
use subject::Subject;
use table::Row;
use workload::Workload;

/// The programs that are measured beside imgbuild, or needed for it.
const PEERS: [&str; 4] = ["pigz", "docker-registry", "skopeo", "crane"];

/// The options of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArguments {
    /// Measure this case only (can be repeated)
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Use this workload only (can be repeated)
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Workload>,
    /// Size of the workloads; 1 is a gigabyte
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Number of runs of each subject
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Directory for workloads and outputs [default: target/bench]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The program to measure [default: a release build of this workspace]
    #[arg(long)]
    imgbuild: Option<PathBuf>,
    /// An older program, measured beside it
    #[arg(long)]
    baseline: Option<PathBuf>,
}

/// A situation in which an image is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// The first build, an uncompressed archive
    Plain,
    /// The first build, a layout with gzip layers
    Gzip,
    /// The second build, nothing changed
    Warm,
    /// A further build, one file of 5 MB changed
    Changed,
    /// The first build on this machine, with the layers of another
    CacheFrom,
    /// The first push to an empty registry
    Push,
    /// A push from a fresh machine, nothing changed
    PushAgain,
    /// A push from a fresh machine, one file of 5 MB changed
    PushChanged,
}

/// The measured work that is not a build. Each runs in a process of its own: a
/// child's peak memory begins with that of its parent.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Measured {
    /// Make a workload
    Make {
        workload: Workload,
        scale: f64,
        directory: PathBuf,
    },
    /// Call `stat` for every path of a tree
    Stat { tree: PathBuf },
    /// Read every file of a tree
    Read { tree: PathBuf },
    /// Read and hash every file of a tree
    Hash { tree: PathBuf },
    /// Write as many bytes as the files of a tree have
    Write { tree: PathBuf, file: PathBuf },
    /// Read, hash and write every file of a tree
    Copy { tree: PathBuf, file: PathBuf },
}

pub(crate) fn run_measured(measured: &Measured) -> Result {
    match measured {
        Measured::Make {
            workload,
            scale,
            directory,
        } => workload::make(*workload, *scale, directory),
        Measured::Stat { tree } => bound::stat(tree),
        Measured::Read { tree } => bound::read(tree),
        Measured::Hash { tree } => bound::hash(tree),
        Measured::Write { tree, file } => bound::write(tree, file),
        Measured::Copy { tree, file } => bound::copy(tree, file),
    }
}

pub(crate) fn run(arguments: &BenchArguments) -> Result {
    if !(arguments.scale > 0.0 && arguments.scale <= 100.0) || arguments.rounds == 0 {
        return Err("the scale must be above 0 and at most 100, the rounds at least 1".into());
    }
    let bench = Bench::prepare(arguments)?;
    bench.print_machine()?;
    let workloads = chosen_or_all(&arguments.workloads);
    let cases = chosen_or_all(&arguments.cases);
    for workload in workloads {
        let tree = bench.workload(*workload, arguments.scale)?;
        for case in cases.iter().filter(|case| case.is_for(*workload)) {
            println!("\n### {}, workload `{}`\n", case.title(), workload.name());
            bench.run_case(*case, &tree, arguments.rounds)?;
        }
    }
    Ok(())
}

fn chosen_or_all<T: ValueEnum>(chosen: &[T]) -> &[T] {
    if chosen.is_empty() {
        T::value_variants()
    } else {
        chosen
    }
}

impl Case {
    fn title(self) -> &'static str {
        match self {
            Self::Plain => "Cold, uncompressed archive",
            Self::Gzip => "Cold, layout with gzip layers",
            Self::Warm => "Warm, nothing changed",
            Self::Changed => "Warm, one file of 5 MB changed",
            Self::CacheFrom => "Empty cache, `--cache-from` the last layout",
            Self::Push => "First push to an empty registry",
            Self::PushAgain => "Push from a fresh machine, nothing changed",
            Self::PushChanged => "Push from a fresh machine, one file of 5 MB changed",
        }
    }

    fn is_for(self, workload: Workload) -> bool {
        match self {
            Self::Plain | Self::Gzip | Self::Warm => true,
            Self::Changed | Self::Push | Self::PushAgain | Self::PushChanged => {
                workload == Workload::Tree
            }
            Self::CacheFrom => workload != Workload::Binary,
        }
    }

    /// Returns what is measured; imgbuild comes first.
    fn subjects(self, peers: &[&str]) -> Vec<Subject> {
        match self {
            Self::Plain => builds::plain(),
            Self::Gzip => builds::gzip(peers.contains(&"pigz")),
            Self::Warm => builds::warm(),
            Self::Changed => builds::changed(),
            Self::CacheFrom => builds::cache_from(),
            Self::Push => push::subjects(push::Start::EmptyRegistry, peers),
            Self::PushAgain => push::subjects(push::Start::FreshMachine, peers),
            Self::PushChanged => push::subjects(push::Start::ChangedRelease, peers),
        }
    }
}

/// The programs and directories of a run.
struct Bench {
    directory: PathBuf,
    imgbuild: PathBuf,
    baseline: Option<PathBuf>,
    /// This program, as a release build.
    xtask: PathBuf,
    /// The installed ones.
    peers: Vec<&'static str>,
}

impl Bench {
    fn prepare(arguments: &BenchArguments) -> Result<Self> {
        let mut build = command(&["cargo", "build", "--release", "--locked", "-p", "xtask"]);
        if arguments.imgbuild.is_none() {
            build.args(["-p", "imgbuild"]);
        }
        process::run(&mut build)?;

        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let programs = workspace().join(target).join("release");
        let imgbuild = arguments.imgbuild.clone();
        let imgbuild = imgbuild.unwrap_or_else(|| programs.join("imgbuild"));
        let directory = arguments.dir.clone();
        let directory = directory.unwrap_or_else(|| workspace().join("target/bench"));
        fs_err::create_dir_all(&directory)?;
        Ok(Self {
            directory: fs_err::canonicalize(directory)?,
            imgbuild: fs_err::canonicalize(imgbuild)?,
            baseline: arguments
                .baseline
                .as_ref()
                .map(fs_err::canonicalize)
                .transpose()?,
            xtask: programs.join("xtask"),
            peers: PEERS
                .into_iter()
                .filter(|peer| is_installed(peer))
                .collect(),
        })
    }

    fn print_machine(&self) -> Result {
        let processors = available_parallelism()?;
        let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown processor", |model| {
            model.trim_start_matches(['\t', ':', ' '])
        });
        let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        println!("Machine: {processors} × {model}; load at the start {load}.");
        let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
        let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(own) = own {
            println!("A peak starts at that of the benchmark, {}.", own.trim());
        }
        let absent: Vec<&str> = PEERS
            .into_iter()
            .filter(|peer| !self.peers.contains(peer))
            .collect();
        if !absent.is_empty() {
            println!("Not installed, so not measured: {}.", absent.join(", "));
        }
        Ok(())
    }

    fn workload(&self, workload: Workload, scale: f64) -> Result<PathBuf> {
        let tree = self
            .directory
            .join("workloads")
            .join(format!("{}-{scale}", workload.name()));
        if !tree.is_dir() {
            eprintln!("making workload `{}`", workload.name());
            let (scale, name) = (scale.to_string(), workload.name());
            let mut make = std::process::Command::new(&self.xtask);
            make.args(["measured", "make", name, &scale]).arg(&tree);
            process::run(&mut make)?;
        }
        // A cold cache would be the disk's time, and the first subject's.
        process::run(
            std::process::Command::new(&self.xtask)
                .args(["measured", "read"])
                .arg(&tree),
        )?;
        Ok(tree)
    }

    fn run_case(&self, case: Case, tree: &Path, rounds: usize) -> Result {
        let mut subjects = Vec::new();
        for subject in case.subjects(&self.peers) {
            let baseline = subject.baseline();
            let has_baseline = self.baseline.is_some() && subject.is_imgbuild();
            subjects.push(subject);
            subjects.extend(has_baseline.then_some(baseline));
        }
        if subjects.is_empty() {
            println!("Not measured: `docker-registry` is not installed.");
            return Ok(());
        }

        let rows = subjects.iter();
        let mut rows: Vec<Row> = rows
            .map(|subject| Row::new(&subject.name, subject.is_baseline))
            .collect();
        for round in 0..rounds {
            for (subject, row) in subjects.iter().zip(&mut rows) {
                if row.failure.is_some() {
                    continue;
                }
                eprintln!("round {}/{rounds}: {}", round + 1, subject.name);
                match self.measure(subject, tree, round) {
                    Ok(measurement) => row.measurements.push(measurement),
                    Err(error) => row.failure = Some(error.to_string()),
                }
            }
        }
        print!("{}", table::render(&rows));
        self.finish_case(&subjects, tree)
    }

    /// Ends what subjects started, and prints their notes.
    fn finish_case(&self, subjects: &[Subject], tree: &Path) -> Result {
        for subject in subjects {
            let run = self.run_directory(subject, tree, 0);
            run.run_script(subject.last)?;
            if let Ok(note) = fs_err::read_to_string(run.directory.join("state/note")) {
                println!("\n{}: {}", subject.name, note.trim());
            }
        }
        fs_err::remove_dir_all(self.directory.join("run"))?;
        Ok(())
    }

    fn measure(&self, subject: &Subject, tree: &Path, round: usize) -> Result<Measurement> {
        let run = self.run_directory(subject, tree, round);
        if round == 0 {
            run.create()?;
            run.run_script(&subject.first)?;
        }
        run.run_script(&subject.before)?;
        run.measure(&subject.script)
    }

    fn run_directory(&self, subject: &Subject, tree: &Path, round: usize) -> RunDirectory {
        let baseline = self.baseline.as_ref().filter(|_| subject.is_baseline);
        let threads = available_parallelism().map_or(1, Into::into).to_string();
        RunDirectory {
            directory: self.directory.join("run").join(subject.directory_name()),
            variables: vec![
                ("TREE", tree.into()),
                ("IMGBUILD", baseline.unwrap_or(&self.imgbuild).into()),
                ("XTASK", (&self.xtask).into()),
                ("ROUND", round.to_string().into()),
                ("THREADS", threads.into()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::succeeds;

    #[test]
    fn every_case_begins_with_imgbuild() {
        for case in Case::value_variants() {
            let subjects = case.subjects(&PEERS);
            assert!(subjects[0].is_imgbuild());
            let mut names: Vec<String> = subjects.iter().map(Subject::directory_name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), subjects.len(), "subjects share a directory");
        }
        assert!(Case::Push.subjects(&[]).is_empty());
    }

    #[test]
    fn every_script_is_valid_for_the_shell() {
        for case in Case::value_variants() {
            for subject in case.subjects(&PEERS) {
                let own = [&subject.first, &subject.before, &subject.script];
                for script in own.map(String::as_str).into_iter().chain([subject.last]) {
                    let words = ["/bin/sh", "-n", "-c", script];
                    assert!(succeeds(&words), "{}: {script}", subject.name);
                }
            }
        }
    }
}
