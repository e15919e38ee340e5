//! Adding images to the index of a tag while other runs do the same.
//!
//! The [OCI distribution protocol] has no conditional write, and most registries
//! ignore `If-Match`: if two runs read the index and then write it, the second one
//! removes the image of the first. So each run announces itself under a tag of its
//! own before it reads the index, and after its write waits for all runs that may
//! have read the index before that.
//!
//! A run does, in this order:
//!
//! 1. write an announcement under `TAG-OS-ARCHITECTURE` for each of its images;
//! 2. read the index, add its images, and write it;
//! 3. replace each announcement by the image itself;
//! 4. wait until the announcements of all other runs are gone;
//! 5. read the index again, and start again if its images are not in it.
//!
//! A write that removes an image is based on an index that was read before that
//! image was added. So the announcement of the writer existed in step 4 of the run
//! that added the image, which waited for it and finds the loss in step 5.
//!
//! [OCI distribution protocol]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::Document;
use imgbuild_oci::image::{Image, ImageError, PlatformIndex, Platforms};
use imgbuild_oci::media_type::is_index;
use imgbuild_oci::parallel;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectionError;

use crate::error::{ProtocolError, Result, Step};
use crate::monitor::{ClientMonitor, Event, check};
use crate::pull;
use crate::push::lacks_blobs;
use crate::repository::Repository;
use crate::retry::backoff;

/// The annotation of an announcement.
const ANNOUNCEMENT: &str = "dev.imgbuild.index.update";

/// The timeout of an announcement: a run that left it longer was killed.
const ANNOUNCEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum age of the index that was read when it is written back; must stay
/// well below [`ANNOUNCEMENT_TIMEOUT`].
const MAX_AGE: Duration = Duration::from_secs(5);

/// The maximum number of attempts to write within [`MAX_AGE`].
const MAX_STALE_ATTEMPTS: u32 = 3;

/// The interval between two checks of announcements.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The maximum number of attempts of an update.
const MAX_ATTEMPTS: u32 = 20;

/// The wait before the second attempt; each further attempt doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The maximum wait before an attempt.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The maximum length of a tag, in bytes.
const MAX_TAG_BYTES: usize = 128;

/// The number of tags that are checked at a time.
const PARALLEL_CHECKS: usize = 4;

/// The result of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The tag.
    pub tag: String,
    /// The digest of its index.
    pub digest: Digest,
    /// The platforms of the images in the index.
    pub platforms: Vec<String>,
    /// Set if the index had the images before.
    pub is_unchanged: bool,
}

/// Returns the tag for the announcement of a run with an image for `platform`,
/// and later for that image; `None` if it would be too long.
#[must_use]
pub fn platform_tag(tag: &str, platform: &Platform) -> Option<String> {
    let platform = platform.to_string().replace('/', "-");
    let name = format!("{tag}-{platform}");
    (name.len() <= MAX_TAG_BYTES).then_some(name)
}

/// Adds the images of `own`, which the repository has, to the index of a tag.
///
/// Replaces images for the same platforms, and keeps everything else. A tag of an
/// image becomes a tag of an index with that image.
///
/// Afterwards the index has the images, and no other run of this function for
/// other platforms removes them, provided that the registry shows each write to
/// all later reads, and no run pauses for 30 seconds between reading and writing.
///
/// # Errors
///
/// If the registry fails, if the tag has something else than an image or index,
/// and if other writers keep replacing the tag.
pub fn update_index(
    repository: &Repository,
    tag: &str,
    own: &PlatformIndex,
    image: &Image,
) -> Result<Updated> {
    let update = IndexUpdate {
        repository,
        tag,
        own,
        tags: platform_tags(tag, own, image),
    };
    if update.find_own()?.is_some() {
        // An earlier run added the images, but may not have waited for the others.
        update.wait_for_others()?;
        if let Some(updated) = update.find_own()? {
            update.write_tags()?;
            return Ok(Updated {
                is_unchanged: true,
                ..updated
            });
        }
    }

    let monitor = repository.client().monitor();
    for attempt in 0..MAX_ATTEMPTS {
        let announcement = update.announcement();
        update.announce(&announcement)?;
        let written = update.write();
        // Also after a failure, so that no run waits for this one.
        let withdrawn = update.withdraw(announcement.digest);
        written.and(withdrawn)?;
        update.wait_for_others()?;
        if let Some(updated) = update.find_own()? {
            return Ok(updated);
        }
        monitor.wait(backoff(FIRST_WAIT, MAX_WAIT, attempt, monitor.random()));
        check(monitor)?;
    }
    let step = Step::WriteManifest(tag.to_owned());
    Err(repository.problem(&step, ProtocolError::Contended(MAX_ATTEMPTS)))
}

