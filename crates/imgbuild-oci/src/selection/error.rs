//! Why there is no image to be read.

use crate::source::SourceError;

use super::MAX_IMAGE_LAYERS;

/// A source in which the image that is meant cannot be told or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// A document cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no image in the source.
    #[error("there is no image in it")]
    NoImage,
    /// No image has the tag.
    #[error("no image in it has the tag `{tag}` (it has: {})", list(known))]
    Tag {
        /// What was asked for.
        tag: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// No image is for the platform.
    #[error("no image in it is for {wanted} (it has: {})", list(known))]
    Platform {
        /// What was asked for.
        wanted: String,
        /// The platforms that there are.
        known: Vec<String>,
    },
    /// Nobody can tell which image is meant.
    #[error("it has {} images: {}", images.len(), list(images))]
    Several {
        /// Each one by its names and platform.
        images: Vec<String>,
        /// Whether a platform tells them apart.
        differ_by_platform: bool,
    },
    /// A document has another size than its descriptor says.
    #[error("`{name}` is damaged: expected {expected} bytes, found {found}")]
    Size {
        /// The name in the source.
        name: String,
        /// What the descriptor says.
        expected: u64,
        /// What was found.
        found: u64,
    },
    /// The configuration lacks what every image says.
    #[error("`{name}` is no image configuration: {reason}")]
    Config {
        /// The name in the source.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A layer is no tar.
    #[error(
        "one of its layers is of the media type `{media_type}`, which is no tar that can be read"
    )]
    LayerMediaType {
        /// What its descriptor says.
        media_type: String,
    },
    /// The documents do not agree about the layers.
    #[error("the manifest has {expected} layers, the configuration {found} diff IDs")]
    DiffIds {
        /// The layers of the manifest.
        expected: usize,
        /// The diff IDs of the configuration.
        found: usize,
    },
    /// No engine can run so many layers.
    #[error("it has {count} layers; no engine runs more than {MAX_IMAGE_LAYERS}")]
    TooManyLayers {
        /// How many.
        count: usize,
    },
}

fn list(names: &[String]) -> String {
    const MAX_LISTED: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(MAX_LISTED);
    let shown: Vec<String> = shown
        .map(|name| format!("`{}`", crate::path::escaped(name.as_bytes())))
        .collect();
    match names.len().saturating_sub(MAX_LISTED) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}
