//! Problems of certificate files, and warnings about them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use imgbuild_oci::path::escaped;

use super::base64::Base64Error;
use super::der::DerError;
use super::time::Time;

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
    File(io::Error),
    /// None of the places where a system keeps its bundle has one.
    #[error("this system has no bundle of CA certificates (tried {})", listed(.looked_for))]
    NoSystemBundle {
        /// The paths that were tried.
        looked_for: Vec<PathBuf>,
    },
    /// Files that cannot be taken as they are: all problems of all sources.
    #[error("{}", ProblemList(.0))]
    Refused(Vec<CertificateProblem>),
}

fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
    shown.join(", ")
}

struct ProblemList<'a>(&'a [CertificateProblem]);

impl fmt::Display for ProblemList<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(formatter, "{} {noun} in certificate files", self.0.len())?;
        for problem in self.0.iter().take(MAX_SHOWN_PROBLEMS) {
            write!(formatter, "\n{problem}")?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN_PROBLEMS) {
            0 => Ok(()),
            hidden => write!(formatter, "\nand {hidden} more"),
        }
    }
}

/// The location of a problem or warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In the set that is part of the program.
    Embedded,
    /// In a file or directory, as the user named it.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1, if there is one that matters.
        line: Option<usize>,
    },
}

impl Location {
    pub(super) fn file(path: &Path, line: Option<usize>) -> Self {
        let path = path.to_owned();
        Self::File { path, line }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => formatter.write_str("the embedded certificates"),
            Self::File { path, line: None } => formatter.write_str(&quoted(path)),
            Self::File {
                path,
                line: Some(line),
            } => {
                write!(formatter, "{} line {line}", quoted(path))
            }
        }
    }
}

fn quoted(path: &Path) -> String {
    format!("`{}`", escaped(path.as_os_str().as_encoded_bytes()))
}

/// One reason to refuse a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct CertificateProblem {
    /// The location.
    pub location: Location,
    /// What it is.
    pub reason: ProblemReason,
}

/// A reason to refuse a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemReason {
    /// A file without any certificate.
    #[error("it contains no certificate")]
    NoCertificate,
    /// A directory without any file that is named like a certificate.
    #[error(
        "no file directly in it is named like a certificate (`*.pem`, `*.crt`, `*.cer`, `*.cert`, `*.der` or `01234567.0`)"
    )]
    NoCertificateFile,
    /// A private key, which must never get into an image by accident.
    #[error("it contains a private key")]
    PrivateKey,
    /// OpenSSL's `TRUSTED CERTIFICATE`: its trust settings can state that the
    /// certificate is *not* trusted, and no other reader supports them.
    #[error("a `TRUSTED CERTIFICATE` has trust settings, which a bundle cannot keep")]
    TrustSettings,
    /// A PKCS #12 store.
    #[error("it is a PKCS #12 key store, not a certificate")]
    KeyStore,
    /// A PKCS #7 bundle.
    #[error("it is a PKCS #7 bundle, not a certificate")]
    SignedData,
    /// A block whose content is not base64.
    #[error("the base64 is broken: {0}")]
    Base64(Base64Error),
    /// A certificate whose bytes are not one.
    #[error("the certificate is broken: {0}")]
    Der(DerError),
    /// A block without its `END` line.
    #[error("the block `{label}` has no `END` line")]
    NotEnded {
        /// The label of the block.
        label: String,
    },
    /// An `END` line without a block.
    #[error("`END {label}` has no `BEGIN` line")]
    NotBegun {
        /// The label of the line.
        label: String,
    },
    /// An `END` line of another kind than the block's `BEGIN` line.
    #[error("`END {label}` does not match the `BEGIN` of line {begun_in}")]
    WrongEnd {
        /// The label of the line.
        label: String,
        /// The line in which the block begins.
        begun_in: usize,
    },
    /// A line that contains a part of a `BEGIN` or `END` line but is neither.
    #[error("a `BEGIN` or `END` line is damaged, or shares its line with other text")]
    DamagedMarker,
    /// Text in UTF-16.
    #[error("it is UTF-16; certificates are ASCII")]
    Utf16,
    /// Neither text nor DER.
    #[error("it is neither PEM nor DER")]
    Binary,
    /// Beyond the limit for one file.
    #[error("it is larger than {} MiB", .limit_bytes >> 20)]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
}

/// Something that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {finding}")]
pub struct CertificateWarning {
    /// The location.
    pub location: Location,
    /// What it is.
    pub finding: CertificateFinding,
}

/// Something unusual in a source that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFinding {
    /// A certificate's time is over. It stays in.
    #[error("`{subject}` expired at {not_after}")]
    Expired {
        /// The subject of the certificate.
        subject: String,
        /// Its last valid second.
        not_after: Time,
    },
    /// A certificate's time is to come. It stays in.
    #[error("`{subject}` is not valid before {not_before}")]
    NotYetValid {
        /// The subject of the certificate.
        subject: String,
        /// Its first valid second.
        not_before: Time,
    },
    /// A certificate may not sign others. It stays in: some readers trust it
    /// as the server's own.
    #[error("`{subject}` is not a CA: it may not sign other certificates")]
    NotAnAuthority {
        /// The subject of the certificate.
        subject: String,
    },
    /// Text outside of blocks, from this line on. It is dropped.
    #[error("text between the certificates is dropped")]
    Text,
    /// A block that is not a certificate. It is dropped: a revocation list, for
    /// example, keeps Erlang from reading the whole bundle.
    #[error("the block `{label}` is dropped: it is not a certificate")]
    DroppedBlock {
        /// The label of the block.
        label: String,
    },
    /// A byte order mark, which costs Go, rustls and Erlang the certificate
    /// that follows. It is dropped.
    #[error("a byte order mark is dropped")]
    ByteOrderMark,
    /// Lines that end in carriage returns. They are dropped.
    #[error("carriage returns at line ends are dropped")]
    CarriageReturns,
    /// Other files of a directory. Directories in it are not searched.
    #[error("ignored: {}", ignored(*files, *directories))]
    Ignored {
        /// The number of files and other entries that are not directories.
        files: usize,
        /// The number of directories.
        directories: usize,
    },
    /// A symbolic link in a directory that leads nowhere.
    #[error("the symlink is dangling and is ignored")]
    DanglingLink,
}

fn ignored(files: usize, directories: usize) -> String {
    let named = [
        counted(files, "file", "files").map(|text| text + " not named like a certificate"),
        counted(directories, "directory", "directories"),
    ];
    named.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns nothing for zero.
fn counted(number: usize, one: &str, many: &str) -> Option<String> {
    let noun = if number == 1 { one } else { many };
    (number > 0).then(|| format!("{number} {noun}"))
}

/// Returns a label for messages: escaped and not too long.
pub(super) fn shown_label(label: &[u8]) -> String {
    match label.get(..MAX_LABEL_BYTES) {
        Some(start) => format!("{}…", escaped(start)),
        None => escaped(label),
    }
}
