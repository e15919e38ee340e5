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

/// `--cacert` is for all Java virtual machines: one of the host, and one of the release.
#[test]
fn java_virtual_machines_get_a_trust_store_that_they_read() {
    let mut ingredients = ingredients();
    ingredients.certificates = Some(Certificates::default());
    for home in ["/usr/lib/jvm", "/app/jre", "/app/own", "/app/none"] {
        for name in ["modules", "jvm.cfg"] {
            let path = format!("{home}/lib/{name}");
            if path != "/app/none/lib/jvm.cfg" {
                ingredients.additions.push(absent_file(&path, 0o644));
            }
        }
    }
    let own = absent_file("/app/own/lib/security/jssecacerts", 0o644);
    ingredients.additions.push(own);
    ingredients
        .additions
        .sort_by(|one, other| one.entry.path.cmp(&other.entry.path));
    let plan = Plan::new(ingredients, &PlanOptions::default()).unwrap();
    let layer = plan.layers.iter().find(|it| it.name == "certificates");
    let members = layer.unwrap().changeset.members();
    let paths = members.iter().map(|it| it.entry.path.to_string());
    let stores: Vec<String> = paths.filter(|it| it.ends_with("cacerts")).collect();
    let expected = [
        "/app/jre/lib/security/jssecacerts",
        "/etc/ssl/certs/java/cacerts",
        "/usr/lib/jvm/lib/security/jssecacerts",
    ];
    assert_eq!(stores, expected);
}
