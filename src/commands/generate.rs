//! What the program says about itself: version, completions, manual.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use imgbuild_release::certificates;

use crate::args::Arguments;
use crate::failure::Result;
use crate::printed;
use crate::ui::Ui;

pub(crate) fn version(ui: &Ui) -> Result<ExitCode> {
    let mut text = format!("imgbuild {}", env!("CARGO_PKG_VERSION"));
    if ui.verbosity > 0 {
        text.push_str(&format!("\ncertificates: {}", certificates::edition()));
    }
    printed(ui.result(&text))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "imgbuild", &mut script);
    printed(io::stdout().write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man() -> Result<ExitCode> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Arguments::command()).render(&mut page);
    printed(rendered)?;
    printed(io::stdout().write_all(&page))?;
    Ok(ExitCode::SUCCESS)
}
