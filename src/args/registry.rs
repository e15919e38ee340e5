//! What is typed about registries, and to copy images.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use imgbuild_oci::platform::Platform;

use super::location::Output;

#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// What is copied: `docker://REFERENCE`, `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or a path whose
    /// kind is recognized
    pub(crate) source: String,

    /// Where it goes: `docker://REFERENCE`, or as `--output` of a build takes it
    #[arg(required = true, value_name = "DESTINATION")]
    pub(crate) destinations: Vec<Output>,

    /// Take the one image of an index that is for this platform; default: the
    /// index with all its images
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the manifest or index to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) digest_file: Option<PathBuf>,

    /// Do not wait until everything is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// How registries are reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryFlags {
    /// Who asks; default: `IMGBUILD_REGISTRY_USER`, else what `docker login` or
    /// `podman login` has kept
    ///
    /// For the registry that `IMGBUILD_REGISTRY` names, as `ghcr.io`; else for
    /// the one that is pushed to or, if there is none, for that of the base image
    /// or of what is copied; and for no other. What is kept is looked for in
    /// `DOCKER_AUTH_CONFIG`, in the file `REGISTRY_AUTH_FILE`, in `config.json` of
    /// `DOCKER_CONFIG` or `~/.docker`, and in `containers/auth.json` of
    /// `XDG_RUNTIME_DIR` (else `/run/containers/UID/auth.json`) and
    /// `XDG_CONFIG_HOME`; helpers that are named there are run.
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,

    /// Read the password, or a token in its place, from standard input;
    /// default: `IMGBUILD_REGISTRY_PASSWORD`
    #[arg(long)]
    pub(crate) password_stdin: bool,

    /// Speak http with registries on other machines, too
    ///
    /// On this machine it is tried when there is no https. Proxies are those of
    /// `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`; registries on
    /// this machine are reached without one.
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// Trust the certificates of this PEM file, too
    ///
    /// Beside Mozilla's roots, which are part of this program. The system's
    /// roots, `SSL_CERT_FILE` and Docker's `certs.d` are not used.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,
}
