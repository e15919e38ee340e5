//! `imgbuild --release DIR`: resolve, plan, check, build, deliver.

mod job;
mod plan;
mod resolve;

use std::process::ExitCode;

use imgbuild_oci::cache::Cache;
use imgbuild_release::finding::Finding;

use super::base::{self, RemoteBase};
use super::options::BuildRequest;
use super::outputs::Outputs;
use super::{cache, check, registry, report};
use crate::args::BuildArguments;
use crate::configuration_file::Given;
use crate::failure::{Failure, Result};
use crate::printed;
use crate::ui::Ui;
use job::Job;
pub(crate) use plan::Planned;

pub(crate) fn run(flags: &BuildArguments, given: &Given, ui: &mut Ui) -> Result<ExitCode> {
    let request = BuildRequest::parse(flags, &given.matches)?;
    base::check_lock(&flags.base, given)?;
    let releases = resolve::open_releases(&request)?;
    let outputs = Outputs::of_build(flags, resolve::common_name(&releases), ui)?;

    let scratch = outputs.scratch();
    let cache = if flags.output.dry_run {
        Cache::default()
    } else {
        cache::open(&flags.cache, &scratch, ui)
    };
    let remote_base = RemoteBase::prepare(flags, &outputs.targets, &cache, &scratch, ui)?;
    let resolver = resolve::Resolver {
        request: &request,
        outputs: &outputs,
        cache: &cache,
        scratch: &scratch,
    };
    let (mut plans, pin) = plan::plan_all(&resolver, releases, remote_base.as_ref(), ui)?;

    report::warnings(plans.iter().map(|planned| &planned.plan), ui);
    let findings = plan::check_all(&mut plans, flags.output.check, plan::file_store(&cache), ui);
    let refusal = check::refusal(&findings, flags.output.check);
    if flags.output.dry_run {
        printed(report::plans(&plans, given, flags.output.json, ui))?;
        return refusal.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    if let Some(failure) = refusal {
        return refuse(failure, &findings, flags.output.json, ui);
    }

    let network = remote_base.as_ref().map(RemoteBase::network);
    let connect = || registry::connect(flags, &outputs.targets, ui);
    let (interrupted, registries) = network.map_or_else(connect, Ok)?;
    let mut job = Job {
        flags,
        cache,
        outputs: &outputs,
        registries,
        interrupted,
    };
    let result = job.run(plans, ui);
    cache::close(&job.cache, &flags.cache, ui);
    result?;
    base::lock(&flags.base, given, pin, ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends a build that the check refused.
fn refuse(failure: Failure, findings: &[Finding], is_json: bool, ui: &Ui) -> Result<ExitCode> {
    if is_json {
        let text = serde_json::json!({ "findings": findings }).to_string();
        printed(ui.result(&text))?;
    }
    Err(failure)
}
