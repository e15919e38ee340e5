//! Adding images to the index that a tag names, while others do the same.
//!
//! The [OCI distribution protocol] knows no write that depends on what is
//! there, and most registries ignore `If-Match`: of two runs that read the
//! index and then write it, one takes the other's image away without a trace.
//! So every run first says under a tag of its own that it is at it, and ends
//! only when, after its write, it has seen nobody at it who may have read the
//! index before.
//!
//! A run does, in this order:
//!
//! 1. write an announcement under `TAG-OS-ARCHITECTURE`, for each image that it
//!    brings;
//! 2. read the index, and write it with its own images;
//! 3. put each of its images in the place of its announcement;
//! 4. wait until every other announcement that it finds is gone;
//! 5. read the index again, and start anew if its images are not in it.
//!
//! A write that takes an image away has read the index before the image was
//! written, so its announcement was there at step 4 of that image's run, which
//! has waited for it and then found out at step 5.
//!
//! [OCI distribution protocol]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::Document;
use imgbuild_oci::image::{Image, Platforms};
use imgbuild_oci::image::{ImageError, PlatformIndex};
use imgbuild_oci::media_type::is_index;
use imgbuild_oci::platform::Platform;

use crate::error::{Error, ProtocolError, Result, Step};
use crate::monitor::{Event, Monitor, check};
use crate::pull;
use crate::push::lacks_blobs;
use crate::repository::Repository;

/// What an announcement says of itself.
const ANNOUNCEMENT: &str = "dev.imgbuild.index.update";

/// How long an announcement that stays the same is believed: who has left it
/// has ended without taking it back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long what was read may lie before it is written, far below the
/// patience of the others.
const FRESH: Duration = Duration::from_secs(5);

/// The wait between two looks at the announcements of others.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How often everything is done anew.
const ROUNDS: u32 = 20;

/// The waits before that: the first, which doubles, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How often a registry that is slow is given another chance to be quick.
const SLOW_ROUNDS: u32 = 3;

/// The longest tag.
const MAX_TAG_BYTES: usize = 128;

/// How many tags are looked at at a time.
const PARALLEL_LOOKS: usize = 4;

/// What became of the index of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The tag.
    pub tag: String,
    /// The digest of the index that it names.
    pub digest: Digest,
    /// The platforms that the index has images for.
    pub platforms: Vec<String>,
    /// Whether it had the images already.
    pub is_unchanged: bool,
}

/// Returns the tag under which a run with an image for `platform` announces
/// itself, and under which that image can be found afterwards; none if it
/// would be too long.
#[must_use]
pub fn platform_tag(tag: &str, platform: &Platform) -> Option<String> {
    let platform = platform.to_string().replace('/', "-");
    let name = format!("{tag}-{platform}");
    (name.len() <= MAX_TAG_BYTES).then_some(name)
}

/// Adds the images of `image`, which the repository must have, to the index
/// that `tag` names; an image for the same platform is replaced, everything
/// else stays. An image that is no index becomes part of one.
///
/// When it returns, the images are in the index, and no run of this function
/// for another platform takes them away, if the registry shows every write to
/// all who read after it and none of them stops for half a minute between
/// reading and writing.
///
/// # Errors
///
/// When the registry refuses, when what the tag names is no image or index, or
/// when others write the tag again and again.
pub fn update_index(
    repository: &Repository,
    tag: &str,
    own: &PlatformIndex,
    image: &Image,
) -> Result<Updated> {
    let update = Update {
        repository,
        tag,
        own,
        places: places(tag, own, image),
    };
    if update.find_own()?.is_some() {
        // One of an earlier run, which may not have waited for all who had read
        // the index before it.
        update.wait_for_others()?;
        if let Some(found) = update.find_own()? {
            update.take_places()?;
            return Ok(update.updated(&found, true));
        }
    }
    let monitor = repository.client().monitor();
    for round in 0..ROUNDS {
        let announcement = update.announcement_of_own();
        update.announce(&announcement)?;
        let written = update.write();
        // Also after a failure: nobody needs to wait for this run.
        let withdrawn = update.withdraw(announcement.digest);
        written.and(withdrawn)?;
        update.wait_for_others()?;
        if let Some(found) = update.find_own()? {
            return Ok(update.updated(&found, false));
        }
        monitor.wait(wait_after(round, monitor.random()));
        check(monitor)?;
    }
    let step = Step::WriteManifest(tag.to_owned());
    let name = Some(repository.name());
    let problem = ProtocolError::Contended(ROUNDS);
    Err(repository.client().problem(&step, name, problem))
}

