//! Reasons why a release cannot start without a shell.

use std::fmt;

/// Something that only a shell could do; paths are relative to the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BootProblem {
    /// There is no virtual machine to be started.
    NoRuntime {
        /// The version of ERTS that the release wants.
        version: String,
    },
    /// A script is missing, or was not written by a known tool.
    Script {
        /// The script.
        path: String,
    },
    /// A line of a script that does more than set a variable.
    Line {
        /// The script.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// The release restarts after its configuration, and its boot file cannot be
    /// changed to do so.
    Restarts {
        /// The boot file.
        path: String,
    },
    /// Variables in a file are replaced when the release starts.
    Replaced {
        /// The file.
        path: String,
    },
    /// The script runs other scripts before the virtual machine.
    Hooks {
        /// The script.
        path: String,
    },
    /// A required file that is missing.
    Missing {
        /// The file.
        path: String,
    },
    /// A required file that the user excludes.
    LeftOut {
        /// The file.
        path: String,
    },
}

impl fmt::Display for BootProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime { version } => write!(
                formatter,
                "it has no Erlang runtime of its own: `erts-{version}` is missing"
            ),
            Self::Script { path } => write!(
                formatter,
                "`{path}` is not a script of `mix release` or relx, so its commands are unknown"
            ),
            Self::Line { path, line } => write!(
                formatter,
                "line {line} of `{path}` does more than set a variable to a plain value"
            ),
            Self::Restarts { path } => write!(
                formatter,
                "`reboot_system_after_config` is set, for which the start script copies the configuration; `{path}` is not a boot file that can do so"
            ),
            Self::Replaced { path } => {
                write!(formatter, "the start script replaces variables in `{path}`")
            }
            Self::Hooks { path } => {
                write!(formatter, "`{path}` runs hooks before the virtual machine")
            }
            Self::Missing { path } => write!(formatter, "`{path}` is missing"),
            Self::LeftOut { path } => write!(
                formatter,
                "`{path}` is left out, but the virtual machine needs it to start"
            ),
        }
    }
}
