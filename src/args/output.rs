//! Where an image goes, and what is said of it.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::choice::CheckChoice;
use super::location::Output;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Where the image goes (can be repeated); default: NAME.tar in the current
    /// directory
    ///
    /// `FILE.tar`: the archive that every loader takes. `FILE.tar.gz`: the
    /// same, compressed as a whole. `docker-archive:FILE[:NAME]`,
    /// `oci-archive:FILE[:TAG]`: the same under the names of other tools; the
    /// name stands in the place of every `--tag`. A directory, or
    /// `oci:DIR[:TAG]`: an OCI image layout, which keeps what it has. `-`: the
    /// archive on standard output. `docker://REFERENCE`: a registry.
    #[arg(short, long, value_name = "DESTINATION", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Vec<Output>,

    /// Push the image to the registries of all its names
    ///
    /// What a registry has is neither compressed nor sent again.
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,

    /// Add what is pushed to the index that the tag names, for other jobs that
    /// push other platforms
    ///
    /// An image for the same platform is replaced, everything else stays. The
    /// image alone gets a tag that ends with its platform, as
    /// `1.2.3-linux-amd64`. Many jobs can do it at once, one for each platform.
    #[arg(long)]
    pub(crate) update_index: bool,

    /// Load the image into the local engine: `docker load`, else `podman load`;
    /// of several, the one for this machine
    #[arg(long)]
    pub(crate) load: bool,

    /// What becomes of an image that would not start: with `error` it is not
    /// made, with `warn` it is, with `off` nobody looks
    ///
    /// The check finds programs, interpreters and libraries that are missing
    /// or do not fit, and warns of what may surprise, as files that are likely
    /// secrets. `imgbuild check` does the same for any image.
    #[arg(long, value_enum, default_value_t = CheckChoice::Error, hide_possible_values = true, value_name = "error|warn|off")]
    pub(crate) check: CheckChoice,

    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print the result, or the plan, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the manifest, or of the index, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Write the digest of the index that the first name has after
    /// `--update-index` to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "update_index")]
    pub(crate) index_digest_file: Option<PathBuf>,

    /// Write the image ID, the digest of the configuration, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// How many threads work at a time; default: as many as there are cores
    ///
    /// No byte depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Do not wait until everything is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,
}
