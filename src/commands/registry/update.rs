//! `--update-index`: adding to the indexes that tags name.

use imgbuild_oci::parcel::Parcel;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::platform_index::PlatformIndex;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::push::{PushOptions, Sent, push};
use imgbuild_registry::update::{Updated, platform_tag, update_index};

use super::{Access, PARALLEL_BLOBS, Push, Registries, by_repository, failed_at};
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

impl Registries {
    /// Sends a parcel to every repository, and adds its images to the index
    /// that each tag names.
    pub(crate) fn add_to_indexes(
        &mut self,
        parcel: &Parcel,
        references: &[Reference],
        sent: Option<&Sent>,
    ) -> Result<Vec<Push>> {
        let own = PlatformIndex::of_parcel(parcel).map_err(Failure::build)?;
        let mut pushes = Vec::new();
        for group in by_repository(references) {
            let repository = self.repository(&group[0], Access::Push)?;
            let options = PushOptions {
                tags: &[],
                parallel: PARALLEL_BLOBS,
                mount_from: &[],
                sent: sent.filter(|_| pushes.is_empty()),
            };
            self.ui.start_sending(parcel, options.sent.is_none());
            let of_group = |error| failed_at(&group[0], error);
            let pushed = push(&repository, parcel, options).map_err(of_group)?;
            let mut updated = Vec::new();
            for tag in group.iter().filter_map(Reference::tag) {
                let one = update_index(&repository, tag, &own, parcel);
                updated.push(one.map_err(of_group)?);
            }
            pushes.push(Push {
                references: group,
                pushed,
                updated,
            });
        }
        Ok(pushes)
    }
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
