//! A processor without the instructions that the TLS implementation needs: it
//! is said before anything of TLS is tried, and http does not need them.

use imgbuild_testing::registry::{Answer, Behavior, Fault};
use imgbuild_testing::{FakeRegistry, Outcome, Sandbox};

use super::{assert_same_blobs, push};
use crate::runs::with_small_release;
use crate::support::image::result_digest;
use crate::support::{OLD_PROCESSOR, has_programs};

const LACKS: &str =
    "this processor lacks instructions for https (AES, PCLMULQDQ, BMI1, BMI2, ADX and AVX2)";
const HINT: &str = "hint: write the image with `--output oci:DIR`, and push it from another machine with `imgbuild copy`";

/// A sandbox on an old processor; none where there is no emulator.
fn old() -> Option<Sandbox> {
    let is_here = cfg!(target_arch = "x86_64") && has_programs(&OLD_PROCESSOR[..1]);
    is_here.then(|| with_small_release().under(OLD_PROCESSOR))
}

/// One sentence, with a hint, and no crash.
#[track_caller]
fn assert_told(outcome: Outcome) {
    let outcome = outcome.exited(1);
    let text = outcome.stderr_text();
    assert!(text.contains(LACKS), "{text}");
    assert!(text.ends_with(&format!("{HINT}\n")), "{text}");
    let words = ["panic", "SIGILL", "llegal", "trying again"];
    assert!(words.iter().all(|word| !text.contains(word)), "{text}");
}

#[test]
fn https_is_refused_in_one_sentence() {
    let Some(sandbox) = old() else {
        return;
    };
    let copied = sandbox.run(["copy", "docker://registry.example/me/app:1", "oci:x"]);
    let expected = format!("error: cannot connect to `registry.example`: {LACKS}\n{HINT}\n");
    assert_eq!(copied.stderr_text(), expected);
    assert_told(copied);
    assert!(!sandbox.path("x").exists());
    assert_told(push(&sandbox, &["registry.example/me/app:1"], &[]));
}

#[test]
fn http_on_this_machine_works() {
    let Some(sandbox) = old() else {
        return;
    };
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let reference = format!("{}/me/app:1", registry.name());
    let pushed = push(&sandbox, &[&reference], &["--output", "oci:layout"]).success();
    let copy = ["copy", &format!("docker://{reference}"), "oci:back"];
    let copied = sandbox.run(copy).success();
    assert_eq!(result_digest(&copied), result_digest(&pushed));
    assert_same_blobs(&sandbox.path("layout"), &sandbox.path("back"));
}

#[test]
fn http_that_leads_to_https_is_told_too() {
    let Some(mut sandbox) = old() else {
        return;
    };
    let secure = FakeRegistry::start(Behavior::default()).unwrap();
    let registry = FakeRegistry::start(Behavior::default()).unwrap();
    let reference = format!("{}/me/app:1", registry.name());
    drop(push(&sandbox, &[&reference], &[]).success());
    let source = format!("docker://{reference}");
    registry.behave(Behavior {
        redirect_blobs: Some(format!("https://{}/DIGEST", secure.name())),
        ..Behavior::default()
    });
    assert_told(sandbox.run(["copy", &source, "oci:x"]));
    assert!(!sandbox.path("x").exists());

    let realm = format!(
        "Bearer realm=\"https://{}/token\",service=\"x\"",
        secure.name()
    );
    let challenge = Answer::new(401).with("www-authenticate", realm);
    registry.behave(Behavior::default());
    registry.fail(usize::MAX, "GET", "/v2/", Fault::Answer(challenge));
    assert_told(sandbox.run(["copy", &source, "oci:x"]));

    sandbox.set("http_proxy", format!("https://{}", secure.name()));
    let away = "docker://registry.test/me/app:1";
    assert_told(sandbox.run(["copy", "--plain-http", away, "oci:x"]));
    assert!(secure.requests().is_empty());
}
