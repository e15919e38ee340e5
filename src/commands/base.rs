//! `--base`: which image it is, and what of it is not inherited.

use std::collections::BTreeSet;
use std::path::Path;

use imgbuild_oci::changeset::Member;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectionError;
use imgbuild_oci::source::SourceName;
use imgbuild_release::base::{Base, BaseError, BaseOptions};
use imgbuild_release::closure;
use imgbuild_release::error::Error;
use imgbuild_release::plan::Field;
use imgbuild_release::release::Release;

use crate::args::BaseArguments;
use crate::failure::Result;

/// Opens the base image, if there is one. Of several platforms, the one that
/// was asked for counts, else that of the release's programs.
pub(crate) fn open(
    arguments: &BaseArguments,
    platform: Option<&Platform>,
    (release, additions): (&Release, &[Member]),
    scratch: &Path,
) -> Result<Option<Base>> {
    let Some(name) = &arguments.base else {
        return Ok(None);
    };
    let mut options = BaseOptions {
        tag: name.tag().map(str::to_owned),
        platform: platform.cloned(),
        name: name_of(name),
        scratch: scratch.to_path_buf(),
    };
    let open = |options: &BaseOptions| {
        let source = name.open(scratch).map_err(BaseError::Source)?;
        Base::open(source, options)
    };
    let mut opened = open(&options);
    let is_undecided = matches!(
        opened,
        Err(BaseError::Selection(SelectionError::Several { .. }))
    );
    if is_undecided && platform.is_none() {
        options.platform = closure::release_platform(release, additions);
        if options.platform.is_some() {
            opened = open(&options);
        }
    }
    let base = opened.map_err(|source| Error::Base {
        path: name.path().to_path_buf(),
        source: Box::new(source),
    })?;
    Ok(Some(base))
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

/// Returns the fields that are not inherited.
pub(crate) fn cleared(arguments: &BaseArguments) -> BTreeSet<Field> {
    let fields = [
        (arguments.no_expose, Field::ExposedPorts),
        (arguments.no_healthcheck, Field::Healthcheck),
        (arguments.no_stop_signal, Field::StopSignal),
        (arguments.no_user, Field::User),
        (arguments.no_volume, Field::Volumes),
        (arguments.no_workdir, Field::WorkingDir),
    ];
    let cleared = fields.iter().filter(|(is_cleared, _)| *is_cleared);
    cleared.map(|(_, field)| *field).collect()
}
