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
    #[error("this system has no bundle of certificates (looked for {})", listed(.looked_for))]
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
    #[error("there is no certificate in it")]
    NoCertificate,
    /// A directory without any file that is named like a certificate.
    #[error(
        "no file directly in it is named like a certificate (`*.pem`, `*.crt`, `*.cer`, `*.cert`, `*.der` or `01234567.0`)"
    )]
    NoCertificateFile,
    /// A private key, which must never get into an image by accident.
    #[error("there is a private key in it")]
    PrivateKey,
    /// OpenSSL's `TRUSTED CERTIFICATE`: its trust settings can say that the
    /// certificate is *not* trusted, and no other reader knows them.
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
    #[error("the block `{label}` is not ended")]
    NotEnded {
        /// The label of the block.
        label: String,
    },
    /// An `END` line without a block.
    #[error("`END {label}` ends no block")]
    NotBegun {
        /// The label of the line.
        label: String,
    },
    /// An `END` line of another kind than the block's `BEGIN` line.
    #[error("`END {label}` is not how the block of line {begun_in} ends")]
    WrongEnd {
        /// The label of the line.
        label: String,
        /// The line in which the block begins.
        begun_in: usize,
    },
    /// A line that has a part of a `BEGIN` or `END` line but is none.
    #[error("a `BEGIN` or `END` line is damaged, or does not stand alone on its line")]
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

impl ProblemReason {
    pub(super) fn not_ended(label: &[u8]) -> Self {
        let label = shown_label(label);
        Self::NotEnded { label }
    }

    pub(super) fn not_begun(label: &[u8]) -> Self {
        let label = shown_label(label);
        Self::NotBegun { label }
    }

    pub(super) fn wrong_end(label: &[u8], begun_in: usize) -> Self {
        let label = shown_label(label);
        Self::WrongEnd { label, begun_in }
    }
}

/// Something that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWarning {
    /// The location.
    pub location: Location,
    /// What it is.
    pub finding: CertificateFinding,
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.location, self.finding)
    }
}

/// Something unusual in a source that does not stop the build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFinding {
    /// A certificate's time is over. It stays in.
    Expired {
        /// The subject of the certificate.
        subject: String,
        /// Its last valid second.
        not_after: Time,
    },
    /// A certificate's time is to come. It stays in.
    NotYetValid {
        /// The subject of the certificate.
        subject: String,
        /// Its first valid second.
        not_before: Time,
    },
    /// A certificate may not sign others. It stays in: some readers trust it
    /// as the server's own.
    NotAnAuthority {
        /// The subject of the certificate.
        subject: String,
    },
    /// Text outside of blocks, from this line on. It is dropped.
    Text,
    /// A block that is no certificate. It is dropped: a revocation list, for
    /// example, keeps Erlang from reading the whole bundle.
    DroppedBlock {
        /// The label of the block.
        label: String,
    },
    /// A byte order mark, which costs Go, rustls and Erlang the certificate
    /// that follows. It is dropped.
    ByteOrderMark,
    /// Lines that end in carriage returns. They are dropped.
    CarriageReturns,
    /// Other files of a directory. Directories in it are not searched.
    Ignored {
        /// The number of files and other entries that are not directories.
        files: usize,
        /// The number of directories.
        directories: usize,
    },
    /// A symbolic link in a directory that leads nowhere.
    DanglingLink,
}

impl CertificateFinding {
    pub(super) fn dropped_block(label: &[u8]) -> Self {
        let label = shown_label(label);
        Self::DroppedBlock { label }
    }
}

impl fmt::Display for CertificateFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { subject, not_after } => {
                write!(formatter, "`{subject}` expired at {not_after}")
            }
            Self::NotYetValid {
                subject,
                not_before,
            } => {
                write!(formatter, "`{subject}` is not valid before {not_before}")
            }
            Self::NotAnAuthority { subject } => {
                write!(
                    formatter,
                    "`{subject}` is not a CA: it may not sign other certificates"
                )
            }
            Self::Text => formatter.write_str("text between the certificates is dropped"),
            Self::DroppedBlock { label } => {
                write!(
                    formatter,
                    "the block `{label}` is dropped: it is not a certificate"
                )
            }
            Self::ByteOrderMark => formatter.write_str("a byte order mark is dropped"),
            Self::CarriageReturns => {
                formatter.write_str("carriage returns at line ends are dropped")
            }
            Self::Ignored { files, directories } => {
                let named = [
                    counted(*files, "file", "files")
                        .map(|text| text + " not named like a certificate"),
                    counted(*directories, "directory", "directories"),
                ];
                let shown: Vec<String> = named.into_iter().flatten().collect();
                write!(formatter, "ignored: {}", shown.join(", "))
            }
            Self::DanglingLink => formatter.write_str("the link leads nowhere; it is ignored"),
        }
    }
}

/// Returns nothing for zero.
fn counted(number: usize, one: &str, many: &str) -> Option<String> {
    let noun = if number == 1 { one } else { many };
    (number > 0).then(|| format!("{number} {noun}"))
}

fn shown_label(label: &[u8]) -> String {
    match label.get(..MAX_LABEL_BYTES) {
        Some(start) => format!("{}…", escaped(start)),
        None => escaped(label),
    }
}
