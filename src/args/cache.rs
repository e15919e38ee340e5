//! The cache: what a build does with it, and the commands that look after it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::location::ImageSource;
use super::size::size;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Say where the cache is and how large
    Info {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove what was not used for the longest time, and what killed builds
    /// have left
    Prune {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,

        /// The most that stays, as `500M` or `2G`; default: 2G
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
    },
    /// Remove everything
    Clear {
        /// The directory of the cache; default: as for a build
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,
    },
}

/// By what an unchanged layer is recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recognition {
    /// By what the system says of its files
    Stat,
    /// By the content of its files
    Content,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// Where layers are kept for the next build; default:
    /// `$XDG_CACHE_HOME/imgbuild`, else `$HOME/.cache/imgbuild`
    ///
    /// No byte of an image depends on it. It can be removed at any time, and
    /// several builds can share it.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Make everything anew and keep nothing
    #[arg(long, conflicts_with_all = ["cache_dir", "cache", "cache_size"])]
    pub(crate) no_cache: bool,

    /// By what an unchanged layer is recognized: `stat`, the size, times,
    /// inode and mode of its files, or `content`
    ///
    /// `stat` reads nothing. It is used on local file systems, for files that
    /// are older than the grain of the clock; everything else is recognized by
    /// its content, which is read but not compressed again.
    #[arg(long, value_enum, default_value_t = Recognition::Stat, hide_possible_values = true, value_name = "stat|content")]
    pub(crate) cache: Recognition,

    /// The most that the cache keeps, as `500M` or `2G`; default: 2G
    ///
    /// What was not used for the longest time is removed first, after the
    /// build.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) cache_size: Option<u64>,

    /// Take compressed layers from an image or a cache of another machine (can
    /// be repeated)
    ///
    /// An image layout, an archive, a directory with `blobs/sha256`, a cache, or
    /// `docker://REFERENCE`. What `--push` names is looked into by itself. A layer is taken when
    /// its uncompressed bytes have the diff ID that the image says, and its
    /// compressed bytes begin as imgbuild would write them. Name only what you
    /// trust as you trust a registry that you push to.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    pub(crate) cache_from: Vec<ImageSource>,
}
