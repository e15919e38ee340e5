//! Findings of the check: problems of an image.

use std::fmt;

use imgbuild_oci::path::ImagePath;
use serde::{Serialize, Serializer};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The image cannot start, or not work as configured.
    Error,
    /// A likely mistake.
    Warning,
}

/// The row of a rule in [`RULES`].
#[derive(Debug)]
#[non_exhaustive]
pub struct RuleInfo {
    /// The rule.
    pub rule: Rule,
    /// The name in messages and in JSON.
    pub name: &'static str,
    /// The remedy for any image.
    pub remedy: &'static str,
    /// The remedy for an image that is being built, in flags of the command
    /// line where one helps.
    pub build_remedy: &'static str,
}

const PUT_PROGRAM: &str =
    "put the program into the image, or give the absolute path of one that is in it";
const ADD_PROGRAM: &str = "add a program of this machine with `--program`; a relative path is taken from the release; `--dry-run` lists the files of the image";
const NAME_PROGRAM: &str =
    "name a program with `--entrypoint` or `--cmd`, or build without one with `--no-entrypoint`";
const SET_BIT: &str = "make it executable with `chmod +x`; some transports lose the mode, for example `actions/upload-artifact`: carry a tar archive";
const SET_BIT_IN_FLAGS: &str = "make it executable with `--fix-modes` or `chmod +x`; some transports lose the mode, for example `actions/upload-artifact`: carry a tar archive";
const GRANT: &str = "make it readable and executable for other users, or run as another user";
const GRANT_IN_FLAGS: &str = "make it readable and executable for other users (`--add SRC:DST:MODE`), or run as another user with `--user`";
const FIND_LIBRARY: &str = "install the package of the library, name its directory with `--library-path`, or take libraries from another root with `--sysroot`; `--runtime none` includes no libraries";
const OTHER_DIRECTORY: &str = "name a directory that the user may enter with `--workdir`";

