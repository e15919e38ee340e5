//! `--base`: which image it is, and what of it is not inherited.

use std::path::Path;

use imgbuild_oci::cache::Cache;
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
use crate::args::{BaseArguments, ImageSource};
use crate::configuration_file::Given;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

mod need;
mod remote;

pub(crate) use remote::{Pin, RemoteBase};

/// Refuses to lock what has no digest to be locked to, before anything is
/// read.
pub(crate) fn check_lock(arguments: &BaseArguments, given: &Given) -> Result<()> {
    if !arguments.lock {
        return Ok(());
    }
    if arguments.reference().is_none() {
        let failure = Failure::command_line(
            "`--lock` writes down the digest of a base image of a registry, and `--base` names none",
        );
        return Err(failure.hint("name it as `--base docker://REFERENCE`, or leave out `--lock`"));
    }
    given.check_lock()
}

/// Writes the digest into the configuration file, if asked to.
pub(crate) fn lock(
    arguments: &BaseArguments,
    given: &Given,
    pin: Option<Pin>,
    ui: &Ui,
) -> Result<()> {
    let Some(pin) = pin.filter(|_| arguments.lock) else {
        return Ok(());
    };
    match given.lock_base(&pin.0)? {
        Some(path) => ui.status(&format!("locked the base in `{}`", path.display())),
        None => ui.status("the base is locked to this digest already"),
    }
    Ok(())
}

/// What asks for the base image.
pub(crate) struct Request<'a> {
    pub(crate) build: &'a BuildRequest<'a>,
    pub(crate) platform: Option<&'a Platform>,
    pub(crate) release: &'a Release,
    pub(crate) additions: &'a [Member],
    pub(crate) cache: &'a Cache,
    pub(crate) scratch: &'a Path,
    pub(crate) ui: &'a Ui,
}

/// Opens the base image, if there is one. Of several platforms, the one that
/// was asked for counts, else that of the release's programs.
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
    let platform = request.platform;
    let given = format!("--base {}", name.path().display());
    let kinds =
        "give `--base` an image layout or an archive, as `skopeo copy` or `docker save` make them";
    source_must_exist(&given, name, kinds)?;
    let mut options = BaseOptions {
        tag: name.tag().map(str::to_owned),
        platform: platform.cloned(),
        name: name_of(name),
    };
    let open = |options: &BaseOptions| {
        let source = name.open(request.scratch).map_err(BaseError::Source)?;
        Base::open(source, options)
    };
    let mut opened = open(&options);
    let is_undecided = matches!(
        opened,
        Err(BaseError::Selection(SelectionError::Several { .. }))
    );
    if is_undecided && platform.is_none() {
        options.platform = closure::release_platform(request.release, request.additions);
        if options.platform.is_some() {
            opened = open(&options);
        }
    }
    let unusable = |source| Error::Base {
        path: name.path().to_path_buf(),
        source: Box::new(source),
    };
    let mut base = opened.map_err(unusable)?;
    if request.needs_files(&base) {
        look_into(&mut base, request).map_err(unusable)?;
    }
    Ok(base)
}

/// Finds out what lies where, at best without the layers.
fn look_into(base: &mut Base, request: &Request<'_>) -> std::result::Result<(), BaseError> {
    let store = cache::to_recall(request.cache, request.build.flags);
    let store = store.as_deref();
    match store.is_some_and(|store| base.recall_files(store)) {
        true => Ok(()),
        false => base.read_files(store, request.scratch),
    }
}

/// What to call an image whose source does not say: the last part of the path,
/// so that the image does not depend on where the source lies.
fn name_of(source: &SourceName) -> String {
    let path = source.path();
    let real = fs_err::canonicalize(path);
    let real = real.as_deref().unwrap_or(path);
    let file = match real.is_dir() {
        true => real.file_name(),
        false => real.file_stem(),
    };
    let file = file.unwrap_or_default().to_string_lossy();
    let file = file.strip_suffix(".tar").unwrap_or(&file);
    match source.tag() {
        Some(tag) => format!("{file}:{tag}"),
        None => file.to_owned(),
    }
}
