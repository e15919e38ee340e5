//! Which of several images is meant for a platform.

use std::collections::BTreeSet;

use crate::platform::{Platform, Purpose};

/// How well an image suits a platform; more is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    is_exact: bool,
    is_for_all: bool,
    older_variant: Option<String>,
}

fn fit(purpose: &Purpose, wanted: &Platform) -> Option<Fit> {
    let (is_exact, older_variant) = variants_fit(&purpose.platform, wanted)?;
    Some(Fit {
        is_exact,
        is_for_all: !purpose.asks_for_more,
        older_variant: older_variant.map(str::to_owned),
    })
}

/// Whether an image for one platform runs on another. 32-bit ARM runs what was
/// built for older ones.
#[must_use]
pub fn runs_on(image: &Platform, wanted: &Platform) -> bool {
    variants_fit(image, wanted).is_some()
}

/// Whether the variants are the same, and else the older one.
fn variants_fit<'a>(image: &'a Platform, wanted: &Platform) -> Option<(bool, Option<&'a str>)> {
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

/// Keeps those that suit a platform best.
///
/// # Errors
///
/// The platforms that there are, if none does.
pub(crate) fn keep_best<T>(
    candidates: Vec<T>,
    purpose: impl Fn(&T) -> Option<&Purpose>,
    wanted: &Platform,
) -> Result<Vec<T>, Vec<String>> {
    let fit_of = |candidate: &T| fit(purpose(candidate)?, wanted);
    let Some(best) = candidates.iter().filter_map(fit_of).max() else {
        let known = candidates.iter().filter_map(&purpose);
        let known: BTreeSet<String> = known.map(|one| one.platform.to_string()).collect();
        return Err(known.into_iter().collect());
    };
    let kept = candidates.into_iter();
    Ok(kept
        .filter(|candidate| fit_of(candidate).as_ref() == Some(&best))
        .collect())
}
