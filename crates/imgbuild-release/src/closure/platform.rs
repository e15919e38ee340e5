//! The platform of an image, and the programs that are for another one.

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;

use crate::elf::Architecture;
use crate::finding::{Finding, Rule};
use crate::runtime::{Object, Role};

/// Finds the platform of the image: the one asked for, else that of its
/// command, else that of most of its programs.
pub(super) fn platform(
    objects: &[Object],
    commands: &[ImagePath],
    wanted: Option<&Platform>,
) -> Option<Platform> {
    if let Some(wanted) = wanted {
        return Some(wanted.clone());
    }
    let is_command = |object: &&Object| commands.contains(&object.image);
    let command = programs_of(objects).find(is_command);
    if let Some(architecture) = command.and_then(|command| command.elf.architecture()) {
        return Some(platform_of(architecture));
    }
    let found: Vec<Architecture> = programs_of(objects)
        .filter_map(|program| program.elf.architecture())
        .collect();
    let alike = |name| found.iter().filter(move |other| other.name == name);
    // Of equally many, the first counts.
    let by_count = |architecture: &&Architecture| alike(architecture.name).count();
    let main = found.iter().rev().max_by_key(by_count)?;
    // Of variants, the image has that of the most demanding program.
    alike(main.name).max().copied().map(platform_of)
}

/// Makes modules of a tree's programs for other processors than the image's:
/// they are prebuilt for other machines, and never start in the image.
pub(super) fn set_roles(
    objects: &mut [Object],
    commands: &[ImagePath],
    platform: Option<&Platform>,
) {
    for object in objects.iter_mut() {
        let architecture = object.elf.architecture().zip(platform);
        let is_other = architecture.is_some_and(|(its, platform)| !runs_on(its, platform));
        if is_other && !commands.contains(&object.image) {
            object.role = Role::Module;
        }
    }
}

pub(super) fn programs_of(objects: &[Object]) -> impl Iterator<Item = &Object> {
    let is_program = |object: &&Object| object.role == Role::Program;
    objects.iter().filter(is_program)
}

fn platform_of(architecture: Architecture) -> Platform {
    Platform::from_parts("linux", architecture.name, architecture.variant)
}

/// Finds the programs that are for another platform than the image.
pub(super) fn wrong_architectures(objects: &[Object], platform: Option<&Platform>) -> Vec<Finding> {
    let Some(platform) = platform else {
        return Vec::new();
    };
    programs_of(objects)
        .filter_map(|program| {
            let architecture = program.elf.architecture()?;
            let is_wrong = !runs_on(architecture, platform);
            is_wrong.then(|| wrong_architecture(&program.image, architecture, platform))
        })
        .collect()
}

/// Makes the finding of a program that does not run on the platform.
pub(crate) fn wrong_architecture(
    path: &ImagePath,
    architecture: Architecture,
    platform: &Platform,
) -> Finding {
    let reason = format!("`{path}` is for linux/{architecture}, and the image is for {platform}");
    Finding::error(Rule::WrongArchitecture, Some(path), reason)
}

/// Returns whether programs for `architecture` run on the platform.
///
/// Machines of 64 bits run the programs of their predecessor with 32, since
/// nearly all kernels are built for that. Variants are not compared: that of a
/// program is a guess.
pub(crate) fn runs_on(architecture: Architecture, platform: &Platform) -> bool {
    let pair = (architecture.name, platform.architecture());
    pair.0 == pair.1 || matches!(pair, ("386", "amd64") | ("arm", "arm64"))
}
