//! `imgbuild`: container images from a finished build.

mod args;
mod commands;
mod configuration_file;
mod failure;
mod interrupt;
mod progress;
mod ui;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::FromArgMatches;

use crate::args::{Arguments, Command};
use crate::configuration_file::{Given, Mistake};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// The exit code of a mistake in the program itself (`EX_SOFTWARE`,
/// sysexits.h).
const INTERNAL_ERROR: u8 = 70;

fn main() -> ExitCode {
    let given = match configuration_file::parse(args::normalize(env::args_os().collect())) {
        Ok(given) => given,
        Err(mistake) => return refuse(mistake),
    };
    let arguments = match Arguments::from_arg_matches(&given.matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let mut ui = Ui::new(arguments.quiet, arguments.verbose);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run(arguments, &given, &mut ui)));
    ui.finish_progress();
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(mut failure)) => {
            failure
                .hints
                .extend(given.hints(&failure.error.to_string()));
            ui.say(&failure.to_string());
            failure.exit_code()
        }
        // The panic has said where; what was being written is gone with it.
        Err(_) => {
            ui.say("error: internal error, please report it with the lines above");
            ExitCode::from(INTERNAL_ERROR)
        }
    }
}

/// Says what is wrong with the command line or the configuration file.
fn refuse(mistake: Mistake) -> ExitCode {
    let ui = Ui::new(false, 0);
    match mistake {
        Mistake::Words(error, hints) if hints.is_empty() => error.exit(),
        Mistake::Words(error, hints) => {
            // Nobody can be told that nobody can be told.
            drop(error.print());
            for hint in hints {
                ui.say(&format!("hint: {hint}"));
            }
            ExitCode::from(2)
        }
        Mistake::File(failure) => {
            ui.say(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments, given: &Given, ui: &mut Ui) -> Result<ExitCode> {
    if arguments.version {
        return commands::generate::version(ui);
    }
    match arguments.command {
        None => commands::build::run(&arguments.build, given, ui),
        Some(Command::Check(arguments)) => commands::check::run(&arguments, ui),
        Some(Command::Validate(arguments)) => commands::validate::run(&arguments, ui),
        Some(Command::Copy(arguments)) => commands::copy::run(&arguments, ui),
        Some(Command::Index { command }) => commands::index::run(&command, ui),
        Some(Command::Certificates(arguments)) => commands::certificates::run(&arguments, ui),
        Some(Command::Cache { command }) => commands::cache::run(&command, ui),
        Some(Command::Completions { shell }) => commands::generate::completions(shell),
        Some(Command::Man) => commands::generate::man(),
    }
}

/// What kept a result from being printed.
#[derive(Debug)]
struct UnprintedError(std::io::Error);

impl std::fmt::Display for UnprintedError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("cannot write the result to standard output")
    }
}

impl std::error::Error for UnprintedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A result that could not be printed. A reader that has gone away, as `head`
/// does, wanted no more of it.
fn printed(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::build(UnprintedError(error)))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
