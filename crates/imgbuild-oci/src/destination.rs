//! Where an image is written to.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use fs_err as fs;
use rustix::fs::{FallocateFlags, Timespec, Timestamps};
use serde::{Serialize, Serializer};

use crate::archive::Archive;
use crate::content::{FileState, Timestamp};
use crate::deflate::Level;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layout::{self, Names, check_layout, parent_of, write_error, write_layout};
use crate::monitor::Monitor;
use crate::parcel::{Delivery, Parcel};
use crate::pipeline::{Stream, with_compressor};
use crate::platform::Platform;
use crate::platform_images::PlatformImages;
use crate::reference::{self, Reference};
use crate::store::{self, Store};

/// A place for an image, by the names that the field uses for transports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An archive that every loader takes.
    Archive(PathBuf),
    /// The same archive, for tools that read it as a layout.
    OciArchive(PathBuf),
    /// The same, compressed as a whole with gzip.
    CompressedArchive(PathBuf),
    /// An image layout, and the tag to use instead of the references'.
    Layout(PathBuf, Option<String>),
    /// The archive on standard output.
    StandardOutput,
}

/// A text that names no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown destination `{text}`: {reason}")]
pub struct ParseDestinationError {
    text: String,
    reason: &'static str,
}

impl FromStr for Destination {
    type Err = ParseDestinationError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let error = |reason| ParseDestinationError {
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
        match text.split_once(':') {
            Some(("docker-archive" | "oci-archive", "-")) => Ok(Self::StandardOutput),
            Some(("docker-archive", file)) => Ok(Self::of_archive(path(file)?)),
            Some(("oci-archive", file)) => Ok(Self::OciArchive(path(file)?)),
            Some(("oci", rest)) => {
                let (directory, tag) = match rest.rsplit_once(':') {
                    Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag)),
                    _ => (rest, None),
                };
                if tag == Some("") {
                    return Err(error("the tag is empty"));
                }
                if tag.is_some_and(|tag| !reference::is_tag(tag)) {
                    return Err(error(
                        "a tag has letters, digits, `_`, `.` and `-`, up to 128, and starts with none of the last two",
                    ));
                }
                Ok(Self::Layout(path(directory)?, tag.map(str::to_owned)))
            }
            Some((transport, _)) if is_foreign_transport(transport) => Err(error(
                "imgbuild writes `docker-archive:FILE`, `oci-archive:FILE`, `oci:DIR[:TAG]`, `FILE.tar`, `FILE.tar.gz`, a directory or `-`",
            )),
            _ => {
                let plain = path(text)?;
                Ok(match is_archive_name(text) {
                    true => Self::of_archive(plain),
                    false => Self::Layout(plain, None),
                })
            }
        }
    }
}

/// Transports of other tools, which are no file names that anybody means.
fn is_foreign_transport(text: &str) -> bool {
    const NAMES: [&str; 8] = [
        "docker",
        "docker-daemon",
        "containers-storage",
        "dir",
        "registry",
        "sif",
        "ostree",
        "tarball",
    ];
    NAMES.contains(&text)
}

fn is_archive_name(text: &str) -> bool {
    text.ends_with(".tar") || is_compressed_name(text)
}

fn is_compressed_name(text: &str) -> bool {
    text.ends_with(".tar.gz") || text.ends_with(".tgz")
}

impl Destination {
    fn of_archive(path: PathBuf) -> Self {
        match is_compressed_name(&path.to_string_lossy()) {
            true => Self::CompressedArchive(path),
            false => Self::Archive(path),
        }
    }

    /// Returns whether tools read and push what is here as it is, so that its
    /// layers should be compressed.
    #[must_use]
    pub fn wants_compressed_layers(&self) -> bool {
        matches!(self, Self::Layout(..) | Self::OciArchive(_))
    }

