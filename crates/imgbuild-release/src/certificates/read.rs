//! Finds the files of a source and reads them, within limits.

use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::report::{CertificateError, CertificateFinding, CertificateWarning, Location};

/// The largest file that is read: ninety times the bundle of any browser.
pub(super) const MAX_FILE_BYTES: u64 = 16 << 20;

/// The extensions that certificates have in directories, in any case.
const EXTENSIONS: [&str; 5] = ["pem", "crt", "cer", "cert", "der"];

/// The files of a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those named like certificates, in bytewise order, but names that
    /// `openssl rehash` made come last: a message shall name the file itself.
    pub(super) files: Vec<PathBuf>,
    /// Warnings about the other files.
    pub(super) warnings: Vec<CertificateWarning>,
}

/// Lists the certificate files that lie directly in `directory`, as OpenSSL
/// and Go do: they do not look into directories below either.
pub(super) fn list(directory: &Path) -> Result<Listing, CertificateError> {
    let mut paths = fs_err::read_dir(directory)
        .and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<io::Result<Vec<PathBuf>>>()
        })
        .map_err(CertificateError::File)?;
    paths.sort_by_cached_key(|path| (is_hashed_name(path), path.clone()));
    let mut listing = Listing::default();
    let (mut files, mut directories) = (0, 0);
    for path in paths {
        match fs_err::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => directories += 1,
            Ok(metadata) if metadata.is_file() && is_certificate_name(&path) => {
                listing.files.push(path);
            }
            Ok(_) => files += 1,
            Err(error) if is_dangling(&path, &error) => listing.warnings.push(CertificateWarning {
                location: Location::file(&path, None),
                finding: CertificateFinding::DanglingLink,
            }),
            Err(error) => return Err(CertificateError::File(error)),
        }
    }
    if files + directories > 0 {
        listing.warnings.push(CertificateWarning {
            location: Location::file(directory, None),
            finding: CertificateFinding::Ignored { files, directories },
        });
    }
    Ok(listing)
}

/// Returns whether `path` is a link that leads nowhere, or in a circle.
fn is_dangling(path: &Path, error: &io::Error) -> bool {
    error.kind() != ErrorKind::PermissionDenied
        && fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Returns whether a file in a directory is meant to be a certificate.
fn is_certificate_name(path: &Path) -> bool {
    let has_extension = path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    });
    has_extension || is_hashed_name(path)
}

/// Returns whether a name is like `5ed36f99.0`, as `openssl rehash` makes it.
/// Revocation lists have an `r` before the last number.
fn is_hashed_name(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
    let extension = path.extension().unwrap_or_default().as_encoded_bytes();
    stem.len() == 8
        && stem.iter().all(u8::is_ascii_hexdigit)
        && !extension.is_empty()
        && extension.iter().all(u8::is_ascii_digit)
}

/// Reads a whole file; `None` if it is larger than [`MAX_FILE_BYTES`]. Not
/// only regular files: a pipe is as good.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let is_within_limit = bytes.len() as u64 <= MAX_FILE_BYTES;
    Ok(is_within_limit.then_some(bytes))
}
