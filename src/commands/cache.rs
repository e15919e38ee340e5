//! `imgbuild cache`, and the cache of a build.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use imgbuild_oci::cache::{Cache, CacheSource};
use imgbuild_oci::destination::prune_layout;
use imgbuild_oci::store::{Bases, DEFAULT_MAX_BYTES, Pruned, Store};
use serde_json::json;

use crate::args::{BuildArguments, CacheCommand, CacheFlags, Recognition};
use crate::failure::{Failure, Result};
use crate::json;
use crate::ui::{Ui, bytes_text, count_text};

pub(crate) fn run(command: &CacheCommand, ui: &Ui) -> Result<ExitCode> {
    let is_json = matches!(command, CacheCommand::Prune { json: true, .. });
    if let CacheCommand::Prune {
        layout: Some(layout),
        ..
    } = command
    {
        let mut removed = |path: &Path| ui.detail(&format!("removed `{}`", path.display()));
        let pruned = ui.while_waiting(|monitor| prune_layout(layout, &mut removed, monitor))?;
        return report_removed(pruned, is_json, ui);
    }
    let (CacheCommand::Info { cache_dir, .. }
    | CacheCommand::Prune { cache_dir, .. }
    | CacheCommand::Clear { cache_dir }) = command;
    let Some(directory) = directory(cache_dir.as_deref()) else {
        let failure = Failure::command_line("there is no home directory for the cache");
        return Err(failure.hint("name a directory with `--cache-dir`"));
    };
    let store = Store::open_existing(&directory).map_err(|error| {
        let message = format!("cannot use the cache in `{}`", directory.display());
        Failure::caused_by(error, message)
    })?;
    let pruned = match (command, &store) {
        (CacheCommand::Info { json, .. }, store) => {
            info(&directory, store.as_ref(), *json, ui)?;
            return Ok(ExitCode::SUCCESS);
        }
        (_, None) => Ok(Pruned::default()),
        (CacheCommand::Prune { max_size, .. }, Some(store)) => {
            store.prune(max_size.unwrap_or(DEFAULT_MAX_BYTES))
        }
        (CacheCommand::Clear { .. }, Some(store)) => store.clear(),
    };
    report_removed(pruned.map_err(Failure::build)?, is_json, ui)
}

fn info(directory: &Path, store: Option<&Store>, is_json: bool, ui: &Ui) -> Result<()> {
    let usage = store
        .map(Store::usage)
        .transpose()
        .map_err(Failure::build)?;
    let usage = usage.unwrap_or_default();
    let text = if is_json {
        json::text(json!({
            "directory": directory.display().to_string(),
            "layers": usage.blobs,
            "layerBytes": usage.blob_bytes,
            "baseBytes": usage.base_bytes,
            "records": usage.records,
            "bytes": usage.bytes,
        }))
    } else {
        format!(
            "{}: {}, {} ({} of layers, {} of base images), {}",
            directory.display(),
            count_text(usage.blobs, "compressed layer"),
            bytes_text(usage.bytes),
            bytes_text(usage.blob_bytes),
            bytes_text(usage.base_bytes),
            count_text(usage.records, "record"),
        )
    };
    ui.result(&text)
}

fn report_removed(pruned: Pruned, is_json: bool, ui: &Ui) -> Result<ExitCode> {
    if is_json {
        let value = json!({ "removedFiles": pruned.files, "removedBytes": pruned.bytes });
        ui.result(&json::text(value))?;
    }
    ui.status(&format!(
        "removed {}, {}",
        count_text(pruned.files, "file"),
        bytes_text(pruned.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

/// Returns the directory of the cache: the one of the flag, else that of the
/// [XDG specification].
///
/// [XDG specification]: https://specifications.freedesktop.org/basedir-spec/0.8/
pub(crate) fn directory(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(directory) = given {
        return Some(directory.to_path_buf());
    }
    // The specification requires to ignore a relative path.
    let path = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("imgbuild"))
}

/// Opens the cache of a build. A cache that cannot be used is not a failure.
pub(crate) fn open(flags: &CacheFlags, scratch: &Path, ui: &Ui) -> Cache {
    let store = if flags.no_cache {
        None
    } else {
        open_store(flags, ui)
    };
    let sources = flags.cache_from.iter();
    let sources = sources.filter_map(|given| match CacheSource::open(given.here()?, scratch) {
        Ok(source) => Some(source),
        Err(error) => {
            let what = format!("cannot use `--cache-from {given}`");
            ui.warning_of(&what, &Failure::build(error));
            None
        }
    });
    Cache {
        store: store.map(Arc::new),
        sources: sources.map(Arc::new).collect(),
        reads_contents: flags.cache == Recognition::Content,
    }
}

/// Opens the store of base images: in the cache, or in a temporary directory.
pub(crate) fn open_bases(
    cache: &Cache,
    arguments: &BuildArguments,
    scratch: &Path,
    ui: &Ui,
) -> Result<(Bases, Option<Arc<Store>>)> {
    let mut store = cache.store.clone();
    // A dry run has no cache, but what it fetches is of use later.
    if arguments.output.dry_run && !arguments.cache.no_cache {
        store = open_store(&arguments.cache, ui).map(Arc::new);
    }
    let kept = store.as_deref().map(Store::bases).transpose();
    let bases = match kept {
        Ok(Some(bases)) => bases,
        Ok(None) | Err(_) => Bases::new_temporary(scratch).map_err(Failure::build)?,
    };
    Ok((bases, store))
}

/// Returns the store with the file trees of base images. A dry run, which has
/// no cache, reads an existing one.
pub(crate) fn to_recall(cache: &Cache, arguments: &BuildArguments) -> Option<Arc<Store>> {
    let flags = &arguments.cache;
    if !arguments.output.dry_run || flags.no_cache {
        return cache.store.clone();
    }
    let directory = directory(flags.cache_dir.as_deref())?;
    let store = Store::open_read_only(&directory)?;
    store.check_owner().is_ok().then(|| Arc::new(store))
}

fn open_store(flags: &CacheFlags, ui: &Ui) -> Option<Store> {
    let Some(directory) = directory(flags.cache_dir.as_deref()) else {
        ui.detail("no cache: there is no home directory");
        return None;
    };
    match Store::open(&directory) {
        Ok(store) => Some(store),
        Err(error) => {
            let note = format!("no cache in `{}`: {error}", directory.display());
            if error.kind() == io::ErrorKind::InvalidData {
                ui.warning(&format!(
                    "{note} (`--cache-dir` names a directory of your own)"
                ));
            } else if flags.cache_dir.is_some() {
                // The user counts on it.
                ui.warning(&note);
            } else {
                ui.detail(&note);
            }
            None
        }
    }
}

/// Reports problems of the cache, and prunes it.
pub(crate) fn close(cache: &Cache, flags: &CacheFlags, ui: &Ui) {
    let Some(store) = &cache.store else {
        return;
    };
    if let Some(problem) = store.problem() {
        ui.detail(&format!("not everything could be cached: {problem}"));
    }
    if store.has_grown() {
        let limit = flags.cache_size.unwrap_or(DEFAULT_MAX_BYTES);
        if let Err(error) = store.prune(limit) {
            ui.detail(&format!("cannot prune the cache: {error}"));
        }
    }
}
