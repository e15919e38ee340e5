//! Flags for the destinations of an image and for reports about it.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::location::Output;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// The destination of the image (can be repeated); default: NAME.tar in the
    /// current directory
    ///
    /// `FILE.tar`: an archive that every engine loads. `FILE.tar.gz`: the same,
    /// compressed as a whole. `docker-archive:FILE[:NAME]`,
    /// `oci-archive:FILE[:TAG]`: the same by the names of other tools; the name
    /// replaces every `--tag`. A directory, or `oci:DIR[:TAG]`: an OCI image
    /// layout, which keeps its other images. `-`: the archive on standard
    /// output. `docker://REFERENCE`: a registry.
    #[arg(short, long, value_name = "DESTINATION", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Vec<Output>,

    /// Push the image to the registries of all its names
    ///
    /// Blobs that a registry has are neither compressed nor sent again.
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,

    /// Add the pushed image to the index that the tag names, for other jobs
    /// that push other platforms
    ///
    /// An image for the same platform is replaced, all others are kept. The
    /// image itself gets a tag that ends with its platform, for example
    /// `1.2.3-linux-amd64`. Many jobs can run at once, one for each platform.
    #[arg(long)]
    pub(crate) update_index: bool,

    /// Load the image into the local engine with `docker load` or, where `docker`
    /// is not installed and `DOCKER_HOST` not set, `podman load`; of a multi-platform image, the one for
    /// this machine
    ///
    /// The engine, with Docker that of `DOCKER_HOST`, is asked before the build. It
    /// has `--timeout` to answer.
    #[arg(long)]
    pub(crate) load: bool,

    /// The reaction to an image that cannot start: `error` stops the build,
    /// `warn` only warns, `off` skips the check
    ///
    /// The check finds programs, interpreters and libraries that are missing or
    /// do not fit, and warns of likely mistakes, for example files that may be
    /// secrets. `imgbuild check` does the same for any image.
    #[arg(long, value_enum, default_value_t = CheckChoice::Error, hide_possible_values = true, value_name = "error|warn|off")]
    pub(crate) check: CheckChoice,

    /// Accept the files of the image that match this pattern, in the syntax of
    /// `.gitignore`, as not secret (can be repeated)
    ///
    /// The pattern `/app/tests/key.pem` matches one file, `*.pem` all of this
    /// name, and `/app/tests` everything in a directory.
    #[arg(long, value_name = "GLOB")]
    pub(crate) allow_secret: Vec<String>,

    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) result: ResultArguments,

    /// Write the digest of the index that `--update-index` writes for the first
    /// name to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "update_index")]
    pub(crate) index_digest_file: Option<PathBuf>,

    /// Write the image ID (the digest of the config) to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// The number of threads; default: one per core
    ///
    /// No byte depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// Flags for the result of every command that delivers an image.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResultArguments {
    /// Print the result, the plan or the error as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the manifest or index to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) digest_file: Option<PathBuf>,

    /// Write what `--json` prints of a result to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Do not wait until everything is written to the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}

/// The reaction to an image that cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckChoice {
    /// Stop the build
    Error,
    /// Warn only
    Warn,
    /// Skip the check
    Off,
}