/// Returns the images of an index by their tags.
fn platform_tags<'a>(
    tag: &str,
    own: &PlatformIndex,
    image: &'a Image,
) -> BTreeMap<String, &'a Document> {
    let find = |digest: Digest| {
        let mut documents = image.documents().iter().chain([image.root()]);
        documents.find(|document| document.digest == digest)
    };
    let entries = own.entries().into_iter();
    let tags = entries.filter_map(|entry| {
        let tag = platform_tag(tag, entry.platform()?.platform())?;
        Some((tag, find(entry.digest)?))
    });
    tags.collect()
}

/// The image or index of a tag.
struct TaggedIndex {
    digest: Digest,
    etag: Option<String>,
    /// Set if it is an index, and not a single image.
    is_index: bool,
    index: PlatformIndex,
}

struct IndexUpdate<'a> {
    repository: &'a Repository,
    tag: &'a str,
    own: &'a PlatformIndex,
    /// The images of this run by the tags of their announcements.
    tags: BTreeMap<String, &'a Document>,
}

impl IndexUpdate<'_> {
    fn monitor(&self) -> &dyn ClientMonitor {
        self.repository.client().monitor()
    }

    /// Reads the index if it has the images of this run.
    fn find_own(&self) -> Result<Option<Updated>> {
        let is_own = |found: &TaggedIndex| found.is_index && found.index.contains(self.own);
        Ok(self.read()?.filter(is_own).map(|found| Updated {
            tag: self.tag.to_owned(),
            digest: found.digest,
            platforms: found
                .index
                .platforms()
                .iter()
                .map(ToString::to_string)
                .collect(),
            is_unchanged: false,
        }))
    }

    /// Reads the index, twice if it does not exist: proxies answer 404 as well,
    /// and an index that is taken for missing would be lost.
    fn read_twice(&self) -> Result<Option<TaggedIndex>> {
        if let Some(found) = self.read()? {
            return Ok(Some(found));
        }
        self.monitor().wait(POLL_INTERVAL);
        self.read()
    }

    fn read(&self) -> Result<Option<TaggedIndex>> {
        let Some((manifest, etag)) = self.repository.tagged(self.tag)? else {
            return Ok(None);
        };
        let (digest, is_index) = (manifest.digest, is_index(&manifest.media_type));
        let index = match PlatformIndex::of_document(&manifest) {
            // The documents below it are needed, too.
            Err(ImageError::Selection(SelectionError::Missing(_))) => {
                let image = pull::image_of(self.repository, manifest, &Platforms::All)?;
                PlatformIndex::of_image(&image)
            }
            index => index,
        };
        let index = index.map_err(|error| {
            let step = Step::ReadManifest(self.tag.to_owned());
            let problem = ProtocolError::Malformed(error.to_string());
            self.repository.problem(&step, problem)
        })?;
        Ok(Some(TaggedIndex {
            digest,
            etag,
            is_index,
            index,
        }))
    }

    /// Returns an announcement with a random number, to tell it from the next one.
    fn announcement(&self) -> Document {
        let number = format!("{:016x}", self.monitor().random());
        let mut announcement = self.own.clone();
        announcement
            .annotations
            .insert(ANNOUNCEMENT.to_owned(), number);
        announcement.to_document()
    }

    /// Writes an announcement under all tags, or under none after a failure.
    fn announce(&self, announcement: &Document) -> Result<()> {
        for (number, tag) in self.tags.keys().enumerate() {
            if let Err(error) = self.put(tag, announcement) {
                if number > 0 {
                    drop(self.withdraw(announcement.digest));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Replaces the announcement under all tags by the images, unless another run
    /// replaced it. Returns the first failure after all tags.
    fn withdraw(&self, announcement: Digest) -> Result<()> {
        let mut outcome = Ok(());
        for (tag, image) in &self.tags {
            let withdrawn = match self.repository.manifest_digest(tag) {
                Ok(found) if found == Some(announcement) => self.put(tag, image),
                found => found.map(drop),
            };
            outcome = outcome.and(withdrawn);
        }
        outcome
    }

    /// Writes the images under their own tags, which an earlier run may have left
    /// undone. Waits for another run for the same platforms.
    fn write_tags(&self) -> Result<()> {
        let tags: Vec<String> = self.tags.keys().cloned().collect();
        self.wait_for(self.announcements(&tags)?)?;
        for (tag, image) in &self.tags {
            if self.repository.manifest_digest(tag)? != Some(image.digest) {
                self.put(tag, image)?;
            }
        }
        Ok(())
    }

    fn put(&self, tag: &str, document: &Document) -> Result<()> {
        let mut attempts = self.repository.client().attempts();
        loop {
            match self.repository.put_manifest(tag, document) {
                Err(error) if lacks_blobs(&error) => {
                    attempts.wait_anyway(self.monitor(), error)?;
                }
                result => return result,
            }
        }
    }

    /// Writes the index with the images of this run. A later read shows whether
    /// they stay in it.
    fn write(&self) -> Result<()> {
        let mut attempts = self.repository.client().attempts();
        let mut refused = None;
        for attempt in 0..MAX_ATTEMPTS {
            check(self.monitor())?;
            let start = self.monitor().now();
            let found = self.read_twice()?;
            let index = found.as_ref().map(|found| found.index.clone());
            let mut index = index.unwrap_or_default();
            index.replace(self.own.clone());
            let document = index.to_document();
            let before = found.as_ref().map(|found| found.digest);
            if before == Some(document.digest) {
                return Ok(());
            }
            let is_stale = self.monitor().now().saturating_sub(start) > MAX_AGE;
            if is_stale && attempt < MAX_STALE_ATTEMPTS {
                continue;
            }

            // A condition that was false for an unchanged index means something
            // else to this registry.
            let condition = condition(found.as_ref()).filter(|_| refused != Some(before));
            let written = self
                .repository
                .put_manifest_once(self.tag, &document, condition);
            match written {
                Ok(true) => return self.check_time(start),
                Ok(false) => refused = Some(before),
                // Read the index again, and not only write it. An image may be
                // missing for a moment while another run writes it.
                Err(error) if lacks_blobs(&error) => {
                    attempts.wait_anyway(self.monitor(), error)?;
                }
                Err(error) => attempts.wait(self.monitor(), error)?,
            }
        }
        Ok(())
    }

    /// Returns an error if other runs may have stopped waiting between `start`, the
    /// time of reading, and now, after writing.
    fn check_time(&self, start: Duration) -> Result<()> {
        let taken = self.monitor().now().saturating_sub(start);
        if taken < ANNOUNCEMENT_TIMEOUT {
            return Ok(());
        }
        let step = Step::WriteManifest(self.tag.to_owned());
        let (taken, limit) = (taken.as_secs(), ANNOUNCEMENT_TIMEOUT.as_secs());
        let text = format!(
            "the index update took {taken} s, but other writers wait only {limit} s: a concurrent update may be lost"
        );
        let problem = ProtocolError::Other(text.into());
        Err(self.repository.problem(&step, problem))
    }

    /// Waits until all announcements of other runs are gone.
    fn wait_for_others(&self) -> Result<()> {
        let others = Platform::known().filter_map(|platform| platform_tag(self.tag, &platform));
        let others = others.filter(|tag| !self.tags.contains_key(tag));
        self.wait_for(self.announcements(&others.collect::<Vec<_>>())?)
    }

    /// Waits until these announcements are gone or timed out.
    fn wait_for(&self, mut pending: Vec<(String, Digest)>) -> Result<()> {
        let start = self.monitor().now();
        let mut is_reported = false;
        while !pending.is_empty()
            && self.monitor().now().saturating_sub(start) < ANNOUNCEMENT_TIMEOUT
        {
            self.monitor().wait(POLL_INTERVAL);
            check(self.monitor())?;
            if !is_reported {
                is_reported = true;
                self.monitor().report(Event::Waiting {
                    tag: &pending[0].0,
                    timeout: ANNOUNCEMENT_TIMEOUT,
                });
            }
            let mut left = Vec::new();
            for (tag, announcement) in pending {
                // Another announcement under the tag means that this one is gone.
                if self.repository.manifest_digest(&tag)? == Some(announcement) {
                    left.push((tag, announcement));
                }
            }
            pending = left;
        }
        Ok(())
    }

    /// Returns the announcements under these tags.
    fn announcements(&self, tags: &[String]) -> Result<Vec<(String, Digest)>> {
        let found = Mutex::new(Vec::new());
        parallel::for_each(PARALLEL_CHECKS, tags, |tag, _| {
            if let Some(digest) = self.announcement_digest(tag)? {
                let mut found = found.lock().expect("no holder of the lock panics");
                found.push((tag.clone(), digest));
            }
            Ok(())
        })?;
        let mut found = found.into_inner().expect("no holder of the lock panics");
        found.sort();
        Ok(found)
    }

    fn announcement_digest(&self, tag: &str) -> Result<Option<Digest>> {
        // Mostly the tag does not exist, and some registries count downloads.
        if self.repository.manifest_digest(tag)?.is_none() {
            return Ok(None);
        }
        let Some(manifest) = self.repository.manifest(tag)? else {
            return Ok(None);
        };
        let index = PlatformIndex::of_document(&manifest).ok();
        let is_announcement =
            index.is_some_and(|index| index.annotations.contains_key(ANNOUNCEMENT));
        Ok(is_announcement.then_some(manifest.digest))
    }
}

/// Returns the condition of a write ([RFC 9110], section 13.1), if the registry
/// reported a strong `ETag`.
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1
fn condition(found: Option<&TaggedIndex>) -> Option<(&'static str, String)> {
    let Some(found) = found else {
        return Some(("if-none-match", "*".to_owned()));
    };
    let etag = found.etag.as_ref()?;
    let is_strong = etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
    is_strong.then(|| ("if-match", etag.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_platform_has_both() {
        let tag = |tag: &str, platform: &str| platform_tag(tag, &platform.parse().unwrap());
        assert_eq!(tag("1.2", "linux/amd64").unwrap(), "1.2-linux-amd64");
        assert_eq!(tag("1.2", "linux/arm/v7").unwrap(), "1.2-linux-arm-v7");
        assert_eq!(tag(&"a".repeat(117), "linux/amd64"), None);
    }

    #[test]
    fn only_strong_etags_are_conditions() {
        let condition_of = |etag: &str| {
            condition(Some(&TaggedIndex {
                digest: Digest::of(b""),
                etag: Some(etag.to_owned()),
                is_index: true,
                index: PlatformIndex::default(),
            }))
        };
        assert_eq!(condition(None).unwrap().0, "if-none-match");
        assert_eq!(condition_of(r#""a""#).unwrap().1, r#""a""#);
        for etag in ["", "a", r#"W/"a""#, r#""""#] {
            assert_eq!(condition_of(etag), None, "{etag}");
        }
    }
}
