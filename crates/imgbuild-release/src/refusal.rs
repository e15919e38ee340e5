//! Paths that cannot go into an image, and the lists in which errors show
//! several problems at once. Files are refused in `host_file`: a name with
//! `.wh.` (a whiteout) in `image_path`, the rest in `found_member`.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imgbuild_oci::entry::Owner;
use imgbuild_oci::path::{ImagePath, escaped};

/// The number of problems that a message shows; the rest is counted.
const MAX_SHOWN: usize = 20;

/// All paths of an image that cannot be in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot package the release{}", ItemLines(.0))]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// Returns an error if there are any.
    ///
    /// # Errors
    ///
    /// With all refusals.
    pub(crate) fn check(refusals: Vec<Refusal>) -> Result<(), Self> {
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(Self(refusals))
        }
    }
}

/// A path that cannot be in an image, with the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A socket, FIFO or device.
    #[error(
        "`{}` is {what}; images can hold files, directories and symbolic links",
        shown(path)
    )]
    Special {
        /// The path on the host.
        path: PathBuf,
        /// The type of the file, with its article.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("`{}` cannot be read: {cause}", shown(path))]
    Unreadable {
        /// The path on the host.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// Its name or path cannot be in an image.
    #[error("`{}`: {reason}", shown(path))]
    Name {
        /// The path on the host.
        path: PathBuf,
        /// The rule that the name breaks.
        reason: String,
    },
    /// A set-id file that would run as root.
    #[error("`{}` is a set-id file of {}:{}; in the image it would run as root", shown(path), owner.uid, owner.gid)]
    SetId {
        /// The path on the host.
        path: PathBuf,
        /// The user and group that own it.
        owner: Owner,
    },
    /// Two sources for one path of the image.
    #[error("`{path}` has two sources: {} and {}", sources[0], sources[1])]
    TwoSources {
        /// The path in the image.
        path: ImagePath,
        /// The two sources of its content.
        sources: [String; 2],
    },
    /// A file of the base image that shall belong to the user.
    #[error(
        "`{path}` is a file of the base image, whose owner cannot be changed without a copy of it"
    )]
    BaseFile {
        /// The path in the image.
        path: ImagePath,
    },
    /// A path below something that is not a directory.
    #[error("`{path}` lies below `{parent}`, which is not a directory")]
    BelowAFile {
        /// The path in the image.
        path: ImagePath,
        /// The file or link above it.
        parent: ImagePath,
    },
}

/// Escapes a path of the host, so that it fits on one line.
fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

/// A list below a headline, with at most [`MAX_SHOWN`] lines.
pub(crate) struct ItemLines<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Display> fmt::Display for ItemLines<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in self.0.iter().take(MAX_SHOWN) {
            write!(formatter, "\n  {item}")?;
        }
        let rest = self.0.len().saturating_sub(MAX_SHOWN);
        if rest > 0 {
            write!(formatter, "\n  … and {rest} more")?;
        }
        Ok(())
    }
}

/// Lists the first names in one line.
pub(crate) fn few(names: &[String]) -> String {
    let shown = quoted(names.iter().take(5));
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Lists names in one line.
pub(crate) fn quoted(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
