//! Pushing an image to all its names, and reporting the result.

use imgbuild_oci::digest::Digest;
use imgbuild_oci::image::{Image, PlatformIndex};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;
use imgbuild_registry::push::{PushOptions, Pushed, Sent, push};
use imgbuild_registry::update::{Updated, platform_tag, update_index};
use serde_json::json;

use super::{Access, PARALLEL_BLOBS, Registries, by_repository, failed_at};
use crate::failure::{Failure, Result};
use crate::ui::{Ui, bytes_text, count_text};

/// Checks `--update-index` before anything is built.
///
/// # Errors
///
/// If nothing is pushed, or a tag is too long for the tags of platforms.
pub(crate) fn check_update(targets: &[Reference]) -> Result<()> {
    if targets.is_empty() {
        let failure = Failure::command_line("`--update-index` changes the index in a registry");
        return Err(failure.hint("push with `--push`, or with `--output docker://REFERENCE`"));
    }
    for reference in targets {
        let tag = reference.tag().unwrap_or_default();
        let has_room = |platform| platform_tag(tag, &platform).is_some();
        if !Platform::known().all(has_room) {
            let failure = Failure::command_line(format!(
                "the tag of `{reference}` is too long for `--update-index`, which appends the platform"
            ));
            return Err(failure.hint("use a shorter tag"));
        }
    }
    Ok(())
}

/// An image to push to each repository.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) image: &'a Image,
    /// The blobs that were uploaded to the first repository before.
    pub(crate) sent: Option<&'a Sent>,
    /// Add the images to the index of each tag, which is of the image itself
    /// otherwise.
    pub(crate) update_index: bool,
}

impl Registries {
    /// Pushes an image to all references, one repository after the other, and adds
    /// the results to `pushes`, also before a failure.
    pub(crate) fn push(
        &mut self,
        sending: Sending<'_>,
        references: &[Reference],
        pushes: &mut Vec<Push>,
    ) -> Result<()> {
        let own = sending
            .update_index
            .then(|| PlatformIndex::of_image(sending.image));
        let own = own.transpose().map_err(Failure::build)?;
        for group in by_repository(references) {
            let sent = sending.sent.filter(|_| pushes.is_empty());
            self.push_to(&group, Sending { sent, ..sending }, own.as_ref(), pushes)?;
        }
        Ok(())
    }

    /// Pushes an image to the repository of these references, and adds the result to
    /// `pushes`, also before a failure.
    fn push_to(
        &mut self,
        group: &[Reference],
        sending: Sending<'_>,
        own: Option<&PlatformIndex>,
        pushes: &mut Vec<Push>,
    ) -> Result<()> {
        let Sending { image, sent, .. } = sending;
        let of_group = |error| failed_at(&group[0], error);
        let repository = self.repository(&group[0], Access::Push)?;
        // Blobs of the earlier repositories can be mounted.
        let before = pushes.iter().filter_map(|push| push.references.first());
        let near = before.filter(|one| one.registry() == group[0].registry());
        let near: Vec<String> = near.map(|one| one.repository().to_owned()).collect();
        let tags = group.iter().filter_map(Reference::tag).map(str::to_owned);
        let tags: Vec<String> = tags.collect();
        let options = PushOptions {
            tags: if own.is_some() { &[] } else { &tags },
            parallel: PARALLEL_BLOBS,
            mount_from: &near,
            sent,
        };
        self.ui.start_sending(image, sent.is_none());
        let pushed = push(&repository, image, options).map_err(of_group)?;
        let mut push = Push {
            references: group.to_vec(),
            pushed,
            updated: Vec::new(),
        };
        let mut result = Ok(());
        if let Some(own) = own {
            result = tags.iter().try_for_each(|tag| {
                push.updated
                    .push(update_index(&repository, tag, own, image)?);
                Ok(())
            });
            push.references.truncate(push.updated.len());
        }
        pushes.push(push);
        result.map_err(of_group)
    }
}

/// The result of a push to one repository.
#[derive(Debug)]
pub(crate) struct Push {
    references: Vec<Reference>,
    pushed: Pushed,
    /// The indexes that it was added to, one for each tag.
    updated: Vec<Updated>,
}

impl Push {
    /// Reports the result for each name.
    pub(crate) fn report(&self, ui: &Ui) {
        let pushed = &self.pushed;
        for reference in &self.references {
            let tag = reference.tag().unwrap_or_default();
            if let Some(updated) = self.updated_tag(tag) {
                let verb = if updated.is_unchanged {
                    "unchanged"
                } else {
                    "added to"
                };
                let (digest, platforms) = (updated.digest, updated.platforms.join(", "));
                ui.status(&format!(
                    "{verb} `{reference}`: index {digest} for {platforms}"
                ));
                continue;
            }
            let is_unchanged = pushed.unchanged.iter().any(|one| one == tag);
            let verb = if is_unchanged { "unchanged" } else { "pushed" };
            ui.status(&format!("{verb} `{reference}`"));
        }
        let sent = match pushed.uploaded {
            0 => "nothing sent".to_owned(),
            count => format!(
                "{} sent, {}",
                count_text(count, "blob"),
                bytes_text(pushed.uploaded_bytes)
            ),
        };
        ui.detail(&format!(
            "{sent}; {} mounted, {} there already",
            pushed.mounted, pushed.present
        ));
    }

    /// Returns the result as JSON, one object for each name. The first one has the
    /// counts of the repository, so that sums are right.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let pushed = &self.pushed;
        let one = |(number, reference): (usize, &Reference)| {
            let is_first = number == 0;
            let count = |count: usize| if is_first { count } else { 0 };
            let tag = reference.tag().unwrap_or_default();
            let mut value = json!({
                "reference": reference,
                "digest": pushed.digest,
                "unchanged": pushed.unchanged.iter().any(|one| one == tag),
                "uploaded": count(pushed.uploaded),
                "uploadedBytes": if is_first { pushed.uploaded_bytes } else { 0 },
                "mounted": count(pushed.mounted),
                "present": count(pushed.present),
            });
            if let Some(updated) = self.updated_tag(tag) {
                value["unchanged"] = updated.is_unchanged.into();
                value["index"] = json!({
                    "digest": updated.digest,
                    "platforms": updated.platforms,
                });
            }
            value
        };
        self.references.iter().enumerate().map(one).collect()
    }

    pub(crate) fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Returns the index of a name, if the image was added to one.
    pub(crate) fn index_of(&self, reference: &Reference) -> Option<Digest> {
        let is_here = self.references.contains(reference);
        let updated = self.updated_tag(reference.tag()?).filter(|_| is_here);
        updated.map(|updated| updated.digest)
    }

    fn updated_tag(&self, tag: &str) -> Option<&Updated> {
        self.updated.iter().find(|one| one.tag == tag)
    }
}
