//! `imgbuild certificates`: the certificates that `--cacert` would add.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use imgbuild_release::certificates::{
    self, BaseBundle, CertificateError, CertificateSource, Certificates, SYSTEM_BUNDLES,
};

use crate::args::{CertificatesArguments, EMBEDDED, must_exist};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

pub(crate) fn run(arguments: &CertificatesArguments, ui: &Ui) -> Result<ExitCode> {
    let is_embedded = arguments.bundles.is_empty();
    let loaded = if is_embedded {
        load("", &[EMBEDDED.to_owned()], None, ui)?
    } else {
        load("", &arguments.bundles, None, ui)?
    };
    if arguments.pem {
        ui.result_bytes(&loaded.to_pem())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![if is_embedded {
        certificates::edition()
    } else {
        crate::ui::count_text(loaded.set.len(), "certificate")
    }];
    if !is_embedded || ui.verbosity > 0 {
        lines.extend(
            loaded.set.iter().map(|certificate| {
                format!("{} until {}", certificate.subject, certificate.not_after)
            }),
        );
    }
    ui.result(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Loads bundles that `flag` names beside those of a base image, and prints the
/// warnings about them.
pub(crate) fn load(
    flag: &str,
    bundles: &[String],
    of_base: Option<BaseBundle>,
    ui: &Ui,
) -> Result<Certificates> {
    let sources = bundles.iter().map(|bundle| source(bundle));
    let sources: Vec<CertificateSource> = sources.collect::<Result<_>>()?;
    for source in &sources {
        if let CertificateSource::Path(path) = source {
            must_exist(&format!("{flag}{}", path.display()), path)?;
        }
    }
    // What is expired is only said, never left out: the clock changes no byte.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = now.map(|now| now.as_secs());
    let loaded = ui.while_waiting(|monitor| Certificates::load(&sources, now, monitor));
    let (mut certificates, warnings) = loaded.map_err(failure)?;
    if let Some(bundle) = of_base {
        let given = certificates.set.len();
        let (base, more) = bundle.parse();
        let count = base.set.len();
        certificates.set.extend(base.set);
        for warning in more {
            ui.warning(&format!("CA certificates of the base image: {warning}"));
        }
        let added = certificates.set.len() - count;
        ui.status(&format!(
            "CA certificates: added {added} to the {count} of the base image (`{}`), which has the other {}",
            bundle.path.display(),
            given - added
        ));
    }
    for warning in warnings {
        ui.warning(&warning.to_string());
    }
    Ok(certificates)
}

fn source(bundle: &str) -> Result<CertificateSource> {
    match bundle {
        "" => {
            let failure = Failure::command_line("cannot use `--cacert=`: the value is empty");
            Err(failure.hint("use `--cacert` without a value for the embedded CA certificates, `system`, or a path"))
        }
        EMBEDDED => Ok(CertificateSource::Embedded),
        "system" => {
            let bundles = SYSTEM_BUNDLES.iter().map(PathBuf::from);
            Ok(CertificateSource::System(bundles.collect()))
        }
        path => Ok(CertificateSource::Path(path.into())),
    }
}

fn failure(error: CertificateError) -> Failure {
    let hint = match &error {
        CertificateError::NoSystemBundle { .. } => {
            "install `ca-certificates`, or use `--cacert` without a value for the embedded CA certificates"
        }
        CertificateError::Refused(_) => {
            "`--cacert` takes files that contain only certificates: PEM, DER, or a directory of them"
        }
        _ => {
            "`--cacert` takes a readable file or directory, `system`, or no value for the embedded CA certificates"
        }
    };
    match error {
        CertificateError::File(error) => {
            Failure::of_reader(error, |error| Failure::build(error).hint(hint))
        }
        error => Failure::build(error).hint(hint),
    }
}