/// Between half of the doubled wait and all of it.
fn wait_after(round: u32, random: u64) -> Duration {
    let whole = (FIRST_WAIT * (1 << round.min(16))).min(MAX_WAIT);
    let half = whole / 2;
    half + half * u32::try_from(random % 1001).unwrap_or_default() / 1000
}

/// Returns the tag of each image of an index, with the image.
fn places<'a>(tag: &str, own: &PlatformIndex, image: &'a Image) -> BTreeMap<String, &'a Document> {
    let document = |digest: Digest| {
        let mut documents = image.documents().iter().chain([image.root()]);
        documents.find(|one| one.digest == digest)
    };
    let listed = own.entries().into_iter();
    let places = listed.filter_map(|listed| {
        let place = platform_tag(tag, listed.platform()?.platform())?;
        Some((place, document(listed.digest())?))
    });
    places.collect()
}

/// What a tag names now.
struct Found {
    digest: Digest,
    /// The `ETag` of the answer.
    mark: Option<String>,
    /// Whether it is an index, and not an image alone.
    is_index: bool,
    index: PlatformIndex,
}

struct Update<'a> {
    repository: &'a Repository,
    tag: &'a str,
    own: &'a PlatformIndex,
    /// The tags of the announcements, and the images that come there.
    places: BTreeMap<String, &'a Document>,
}

