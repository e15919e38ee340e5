//! The rule that tells images from artifacts beside them, such as signatures,
//! provenance and charts.

use std::collections::BTreeMap;

use super::{RawDescriptor, RawDocument};
use crate::media_type::{is_image_config, layer_suffix};
use crate::path::escaped;

/// The annotation by which containerd lists an artifact for the image that it
/// is attached to.
pub(crate) const SUBJECT: &str = "io.containerd.manifest.subject";

/// The type of an artifact that has only a subject.
const ATTACHED: &str = "an attached manifest";

type Annotations = BTreeMap<String, String>;

/// Returns the type of an artifact that is marked as one: by OCI, by `BuildKit`,
/// by containerd, or by the kinds of `cosign save`.
fn mark(artifact_type: Option<&String>, annotations: Option<&Annotations>) -> Option<String> {
    let is_mark = |(name, value): (&String, &String)| match name.as_str() {
        "vnd.docker.reference.type" if !value.is_empty() => Some(value.clone()),
        "vnd.docker.reference.type" | SUBJECT => Some(ATTACHED.to_owned()),
        "kind" => {
            let kind = value.strip_prefix("dev.cosignproject.cosign/")?;
            (!kind.starts_with("image")).then(|| value.clone())
        }
        _ => None,
    };
    let own = artifact_type.filter(|text| !text.is_empty()).cloned();
    own.or_else(|| annotations.into_iter().flatten().find_map(is_mark))
}

impl RawDescriptor {
    /// Returns the type of an artifact, if the descriptor marks it as one.
    pub(crate) fn artifact(&self) -> Option<String> {
        let system = self.platform.as_ref().and_then(|one| one.os.as_deref());
        let unknown = system.filter(|os| *os == "unknown");
        mark(self.artifact_type.as_ref(), self.annotations.as_ref())
            .or_else(|| unknown.map(|_| ATTACHED.to_owned()))
            .map(|kind| escaped(kind.as_bytes()))
    }
}

impl<D> RawDocument<D> {
    /// Returns the type of an artifact; `None` for the manifest of an image.
    pub(crate) fn artifact(&self) -> Option<String> {
        let config = self.config.as_ref().and_then(|one| one.media_type.clone());
        let other = config.filter(|config| !is_image_config(config));
        let subject = self.subject.as_ref().map(|_| ATTACHED.to_owned());
        let marked = mark(self.artifact_type.as_ref(), self.annotations.as_ref());
        let kind = marked.or(other).or(subject).or(self.other_layers());
        kind.map(|kind| escaped(kind.as_bytes()))
    }

    /// Returns the media type of the layers if none is of an image: cosign gives its
    /// signatures the configuration of an image.
    fn other_layers(&self) -> Option<String> {
        let layers = self.layers.iter().flatten();
        let mut types = layers.map(|one| one.media_type.as_deref().unwrap_or_default());
        let is_other = |kind: &str| !kind.is_empty() && layer_suffix(kind).is_none();
        let first = types.next().filter(|kind| is_other(kind))?;
        types.all(is_other).then(|| first.to_owned())
    }
}
