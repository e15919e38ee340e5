//! `imgbuild certificates`: the certificates that `--cacert` would add.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use imgbuild_release::certificates::{
    self, BaseBundle, CertificateError, CertificateSource, Certificates, SYSTEM_BUNDLES,
};

use crate::args::{CertificatesArguments, EMBEDDED, must_exist};
use crate::failure::{Failure, Result};
use crate::ui::{Ui, count_text};

pub(crate) fn run(arguments: &CertificatesArguments, ui: &Ui) -> Result<ExitCode> {
    let is_embedded = arguments.bundles.is_empty();
    let loaded = if is_embedded {
        load("", &[EMBEDDED.to_owned()], ui)?
    } else {
        load("", &arguments.bundles, ui)?
    };
    if arguments.pem {
        ui.result_bytes(&loaded.to_pem())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![if is_embedded {
        certificates::edition()
    } else {
        count_text(loaded.set.len(), "certificate")
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

/// Loads the bundles of `--cacert` beside those of a base image, unless they replace
/// these.
pub(crate) fn load_onto(
    bundles: &[String],
    of_base: &[BaseBundle],
    replaces: bool,
    ui: &Ui,
) -> Result<Certificates> {
    let mut base = Certificates::default();
    let mut notices = Vec::new();
    for bundle in of_base {
        if bundle.bytes.is_none() && !replaces {
            let path = bundle.path.display();
            let failure = Failure::build(format!(
                "cannot read the CA certificates of the base image at `{path}`: the file is larger than 4 MiB, or it is outside `/etc` and neither its name (for example `*.pem`) nor its first line is that of a bundle"
            ));
            return Err(failure.hint("`--cacert-replace` leaves them out"));
        }
        let (certificates, more) = bundle.parse();
        base.set.extend(certificates.set);
        notices.extend(more);
    }
    let count = base.set.len();
    let paths = of_base
        .iter()
        .map(|bundle| format!("`{}`", bundle.path.display()));
    let paths = paths.collect::<Vec<_>>().join(", ");
    if replaces && !of_base.is_empty() {
        let old = count_text(count, "CA certificate");
        ui.status(&format!(
            "`--cacert-replace` leaves out {old} of the base image ({paths})"
        ));
    }
    let mut certificates = load("--cacert ", bundles, ui)?;
    if replaces || of_base.is_empty() {
        return Ok(certificates);
    }
    for notice in notices {
        ui.warning(&format!("CA certificates of the base image: {notice}"));
    }
    let given = certificates.set.len();
    certificates.set.extend(base.set);
    let added = certificates.set.len() - count;
    ui.status(&format!(
        "CA certificates: added {added} to the {count} of the base image ({paths}), which has the other {}",
        given - added
    ));
    Ok(certificates)
}

/// Loads bundles that `flag` names, and prints the warnings about them.
fn load(flag: &str, bundles: &[String], ui: &Ui) -> Result<Certificates> {
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
    let (certificates, warnings) = loaded.map_err(failure)?;
    for warning in warnings {
        ui.warning(&warning.to_string());
    }
    Ok(certificates)
}

/// Returns the files and directories of this machine that bundles are read from.
pub(crate) fn files(bundles: &[String]) -> Vec<PathBuf> {
    let sources = bundles.iter().filter_map(|bundle| source(bundle).ok());
    sources
        .filter_map(|source| source.place().map(Path::to_owned))
        .collect()
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
