//! Flags for the image configuration.

use std::path::PathBuf;

use clap::Args;
use imgbuild_oci::path::ImagePath;

use super::path::{image_path, volume};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings of containers")]
pub(crate) struct ConfigurationArguments {
    /// The program that containers run: one argument per flag, or one JSON
    /// array (can be repeated)
    ///
    /// A relative path is a program of the release. Without `--entrypoint` and
    /// `--cmd`: the only executable of the release, or of several the one with
    /// the name of the package or directory; for a mix release `bin/server`,
    /// else `bin/NAME start`, as the command. `docs/kinds.md` has those of Node.js
    /// and Python.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) entrypoint: Vec<String>,

    /// The arguments of the entrypoint, or the program if there is no
    /// entrypoint; in the form of `--entrypoint` (can be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,

    /// Set no entrypoint; the command of a base image is removed as well
    #[arg(long, conflicts_with = "entrypoint")]
    pub(crate) no_entrypoint: bool,

    /// Set an environment variable; K alone takes its value from the
    /// environment of imgbuild, `K-` removes a variable that the base image or
    /// imgbuild sets (can be repeated)
    #[arg(short, long, value_name = "K[=V]")]
    pub(crate) env: Vec<String>,

    /// Read environment variables from a file, one `K=V` or `K` per line;
    /// `--env` takes precedence (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Declare a port or a range of ports (can be repeated)
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(crate) expose: Vec<String>,

    /// The user that containers run as; default: the user of the base image,
    /// else 65532:65532 (`nonroot`)
    ///
    /// A name must be in the passwd file of the image; the image contains
    /// numbers only.
    #[arg(long, value_name = "NAME|UID[:GID]")]
    pub(crate) user: Option<String>,

    /// The directory that the program starts in; default: the directory of the
    /// release (but for Cargo), and for a program of the base image the directory
    /// that it sets
    #[arg(long, value_name = "PATH", value_parser = image_path)]
    pub(crate) workdir: Option<ImagePath>,

    /// Declare a volume; a directory that does not exist is created and belongs
    /// to the user (can be repeated)
    #[arg(long, value_name = "PATH", value_parser = volume)]
    pub(crate) volume: Vec<ImagePath>,

    /// Set a label; `K-` removes a label of the base image (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) label: Vec<String>,

    /// Set an annotation of the manifest, and of the index of a multi-platform
    /// image (can be repeated)
    #[arg(long, value_name = "K=V")]
    pub(crate) annotation: Vec<String>,

    /// Set only the labels and annotations that are given
    ///
    /// By default, `org.opencontainers.image.title`, `version`, `licenses`,
    /// `source`, `revision`, `url`, `authors` and `description` are set from
    /// `Cargo.toml` or the mix release, the git repository that contains the
    /// release, and the variables of CI services.
    #[arg(long)]
    pub(crate) no_auto_labels: bool,

    /// The signal that stops a container: a name or a number
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,

    /// The command that checks the health of a container, in the form of
    /// `--entrypoint`; or `none` (can be repeated)
    ///
    /// It runs without a shell, unless it is a JSON array that begins with
    /// `CMD-SHELL`. A health check is a field of Docker's image configuration:
    /// engines that follow the OCI specification strictly, for example Podman,
    /// ignore it.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) healthcheck: Vec<String>,

    /// The time between two health checks, for example `30s`
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_interval: Option<humantime::Duration>,

    /// The time limit of a health check
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_timeout: Option<humantime::Duration>,

    /// The time after the start in which failures do not count
    #[arg(long, value_name = "TIME", requires = "healthcheck")]
    pub(crate) health_start_period: Option<humantime::Duration>,

    /// The number of consecutive failures that make a container unhealthy
    #[arg(long, value_name = "N", requires = "healthcheck")]
    pub(crate) health_retries: Option<u64>,

    /// The author of the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
}
