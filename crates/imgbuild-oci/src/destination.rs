//! Destinations of images on this machine.

mod file;
pub(crate) mod options;
mod patient;

use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use fs_err as fs;
use serde::{Serialize, Serializer};

use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layout::{read_root_index, write_layout};
use crate::monitor::Monitor;
use crate::new_file::{NewFile, parent_of, target_of, write_error};
use crate::parallel;
use crate::pipeline::{SizedStream, with_compressor};
use crate::reference::{self, ParseReferenceError, Reference};
use crate::source;
use crate::store;
use imgbuild_deflate::Level;

pub use crate::layout::prune_layout;
pub use file::{place_of, rewrite_text, write_text};
pub use options::{WriteOptions, Written};
pub use patient::PatientWriter;

use file::{reader_of, reserve, write_file};

/// A place for an image, on this machine or elsewhere, by the usual names of
/// transports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An archive that every engine loads, and the name to use instead of the
    /// references. It is compressed as a whole if it is called `FILE.tar.gz` or
    /// `FILE.tgz`.
    Archive(PathBuf, Option<Reference>),
    /// The same archive, for tools that read it as a layout, and the tag to use
    /// instead of the references'.
    OciArchive(PathBuf, Option<String>),
    /// An image layout, and the tag to use instead of the references'.
    Layout(PathBuf, Option<String>),
    /// The archive on standard output.
    StandardOutput,
    /// A name in a registry, which a registry client pushes to.
    Registry(Reference),
    /// The engine of this machine, which loads an archive.
    Engine,
}

/// The transport of registries, by its usual name.
pub const REGISTRY_TRANSPORT: &str = "docker://";

/// A text that does not name a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDestinationError {
    /// A path, name or tag that is not valid.
    #[error("unknown destination `{text}`: {reason}")]
    Invalid {
        /// The text.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A text after `docker://` that is not a reference.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// A text with the transport of another tool.
    #[error("unknown transport in `{0}`")]
    Transport(String),
}

impl FromStr for Destination {
    type Err = ParseDestinationError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let error = |reason| ParseDestinationError::Invalid {
            text: text.to_owned(),
            reason,
        };
        let path = |path: &str| match path {
            "" => Err(error("the path is empty")),
            path => Ok(PathBuf::from(path)),
        };
        if text == "-" {
            return Ok(Self::StandardOutput);
        }
        if let Some(name) = text.strip_prefix(REGISTRY_TRANSPORT) {
            return Ok(Self::Registry(name.parse()?));
        }
        let is_foreign = |(transport, rest): (&str, &str)| {
            source::FOREIGN_TRANSPORTS.contains(&transport)
                || rest.starts_with("//")
                    && !matches!(transport, "oci" | "oci-archive" | "docker-archive")
        };
        if text.starts_with("type=") || text.split_once(':').is_some_and(is_foreign) {
            return Err(ParseDestinationError::Transport(text.to_owned()));
        }
        match text.split_once(':') {
            _ if has_digest(text) => Err(error(
                "a destination cannot contain a digest, which is computed; `:TAG` or `:NAME` names the image",
            )),
            Some(("docker-archive" | "oci-archive", "-")) => Ok(Self::StandardOutput),
            Some(("docker-archive", rest)) => {
                let (file, name) = split_name(rest).map_err(error)?;
                Ok(Self::Archive(path(file)?, name))
            }
            Some(("oci-archive", rest)) => {
                let (file, tag) = split_tag(rest).map_err(error)?;
                Ok(Self::OciArchive(path(file)?, tag))
            }
            Some(("oci", rest)) => {
                let (directory, tag) = split_tag(rest).map_err(error)?;
                Ok(Self::Layout(path(directory)?, tag))
            }
            _ => {
                let plain = path(text)?;
                if is_foreign_archive_name(text) {
                    return Err(error(
                        "archives are plain (`FILE.tar`) or compressed with gzip (`FILE.tar.gz`); `oci:DIR` writes a directory of any name",
                    ));
                }
                Ok(if is_archive_name(text) {
                    Self::Archive(plain, None)
                } else {
                    Self::Layout(plain, None)
                })
            }
        }
    }
}

/// Splits `PATH[:TAG]`, as skopeo does for both transports that have one.
fn split_tag(text: &str) -> std::result::Result<(&str, Option<String>), &'static str> {
    match source::split_tag(text) {
        (_, Some("")) => Err("the tag is empty"),
        (_, Some(tag)) if !reference::is_tag(tag) => Err(
            "a tag has up to 128 letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`",
        ),
        (path, tag) => Ok((path, tag.map(str::to_owned))),
    }
}

