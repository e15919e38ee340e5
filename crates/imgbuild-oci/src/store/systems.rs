//! The file systems of base images, by the digests of their layers: the next
//! image on the same base reads none of them again.
//!
//! ```text
//! v2/systems/KEY        the state and the digest of the file beside it
//! v2/bases/systems/KEY  members, and the contents that the check needs
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;

use tempfile::NamedTempFile;

use super::record::SystemRecord;
use super::verify::{hash, open_recorded};
use super::{BASE_SYSTEMS, SYSTEMS, Store, key};
use crate::content::FileState;
use crate::digest::Digest;
use crate::filesystem::{FileSystem, FileSystemError, ReadOptions};
use crate::selection::{SelectedImage, SelectedLayer};
use crate::source::Source;
use crate::violation::Violation;

/// The name of the format, and of the choice of contents; it changes with both.
const FORMAT: &[u8] = b"file system 6";

impl Store {
    /// Returns the file system of an image with these layers, if it is known.
    ///
    /// A file whose state changed is hashed first; a damaged one is removed.
    #[must_use]
    pub fn file_system(&self, layers: &[SelectedLayer]) -> Option<FileSystem> {
        let name = key_of(layers).hex();
        let place = self.path(SYSTEMS, &name);
        let path = self.path(BASE_SYSTEMS, &name);
        let mut record: SystemRecord = self.load(&name)?;
        let opened = open_recorded(&path, &record.state, record.digest);
        let found = opened.and_then(|(file, state)| {
            if state != record.state {
                record.state = state;
                self.save(&name, &record);
            }
            FileSystem::of_record(file, layers.len())
        });
        match found {
            Some(_) => self.touch(&place),
            None => {
                self.forget(&place);
                self.forget(&path);
            }
        }
        found
    }

    /// Reads the layers of an image, and stores their file system. A failure to
    /// store it is not an error.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::read`].
    pub fn read_file_system(
        &self,
        source: &Source,
        image: &SelectedImage,
        options: ReadOptions<'_>,
    ) -> Result<FileSystem, FileSystemError> {
        if !self.is_writable {
            return FileSystem::read(source, image, options);
        }
        let file = self.new_temporary();
        let opened = file.and_then(|file| Ok((file.as_file().try_clone()?, file)));
        let (contents, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.note_problem(&error);
                return FileSystem::read(source, image, options);
            }
        };

        match FileSystem::read_keeping(source, image, options, contents) {
            Ok((found, kept)) => {
                if Violation::refusal(found.violations()).is_none()
                    && let Err(error) = self.keep_system(file, &found, kept, &image.layers)
                {
                    self.note_problem(&error);
                }
                Ok(found)
            }
            // The store is full; the scratch directory may not be.
            Err(error) if error.is_of_scratch() => {
                drop(file);
                self.note_problem(&io::Error::other(error));
                FileSystem::read(source, image, options)
            }
            Err(error) => Err(error),
        }
    }

    fn keep_system(
        &self,
        file: NamedTempFile,
        found: &FileSystem,
        kept: u64,
        layers: &[SelectedLayer],
    ) -> io::Result<()> {
        found.write_record(file.as_file(), kept)?;
        let digest = hash(file.as_file())?;
        let read_only = std::fs::Permissions::from_mode(0o444);
        // Only a hint to people.
        drop(file.as_file().set_permissions(read_only));
        let name = key_of(layers).hex();
        let file: File = file.persist(self.path(BASE_SYSTEMS, &name))?;
        let state = FileState::of(&file.metadata()?);
        let record = SystemRecord { digest, state };
        self.save(&name, &record);
        Ok(())
    }
}

/// Returns the key of layers; their file system depends on nothing else.
fn key_of(layers: &[SelectedLayer]) -> Digest {
    let mut texts: Vec<&[u8]> = vec![FORMAT, env!("CARGO_PKG_VERSION").as_bytes()];
    for layer in layers {
        texts.push(layer.digest.as_bytes());
        texts.push(layer.diff_id.as_digest().as_bytes());
    }
    key::digest_of(&texts)
}

#[cfg(test)]
mod tests;
