//! OCI image layouts: images in a directory, shared with whoever else writes
//! there.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;

use crate::delivery::Delivery;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::index::{OCI_LAYOUT, RootIndex, blob_name};
use crate::layer::{self, Layer};
use crate::monitor::{Monitor, Progress};
use crate::new_file::{NewFile, parent_of, target_of, write_error};
use crate::parcel::{ParcelBlob, copy_together};
use crate::reference::Reference;

/// Checks that a layout can be written at `path`: nothing is there, or an
/// empty directory, or an image layout.
///
/// # Errors
///
/// [`Error::NotALayout`], or when it cannot be read.
pub fn check_layout(path: &Path) -> Result<()> {
    read_root_index(path).map(|_| ())
}

/// What an image is called in a layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) references: &'a [Reference],
    /// The tag of what has no reference.
    pub(crate) tag: Option<&'a str>,
}

/// How a layout is written, whatever it holds in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Whether everything is on the disk before it gets its final name.
    pub(crate) sync: bool,
    /// How many blobs from elsewhere are written at a time.
    pub(crate) threads: usize,
}

/// Writes an image or index into the layout at `path`, under its names.
///
/// What else is in the layout stays; another image of the same tag loses it.
/// Two writers wait for each other. A new layout appears as a whole. Returns
/// whether anything was written: an image that is there stays as it is.
pub(crate) fn write_layout(
    path: &Path,
    delivery: Delivery<'_>,
    names: Names<'_>,
    manner: Manner,
    monitor: Monitor<'_>,
) -> Result<bool> {
    let path = &target_of(path)?;
    loop {
        if is_present(path)? {
            return update_layout(path, delivery, names, manner, monitor);
        }
        let parent = parent_of(path);
        let _unless_used = NewDirectories::create(parent)?;
        let fresh = tempfile::Builder::new()
            .prefix(".imgbuild-")
            .permissions(std::fs::Permissions::from_mode(0o777))
            .tempdir_in(parent)
            .map_err(|source| write_error(path, source))?;
        update_layout(fresh.path(), delivery, names, manner, monitor)?;
        // Succeeds over nothing and over an empty directory only.
        match fs::rename(fresh.path(), path) {
            Ok(()) => {
                // The directory has its final name: there is nothing to remove.
                let _kept = fresh.keep();
                sync_directory(parent, manner.sync)?;
                return Ok(true);
            }
            Err(_) if is_present(path)? => {}
            Err(error) => return Err(Error::File(error)),
        }
    }
}

/// Directories that were made for a layout; those that nothing was put into
/// are removed again.
struct NewDirectories {
    deepest_first: Vec<PathBuf>,
}

impl NewDirectories {
    fn create(directory: &Path) -> Result<Self> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing = directory.ancestors().take_while(is_missing);
        let created = Self {
            deepest_first: missing.map(Path::to_path_buf).collect(),
        };
        fs::create_dir_all(directory).map_err(Error::File)?;
        Ok(created)
    }
}

impl Drop for NewDirectories {
    fn drop(&mut self) {
        for path in &self.deepest_first {
            // Fails when there is something in it, as it should.
            drop(fs::remove_dir(path));
        }
    }
}

/// Returns whether something but an empty directory is at `path`.
fn is_present(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(Error::File(error)),
    }
}

/// Reads the index of a layout; that of a missing or empty one has no images.
fn read_root_index(path: &Path) -> Result<RootIndex> {
    let not_a_layout = |reason: &str| Error::NotALayout {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    };
    if !is_present(path)? {
        return Ok(RootIndex::new());
    }
    if !path.is_dir() {
        return Err(not_a_layout("it is not a directory"));
    }
    let marker = match fs::read(path.join("oci-layout")) {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_a_layout("it has files, but no `oci-layout`"));
        }
        Err(error) => return Err(Error::File(error)),
    };
    let marker: serde_json::Value = serde_json::from_slice(&marker).unwrap_or_default();
    if marker["imageLayoutVersion"] != "1.0.0" {
        return Err(not_a_layout("its `oci-layout` does not say version 1.0.0"));
    }
    match fs::read(path.join("index.json")) {
        Ok(bytes) => RootIndex::parse(&bytes).map_err(|reason| not_a_layout(&reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(not_a_layout("it has no `index.json`"))
        }
        Err(error) => Err(Error::File(error)),
    }
}

/// A layout being written: it is locked, and forgets what it added unless
/// it is finished.
struct Update<'a> {
    path: &'a Path,
    blobs: PathBuf,
    manner: Manner,
    added: Vec<PathBuf>,
    _lock: fs::File,
}

fn update_layout(
    path: &Path,
    delivery: Delivery<'_>,
    names: Names<'_>,
    manner: Manner,
    monitor: Monitor<'_>,
) -> Result<bool> {
    let lock = fs::File::open(path).map_err(Error::File)?;
    lock.file()
        .lock()
        .map_err(|source| write_error(path, source))?;
    // Read under the lock: another writer may just have finished.
    let mut index = if path.join("oci-layout").exists() {
        read_root_index(path)?
    } else {
        RootIndex::new()
    };
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::File)?;
    let mut update = Update {
        path,
        blobs,
        manner,
        added: Vec::new(),
        _lock: lock,
    };
    update.add(delivery, monitor)?;
    index.insert(&delivery.root(), names.references, names.tag);
    let index = index.to_bytes();
    let has_index = fs::read(path.join("index.json")).is_ok_and(|bytes| bytes == index);
    if has_index && update.added.is_empty() {
        return Ok(false);
    }
    update.finish(&index)?;
    Ok(true)
}

