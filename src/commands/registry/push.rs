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

/// The content of a tag.
#[derive(Clone, Copy)]
enum Tagging<'a> {
    /// The image or index itself.
    Whole,
    /// An index with these images added.
    Part(&'a PlatformIndex),
}

/// An image to push to each repository.
#[derive(Clone, Copy)]
struct Sending<'a> {
    image: &'a Image,
    /// The blobs that were uploaded to the first repository before.
    sent: Option<&'a Sent>,
    tagging: Tagging<'a>,
}

impl Registries {
    /// Pushes an image to all references, one repository after the other; `sent` are
    /// the blobs that were uploaded to the first one before.
    pub(crate) fn push(
        &mut self,
        image: &Image,
        references: &[Reference],
        sent: Option<&Sent>,
    ) -> Result<Vec<Push>> {
        let sending = Sending {
            image,
            sent,
            tagging: Tagging::Whole,
        };
        self.send(sending, references)
    }

    /// Pushes an image to all repositories, and adds its images to the index of each
    /// tag.
    pub(crate) fn add_to_indexes(
        &mut self,
        image: &Image,
        references: &[Reference],
        sent: Option<&Sent>,
    ) -> Result<Vec<Push>> {
        let own = PlatformIndex::of_image(image).map_err(Failure::build)?;
        let sending = Sending {
            image,
            sent,
            tagging: Tagging::Part(&own),
        };
        self.send(sending, references)
    }

    fn send(&mut self, sending: Sending<'_>, references: &[Reference]) -> Result<Vec<Push>> {
        let mut pushes = Vec::new();
        for group in by_repository(references) {
            if let Err(failure) = self.send_to(&group, sending, &mut pushes) {
                // Completed pushes are not undone.
                for push in &pushes {
                    push.report(&self.ui);
                }
                return Err(failure);
            }
        }
        Ok(pushes)
    }

    /// Pushes an image to the repository of these references, and adds the result to
    /// `pushes`, also before a failure.
    fn send_to(
        &mut self,
        group: &[Reference],
        sending: Sending<'_>,
        pushes: &mut Vec<Push>,
    ) -> Result<()> {
        let Sending { image, tagging, .. } = sending;
        let sent = sending.sent.filter(|_| pushes.is_empty());
        let of_group = |error| failed_at(&group[0], error);
        let repository = self.repository(&group[0], Access::Push)?;
        // Blobs of the earlier repositories can be mounted.
        let before = pushes.iter().filter_map(|push| push.references.first());
        let near = before.filter(|one| one.registry() == group[0].registry());
        let near: Vec<String> = near.map(|one| one.repository().to_owned()).collect();
        let tags: Vec<&str> = group.iter().filter_map(Reference::tag).collect();
        let whole: Vec<String> = match tagging {
            Tagging::Whole => tags.iter().map(|tag| (*tag).to_owned()).collect(),
            Tagging::Part(_) => Vec::new(),
        };
        let options = PushOptions {
            tags: &whole,
            parallel: PARALLEL_BLOBS,
            mount_from: &near,
            sent,
        };
        self.ui.start_sending(image, sent.is_none());
        let pushed = push(&repository, image, options).map_err(of_group)?;
        let mut updated = Vec::new();
        let result = match tagging {
            Tagging::Whole => Ok(()),
            Tagging::Part(own) => tags.iter().try_for_each(|tag| {
                updated.push(update_index(&repository, tag, own, image)?);
                Ok(())
            }),
        };
        let count = match tagging {
            Tagging::Whole => group.len(),
            Tagging::Part(_) => updated.len(),
        };
        pushes.push(Push {
            references: group[..count].to_vec(),
            pushed,
            updated,
        });
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
                report_update(reference, updated, ui);
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

/// Reports the index of a tag.
fn report_update(reference: &Reference, updated: &Updated, ui: &Ui) {
    let platforms = updated.platforms.join(", ");
    let digest = updated.digest;
    let verb = if updated.is_unchanged {
        "unchanged"
    } else {
        "added to"
    };
    ui.status(&format!(
        "{verb} `{reference}`: index {digest} for {platforms}"
    ));
}
