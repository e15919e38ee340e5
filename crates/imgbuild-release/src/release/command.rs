//! Commands: as users give them, and as the configuration of an image has
//! them.

use imgbuild_oci::path::{ImagePath, ParseImagePathError};

use crate::base::Base;
use crate::contents::{Contents, End};

/// Docker's default. It is written to the configuration, since some engines do
/// not add it.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command as the user gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The entrypoint; a relative first argument is a path in the release.
    pub entrypoint: Option<Vec<String>>,
    /// The command; without an entrypoint, its first argument is one like
    /// that of the entrypoint.
    pub cmd: Option<Vec<String>>,
    /// The image has no entrypoint unless one is given.
    pub no_entrypoint: bool,
    /// The image does not inherit the command of its base.
    pub no_cmd: bool,
}

/// Everything beside the release that its command depends on.
pub(crate) struct CommandRequest<'a> {
    pub(crate) options: &'a CommandOptions,
    /// The environment variables that the user sets.
    pub(crate) variables: &'a [(String, String)],
    /// The files of the image, as far as they are known.
    pub(crate) contents: &'a Contents<'a>,
    pub(crate) base: Option<&'a Base>,
}

/// The command of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    /// Variables that the command needs unless the user sets them.
    pub(crate) environment: Vec<(String, String)>,
    /// Variables that replace those of the user, which are a part of the
    /// command already.
    pub(crate) overrides: Vec<(String, String)>,
    pub(crate) inherited: Inherited,
}

/// The part of a command that is the base image's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Inherited {
    #[default]
    Nothing,
    /// The program, with arguments of the user.
    Program,
    Everything,
}

impl Command {
    pub(crate) fn own(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>) -> Self {
        Self {
            entrypoint,
            cmd,
            ..Self::default()
        }
    }

    /// Returns the command of a base image.
    pub(crate) fn of_base(entrypoint: Option<&Vec<String>>, cmd: Option<&Vec<String>>) -> Self {
        Self {
            inherited: Inherited::Everything,
            ..Self::own(entrypoint.cloned(), cmd.cloned())
        }
    }

    /// Makes the program of a command that is not inherited an absolute path.
    pub(crate) fn resolved(
        mut self,
        prefix: &ImagePath,
        contents: &Contents<'_>,
    ) -> Result<Self, ParseImagePathError> {
        let words = self.entrypoint.as_mut().or(self.cmd.as_mut());
        if let Some(words) = words.filter(|_| self.inherited == Inherited::Nothing) {
            *words = resolve(prefix, contents, words)?;
        }
        Ok(self)
    }

    /// Returns the arguments of which the first is the program.
    pub(crate) fn words(&self) -> &[String] {
        let words = self.entrypoint.as_deref().or(self.cmd.as_deref());
        words.unwrap_or_default()
    }
}

/// Makes the first argument an absolute path: one in the release at `prefix`,
/// else, for a bare name, one in its `bin` or in a directory of `PATH`.
///
/// It need not exist: the check looks at the complete image.
pub(crate) fn resolve(
    prefix: &ImagePath,
    contents: &Contents<'_>,
    arguments: &[String],
) -> Result<Vec<String>, ParseImagePathError> {
    let Some((command, rest)) = arguments.split_first() else {
        return Ok(Vec::new());
    };
    let path = if command.starts_with('/') {
        ImagePath::parse(command)?
    } else {
        let in_release = prefix.join(command)?;
        if command.contains('/') || contents.get(&in_release).is_some() {
            in_release
        } else {
            let in_bin = prefix.join(format!("bin/{command}"))?;
            let system = contents.base_path.unwrap_or(SYSTEM_PATH).split(':');
            let in_system =
                system.filter_map(|at| ImagePath::parse(format!("{at}/{command}")).ok());
            let mut candidates = [in_bin].into_iter().chain(in_system);
            let found = candidates.find(|path| contents.get(path).is_some());
            found.unwrap_or(in_release)
        }
    };
    let mut resolved = vec![path.to_string()];
    resolved.extend_from_slice(rest);
    Ok(resolved)
}

/// Returns the file that a resolved command starts, if the image has it.
pub(crate) fn started_file(contents: &Contents<'_>, words: &[String]) -> Option<ImagePath> {
    let path = ImagePath::parse(words.first()?).ok()?;
    match contents.resolve(&path) {
        End::There(end) => Some(end),
        End::Nothing(_) | End::Loop => None,
    }
}
