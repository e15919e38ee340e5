//! Logging in: passwords, tokens, identity tokens, and registries that never
//! have enough.

use std::sync::atomic::Ordering;

use imgbuild_oci::digest::Digest;
use imgbuild_registry::repository::Repository;
use imgbuild_registry::secret::{Credential, CredentialOrigin, Identity, Secret};
use imgbuild_testing::FakeRegistry;
use imgbuild_testing::registry::{Answer, Auth, Behavior, Fault};

use crate::support::{Bench, IDENTITY, PASSWORD, USER, image, text_of};

fn bearer(uses: usize) -> Behavior {
    Behavior {
        auth: Auth::Bearer {
            users: (USER.to_owned(), PASSWORD.to_owned(), IDENTITY.to_owned()),
            uses,
        },
        ..Behavior::default()
    }
}

fn basic() -> Behavior {
    Behavior {
        auth: Auth::Basic(USER.to_owned(), PASSWORD.to_owned()),
        ..Behavior::default()
    }
}

#[test]
fn a_password_or_a_token_opens_the_registry() {
    for behavior in [basic(), bearer(usize::MAX)] {
        let bench = Bench::with_password(behavior);
        let image = image(3, &[3000, 20]);
        bench.push(&image).unwrap();
        bench.assert_has(&image);
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let mut bench = Bench::new(bearer(usize::MAX));
    bench.options.credential = Some(Credential::Identity(Secret::new(IDENTITY)));
    let image = image(3, &[3000, 20]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
    let requests = bench.registry.requests();
    let token = requests.iter().find(|one| one.path() == "/token").unwrap();
    assert_eq!(token.method, "POST");
    assert!(!token.target.contains("identity"));
}

#[test]
fn one_token_serves_all_requests_of_a_push() {
    let bench = Bench::with_password(bearer(usize::MAX));
    bench
        .push_as(&image(3, &[3000, 20, 40]), &["1", "2"])
        .unwrap();
    let requests = bench.registry.requests();
    let tokens: Vec<_> = requests
        .iter()
        .filter(|one| one.path() == "/token")
        .collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].parameters("scope"),
        ["repository:me/app:pull,push"]
    );
    assert_eq!(tokens[0].parameters("service"), ["fake"]);
    assert_eq!(tokens[0].parameters("account"), [USER]);
}

