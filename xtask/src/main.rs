//! Checks, benchmarks and tools of the workspace: `cargo xtask COMMAND`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for the terminal, not a part of the product"
)]

mod bench;
mod bless;
mod ci;
mod dist;
mod emulate;
mod fuzz;
mod interop;
mod process;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The result of a command; its error is printed.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Checks, benchmarks and tools of the imgbuild workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every check but the tests, and stop at the first failure
    Ci(ci::CiArguments),
    /// Check the rules of this project that no compiler knows, and measure it
    Tidy(tidy::TidyArguments),
    /// Accept snapshots, write the command-line reference, and print which digests changed
    Bless,
    /// Read an archive with the installed third-party readers
    Interop(interop::InteropArguments),
    /// Run the fuzz targets in turn
    Fuzz(fuzz::FuzzArguments),
    /// Make everything of a release in `target/dist`
    Dist(dist::DistArguments),
    /// Compare the golden digests on emulated processors: old x86-64, and aarch64
    Emulate,
    /// Measure imgbuild beside other programs and lower bounds
    Bench(bench::BenchArguments),
    /// Run a part of the benchmark in a process of its own
    #[command(hide = true, subcommand)]
    Measured(bench::Measured),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Tidy(arguments) => tidy::run(&arguments),
        Command::Bless => bless::run(),
        Command::Interop(arguments) => interop::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Emulate => emulate::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Measured(measured) => bench::run_measured(&measured),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
