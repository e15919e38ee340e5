//! Paths that the user gives. That nothing lies there is said with the flag,
//! before a call of the system says it in its own words.

use std::io::ErrorKind;
use std::path::Path;

use fs_err as fs;

use crate::failure::{Failure, Result};

/// Refuses a path where nothing is; `given` is the flag or argument as it was
/// typed.
pub(crate) fn must_exist(given: &str, path: &Path) -> Result<()> {
    let kind = fs::metadata(path).err().map(|error| error.kind());
    let is_absent = matches!(kind, Some(ErrorKind::NotFound | ErrorKind::NotADirectory));
    if !is_absent {
        return Ok(());
    }
    let path = path.display().to_string();
    let which = match given.ends_with(&path) {
        true => String::new(),
        false => format!(": `{path}`"),
    };
    Err(Failure::build(format!(
        "cannot use `{given}`: there is no such file or directory{which}"
    )))
}

/// As [`must_exist`], of all at once.
pub(crate) fn all_must_exist<'a>(
    paths: impl IntoIterator<Item = (String, &'a Path)>,
) -> Result<()> {
    let mut paths = paths.into_iter();
    paths.try_for_each(|(given, path)| must_exist(&given, path))
}
