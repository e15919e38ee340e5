//! Plans, with what was found about each.

use imgbuild_oci::store::Store;
use imgbuild_release::finding::Finding;
use imgbuild_release::plan::Plan;

use crate::args::CheckChoice;
use crate::commands::{check, provenance};
use crate::ui::Ui;

/// What an image will be, where its date and labels come from, and what the
/// check found.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) found: provenance::Found,
    pub(crate) findings: Vec<Finding>,
}

/// Checks every plan, and says what was found.
pub(super) fn check_all(
    plans: &mut [Planned],
    choice: CheckChoice,
    store: Option<&Store>,
    ui: &Ui,
) -> Vec<Finding> {
    let are_several = plans.len() > 1;
    let mut all = Vec::new();
    for planned in plans {
        let findings = check::of_plan(&planned.plan, choice, store);
        if are_several && !findings.is_empty() {
            let platform = &planned.plan.image().platform;
            ui.status(&format!("check of the image for {platform}"));
        }
        check::tell(&findings, choice, ui);
        all.extend(findings.iter().cloned());
        planned.findings = findings;
    }
    all
}
