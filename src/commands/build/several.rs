//! Releases for several platforms in one run.

use std::collections::BTreeSet;

use imgbuild_oci::platform::Platform;
use imgbuild_release::release::Release;

use crate::args::{BuildArguments, PlatformPath};
use crate::failure::{Failure, Result};

/// Returns what was typed for each release: the same for all but the release
/// itself, its platform and its root of libraries.
pub(super) fn divide(arguments: &BuildArguments) -> Result<Vec<BuildArguments>> {
    let are_several = arguments.releases.len() > 1;
    if are_several && arguments.output.iidfile.is_some() {
        let failure = Failure::command_line("`--iidfile` is for one image, and there are several");
        return Err(failure.hint("`--json` says the config of each image"));
    }
    let mut builds: Vec<BuildArguments> = Vec::new();
    for given in &arguments.releases {
        let platform = platform(given, arguments, are_several)?;
        if builds.iter().any(|build| build.platform == platform) {
            let platform = platform.map(|one| one.to_string()).unwrap_or_default();
            let message = format!("there are two releases for {platform}");
            return Err(Failure::command_line(message));
        }
        builds.push(BuildArguments {
            release: Some(given.path.clone()),
            platform,
            ..arguments.clone()
        });
    }
    let platforms = builds.iter().filter_map(|build| build.platform.clone());
    check_sysroots(&arguments.sysroots, &platforms.collect())?;
    // The order on the command line means nothing.
    builds.sort_by(|first, second| first.platform.cmp(&second.platform));
    for build in &mut builds {
        build.sysroot = sysroot(&arguments.sysroots, build.platform.as_ref());
    }
    Ok(builds)
}

/// Returns what a release is for, as far as it was said.
fn platform(
    given: &PlatformPath,
    arguments: &BuildArguments,
    are_several: bool,
) -> Result<Option<Platform>> {
    let path = given.path.display();
    match (&given.platform, &arguments.platform) {
        (None, _) if are_several => {
            let failure = Failure::command_line(format!(
                "`--release {path}` says no platform, and there are several releases"
            ));
            Err(failure.hint(format!(
                "give every one its platform, as `--release linux/amd64={path}`"
            )))
        }
        (Some(own), Some(all)) if are_several || own != all => {
            let failure = Failure::command_line(format!(
                "`--platform {all}` and `--release {own}={path}` both say the platform"
            ));
            Err(failure.hint("leave out `--platform`"))
        }
        (own, all) => Ok(own.clone().or_else(|| all.clone())),
    }
}

fn check_sysroots(given: &[PlatformPath], platforms: &BTreeSet<Platform>) -> Result<()> {
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
                "give the release its platform, as `--release {platform}=DIR`"
            )));
        }
        if !seen.insert(&sysroot.platform) {
            let message = match &sysroot.platform {
                Some(platform) => format!("there are two roots for {platform}"),
                None => "`--sysroot` is given twice for all platforms".to_owned(),
            };
            let failure = Failure::command_line(message);
            return Err(failure.hint("say what each is for, as `--sysroot linux/arm64=DIR`"));
        }
    }
    Ok(())
}

/// Returns the root for a platform, else the one for all.
fn sysroot(given: &[PlatformPath], platform: Option<&Platform>) -> Option<std::path::PathBuf> {
    let find = |wanted: Option<&Platform>| {
        let mut roots = given.iter();
        roots.find(|root| root.platform.as_ref() == wanted)
    };
    let own = platform.and_then(|platform| find(Some(platform)));
    own.or_else(|| find(None)).map(|root| root.path.clone())
}

/// Returns the name of all releases.
pub(super) fn common_name(releases: &[Release]) -> Result<&str> {
    let names: BTreeSet<&str> = releases.iter().map(Release::name).collect();
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (first, second) => {
            let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
            let failure = Failure::command_line(format!(
                "the releases have several names: `{first}` and `{second}`"
            ));
            Err(failure.hint("name the image with `--tag NAME`"))
        }
    }
}

/// Refuses to load what an engine of this machine could not run.
pub(super) fn check_loadable(builds: &[BuildArguments], host: &Platform) -> Result<()> {
    let is_for_host = |build: &BuildArguments| build.platform.as_ref() == Some(host);
    let loads = builds.iter().any(|build| build.output.load);
    if !loads || builds.len() == 1 || builds.iter().any(is_for_host) {
        return Ok(());
    }
    let failure = Failure::command_line(format!(
        "`--load` loads the image for this machine, and there is no release for {host}"
    ));
    Err(failure.hint("load an image for another platform with a run of its own"))
}
