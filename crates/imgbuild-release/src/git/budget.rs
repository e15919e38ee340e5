//! The work that reading a repository may cost, with all its submodules.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::{GitError, GitResult};

/// The most bytes that are parsed and made.
const MAX_BYTES: u64 = 512 << 20;

/// The bytes that are left. All repositories of one comparison share them: a few
/// links can name the same one again and again.
#[derive(Debug, Clone)]
pub(super) struct WorkBudget(Rc<Cell<u64>>);

impl Default for WorkBudget {
    fn default() -> Self {
        Self(Rc::new(Cell::new(MAX_BYTES)))
    }
}

impl WorkBudget {
    pub(super) fn left(&self) -> u64 {
        self.0.get()
    }

    /// Takes some bytes for the file at `path`.
    ///
    /// # Errors
    ///
    /// When there are not as many left.
    pub(super) fn spend(&self, bytes: u64, path: &Path) -> GitResult<()> {
        match self.left().checked_sub(bytes) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(GitError::malformed(path, "it takes too long to read")),
        }
    }
}
