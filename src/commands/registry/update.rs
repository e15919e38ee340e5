//! `--update-index`: adding to the indexes that tags name.

use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::update::{Updated, platform_tag};

use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// Refuses what cannot be done before anything is built.
///
/// # Errors
///
/// When nothing is pushed, or a tag leaves no room for the name of a platform.
pub(crate) fn check_update(targets: &[Reference]) -> Result<()> {
    if targets.is_empty() {
        let failure = Failure::command_line("`--update-index` changes what is in a registry");
        return Err(failure.hint("push with `--push`, or with `--output docker://REFERENCE`"));
    }
    for reference in targets {
        let tag = reference.tag().unwrap_or_default();
        let has_room = |platform| platform_tag(tag, &platform).is_some();
        if !Platform::known().all(has_room) {
            let failure = Failure::command_line(format!(
                "the tag of `{reference}` is too long for `--update-index`, which puts the platform after it"
            ));
            return Err(failure.hint("take a shorter tag"));
        }
    }
    Ok(())
}

/// Says what a tag names now.
pub(super) fn report(reference: &Reference, updated: &Updated, ui: &Ui) {
    let platforms = updated.platforms.join(", ");
    let digest = updated.digest;
    ui.status(&match updated.is_unchanged {
        true => format!("unchanged `{reference}`: index {digest} for {platforms}"),
        false => format!("added to `{reference}`: index {digest} for {platforms}"),
    });
}
