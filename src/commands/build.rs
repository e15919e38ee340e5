//! `imgbuild --release DIR`: resolve, plan, check, build, deliver.

mod images;
mod plan;
mod resolve;

use std::process::ExitCode;

use imgbuild_oci::cache::Cache;

use super::base::{self, RemoteBase};
use super::deliver::Deliverer;
use super::load::Engine;
use super::options::{self, BuildRequest};
use super::outputs::Outputs;
use super::{cache, check, registry, report};
use crate::args::BuildArguments;
use crate::configuration_file::ParsedFlags;
use crate::failure::Result;
use crate::ui::Ui;
use images::ImageBuild;
use resolve::Resolver;

pub(crate) fn run(flags: &BuildArguments, parsed: &ParsedFlags, ui: &mut Ui) -> Result<ExitCode> {
    let request = BuildRequest::parse(flags, &parsed.matches, ui)?;
    base::check_lock(&flags.base, parsed)?;
    let releases = resolve::open_releases(&request)?;
    let outputs = Outputs::of_build(flags, resolve::common_name(&releases), ui)?;

    let loads = flags.output.load && !flags.output.dry_run;
    let find = || Engine::find(registry::timeouts(&flags.registry)?.idle * 2, ui);
    let engine = loads.then(find).transpose()?;
    let scratch = outputs.scratch();
    let cache = if flags.output.dry_run {
        Cache::default()
    } else {
        cache::open(&flags.cache, &scratch, ui)
    };
    let targets = outputs.targets();
    let remote_base = RemoteBase::prepare(flags, &targets, &cache, &scratch, ui)?;
    let resolver = Resolver {
        request: &request,
        outputs: &outputs,
        cache: &cache,
        scratch: &scratch,
    };
    let (mut plans, pin) = plan::plan_all(&resolver, releases, remote_base.as_ref(), ui)?;

    report::warnings(plans.iter().map(|planned| &planned.plan), ui);
    let findings = plan::check_all(&mut plans, &request, &cache, ui);
    let refusal = check::refusal(&findings, flags.output.check);
    if flags.output.dry_run {
        let shown: Vec<_> = plans.iter().map(|planned| planned.shown(parsed)).collect();
        return report::plans(&shown, refusal, flags.output.result.json, ui);
    }
    if let Some(failure) = refusal {
        return Err(failure);
    }

    let registries = match &remote_base {
        Some(base) => base.registries.clone(),
        None => registry::connect(&flags.registry, &targets, flags.sources(), ui)?,
    };
    let threads = options::threads(flags.output.threads);
    let mut deliverer = Deliverer::new(&outputs, registries, threads, ui);
    deliverer.engine = engine;
    deliverer.store = resolve::file_store(&cache).cloned();
    let mut build = ImageBuild {
        flags,
        cache,
        deliverer,
    };
    let result = build.run(plans, ui);
    cache::close(&build.cache, &flags.cache, ui);
    result?;
    base::lock(flags, parsed, pin, ui)?;
    Ok(ExitCode::SUCCESS)
}