/// Declares the rules in the order of their findings: the meaning, the name, the
/// remedy for any image and, if it is another one, that in flags.
macro_rules! rules {
    ($($(#[$meaning:meta])* $rule:ident $name:literal: $remedy:expr $(, in flags $flags:expr)?;)*) => {
        /// A rule of the check. Names are part of the interface of the program and do
        /// not change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[$meaning])* $rule,)*
        }

        /// All rules, in the order of their findings.
        pub static RULES: &[RuleInfo] = &[$(RuleInfo {
            rule: Rule::$rule,
            name: $name,
            remedy: $remedy,
            build_remedy: last(&[$remedy $(, $flags)?]),
        }),*];
    };
}

const fn last(remedies: &[&'static str]) -> &'static str {
    remedies[remedies.len() - 1]
}

rules! {
    /// Engines refuse the image before it starts.
    ImageRefused "image-refused": "build the image again with another tool; engines that are not named take it",
        in flags "use another base image, or build it again with another tool; engines that are not named take it";
    /// The file of the command does not exist.
    CommandMissing "command-missing": PUT_PROGRAM, in flags ADD_PROGRAM;
    /// The command is a dangling symlink, or a symlink loop.
    CommandDangling "command-dangling": PUT_PROGRAM, in flags ADD_PROGRAM;
    /// The command is a name that no directory of `PATH` has.
    CommandNotInPath "command-not-in-path": PUT_PROGRAM, in flags ADD_PROGRAM;
    /// The command is a directory.
    CommandDirectory "command-directory": "name a program in the directory", in flags NAME_PROGRAM;
    /// The command has no execute bit.
    CommandNotExecutable "command-not-executable": SET_BIT, in flags SET_BIT_IN_FLAGS;
    /// A program of the release has no execute bit.
    ProgramNotExecutable "program-not-executable": SET_BIT, in flags SET_BIT_IN_FLAGS;
    /// The command is neither a program nor a script.
    CommandFormat "command-format": "name a program, or begin the script with a shebang line, for example `#!/bin/sh`",
        in flags NAME_PROGRAM;
    /// The image's user may not execute the command.
    CommandForbidden "command-forbidden": GRANT, in flags GRANT_IN_FLAGS;
    /// The interpreter of a program or script is missing.
    InterpreterMissing "interpreter-missing": "put the interpreter into the image at exactly that path, or build a static program",
        in flags "install the interpreter on this machine, take it from another root with `--sysroot`, or add it with `--add`; `--runtime none` includes no interpreter";
    /// The interpreter of a script is at another path in the image than the
    /// script names.
    InterpreterMoved "interpreter-moved": "change the shebang line to the path in the image, or put the interpreter into the command",
        in flags "place the release at the path where it was built with `--prefix`, or put the interpreter into the command, for example `--cmd bin/python --cmd bin/NAME`";
    /// The first line of a script ends as on Windows.
    ScriptCarriageReturn "script-carriage-return": "convert the script to Unix line endings, for example with `sed -i 's/\\r$//'`";
    /// A program is for another processor.
    WrongArchitecture "wrong-architecture": "build the program for the platform of the image",
        in flags "set the platform of the image with `--platform`, and exclude other programs with `--exclude` or `--bin`";
    /// A loader or library does not fit what needs it.
    LibraryUnusable "library-unusable": "put a library into the image that is built for the processor and C library of the program",
        in flags FIND_LIBRARY;
    /// A needed library is missing.
    LibraryMissing "library-missing": "put the library into a directory of the image that the loader searches",
        in flags FIND_LIBRARY;
    /// A library does not define a version that is needed.
    SymbolVersionMissing "symbol-version-missing": "build against the older library, or put the newer one into the image";
    /// A program may not read a library that it needs.
    LibraryForbidden "library-forbidden": GRANT;
    /// A release of Erlang has no Erlang to run on.
    ErlangMissing "erlang-missing": "include the runtime in the release, which `mix release` does by default and relx with `{include_erts, true}`, or put an Erlang of that version into the image, with `erl` in `PATH`",
        in flags "include the runtime in the release, which `mix release` does by default and relx with `{include_erts, true}`, or add an Erlang of that version: from this machine with `--program erl`, or from a base image with `--base`";
    /// A file with which a release of Erlang starts is missing.
    ReleaseIncomplete "release-incomplete": "put the file into the image, or name another file in a variable",
        in flags "remove it from `--exclude`, add it with `--add`, or name another file with `--env`, for example `RELEASE_VM_ARGS=/app/other.args`; a file outside of the release can be mounted";
    /// A script seems to call programs that are missing.
    ProgramMissing "program-missing": "put the programs into the image if the script reaches these lines",
        in flags "add the programs with `--program` if the script reaches these lines";
    /// A virtual environment of Python that the command does not use.
    EnvironmentUnused "environment-unused": "put its `bin` first in `PATH`, or run its own interpreter";
    /// A module that no program of the image can load.
    ModuleUnusable "module-unusable": "remove it if no program loads it",
        in flags "exclude it with `--exclude` if no program loads it";
    /// The user is not known to the image.
    UserUnknown "user-unknown": "use a numeric user ID up to 2147483647, or add the user to the image's passwd file";
    /// The working directory cannot be one.
    WorkdirInvalid "workdir-invalid": "give the absolute path of a directory",
        in flags OTHER_DIRECTORY;
    /// The image's user may not enter the working directory.
    WorkdirForbidden "workdir-forbidden": "make the directory accessible to other users, or run as another user",
        in flags OTHER_DIRECTORY;
    /// The image's user may not read a file beside the command.
    ReleaseForbidden "release-forbidden": GRANT, in flags GRANT_IN_FLAGS;
    /// A volume that no engine makes.
    VolumeInvalid "volume-invalid": "give an absolute path outside of `/proc`, `/sys` and `/dev`";
    /// An exposed port that is not valid.
    PortInvalid "port-invalid": "write `PORT/PROTOCOL` with a port from 1 to 65535";
    /// A port for privileged users.
    PortPrivileged "port-privileged": "listen on a port from 1024 on, and publish it as the lower port",
        in flags "listen on a port from 1024 on, expose it with `--expose`, and publish it as the lower port";
    /// The health check cannot run.
    HealthcheckBroken "healthcheck-broken": "name a program that is in the image",
        in flags "name a program that is in the image with `--healthcheck`, or add one with `--program`";
    /// A program for newer processors only.
    NewProcessor "new-processor": "build for an older level if the image must run on older machines";
    /// A program uses TLS, and the image has no CA certificates.
    CertificatesMissing "certificates-missing": "put a bundle of CA certificates into the image",
        in flags "add CA certificates with `--cacert`";
    /// A program shows text, and the image has no fonts.
    FontsMissing "fonts-missing": "put fonts and the files of `/etc/fonts` into the image",
        in flags "add the default fonts of this machine with `--fonts`, or others with `--add`";
    /// A variable names a file that is missing.
    VariableDangling "variable-dangling": "put the file into the image, or remove the variable",
        in flags "add time zones with `--tzdata`, a locale with `--locale`, CA certificates with `--cacert`, a library with `--add-library`, another file with `--add`; or remove the variable from `--env`";
    /// A file that is likely a secret.
    SecretFile "secret-file": "remove it, and mount it when the container runs",
        in flags "exclude it with `--exclude`, and mount it when the container runs; `--allow-secret` accepts a file that is not a secret";
    /// A variable that is likely a secret.
    SecretVariable "secret-variable": "set it when the container runs",
        in flags "remove it from `--env`, and set it when the container runs";
    /// A secret in a label, an argument or another text of the configuration.
    SecretConfiguration "secret-configuration": "remove it, and set it when the container runs",
        in flags "remove it from the flag that sets it (`--label`, `--annotation`, `--entrypoint`, `--cmd` or `--healthcheck`), and set it when the container runs";
    /// A dangling symlink.
    LinkDangling "link-dangling": "put its target into the image, or remove the link",
        in flags "add its target with `--add`, or exclude the link with `--exclude`";
    /// A file that runs as its owner.
    SetId "set-id": "clear the bit unless the program needs it";
    /// A file that any user may write to.
    WorldWritable "world-writable": "remove write permission for other users";
    /// Names that differ only in case.
    CaseCollision "case-collision": "rename one of them: on case-insensitive file systems one hides the other";
    /// The same content twice.
    DuplicateContent "duplicate-content": "keep one of them, and make the other a link";
    /// Files that a build left behind.
    BuildLeftover "build-leftover": "remove it: no program needs it at run time",
        in flags "exclude it with `--exclude`";
    /// More debug information than code.
    DebugInformation "debug-information": "strip it, for example with `strip --strip-debug`";
}

impl Rule {
    /// Returns the row of the rule.
    #[must_use]
    pub fn info(self) -> &'static RuleInfo {
        &RULES[self as usize]
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.info().name)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.info().name)
    }
}

