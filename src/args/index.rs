//! `imgbuild index`: multi-platform images.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imgbuild_oci::reference::Reference;

use super::RegistryFlags;
use super::location::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Make one index of images for several platforms
    ///
    /// The images keep their digests; indexes give all their images. The same
    /// images make the same index, in whatever order and from wherever they
    /// come.
    Create(IndexCreateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct IndexCreateArguments {
    /// Where the index goes, with all its images: `docker://REFERENCE`, or as
    /// `--output` of a build takes it
    pub(crate) destination: Output,

    /// The images and indexes: `docker://REFERENCE`, `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or a path whose
    /// kind is recognized
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,

    /// A further place for the index (can be repeated)
    #[arg(short, long, value_name = "DESTINATION")]
    pub(crate) output: Vec<Output>,

    /// The name of the index in layouts and archives (can be repeated);
    /// default: the names that all sources have
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<Reference>,

    /// Set an annotation of the index (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the index to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Do not wait until everything is on the disk
    #[arg(long)]
    pub(crate) no_sync: bool,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}
