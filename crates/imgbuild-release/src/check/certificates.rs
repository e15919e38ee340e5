//! Programs that use TLS in an image without CA certificates.

use std::cell::LazyCell;

use imgbuild_oci::content::Content;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::content::{answers, names_any};
use super::subject::Subject;
use crate::certificates::{ALIASES, BUNDLE_PATH};
use crate::contents::first_bytes;
use crate::finding::{Finding, Rule};

/// TLS libraries that take their roots from files of the system.
const LIBRARIES: [&str; 4] = [
    "libssl.so",
    "libgnutls.so",
    "libcurl.so",
    "libcurl-gnutls.so",
];

/// Bundles of applications themselves (Python's certifi, Elixir's
/// castore, Ruby, Perl).
const OWN_BUNDLES: [&[u8]; 4] = [
    b"cacert.pem",
    b"cacerts.pem",
    b"ca-bundle.crt",
    b"ca-certificates.crt",
];

type IsUsed<'a> = &'a dyn Fn(&ImagePath) -> bool;

/// The files whose names alone are evidence about certificates.
#[derive(Debug, Default)]
pub(super) struct TlsEvidence<'a> {
    /// The TLS application of Erlang/OTP.
    erlang: Option<&'a ImagePath>,
    /// Set if an application has a bundle of its own.
    has_own: bool,
}

impl<'a> TlsEvidence<'a> {
    pub(super) fn visit(&mut self, path: &'a ImagePath, name: &[u8]) {
        if name == b"ssl.app" {
            self.erlang.get_or_insert(path);
        }
        self.has_own |= OWN_BUNDLES.contains(&name);
    }

    /// Names the first file that uses TLS, if the image has no bundle.
    pub(super) fn finish(self, subject: &Subject<'_>, store: Option<&Store>) -> Option<Finding> {
        if self.has_own || has_bundle(subject) {
            return None;
        }
        let erlang = || {
            let text = "is the TLS application of Erlang/OTP".to_owned();
            Some((self.erlang?.clone(), text))
        };
        let of_scripts = LazyCell::new(|| scripts_use_tls(subject, store));
        let is_used = |path: &ImagePath| !is_of_python(path) || *of_scripts;
        let speaker = linked(subject, &is_used).or_else(erlang);
        let (path, evidence) = speaker.or_else(|| named(subject, store, &is_used))?;
        let reason = format!(
            "`{path}` {evidence}, and the image has no CA certificates: TLS connections fail when the certificate of the server is verified"
        );
        let rule = Rule::CertificatesMissing;
        Some(Finding::warning(rule, Some(&path), reason))
    }
}

fn has_bundle(subject: &Subject<'_>) -> bool {
    let mut known = ALIASES.iter().map(|(alias, _)| *alias);
    let given = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| subject.variable(name));
    subject.has_file(BUNDLE_PATH)
        || known.any(|path| subject.has_file(path))
        || given.into_iter().flatten().any(|path| {
            let path = ImagePath::parse(path);
            path.is_ok_and(|path| subject.at(&path).is_some())
        })
}

/// Returns whether a file is a Python or its module for TLS, which are used only if
/// a script beside the standard library imports a module for TLS.
fn is_of_python(path: &ImagePath) -> bool {
    let mut starts = ["_ssl.", "libpython", "python"].iter();
    starts.any(|start| path.file_name().starts_with(start.as_bytes()))
}

fn scripts_use_tls(subject: &Subject<'_>, store: Option<&Store>) -> bool {
    const IMPORTS: [&str; 5] = [
        "import ssl",
        "from ssl",
        "http.client",
        "import requests",
        "urllib.request",
    ];
    let scripts = subject.members().filter(|member| {
        let path = &member.entry.path;
        let (text, name) = (path.to_string(), path.file_name());
        let is_script = name.ends_with(b".py") || !name.contains(&b'.') && !subject.is_elf(path);
        is_script && (!text.contains("/lib/python3") || text.contains("-packages/"))
    });
    let contents: Vec<&Content> = scripts.filter_map(|it| it.content.as_ref()).collect();
    let found = answers(store, "imports TLS", false, &contents, |content| {
        let bytes = first_bytes(content, 16 << 10);
        let text = String::from_utf8_lossy(&bytes);
        IMPORTS.iter().any(|import| text.contains(import)).into()
    });
    found.contains(&1)
}

/// Finds the first file that links a library for TLS, and takes the certificates
/// of the system from it; libcurl does so for all programs.
fn linked(subject: &Subject<'_>, is_used: IsUsed<'_>) -> Option<(ImagePath, String)> {
    subject.objects().find_map(|object| {
        let mut needed = object.elf.needed.iter();
        let is_library = |name: &&String| LIBRARIES.iter().any(|known| name.starts_with(known));
        let library = needed.find(is_library)?;
        let verifies = library.starts_with("libcurl") || object.elf.imports.system_roots;
        let text = format!("links `{library}`");
        (verifies && is_used(&object.image)).then(|| (object.image.clone(), text))
    })
}

/// Looks for the paths of bundles in programs: Rust and Go have them, and
/// link no library for TLS.
fn named(
    subject: &Subject<'_>,
    store: Option<&Store>,
    is_used: IsUsed<'_>,
) -> Option<(ImagePath, String)> {
    let mut paths = Vec::new();
    let mut contents: Vec<&Content> = Vec::new();
    for object in subject.objects() {
        let file = subject.contents.get(&object.image);
        // Node.js has its own roots, and these paths for another use.
        let is_node = object.image.file_name() == b"node";
        let content = file.and_then(|file| file.content.as_ref());
        if let Some(content) = content.filter(|_| !is_node) {
            paths.push(&object.image);
            contents.push(content);
        }
    }
    let mut texts: Vec<&str> = ALIASES.iter().map(|(alias, _)| *alias).collect();
    texts.push(BUNDLE_PATH);
    let found = answers(store, "names a bundle", true, &contents, |content| {
        names_any(content, &texts).into()
    });
    let mut found = paths.iter().zip(found);
    let (path, _) = found.find(|(path, byte)| *byte != 0 && is_used(path))?;
    let evidence = "looks for CA certificates in files".to_owned();
    Some(((*path).clone(), evidence))
}
