//! The benchmark: imgbuild as a whole process, beside what a user would pick
//! instead and beside what this machine could do at best.
//!
//! Subjects of a case run in turn (A B C A B C …), so that a slow minute of the
//! machine meets all of them; ratios are taken within a round. No test asks
//! for a time.

mod bound;
mod corpus;
mod measure;
mod push;
mod subject;
mod table;
mod workload;

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use crate::Result;
use crate::process::{self, command, output, workspace};
use measure::{Measurement, Place};
use subject::{Abilities, Case, Subject};
use table::Row;
use workload::Workload;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measure this case only (can be repeated)
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Use this workload only (can be repeated)
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Workload>,
    /// Run only the subjects whose name contains this text, beside imgbuild (can be repeated)
    #[arg(long = "subject")]
    subjects: Vec<String>,
    /// How large the workloads are; 1 is a gigabyte
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often each subject runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where workloads are kept and outputs are written [default: target/bench]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The program to measure [default: a release build of this workspace]
    #[arg(long)]
    imgbuild: Option<PathBuf>,
}

/// What runs in a process of its own, so that its memory and time are its
/// own, and so that the benchmark stays small: a child's peak memory begins
/// with its parent's.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Measured {
    /// Make a workload
    Make {
        workload: Workload,
        scale: f64,
        directory: PathBuf,
    },
    /// Look at every path of a tree
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

pub(crate) fn run(arguments: &Arguments) -> Result {
    if !(arguments.scale > 0.0 && arguments.scale <= 100.0) || arguments.rounds == 0 {
        return Err("the scale lies between 0 and 100, and there is at least one round".into());
    }
    let bench = Bench::prepare(arguments)?;
    bench.print_machine()?;
    let all = [
        Workload::Tree,
        Workload::Small,
        Workload::One,
        Workload::Binary,
    ];
    let workloads = if arguments.workloads.is_empty() {
        &all[..]
    } else {
        &arguments.workloads
    };
    let all = [
        Case::Plain,
        Case::Gzip,
        Case::Warm,
        Case::Changed,
        Case::CacheFrom,
        Case::Push,
        Case::PushAgain,
        Case::PushChanged,
    ];
    let cases = if arguments.cases.is_empty() {
        &all[..]
    } else {
        &arguments.cases
    };
    for workload in workloads {
        let tree = bench.workload(*workload, arguments.scale)?;
        for case in cases.iter().filter(|case| case.is_for(*workload)) {
            bench.run_case(*case, *workload, &tree, arguments)?;
        }
    }
    Ok(())
}

/// The programs and directories of a run.
struct Bench {
    directory: PathBuf,
    imgbuild: PathBuf,
    /// This program, as a release build.
    xtask: PathBuf,
    abilities: Abilities,
}

impl Bench {
    fn prepare(arguments: &Arguments) -> Result<Self> {
        let mut build = command(&["cargo", "build", "--release", "--locked", "-p", "xtask"]);
        if arguments.imgbuild.is_none() {
            build.args(["-p", "imgbuild"]);
        }
        process::run(&mut build)?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let programs = workspace().join(target).join("release");
        let imgbuild = match &arguments.imgbuild {
            Some(imgbuild) => fs_err::canonicalize(imgbuild)?,
            None => programs.join("imgbuild"),
        };
        let directory = match &arguments.dir {
            Some(directory) => directory.clone(),
            None => workspace().join("target/bench"),
        };
        fs_err::create_dir_all(&directory)?;
        let help = output(std::process::Command::new(&imgbuild).arg("--help"))?;
        Ok(Self {
            directory: fs_err::canonicalize(directory)?,
            imgbuild,
            xtask: programs.join("xtask"),
            abilities: Abilities::find(&help),
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
        println!(
            "Not installed, or without an engine, so not measured: {}.",
            self.abilities.missing()
        );
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

    fn run_case(
        &self,
        case: Case,
        workload: Workload,
        tree: &Path,
        arguments: &Arguments,
    ) -> Result {
        let chosen = |subject: &Subject| {
            subject.is_imgbuild()
                || arguments.subjects.is_empty()
                || arguments
                    .subjects
                    .iter()
                    .any(|part| subject.name.contains(part))
        };
        let subjects: Vec<Subject> = subject::subjects(case, &self.abilities)
            .into_iter()
            .filter(chosen)
            .collect();
        println!("\n### {}, workload `{}`\n", case.title(), workload.name());
        if !subjects.iter().any(Subject::is_imgbuild) {
            println!("Not measured: this imgbuild has no flag for it, or a program is missing.");
            return Ok(());
        }
        let mut rows: Vec<Row> = subjects
            .iter()
            .map(|subject| Row::new(&subject.name))
            .collect();
        for round in 0..arguments.rounds {
            for (subject, row) in subjects.iter().zip(&mut rows) {
                if row.failure.is_some() {
                    continue;
                }
                eprintln!("round {}/{}: {}", round + 1, arguments.rounds, subject.name);
                match self.measure(subject, tree, round) {
                    Ok(measurement) => row.measurements.push(measurement),
                    Err(error) => row.failure = Some(error.to_string()),
                }
            }
        }
        let mut notes = Vec::new();
        for subject in &subjects {
            let place = self.place(subject, tree, 0);
            place.run_script(subject.last)?;
            if let Ok(note) = fs_err::read_to_string(place.directory.join("state/note")) {
                notes.push(format!("{}: {}", subject.name, note.trim()));
            }
        }
        fs_err::remove_dir_all(self.directory.join("run"))?;
        print!("{}", table::render(&rows, case.notes()));
        print!("{}", table::render_targets(&rows, case.targets()));
        if !notes.is_empty() {
            println!("\n{}.", notes.join("; "));
        }
        Ok(())
    }

    fn measure(&self, subject: &Subject, tree: &Path, round: usize) -> Result<Measurement> {
        let place = self.place(subject, tree, round);
        if round == 0 {
            place.create()?;
            place.run_script(&subject.first)?;
        }
        place.run_script(subject.before)?;
        place.measure(&subject.script, subject.is_daemon)
    }

    fn place(&self, subject: &Subject, tree: &Path, round: usize) -> Place {
        Place {
            directory: self.directory.join("run").join(subject.directory_name()),
            variables: vec![
                ("TREE", tree.into()),
                ("IMGBUILD", (&self.imgbuild).into()),
                ("XTASK", (&self.xtask).into()),
                ("ROUND", round.to_string().into()),
                (
                    "THREADS",
                    available_parallelism()
                        .map_or(1, Into::into)
                        .to_string()
                        .into(),
                ),
            ],
        }
    }
}
