//! Images to read: opened as the user named them, or refused with the hint that
//! helps.

use std::env;
use std::path::Path;
use std::sync::Arc;

use imgbuild_oci::image::{Image, ImageError, Platforms};
use imgbuild_oci::reference::Reference;
use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::{Source, SourceName};
use imgbuild_registry::pull;

use super::registry::{Access, Registries, failed_at};
use crate::args::{missing_hint, must_exist, source_name};
use crate::failure::{Failure, Result, selection_hint};
use crate::ui::Ui;

/// The sources on this machine that can be copied.
const KINDS: &str = "a source on this machine is a directory with an OCI image layout, or an archive of `docker save` or of an OCI image layout";

/// Opens the source that the user named `text`; a hint lists the `kinds` that
/// can be opened.
///
/// # Errors
///
/// If the source does not exist, or as [`SourceName::open`].
pub(crate) fn open_source(
    name: &SourceName,
    text: &str,
    scratch: &Path,
    kinds: &str,
) -> Result<Source> {
    source_must_exist(text, name, kinds)?;
    let opened = name.open(scratch);
    opened.map_err(|error| Failure::build(error).hint(kinds))
}

/// Refuses a source that does not exist; `given` is the argument as it was
/// typed.
///
/// # Errors
///
/// With a hint: a name in a registry may be meant, or one of `kinds`.
pub(crate) fn source_must_exist(given: &str, name: &SourceName, kinds: &str) -> Result<()> {
    must_exist(given, name.path()).map_err(|failure| {
        let text = given.strip_prefix("--base ").unwrap_or(given);
        failure.hint(missing_hint(text).unwrap_or_else(|| kinds.to_owned()))
    })
}

/// An image to copy or to add to an index, and its names in the source.
pub(crate) struct NamedImage {
    pub(crate) image: Image,
    pub(crate) names: Vec<Reference>,
}

impl NamedImage {
    /// Reports images and artifacts of the source that are not taken.
    pub(crate) fn report_rest(&self, source: &str, ui: &Ui) {
        if !self.image.part.is_whole() {
            ui.warning(&format!("`{source}`: {}", self.image.part));
        }
        for kind in &self.image.artifacts {
            ui.status(&format!(
                "not copied: `{kind}`, attached to the image in `{source}`"
            ));
        }
    }

    /// Reads the image that the user named `text`, which `reference` is if it is
    /// in a registry.
    pub(crate) fn read(
        text: &str,
        reference: Option<&Reference>,
        registries: &mut Registries,
        platforms: &Platforms,
    ) -> Result<Self> {
        match reference {
            Some(reference) => Self::pull(reference, registries, platforms),
            None => Self::open(text, platforms),
        }
    }

    fn pull(
        reference: &Reference,
        registries: &mut Registries,
        platforms: &Platforms,
    ) -> Result<Self> {
        let repository = registries.repository(reference, Access::Pull)?;
        let digest = reference.digest().map(ToString::to_string);
        let wanted = digest.as_deref().or(reference.tag()).unwrap_or_default();
        let image = pull::image(&repository, wanted, platforms)
            .map_err(|error| failed_at(reference, error))?;
        let name = reference.tag().and_then(|tag| reference.with_tag(tag));
        let names = name.into_iter().collect();
        Ok(Self { image, names })
    }

    fn open(text: &str, platforms: &Platforms) -> Result<Self> {
        let name = source_name(text)?;
        let source = Arc::new(open_source(&name, text, &env::temp_dir(), KINDS)?);
        let read = Image::of_source(&source, name.tag(), platforms);
        let (image, names) = read.map_err(|error| unreadable(error, text, &source))?;
        Ok(Self { image, names })
    }
}

fn unreadable(error: ImageError, text: &str, source: &Source) -> Failure {
    let hint = match &error {
        ImageError::Part(part) => {
            let platform = part.here.first().cloned().unwrap_or_default();
            let failure = Failure::build(format!("cannot copy all of `{text}`: {part}"));
            let path = source.path().display();
            // Without a platform in the index, it is the digest.
            let one = match source {
                _ if !platform.starts_with("sha256:") => format!("--platform {platform}"),
                Source::Layout(_) => format!("oci:{path}@{platform}"),
                Source::Archive(_) => format!("oci-archive:{path}@{platform}"),
            };
            return failure.hint(format!("copy one image: `{one}`"));
        }
        ImageError::Kind { .. } => Some("`imgbuild validate` names such documents"),
        // One index.
        ImageError::Selection(SelectionError::Platform { .. })
            if source.roots().is_ok_and(|roots| roots.len() == 1) =>
        {
            Some("leave out `--platform` to copy all")
        }
        _ => None,
    };
    let failure = not_selected("copy", text, source, error);
    hint.into_iter().fold(failure, Failure::hint)
}

/// Returns the failure to choose or read the image to `verb` in a source.
pub(crate) fn not_selected(
    verb: &str,
    text: &str,
    source: &Source,
    error: impl Into<ImageError>,
) -> Failure {
    let error = error.into();
    let hint = match &error {
        ImageError::Selection(error) => selection_hint(error, Some(source)),
        _ => None,
    };
    let failure = Failure::caused_by(error, format!("cannot {verb} the image in `{text}`"));
    hint.into_iter().fold(failure, Failure::hint)
}
