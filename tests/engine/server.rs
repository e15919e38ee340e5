//! A web server with TLS, and a request through a published port.

use std::path::Path;

use imgbuild_testing::read_file;

use crate::support::docker::{Engine, http_get};
use crate::support::image::{Built, build};
use crate::support::program;

const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

fn server(arguments: &[&str]) -> Built {
    let release = program::cargo_project("server").join("target/release");
    let serve = [
        "--entrypoint",
        "server",
        "--cmd",
        "serve",
        "--cmd",
        "8080",
        "--expose",
        "8080",
    ];
    build(&release, "server", &[&serve[..], arguments].concat())
}

fn count_certificates(built: &Built) -> usize {
    let bundle = read_file(&built.archive, Path::new(BUNDLE)).expect("the bundle is a file");
    let bundle = String::from_utf8(bundle).expect("a bundle is text");
    bundle.matches("-----BEGIN CERTIFICATE-----").count()
}

#[test]
fn a_server_answers_through_a_published_port() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let built = server(&[]);
    let roots = format!("{}\n", count_certificates(&built));
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&["--publish", "127.0.0.1::8080"]);
    let address = container.published("8080/tcp");
    assert_eq!(http_get(&address, "/"), "server 0.1.0\n");
    assert_eq!(http_get(&address, "/roots"), roots);
    assert_eq!(http_get(&address, "/handshake"), "TLSv1.3\n");
}

#[test]
fn a_server_answers_inside_its_container() {
    for engine in Engine::each()
        .into_iter()
        .filter(|engine| !engine.publishes_here())
    {
        let built = server(&[]);
        let roots = format!("{}\n", count_certificates(&built));
        let image = engine.load(&built.archive, &built.reference);
        let container = image.start(&[]);
        let get = |path| ["/usr/local/bin/server", "get", "8080", path];
        container.exec_until_success(&get("/"));
        let answer = |path| {
            container
                .exec(&get(path))
                .success()
                .stdout_text()
                .to_owned()
        };
        assert_eq!(answer("/"), "server 0.1.0\n");
        assert_eq!(answer("/roots"), roots);
        assert_eq!(answer("/handshake"), "TLSv1.3\n");
    }
}

#[test]
fn openssl_finds_every_root_with_and_without_the_environment_variable() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let built = server(&[]);
    let count = count_certificates(&built);
    assert!(count > 100, "Mozilla has more than {count} roots");
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let outcome = image.run(&["roots"]).success();
        let expected = format!("with SSL_CERT_FILE: {count}\nwithout: {count}\n");
        assert_eq!(outcome.stdout_text(), expected);
    }
}

#[test]
fn the_c_library_resolves_names() {
    let engines = Engine::each();
    if engines.is_empty() {
        return;
    }
    let built = server(&[]);
    for engine in engines {
        let image = engine.load(&built.archive, &built.reference);
        let known = "--add-host=known.example:192.0.2.7";
        let outcome = image
            .run_with(&[known], &["resolve", "known.example"], b"")
            .success();
        assert!(
            outcome.stdout_text().starts_with("192.0.2.7\n"),
            "{}",
            outcome.report()
        );
    }
}

#[test]
fn a_bundle_of_the_host_is_merged_into_mozilla_s() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let mozilla = count_certificates(&server(&[]));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/certificates");
    let own_root = fixtures.join("ec.pem");
    let built = server(&[
        "--cacert",
        own_root.to_str().expect("the fixtures have plain names"),
    ]);
    let image = engine.load(&built.archive, &built.reference);
    let expected = format!("with SSL_CERT_FILE: {0}\nwithout: {0}\n", mozilla + 1);
    assert_eq!(image.run(&["roots"]).success().stdout_text(), expected);
}
