//! `--base`: opening the base image, and locking its digest.

use std::path::Path;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::entry::Member;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::SourceName;
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::closure;
use imgbuild_release::error::Error;
use imgbuild_release::release::Release;

use super::cache;
use super::options::BuildRequest;
use super::source::source_must_exist;
use crate::args::{BaseArguments, BuildArguments, ImageSource};
use crate::configuration_file::ParsedFlags;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

mod need;
mod remote;

pub(crate) use remote::{Pin, RemoteBase};

/// Checks that `--lock` has a base image of a registry.
pub(crate) fn check_lock(arguments: &BaseArguments, parsed: &ParsedFlags) -> Result<()> {
    if !arguments.lock {
        return Ok(());
    }
    if arguments.reference().is_none() {
        let failure = Failure::command_line("`--lock` needs `--base docker://REFERENCE`");
        return Err(
            failure.hint("`--lock` writes the digest of this base image to `imgbuild.toml`")
        );
    }
    parsed.check_lock()
}

/// Writes the digest to the configuration file, with `--lock`.
pub(crate) fn lock(
    arguments: &BuildArguments,
    parsed: &ParsedFlags,
    pin: Option<Pin>,
    ui: &Ui,
) -> Result<()> {
    let Some(pin) = pin.filter(|_| arguments.base.lock) else {
        return Ok(());
    };
    match parsed.lock_base(&pin.0, !arguments.output.result.no_sync)? {
        Some(path) => ui.status(&format!("locked the base in `{}`", path.display())),
        None => ui.status("the base is already locked to this digest"),
    }
    Ok(())
}

/// A request for the base image of one release.
pub(crate) struct Request<'a> {
    pub(crate) build: &'a BuildRequest<'a>,
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) release: &'a Release,
    pub(crate) additions: &'a [Member],
    pub(crate) cache: &'a Cache,
    pub(crate) scratch: &'a Path,
    pub(crate) ui: &'a Ui,
}

impl Request<'_> {
    /// Returns the platform of the programs of the release, to select one of several
    /// images if no platform was requested.
    fn platform_of_programs(&self, error: &SelectionError) -> Option<Platform> {
        let is_undecided = matches!(error, SelectionError::Several { .. });
        if !is_undecided || self.platform.is_some() {
            return None;
        }
        closure::release_platform(self.release, self.additions)
    }
}

/// Opens the base image, if there is one. Of several platforms, selects the
/// requested one, or that of the programs of the release.
pub(crate) fn open(
    request: &Request<'_>,
    remote: Option<&RemoteBase>,
) -> Result<Option<(Base, Option<Pin>)>> {
    if let Some(remote) = remote {
        let (base, pin) = remote.open(request)?;
        return Ok(Some((base, Some(pin))));
    }
    let base = &request.build.flags.base.base;
    let Some(name) = base.as_ref().and_then(ImageSource::here) else {
        return Ok(None);
    };
    let base = open_here(name, request)?;
    Ok(Some((base, None)))
}

fn open_here(name: &SourceName, request: &Request<'_>) -> Result<Base> {
    let given = format!("--base {}", name.path().display());
    let kinds = "`--base` takes an image layout or an archive, for example of `skopeo copy` or `docker save`";
    source_must_exist(&given, name, kinds)?;
    let mut options = BaseOptions {
        tag: name.tag().map(str::to_owned),
        platform: request.platform.cloned(),
        name: name_of(name),
    };
    let open = |options: &BaseOptions| {
        let source = name.open(request.scratch).map_err(BaseError::Source)?;
        Base::open(source, options)
    };
    let mut opened = open(&options);
    if let Err(BaseError::Selection(error)) = &opened
        && let Some(platform) = request.platform_of_programs(error)
    {
        options.platform = Some(platform);
        opened = open(&options);
    }
    let unusable = |source| Error::Base {
        path: name.path().to_path_buf(),
        source: Box::new(source),
    };
    let mut base = opened.map_err(unusable)?;
    if request.needs_files(&base) {
        let store = cache::to_recall(request.cache, request.build.flags);
        let store = store.as_deref();
        if !store.is_some_and(|store| base.recall_files(store)) {
            base.read_files(store, request.scratch).map_err(unusable)?;
        }
    }
    Ok(base)
}

/// Returns the name of an image whose source has none: the last part of the path,
/// so that the image does not depend on the directory of its base.
fn name_of(source: &SourceName) -> String {
    let path = source.path();
    let real = fs_err::canonicalize(path);
    let real = real.as_deref().unwrap_or(path);
    let file = if real.is_dir() {
        real.file_name()
    } else {
        real.file_stem()
    };
    let file = file.unwrap_or_default().to_string_lossy();
    let file = file.strip_suffix(".tar").unwrap_or(&file);
    match source.tag() {
        Some(digest) if digest.parse::<Digest>().is_ok() => format!("{file}@{digest}"),
        Some(tag) => format!("{file}:{tag}"),
        None => file.to_owned(),
    }
}
