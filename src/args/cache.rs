//! Flags for the cache, and the commands that manage it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::location::ImageSource;
use super::size::size;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Print the path and the size of the cache
    Info {
        /// The directory of the cache; default: the one that builds use
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove least recently used entries, and leftovers of killed builds
    Prune {
        /// The directory of the cache; default: the one that builds use
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// The maximum size afterwards, for example `500M` or `2G`; default: 2G
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
    },
    /// Remove everything from the cache
    Clear {
        /// The directory of the cache; default: the one that builds use
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,
    },
}

/// The method that detects unchanged layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recognition {
    /// By the metadata of their files
    Stat,
    /// By the content of their files
    Content,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// The directory that keeps layers for the next build; default:
    /// `$XDG_CACHE_HOME/imgbuild`, else `$HOME/.cache/imgbuild`
    ///
    /// No byte of an image depends on it. It can be removed at any time, and
    /// several builds can share it.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Build everything anew and keep nothing
    #[arg(long, conflicts_with_all = ["cache_dir", "cache", "cache_size"])]
    pub(crate) no_cache: bool,

    /// The detection of unchanged layers: by `stat` (size, times, inode and
    /// mode of their files), or by `content`
    ///
    /// `stat` reads no file. It applies to files on local file systems that are
    /// older than the resolution of the clock; all other files are detected by
    /// their content, which is read but not compressed again.
    #[arg(long, value_enum, default_value_t = Recognition::Stat, hide_possible_values = true, value_name = "stat|content")]
    pub(crate) cache: Recognition,

    /// The maximum size of the cache, for example `500M` or `2G`; default: 2G
    ///
    /// Least recently used entries are removed after the build.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) cache_size: Option<u64>,

    /// Reuse compressed layers of an image, or of the cache of another machine
    /// (can be repeated)
    ///
    /// An image layout, an archive, a directory with `blobs/sha256`, a cache,
    /// or `docker://REFERENCE`. Images that `--push` names are included
    /// automatically. A layer is reused if its uncompressed bytes have the diff
    /// ID that the image states, and its compressed bytes begin as imgbuild
    /// would write them. Name only sources that you trust as much as a registry
    /// that you push to.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) cache_from: Vec<ImageSource>,
}
