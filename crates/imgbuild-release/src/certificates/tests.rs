//! Tests over the files of `fixtures/certificates`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use imgbuild_oci::digest::Digest;
use imgbuild_oci::path::ImagePath;
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::collect::Collector;
use super::*;

/// 2023-11-14T22:13:20Z.
const NOW: u64 = 1_700_000_000;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/certificates")
}

fn fixture(name: &str) -> CertificateSource {
    CertificateSource::Path(fixtures().join(name))
}

fn bytes(name: &str) -> Vec<u8> {
    fs_err::read(fixtures().join(name)).unwrap()
}

fn load(names: &[&str]) -> Result<(Certificates, Vec<CertificateNotice>), CertificateError> {
    let sources: Vec<CertificateSource> = names.iter().map(|name| fixture(name)).collect();
    Certificates::load(&sources, Some(NOW), Monitor::silent())
}

fn embedded() -> Certificates {
    let (certificates, warnings) =
        Certificates::load(&[CertificateSource::Embedded], None, Monitor::silent()).unwrap();
    assert_eq!(warnings, []);
    certificates
}

fn pem(names: &[&str]) -> String {
    String::from_utf8(load(names).unwrap().0.to_pem()).unwrap()
}

/// Prints without the directory of `paths`.
fn relative(text: &impl ToString, directory: &Path) -> String {
    let prefix = format!("{}/", directory.display());
    text.to_string().replace(&prefix, "")
}

fn warnings(names: &[&str]) -> Vec<String> {
    let (_, warnings) = load(names).unwrap();
    let shown = warnings
        .iter()
        .map(|warning| relative(warning, &fixtures()));
    shown.collect()
}