#[test]
fn a_token_that_ends_is_renewed() {
    // Each is taken four times, which is fewer than a push has requests.
    let bench = Bench::with_password(bearer(4)).in_order();
    let image = image(3, &[3000, 20, 40]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
    // By the clock: before the registry refuses it.
    let bench = Bench::with_password(bearer(usize::MAX));
    let client = bench.client().unwrap();
    let repository = Repository::to_pull(client, "me/app");
    assert_eq!(repository.manifest_digest("1").unwrap(), None);
    use imgbuild_registry::monitor::ClientMonitor;
    bench.monitor.wait(std::time::Duration::from_secs(299));
    assert_eq!(repository.manifest_digest("1").unwrap(), None);
    let requests = bench.registry.requests();
    assert_eq!(
        requests.iter().filter(|one| one.path() == "/token").count(),
        2
    );
}

#[test]
fn wrong_credentials_are_told_without_being_shown() {
    for behavior in [basic(), bearer(usize::MAX)] {
        let mut bench = Bench::new(behavior);
        bench.options.credential = Some(Credential::Basic {
            user: USER.to_owned(),
            password: Secret::new("wrong-secret-word"),
        });
        let error = bench.push(&image(3, &[3000])).unwrap_err();
        let text = text_of(&error);
        assert!(text.contains("401 Unauthorized"), "{text}");
        let everything = format!("{text} {error:?} {:?}", bench.lines());
        assert!(!everything.contains("wrong-secret-word"), "{everything}");
        assert!(bench.monitor.waits.lock().unwrap().is_empty());
    }
}

#[test]
fn a_storm_of_401_ends() {
    // A token is given, and never taken.
    let bench = Bench::with_password(bearer(0));
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    assert!(text.contains("401 Unauthorized"), "{text}");
    let count = bench.registry.requests().len();
    assert!(count < 10, "{count} requests");
}

#[test]
fn what_is_no_registry_is_told() {
    let answer = Answer::new(418).saying("short and stout");
    let bench = Bench::new(Behavior::default());
    bench
        .registry
        .fail(99, "GET", "/v2/", Fault::Answer(answer));
    let text = text_of(&bench.client().unwrap_err());
    let expected = "the registry answered 418 I'm a teapot: short and stout";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_page_for_people_is_no_registry() {
    let page = Answer::new(200)
        .with("content-type", "text/html; charset=utf-8")
        .saying("\n<!DOCTYPE html><title>Sign in</title>");
    let what = "the server returned a web page (a login portal?), not a registry response";
    let bench = Bench::new(Behavior::default());
    bench
        .registry
        .fail(99, "GET", "/", Fault::Answer(page.clone()));
    let name = bench.registry.name();
    let read = |bench: &Bench| text_of(&bench.repository().unwrap().manifest("1").unwrap_err());
    let failed = format!("cannot read the manifest `1` at `{name}/me/app`: {what}");
    assert_eq!(read(&bench), failed);
    assert!(bench.lines().is_empty());
    let answer = Fault::Answer(page.clone());
    bench.registry.fail(99, "POST", "/", answer);
    let upload = Repository::to_push(bench.client().unwrap(), "me/app").check_upload();
    let text = text_of(&upload.unwrap_err());
    assert_eq!(text, format!("cannot connect to `{name}`: {what}"));
    // Somewhere else.
    let elsewhere = Bench::new(Behavior::default());
    elsewhere.registry.fail(99, "GET", "/", Fault::Answer(page));
    let there = elsewhere.registry.name();
    let away = Answer::new(302).with("location", format!("http://{there}/sso"));
    let bench = Bench::new(Behavior::default());
    bench.registry.fail(99, "GET", "/v2/", Fault::Answer(away));
    let text = read(&bench);
    assert!(
        text.ends_with(&format!(": redirected to `{there}`: {what}")),
        "{text}"
    );
    // Where nobody is.
    let away = Answer::new(302).with("location", "http://127.0.0.1:1/sso");
    let bench = Bench::new(Behavior::default());
    bench.registry.fail(99, "GET", "/v2/", Fault::Answer(away));
    let text = text_of(&bench.client().unwrap_err());
    assert!(
        text.ends_with(": redirected to `127.0.0.1:1`: connection refused"),
        "{text}"
    );
    // A registry that calls its answer a page.
    let odd = Answer::new(200)
        .with("content-type", "text/html")
        .saying("{}");
    let bench = Bench::new(Behavior::default());
    bench.registry.fail(99, "GET", "/v2/", Fault::Answer(odd));
    bench.client().unwrap();
}

#[test]
fn bad_token_servers_are_told() {
    for (answer, expected) in [
        (
            Answer::new(200).saying("{}"),
            ": the token server returned no token",
        ),
        (
            Answer::new(200).saying("not json"),
            ": the token server returned no token",
        ),
        (
            Answer::new(200).saying(r#"{"token":"a\nb: c"}"#),
            ": the token server returned no token",
        ),
        (
            Answer::new(403).saying(r#"{"message":"no such scope"}"#),
            ": the token server answered 403 Forbidden to `somebody`: no such scope",
        ),
    ] {
        let bench = Bench::with_password(bearer(usize::MAX));
        bench
            .registry
            .fail(99, "GET", "/token", Fault::Answer(answer));
        let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
        let name = bench.registry.name();
        let task =
            format!("cannot get a token for `{name}/me/app` from its token server `{name}`: ");
        assert!(text.starts_with(&task) && text.contains(expected), "{text}");
    }
    let bench = Bench::with_password(bearer(usize::MAX));
    bench
        .registry
        .fail(2, "GET", "/token", Fault::Answer(Answer::new(503)));
    bench.push(&image(3, &[3000])).unwrap();
}

#[test]
fn a_refusal_says_who_was_refused_and_whether_the_password_was_at_fault() {
    // A wrong password, of a registry and of a token server.
    for behavior in [basic(), bearer(usize::MAX)] {
        let mut bench = Bench::new(behavior);
        bench.options.credential = Some(Credential::Basic {
            user: USER.to_owned(),
            password: Secret::new("wrong-secret-word"),
        });
        bench.options.origin = CredentialOrigin::Named("`the file`".to_owned());
        let error = bench.push(&image(3, &[3000])).unwrap_err();
        let text = text_of(&error);
        assert!(text.contains("401 Unauthorized to `somebody`"), "{text}");
        let identity = error.response().unwrap().identity.clone();
        let expected = Identity {
            user: Some(USER.to_owned()),
            has_credential: true,
            is_authenticated: false,
            origin: CredentialOrigin::Named("`the file`".to_owned()),
        };
        assert_eq!(identity, expected);
    }
    // A token that does not do.
    let bench = Bench::with_password(bearer(0));
    let error = bench.push(&image(3, &[3000])).unwrap_err();
    assert!(error.response().unwrap().identity.is_authenticated);
    // Nobody.
    let bench = Bench::new(basic());
    let error = bench.push(&image(3, &[3000])).unwrap_err();
    assert_eq!(error.response().unwrap().identity, Identity::default());
}

/// A registry whose token server is at `realm`.
fn bench_with_realm(realm: &str) -> Bench {
    let bench = Bench::with_password(bearer(usize::MAX));
    let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
    bench.registry.when(move |_| {
        let challenge = Some(challenge.clone());
        Some(Fault::Header("www-authenticate", challenge))
    });
    bench
}

#[test]
fn a_token_server_that_is_down_is_tried_as_often_as_anything_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    drop(listener);
    let operations: [fn(&Repository) -> bool; 4] = [
        |repository| repository.manifest("1").is_err(),
        |repository| repository.manifest_digest("1").is_err(),
        |repository| {
            let digest = Digest::of(b"x");
            let read = repository.read_blob(&digest, 1, &mut std::io::sink());
            read.is_err() && repository.document_blob(&digest, 1).is_err()
        },
        |repository| repository.has_blob(&Digest::of(b"x"), 1).is_err(),
    ];
    for (index, fails) in operations.into_iter().enumerate() {
        let bench = bench_with_realm(&format!("http://{server}/token"));
        assert!(fails(&bench.repository().unwrap()));
        let times = if index == 2 { 2 } else { 1 };
        let tries = usize::try_from(bench.options.retry.attempts).unwrap() * times;
        let waits = bench.monitor.waits.lock().unwrap().len();
        assert_eq!(waits, tries - times, "operation {index}");
    }
    let bench = bench_with_realm(&format!("http://{server}/token"));
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    let name = bench.registry.name();
    assert_eq!(
        text,
        format!(
            "cannot get a token for `{name}/me/app` from its token server `{server}`: connection refused"
        )
    );
    // One that is there and cannot is not asked more often.
    let bench = Bench::with_password(bearer(usize::MAX));
    bench
        .registry
        .fail(99, "GET", "/token", Fault::Answer(Answer::new(503)));
    assert!(bench.push(&image(3, &[3000])).is_err());
    let requests = bench.registry.requests();
    let tokens = requests.iter().filter(|one| one.path() == "/token");
    assert_eq!(tokens.count(), 4);
}

#[test]
fn a_token_server_without_an_address_is_told() {
    let bench = bench_with_realm("gopher://x");
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    assert!(
        text.ends_with(
            "from its token server `gopher://x`: the URL of the token server is invalid"
        ),
        "{text}"
    );
}

#[test]
fn no_password_goes_to_another_machine_by_http() {
    let bench = bench_with_realm("http://192.0.2.1:9/token");
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    assert!(
        text.ends_with("the registry leads to `192.0.2.1` without https, which is not secure"),
        "{text}"
    );
}

#[test]
fn a_secret_that_is_repeated_is_not_shown() {
    // Whatever was asked with is said again, in parts and as a whole.
    let repeat = |request: &imgbuild_testing::registry::Request| {
        let asked = request.header("authorization")?.to_owned();
        let said = format!(r#"{{"errors":[{{"code":"DENIED","message":"{PASSWORD} {asked}"}}]}}"#);
        Some(Fault::Answer(Answer::new(403).saying(said)))
    };
    for behavior in [basic(), bearer(usize::MAX)] {
        let is_bearer = matches!(behavior.auth, Auth::Bearer { .. });
        for at_token_server in [false, true] {
            let bench = Bench::with_password(behavior.clone());
            bench.registry.when(move |request| {
                let is_here = (request.path() == "/token") == at_token_server;
                repeat(request).filter(|_| is_here)
            });
            let Err(error) = bench.push(&image(3, &[3000])) else {
                assert!(at_token_server && !is_bearer);
                continue;
            };
            let text = text_of(&error);
            assert!(
                text.contains("403 Forbidden to `somebody`: DENIED: [secret]"),
                "{text}"
            );
            let pair = "c29tZWJvZHk6aHVudGVyMjp3aXRoOmNvbG9ucw";
            for secret in ["hunter2", pair, "token-of-the-fake"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

#[test]
fn a_login_of_an_unknown_kind_is_told() {
    let bench = Bench::new(basic());
    bench.registry.when(|_| {
        let asked = Some("Negotiate".to_owned());
        Some(Fault::Header("www-authenticate", asked))
    });
    let text = text_of(&bench.push(&image(3, &[3000])).unwrap_err());
    let expected = "the registry requires an unsupported authentication scheme: Negotiate";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_redirect_of_a_token_server_is_followed_without_the_password() {
    for is_away in [false, true] {
        let bench = Bench::with_password(bearer(usize::MAX));
        let elsewhere = FakeRegistry::start(Behavior::default()).unwrap();
        let token = Answer::new(200).saying(r#"{"token":"another"}"#);
        let server = if is_away { &elsewhere } else { &bench.registry };
        let location = format!("http://{}/moved", server.name());
        server.fail(99, "GET", "/moved", Fault::Answer(token));
        let moved = Answer::new(302).with("location", location);
        bench
            .registry
            .fail(99, "GET", "/token", Fault::Answer(moved));
        let error = bench.push(&image(3, &[3000])).unwrap_err();
        // The token was sent, and is unknown.
        assert!(error.response().unwrap().identity.is_authenticated);
        let asked = server.requests();
        let asked = asked.iter().find(|one| one.path() == "/moved").unwrap();
        assert_eq!(asked.header("authorization").is_none(), is_away);
    }
}

#[test]
fn an_empty_token_hides_no_other() {
    let bench = Bench::with_password(bearer(usize::MAX));
    let both = r#"{"token":"","access_token":"some-other-token"}"#;
    let answer = Answer::new(200).saying(both);
    bench
        .registry
        .fail(99, "GET", "/token", Fault::Answer(answer));
    // It is sent, and not known.
    let error = bench.push(&image(3, &[3000])).unwrap_err();
    assert_eq!(error.response().unwrap().status, 401);
}

#[test]
fn a_registry_that_says_only_once_what_it_asks_for_is_remembered() {
    let bench = Bench::with_password(bearer(2)).in_order();
    bench.registry.when(|request| {
        let is_later = request.path() != "/v2/";
        is_later.then_some(Fault::Header("www-authenticate", None))
    });
    let image = image(3, &[3000, 20]);
    bench.push(&image).unwrap();
    bench.assert_has(&image);
}

#[test]
fn whom_a_registry_leads_to_does_not_say_who_gets_the_password() {
    let bench = Bench::with_password(Behavior::default());
    let other = FakeRegistry::start(bearer(usize::MAX)).unwrap();
    let address = format!("http://{}/v2/", other.name());
    bench.registry.when(move |request| {
        let answer = Answer::new(307).with("location", address.as_str());
        (request.path() == "/v2/").then_some(Fault::Answer(answer))
    });
    bench.push(&image(3, &[3000])).unwrap();
    let requests = other.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.path(), "/v2/");
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn nothing_that_is_said_or_sent_elsewhere_holds_a_secret() {
    for behavior in [basic(), bearer(3)] {
        let bench = Bench::with_password(behavior).in_order();
        bench.registry.fail(2, "PUT", "/uploads/", Fault::Cut);
        bench
            .registry
            .fail(1, "POST", "/uploads/", Fault::Answer(Answer::new(500)));
        let image = image(3, &[30_000, 20]);
        bench.push(&image).unwrap();
        assert!(bench.monitor.sent.load(Ordering::Relaxed) > 0);
        let said = format!("{:?} {:?}", bench.lines(), bench.client().unwrap());
        assert!(
            !said.contains("hunter2") && !said.contains("token-of-the-fake"),
            "{said}"
        );
        for request in bench.registry.requests() {
            let beside = format!(
                "{} {:?}",
                request.target,
                String::from_utf8_lossy(&request.body)
            );
            assert!(!beside.contains("hunter2"), "{beside}");
            assert!(!beside.contains("token-of-the-fake"), "{beside}");
        }
    }
}
