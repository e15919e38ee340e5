//! The interface between a release and its kind: what a kind of release has
//! to decide.

use std::fmt;
use std::path::{Path, PathBuf};

use imgbuild_oci::entry::Member;

use super::Release;
use super::command::{Command, CommandRequest};
use super::facts::DirectoryFacts;
use super::selection::Selection;
use crate::contents::Contents;
use crate::error::Result;
use crate::layering::{Unit, Weight, divide};
use crate::package::Package;
use crate::programs::Programs;
use crate::runtime::Object;

/// A kind of release. `kind.rs` has the table of all kinds.
pub struct Kind {
    /// The name, as users write it.
    pub name: &'static str,
    /// The default directory of the release in the image.
    pub(crate) prefix: &'static str,
    /// The release has that directory for itself: containers start in it and
    /// find programs in its `bin`.
    pub(crate) has_own_directory: bool,
    /// The release can be anything: it may hold programs that never run, some
    /// of them for other processors.
    pub(crate) is_any_directory: bool,
    /// Returns the reason why a directory is a release of this kind, if it is.
    pub(crate) recognize: fn(&Path, &DirectoryFacts) -> Option<String>,
    /// Finds releases of this kind below a directory that is made to hold
    /// them.
    pub(crate) find_below: fn(&Path, &DirectoryFacts) -> Option<ReleasesBelow>,
    /// Selects the files that are included.
    pub(crate) select: fn(&mut Selection<'_>) -> Result<Selected>,
}

/// Releases below a directory that is not one itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleasesBelow {
    /// Their directories, the most likely one first.
    pub(crate) places: Vec<PathBuf>,
    /// The directory itself cannot be meant; a project may well be packed as
    /// a whole.
    pub(crate) is_certain: bool,
}

/// The properties of a release that only its kind knows.
pub(crate) struct Selected {
    /// The name; that of the directory if the kind has no better one.
    pub(crate) name: Option<String>,
    pub(crate) behavior: Box<dyn Behavior>,
}

/// The decisions about one release that depend on its kind. The defaults are
/// those of a directory that is copied as it is.
pub(crate) trait Behavior: fmt::Debug + Send + Sync {
    /// Decides the command; `None` leaves it to the rules for all kinds, which
    /// consider the base image.
    ///
    /// # Errors
    ///
    /// When the command of the user cannot run.
    fn decide(&self, _: &Release, _: &CommandRequest<'_>) -> Result<Option<Command>> {
        Ok(None)
    }

    /// Returns the command of a release whose user gives none; `None` takes
    /// the only executable as the entrypoint.
    fn default_command(&self, _: &Release, _: &Contents<'_>) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// Returns the variables that containers get unless the user sets them.
    fn environment(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns the signal that stops a command as process 1, unless it is SIGTERM.
    fn stop_signal(&self, _: &[String]) -> Option<&'static str> {
        None
    }

    /// Returns the name of the interpreter that the release needs and does not
    /// have.
    fn interpreter(&self, _: &Release, _: &Contents<'_>) -> Option<&'static str> {
        None
    }

    /// Returns the directories of the release that its user writes to.
    fn writable(&self) -> &[PathBuf] {
        &[]
    }

    /// Divides the files into at most `limit` units, a layer each.
    fn divide(&self, files: &[Weight<'_>], limit: usize) -> Vec<Unit> {
        divide(files, limit)
    }

    /// Returns the package that the release was made of.
    fn package(&self, _: &Release) -> Option<Package> {
        None
    }

    /// Returns directories of the host with libraries of the release.
    fn library_directories(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Corrects the roles of programs that never start in this image.
    fn set_roles(&self, _: &Release, _: &mut [Object]) {}

    /// Includes the programs of the host that scripts of the release call;
    /// `commands` are the files that containers start.
    fn include_programs(
        &self,
        release: &Release,
        commands: &[&Member],
        programs: &mut Programs<'_>,
    ) -> Result<()> {
        for member in commands {
            programs.add_calls(&member.entry.path, &release.prefix);
        }
        Ok(())
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}
