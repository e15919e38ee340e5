//! The arguments of `copy` and `index`, and flags for registries.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;

use super::location::Output;
use super::output::ResultArguments;

#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// The image to copy: `docker://REFERENCE`, `oci:DIR[:TAG|@DIGEST]`,
    /// `oci-archive:FILE[:TAG|@DIGEST]`, `docker-archive:FILE[:NAME]`, or a path
    /// whose kind is detected
    pub(crate) source: String,

    /// The destination: `docker://REFERENCE`, or in the form of `--output` of a
    /// build
    #[arg(required = true, value_name = "DESTINATION")]
    pub(crate) destinations: Vec<Output>,

    /// Copy only the image of an index for this platform; default: the index
    /// with all its images
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    #[command(flatten)]
    pub(crate) result: ResultArguments,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Create one index of images for several platforms
    ///
    /// The images keep their digests; of indexes, all images are included. The
    /// same images make the same index, in any order and from any source.
    Create(IndexCreateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct IndexCreateArguments {
    /// The destination of the index and all its images: `docker://REFERENCE`,
    /// or in the form of `--output` of a build
    pub(crate) destination: Output,

    /// The images and indexes: `docker://REFERENCE`, `oci:DIR[:TAG|@DIGEST]`,
    /// `oci-archive:FILE[:TAG|@DIGEST]`, `docker-archive:FILE[:NAME]`, or a path
    /// whose kind is detected
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,

    /// Another destination of the index (can be repeated)
    #[arg(short, long, value_name = "DESTINATION")]
    pub(crate) output: Vec<Output>,

    /// The name of the index in layouts and archives (can be repeated);
    /// default: the names that all sources have
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<Reference>,

    /// Set an annotation of the index (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    #[command(flatten)]
    pub(crate) result: ResultArguments,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// Flags for the connection to registries.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryFlags {
    /// The user at the registry; default: `IMGBUILD_REGISTRY_USER`, else the
    /// credentials of `docker login` or `podman login`
    ///
    /// The credentials are sent to one registry only: the one in
    /// `IMGBUILD_REGISTRY` (for example `ghcr.io`), else the one that is pushed
    /// to, else, unless both are from the environment, that of the base image or
    /// of the source of a copy. Stored credentials are read from
    /// `DOCKER_AUTH_CONFIG`, the file `REGISTRY_AUTH_FILE`, `config.json` in
    /// `DOCKER_CONFIG` or `~/.docker`, and `containers/auth.json` in `XDG_RUNTIME_DIR` (else
    /// `/run/containers/UID/auth.json`) and `XDG_CONFIG_HOME`; credential
    /// helpers that are named there are run.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,

    /// Read the password, or a token instead of it, from standard input;
    /// default: `IMGBUILD_REGISTRY_PASSWORD`
    #[arg(long)]
    pub(crate) password_stdin: bool,

    /// Use http for registries, also on other machines
    ///
    /// https is tried only if there is no http. Without this flag, http is tried
    /// for registries on this machine if there is no https. Proxies are taken from `https_proxy`, `http_proxy`, `all_proxy` and
    /// `no_proxy`; registries on this machine are reached without a proxy.
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// Trust the certificates in this PEM file, too
    ///
    /// In addition to Mozilla's root certificates, which are part of this
    /// program. The root certificates of the system, `SSL_CERT_FILE` and
    /// Docker's `certs.d` are not used.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,

    /// Give up on a registry that does not answer for this time, for example
    /// `2m`; default: `80s`
    ///
    /// A request without an answer is sent a second time, and each attempt has
    /// half of the time. A transfer goes on as long as it moves 1 KiB a second,
    /// and a registry that stores a blob has a second more for every 8 MiB.
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<humantime::Duration>,
}
