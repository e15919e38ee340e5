//! `imgbuild index`: multi-platform images.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imgbuild_oci::reference::Reference;

use super::RegistryFlags;
use super::location::Output;

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

    /// The images and indexes: `docker://REFERENCE`, `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or a path whose
    /// kind is detected
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

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the digest of the index to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) digest_file: Option<PathBuf>,

    /// Do not wait until everything is written to the disk
    #[arg(long)]
    pub(crate) no_sync: bool,

    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}
