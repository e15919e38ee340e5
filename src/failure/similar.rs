//! Directories with names that are like a mistyped one.

use std::path::{Path, PathBuf};

use fs_err as fs;

/// The most names of a directory that are compared with a mistyped one.
const MAX_NAMES: usize = 1000;

/// The least Jaro-Winkler similarity of a name that was meant.
const SIMILAR: f64 = 0.85;

/// Returns the directories whose names are like that of a path that does not exist.
pub(crate) fn similar_directories(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        return Vec::new();
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    let place = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let entries = fs::read_dir(place).into_iter().flatten().take(MAX_NAMES);
    let paths = entries
        .flatten()
        .map(|entry| parent.join(entry.file_name()));
    let mut similar: Vec<PathBuf> = paths
        .filter(|path| {
            let other = path.file_name().unwrap_or_default().to_string_lossy();
            strsim::jaro_winkler(&name, &other) >= SIMILAR && path.is_dir()
        })
        .collect();
    similar.sort();
    similar.truncate(3);
    similar
}
