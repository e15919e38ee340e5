//! The provenance of an image: its date and labels, from the command line, the
//! environment, the git repository and the package.

use std::collections::BTreeMap;
use std::env;

use imgbuild_oci::entry::DEFAULT_MTIME;
use imgbuild_oci::error::with_causes;
use imgbuild_release::git::{Commit, WorkTree};
use imgbuild_release::plan::PlanOptions;
use imgbuild_release::provenance::{BuildService, Checkout, Label, Provenance};
use imgbuild_release::release::Release;

use super::options::BuildRequest;
use super::time::{self, CreatedBy};
use crate::failure::Result;
use crate::ui::Ui;

/// The date and the labels of an image.
#[derive(Debug)]
pub(crate) struct FoundProvenance {
    /// In Unix seconds.
    created: u64,
    /// The origin of the creation time.
    pub(crate) created_by: CreatedBy,
    /// The automatic labels.
    pub(crate) labels: BTreeMap<String, Label>,
}

/// Collects the date and the automatic labels, as far as they are needed.
pub(crate) fn find(
    request: &BuildRequest<'_>,
    release: &Release,
    ui: &Ui,
) -> Result<FoundProvenance> {
    let given = request.created;
    let wants_labels = !request.flags.configuration.no_auto_labels;
    let mut checkout = None;
    let mut date = None;
    if wants_labels || given.is_none() {
        let head = find_head(release, ui);
        date = head.as_ref().map(|(_, commit)| commit.time);
        checkout = head
            .filter(|_| wants_labels)
            .map(|(tree, commit)| Checkout {
                revision: commit.id.to_string(),
                is_dirty: is_dirty(&tree, &commit, ui),
                source: tree.origin(),
            });
    }
    let (created, created_by) = match (given, date) {
        (Some(given), _) => given,
        (None, Some(date)) => (date, CreatedBy::Git),
        (None, None) => (DEFAULT_MTIME, CreatedBy::Default),
    };
    let mut labels = BTreeMap::new();
    if wants_labels {
        let provenance = Provenance {
            service: build_service(),
            checkout,
            package: release.package(),
        };
        if let Some((service, git)) = provenance.revisions_that_differ() {
            ui.warning(&format!(
                "the environment names revision `{service}`, but the work tree is at `{git}`; the image is labeled `{service}`"
            ));
        }
        labels = provenance.labels();
    }
    Ok(FoundProvenance {
        created,
        created_by,
        labels,
    })
}

impl FoundProvenance {
    /// Sets the date, and the labels that the user did not set. A label that
    /// was set is also the annotation, and the reverse: both have the same
    /// value.
    pub(crate) fn apply(&self, options: &mut PlanOptions) {
        options.created = time::rfc3339(self.created);
        let removed = &options.configuration.cleared.labels;
        let labels = &mut options.configuration.labels;
        let annotations = &mut options.annotations;
        for (key, label) in self
            .labels
            .iter()
            .filter(|(key, _)| !removed.contains(*key))
        {
            let given = labels.get(key).or(annotations.get(key));
            let value = given.unwrap_or(&label.value).clone();
            labels.entry(key.clone()).or_insert_with(|| value.clone());
            annotations.entry(key.clone()).or_insert(value);
        }
    }
}

/// Returns the work tree that contains the release, and the commit that is
/// checked out there. A failure is only a warning.
fn find_head(release: &Release, ui: &Ui) -> Option<(WorkTree, Commit)> {
    let found = WorkTree::holding(&release.root).and_then(|tree| match tree {
        Some(tree) => Ok(tree.head()?.map(|head| (tree, head))),
        None => Ok(None),
    });
    found.unwrap_or_else(|error| {
            ui.warning(&format!(
                "cannot read the git repository of the release; the image gets no commit date and revision: {}",
                with_causes(&error, ": ")
            ));
            None
    })
}

fn is_dirty(tree: &WorkTree, commit: &Commit, ui: &Ui) -> bool {
    tree.is_dirty(commit).unwrap_or_else(|error| {
            ui.warning(&format!(
                "cannot tell whether the work tree `{}` has uncommitted changes; the revision gets no `-dirty`: {}",
                tree.root().display(),
                with_causes(&error, ": ")
            ));
            false
    })
}

/// Returns the variables of GitHub, GitLab, and compatible CI services
/// (Forgejo, Gitea).
fn build_service() -> BuildService {
    let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    let github = || {
        let server = variable("GITHUB_SERVER_URL")?;
        Some(format!("{server}/{}", variable("GITHUB_REPOSITORY")?))
    };
    BuildService {
        revision: variable("GITHUB_SHA").or_else(|| variable("CI_COMMIT_SHA")),
        source: github().or_else(|| variable("CI_PROJECT_URL")),
    }
}
