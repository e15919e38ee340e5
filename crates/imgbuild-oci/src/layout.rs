//! OCI image layouts: images in a directory that other programs write to, too.

use std::fs::TryLockError;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use fs_err as fs;

use crate::bounded;
use crate::destination::options::{WriteOptions, Written};
use crate::document::{Document, MAX_DOCUMENT_BYTES, blob_name};
use crate::error::{Error, Result};
use crate::image::{Blob, Image};
use crate::layer;
use crate::monitor::{Monitor, Progress};
use crate::new_file::{NewFile, parent_of, sync_file, target_of, write_error};
use crate::parallel;
use crate::temporary;

mod prune;
mod root_index;

pub use prune::prune_layout;

pub(crate) use root_index::{OCI_LAYOUT, RootIndex, docker_manifest};

/// Writes an image or index into the layout at `path`, under the references of
/// `options` or, without any, under `tag`.
///
/// Other images in the layout stay; one with the same tag loses it.
/// Two writers wait for each other. A new layout appears as a whole. An image
/// that is there stays as it is.
pub(crate) fn write_layout(
    path: &Path,
    image: &Image,
    tag: Option<&str>,
    options: WriteOptions<'_>,
    monitor: Monitor<'_>,
) -> Result<Written> {
    let path = &target_of(path)?;
    loop {
        if is_present(path)? {
            let _lock = lock(path, monitor)?;
            return update_layout(path, image, tag, options, monitor);
        }
        let parent = parent_of(path);
        let _unless_used = NewDirectories::create(parent)?;
        let (fresh, _lock) = temporary::new_directory(parent, temporary::PREFIX, 0o777)
            .map_err(|source| write_error(path, source))?;
        update_layout(fresh.path(), image, tag, options, monitor)?;
        // Succeeds over nothing and over an empty directory only.
        match fs::rename(fresh.path(), path) {
            Ok(()) => {
                // The directory has its final name: there is nothing to remove.
                let _kept = fresh.keep();
                sync_directory(parent, options.sync)?;
                return Ok(Written::New);
            }
            Err(_) if is_present(path)? => {}
            Err(error) => return Err(Error::File(error)),
        }
    }
}

/// Waits for other writers of a layout.
fn lock(path: &Path, monitor: Monitor<'_>) -> Result<fs::File> {
    let directory = fs::File::open(path).map_err(Error::File)?;
    let path = path.display();
    let writer = format!("another program that writes `{path}`");
    monitor.wait_for(&writer, |interval| match directory.file().try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => {
            thread::sleep(interval);
            Ok(None)
        }
        Err(TryLockError::Error(source)) => {
            let what =
                format!("`{path}` without a lock (flock), which a new directory does not need");
            Err(Error::Write { what, source })
        }
    })?;
    Ok(directory)
}

/// Directories that were made for a layout; those that stay empty are removed
/// on drop.
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
            // Fails if it is not empty, as it should.
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

/// Reads the index of a layout; for a missing or empty directory, it has no
/// images. Nothing else than these three can be written as a layout.
pub(crate) fn read_root_index(path: &Path) -> Result<RootIndex> {
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
    let marker = match document(path, "oci-layout") {
        Ok(marker) => marker,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_a_layout("it has files, but no `oci-layout`"));
        }
        Err(error) => return Err(Error::File(error)),
    };
    let marker: serde_json::Value = serde_json::from_slice(&marker).unwrap_or_default();
    if marker["imageLayoutVersion"] != "1.0.0" {
        return Err(not_a_layout("its `oci-layout` does not have version 1.0.0"));
    }
    match document(path, "index.json") {
        Ok(bytes) => RootIndex::parse(&bytes).map_err(|reason| not_a_layout(&reason)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(not_a_layout("it has no `index.json`"))
        }
        Err(error) => Err(Error::File(error)),
    }
}

/// Reads a document at the root of a layout.
fn document(layout: &Path, name: &str) -> io::Result<Vec<u8>> {
    bounded::read_file(&layout.join(name), MAX_DOCUMENT_BYTES)
}

/// A layout that is being written, new or locked. Unless it is finished, the files
/// that were added are removed on drop.
struct LayoutUpdate<'a> {
    path: &'a Path,
    blobs: PathBuf,
    options: WriteOptions<'a>,
    added: Vec<PathBuf>,
}

