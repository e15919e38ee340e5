//! What a check found: an image that would not start, or that would surprise.

use std::fmt;

use imgbuild_oci::path::ImagePath;
use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The image would not start, or not do what it says.
    Error,
    /// It may surprise.
    Warning,
}

/// What is looked for. Names are part of the program's interface: they do not
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Nothing is where the command should be.
    CommandMissing,
    /// The command is a link to nothing, or to itself.
    CommandDangling,
    /// The command is a name that no directory of `PATH` has.
    CommandNotInPath,
    /// The command is a directory.
    CommandDirectory,
    /// Nobody may execute the command.
    CommandNotExecutable,
    /// The command is neither a program nor a script.
    CommandFormat,
    /// The image's user may not execute the command.
    CommandForbidden,
    /// What runs a program or script is not there.
    InterpreterMissing,
    /// What runs a script lies elsewhere in the image than the script says.
    InterpreterMoved,
    /// The first line of a script ends as on Windows.
    ScriptCarriageReturn,
    /// A program is for another processor.
    WrongArchitecture,
    /// A loader or library does not fit what needs it.
    LibraryUnusable,
    /// A needed library is nowhere.
    LibraryMissing,
    /// A library does not define a version that is needed.
    SymbolVersionMissing,
    /// A program may not read a library that it needs.
    LibraryForbidden,
    /// A release of Erlang has no Erlang to run on.
    ErlangMissing,
    /// A file with which a release of Erlang starts is not there.
    ReleaseIncomplete,
    /// A script seems to call programs that are not there.
    ProgramMissing,
    /// A virtual environment of Python that the command does not use.
    EnvironmentUnused,
    /// A module that no program of the image can load.
    ModuleUnusable,
    /// The user is not known to the image.
    UserUnknown,
    /// The working directory cannot be one.
    WorkdirInvalid,
    /// The image's user may not enter the working directory.
    WorkdirForbidden,
    /// The image's user may not read a file beside the command.
    ReleaseForbidden,
    /// A volume that no engine makes.
    VolumeInvalid,
    /// An exposed port that is none.
    PortInvalid,
    /// A port for privileged users.
    PortPrivileged,
    /// The health check cannot run.
    HealthcheckBroken,
    /// A program for newer processors only.
    NewProcessor,
    /// Something speaks TLS and finds no roots.
    CertificatesMissing,
    /// A file that is likely a secret.
    SecretFile,
    /// A variable that is likely a secret.
    SecretVariable,
    /// A symbolic link to nothing.
    LinkDangling,
    /// A file that runs as its owner.
    SetId,
    /// A file that everybody may write to.
    WorldWritable,
    /// Names that differ only in case.
    CaseCollision,
    /// The same content twice.
    DuplicateContent,
    /// What a build left behind.
    BuildLeftover,
    /// More debug information than code.
    DebugInformation,
}

