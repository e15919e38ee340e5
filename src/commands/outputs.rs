//! What a command writes: checked before anything is read.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::destination::{Destination, place_of};

use crate::failure::{Failure, Result};

/// Checks that small files, as one for a digest, could be written: in the end
/// it is too late.
pub(crate) fn check_files<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    for path in files {
        // What an archive needs to be written, any file needs.
        Destination::Archive(path.to_path_buf(), None).check()?;
    }
    Ok(())
}

/// Refuses one file for two outputs: the last one would be all there is.
pub(crate) fn check_distinct<'a>(
    destinations: &'a [Destination],
    files: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let archives = destinations.iter().filter(|to| !is_layout(to));
    let mut seen = BTreeSet::new();
    for path in archives.filter_map(Destination::path).chain(files) {
        let place = place_of(path);
        // A device takes everything.
        let is_special = fs::metadata(&place).is_ok_and(|found| !found.is_file());
        if !is_special && !seen.insert(place) {
            return Err(Failure::command_line(format!(
                "two outputs are one file: `{}`",
                path.display()
            )));
        }
    }
    Ok(())
}

fn is_layout(destination: &Destination) -> bool {
    matches!(destination, Destination::Layout(..))
}
