//! Directories that are copied as they are.

use crate::error::Result;
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

#[derive(Debug)]
struct TreeRelease;

impl Behavior for TreeRelease {}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    selection.take_tree(&|_, _| None)?;
    Ok(Selected {
        name: None,
        behavior: Box::new(TreeRelease),
    })
}
