//! Directories that are copied as they are.

use std::io;

use imgbuild_oci::bounded;

use crate::error::Result;
use crate::pattern::{DockerIgnore, Verdict};
use crate::release::Kind;
use crate::release::kind::{Behavior, Selected};
use crate::release::selection::Selection;

/// A directory that is included as it is.
pub static TREE: Kind = Kind {
    name: "tree",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: true,
    recognize: |_, _| Some("it is not a release of any other kind".to_owned()),
    find_below: |_, _| None,
    select,
};

/// The largest `.dockerignore` that is read.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct TreeRelease;

impl Behavior for TreeRelease {}

/// Includes the directory, without its history in git and what its `.dockerignore`
/// leaves out.
fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    let file = selection.root.path().join(".dockerignore");
    let ignored = match bounded::read_text(&file, MAX_BYTES) {
        Ok(text) => DockerIgnore::parse(&text).map_err(|error| {
            let path = file.display();
            io::Error::other(format!(
                "{error} of `{path}`: correct the pattern, or remove the file"
            ))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => DockerIgnore::default(),
        Err(error) => return Err(error.into()),
    };
    selection.take_tree(&|path, verdict| match verdict {
        Verdict::Undecided if path.components().any(|part| part.as_os_str() == ".git") => {
            Some("the history in git")
        }
        Verdict::Undecided if ignored.excludes(path) => Some("excluded by `.dockerignore`"),
        _ => None,
    })?;
    Ok(Selected {
        name: None,
        behavior: Box::new(TreeRelease),
    })
}
