//! The media types of image documents, by the names of OCI and of Docker.

/// An [image index](https://github.com/opencontainers/image-spec/blob/v1.1.0/image-index.md).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An [image manifest](https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An [image configuration](https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's image index.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image configuration.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A layer that is a plain tar.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer that is compressed with gzip.
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer that is compressed with zstd.
pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// The media types of layers without the suffix of their compression.
const LAYERS: [&str; 4] = [
    LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// Returns true for the media type of an index.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_MANIFEST_LIST)
}

/// Returns true for the media type of an image manifest.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Returns true for the media types of manifests of Docker's schema 1.
pub(crate) fn is_schema_1(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.distribution.manifest.v1+")
}

/// Returns true for the media type of an image configuration.
pub(crate) fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// Returns true for the media type by which engines take a configuration for
/// that of an image: old registries changed it.
pub(crate) fn is_image_config(media_type: &str) -> bool {
    is_config(media_type) || matches!(media_type, "" | "application/octet-stream" | "text/html")
}

/// Returns true for the media types that only Docker uses.
pub(crate) fn is_of_docker(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.")
}

/// Returns the suffix by which the media type of a layer names the compression,
/// for example `+gzip` or Docker's `.gzip`; `None` for another media type.
#[must_use]
pub fn layer_suffix(media_type: &str) -> Option<&str> {
    let mut names = LAYERS.iter();
    names.find_map(|name| media_type.strip_prefix(name))
}
