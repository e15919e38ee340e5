//! Problems of certificate files, and warnings about them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use imgbuild_oci::path::escaped;

/// The number of problems that an error lists; the others are counted.
const MAX_SHOWN_PROBLEMS: usize = 20;

/// The longest label of a block that is shown.
const MAX_LABEL_BYTES: usize = 40;

/// A failure to load certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file or directory cannot be read.
    #[error(transparent)]
    File(#[from] io::Error),
    /// None of the places where a system keeps its bundle has one.
    #[error("this system has no bundle of CA certificates (tried {})", listed(.looked_for))]
    NoSystemBundle {
        /// The paths that were tried.
        looked_for: Vec<PathBuf>,
    },
    /// Files that cannot be taken as they are: all problems of all sources.
    #[error("{}", problem_list(.0))]
    Refused(Vec<CertificateNotice>),
}

fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
    shown.join(", ")
}

fn problem_list(problems: &[CertificateNotice]) -> String {
    let count = counted(problems.len(), "problem", "problems");
    let mut lines = vec![format!("{count} in certificate files")];
    let shown = problems.iter().take(MAX_SHOWN_PROBLEMS);
    lines.extend(shown.map(CertificateNotice::to_string));
    if problems.len() > MAX_SHOWN_PROBLEMS {
        lines.push(format!("and {} more", problems.len() - MAX_SHOWN_PROBLEMS));
    }
    lines.join("\n")
}

/// A reason to refuse a file, or something unusual in it that does not stop the
/// build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNotice {
    /// The file or directory, as the user named it; `None` for the certificates
    /// that are part of the program.
    pub path: Option<PathBuf>,
    /// The line, from 1, if there is one that matters.
    pub line: Option<usize>,
    /// The fault; a sentence without a period.
    pub reason: String,
}

impl fmt::Display for CertificateNotice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => formatter.write_str(&quoted(path))?,
            None => formatter.write_str("the embedded certificates")?,
        }
        if let Some(line) = self.line {
            write!(formatter, " line {line}")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

fn quoted(path: &Path) -> String {
    format!("`{}`", escaped(path.as_os_str().as_encoded_bytes()))
}

pub(super) fn counted(number: usize, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// Returns a label for messages: escaped and not too long.
pub(super) fn shown_label(label: &[u8]) -> String {
    match label.get(..MAX_LABEL_BYTES) {
        Some(start) => format!("{}…", escaped(start)),
        None => escaped(label),
    }
}
