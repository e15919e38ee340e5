//! The releases of one run, one for each platform.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use imgbuild_oci::platform::Platform;
use imgbuild_release::release::Release;

use crate::args::{BuildArguments, PlatformPath};
use crate::failure::{Failure, Result};

/// A release to be built into an image.
#[derive(Debug)]
pub(crate) struct ReleaseRequest {
    pub(crate) root: PathBuf,
    /// The platform that was asked for.
    pub(crate) platform: Option<Platform>,
    /// The root that loaders and libraries are taken from.
    pub(crate) sysroot: Option<PathBuf>,
}

/// Returns the platform that this program was built for: the default of a
/// release without programs.
pub(crate) fn host_platform() -> Platform {
    Platform::from_parts("linux", env::consts::ARCH, None)
}

/// Returns all releases, sorted by platform: their order on the command line
/// has no effect.
pub(super) fn parse(flags: &BuildArguments) -> Result<Vec<ReleaseRequest>> {
    if flags.releases.is_empty() {
        let failure = Failure::command_line("`--release DIR` is missing");
        let places = Release::places(Path::new("."));
        return Err(failure.hint(match places.first() {
            Some(place) => format!(
                "there is a release here: `imgbuild --release {}`",
                place.display()
            ),
            None => "`imgbuild --help` lists the options and commands".to_owned(),
        }));
    }
    let are_several = flags.releases.len() > 1;
    if are_several && flags.output.iidfile.is_some() {
        let failure = Failure::command_line("`--iidfile` is for one image, and there are several");
        return Err(failure.hint("`--json` prints the config digest of each image"));
    }

    let mut releases: Vec<ReleaseRequest> = Vec::new();
    for given in &flags.releases {
        let platform = platform(given, flags, are_several)?;
        if releases.iter().any(|one| one.platform == platform) {
            let platform = platform.map(|one| one.to_string()).unwrap_or_default();
            let message = format!("there are two releases for {platform}");
            return Err(Failure::command_line(message));
        }
        releases.push(ReleaseRequest {
            root: given.path.clone(),
            sysroot: sysroot(&flags.sysroots, platform.as_ref()),
            platform,
        });
    }
    let platforms = releases.iter().filter_map(|one| one.platform.as_ref());
    check_sysroots(&flags.sysroots, &platforms.collect())?;
    if flags.output.load {
        check_loadable(&releases)?;
    }
    releases.sort_by(|first, second| first.platform.cmp(&second.platform));
    Ok(releases)
}

/// Returns the platform of a release, if one was given.
fn platform(
    given: &PlatformPath,
    flags: &BuildArguments,
    are_several: bool,
) -> Result<Option<Platform>> {
    let path = given.path.display();
    match (&given.platform, &flags.platform) {
        (None, _) if are_several => {
            let failure = Failure::command_line(format!(
                "`--release {path}` has no platform, and there are several releases"
            ));
            Err(failure.hint(format!(
                "give each its platform, for example `--release linux/amd64={path}`"
            )))
        }
        (Some(own), Some(all)) if are_several || own != all => {
            let failure = Failure::command_line(format!(
                "`--platform {all}` and `--release {own}={path}` both set the platform"
            ));
            Err(failure.hint("leave out `--platform`"))
        }
        (own, all) => Ok(own.clone().or_else(|| all.clone())),
    }
}

fn check_sysroots(given: &[PlatformPath], platforms: &BTreeSet<&Platform>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for sysroot in given {
        let path = sysroot.path.display();
        if let Some(platform) = &sysroot.platform
            && !platforms.contains(platform)
        {
            let failure = Failure::command_line(format!(
                "`--sysroot {platform}={path}` is for a platform without a release"
            ));
            return Err(failure.hint(format!(
                "give the release its platform: `--release {platform}=DIR`"
            )));
        }
        if !seen.insert(&sysroot.platform) {
            let message = match &sysroot.platform {
                Some(platform) => format!("there are two roots for {platform}"),
                None => "`--sysroot` is given twice for all platforms".to_owned(),
            };
            let failure = Failure::command_line(message);
            return Err(
                failure.hint("give each its platform, for example `--sysroot linux/arm64=DIR`")
            );
        }
    }
    Ok(())
}

/// Returns the root for a platform, else the one for all.
fn sysroot(given: &[PlatformPath], platform: Option<&Platform>) -> Option<PathBuf> {
    let own = platform.and_then(|platform| {
        let mut roots = given.iter();
        roots.find(|root| root.platform.as_ref() == Some(platform))
    });
    let root = own.or_else(|| given.iter().find(|root| root.platform.is_none()))?;
    Some(root.path.clone())
}

/// Refuses to load images that an engine of this machine could not run.
fn check_loadable(releases: &[ReleaseRequest]) -> Result<()> {
    let host = host_platform();
    let mut platforms = releases.iter().map(|release| &release.platform);
    if releases.len() == 1 || platforms.any(|platform| platform.as_ref() == Some(&host)) {
        return Ok(());
    }
    let failure = Failure::command_line(format!(
        "`--load` loads the image for this machine, and there is no release for {host}"
    ));
    Err(failure.hint("load an image for another platform with a separate run"))
}