    /// Returns the file or directory, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Archive(path)
            | Self::OciArchive(path)
            | Self::CompressedArchive(path)
            | Self::Layout(path, _) => Some(path),
            Self::StandardOutput => None,
        }
    }

    /// Checks, before anything is built, that the destination could be
    /// written.
    ///
    /// # Errors
    ///
    /// When a layout's directory is something else, an archive's path is a
    /// directory, or its directory does not exist.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Layout(path, _) => check_layout(path),
            Self::Archive(path) | Self::OciArchive(path) | Self::CompressedArchive(path) => {
                let parent = parent_of(path);
                fs::read_dir(parent).map_err(Error::File)?;
                if path.is_dir() {
                    return Err(write_error(path, io::ErrorKind::IsADirectory.into()));
                }
                Ok(())
            }
            Self::StandardOutput => Ok(()),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(path) | Self::CompressedArchive(path) | Self::Layout(path, None) => {
                write!(formatter, "{}", path.display())
            }
            Self::OciArchive(path) => write!(formatter, "oci-archive:{}", path.display()),
            Self::Layout(path, Some(tag)) => write!(formatter, "oci:{}:{tag}", path.display()),
            Self::StandardOutput => formatter.write_str("-"),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How images are written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions<'a> {
    /// The names of the image; without any it can be found by digest only.
    pub references: &'a [Reference],
    /// How many threads work at a time; never changes a byte.
    pub threads: usize,
    /// Whether everything is on the disk before it gets its final name.
    pub sync: bool,
    /// What remembers the archives that were written.
    pub store: Option<&'a Store>,
    /// The image of an index that engines without indexes load.
    pub platform: Option<&'a Platform>,
}

/// What became of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The image was written there.
    New,
    /// It was there already, and nothing was touched.
    Unchanged,
}

/// Writes `image` to `destination`; an archive for standard output goes to
/// `standard_output`.
///
/// What is there already is left as it is: a layout with the image, or an
/// archive of it that, by the store, nobody has touched since.
///
/// # Errors
///
/// When the destination cannot be written or the layers cannot be read again
/// as they were. Then what was there before is there still.
pub fn write_image(
    image: &Image,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let delivery = Delivery::Image(image);
    write(delivery, destination, options, standard_output, monitor)
}

/// Writes an index and its images to `destination`, as [`write_image`] does
/// one image.
///
/// Of an archive, engines that know no index load the image for
/// `options.platform`: by default that for linux/amd64, or else the first.
///
/// # Errors
///
/// As [`write_image`].
pub fn write_images(
    images: &PlatformImages,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let delivery = Delivery::Images(images);
    write(delivery, destination, options, standard_output, monitor)
}

/// Copies what came from elsewhere to `destination`, its digests kept.
///
/// Of an index in an archive, engines that know none load the image for
/// `options.platform`, by default as [`write_images`].
///
/// # Errors
///
/// As [`write_image`], and when a blob cannot be read or is damaged.
pub fn write_parcel(
    parcel: &Parcel,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let delivery = Delivery::Parcel(parcel);
    write(delivery, destination, options, standard_output, monitor)
}

fn write(
    delivery: Delivery<'_>,
    destination: &Destination,
    options: WriteOptions<'_>,
    standard_output: &mut (dyn Write + Send),
    monitor: Monitor<'_>,
) -> Result<Written> {
    let references = options.references;
    let archive = || Archive::new(delivery, references, options.platform);
    match destination {
        Destination::Layout(path, tag) => {
            let references = match tag {
                Some(tag) => retag(references, tag),
                None => references.to_vec(),
            };
            let names = Names {
                references: &references,
                tag: tag.as_deref(),
            };
            let is_new = write_layout(path, delivery, names, options.sync, monitor)?;
            Ok(if is_new {
                Written::New
            } else {
                Written::Unchanged
            })
        }
        Destination::StandardOutput => {
            let sink_error = |source| Error::Write {
                what: "the archive to standard output".to_owned(),
                source,
            };
            archive().write_to(standard_output, &sink_error, monitor)?;
            Ok(Written::New)
        }
        Destination::Archive(path) | Destination::OciArchive(path) => {
            let archive = archive();
            write_file(path, options, archive.identity(), |file, is_plain| {
                let sink_error = |source| write_error(path, source);
                if !is_plain {
                    return archive.write_to(file, &sink_error, monitor);
                }
                reserve(file, archive.size()).map_err(sink_error)?;
                archive.write_at(file, options.threads, &sink_error, monitor)
            })
        }
        Destination::CompressedArchive(path) => {
            let archive = archive();
            let identity = store::compressed_identity(archive.identity());
            write_file(path, options, identity, |file, _| {
                let sink_error = |source| write_error(path, source);
                compress_archive(&archive, file, options.threads, &sink_error, monitor)
            })
        }
    }
}

/// The first repository, with another tag.
fn retag(references: &[Reference], tag: &str) -> Vec<Reference> {
    let first = references.first();
    first
        .and_then(|first| first.with_tag(tag))
        .into_iter()
        .collect()
}