fn update_layout(
    path: &Path,
    image: &Image,
    tag: Option<&str>,
    options: WriteOptions<'_>,
    monitor: Monitor<'_>,
) -> Result<Written> {
    // Read under the lock: another writer may just have finished.
    let mut index = if path.join("oci-layout").exists() {
        read_root_index(path)?
    } else {
        RootIndex::new()
    };
    let blobs = path.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(Error::File)?;
    let mut update = LayoutUpdate {
        path,
        blobs,
        options,
        added: Vec::new(),
    };
    update.add(image, monitor)?;
    index.insert(image.root(), options.references, tag);
    let index = index.to_bytes();
    let has_index = document(path, "index.json").is_ok_and(|bytes| bytes == index);
    if has_index && update.added.is_empty() {
        return Ok(Written::Unchanged);
    }
    update.finish(&index)?;
    Ok(Written::New)
}

impl LayoutUpdate<'_> {
    /// Adds the blobs, several at a time, and then the documents that name them.
    fn add(&mut self, image: &Image, monitor: Monitor<'_>) -> Result<()> {
        let path = |blob: &Blob| self.path.join(blob_name(&blob.digest));
        let is_missing = |blob: &&Blob| !has_size(&path(blob), blob.size);
        let (missing, present): (Vec<_>, Vec<_>) = image.blobs().iter().partition(is_missing);
        for blob in present {
            monitor.report(Progress::Written(blob.size));
        }
        layer::fetch_all(missing.iter().filter_map(|blob| blob.layer()))?;

        let added = Mutex::new(Vec::new());
        let threads = self.options.threads;
        let copied = parallel::for_each(threads, missing, |blob, queue| {
            let monitor = monitor.unless(queue.stopped());
            monitor.check()?;
            let path = path(blob);
            self.add_blob(blob, &path, monitor)?;
            let mut added = added.lock().expect("no holder of the lock panics");
            added.push(path);
            Ok(())
        });
        let added = added.into_inner().expect("no holder of the lock panics");
        self.added.extend(added);
        copied?;
        image
            .documents()
            .iter()
            .try_for_each(|document| self.add_document(document))
    }

    /// Adds a blob: under a name of the file that it is in, if that has none
    /// yet, and otherwise as a copy.
    fn add_blob(&self, blob: &Blob, path: &Path, monitor: Monitor<'_>) -> Result<()> {
        if let Some(layer) = blob.layer()
            && layer.link_at(path, self.options.sync, monitor)?
        {
            return Ok(());
        }
        let sink_error = |source| write_error(path, source);
        blob.until_whole(&|| self.replace(path, |file| blob.copy_to(file, &sink_error, monitor)))
    }

    /// Adds a document, unless a file of its name and size is there.
    fn add_document(&mut self, document: &Document) -> Result<()> {
        let path = self.path.join(blob_name(&document.digest));
        if has_size(&path, document.bytes.len() as u64) {
            return Ok(());
        }
        self.replace(&path, |file| {
            let written = file.write_all(&document.bytes);
            written.map_err(|source| write_error(self.path, source))
        })?;
        self.added.push(path);
        Ok(())
    }

    /// Writes a file beside its final name, then renames it.
    fn replace(
        &self,
        path: &Path,
        write: impl FnOnce(&mut std::fs::File) -> Result<()>,
    ) -> Result<()> {
        let mut file = NewFile::beside(path)?;
        write(file.file())?;
        file.persist(path, self.options.sync).map(drop)
    }

    fn finish(mut self, index: &[u8]) -> Result<()> {
        let sink_error = |source| write_error(self.path, source);
        sync_directory(&self.blobs, self.options.sync)?;
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
        sync_directory(self.path, self.options.sync)
    }
}

/// Returns whether a file of this size is at `path`.
fn has_size(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

impl Drop for LayoutUpdate<'_> {
    fn drop(&mut self) {
        for path in &self.added {
            // Nothing refers to it, and nothing can: the lock is still held.
            drop(fs::remove_file(path));
        }
    }
}

/// Syncs the names in a directory to the disk.
pub(crate) fn sync_directory(path: &Path, sync: bool) -> Result<()> {
    if !sync {
        return Ok(());
    }
    let directory = fs::File::open(path).map_err(Error::File)?;
    sync_file(directory.file(), path)
}
