//! Plans of values: of releases whose files are not there.

use std::path::{Path, PathBuf};

use imgbuild_oci::content::{Content, FileState, HostFile, Timestamp};
use imgbuild_oci::root_directory::RootDirectory;

use super::*;
use crate::kind::TREE;
use crate::release::ReleaseOptions;
use crate::release::command::Command;
use crate::release::facts::DirectoryFacts;
use crate::release::kind::{Behavior, Selected};
use crate::release::selection::Selection;
use crate::skeleton::Accounts;

#[derive(Debug)]
struct Plain;

impl Behavior for Plain {}

fn absent_file(at: &str, mode: u32) -> Member {
    let host = HostFile {
        path: PathBuf::from(format!("/nonexistent{at}")),
        state: FileState {
            size: 7,
            mtime: Timestamp {
                seconds: 1,
                nanoseconds: 0,
            },
            ctime: Timestamp {
                seconds: 1,
                nanoseconds: 0,
            },
            inode: 1,
            device: 1,
            mode,
        },
        root: None,
    };
    let mut member = Member::file(ImagePath::parse(at).unwrap(), mode, Vec::new());
    member.entry.kind = imgbuild_oci::entry::EntryKind::File { size: 7 };
    member.content = Some(Content::File(host));
    member
}

/// Ingredients none of whose files exists.
fn ingredients() -> Ingredients {
    let options = ReleaseOptions::default();
    let prefix = ImagePath::parse("/app").unwrap();
    let root = RootDirectory::open(Path::new("/")).unwrap();
    let facts = DirectoryFacts::default();
    let mut selection = Selection::new(&root, &prefix, &options, &facts);
    selection.push(absent_file("/app/bin/server", 0o755));
    let selected = Selected {
        name: Some("app".to_owned()),
        behavior: Box::new(Plain),
    };
    let entrypoint = Some(vec!["/app/bin/server".to_owned()]);
    let closure = Closure {
        members: vec![absent_file("/lib/libc.so.6", 0o755)],
        command: Command::own(entrypoint, None),
        accounts: Some(Accounts::parse("web:x:33:34::/srv:/bin/sh", "")),
        ..Closure::default()
    };
    let release = Release::new(selection, &TREE, selected).unwrap();
    Ingredients {
        additions: vec![absent_file("/etc/passwd", 0o644)],
        ..Ingredients::new(release, closure)
    }
}

#[test]
fn a_plan_reads_no_file() {
    let options = PlanOptions {
        user: Some(UserName::parse("web")),
        ..PlanOptions::default()
    };
    let plan = Plan::new(ingredients(), &options).unwrap();
    let config = &plan.image.config;
    assert_eq!(config.user.as_deref(), Some("33:34"));
    assert_eq!(
        config.entrypoint.as_deref().unwrap(),
        ["/app/bin/server".to_owned()]
    );
    let names: Vec<&str> = plan
        .layers
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    assert_eq!(names, ["skeleton", "runtime", "release", "additions"]);
    let again = Plan::new(ingredients(), &options).unwrap();
    let texts = [plan, again].map(|plan| serde_json::to_string(&plan).unwrap());
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn a_user_that_the_image_does_not_have_is_an_error() {
    let options = PlanOptions {
        user: Some(UserName::parse("nobody")),
        ..PlanOptions::default()
    };
    let error = Plan::new(ingredients(), &options).unwrap_err();
    assert!(error.to_string().contains("known: `web`"), "{error}");
}
