//! Removing the blobs of a layout that nothing in it names.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use fs_err as fs;
use serde_json::Value;

use super::{lock, read_root_index};
use crate::digest::Digest;
use crate::document::blob_name;
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::new_file::{target_of, write_error};
use crate::source::{Source, SourceError, parse_document};
use crate::store::{Pruned, remove_below};

/// Removes the blobs that neither the index of the layout at `path` nor any
/// document below it names, while other writers wait. Calls `removed` with each.
///
/// Every digest in a document counts, wherever it stands: a document of an
/// unknown kind names blobs, too.
///
/// # Errors
///
/// When the layout cannot be read, locked or written, and when a document of an
/// index is not there or is not JSON: then every blob is kept.
pub fn prune_layout(
    path: &Path,
    removed: &mut dyn FnMut(&Path),
    monitor: Monitor<'_>,
) -> Result<Pruned> {
    let path = &target_of(path)?;
    let _lock = lock(path, monitor)?;
    let index = read_root_index(path)?.to_bytes();
    let mut pruned = Pruned::default();
    let Some(source) = Source::open_blobs(path) else {
        return Ok(pruned);
    };
    let parts = ["blobs", "blobs/sha256"].map(|name| path.join(name));
    if parts.iter().any(|part| part.is_symlink()) {
        let reason = "its blobs are behind a link, and other layouts may have them, too";
        return Err(write_error(path, io::Error::other(reason)));
    }
    let unused = unused_blobs(&source, &index).map_err(|error| Error::Write {
        what: format!("`{}`, of which all blobs are kept", path.display()),
        source: io::Error::other(error),
    })?;
    for digest in unused {
        let blob = path.join(blob_name(&digest));
        let metadata = fs::symlink_metadata(&blob).map_err(Error::File)?;
        if metadata.is_file() {
            remove_below(path, &blob).map_err(|source| write_error(&blob, source))?;
            removed(&blob);
            pruned.files += 1;
            pruned.bytes += metadata.len();
        }
    }
    Ok(pruned)
}

/// Returns the blobs that neither `index` nor a document below it names.
fn unused_blobs(
    source: &Source,
    index: &[u8],
) -> std::result::Result<BTreeSet<Digest>, SourceError> {
    let digest = |hex: &str| (hex.len() == 64).then(|| format!("sha256:{hex}").parse().ok())?;
    let names = source.blob_names()?;
    let mut unused: BTreeSet<Digest> = names.iter().filter_map(|name| digest(name)).collect();
    let mut listed = BTreeSet::new();
    let mut waiting = Vec::new();
    let mut document: Value = parse_document("index.json", index)?;
    loop {
        for one in document["manifests"].as_array().into_iter().flatten() {
            let found = &one["digest"];
            let parsed: Option<Digest> = found.as_str().and_then(|text| text.parse().ok());
            let parsed = parsed.ok_or_else(|| SourceError::Missing(found.to_string()))?;
            waiting.extend(listed.insert(parsed).then_some((parsed, true)));
        }
        let text = document.to_string();
        let words = text.split(|letter: char| !letter.is_ascii_hexdigit());
        let used = words
            .filter_map(digest)
            .filter(|found| unused.remove(found));
        waiting.extend(used.map(|found| (found, false)));
        document = loop {
            let Some((next, is_document)) = waiting.pop() else {
                return Ok(unused);
            };
            let bytes = source.read_blob(&next);
            match bytes.and_then(|bytes| parse_document(&blob_name(&next), &bytes)) {
                Ok(document) => break document,
                Err(error) if is_document => return Err(error),
                // A layer, for example, which names nothing.
                Err(_) => {}
            }
        };
    }
}
