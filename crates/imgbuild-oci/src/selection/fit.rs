//! The image that suits a platform best, among those of a multi-platform image.

use std::collections::BTreeSet;

use super::ImageCandidate;
use crate::platform::Platform;

/// A measure of how well an image suits a platform; more is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit<'a> {
    is_exact: bool,
    runs_everywhere: bool,
    older_variant: Option<&'a str>,
}

fn fit<'a>(image: &'a Platform, has_level: bool, wanted: &Platform) -> Option<Fit<'a>> {
    if (image.os(), image.architecture()) != (wanted.os(), wanted.architecture()) {
        return None;
    }
    let is_exact = image.variant() == wanted.variant();
    let older_variant = match (image.variant(), wanted.variant()) {
        (None, _) => None,
        _ if is_exact => None,
        (Some(older), Some(newer)) if image.architecture() == "arm" && older < newer => Some(older),
        (Some(_), _) => return None,
    };
    Some(Fit {
        is_exact,
        runs_everywhere: !has_level,
        older_variant,
    })
}

/// Returns true if an image for one platform runs on another. 32-bit ARM runs
/// images for older variants.
#[must_use]
pub fn runs_on(image: &Platform, wanted: &Platform) -> bool {
    fit(image, false, wanted).is_some()
}

/// Keeps the candidates that suit a platform best.
///
/// # Errors
///
/// The platforms of the candidates, if none of them suits.
pub(super) fn keep_best<D>(
    candidates: Vec<ImageCandidate<D>>,
    wanted: &Platform,
) -> Result<Vec<ImageCandidate<D>>, Vec<String>> {
    let platforms = candidates.iter().map(|one| one.platform.as_ref());
    let fits: Vec<_> = platforms
        .clone()
        .map(|image| fit(image?.platform(), image?.has_level(), wanted))
        .collect();
    let Some(best) = fits.iter().flatten().max() else {
        let known = platforms.flatten();
        let known: BTreeSet<String> = known.map(|one| one.platform().to_string()).collect();
        return Err(known.into_iter().collect());
    };
    let is_best: Vec<bool> = fits.iter().map(|fit| fit.as_ref() == Some(best)).collect();
    let kept = candidates.into_iter().zip(is_best);
    Ok(kept
        .filter_map(|(candidate, is_best)| is_best.then_some(candidate))
        .collect())
}
