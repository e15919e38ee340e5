//! The image or index of a layout or an archive that is copied.

use std::env;
use std::sync::Arc;

use imgbuild_oci::image::{Image, ImageError, Platforms};
use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::{Source, SourceName};

use super::Found;
use crate::args::source_name;
use crate::commands::source::{NotSelected, open_source};
use crate::failure::{Failure, Result};

/// The sources on this machine that can be copied.
const KINDS: &str = "a source here is a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

/// Opens the source that the user named `text`.
pub(crate) fn from_source(text: &str, platforms: &Platforms) -> Result<Found> {
    let name = source_name(text)?;
    let source = Arc::new(open_source(&name, text, &env::temp_dir(), KINDS)?);
    let read = Image::of_source(&source, name.tag(), platforms);
    let (image, names) = read.map_err(|error| failure(error, text, &name, &source))?;
    Ok(Found { image, names })
}

fn failure(error: ImageError, text: &str, name: &SourceName, source: &Source) -> Failure {
    let ImageError::Selection(error) = error else {
        return Failure::build(error);
    };
    let hint = match &error {
        SelectionError::Several { .. } | SelectionError::Tag { .. } => {
            Some(format!("name one with `{}`", with_tag(name, source)))
        }
        SelectionError::Platform { .. } => {
            Some("choose one of these with `--platform`, or leave it out to copy all".to_owned())
        }
        _ => None,
    };
    let failure = Failure::build(NotSelected::new("copy", text, error));
    hint.into_iter().fold(failure, Failure::hint)
}

/// Returns how one of several images is named.
fn with_tag(name: &SourceName, source: &Source) -> String {
    let path = name.path().display();
    let has_index = source.roots().is_ok_and(|roots| !roots.is_empty());
    match source {
        Source::Archive(_) if has_index => format!("oci-archive:{path}:TAG"),
        Source::Archive(_) => format!("docker-archive:{path}:NAME"),
        Source::Layout(_) => format!("oci:{path}:TAG"),
    }
}