/// Lets `write` fill a new file, which then replaces what is at `path`, unless
/// that is known to have this identity. A device or pipe is written to
/// instead; then `write` is told `false`.
fn write_file(
    path: &Path,
    options: WriteOptions<'_>,
    identity: Digest,
    write: impl FnOnce(&mut std::fs::File, bool) -> Result<()>,
) -> Result<Written> {
    // A link is followed, as every program that writes a file does.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if let Ok(metadata) = fs::metadata(&target) {
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
            let opened = fs::OpenOptions::new().write(true).open(&target);
            let (mut file, _) = opened.map_err(Error::File)?.into_parts();
            write(&mut file, false)?;
            return Ok(Written::New);
        }
    }
    let identities = written_identities(identity, options.sync);
    if let Some(store) = options.store
        && identities
            .iter()
            .any(|identity| store.has_output(&target, *identity))
    {
        return Ok(Written::Unchanged);
    }
    let mut file = layout::new_file_beside(&target)?;
    write(file.as_file_mut(), true)?;
    let mark = options.store.and_then(|_| Mark::put(file.as_file()));
    let file = layout::persist(file, &target, options.sync)?;
    layout::sync_directory(parent_of(&target), options.sync)?;
    if let (Some(store), Some(mark)) = (options.store, mark)
        && let Some(identity) = identities.last()
        && let Some(state) = mark.state(&file)
    {
        store.remember_output(&target, *identity, state);
    }
    Ok(Written::New)
}

/// Returns under which identities a file may have been written to count as
/// unchanged; what is written now gets the last one.
///
/// A file that was not synced may have lost its content, and not its state,
/// when the machine has been started again since.
fn written_identities(identity: Digest, sync: bool) -> Vec<Digest> {
    let mut identities = vec![identity];
    if !sync {
        match fs::read("/proc/sys/kernel/random/boot_id") {
            Ok(boot) => identities.push(store::identity_of_boot(identity, &boot)),
            Err(_) => identities.clear(),
        }
    }
    identities
}

/// A modification time that no write gives a file: one nanosecond after that
/// of the last write.
///
/// A file that was written a moment ago can be written again within the grain
/// of the clock and look the same. A marked one cannot: the next write takes
/// the mark away.
struct Mark(Timestamp);

impl Mark {
    /// Marks a file that is complete; `None` if its file system keeps no
    /// nanoseconds.
    fn put(file: &std::fs::File) -> Option<Self> {
        let written = FileState::of(&file.metadata().ok()?).mtime;
        let marked = Timestamp {
            nanoseconds: (written.nanoseconds + 1) % 1_000_000_000,
            ..written
        };
        let time = Timespec {
            tv_sec: marked.seconds,
            tv_nsec: marked.nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::futimens(file, &times).ok()?;
        Some(Self(marked))
    }

    /// Returns the state of a file that still has the mark.
    fn state(&self, file: &std::fs::File) -> Option<FileState> {
        let state = FileState::of(&file.metadata().ok()?);
        (state.mtime == self.0).then_some(state)
    }
}

/// Reserves the whole size: a full disk is found at once, and blocks that are
/// there are written faster. File systems that cannot are left alone.
fn reserve(file: &std::fs::File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// An archive as it comes out of a pipe.
struct PipedArchive {
    pipe: io::PipeReader,
    size: u64,
}

impl Stream for PipedArchive {
    fn size(&self) -> u64 {
        self.size
    }

    fn segment_starts(&self) -> Vec<u64> {
        Vec::new()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        io::Read::read_exact(&mut self.pipe, buffer).map_err(pipe_error)
    }
}

fn pipe_error(source: io::Error) -> Error {
    Error::Write {
        what: "the archive to the thread that compresses it".to_owned(),
        source,
    }
}

/// Compresses the archive on all threads while another one makes it.
fn compress_archive(
    archive: &Archive<'_>,
    file: &mut std::fs::File,
    threads: usize,
    sink_error: &(dyn Fn(io::Error) -> Error + Sync),
    monitor: Monitor<'_>,
) -> Result<()> {
    let (pipe, mut writer) = io::pipe().map_err(pipe_error)?;
    let mut stream = PipedArchive {
        pipe,
        size: archive.size(),
    };
    thread::scope(|scope| {
        let made = scope.spawn(move || archive.write_to(&mut writer, &pipe_error, monitor));
        let compressed = with_compressor(threads, Level::DEFAULT, |compressor| {
            compressor.gzip(&mut stream, file, |_| monitor.check(), sink_error)
        });
        // Closes the pipe, so that the other thread ends too.
        drop(stream);
        let made = made.join().expect("making an archive does not panic");
        match (made, compressed) {
            // What was not made was not there to be read.
            (Err(error), Err(_)) if !matches!(error, Error::Write { .. }) => Err(error),
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(_)) => Ok(()),
        }
    })
}
