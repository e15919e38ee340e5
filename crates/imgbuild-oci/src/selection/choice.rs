//! The choice of one image among several.

use std::collections::{BTreeMap, BTreeSet};

use super::fit::keep_best;
use super::{ImageCandidate, SelectionError};
use crate::digest::Digest;
use crate::document::{CONTAINERD_NAME, Descriptor, REF_NAME};
use crate::platform::{ImagePlatform, Platform};
use crate::reference::Reference;

/// Returns each image or index once, with all its names.
pub(super) fn by_digest(descriptors: Vec<Descriptor>) -> Vec<ImageCandidate> {
    let mut found: BTreeMap<Digest, ImageCandidate> = BTreeMap::new();
    for document in descriptors {
        let names = [CONTAINERD_NAME, REF_NAME].iter();
        let names = names.filter_map(|key| document.annotations.get(*key).cloned());
        let names: BTreeSet<String> = names.collect();
        let candidate = found
            .entry(document.digest)
            .or_insert_with(|| ImageCandidate {
                names: BTreeSet::new(),
                platform: document.platform.clone(),
                digest: Some(document.digest),
                document,
            });
        candidate.names.extend(names);
    }
    found.into_values().collect()
}

/// Narrows the candidates to one. Their platforms are completed by
/// `platform_of`, unless there is only one of them.
pub(super) fn choose<D>(
    mut candidates: Vec<ImageCandidate<D>>,
    tag: Option<&str>,
    platform: Option<&Platform>,
    platform_of: &mut dyn FnMut(&D) -> Result<Option<ImagePlatform>, SelectionError>,
) -> Result<ImageCandidate<D>, SelectionError> {
    if candidates.is_empty() {
        return Err(SelectionError::NoImage);
    }
    if let Some(tag) = tag {
        let known = candidates.iter().flat_map(|one| one.names.clone());
        let known: BTreeSet<String> = known.collect();
        candidates.retain(|one| one.names.iter().any(|name| is_called(name, tag)));
        if candidates.is_empty() {
            return Err(SelectionError::Tag {
                tag: tag.to_owned(),
                known: known.into_iter().collect(),
            });
        }
    }
    if candidates.len() > 1 {
        candidates = images(candidates, platform_of)?;
        if let Some(wanted) = platform {
            candidates = keep_best(candidates, wanted)
                .map_err(|known| SelectionError::no_platform(wanted, known))?;
        }
    }
    let differ_by_platform = differ_by_platform(&candidates);
    let has_name = |one: &ImageCandidate<D>| !one.names.is_empty();
    if !differ_by_platform && candidates.iter().filter(|one| has_name(one)).count() == 1 {
        candidates.retain(has_name);
    }
    if candidates.len() == 1 {
        return Ok(candidates.remove(0));
    }
    let names: BTreeSet<_> = candidates.iter().map(|one| &one.names).collect();
    let differ_by_name = names.len() == candidates.len();
    let images = candidates
        .iter()
        .map(|one| one.describe(!differ_by_platform && (one.names.is_empty() || !differ_by_name)));
    Err(SelectionError::Several {
        images: images.collect(),
        differ_by_platform,
    })
}

/// Returns the images among the candidates with their platforms.
fn images<D>(
    candidates: Vec<ImageCandidate<D>>,
    platform_of: &mut dyn FnMut(&D) -> Result<Option<ImagePlatform>, SelectionError>,
) -> Result<Vec<ImageCandidate<D>>, SelectionError> {
    let mut images = Vec::new();
    let mut artifact = None;
    for mut candidate in candidates {
        if candidate.platform.is_none() {
            match platform_of(&candidate.document) {
                Err(error @ SelectionError::Artifact(_)) => {
                    artifact = Some(error);
                    continue;
                }
                platform => candidate.platform = platform?,
            }
        }
        images.push(candidate);
    }
    match artifact {
        Some(error) if images.is_empty() => Err(error),
        _ => Ok(images),
    }
}

fn differ_by_platform<D>(candidates: &[ImageCandidate<D>]) -> bool {
    let platforms = candidates.iter().map(|one| {
        let platform = one.platform.as_ref();
        platform.map(|one| (one.platform(), one.has_level()))
    });
    platforms.collect::<BTreeSet<_>>().len() == candidates.len()
}

/// Returns true if a name in an index or archive is the tag or the full name
/// that the user gave; `app:1` is `docker.io/library/app:1`.
fn is_called(name: &str, wanted: &str) -> bool {
    let tag = name.rsplit_once(':').map(|(_, tag)| tag);
    let full = |text: &str| text.parse::<Reference>().ok();
    name == wanted
        || tag == Some(wanted)
        || full(name).is_some_and(|name| full(wanted) == Some(name))
}
