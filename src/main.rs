//! `imgbuild`: container images from a finished build.

mod args;
mod commands;
mod configuration_file;
mod failure;
mod interrupt;
mod json;
mod progress;
mod ui;
mod usage;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use crate::args::{Arguments, Command};
use crate::configuration_file::ParsedFlags;
use crate::failure::Result;
use crate::ui::Ui;

/// The exit code of an internal error (`EX_SOFTWARE` of sysexits.h).
const INTERNAL_ERROR: u8 = 70;

fn main() -> ExitCode {
    interrupt::exit_on_abort();
    let (arguments, parsed) = match configuration_file::parse(env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(error) => return error.report(),
    };
    let mut ui = Ui::new(arguments.quiet, arguments.verbose, parsed.is_json());
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run(arguments, &parsed, &mut ui)));
    ui.finish_progress();
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => ui.fail(&parsed.explain(failure)),
        // The panic was printed, and files that were not complete are removed.
        Err(_) => {
            ui.say("error: internal error, please report it with the lines above");
            ExitCode::from(INTERNAL_ERROR)
        }
    }
}

fn run(arguments: Arguments, parsed: &ParsedFlags, ui: &mut Ui) -> Result<ExitCode> {
    if arguments.version {
        return commands::generate::version(ui);
    }
    match arguments.command {
        None => commands::build::run(&arguments.build, parsed, ui),
        Some(Command::Check(arguments)) => commands::check::run(&arguments, ui),
        Some(Command::Validate(arguments)) => commands::validate::run(&arguments, ui),
        Some(Command::Copy(arguments)) => commands::copy::run(&arguments, ui),
        Some(Command::Index { command }) => commands::index::run(&command, ui),
        Some(Command::Certificates(arguments)) => commands::certificates::run(&arguments, ui),
        Some(Command::Cache { command }) => commands::cache::run(&command, ui),
        Some(Command::Completions { shell }) => commands::generate::completions(shell, ui),
        Some(Command::Man { command }) => commands::generate::man(&command, ui),
    }
}
