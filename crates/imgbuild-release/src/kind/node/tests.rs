use super::*;
use crate::kind::tests::{kind_of, written};

const MAIN: &str = "0644 file package.json \"{\\\"main\\\":\\\"a.js\\\"}\"\n0644 file a.js \"\"\n";
const START: &str = "0644 file package.json \"{\\\"scripts\\\":{\\\"start\\\":\\\"node a\\\"}}\"\n0644 file a.js \"\"\n";
const OTHER: &str = "0644 file package.json \"{\\\"scripts\\\":{\\\"start\\\":\\\"vite\\\"}}\"\n0644 file a.js \"\"\n";

#[test]
fn only_a_package_that_node_certainly_runs_is_recognized() {
    for (tree, expected) in [
        (MAIN.to_owned(), "node"),
        (START.to_owned(), "node"),
        (format!("{MAIN}0755 file bin/node \"\\x7fELF\"\n"), "node"),
        (
            format!("{MAIN}0755 file bin/run \"#!/usr/bin/env node\"\n"),
            "node",
        ),
        (
            format!("{START}0755 file deploy.sh \"#!/bin/sh\"\n"),
            "node",
        ),
        (
            format!("{OTHER}0644 file node_modules/vite/x.js \"\"\n"),
            "node",
        ),
        // Tools beside something else.
        (OTHER.to_owned(), "tree"),
        (
            format!("{MAIN}0755 file bin/server \"#!/bin/sh\"\n"),
            "tree",
        ),
        (format!("{MAIN}0755 file server \"\\x7fELF\"\n"), "tree"),
        (format!("{MAIN}0644 file Gemfile \"\"\n"), "tree"),
        ("0644 file package.json \"{}\"\n".to_owned(), "tree"),
        (
            "0644 file package.json \"\"\n0644 file server.js \"\"\n".to_owned(),
            "tree",
        ),
        (
            "0644 file web/package.json \"{\\\"main\\\":\\\"a.js\\\"}\"\n0644 file web/a.js \"\"\n"
                .to_owned(),
            "tree",
        ),
    ] {
        assert_eq!(kind_of(&tree), expected, "{tree}");
    }
}

#[test]
fn a_package_one_level_off_is_found() {
    let below = |tree: &str| {
        let directory = written(tree);
        let found = find_below(directory.path(), &DirectoryFacts::default())?;
        let names = found.places.iter().map(|place| {
            let relative = place.strip_prefix(directory.path()).unwrap();
            relative.display().to_string()
        });
        Some(names.collect::<Vec<_>>())
    };
    let at = |place: &str, tree: &str| tree.replace("file ", &format!("file {place}/"));
    let expected = Some(vec!["shop".to_owned()]);
    assert_eq!(below(&at("shop", START)), expected);
    assert_eq!(below(&at("shop", MAIN)), None);
    let workspace = "0644 file package.json \"{}\"\n";
    let tree = [workspace, &at("apps/web", START), &at("packages/lib", MAIN)].concat();
    assert_eq!(below(&tree), Some(vec!["apps/web".to_owned()]));
    assert_eq!(below(&(at("apps/web", START) + "0755 dir docs\n")), None);
}

#[test]
fn dependencies_lie_apart_from_node_and_the_application() {
    for (path, expected) in [
        ("bin/node", Group::whole(0, "node")),
        (
            "node_modules/a/index.js",
            Group::member(1, "node_modules", "a"),
        ),
        (
            "node_modules/@org/a/index.js",
            Group::member(1, "node_modules", "@org/a"),
        ),
        (
            "node_modules/.pnpm/@org+a@1.0.0_b@2/x",
            Group::member(1, "node_modules", "@org+a"),
        ),
        (
            "node_modules/.pnpm/a@1.0.0/x",
            Group::member(1, "node_modules", "a"),
        ),
        (
            "apps/web/node_modules/a/x",
            Group::member(1, "node_modules", "a"),
        ),
        ("server.js", Group::whole(2, "application")),
        ("bin/node-server", Group::whole(2, "application")),
    ] {
        assert_eq!(group(path.as_bytes()), expected, "{path}");
    }
}
