//! The version, completion scripts and the manual page.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use imgbuild_release::certificates;

use crate::args::Arguments;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// The sections of the manual page that the command line does not have.
const ENVIRONMENT: &str = r#".SH ENVIRONMENT
.TP
\fBIMGBUILD_REGISTRY\fR, \fBIMGBUILD_REGISTRY_USER\fR, \fBIMGBUILD_REGISTRY_PASSWORD\fR
The registry that gets the credentials, and the credentials.
.TP
\fBDOCKER_AUTH_CONFIG\fR, \fBREGISTRY_AUTH_FILE\fR, \fBDOCKER_CONFIG\fR
Stored credentials: their text, their file, the directory of \fIconfig.json\fR.
.TP
\fBDOCKER_HOST\fR
The engine of \fB\-\-load\fR.
.TP
\fBSOURCE_DATE_EPOCH\fR
The creation time of the image, in Unix seconds.
.TP
\fBhttps_proxy\fR, \fBhttp_proxy\fR, \fBall_proxy\fR, \fBno_proxy\fR
The proxies for registries.
.TP
\fBXDG_CACHE_HOME\fR, \fBTMPDIR\fR
The directories of the cache and of temporary files.
.TP
\fBNO_COLOR\fR
Messages without colors.
.SH FILES
.TP
\fIimgbuild.toml\fR
Flags of a build, in the current directory or above it in the same git repository.
.TP
\fI~/.docker/config.json\fR, \fI$XDG_RUNTIME_DIR/containers/auth.json\fR
Stored credentials.
.TP
\fI~/.cache/imgbuild\fR
The cache.
"#;

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

/// Prints the manual page of imgbuild, or of the command with these names.
pub(crate) fn man(names: &[String], ui: &Ui) -> Result<ExitCode> {
    let mut all = Arguments::command();
    all.build();
    let mut command = &all;
    for name in names {
        let Some(found) = command.find_subcommand(name) else {
            let failure = Failure::command_line(format!("there is no command `{name}`"));
            return Err(failure.hint("`imgbuild --help` lists the commands"));
        };
        command = found;
    }
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone());
    manual.render(&mut page).map_err(Failure::build)?;
    if names.is_empty() {
        page.extend_from_slice(ENVIRONMENT.as_bytes());
    }
    ui.result_bytes(&page)?;
    Ok(ExitCode::SUCCESS)
}
