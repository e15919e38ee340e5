//! Sending an image to all its names, and what became of it.

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

/// What a tag gets.
#[derive(Clone, Copy)]
enum Tagging<'a> {
    /// What is sent.
    Whole,
    /// These images beside those that it has.
    Part(&'a PlatformIndex),
}

/// What is sent to every repository.
#[derive(Clone, Copy)]
struct Sending<'a> {
    image: &'a Image,
    /// What the first has got ahead.
    sent: Option<&'a Sent>,
    tagging: Tagging<'a>,
}

impl Registries {
    /// Sends an image to everything that `references` name, one repository
    /// after the other; the first has got ahead what `sent` says.
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

    /// Sends an image to every repository, and adds its images to the index
    /// that each tag names.
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
                // They stay, so they are not left unsaid.
                for push in &pushes {
                    push.report(&self.ui);
                }
                return Err(failure);
            }
        }
        Ok(pushes)
    }

    /// Sends an image to the repository of these references, and adds to
    /// `pushes` what was done, also before a failure.
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
        // What the repositories before it have can be mounted.
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

/// What was pushed to one repository.
#[derive(Debug)]
pub(crate) struct Push {
    references: Vec<Reference>,
    pushed: Pushed,
    /// The indexes that it was added to, one for each name.
    updated: Vec<Updated>,
}

impl Push {
    /// Says what became of every name.
    pub(crate) fn report(&self, ui: &Ui) {
        let pushed = &self.pushed;
        for reference in &self.references {
            let tag = reference.tag().unwrap_or_default();
            if let Some(updated) = self.updated_tag(tag) {
                report_update(reference, updated, ui);
                continue;
            }
            match pushed.unchanged.iter().any(|one| one == tag) {
                true => ui.status(&format!("unchanged `{reference}`")),
                false => ui.status(&format!("pushed `{reference}`")),
            }
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

    /// The same for programs, one object for each name. What was done for all
    /// names of the repository is said of the first, so that sums are right.
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

    /// Returns the index that a name has now, if it was added to one.
    pub(crate) fn index_of(&self, reference: &Reference) -> Option<Digest> {
        let is_here = self.references.contains(reference);
        let updated = self.updated_tag(reference.tag()?).filter(|_| is_here);
        updated.map(|updated| updated.digest)
    }

    fn updated_tag(&self, tag: &str) -> Option<&Updated> {
        self.updated.iter().find(|one| one.tag == tag)
    }
}

/// Says what a tag names now.
fn report_update(reference: &Reference, updated: &Updated, ui: &Ui) {
    let platforms = updated.platforms.join(", ");
    let digest = updated.digest;
    ui.status(&match updated.is_unchanged {
        true => format!("unchanged `{reference}`: index {digest} for {platforms}"),
        false => format!("added to `{reference}`: index {digest} for {platforms}"),
    });
}