impl Update<'_> {
    fn monitor(&self) -> &dyn Monitor {
        self.repository.client().monitor()
    }

    fn updated(&self, found: &Found, is_unchanged: bool) -> Updated {
        let platforms = found.index.platforms().into_iter();
        Updated {
            tag: self.tag.to_owned(),
            digest: found.digest,
            platforms: platforms.map(ToString::to_string).collect(),
            is_unchanged,
        }
    }

    /// Reads the index if it has the images of this run.
    fn find_own(&self) -> Result<Option<Found>> {
        let found = self.read()?;
        Ok(found.filter(|found| found.is_index && found.index.contains(self.own)))
    }

    /// Reads what the tag names. One that seems not to be there is looked for
    /// again: on the way to a registry others say so too, when they do not find
    /// it, and an index that is taken for missing would be lost.
    fn read_surely(&self) -> Result<Option<Found>> {
        match self.read()? {
            None => {
                self.monitor().wait(LOOK_AGAIN);
                self.read()
            }
            found => Ok(found),
        }
    }

    fn read(&self) -> Result<Option<Found>> {
        let Some((manifest, mark)) = self.repository.tagged(self.tag)? else {
            return Ok(None);
        };
        let (digest, is_index) = (manifest.digest, is_index(&manifest.media_type));
        let index = match PlatformIndex::of_document(&manifest) {
            // It does not say everything itself.
            Err(ImageError::Missing(_)) => {
                let image = pull::image_of(self.repository, manifest, &Platforms::All)?;
                self.index_of(&image)?
            }
            index => index.map_err(|error| self.malformed(&error))?,
        };
        Ok(Some(Found {
            digest,
            mark,
            is_index,
            index,
        }))
    }

    fn index_of(&self, image: &Image) -> Result<PlatformIndex> {
        PlatformIndex::of_image(image).map_err(|error| self.malformed(&error))
    }

    fn malformed(&self, error: &ImageError) -> Error {
        let step = Step::ReadManifest(self.tag.to_owned());
        let problem = ProtocolError::Malformed(error.to_string());
        let name = Some(self.repository.name());
        self.repository.client().problem(&step, name, problem)
    }

    /// What this run says of itself.
    fn announcement_of_own(&self) -> Document {
        let mut announcement = self.own.clone();
        // Told apart from every other one, so that it is seen when it goes.
        let number = format!("{:016x}", self.monitor().random());
        announcement
            .annotations
            .insert(ANNOUNCEMENT.to_owned(), number);
        announcement.to_document()
    }

    /// Says that this run is about to write; in all places or, when that
    /// fails, in none.
    fn announce(&self, announcement: &Document) -> Result<()> {
        for (number, place) in self.places.keys().enumerate() {
            if let Err(error) = self.put(place, announcement) {
                if number > 0 {
                    // The first failure is the one to tell.
                    drop(self.withdraw(announcement.digest));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts each image itself where the announcement was, unless somebody else
    /// has put something there. The first failure is told, when all has been
    /// tried.
    fn withdraw(&self, announcement: Digest) -> Result<()> {
        let mut outcome = Ok(());
        for (place, image) in &self.places {
            let withdrawn = match self.repository.manifest_digest(place) {
                Ok(found) if found == Some(announcement) => self.put(place, image),
                found => found.map(drop),
            };
            outcome = outcome.and(withdrawn);
        }
        outcome
    }

    /// Puts each image under its own tag if it is not there: an earlier run may
    /// have ended before it did so. Another one that is at it for the same
    /// platform is waited for.
    fn take_places(&self) -> Result<()> {
        let places: Vec<String> = self.places.keys().cloned().collect();
        self.wait_for(self.announced(&places)?)?;
        for (place, image) in &self.places {
            if self.repository.manifest_digest(place)? != Some(image.digest) {
                self.put(place, image)?;
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

    /// Writes the index with this run's images. Whether they are in it is
    /// found out afterwards.
    fn write(&self) -> Result<()> {
        let mut attempts = self.repository.client().attempts();
        let mut refused = None;
        for round in 0..ROUNDS {
            check(self.monitor())?;
            let start = self.monitor().now();
            let found = self.read_surely()?;
            let mut index = found
                .as_ref()
                .map_or_else(PlatformIndex::default, |found| found.index.clone());
            index.replace(self.own.clone());
            let document = index.to_document();
            let before = found.as_ref().map(|found| found.digest);
            if before == Some(document.digest) {
                return Ok(());
            }
            let is_stale = self.monitor().now().saturating_sub(start) > FRESH;
            if is_stale && round < SLOW_ROUNDS {
                continue;
            }
            // Refused although nothing has changed: not a condition that this
            // registry understands as we do.
            let is_condition = refused != Some(before);
            let condition = condition(found.as_ref()).filter(|_| is_condition);
            let written = self
                .repository
                .put_manifest_once(self.tag, &document, condition);
            match written {
                Ok(true) => return self.check_time(start),
                Ok(false) => refused = Some(before),
                // With what is there then, not with what was there before. An
                // image may not be found while another run writes it again.
                Err(error) if lacks_blobs(&error) => {
                    attempts.wait_anyway(self.monitor(), error)?;
                }
                Err(error) => attempts.wait(self.monitor(), error)?,
            }
        }
        Ok(())
    }

    /// Fails if others may have taken this run for dead between `start`, when it
    /// read the index, and now, when it has written it.
    fn check_time(&self, start: Duration) -> Result<()> {
        let taken = self.monitor().now().saturating_sub(start);
        if taken < PATIENCE {
            return Ok(());
        }
        let step = Step::WriteManifest(self.tag.to_owned());
        let problem = ProtocolError::Late {
            taken: taken.as_secs(),
            limit: PATIENCE.as_secs(),
        };
        let name = Some(self.repository.name());
        Err(self.repository.client().problem(&step, name, problem))
    }

    /// Waits until each announcement that is there now is gone.
    fn wait_for_others(&self) -> Result<()> {
        let others = Platform::known().filter_map(|platform| platform_tag(self.tag, &platform));
        let others = others.filter(|place| !self.places.contains_key(place));
        self.wait_for(self.announced(&others.collect::<Vec<_>>())?)
    }

    /// Waits until these announcements are gone, or were there for too long.
    fn wait_for(&self, announcements: Vec<(String, Digest)>) -> Result<()> {
        let mut pending = announcements;
        let start = self.monitor().now();
        let mut has_told = false;
        while !pending.is_empty() && self.monitor().now().saturating_sub(start) < PATIENCE {
            self.monitor().wait(LOOK_AGAIN);
            check(self.monitor())?;
            if let Some((place, _)) = pending.first().filter(|_| !has_told) {
                self.monitor().report(Event::Waiting {
                    tag: place,
                    timeout: PATIENCE,
                });
                has_told = true;
            }
            let mut still = Vec::new();
            for (place, announcement) in pending {
                // Another one in its place means that the first has gone.
                if self.repository.manifest_digest(&place)? == Some(announcement) {
                    still.push((place, announcement));
                }
            }
            pending = still;
        }
        Ok(())
    }

    /// Returns the announcements under these tags.
    fn announced(&self, places: &[String]) -> Result<Vec<(String, Digest)>> {
        let part = places.len().div_ceil(PARALLEL_LOOKS).max(1);
        let parts: Result<Vec<Vec<_>>> = thread::scope(|scope| {
            let look = |places: &[String]| -> Result<Vec<_>> {
                let looks = places.iter().map(|place| {
                    let digest = self.announcement(place)?;
                    Ok(digest.map(|digest| (place.clone(), digest)))
                });
                let found: Result<Vec<_>> = looks.collect();
                Ok(found?.into_iter().flatten().collect())
            };
            let threads: Vec<_> = places
                .chunks(part)
                .map(|places| scope.spawn(move || look(places)))
                .collect();
            let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
            results
                .map(|result| result.expect("no look panics"))
                .collect()
        });
        Ok(parts?.concat())
    }

    fn announcement(&self, place: &str) -> Result<Option<Digest>> {
        // Mostly there is none, and what is read counts as pulled in some places.
        if self.repository.manifest_digest(place)?.is_none() {
            return Ok(None);
        }
        let Some(manifest) = self.repository.manifest(place)? else {
            return Ok(None);
        };
        // Under such a tag there may be anything, but an announcement can be read.
        let index = PlatformIndex::of_document(&manifest).ok();
        let is_one = index.is_some_and(|index| index.annotations.contains_key(ANNOUNCEMENT));
        Ok(is_one.then_some(manifest.digest))
    }
}

/// What a write may depend on ([RFC 9110], section 13.1), if the registry says
/// how it tells versions apart.
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1
fn condition(found: Option<&Found>) -> Option<(&'static str, String)> {
    let Some(found) = found else {
        return Some(("if-none-match", "*".to_owned()));
    };
    let mark = found.mark.as_ref()?;
    let is_strong = mark.len() > 2 && mark.starts_with('"') && mark.ends_with('"');
    is_strong.then(|| ("if-match", mark.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_platform_says_both() {
        let tag = |tag: &str, platform: &str| platform_tag(tag, &platform.parse().unwrap());
        assert_eq!(tag("1.2", "linux/amd64").unwrap(), "1.2-linux-amd64");
        assert_eq!(tag("1.2", "linux/arm/v7").unwrap(), "1.2-linux-arm-v7");
        assert_eq!(tag(&"a".repeat(117), "linux/amd64"), None);
    }

    #[test]
    fn waits_double_with_chance_and_have_a_limit() {
        let wait = |round, random| wait_after(round, random).as_millis();
        assert_eq!((wait(0, 0), wait(0, 1000)), (50, 100));
        assert_eq!((wait(2, 0), wait(2, 1000)), (200, 400));
        assert_eq!((wait(19, 0), wait(19, 1000)), (2500, 5000));
    }

    #[test]
    fn only_strong_marks_are_conditions() {
        let condition_of = |mark: &str| {
            condition(Some(&Found {
                digest: Digest::of(b""),
                mark: Some(mark.to_owned()),
                is_index: true,
                index: PlatformIndex::default(),
            }))
        };
        assert_eq!(condition(None).unwrap().0, "if-none-match");
        assert_eq!(condition_of(r#""a""#).unwrap().1, r#""a""#);
        for mark in ["", "a", r#"W/"a""#, r#""""#] {
            assert_eq!(condition_of(mark), None, "{mark}");
        }
    }
}
