//! Arguments of the commands that inspect images and certificates.

use clap::Args;
use imgbuild_oci::platform::Platform;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The image: `oci:DIR[:TAG|@DIGEST]`, `oci-archive:FILE[:TAG|@DIGEST]`,
    /// `docker-archive:FILE[:NAME]`, or a path whose kind is detected
    pub(crate) source: String,

    /// The name or tag of the image, if the source has several images
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Option<String>,

    /// The platform, if the source has a multi-platform image; default: that of
    /// this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Print the findings, or the error, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// The image: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, or a path
    /// whose kind is detected
    pub(crate) source: String,

    /// Print the violations, or the error, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// The number of hashing threads; default: one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct CertificatesArguments {
    /// A bundle in the form of `--cacert` (can be repeated); default: the
    /// embedded CA certificates
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundles: Vec<String>,

    /// Print the normalized bundle on standard output
    #[arg(long)]
    pub(crate) pem: bool,
}
