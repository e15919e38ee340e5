//! What looks at images and bundles.

use clap::Args;
use imgbuild_oci::platform::Platform;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The image: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, or a path whose kind is recognized
    pub(crate) source: String,

    /// The name or tag of the image, if the source has several
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Option<String>,

    /// The platform, if the source has the image for several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Print the findings as one JSON array on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// The image: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, or a
    /// path whose kind is recognized
    pub(crate) source: String,

    /// Print the disagreements as one JSON array on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// How many threads hash at a time; default: as many as there are cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct CertificatesArguments {
    /// A bundle as `--cacert` takes it (can be repeated); default: the
    /// embedded roots
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundles: Vec<String>,

    /// Print the normalized bundle on standard output
    #[arg(long)]
    pub(crate) pem: bool,
}
