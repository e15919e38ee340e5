//! The image that suits a platform best, among those of a multi-platform image.

use std::collections::BTreeSet;

use crate::platform::{ImagePlatform, Platform};

/// A measure of how well an image suits a platform; more is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit<'a> {
    is_exact: bool,
    runs_everywhere: bool,
    older_variant: Option<&'a str>,
}

fn fit<'a>(image: &'a ImagePlatform, wanted: &Platform) -> Option<Fit<'a>> {
    let (is_exact, older_variant) = compare_variants(image.platform(), wanted)?;
    Some(Fit {
        is_exact,
        runs_everywhere: !image.has_level(),
        older_variant,
    })
}

/// Returns true if an image for one platform runs on another. 32-bit ARM runs
/// images for older variants.
#[must_use]
pub fn runs_on(image: &Platform, wanted: &Platform) -> bool {
    compare_variants(image, wanted).is_some()
}

/// Returns true if the variants are the same, and else the older one; `None`
/// if the image does not run.
fn compare_variants<'a>(image: &'a Platform, wanted: &Platform) -> Option<(bool, Option<&'a str>)> {
    if (image.os(), image.architecture()) != (wanted.os(), wanted.architecture()) {
        return None;
    }
    if image.variant() == wanted.variant() {
        return Some((true, None));
    }
    match (image.variant(), wanted.variant()) {
        (None, _) => Some((false, None)),
        (Some(older), Some(newer)) if image.architecture() == "arm" && older < newer => {
            Some((false, Some(older)))
        }
        (Some(_), _) => None,
    }
}

/// Keeps the candidates that suit a platform best.
///
/// # Errors
///
/// The platforms of the candidates, if none of them suits.
pub(super) fn keep_best<T>(
    candidates: Vec<T>,
    platform_of: impl Fn(&T) -> Option<&ImagePlatform>,
    wanted: &Platform,
) -> Result<Vec<T>, Vec<String>> {
    let fits: Vec<_> = candidates
        .iter()
        .map(|candidate| fit(platform_of(candidate)?, wanted))
        .collect();
    let Some(best) = fits.iter().flatten().max() else {
        let known = candidates.iter().filter_map(platform_of);
        let known: BTreeSet<String> = known.map(|one| one.platform().to_string()).collect();
        return Err(known.into_iter().collect());
    };
    let is_best: Vec<bool> = fits.iter().map(|fit| fit.as_ref() == Some(best)).collect();
    let kept = candidates.into_iter().zip(is_best);
    Ok(kept
        .filter_map(|(candidate, is_best)| is_best.then_some(candidate))
        .collect())
}
