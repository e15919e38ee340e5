//! The git repository of the work tree that holds a release: its commit, the
//! commit date, the origin, and whether files differ.
//!
//! Only files are read. No program is started, and nothing that a repository
//! configures is run, so that it does not matter who owns it. The formats are
//! those of [gitrepository-layout(5)], [gitformat-pack(5)] and
//! [gitformat-index(5)].
//!
//! [gitrepository-layout(5)]: https://git-scm.com/docs/gitrepository-layout
//! [gitformat-pack(5)]: https://git-scm.com/docs/gitformat-pack
//! [gitformat-index(5)]: https://git-scm.com/docs/gitformat-index

mod budget;
mod configuration;
mod file;
mod id;
mod index;
mod objects;
mod pack;
mod place;
mod remote;
mod state;

use std::io;
use std::path::Path;

pub use id::ObjectId;
pub use objects::Commit;
pub use remote::web_address;

use budget::WorkBudget;
use configuration::GitConfig;
use objects::ObjectStore;
use place::RepositoryPaths;

/// A failure to read a repository.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// A file is not what git writes, is missing, or uses what is not known
    /// here.
    #[error("{0}")]
    Repository(String),
}

/// The result of reading a repository.
pub type GitResult<T> = Result<T, GitError>;

impl GitError {
    fn malformed(path: &Path, reason: &str) -> Self {
        let path = path.display();
        Self::Repository(format!("`{path}` is not a valid file of git: {reason}"))
    }

    fn unsupported(path: &Path, feature: &str) -> Self {
        let path = path.display();
        Self::Repository(format!("`{path}` uses {feature}, which is not supported"))
    }
}

/// A work tree with a repository.
#[derive(Debug)]
pub struct WorkTree {
    place: RepositoryPaths,
    configuration: GitConfig,
    objects: ObjectStore,
    has_modes: bool,
    budget: WorkBudget,
}

impl WorkTree {
    /// Finds the nearest work tree that holds `path`, as git would: the
    /// directories above it are looked at one after the other.
    ///
    /// A repository that keeps its references in a reftable is not read.
    ///
    /// # Errors
    ///
    /// When the repository is malformed.
    pub fn holding(path: &Path) -> GitResult<Option<Self>> {
        let open = |place| Self::open(place, WorkBudget::default());
        place::find(path)?.map_or(Ok(None), open)
    }

    fn open(place: RepositoryPaths, budget: WorkBudget) -> GitResult<Option<Self>> {
        let configuration = GitConfig::read(&place.common.join("config"))?;
        let is_linked = place.git != place.common;
        let is_reftable = configuration.text("extensions", "refstorage") == Some("reftable");
        if is_reftable || (configuration.is("core", "bare", false) && !is_linked) {
            return Ok(None);
        }
        let hash = configuration.hash()?;
        let objects = ObjectStore::open(&place.common.join("objects"), hash)?;
        Ok(Some(Self {
            place,
            has_modes: configuration.is("core", "filemode", true),
            configuration,
            objects,
            budget,
        }))
    }

    /// Returns the directory of the work tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.place.root
    }

    /// Reads the commit that is checked out; `None` in a repository without
    /// commits.
    ///
    /// # Errors
    ///
    /// When there should be one and it cannot be read.
    pub fn head(&self) -> GitResult<Option<Commit>> {
        let id = self.head_id()?;
        id.map(|id| self.objects.commit(id, &self.budget))
            .transpose()
    }

    fn head_id(&self) -> GitResult<Option<ObjectId>> {
        place::head(&self.place, self.objects.hash, &self.budget)
    }

    /// Returns the address from which the repository was cloned, in the form of
    /// [`web_address`]: that of `origin`, or of the only remote.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        web_address(self.configuration.origin()?)
    }

    /// Returns whether a tracked file differs from `head`, in the work tree or in
    /// the index: the meaning of `-dirty` in git describe. Untracked files do not
    /// count.
    ///
    /// Contents are read only of files that changed since git looked at them.
    ///
    /// # Errors
    ///
    /// When the index or a tree cannot be read, or is of a form that is not
    /// known here.
    pub fn is_dirty(&self, head: &Commit) -> GitResult<bool> {
        self.is_dirty_below(head, 0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
