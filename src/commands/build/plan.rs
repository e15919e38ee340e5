//! The plan of every image, its provenance and the findings about it.

use std::sync::Arc;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::entry::DEFAULT_MTIME;
use imgbuild_release::base::Base;
use imgbuild_release::check::allow_secrets;
use imgbuild_release::finding::Finding;
use imgbuild_release::plan::{Ingredients, Plan, PlanOptions};
use imgbuild_release::release::Release;

use super::resolve::{Resolver, file_store};
use crate::args::{CheckChoice, Choice};
use crate::commands::options::{BuildRequest, host_platform};
use crate::commands::origin::OptionOrigins;
use crate::commands::provenance::FoundProvenance;
use crate::commands::report::{BuildSummary, ShownPlan};
use crate::commands::{base, check, provenance, time};
use crate::configuration_file::ParsedFlags;
use crate::failure::Result;
use crate::ui::Ui;

const ZSTD_BASE: &str = "the base image has layers that are compressed with zstd, and Docker before 23 and `crane` cannot read them in an archive";

/// A planned image, the origin of its date and labels, and the findings of the
/// check.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    pub(crate) found: FoundProvenance,
    pub(crate) findings: Vec<Finding>,
}

impl Planned {
    /// Returns the plan with the origin of every option.
    pub(super) fn shown(&self, parsed: &ParsedFlags) -> ShownPlan<'_> {
        ShownPlan {
            plan: &self.plan,
            origins: OptionOrigins::new(parsed, &self.found),
            findings: &self.findings,
        }
    }

    pub(super) fn summary(&self) -> BuildSummary {
        BuildSummary::new(&self.plan, self.found.created_by, &self.findings)
    }
}

/// Makes the plan of each release; returns with them what the base image can be
/// locked to.
pub(super) fn plan_all(
    resolver: &Resolver<'_>,
    releases: Vec<Release>,
    remote_base: Option<&base::RemoteBase>,
    ui: &Ui,
) -> Result<(Vec<Planned>, Option<base::Pin>)> {
    let request = resolver.request;
    let mut plans = Vec::new();
    // An index has the same digest for every platform.
    let mut pin = None;
    for (target, release) in request.releases.iter().zip(releases) {
        // Warnings about this machine are the same for every platform.
        let quiet = ui.quiet_if(!plans.is_empty());
        let (ingredients, its_pin) = resolver.resolve(release, target, remote_base, &quiet)?;
        pin = its_pin.or(pin);
        let found = provenance::find(request, &ingredients.release, &quiet)?;
        let mut options = plan_options(resolver, &ingredients);
        found.apply(&mut options);
        let mut plan = Plan::new(ingredients, &options)?;
        let has_zstd = |base: &Base| base.compressions().any(|one| one == "zstd");
        if resolver.outputs.are_loaded() && plan.base.as_ref().is_some_and(has_zstd) {
            plan.warnings.push(ZSTD_BASE.to_owned().into());
        }
        plans.push(Planned {
            plan,
            found,
            findings: Vec::new(),
        });
    }
    Ok((plans, pin))
}

fn plan_options(resolver: &Resolver<'_>, ingredients: &Ingredients) -> PlanOptions {
    let request = resolver.request;
    let flags = request.flags;
    let mut of_base = ingredients.base.iter().flat_map(Base::compressions);
    // One image has one compression: some readers judge by the first layer.
    let is_compressed = resolver.outputs.want_compressed_layers() || of_base.next().is_some();
    let default_compression = if is_compressed {
        Compression::Gzip(imgbuild_deflate::Level::DEFAULT)
    } else {
        Compression::None
    };
    PlanOptions {
        references: resolver.outputs.references.clone(),
        configuration: request.configuration.clone(),
        user: request.user.clone(),
        writable: flags
            .writable
            .iter()
            .map(|given| (given.path.clone(), given.mode))
            .collect(),
        has_skeleton: flags.skeleton == Choice::Auto,
        platform: ingredients
            .closure
            .platform
            .clone()
            .unwrap_or_else(host_platform),
        created: time::rfc3339(DEFAULT_MTIME),
        author: flags.configuration.author.clone(),
        annotations: request.annotations.clone(),
        compression: flags.compression.unwrap_or(default_compression),
        max_layers: usize::from(flags.max_layers),
        mtime: request.mtime,
    }
}

/// Checks every plan and reports the findings.
pub(super) fn check_all(
    plans: &mut [Planned],
    request: &BuildRequest<'_>,
    cache: &Cache,
    ui: &Ui,
) -> Vec<Finding> {
    let output = &request.flags.output;
    let choice = output.check;
    let store = file_store(cache).map(Arc::as_ref);
    let mut is_used = vec![choice == CheckChoice::Off; output.allow_secret.len()];
    let are_several = plans.len() > 1;
    let mut all = Vec::new();
    for planned in plans {
        let mut findings = check::of_plan(&planned.plan, choice, store);
        for (pattern, is_used) in request.allowed_secrets.iter().zip(&mut is_used) {
            *is_used |= allow_secrets(&mut findings, pattern);
        }
        if are_several && !findings.is_empty() {
            let platform = &planned.plan.image.platform;
            ui.status(&format!("check of the image for {platform}"));
        }
        check::print_findings(&findings, choice, ui);
        all.extend(findings.iter().cloned());
        planned.findings = findings;
    }
    let patterns = output.allow_secret.iter().zip(is_used);
    for (pattern, _) in patterns.filter(|(_, is_used)| !is_used) {
        ui.warning(&format!(
            "`--allow-secret {pattern}` has no effect: no file with a secret matches it"
        ));
    }
    all
}
