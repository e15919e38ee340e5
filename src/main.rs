//! `imgbuild`: container images from a finished build.

mod args;
mod commands;
mod failure;
mod interrupt;
mod ui;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Arguments, Command};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// The exit code of a mistake in the program itself (`EX_SOFTWARE`,
/// sysexits.h).
const INTERNAL_ERROR: u8 = 70;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let mut ui = Ui::new(arguments.quiet, arguments.verbose);
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run(arguments, &matches, &mut ui)));
    ui.finish_progress();
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
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

fn run(arguments: Arguments, matches: &clap::ArgMatches, ui: &mut Ui) -> Result<ExitCode> {
    if arguments.version {
        return commands::generate::version(ui);
    }
    match arguments.command {
        None => commands::build::run(&arguments.build, matches, ui),
        Some(Command::Check(arguments)) => commands::check::run(&arguments, ui),
        Some(Command::Validate(arguments)) => commands::validate::run(&arguments, ui),
        Some(Command::Certificates(arguments)) => commands::certificates::run(&arguments, ui),
        Some(Command::Cache { command }) => commands::cache::run(&command, ui),
        Some(Command::Completions { shell }) => commands::generate::completions(shell),
        Some(Command::Man) => commands::generate::man(),
    }
}

/// A result that could not be printed. A reader that has gone away, as `head`
/// does, wanted no more of it.
fn printed(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::build(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
