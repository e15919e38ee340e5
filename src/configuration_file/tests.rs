#![expect(clippy::disallowed_methods, reason = "tests read whole what they made")]

//! Files of every kind, and what becomes of them.

use std::path::Path;

use super::*;

/// What a file in `directory` adds, as one line of words.
fn words_in(directory: &str, text: &str) -> std::result::Result<String, Vec<(usize, String)>> {
    let mut command = Arguments::command();
    command.build();
    let entries = file::parse(text, Path::new(directory), &command)?;
    let words: Vec<String> = entries.into_iter().flat_map(|entry| entry.words).collect();
    Ok(words.join(" "))
}

fn words(text: &str) -> String {
    words_in("", text).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let problems = words_in("", text).unwrap_err();
    problems
        .into_iter()
        .map(|(line, problem)| format!("{line}: {problem}"))
        .collect()
}

/// The example of the documentation.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, example) = text.split_once("```toml\n").unwrap();
    example.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_example_has_every_flag_and_is_taken() {
    let mut command = Arguments::command();
    command.build();
    let expected: BTreeSet<&str> = keys(&command).filter_map(Arg::get_long).collect();
    assert!(expected.len() > 50, "{expected:?}");
    let example = example();
    let table: toml::Table = example.parse().unwrap();
    let found: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(found, expected);
    let entries = file::parse(&example, Path::new(""), &command).unwrap();
    let words = entries.into_iter().flat_map(|entry| entry.words);
    let words = ["imgbuild".to_owned()].into_iter().chain(words);
    let matches = Arguments::command().try_get_matches_from(words);
    let matches = matches.unwrap_or_else(|error| panic!("{error}"));
    let label = matches.get_many::<String>("label").unwrap();
    assert_eq!(
        label.collect::<Vec<_>>(),
        [
            "maintainer=team@example.com",
            "org.opencontainers.image.vendor=Example"
        ]
    );
}

#[test]
fn values_become_what_would_be_typed() {
    for (text, expected) in [
        ("", ""),
        ("load = true", "--load"),
        ("load = false", ""),
        ("verbose = 2", "--verbose --verbose"),
        ("threads = 4", "--threads=4"),
        ("threads = 0x10", "--threads=16"),
        ("user = 'app'", "--user=app"),
        (
            "created = 2026-01-31T12:00:00Z",
            "--created=2026-01-31T12:00:00Z",
        ),
        ("tag = 'a'", "--tag=a"),
        ("tag = ['a', 'b']", "--tag=a --tag=b"),
        ("cmd = []", ""),
        ("cmd = ['--x', '']", "--cmd=--x --cmd="),
        ("cacert = true", "--cacert"),
        ("cacert = [true, 'system']", "--cacert --cacert=system"),
        ("cacert = false", ""),
        ("env = ['A', 'B=1']", "--env=A --env=B=1"),
        (
            "[env]\nB = 1\nA = 'x y'\nC = true",
            "--env=B=1 --env=A=x y --env=C=true",
        ),
        ("label.a.b = 'c'", "--label=a.b=c"),
        ("label = { 'a.b' = 'c' }", "--label=a.b=c"),
        (
            "include = ['b']\nexclude = ['a', 'c']",
            "--include=b --exclude=a --exclude=c",
        ),
    ] {
        assert_eq!(words(text), expected, "{text}");
    }
}

#[test]
fn paths_start_at_the_directory_of_the_file() {
    for (text, expected) in [
        ("release = 'x'", "--release=d/x"),
        ("release = '/x'", "--release=/x"),
        (
            "release = ['linux/amd64=x', 'linux/arm64=/y']",
            "--release=linux/amd64=d/x --release=linux/arm64=/y",
        ),
        ("add = ['a:/b']", "--add=d/a:/b"),
        (
            "cacert = [true, 'x.pem', 'system']",
            "--cacert --cacert=d/x.pem --cacert=system",
        ),
        (
            "output = ['-', 'x.tar', 'oci:x:1']",
            "--output=- --output=d/x.tar --output=oci:d/x:1",
        ),
        ("output = 'docker-archive:-'", "--output=docker-archive:-"),
        (
            "cache-from = 'oci-archive:x'",
            "--cache-from=oci-archive:d/x",
        ),
        ("prefix = '/x'", "--prefix=/x"),
        ("program = 'jq'", "--program=jq"),
        ("tag = 'x'", "--tag=x"),
    ] {
        assert_eq!(words_in("d", text).unwrap(), expected, "{text}");
    }
}

