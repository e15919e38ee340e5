//! Flags for the cache, and the commands that manage it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::location::ImageSource;

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

        /// Remove the blobs that no image of an OCI image layout needs, instead of
        /// entries of the cache; no other program may write to it meanwhile
        #[arg(long, value_name = "DIR", conflicts_with_all = ["cache_dir", "max_size"])]
        layout: Option<PathBuf>,

        /// Print one JSON object
        #[arg(long)]
        json: bool,
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

/// Parses a size, for example `500M`, `2GiB` or a number of bytes; all units are
/// binary.
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|character: char| !character.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("the units are K, M, G and T".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "it is not a number with a unit".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "it is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("4k", 4096),
            ("500M", 500 << 20),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "G",
            "-1",
            "1.5G",
            "1X",
            "99999999999999999999",
            "18014398509481984K",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
