//! Flags for the base image.

use clap::{Args, ValueHint};
use imgbuild_oci::reference::Reference;

use super::location::ImageSource;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Base image")]
pub(crate) struct BaseArguments {
    /// Build on this image: its layers come first, unchanged, and its
    /// configuration is inherited as with `FROM`
    ///
    /// `docker://REFERENCE[@DIGEST]`, `oci:DIR[:TAG|@DIGEST]`,
    /// `oci-archive:FILE[:TAG|@DIGEST]`, `docker-archive:FILE[:NAME]`, or a path
    /// whose kind is detected. Images from a registry are cached. Of a multi-platform
    /// image, the one for `--platform` is used, else the one for the platform
    /// of the release's programs. Libraries that the base image has in a
    /// suitable version are not added again; its users and its directories with
    /// their owners are kept.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) base: Option<ImageSource>,

    /// Write the digest of the base image into the configuration file, as `base
    /// = "docker://REFERENCE@DIGEST"`
    ///
    /// Every other byte of the file is kept. With a digest, no registry is
    /// contacted while the image is in the cache.
    #[arg(long, requires = "base")]
    pub(crate) lock: bool,

    /// Do not inherit the command of the base image
    #[arg(long, requires = "base", conflicts_with = "cmd")]
    pub(crate) no_cmd: bool,

    /// Do not inherit the ports of the base image
    #[arg(long, requires = "base")]
    pub(crate) no_expose: bool,

    /// Do not inherit the health check of the base image
    #[arg(long, requires = "base", conflicts_with = "healthcheck")]
    pub(crate) no_healthcheck: bool,

    /// Do not inherit the stop signal of the base image
    #[arg(long, requires = "base", conflicts_with = "stop_signal")]
    pub(crate) no_stop_signal: bool,

    /// Run as root, whatever user the base image sets
    #[arg(long, requires = "base", conflicts_with = "user")]
    pub(crate) no_user: bool,

    /// Do not inherit the volumes of the base image
    #[arg(long, requires = "base")]
    pub(crate) no_volume: bool,

    /// Start in the root directory, whatever directory the base image sets
    #[arg(long, requires = "base", conflicts_with = "workdir")]
    pub(crate) no_workdir: bool,
}

impl BaseArguments {
    /// Returns the base image, if a registry has it.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        self.base.as_ref().and_then(ImageSource::reference)
    }
}
