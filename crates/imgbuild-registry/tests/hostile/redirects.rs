//! Redirects: followed, counted, and never with a secret.

use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use crate::support::{Bench, PASSWORD, USER, image, text_of};

fn basic() -> Behavior {
    Behavior {
        auth: Auth::Basic(USER.to_owned(), PASSWORD.to_owned()),
        ..Behavior::default()
    }
}

#[test]
fn a_secret_is_not_sent_to_another_host() {
    let image = image(3, &[3000]);
    let bench = Bench::with_password(basic());
    bench.push(&image).unwrap();
    // Another port is another host.
    let elsewhere = FakeRegistry::start(Behavior::default()).unwrap();
    let copy = bench.registry.contents();
    elsewhere.change(|contents| *contents = copy);
    let mut behavior = basic();
    behavior.redirect_blobs = Some(format!(
        "http://{}/v2/me/app/blobs/DIGEST",
        elsewhere.name()
    ));
    bench.registry.behave(behavior);
    let repository = bench.repository().unwrap();
    for blob in image.blobs() {
        let mut bytes = Vec::new();
        repository
            .read_blob(&blob.digest, blob.size, &mut bytes)
            .unwrap();
    }
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), image.blobs().len());
    for request in requests {
        assert_eq!(request.header("authorization"), None);
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}

#[test]
fn an_upload_elsewhere_gets_no_secret_either() {
    let bench = Bench::with_password(basic());
    let elsewhere = FakeRegistry::start(Behavior::default()).unwrap();
    let away = format!("http://{}/v2/me/app/blobs/uploads/x", elsewhere.name());
    bench.registry.fail(
        99,
        "POST",
        "/uploads/",
        Fault::Header("location", Some(away)),
    );
    let error = bench.push(&image(3, &[3000])).unwrap_err();
    assert!(
        text_of(&error).contains("404 Not Found"),
        "{}",
        text_of(&error)
    );
    let requests = elsewhere.requests();
    assert!(!requests.is_empty());
    assert!(
        requests
            .iter()
            .all(|one| one.header("authorization").is_none())
    );
    assert_eq!(bench.tagged(), None);
}

#[test]
fn a_loop_of_redirects_ends() {
    let bench = Bench::new(Behavior::default());
    let round = Answer::new(302).with("location", "/v2/me/app/manifests/1");
    bench
        .registry
        .fail(99, "HEAD", "/manifests/", Fault::Answer(round));
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    assert!(text.contains("more than 8 redirects"), "{text}");
    assert!(bench.registry.requests().len() < 12);
}

#[test]
fn a_redirect_to_nowhere_is_told() {
    for location in [None, Some("gopher://x/"), Some("http://")] {
        let bench = Bench::new(Behavior::default());
        let mut answer = Answer::new(307);
        if let Some(location) = location {
            answer = answer.with("location", location);
        }
        bench
            .registry
            .fail(99, "HEAD", "/manifests/", Fault::Answer(answer));
        let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
        assert!(
            text.contains("the URL of the redirect is missing or invalid"),
            "{text}"
        );
    }
}

#[test]
fn plain_http_on_another_machine_is_not_followed() {
    let bench = Bench::new(Behavior::default());
    bench.push(&image(3, &[3000])).unwrap();
    let answer = Answer::new(307).with("location", "http://203.0.113.1/x");
    bench
        .registry
        .fail(99, "GET", "/manifests/", Fault::Answer(answer));
    let text = text_of(&bench.repository().unwrap().manifest("1").unwrap_err());
    assert!(
        text.contains("the registry leads to `203.0.113.1` without https"),
        "{text}"
    );
}

#[test]
fn an_upload_that_is_redirected_is_sent_there() {
    let bench = Bench::new(Behavior::default());
    let image = image(3, &[3000]);
    bench.registry.when({
        let mut is_first = true;
        move |request| {
            let is_put = request.method == "PUT" && request.target.contains("/uploads/");
            let fault = (is_put && is_first)
                .then(|| Fault::Answer(Answer::new(307).with("location", request.target.clone())));
            is_first &= !is_put;
            fault
        }
    });
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}