/// Splits `FILE[:NAME]` at the first colon, as skopeo does: a name has more.
fn split_name(text: &str) -> std::result::Result<(&str, Option<Reference>), &'static str> {
    let Some((file, name)) = text.split_once(':') else {
        return Ok((text, None));
    };
    match name.parse::<Reference>() {
        _ if name.is_empty() => Err("the name is empty"),
        _ if file == "-" => Err("an archive on standard output cannot have a name of its own"),
        Ok(name) => Ok((file, Some(name))),
        Err(_) => Err("the text after the file is not an image name"),
    }
}

/// Returns true if a text ends with a digest, as sources do, or with a part of one.
fn has_digest(text: &str) -> bool {
    let digest = text.rsplit_once('@').map_or("", |(_, digest)| digest);
    let algorithm = digest.split_once(':').map(|(algorithm, _)| algorithm);
    matches!(algorithm, Some("sha256" | "sha384" | "sha512"))
}

fn is_archive_name(text: &str) -> bool {
    text.ends_with(".tar") || is_compressed_name(text)
}

/// Returns true for names of archives in forms that are not written: they are
/// hardly meant as directories.
fn is_foreign_archive_name(text: &str) -> bool {
    const ENDS: [&str; 10] = [
        ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tar.lz4",
        ".zip",
    ];
    let lower = text.to_ascii_lowercase();
    !is_archive_name(text) && ENDS.iter().any(|end| lower.ends_with(end))
}

fn is_compressed_name(text: &str) -> bool {
    text.ends_with(".tar.gz") || text.ends_with(".tgz")
}

impl Destination {
    /// Returns true if tools read and push the written image as it is, so that
    /// its layers should be compressed.
    #[must_use]
    pub fn wants_compressed_layers(&self) -> bool {
        matches!(
            self,
            Self::Layout(..) | Self::OciArchive(..) | Self::Registry(_)
        )
    }

    /// Returns the file or directory, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Archive(path, _) | Self::OciArchive(path, _) | Self::Layout(path, _) => {
                Some(path)
            }
            Self::StandardOutput | Self::Registry(_) | Self::Engine => None,
        }
    }

    /// Returns the tag that is used instead of the references'.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Layout(_, tag) | Self::OciArchive(_, tag) => tag.as_deref(),
            _ => None,
        }
    }

    /// Returns the names of the image at the destination, given all its names.
    #[must_use]
    pub fn names(&self, references: &[Reference]) -> Vec<Reference> {
        match (self, self.tag()) {
            (Self::Archive(_, Some(name)), _) => vec![name.clone()],
            // The first repository with another tag.
            (_, Some(tag)) => {
                let first = references.first().and_then(|first| first.with_tag(tag));
                first.into_iter().collect()
            }
            (_, None) => references.to_vec(),
        }
    }

    /// Checks, before anything is built, that the destination can be written.
    ///
    /// # Errors
    ///
    /// When a layout's directory is something else, when an archive's path is a
    /// directory, or when its directory does not exist.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Layout(path, _) => check_layout(path),
            Self::Archive(path, _) | Self::OciArchive(path, _) => check_file(path),
            Self::StandardOutput | Self::Registry(_) | Self::Engine => Ok(()),
        }
    }
}

/// Checks that a layout can be written at `path`.
fn check_layout(path: &Path) -> Result<()> {
    let target = target_of(path)?;
    drop(read_root_index(&target)?);
    if !target.exists() {
        let mut above = target.ancestors().skip(1).map(|above| above.join("."));
        let existing = above.find(|above| above.is_dir()).unwrap_or_default();
        rustix::fs::access(&existing, rustix::fs::Access::WRITE_OK)
            .map_err(|error| write_error(path, error.into()))?;
    }
    Ok(())
}

/// Checks that a file can be written at `path`.
fn check_file(path: &Path) -> Result<()> {
    let target = target_of(path)?;
    let parent = parent_of(&target);
    check_parent(path, parent)?;
    let is_special = fs::metadata(&target).is_ok_and(|found| !found.is_file());
    if let Err(error) = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK)
        && !is_special
    {
        return Err(write_error(path, error.into()));
    }
    if target.is_dir() {
        return Err(write_error(path, io::ErrorKind::IsADirectory.into()));
    }
    Ok(())
}

