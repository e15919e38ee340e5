//! Makes a release a second time, in a checkout in another place.

use fs_err as fs;

use super::{directory, names};
use crate::Result;
use crate::process::{self, command, output, workspace};

/// Compares `target/dist` with what a clone of the commit gives.
pub(super) fn run(target: Option<&str>) -> Result {
    let changes = output(&mut command(&["git", "status", "--porcelain"]))?;
    if !changes.is_empty() {
        return Err(
            format!("commit first, the second checkout lacks these changes:\n{changes}").into(),
        );
    }
    let scratch = tempfile::tempdir()?;
    let checkout = scratch.path().join("another/place");
    let mut clone = command(&["git", "clone", "--quiet"]);
    process::run(clone.arg(workspace()).arg(&checkout))?;
    let mut again = command(&["cargo", "xtask", "dist"]);
    again.args(target.map(|target| format!("--target={target}")));
    again
        .current_dir(&checkout)
        .env("CARGO_TARGET_DIR", scratch.path().join("second-target"));
    process::run(&mut again)?;

    let (first, second) = (directory(), checkout.join("target/dist"));
    let (ours, theirs) = (names(&first)?, names(&second)?);
    if ours != theirs {
        return Err(format!("the checkouts made other files: {ours:?}, {theirs:?}").into());
    }
    let differs = |name: &&String| -> bool {
        let read = |directory: &std::path::Path| fs::read(directory.join(name)).ok();
        read(&first) != read(&second)
    };
    let different: Vec<&String> = ours.iter().filter(differs).collect();
    if !different.is_empty() {
        return Err(format!("the checkouts made other bytes of {different:?}").into());
    }
    println!(
        "a checkout in another place made the same {} files",
        ours.len()
    );
    Ok(())
}