impl Update<'_> {
    fn add(&mut self, delivery: Delivery<'_>, monitor: Monitor<'_>) -> Result<()> {
        match delivery {
            Delivery::Image(image) => self.add_image(image, monitor),
            Delivery::Images(images) => {
                for (_, image) in images.images() {
                    self.add_image(image, monitor)?;
                }
                let index = images.document();
                self.add_document(index.digest, &index.bytes)
            }
            Delivery::Parcel(parcel) => {
                self.add_blobs(parcel.blobs(), monitor)?;
                for document in parcel.documents() {
                    self.add_document(document.digest, &document.bytes)?;
                }
                Ok(())
            }
        }
    }

    fn add_image(&mut self, image: &Image, monitor: Monitor<'_>) -> Result<()> {
        let path = |layer: &Layer| self.path.join(blob_name(layer.digest()));
        let layers = image.layers().iter();
        layer::bring(layers.filter(|layer| !has_size(&path(layer), layer.size())))?;
        for layer in image.layers() {
            self.add_layer(layer, monitor)?;
        }
        self.add_document(image.config().digest(), image.config().bytes())?;
        self.add_document(image.manifest().digest(), image.manifest().bytes())
    }

    fn add_document(&mut self, digest: Digest, bytes: &[u8]) -> Result<()> {
        let path = self.path;
        self.add_blob(digest, bytes.len() as u64, |file| {
            file.write_all(bytes)
                .map_err(|source| write_error(path, source))
        })
        .map(drop)
    }

    /// Adds the blob of a layer: under a name of the file that it lies in, if
    /// that has none yet, and otherwise as a copy.
    fn add_layer(&mut self, layer: &Layer, monitor: Monitor<'_>) -> Result<()> {
        let path = self.path.join(blob_name(layer.digest()));
        if !has_size(&path, layer.size()) && layer.link_at(&path, self.manner.sync, monitor)? {
            self.added.push(path);
            return Ok(());
        }
        let sink_error = |source| write_error(&path, source);
        let is_added = self.add_blob(layer.digest(), layer.size(), |file| {
            layer.write_to(file, &sink_error, monitor)
        })?;
        report_unless(is_added, layer.size(), monitor);
        Ok(())
    }

    /// Adds the blobs that are not there, several at a time.
    fn add_blobs(&mut self, blobs: &[ParcelBlob], monitor: Monitor<'_>) -> Result<()> {
        let path = |blob: &ParcelBlob| self.path.join(blob_name(blob.digest));
        let is_missing = |blob: &&ParcelBlob| !has_size(&path(blob), blob.size);
        let (missing, found): (Vec<_>, Vec<_>) = blobs.iter().partition(is_missing);
        for blob in found {
            report_unless(false, blob.size, monitor);
        }
        let added = Mutex::new(Vec::new());
        let threads = self.manner.threads;
        let copied = copy_together(&missing, threads, monitor, &|_, blob, monitor| {
            let path = path(blob);
            let sink_error = |source| write_error(self.path, source);
            blob.until_whole(&|| {
                self.replace(&path, |file| blob.copy_to(file, &sink_error, monitor))
            })?;
            added
                .lock()
                .expect("no holder of the lock panics")
                .push(path);
            Ok(())
        });
        let added = added.into_inner().expect("no holder of the lock panics");
        self.added.extend(added);
        copied
    }

    /// Adds a blob unless one of its name and size is there; returns whether
    /// it has.
    fn add_blob(
        &mut self,
        digest: Digest,
        size: u64,
        write: impl FnOnce(&mut std::fs::File) -> Result<()>,
    ) -> Result<bool> {
        let path = self.path.join(blob_name(digest));
        if has_size(&path, size) {
            return Ok(false);
        }
        self.replace(&path, write)?;
        self.added.push(path);
        Ok(true)
    }

    /// Writes a file beside its final name, then renames it.
    fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&mut std::fs::File) -> Result<()>,
    ) -> Result<()> {
        let mut file = NewFile::beside(path)?;
        write(file.file())?;
        file.persist(path, self.manner.sync).map(drop)
    }

    fn finish(mut self, index: &[u8]) -> Result<()> {
        let sink_error = |source| write_error(self.path, source);
        sync_directory(&self.blobs, self.manner.sync)?;
        let marker = self.path.join("oci-layout");
        if !marker.exists() {
            self.replace(&marker, |file| {
                file.write_all(OCI_LAYOUT).map_err(sink_error)
            })?;
        }
        self.replace(&self.path.join("index.json"), |file| {
            file.write_all(index).map_err(sink_error)
        })?;
        self.added.clear();
        sync_directory(self.path, self.manner.sync)
    }
}

/// Counts what was there already.
fn report_unless(is_added: bool, bytes: u64, monitor: Monitor<'_>) {
    if !is_added {
        monitor.report(Progress::Written { bytes });
    }
}

/// Returns whether a file of this size is at `path`.
fn has_size(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

impl Drop for Update<'_> {
    fn drop(&mut self) {
        for path in &self.added {
            // Nothing refers to it, and nobody else can: the lock is still held.
            drop(fs::remove_file(path));
        }
    }
}

/// Makes the names in a directory last.
pub(crate) fn sync_directory(path: &Path, sync: bool) -> Result<()> {
    if !sync {
        return Ok(());
    }
    let directory = fs::File::open(path).map_err(Error::File)?;
    directory.sync_all().map_err(Error::File)
}