/// Checks that the directory of a file exists and can be read.
fn check_parent(path: &Path, parent: &Path) -> Result<()> {
    let Err(error) = fs::read_dir(parent) else {
        return Ok(());
    };
    let problem = match error.kind() {
        io::ErrorKind::NotFound => "does not exist",
        io::ErrorKind::NotADirectory => "is not a directory",
        _ => return Err(Error::File(error)),
    };
    Err(Error::Parent {
        path: path.to_path_buf(),
        parent: parent.to_path_buf(),
        problem,
    })
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(path, None) | Self::Layout(path, None) => {
                write!(formatter, "{}", path.display())
            }
            Self::Archive(path, Some(name)) => {
                let name = name.familiar();
                write!(formatter, "docker-archive:{}:{name}", path.display())
            }
            Self::OciArchive(path, None) => write!(formatter, "oci-archive:{}", path.display()),
            Self::OciArchive(path, Some(tag)) => {
                write!(formatter, "oci-archive:{}:{tag}", path.display())
            }
            Self::Layout(path, Some(tag)) => write!(formatter, "oci:{}:{tag}", path.display()),
            Self::StandardOutput => formatter.write_str("-"),
            Self::Registry(reference) => write!(formatter, "{REGISTRY_TRANSPORT}{reference}"),
            Self::Engine => formatter.write_str("the engine of this machine"),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes an image or index to `destination`; an archive for standard output
/// goes to `standard_output`.
///
/// What is there already is left as it is: a layout with the image, or an
/// archive of it that, by the store, was not changed since.
///
/// # Errors
///
/// When the destination cannot be written, which this crate never can for a
/// registry or an engine, or when a blob cannot be read or does not have its
/// digest. Then the old file or layout is still there.
pub fn write(
    image: &Image,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let written = write_once(image, destination, options, standard_output, monitor);
    // A wait that an interruption ends looks like a failure of the reader.
    written.or_else(|error| monitor.check().and(Err(error)))
}

fn write_once(
    image: &Image,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let references = destination.names(options.references);
    let archive = || Archive::new(image, &references);
    match destination {
        Destination::Layout(path, tag) => {
            let options = WriteOptions {
                references: &references,
                ..options
            };
            write_layout(path, image, tag.as_deref(), options, monitor)
        }
        Destination::StandardOutput => {
            let sink_error = |source| Error::Write {
                what: "the archive to standard output".to_owned(),
                source,
            };
            archive().write_to(standard_output, &sink_error, monitor)?;
            Ok(Written::New)
        }
        Destination::Archive(path, _) if is_compressed_name(&path.to_string_lossy()) => {
            let archive = archive();
            let identity = store::compressed_identity(archive.identity());
            write_file(path, options, identity, monitor, |file, _| {
                let reader = reader_of(path);
                let file = PatientWriter::new(file, &reader, monitor);
                compress_archive(&archive, path, file, options.threads, monitor)
            })
        }
        Destination::Archive(path, _) | Destination::OciArchive(path, _) => {
            let archive = archive();
            write_file(
                path,
                options,
                archive.identity(),
                monitor,
                |file, is_plain| {
                    let sink_error = |source| write_error(path, source);
                    if !is_plain {
                        let reader = reader_of(path);
                        let mut file = PatientWriter::new(file, &reader, monitor);
                        return archive.write_to(&mut file, &sink_error, monitor);
                    }
                    reserve(file, archive.size).map_err(sink_error)?;
                    archive.write_at(file, options.threads, &sink_error, monitor)
                },
            )
        }
        Destination::Registry(_) | Destination::Engine => Err(Error::Write {
            what: destination.to_string(),
            source: io::ErrorKind::Unsupported.into(),
        }),
    }
}

/// An archive that is read from the thread that makes it, or from a file.
struct ReadArchive<R> {
    source: R,
    size: u64,
}

impl<R: Read> SizedStream for ReadArchive<R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn segment_starts(&self) -> Vec<u64> {
        Vec::new()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.source.read_exact(buffer).map_err(pipe_error)
    }
}

fn pipe_error(source: io::Error) -> Error {
    Error::Write {
        what: "the archive to the thread that compresses it".to_owned(),
        source,
    }
}

/// Compresses the archive on all threads while another thread makes it. Without
/// another thread, it is made first.
fn compress_archive(
    archive: &Archive<'_>,
    path: &Path,
    sink: impl Write + Send,
    threads: usize,
    monitor: Monitor<'_>,
) -> Result<()> {
    let sink_error = |source| write_error(path, source);
    let size = archive.size;
    let compress = |stream: &mut dyn SizedStream| {
        with_compressor(threads, Level::DEFAULT, |compressor| {
            let compressed = compressor.gzip(stream, sink, |_| monitor.check(), sink_error);
            compressed.map(drop)
        })
    };
    let (source, mut writer) = io::pipe().map_err(pipe_error)?;
    thread::scope(|scope| {
        let making = parallel::spawn(scope, move || {
            archive.write_to(&mut writer, &pipe_error, monitor)
        });
        let Ok(making) = making else {
            let mut made = NewFile::beside(path)?;
            archive.write_to(made.file(), &sink_error, monitor)?;
            let source = made.file();
            source.rewind().map_err(sink_error)?;
            return compress(&mut ReadArchive { source, size });
        };
        // Closes the pipe when it returns, so that the other thread ends too.
        let compressed = compress(&mut ReadArchive { source, size });
        let made = making.join().expect("making an archive does not panic");
        match (made, compressed) {
            // The compressor fails, too, if the archive is not made.
            (Err(error), Err(_)) if !matches!(error, Error::Write { .. }) => Err(error),
            (_, Err(error)) | (Err(error), Ok(())) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}