#[test]
fn every_flag_that_takes_a_path_of_this_machine_is_known_to() {
    let mut command = Arguments::command();
    command.build();
    for flag in keys(&command) {
        let names = flag.get_value_names().unwrap_or_default();
        let starts = |name: &str| {
            let name = name.trim_start_matches("[PLATFORM=]");
            let words = ["DIR", "FILE", "SRC", "SOURCE", "DESTINATION", "BUNDLE"];
            words.iter().any(|word| name.starts_with(word))
        };
        let says_so = names.iter().any(|name| starts(name.as_str()));
        let is_known = flag.get_value_hint() != clap::ValueHint::Unknown;
        assert_eq!(says_so, is_known, "{}", flag.get_id());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn mistakes_are_named_with_their_line() {
    for (text, expected) in [
        (
            "\nrelese = 'x'",
            "2: unknown key `relese` (did you mean `release`?)",
        ),
        (
            "env_file = 'x'",
            "1: unknown key `env_file` (did you mean `env-file`?)",
        ),
        ("zzz = 1", "1: unknown key `zzz`"),
        (
            "config = 'x'",
            "1: `config` is allowed on the command line only",
        ),
        (
            "no-config = true",
            "1: `no-config` is allowed on the command line only",
        ),
        (
            "load = 'yes'",
            "1: `load` takes `true` or `false`, not a string",
        ),
        (
            "load = 1",
            "1: `load` takes `true` or `false`, not an integer",
        ),
        (
            "verbose = 256",
            "1: `verbose` takes a number from 0 to 255, not another number",
        ),
        (
            "user = ['a']",
            "1: `user` takes a string or a number, not an array",
        ),
        (
            "user = 1.5",
            "1: `user` takes a string or a number, not a float",
        ),
        (
            "tag = [\n'a',\n['b']\n]",
            "3: `tag` takes a string or an array of strings, not an array",
        ),
        (
            "tag = { a = 'b' }",
            "1: `tag` takes a string or an array of strings, not a table",
        ),
        (
            "\n[env]\nA = 1.5",
            "3: `A` in `env` takes a string, a number, `true` or `false`, not a float",
        ),
        (
            "env = { 'A=B' = 'c' }",
            "1: the name `A=B` in `env` contains `=`",
        ),
        (
            "cacert = 1.5",
            "1: `cacert` takes `true`, a string or an array of them, not a float",
        ),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
    assert_eq!(problems("zzz = 1\n\nload = 2").len(), 2);
    assert!(problems("a = 1\nb = = 2")[0].starts_with("2: "));
    assert!(problems("tag = 'a'\ntag = 'b'")[0].starts_with("2: "));
}

#[test]
fn flags_that_a_message_names_are_found_in_the_file() {
    let parsed = ParsedFlags {
        matches: ArgMatches::default(),
        file: Some("imgbuild.toml".into()),
        lines: [
            ("env_file".to_owned(), vec![3, 3, 5]),
            ("cache".to_owned(), vec![7]),
        ]
        .into(),
    };
    let named = "`env-file` is set in `imgbuild.toml`, line 3, 5";
    assert_eq!(parsed.hints("cannot use `--env-file x`"), [named]);
    assert!(parsed.hints("`--cache-dir` and `--env`").is_empty());
    assert_eq!(
        parsed.line("env_file", 1),
        Some(("imgbuild.toml".to_owned(), 3))
    );
    assert_eq!(parsed.line("env_file", 3), None);
}