impl Rule {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 39] = [
        Self::CommandMissing,
        Self::CommandDangling,
        Self::CommandNotInPath,
        Self::CommandDirectory,
        Self::CommandNotExecutable,
        Self::CommandFormat,
        Self::CommandForbidden,
        Self::InterpreterMissing,
        Self::InterpreterMoved,
        Self::ScriptCarriageReturn,
        Self::WrongArchitecture,
        Self::LibraryUnusable,
        Self::LibraryMissing,
        Self::SymbolVersionMissing,
        Self::LibraryForbidden,
        Self::ErlangMissing,
        Self::ReleaseIncomplete,
        Self::ProgramMissing,
        Self::EnvironmentUnused,
        Self::ModuleUnusable,
        Self::UserUnknown,
        Self::WorkdirInvalid,
        Self::WorkdirForbidden,
        Self::ReleaseForbidden,
        Self::VolumeInvalid,
        Self::PortInvalid,
        Self::PortPrivileged,
        Self::HealthcheckBroken,
        Self::NewProcessor,
        Self::CertificatesMissing,
        Self::SecretFile,
        Self::SecretVariable,
        Self::LinkDangling,
        Self::SetId,
        Self::WorldWritable,
        Self::CaseCollision,
        Self::DuplicateContent,
        Self::BuildLeftover,
        Self::DebugInformation,
    ];

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandMissing => "command-missing",
            Self::CommandDangling => "command-dangling",
            Self::CommandNotInPath => "command-not-in-path",
            Self::CommandDirectory => "command-directory",
            Self::CommandNotExecutable => "command-not-executable",
            Self::CommandFormat => "command-format",
            Self::CommandForbidden => "command-forbidden",
            Self::InterpreterMissing => "interpreter-missing",
            Self::InterpreterMoved => "interpreter-moved",
            Self::ScriptCarriageReturn => "script-carriage-return",
            Self::WrongArchitecture => "wrong-architecture",
            Self::LibraryUnusable => "library-unusable",
            Self::LibraryMissing => "library-missing",
            Self::SymbolVersionMissing => "symbol-version-missing",
            Self::LibraryForbidden => "library-forbidden",
            Self::ErlangMissing => "erlang-missing",
            Self::ReleaseIncomplete => "release-incomplete",
            Self::ProgramMissing => "program-missing",
            Self::EnvironmentUnused => "environment-unused",
            Self::ModuleUnusable => "module-unusable",
            Self::UserUnknown => "user-unknown",
            Self::WorkdirInvalid => "workdir-invalid",
            Self::WorkdirForbidden => "workdir-forbidden",
            Self::ReleaseForbidden => "release-forbidden",
            Self::VolumeInvalid => "volume-invalid",
            Self::PortInvalid => "port-invalid",
            Self::PortPrivileged => "port-privileged",
            Self::HealthcheckBroken => "healthcheck-broken",
            Self::NewProcessor => "new-processor",
            Self::CertificatesMissing => "certificates-missing",
            Self::SecretFile => "secret-file",
            Self::SecretVariable => "secret-variable",
            Self::LinkDangling => "link-dangling",
            Self::SetId => "set-id",
            Self::WorldWritable => "world-writable",
            Self::CaseCollision => "case-collision",
            Self::DuplicateContent => "duplicate-content",
            Self::BuildLeftover => "build-leftover",
            Self::DebugInformation => "debug-information",
        }
    }

    /// Returns what to do about it, whoever made the image.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::CommandMissing | Self::CommandDangling | Self::CommandNotInPath => {
                "put the program into the image, or name the one that is there by its absolute path"
            }
            Self::CommandDirectory => "name the program in the directory",
            Self::CommandNotExecutable => "make the file executable",
            Self::CommandFormat => {
                "name a program, or give the script a first line that says what runs it, as `#!/bin/sh`"
            }
            Self::CommandForbidden | Self::ReleaseForbidden | Self::LibraryForbidden => {
                "give others the right to read and execute it, or run as another user"
            }
            Self::InterpreterMissing => {
                "put the interpreter into the image at exactly that path, or build without one"
            }
            Self::InterpreterMoved => {
                "let the script name the path in the image, or name the interpreter in the command"
            }
            Self::ScriptCarriageReturn => {
                "give the script Unix line ends, as with `sed -i 's/\\r$//'`"
            }
            Self::WrongArchitecture => "build the program for the platform of the image",
            Self::LibraryUnusable => {
                "put a file into the image that is for the same processor and C library as the program"
            }
            Self::LibraryMissing => "put the library into the image, where the loader looks for it",
            Self::SymbolVersionMissing => {
                "build against the older library, or put the newer one into the image"
            }
            Self::ErlangMissing => {
                "include the runtime in the release, as `mix release` does by default and relx with `{include_erts, true}`, or put an Erlang of that version into the image, with `erl` in `PATH`"
            }
            Self::ReleaseIncomplete => {
                "put the file into the image, or name another one where a variable does"
            }
            Self::ProgramMissing => "put them into the image, if the script gets there",
            Self::EnvironmentUnused => "put its `bin` first in `PATH`, or run its own interpreter",
            Self::ModuleUnusable => "leave it out if nothing loads it",
            Self::UserUnknown => {
                "name the user by its number, or add it to the image's passwd file"
            }
            Self::WorkdirInvalid => "name an absolute path of a directory",
            Self::WorkdirForbidden => {
                "give others the right to enter the directory, or run as another user"
            }
            Self::VolumeInvalid => "name an absolute path",
            Self::PortInvalid => "write `PORT/PROTOCOL` with a port from 1 to 65535",
            Self::PortPrivileged => {
                "listen on a port from 1024 on, and publish it as the lower one"
            }
            Self::HealthcheckBroken => "name a program that is in the image",
            Self::NewProcessor => "build for an older level if it must run on older machines",
            Self::CertificatesMissing => "put a bundle of CA certificates into the image",
            Self::SecretFile => "leave it out, and mount it into containers when they run",
            Self::SecretVariable => "set it when containers run",
            Self::LinkDangling => "put its target into the image, or leave the link out",
            Self::SetId => "take the bit away unless the program is known to need it",
            Self::WorldWritable => "take the right to write away from others",
            Self::CaseCollision => {
                "rename one of them: where names have no case, one hides the other"
            }
            Self::DuplicateContent => "keep one of them, and make the other a link",
            Self::BuildLeftover => "leave it out: the programs run without it",
            Self::DebugInformation => "strip it, as with `strip --strip-debug`",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// Where in the image, if it has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<ImagePath>,
    /// What is wrong, and why; a fragment without a period.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// Something that keeps the image from starting.
    #[must_use]
    pub fn error(rule: Rule, path: Option<&ImagePath>, reason: impl Into<String>) -> Self {
        Self::new(rule, Severity::Error, path, reason.into())
    }

    /// Something that may surprise.
    #[must_use]
    pub fn warning(rule: Rule, path: Option<&ImagePath>, reason: impl Into<String>) -> Self {
        Self::new(rule, Severity::Warning, path, reason.into())
    }

    /// The same with a severity that depends.
    #[must_use]
    pub fn new(rule: Rule, severity: Severity, path: Option<&ImagePath>, reason: String) -> Self {
        Self {
            rule,
            severity,
            path: path.cloned(),
            reason,
            remedy: rule.remedy().to_owned(),
        }
    }
}

/// Puts findings into the order in which they are told: errors first, then by
/// rule and path; each once.
pub(crate) fn sort(findings: &mut Vec<Finding>) {
    let key = |finding: &Finding| (finding.severity, finding.rule, finding.path.clone());
    findings.sort_by(|a, b| (key(a), &a.reason).cmp(&(key(b), &b.reason)));
    findings.dedup_by(|a, b| (key(a), &a.reason) == (key(b), &b.reason));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_once_under_its_own_name() {
        let mut names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        assert!(Rule::ALL.is_sorted());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
        let is_kebab = |name: &&str| {
            name.bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
        };
        assert!(names.iter().all(is_kebab));
    }

    #[test]
    fn errors_come_first_and_nothing_twice() {
        let path = ImagePath::parse("/a").unwrap();
        let warning = Finding::warning(Rule::SetId, Some(&path), "b");
        let error = Finding::error(Rule::LibraryMissing, Some(&path), "a");
        let mut findings = vec![warning.clone(), error.clone(), warning.clone()];
        sort(&mut findings);
        assert_eq!(findings, [error, warning]);
    }
}
