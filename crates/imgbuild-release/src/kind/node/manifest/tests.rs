use imgbuild_testing::Tree;

use super::*;

/// Finds the start of a package with these fields and files.
fn start(fields: &str, files: &[&str]) -> Result<Option<Vec<String>>, NoStart> {
    let directory = tempfile::tempdir().unwrap();
    let tree: String = files
        .iter()
        .map(|path| format!("0644 file {path} \"\"\n"))
        .collect();
    Tree::parse(&tree)
        .unwrap()
        .write_to(directory.path())
        .unwrap();
    let fields = serde_json::from_str(fields).unwrap();
    let found = PackageFile { fields }.start(directory.path(), &DirectoryFacts::default())?;
    Ok(found.map(|start| start.arguments))
}

#[test]
fn the_file_that_starts_is_found() {
    for (fields, expected) in [
        (
            r#"{"scripts":{"start":"node server.js"},"main":"lib/x.js"}"#,
            Some("server.js"),
        ),
        (
            r#"{"scripts":{"start":"NODE_ENV=production node --require lib/x.js server --port 1"}}"#,
            Some("--require lib/x.js server.js --port 1"),
        ),
        (
            r#"{"scripts":{"start":"cross-env A=1 node ."},"main":"./lib"}"#,
            Some("lib/index.js"),
        ),
        (
            r#"{"bin":"./lib/x.js","main":"server.js"}"#,
            Some("lib/x.js"),
        ),
        (
            r#"{"name":"@org/x","bin":{"y":"server.js","x":"lib/x.js"}}"#,
            Some("lib/x.js"),
        ),
        (
            r#"{"bin":{"y":"lib/y.js"},"main":"lib/x"}"#,
            Some("lib/x.js"),
        ),
    ] {
        let files = ["server.js", "lib/x.js", "lib/index.js"];
        let found = start(fields, &files).unwrap().map(|words| words.join(" "));
        assert_eq!(found.as_deref(), expected, "{fields}");
    }
    for (fields, expected) in [
        (r#"{"main":"a"}"#, Some("a.js")),
        (
            r#"{"exports":{".":{"types":"b.d.ts","import":"./b.mjs"}}}"#,
            Some("b.mjs"),
        ),
        (r#"{"exports":"./a.js"}"#, Some("a.js")),
        (r#"{"main":"index.js"}"#, None),
        (r#"{"main":"../a.js"}"#, None),
        (r#"{"devDependencies":{"esbuild":"1"}}"#, None),
    ] {
        let found = start(fields, &["a.js", "b.mjs"]).unwrap();
        assert_eq!(
            found.map(|words| words.join(" ")).as_deref(),
            expected,
            "{fields}"
        );
    }
}

#[test]
fn a_start_script_that_node_cannot_run_is_named() {
    let script = |text: &str| {
        let fields = format!(r#"{{"scripts":{{"start":"{text}"}}}}"#);
        let package = "node_modules/next/dist/bin/next";
        match start(&fields, &[package, "server.js"]) {
            Err(start) => start.reason,
            other => panic!("{other:?}"),
        }
    };
    for text in [
        "next start",
        "tsc && node server.js",
        "node",
        "node $FILE",
        "npm run x",
    ] {
        let reason = script(text);
        assert_eq!(
            reason,
            format!("the start script of `package.json` is `{text}`, which is not `node FILE`")
        );
    }
    let reason = script("node dist/main.js");
    assert!(
        reason.ends_with("and `dist/main.js` is not a file of the release"),
        "{reason}"
    );
}

#[test]
fn the_words_that_would_do_name_the_file_of_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let tree = "0644 file node_modules/next/dist/bin/next \"\"\n\
        0644 file node_modules/linked/cli.js \"\"\n\
        link node_modules/.bin/run -> ../linked/cli.js\n\
        0644 file node_modules/next/package.json \"{\\\"name\\\":\\\"next\\\",\\\"bin\\\":{\\\"next\\\":\\\"./dist/bin/next\\\"}}\"\n";
    Tree::parse(tree)
        .unwrap()
        .write_to(directory.path())
        .unwrap();
    let words = |text: &str| {
        let command: Vec<String> = text.split(' ').map(str::to_owned).collect();
        instead(directory.path(), &command, &DirectoryFacts::default()).map(|words| words.join(" "))
    };
    let next = "node node_modules/next/dist/bin/next start -p 80";
    assert_eq!(words("next start -p 80").as_deref(), Some(next));
    assert_eq!(
        words("run").as_deref(),
        Some("node node_modules/linked/cli.js")
    );
    assert_eq!(words("gone"), None);
}
