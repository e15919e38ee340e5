//! `imgbuild validate`.
use std::process::ExitCode;

use crate::args::ValidateArguments;
use crate::failure::Result;
use crate::ui::Ui;

pub(crate) fn run(_arguments: &ValidateArguments, _ui: &Ui) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
