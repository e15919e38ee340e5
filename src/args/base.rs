//! What is said of the image that another one is built on.

use clap::{Args, ValueHint};
use imgbuild_oci::reference::Reference;

use super::location::ImageSource;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Base image")]
pub(crate) struct BaseArguments {
    /// Build on this image: its layers come first, byte for byte, and its
    /// configuration is inherited as by `FROM`
    ///
    /// `docker://REFERENCE[@DIGEST]`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]` or a path, whose content decides. What comes from
    /// a registry is kept in the cache. Of several platforms, `--platform` picks one, else
    /// the programs of the release. What the base has in a version that fits is
    /// not brought again; its users, its directories and their owners stay as
    /// they are.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) base: Option<ImageSource>,

    /// Write the digest of the base image into the configuration file, as
    /// `base = "docker://REFERENCE@DIGEST"`
    ///
    /// Every other byte of the file stays as it is. With a digest, nothing is
    /// asked of a registry while the cache has the image.
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

    /// Run as root, whomever the base image runs as
    #[arg(long, requires = "base", conflicts_with = "user")]
    pub(crate) no_user: bool,

    /// Do not inherit the volumes of the base image
    #[arg(long, requires = "base")]
    pub(crate) no_volume: bool,

    /// Start in the root directory, wherever the base image starts
    #[arg(long, requires = "base", conflicts_with = "workdir")]
    pub(crate) no_workdir: bool,
}

impl BaseArguments {
    /// Returns the base image, if a registry has it.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        self.base.as_ref().and_then(ImageSource::reference)
    }
}