fn problems(names: &[&str]) -> Vec<String> {
    match load(names) {
        Err(CertificateError::Refused(problems)) => {
            let shown = problems
                .iter()
                .map(|problem| relative(problem, &fixtures()));
            shown.collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sound_files_give_their_certificates_without_a_word() {
    for (name, count) in [
        ("rsa.pem", 1),
        ("ec.pem", 1),
        ("ec.der", 1),
        ("ed25519.pem", 1),
        ("version1.pem", 1),
        ("blanks.pem", 1),
        ("one-line.pem", 1),
        ("old-label.pem", 1),
        ("comments.pem", 2),
        ("duplicates.pem", 2),
    ] {
        let (certificates, warnings) = load(&[name]).unwrap();
        assert_eq!(certificates.set.len(), count, "{name}");
        assert_eq!(warnings, [], "{name}");
    }
}

#[test]
fn what_is_worth_knowing_is_said_with_its_line() {
    for (name, count, expected) in [
        (
            "expired.pem",
            1,
            &["`expired.pem` line 1: `Fixture Expired Root` expired at 2001-01-01T00:00:00Z"][..],
        ),
        (
            "not-yet-valid.pem",
            1,
            &[
                "`not-yet-valid.pem` line 1: `Fixture Future Root` is not valid before 2090-01-01T00:00:00Z",
            ],
        ),
        (
            "server.pem",
            1,
            &[
                "`server.pem` line 1: `Fixture Server` is not a CA: it may not sign other certificates",
            ],
        ),
        (
            "unconstrained.pem",
            1,
            &[
                "`unconstrained.pem` line 1: `Fixture Unconstrained` is not a CA: it may not sign other certificates",
            ],
        ),
        (
            "text.pem",
            2,
            &["`text.pem` line 1: text between the certificates is dropped"],
        ),
        (
            "with-crl.pem",
            2,
            &["`with-crl.pem` line 12: the block `X509 CRL` is dropped: it is not a certificate"],
        ),
        (
            "bom.pem",
            2,
            &["`bom.pem` line 1: a byte order mark is dropped"],
        ),
        (
            "crlf.pem",
            1,
            &["`crlf.pem` line 1: carriage returns at line ends are dropped"],
        ),
        (
            "cr.pem",
            1,
            &["`cr.pem` line 1: carriage returns at line ends are dropped"],
        ),
    ] {
        assert_eq!(load(&[name]).unwrap().0.set.len(), count, "{name}");
        assert_eq!(warnings(&[name]), expected, "{name}");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    for (name, expected) in [
        ("empty.pem", "`empty.pem`: it contains no certificate"),
        (
            "no-certificate.pem",
            "`no-certificate.pem`: it contains no certificate",
        ),
        ("request.pem", "`request.pem`: it contains no certificate"),
        ("binary.pem", "`binary.pem`: it is neither PEM nor DER"),
        (
            "utf16.pem",
            "`utf16.pem`: it is UTF-16; certificates are ASCII",
        ),
        (
            "utf16be.pem",
            "`utf16be.pem`: it is UTF-16; certificates are ASCII",
        ),
        (
            "pkcs7.pem",
            "`pkcs7.pem` line 1: it is a PKCS #7 bundle, not a certificate",
        ),
        (
            "pkcs7.der",
            "`pkcs7.der`: it is a PKCS #7 bundle, not a certificate",
        ),
        (
            "pkcs12.der",
            "`pkcs12.der`: it is a PKCS #12 key store, not a certificate",
        ),
        (
            "private-key.pem",
            "`private-key.pem` line 12: it contains a private key",
        ),
        (
            "trusted.pem",
            "`trusted.pem` line 1: a `TRUSTED CERTIFICATE` has trust settings, which a bundle cannot keep",
        ),
    ] {
        assert_eq!(problems(&[name]), [expected], "{name}");
    }
}

#[test]
fn broken_content_is_refused_with_its_line() {
    for (name, expected) in [
        (
            "broken-base64.pem",
            "`broken-base64.pem` line 3: the base64 is broken: unexpected byte `*`",
        ),
        (
            "inner-blank.pem",
            "`inner-blank.pem` line 3: the base64 is broken: unexpected byte 0x20",
        ),
        (
            "unpadded.pem",
            "`unpadded.pem` line 19: the base64 is broken: its last group of four characters is not complete",
        ),
        (
            "missing-line.pem",
            "`missing-line.pem` line 1: the certificate is broken: its outer structure is not that of a certificate",
        ),
        (
            "truncated.der",
            "`truncated.der`: the certificate is broken: it ends in the middle of an element",
        ),
        (
            "trailing.der",
            "`trailing.der`: the certificate is broken: 388 bytes follow its end",
        ),
    ] {
        assert_eq!(problems(&[name]), [expected], "{name}");
    }
}

#[test]
fn damaged_blocks_are_refused_with_their_line() {
    for (name, expected) in [
        (
            "not-ended.pem",
            "`not-ended.pem` line 1: the block `CERTIFICATE` has no `END` line",
        ),
        (
            "nested.pem",
            "`nested.pem` line 1: the block `CERTIFICATE` has no `END` line",
        ),
        (
            "wrong-end.pem",
            "`wrong-end.pem` line 11: `END X509 CRL` does not match the `BEGIN` of line 1",
        ),
        (
            "not-begun.pem",
            "`not-begun.pem` line 10: `END CERTIFICATE` has no `BEGIN` line",
        ),
        (
            "joined.pem",
            "`joined.pem` line 11: a `BEGIN` or `END` line is damaged, or shares its line with other text",
        ),
        (
            "damaged-begin.pem",
            "`damaged-begin.pem` line 1: a `BEGIN` or `END` line is damaged, or shares its line with other text",
        ),
    ] {
        assert_eq!(problems(&[name]), [expected], "{name}");
    }
}

#[test]
fn all_problems_of_a_file_come_in_the_order_of_its_lines() {
    assert_eq!(
        problems(&["two-problems.pem"]),
        [
            "`two-problems.pem` line 2: the base64 is broken: unexpected byte `!`",
            "`two-problems.pem` line 12: it contains a private key",
        ]
    );
}

#[test]
fn every_key_is_recognized() {
    let keys = [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ];
    for label in keys {
        let text = format!(
            "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END {label}-----\n"
        );
        let reasons = reasons(text.as_bytes());
        assert_eq!(reasons, ["it contains a private key"], "{label}");
    }
    // PKCS #8, PKCS #1 and SEC 1, cut off after what tells them.
    for key in [
        &[0x30, 0x05, 0x02, 0x01, 0x00, 0x30, 0x00][..],
        &[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00],
        &[0x30, 0x05, 0x02, 0x01, 0x01, 0x04, 0x00],
    ] {
        assert_eq!(reasons(key), ["it contains a private key"], "{key:?}");
        let mut text = Vec::new();
        pem::write_certificate(&mut text, key);
        assert_eq!(reasons(&text), ["it contains a private key"], "{key:?}");
    }
}

fn reasons(bytes: &[u8]) -> Vec<String> {
    let mut collector = Collector::new(None);
    collector.add_bytes(Path::new("file"), bytes);
    match collector.finish() {
        Ok(_) => Vec::new(),
        Err(CertificateError::Refused(problems)) => {
            problems.into_iter().map(|problem| problem.reason).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_a_message_quotes_is_short_and_printable() {
    let label = format!("A\x1b[31m{}", "B".repeat(100));
    let text = format!("-----BEGIN {label}-----\n");
    let shown = format!("A\\u{{1b}}[31m{}…", "B".repeat(34));
    assert_eq!(
        reasons(text.as_bytes()),
        [format!("the block `{shown}` has no `END` line")]
    );
}

#[test]
fn without_a_time_nothing_is_said_about_times() {
    let sources = [fixture("expired.pem"), fixture("not-yet-valid.pem")];
    let (certificates, warnings) = Certificates::load(&sources, None, Monitor::silent()).unwrap();
    assert_eq!(certificates.set.len(), 2);
    assert_eq!(warnings, []);
}

#[test]
fn the_first_and_the_last_second_are_valid() {
    // The times of `rsa.pem`, by `date -u -d TIME +%s`.
    for (now, count) in [
        (1_577_836_799, 1),
        (1_577_836_800, 0),
        (2_524_607_999, 0),
        (2_524_608_000, 1),
        (u64::MAX, 1),
    ] {
        let (_, warnings) =
            Certificates::load(&[fixture("rsa.pem")], Some(now), Monitor::silent()).unwrap();
        assert_eq!(warnings.len(), count, "{now}");
    }
}

#[test]
fn a_certificate_says_what_it_is() {
    for (name, subject, not_after, is_authority) in [
        ("rsa.pem", "Fixture RSA Root", "2049-12-31T23:59:59Z", true),
        ("ec.pem", "Fixture EC Root é", "2050-01-01T00:00:00Z", true),
        (
            "ed25519.pem",
            "Fixture Ed25519 Unit",
            "2120-01-01T00:00:00Z",
            true,
        ),
        (
            "version1.pem",
            "Fixture Version 1",
            "2120-01-01T00:00:00Z",
            true,
        ),
        (
            "server.pem",
            "Fixture Server",
            "2120-01-01T00:00:00Z",
            false,
        ),
    ] {
        let (certificates, _) = load(&[name]).unwrap();
        let certificate = certificates.set.iter().next().unwrap();
        assert_eq!(certificate.subject, subject);
        assert_eq!(certificate.not_before.to_string(), "2020-01-01T00:00:00Z");
        assert_eq!(certificate.not_after.to_string(), not_after);
        assert_eq!(certificate.is_authority, is_authority, "{name}");
    }
}

#[test]
fn every_form_of_a_certificate_gives_the_same_bytes() {
    let expected = String::from_utf8(bytes("ec.pem")).unwrap();
    for name in [
        "ec.pem",
        "ec.der",
        "blanks.pem",
        "one-line.pem",
        "old-label.pem",
        "crlf.pem",
        "cr.pem",
    ] {
        assert_eq!(pem(&[name]), expected, "{name}");
    }
    let both = pem(&["ec.pem", "ed25519.pem"]);
    for name in ["comments.pem", "text.pem", "bom.pem", "with-crl.pem"] {
        assert_eq!(pem(&[name]), both, "{name}");
    }
}

#[test]
fn the_order_of_the_sources_does_not_matter() {
    let names = ["rsa.pem", "ec.der", "duplicates.pem", "comments.pem"];
    let reversed: Vec<&str> = names.iter().rev().copied().collect();
    assert_eq!(pem(&names), pem(&reversed));
    assert_eq!(load(&names).unwrap().0.set.len(), 3);
}

#[test]
fn a_duplicate_is_warned_of_once() {
    assert_eq!(warnings(&["expired.pem", "expired.pem"]).len(), 1);
}

#[test]
fn the_problems_of_all_sources_are_reported_together() {
    let names = ["two-problems.pem", "ec.pem", "empty.pem", "truncated.der"];
    assert_eq!(problems(&names).len(), 4);
    let shown = load(&["empty.pem"]).unwrap_err().to_string();
    assert_eq!(
        relative(&shown, &fixtures()),
        "1 problem in certificate files\n`empty.pem`: it contains no certificate"
    );
    let shown = load(&["empty.pem"; 25]).unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 22);
    assert!(shown.starts_with("25 problems in certificate files\n"));
    assert!(shown.ends_with("\nand 5 more"));
}

#[test]
fn a_directory_gives_the_files_that_are_named_like_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, from) in [
        ("b.pem", "rsa.pem"),
        ("a.DER", "ec.der"),
        ("c.cer", "ed25519.pem"),
        ("README", "empty.pem"),
        ("crl.r0", "empty.pem"),
        ("123.0", "empty.pem"),
    ] {
        fs_err::write(path(name), bytes(from)).unwrap();
    }
    fs_err::create_dir(path("java.pem")).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path("fifo.pem"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    symlink("b.pem", path("0123abcd.0")).unwrap();
    symlink("missing.pem", path("dangling.pem")).unwrap();
    symlink("circle.pem", path("circle.pem")).unwrap();
    let source = CertificateSource::Path(directory.path().to_owned());
    let (certificates, warnings) =
        Certificates::load(&[source], Some(NOW), Monitor::silent()).unwrap();
    assert_eq!(certificates.set.len(), 3);
    let prefix = directory.path().parent().unwrap();
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    let shown: Vec<String> = warnings
        .iter()
        .map(|warning| relative(warning, prefix))
        .collect();
    assert_eq!(
        shown,
        [
            format!("`{name}/circle.pem`: the symlink is dangling and is ignored"),
            format!("`{name}/dangling.pem`: the symlink is dangling and is ignored"),
            format!("`{name}`: ignored: 4 files not named like a certificate, 1 directory"),
        ]
    );
}

#[test]
fn a_directory_without_certificates_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("README"), "").unwrap();
    let source = CertificateSource::Path(directory.path().to_owned());
    let error = Certificates::load(&[source], None, Monitor::silent()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no file directly in it is named like a certificate"),
        "{error}"
    );
}

#[test]
fn a_huge_file_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(collect::MAX_FILE_BYTES + 1).unwrap();
    let source = CertificateSource::Path(file.path().to_owned());
    let error = Certificates::load(&[source], None, Monitor::silent()).unwrap_err();
    assert!(
        error.to_string().ends_with(": it is larger than 16 MiB"),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = load(&["missing.pem"]).unwrap_err();
    assert!(matches!(error, CertificateError::File(_)));
    assert!(error.to_string().contains("missing.pem"), "{error}");
}

#[test]
fn the_first_bundle_of_the_system_that_exists_is_taken() {
    let candidates = ["missing.pem", "ec.pem", "rsa.pem"].map(|name| fixtures().join(name));
    let system = CertificateSource::System(candidates.to_vec());
    let (certificates, _) = Certificates::load(&[system], None, Monitor::silent()).unwrap();
    assert_eq!(certificates.to_pem(), bytes("ec.pem"));

    let candidates = vec![PathBuf::from("/missing/a"), PathBuf::from("/missing/b")];
    let error = Certificates::load(
        &[CertificateSource::System(candidates)],
        None,
        Monitor::silent(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "this system has no bundle of CA certificates (tried `/missing/a`, `/missing/b`)"
    );
}

#[test]
fn no_source_gives_an_empty_bundle() {
    let (certificates, warnings) = Certificates::load(&[], Some(NOW), Monitor::silent()).unwrap();
    assert!(certificates.set.is_empty());
    assert_eq!(certificates.to_pem(), b"");
    assert_eq!(warnings, []);
}

#[test]
fn all_embedded_certificates_are_in_the_bundle() {
    let certificates = embedded();
    assert_eq!(certificates.set.len(), TLS_SERVER_ROOT_CERTS.len());
    assert!(certificates.set.iter().all(|one| one.is_authority));
}

/// A change of this digest changes images that users build, and so belongs
/// into the section Digests of the changelog.
#[test]
fn the_embedded_bundle_is_the_same_everywhere() {
    assert_eq!(
        edition(),
        "118 root certificates of Mozilla (webpki-root-certs 1.0.11)"
    );
    let digest = Digest::of(&embedded().to_pem());
    assert_eq!(
        digest.to_string(),
        "sha256:41f7ed9d704be3dd8d17efd637f8488e77b46b4d997de40518fb222f62be3b66"
    );
}

#[test]
fn the_edition_is_the_version_that_is_linked() {
    let lock =
        fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"));
    let (name, version) = EMBEDDED_EDITION.split_once(' ').unwrap();
    let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    assert!(lock.unwrap().contains(&entry), "{entry}");
}

#[test]
fn rustls_reads_every_certificate_of_the_bundle() {
    let bundle = embedded();
    let text = bundle.to_pem();
    let read: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&text)
        .map(Result::unwrap)
        .collect();
    assert!(
        read.iter()
            .map(|der| der.as_ref())
            .eq(bundle.set.iter().map(|one| one.der.as_slice()))
    );
}

#[test]
fn the_bundle_is_nothing_but_clean_blocks() {
    let text = String::from_utf8(embedded().to_pem()).unwrap();
    assert!(text.ends_with("-----END CERTIFICATE-----\n"));
    for block in text.split_inclusive("-----END CERTIFICATE-----\n") {
        let lines: Vec<&str> = block.split('\n').collect();
        let [begin, body @ .., last, end, ""] = &lines[..] else {
            panic!("{block}");
        };
        assert_eq!(*begin, "-----BEGIN CERTIFICATE-----");
        assert_eq!(*end, "-----END CERTIFICATE-----");
        assert!(body.iter().all(|line| line.len() == 64));
        assert!((4..=64).contains(&last.len()) && last.len().is_multiple_of(4));
    }
}

#[test]
fn a_bundle_read_again_is_the_same() {
    let bundle = embedded();
    let mut collector = Collector::new(None);
    collector.add_bytes(Path::new("bundle"), &bundle.to_pem());
    let (again, warnings) = collector.finish().unwrap();
    assert_eq!(again, bundle);
    assert_eq!(warnings, []);
}

#[test]
fn the_aliases_are_paths_that_lead_to_the_bundle() {
    let bundle = ImagePath::parse(BUNDLE_PATH).unwrap();
    for (path, target) in ALIASES {
        let alias = ImagePath::parse(path).unwrap();
        assert_ne!(alias, bundle);
        let target = match target.strip_prefix('/') {
            Some(_) => ImagePath::parse(target),
            None => alias.parent().unwrap().join(target),
        };
        assert_eq!(target.unwrap(), bundle, "{path}");
        assert_eq!(ALIASES.iter().filter(|(other, _)| other == path).count(), 1);
    }
}

#[test]
fn a_cut_certificate_is_refused_at_every_length() {
    let der = bytes("ec.der");
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
    }
    assert!(Certificate::from_der(&der).is_ok());
}

#[test]
fn a_certificate_with_any_byte_changed_is_refused_or_kept_as_it_is() {
    let mut der = bytes("ec.der");
    for position in 0..der.len() {
        let sound = der[position];
        for byte in 0..=u8::MAX {
            der[position] = byte;
            if let Ok(certificate) = Certificate::from_der(&der) {
                assert_eq!(certificate.der, der);
            }
        }
        der[position] = sound;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_file_is_refused_or_still_sound(
        name in prop::sample::select(vec!["comments.pem", "with-crl.pem", "crlf.pem", "text.pem", "ec.der", "nested.pem"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6),
    ) {
        let mut bytes = bytes(name);
        for (position, kind, value) in edits {
            if bytes.is_empty() {
                break;
            }
            let position = position.index(bytes.len());
            match kind {
                0 => bytes[position] = value,
                1 => bytes[position] = b"\n\r -=A"[usize::from(value) % 6],
                2 => drop(bytes.remove(position)),
                _ => bytes.truncate(position + 1),
            }
        }
        let mut collector = Collector::new(Some(NOW));
        collector.add_bytes(Path::new("mutated"), &bytes);
        match collector.finish() {
            Ok((certificates, _)) => {
                prop_assert!(!certificates.set.is_empty());
                let mut again = Collector::new(Some(NOW));
                again.add_bytes(Path::new("again"), &certificates.to_pem());
                let (read, _) = again.finish().unwrap();
                prop_assert_eq!(read.to_pem(), certificates.to_pem());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!reasons(&bytes).is_empty());
        prop_assert!(!reasons(&[&[0x30, 0x82][..], &bytes].concat()).is_empty());
        prop_assert!(Certificate::from_der(&bytes).is_err());
    }
}

#[test]
fn after_many_problems_a_file_is_not_read_further() {
    let mut collector = Collector::new(None);
    collector.add_bytes(Path::new("ca.pem"), &b"-----END\n".repeat(10_000));
    let Err(CertificateError::Refused(problems)) = collector.finish() else {
        panic!("it is refused");
    };
    assert_eq!(problems.len(), 101);
    let last = problems.last().unwrap().to_string();
    assert_eq!(
        last,
        "`ca.pem` line 101: there are too many problems: the rest is not read"
    );
}

/// `keytool -list -storepass changeit` of Java 17 and 25 lists the certificate.
#[test]
fn the_trust_store_of_java_has_a_sum() {
    let (certificates, _) = load(&["rsa.pem"]).unwrap();
    let store = certificates.to_java_store();
    assert_eq!(
        store[..12],
        [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1]
    );
    let expected = "sha256:20bece95fabf963a0c3358d0678661f9c2b162e652973c1912113cc3e0ebf6a4";
    assert_eq!(Digest::of(&store).to_string(), expected);
}
