//! What containers start with.

use std::path::PathBuf;

use clap::Args;
use imgbuild_oci::path::ImagePath;

use super::path::image_path;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image configuration")]
pub(crate) struct ConfigurationArguments {
    /// The program that containers run: one argument after the other, or one
    /// JSON array (can be repeated)
    ///
    /// A relative program lies in the release. Without `--entrypoint` and
    /// `--cmd`: the one executable of the release, or of several the one named
    /// like the package or the directory; of a mix release `bin/server`, else
    /// `bin/NAME start`, as the command.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,

    /// The arguments after the entrypoint, or the program if there is none; as
    /// `--entrypoint` (can be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,

    /// Make an image without an entrypoint; of a base image, the command goes
    /// with it
    #[arg(long, conflicts_with = "entrypoint")]
    pub(crate) no_entrypoint: bool,

    /// Set an environment variable; K alone takes it from the environment of
    /// imgbuild, `K-` removes what the base image or imgbuild sets (can be
    /// repeated)
    #[arg(short, long, value_name = "K[=V]")]
    pub(crate) env: Vec<String>,

    /// Read environment variables from a file, one `K=V` or `K` a line; what
    /// `--env` says comes later and wins (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Declare a port, or a range of ports (can be repeated)
    #[arg(long, value_name = "PORT[-PORT][/tcp|udp|sctp]")]
    pub(crate) expose: Vec<String>,

    /// Whom containers run as; default: whom the base image says, else
    /// 65532:65532 (`nonroot`)
    ///
    /// A name must be in the passwd file of the image; numbers are always
    /// written.
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub(crate) user: Option<String>,

    /// The directory that the program starts in; default: where a tree lands, and
    /// for a program of the base image where that says
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    pub(crate) workdir: Option<ImagePath>,

    /// Declare a volume; the directory is made and belongs to the user (can be
    /// repeated)
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    pub(crate) volume: Vec<ImagePath>,

    /// Set a label; `K-` removes the base image's (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) label: Vec<String>,

    /// Set an annotation of the manifest, and of the index of several (can be
    /// repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    /// Set no labels and annotations but those that are asked for
    ///
    /// Without it, `org.opencontainers.image.title`, `version`, `licenses`,
    /// `source`, `revision`, `url`, `authors` and `description` are set from
    /// `Cargo.toml` or the mix release, the git repository that holds the
    /// release, and the variables of build services.
    #[arg(long)]
    pub(crate) no_auto_labels: bool,

    /// The signal that stops a container: a name or a number
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,

    /// The command that checks a container's health, as `--entrypoint`; or
    /// `none` (can be repeated)
    ///
    /// A field of Docker's: engines that follow the OCI specification to the
    /// letter, as Podman, ignore it. It runs without a shell.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) healthcheck: Vec<String>,

    /// The time between two health checks, as `30s`
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_interval: Option<humantime::Duration>,

    /// The time that a health check may take
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_timeout: Option<humantime::Duration>,

    /// The time after the start in which failures do not count
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_start_period: Option<humantime::Duration>,

    /// The failures in a row that make a container unhealthy
    #[arg(long, value_name = "N", requires = "healthcheck")]
    pub(crate) health_retries: Option<u64>,

    /// Who made the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
}
