use proptest::prelude::*;

use super::ReferenceRule as Rule;
use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn reference(text: &str) -> Reference {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn names_are_completed_as_docker_does() {
    for (text, full, familiar) in [
        ("app", "docker.io/library/app:latest", "app:latest"),
        ("app:1.2", "docker.io/library/app:1.2", "app:1.2"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        (
            "docker.io/app",
            "docker.io/library/app:latest",
            "app:latest",
        ),
        (
            "index.docker.io/app",
            "docker.io/library/app:latest",
            "app:latest",
        ),
        ("registry-1.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
        (
            "localhost/app",
            "localhost/app:latest",
            "localhost/app:latest",
        ),
        (
            "localhost:5000/app:1",
            "localhost:5000/app:1",
            "localhost:5000/app:1",
        ),
        (
            "localhost:5000",
            "docker.io/library/localhost:5000",
            "localhost:5000",
        ),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        (
            "[2001:db8::1]/x",
            "[2001:db8::1]/x:latest",
            "[2001:db8::1]/x:latest",
        ),
        (
            "Reg.example.com/x",
            "Reg.example.com/x:latest",
            "Reg.example.com/x:latest",
        ),
        (
            "a__b/c---d.e_f",
            "docker.io/a__b/c---d.e_f:latest",
            "a__b/c---d.e_f:latest",
        ),
        ("app:_X.y-", "docker.io/library/app:_X.y-", "app:_X.y-"),
        // Without `docker.io/`, `localhost` would be the registry.
        (
            "docker.io/localhost/a",
            "docker.io/localhost/a:latest",
            "docker.io/localhost/a:latest",
        ),
        (
            "docker.io/library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        ),
    ] {
        let reference = reference(text);
        assert_eq!(reference.to_string(), full, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
    }
}

#[test]
fn parts_can_be_asked_for() {
    let name = reference(&format!("reg.example.com:5000/team/app:1@{DIGEST}"));
    assert_eq!(name.registry(), "reg.example.com:5000");
    assert_eq!(name.repository(), "team/app");
    assert_eq!(name.tag(), Some("1"));
    assert_eq!(name.digest().unwrap().to_string(), DIGEST);
}

#[test]
fn a_name_with_a_digest_gets_no_tag() {
    let name = reference(&format!("app@{DIGEST}"));
    assert_eq!(name.tag(), None);
    assert_eq!(name.to_string(), format!("docker.io/library/app@{DIGEST}"));
    assert_eq!(name.familiar(), format!("app@{DIGEST}"));
}

#[test]
fn a_bad_name_is_refused_with_its_rule_and_a_name_that_would_do() {
    let long_tag = format!("app:{}", "a".repeat(129));
    let cut_tag = format!("app:{}", "a".repeat(128));
    let long_name = "a".repeat(300);
    let cut_name = "a".repeat(237);
    let image_id = "0123456789abcdef".repeat(4);
    for (text, rule, proposal) in [
        ("", Rule::Empty, None),
        (":1", Rule::Empty, None),
        ("T/X:1", Rule::UpperCase, Some("t/x:1")),
        ("T/x:1", Rule::UpperCase, Some("t/x:1")),
        ("App", Rule::UpperCase, Some("app")),
        (
            "ghcr.io/JordanG/app:1",
            Rule::UpperCase,
            Some("ghcr.io/jordang/app:1"),
        ),
        ("x:1.0+meta", Rule::TagPlus, Some("x:1.0-meta")),
        (&long_tag, Rule::TagTooLong, Some(&*cut_tag)),
        ("x:a b", Rule::Tag, Some("x:a-b")),
        (
            "ghcr.io/me/app:feature/x",
            Rule::Tag,
            Some("ghcr.io/me/app:feature-x"),
        ),
        ("r:5000/app:a/b", Rule::Tag, Some("r:5000/app:a-b")),
        ("x:.a", Rule::Tag, Some("x:a")),
        ("x:-", Rule::Tag, Some("x")),
        ("x:é", Rule::Tag, Some("x")),
        ("a:b:c", Rule::TwoTags, Some("a:b-c")),
        ("app:", Rule::TagEmpty, Some("app")),
        (&long_name, Rule::NameTooLong, Some(&*cut_name)),
        (&image_id, Rule::ImageId, Some("image-0123456789ab")),
        ("_x:1", Rule::Repository, Some("x:1")),
        ("my app", Rule::Repository, Some("my-app")),
        ("a..b", Rule::Repository, Some("a-b")),
        ("a___b", Rule::Repository, Some("a-b")),
        ("a//b", Rule::Repository, Some("a/b")),
        ("/a", Rule::Repository, Some("a")),
        ("a/", Rule::Repository, Some("a")),
        ("ghcr.io/", Rule::Empty, Some("ghcr.io")),
        ("https://ghcr.io/a/b", Rule::Scheme, Some("ghcr.io/a/b")),
        ("host:port/x", Rule::Registry, Some("host:port-x")),
        ("localhost:99999/x", Rule::Port, None),
        ("localhost:0/x", Rule::Port, None),
        ("[::1]:65536/x:1", Rule::Port, None),
        ("-a.b/x", Rule::Registry, Some("a.b/x")),
        ("[::1/x", Rule::Registry, None),
        ("[zz]:1/x", Rule::Registry, None),
        ("a.b:/x", Rule::Registry, None),
        ("app@sha256:12", Rule::Digest, None),
        ("---", Rule::Repository, None),
        ("日本", Rule::Repository, None),
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        assert_eq!(
            (error.rule, error.proposal.as_deref()),
            (rule, proposal),
            "{text}"
        );
    }
}

#[test]
fn the_error_is_one_sentence() {
    let error = "App:1.0+x".parse::<Reference>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`App:1.0+x` is not an image name: repositories are lower case (`app:1.0-x` would do)"
    );
}

#[test]
fn tags_that_layout_tools_cannot_select_are_warned_about() {
    for tag in ["v1-", "v1.", "1__0", "_x", "a..b", "a---b", "a.-b"] {
        assert!(
            reference(&format!("app:{tag}")).tag_warning().is_some(),
            "{tag}"
        );
    }
    for tag in ["1", "v1.2.3", "a-b", "a--b", "a_b", "A.B", "latest"] {
        assert_eq!(
            reference(&format!("app:{tag}")).tag_warning(),
            None,
            "{tag}"
        );
    }
}

#[test]
fn any_name_becomes_a_repository_component() {
    for (text, expected) in [
        ("app", Some("app")),
        ("My App", Some("my-app")),
        ("my_app", Some("my_app")),
        ("my__app", Some("my__app")),
        ("my___app", Some("my-app")),
        ("  spaces   here ", Some("spaces-here")),
        ("a.-b", Some("a-b")),
        ("__init__", Some("init")),
        ("v1.0+build", Some("v1.0-build")),
        ("Ünï", Some("n")),
        ("a/b", Some("a-b")),
        ("", None),
        ("...", None),
        ("日本", None),
    ] {
        assert_eq!(name_from(text).as_deref(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn any_component_made_from_a_name_is_a_repository(text in ".{0,400}") {
        if let Some(name) = name_from(&text) {
            prop_assert!(name.parse::<Reference>().is_ok(), "{}", name);
        }
    }

    #[test]
    fn a_proposal_can_be_parsed(text in "[A-Za-z0-9./:@+_ \\[\\]-]{0,40}") {
        let error = text.parse::<Reference>().err();
        if let Some(proposal) = error.as_ref().and_then(|error| error.proposal.as_deref()) {
            prop_assert!(proposal.parse::<Reference>().is_ok(), "{}", proposal);
        }
    }

    #[test]
    fn both_forms_parse_back_to_the_same_name(
        text in "([a-z]{1,5}\\.io/|localhost/|localhost:[0-9]{1,4}/|library/|docker\\.io/)?\
                 [a-z0-9]{1,4}([._-][a-z0-9]{1,3}){0,2}(/[a-z]{1,3})?(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,5})?"
    ) {
        // Some make a registry that is no host name: `a_b.c/d`.
        let Ok(name) = text.parse::<Reference>() else {
            return Err(TestCaseError::reject("not a name"));
        };
        prop_assert_eq!(&reference(&name.to_string()), &name);
        prop_assert_eq!(&reference(&name.familiar()), &name);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,300}") {
        if let Ok(name) = text.parse::<Reference>() {
            prop_assert_eq!(&reference(&name.familiar()), &name);
        }
    }
}

#[test]
fn a_password_is_refused_and_not_repeated() {
    for (text, shown) in [
        ("me:hunter2@ghcr.io/a/b:1", "USER:PASSWORD@ghcr.io/a/b:1"),
        ("hunter2@ghcr.io/a/b", "USER:PASSWORD@ghcr.io/a/b"),
        (
            "me:hun/ter@2@localhost:5000/b",
            "USER:PASSWORD@localhost:5000/b",
        ),
        (
            "https://me:hunter2@ghcr.io/b",
            "https://USER:PASSWORD@ghcr.io/b",
        ),
        ("me:hunter2@ghcr.io", "USER:PASSWORD@ghcr.io"),
        ("me:hunter2@localhost", "USER:PASSWORD@localhost"),
    ] {
        let error = text.parse::<Reference>().unwrap_err().to_string();
        let expected =
            format!("`{shown}` is not an image name: user and password are not part of it");
        assert_eq!(error, expected, "{text}");
    }
    let text = format!("me:hunter2@ghcr.io/a/b@{DIGEST}");
    let error = text.parse::<Reference>().unwrap_err();
    assert_eq!(error.rule, Rule::Password);
    for text in [
        format!("ghcr.io:443/a/b:1@{DIGEST}"),
        "localhost:5000/a@1.2".to_owned(),
        "a@latest".to_owned(),
        "a:1@latest".to_owned(),
        "a:1@sha265:0".to_owned(),
    ] {
        assert_eq!(userinfo(&text), None, "{text}");
    }
}