/// A problem that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The severity.
    pub severity: Severity,
    /// The path in the image, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<ImagePath>,
    /// The problem and its cause; a fragment without a period.
    pub reason: String,
    /// The remedy.
    pub remedy: String,
    /// The word of the configuration that could not be run, if this is what
    /// the finding is about.
    #[serde(skip)]
    pub command: Option<String>,
}

impl Finding {
    /// Returns a finding that keeps the image from starting.
    #[must_use]
    pub fn error(rule: Rule, path: Option<&ImagePath>, reason: impl Into<String>) -> Self {
        Self::new(rule, Severity::Error, path, reason.into())
    }

    /// Returns a finding about a likely mistake.
    #[must_use]
    pub fn warning(rule: Rule, path: Option<&ImagePath>, reason: impl Into<String>) -> Self {
        Self::new(rule, Severity::Warning, path, reason.into())
    }

    /// Returns a finding of a given severity.
    #[must_use]
    pub fn new(rule: Rule, severity: Severity, path: Option<&ImagePath>, reason: String) -> Self {
        Self {
            rule,
            severity,
            path: path.cloned(),
            reason,
            remedy: rule.info().remedy.to_owned(),
            command: None,
        }
    }
}

/// Sorts findings: errors first, then by rule and path; each one once.
pub(crate) fn sort(findings: &mut Vec<Finding>) {
    let key = |finding: &Finding| (finding.severity, finding.rule, finding.path.clone());
    findings.sort_by(|a, b| (key(a), &a.reason).cmp(&(key(b), &b.reason)));
    findings.dedup_by(|a, b| (key(a), &a.reason) == (key(b), &b.reason));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_the_row_of_its_number_and_its_own_name() {
        let mut names = BTreeSet::new();
        for row in RULES {
            assert_eq!(row.rule.info().rule, row.rule);
            assert!(names.insert(row.name), "{}", row.name);
            let is_kebab = |byte: u8| byte == b'-' || byte.is_ascii_lowercase();
            assert!(row.name.bytes().all(is_kebab), "{}", row.name);
        }
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
