//! `--cacert` on a base image.

use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_testing::{Sandbox, UnpackedKind, read_file};
use serde_json::json;

use super::{build, built, refused, with_base};
use crate::support::base::{BaseImage, Layer};

const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

fn pem(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("fixtures/certificates").join(name)
}

fn count(sandbox: &Sandbox, bundle: &str) -> usize {
    let bytes = read_file(&sandbox.path("image.tar"), Path::new(bundle)).unwrap();
    String::from_utf8(bytes).unwrap().matches("BEGIN").count()
}

/// A base whose system has two certificates.
fn with_two_certificates() -> Layer {
    let both = ["rsa.pem", "ec.pem"].map(|name| fs::read(pem(name)).unwrap());
    Layer::default()
        .directory("etc", 0o755)
        .directory("etc/ssl", 0o755)
        .directory("etc/ssl/certs", 0o755)
        .file(BUNDLE, 0o644, both.concat())
}

#[test]
fn places_that_are_one_on_a_base_are_written_once() {
    let links = [
        // Red Hat's systems, Slackware, and one with all in one directory.
        vec![("etc/ssl/certs", "../pki/tls/certs")],
        vec![("usr/lib/ssl", "/etc/ssl")],
        vec![("etc/pki/tls", "/etc/ssl"), ("usr/local/ssl", "/etc/ssl")],
        vec![
            ("etc/pki", "ssl"),
            ("etc/ssl/tls", "certs"),
            ("etc/ssl/ca-trust", "."),
        ],
    ];
    for links in links {
        let mut layer = Layer::default();
        for directory in [
            "etc",
            "etc/ssl",
            "etc/ssl/certs",
            "usr",
            "usr/lib",
            "usr/local",
        ] {
            if links[0].0 != directory {
                layer = layer.directory(directory, 0o755);
            }
        }
        for (path, target) in &links {
            layer = layer.link(path, target);
        }
        let sandbox = with_base(&BaseImage::new(vec![layer]));
        let files = built(&sandbox, &["--base=oci:base", "--cacert"]).files();
        let is_bundle = |(path, kind): (&PathBuf, &UnpackedKind)| {
            let is_named = path
                .extension()
                .is_some_and(|end| end == "crt" || end == "pem");
            is_named && matches!(kind, UnpackedKind::File { .. })
        };
        let bundles = files.iter().map(|(path, file)| (path, &file.kind));
        let bundles = bundles.filter(|file| is_bundle(*file));
        assert_eq!(bundles.count(), 1, "{links:?}");
    }
}

#[test]
fn certificates_of_a_base_stay_unless_they_are_replaced() {
    let sandbox = with_base(&BaseImage::new(vec![with_two_certificates()]));
    let company = format!("--cacert={}", pem("ed25519.pem").display());
    let both = ["--base=oci:base", &company];
    let outcome = build(&sandbox, &both).success();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert!(
        said.contains("added 1 to the 2 of the base image (`/etc/ssl/certs/ca-certificates.crt`), which has the other 0\n"),
        "{said}"
    );
    assert_eq!(count(&sandbox, BUNDLE), 3);

    let outcome = build(&sandbox, &[both[0], both[1], "--cacert-replace"]).success();
    let said = outcome.stderr_text();
    let expected = "`--cacert-replace` leaves out 2 CA certificates of the base image (`/etc/ssl/certs/ca-certificates.crt`)\n";
    assert!(said.contains(expected), "{said}");
    assert_eq!(count(&sandbox, BUNDLE), 1);
}

#[test]
fn the_file_that_a_base_names_is_read_and_leads_to_the_bundle() {
    let own = "etc/company/roots.pem";
    let layer = with_two_certificates()
        .directory("etc/company", 0o755)
        .file(own, 0o644, fs::read(pem("rsa.pem")).unwrap());
    let base = BaseImage::new(vec![layer]).with_config(json!({
        "Env": ["PATH=/bin", format!("SSL_CERT_FILE=/{own}")],
    }));
    let sandbox = with_base(&base);
    let company = format!("--cacert={}", pem("ed25519.pem").display());
    let image = built(&sandbox, &["--base=oci:base", &company]);
    let variables = image.config["config"]["Env"].to_string();
    assert!(
        variables.contains(&format!("SSL_CERT_FILE=/{own}")),
        "{variables}"
    );
    assert_eq!(count(&sandbox, BUNDLE), 3);
    let link = &image.files()[Path::new(own)].kind;
    assert!(matches!(link, UnpackedKind::Symlink { .. }), "{link:?}");
}

