//! The version, completion scripts and the manual page.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use imgbuild_release::certificates;

use crate::args::Arguments;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

pub(crate) fn version(ui: &Ui) -> Result<ExitCode> {
    let mut text = format!("imgbuild {}", env!("CARGO_PKG_VERSION"));
    if ui.verbosity > 0 {
        text.push_str(&format!("\ncertificates: {}", certificates::edition()));
    }
    ui.result(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn completions(shell: Shell, ui: &Ui) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "imgbuild", &mut script);
    ui.result_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(ui: &Ui) -> Result<ExitCode> {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(Arguments::command());
    manual.render(&mut page).map_err(Failure::build)?;
    ui.result_bytes(&page)?;
    Ok(ExitCode::SUCCESS)
}
