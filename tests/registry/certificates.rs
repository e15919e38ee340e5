//! Certificates of registries that are good, and that are not: each is told in
//! words.

use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};

use super::TOOLS;
use super::server::{Registry, certificates, openssl};
use crate::support::{has_programs, image};

/// What `openssl ca` wants to know, which alone gives dates that are past.
const AUTHORITY: &str = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n\
                         default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n";

/// Makes an authority, and what it and others have signed.
fn prepare(sandbox: &Sandbox) {
    let directory = certificates(sandbox);
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    write("ca.conf", AUTHORITY);
    write("index.txt", "");
    write(
        "other",
        "subjectAltName=DNS:registry.example,IP:192.0.2.7\n",
    );
    for words in [
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=own -days 2 -keyout own.key -out own.pem -addext subjectAltName=IP:127.0.0.1",
        "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile other -out other.pem",
        "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out one.pem",
        "ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -extfile ext -in req.pem -out past.pem \
         -startdate 20240101000000Z -enddate 20240229120000Z",
        "ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -extfile ext -in req.pem -out future.pem \
         -startdate 20990101000000Z -enddate 20990201000000Z",
        "ca -batch -notext -config ca.conf -selfsign -keyfile key.pem -extfile ext -in req.pem -out ownpast.pem \
         -startdate 20240101000000Z -enddate 20240229120000Z",
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=own -days 2 -keyout name.key -out name.pem -addext subjectAltName=DNS:registry.example",
    ] {
        let words: Vec<&str> = words.split_whitespace().collect();
        openssl(&directory, &words.join(" "));
    }
}

/// Copies what is not there, from a registry that shows `certificate`.
fn copy(sandbox: &Sandbox, certificate: &str, key: &str, trusted: Option<&str>) -> Outcome {
    let registry = Registry::with_certificate(sandbox, certificate, key);
    let source = format!("docker://{}/me/app:1", registry.name());
    let mut words = vec!["copy".to_owned(), source, "oci:copied".to_owned()];
    if let Some(name) = trusted {
        words.push("--ca-file".to_owned());
        words.push(sandbox.path("tls").join(name).display().to_string());
    }
    sandbox.run(words).exited(1)
}

#[test]
fn a_certificate_is_trusted_by_its_authority_or_by_itself() {
    if !has_programs(&[TOOLS[0], "openssl"]) {
        return;
    }
    let sandbox = image::sandbox();
    prepare(&sandbox);
    for (certificate, key, trusted) in [
        ("cert.pem", "key.pem", "ca.pem"),
        // What `openssl req -x509` makes says that it is an authority.
        ("own.pem", "own.key", "own.pem"),
        ("cert.pem", "key.pem", "cert.pem"),
    ] {
        let outcome = copy(&sandbox, certificate, key, Some(trusted));
        let text = outcome.stderr_text();
        assert!(
            text.contains("the registry answered 404 Not Found"),
            "{certificate}: {text}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_certificate_that_does_not_do_is_told_in_words() {
    if !has_programs(&[TOOLS[0], "openssl"]) {
        return;
    }
    let sandbox = image::sandbox();
    prepare(&sandbox);
    let add = "hint: for a registry with its own authority or a self-signed certificate, use `--ca-file FILE`";
    let other = "hint: the file of `--ca-file` must contain the certificate of the authority that signed the registry's, or the registry's own";
    let renew = "hint: the registry needs a valid certificate for this host";
    let past = "the certificate expired at 2024-02-29T12:00:00Z (it is now 20";
    for (certificate, key, trusted, reason, hint) in [
        (
            "own.pem",
            "own.key",
            None,
            "the certificate is self-signed or an authority's own, and not trusted",
            add,
        ),
        (
            "cert.pem",
            "key.pem",
            Some("own.pem"),
            "the certificate is signed by an unknown authority",
            other,
        ),
        (
            "own.pem",
            "own.key",
            Some("ca.pem"),
            "the certificate is self-signed or an authority's own, and not trusted",
            other,
        ),
        ("past.pem", "key.pem", Some("ca.pem"), past, renew),
        ("ownpast.pem", "key.pem", Some("ownpast.pem"), past, renew),
        (
            "future.pem",
            "key.pem",
            Some("ca.pem"),
            "the certificate is not valid before 2099-01-01T00:00:00Z (it is now 20",
            renew,
        ),
        (
            "other.pem",
            "key.pem",
            Some("ca.pem"),
            "the certificate is not for `127.0.0.1`, but for `registry.example`, `192.0.2.7`",
            renew,
        ),
        // To be given does not make it one for another host.
        (
            "name.pem",
            "name.key",
            Some("name.pem"),
            "the certificate is not for `127.0.0.1`, but for `registry.example`",
            renew,
        ),
        (
            "one.pem",
            "key.pem",
            Some("ca.pem"),
            "the certificate is X.509 version 1, without host names",
            renew,
        ),
    ] {
        let outcome = copy(&sandbox, certificate, key, trusted);
        let text = outcome.stderr_text();
        let error = text.lines().find(|line| line.starts_with("error: "));
        assert!(
            error.is_some_and(|line| line.contains(reason)) && text.contains(hint),
            "{certificate}: {text}"
        );
        for word in ["Other(", "UNIX", "trying again", "Cert"] {
            assert!(!text.contains(word), "{certificate}: {text}");
        }
    }
}