#[test]
fn bundles_of_a_base_outside_etc_are_kept_or_named() {
    let rsa = fs::read(pem("rsa.pem")).unwrap();
    let company = format!("--cacert={}", pem("ed25519.pem").display());
    let flags = ["--base=oci:base", company.as_str()];
    let system = |file: &str, text: &[u8], link: (&str, &str)| {
        let directories = ["etc", "etc/ssl", "var", "srv", "srv/c", "opt"];
        let layer = directories
            .iter()
            .fold(Layer::default(), |layer, path| layer.directory(path, 0o755));
        layer.link(link.0, link.1).file(file, 0o644, text)
    };
    let suse = ("etc/ssl/ca-bundle.pem", "../../var/ca-bundle.pem");
    let unnamed = ("etc/ssl/cert.pem", "/opt/roots");
    let moved = ("etc/ssl/certs", "/srv/c");
    for (file, link) in [
        ("var/ca-bundle.pem", suse),
        ("srv/c/ca-certificates.crt", moved),
        ("opt/roots", unnamed),
    ] {
        let sandbox = with_base(&BaseImage::new(vec![system(file, &rsa, link)]));
        drop(build(&sandbox, &flags).success());
        let bundle = if link == moved { file } else { BUNDLE };
        assert_eq!(count(&sandbox, bundle), 2, "{file}");
    }

    let base = BaseImage::new(vec![system("opt/roots", b"# Our roots", unnamed)]);
    let sandbox = with_base(&base);
    let said = refused(&sandbox, &flags);
    assert!(said.contains("base image at `/etc/ssl/cert.pem`"), "{said}");
    drop(build(&sandbox, &[flags[0], flags[1], "--cacert-replace"]).success());
}

#[test]
fn the_certificates_of_all_places_of_a_base_are_merged_and_directories_stay() {
    let read = |name: &str| fs::read(pem(name)).unwrap();
    let layer = Layer::default()
        .directory("etc", 0o755)
        .directory("etc/ssl", 0o755)
        .directory("etc/ssl/cert.pem", 0o755)
        .file("etc/ssl/ca-bundle.pem", 0o644, read("rsa.pem"))
        .directory("opt", 0o755)
        .file("opt/node.pem", 0o644, read("ec.pem"));
    let base = BaseImage::new(vec![layer]).with_config(json!({ "Env": [
        "SSL_CERT_FILE=/opt/gone.pem",
        "NODE_EXTRA_CA_CERTS=/opt/node.pem",
        "SSL_CERT_FILE=/etc/ssl/cert.pem",
    ]}));
    let sandbox = with_base(&base);
    let company = format!("--cacert={}", pem("ed25519.pem").display());
    let image = built(&sandbox, &["--base=oci:base", &company]);
    assert_eq!(count(&sandbox, BUNDLE), 3);
    let files = image.files();
    let directory = files.get(Path::new("etc/ssl/cert.pem"));
    assert!(directory.is_none_or(|file| matches!(file.kind, UnpackedKind::Directory)));
    assert!(!files.contains_key(Path::new("opt/gone.pem")));
    let variables = image.config["config"]["Env"].to_string();
    let expected = format!("SSL_CERT_FILE=/{BUNDLE}");
    assert!(variables.contains(&expected), "{variables}");
}

#[test]
fn a_file_in_place_of_a_directory_of_certificates_has_a_way_around() {
    let layer = Layer::default().file("etc/ssl", 0o644, "x");
    let sandbox = with_base(&BaseImage::new(vec![layer]));
    let said = refused(&sandbox, &["--base=oci:base", "--cacert"]);
    let hint = "hint: `--cacert` needs these places: add a bundle elsewhere with `--add FILE:PATH` and `--env SSL_CERT_FILE=PATH`";
    assert!(said.contains(hint) && !said.contains("--prefix"), "{said}");
    let bundle = format!("--add={}:/ca.pem", pem("rsa.pem").display());
    let image = built(
        &sandbox,
        &["--base=oci:base", &bundle, "--env=SSL_CERT_FILE=/ca.pem"],
    );
    assert!(image.files().contains_key(Path::new("ca.pem")));
}
