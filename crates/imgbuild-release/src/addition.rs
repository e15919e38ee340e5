//! Further files and directories that the user puts into an image.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use fs_err as fs;
use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::{RootDirectory, leads_through_link};

use crate::contents::{Contents, real_place, source};
use crate::error::Result;
use crate::host_file::{ModeRules, found_member, image_path};
use crate::refusal::{Refusal, Refusals};
use crate::walk::{look_at, walk};

/// One file or directory of the host, with its place in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The file or directory on the host.
    pub source: PathBuf,
    /// The absolute path in the image. With a slash at its end, it is the
    /// directory of a file; the content of a directory is always placed in it.
    pub destination: String,
    /// The mode of every file; the host's, without its umask, when not given.
    pub mode: Option<u32>,
}

/// Opens all additions.
///
/// # Errors
///
/// When a source does not exist or a destination is not absolute, and with
/// every path that cannot go into an image.
pub fn open_additions(additions: &[Addition], modes: ModeRules, mtime: u64) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut refusals = Vec::new();
    for addition in additions {
        for member in open_addition(addition, modes)? {
            match member {
                Ok(mut member) => {
                    member.entry.mtime = mtime;
                    members.push(member);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
    }
    Refusals::check(refusals)?;
    Ok(members)
}

fn open_addition(
    addition: &Addition,
    mut modes: ModeRules,
) -> Result<Vec<std::result::Result<Member, Refusal>>> {
    let source = &addition.source;
    // A mode of the user allows its set-id bits.
    modes.allow_set_id |= addition.mode.is_some();
    let is_directory = fs::metadata(source)?.is_dir();
    let mut destination = ImagePath::parse(&addition.destination)?;

    let mut members = Vec::new();
    if is_directory {
        if !destination.is_root() {
            members.push(Ok(Entry::directory(destination.clone()).into()));
        }
        let root = RootDirectory::open(source)?;
        walk(&root, &mut |relative, found| {
            let host = source.join(relative);
            members.push(match image_path(&destination, relative) {
                Ok(path) => found_member(path, host, Some(&root), found, modes),
                Err(reason) => Err(Refusal::Name { path: host, reason }),
            });
        })?;
    } else {
        if addition.destination.ends_with('/')
            && let Some(name) = source.file_name()
        {
            destination = destination.join(name.as_bytes())?;
        }
        // A link at the top is followed, once.
        let host = if leads_through_link(source) {
            fs::canonicalize(source)?
        } else {
            source.clone()
        };
        let found = look_at(&host);
        members.push(found_member(destination, host, None, found, modes));
    }

    if let Some(mode) = addition.mode {
        for member in members.iter_mut().flatten() {
            if matches!(member.entry.kind, EntryKind::File { .. }) {
                member.entry.mode = mode;
            }
        }
    }
    Ok(members)
}

/// Moves additions to where the links of the release lead.
///
/// # Errors
///
/// With every path that the release has too, or that is above one of its
/// files, or below a file or a link of another addition.
pub fn place_additions(
    release: &[Member],
    additions: Vec<Member>,
) -> Result<Vec<Member>, Refusals> {
    let contents = Contents::new(release);
    let mut refusals = Vec::new();
    let mut placed: BTreeMap<ImagePath, Member> = BTreeMap::new();
    for mut member in additions {
        let path = match real_place(&contents, &member.entry.path) {
            Ok(path) => path,
            Err(refusal) => {
                refusals.push(refusal);
                continue;
            }
        };
        member.entry.path = path.clone();
        let is_directory = member.entry.kind == EntryKind::Directory;
        if let Some(other) = contents.get(&path).or_else(|| placed.get(&path)) {
            if !is_directory || other.entry.kind != EntryKind::Directory {
                let sources = [source(other), source(&member)];
                refusals.push(Refusal::TwoSources { path, sources });
                continue;
            }
        } else if !is_directory && let Some(below) = first_below(release, &path) {
            refusals.push(Refusal::BelowAFile {
                path: below.clone(),
                parent: path,
            });
            continue;
        }
        placed.insert(path, member);
    }
    let is_file = |path: &ImagePath| {
        let other = placed.get(path).map(|member| &member.entry.kind);
        other.is_some_and(|kind| *kind != EntryKind::Directory)
    };
    for path in placed.keys() {
        let parent = path.ancestors().find(is_file);
        refusals.extend(parent.map(|parent| Refusal::BelowAFile {
            path: path.clone(),
            parent,
        }));
    }
    Refusals::check(refusals)?;
    Ok(placed.into_values().collect())
}

/// Returns the first of the members, sorted by path, that is below `path`.
fn first_below<'a>(members: &'a [Member], path: &ImagePath) -> Option<&'a ImagePath> {
    let is_before = |member: &Member| member.entry.path.as_bytes() <= path.as_bytes();
    let after = members.partition_point(is_before);
    let later = members[after..].iter().map(|member| &member.entry.path);
    // Between a path and those below it come paths that only begin like it.
    later
        .take_while(|later| later.as_bytes().starts_with(path.as_bytes()))
        .find(|later| later.starts_with(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use imgbuild_testing::Tree;

    use super::*;
    use crate::error::Error;

    fn release() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tree = r#"
            0755 file bin/tool "x"
            0640 file data "x"
            link to-data -> data
            1777 dir spool
        "#;
        Tree::parse(tree)
            .unwrap()
            .write_to(directory.path())
            .unwrap();
        directory
    }

    fn open(source: PathBuf, destination: &str, mode: Option<u32>) -> Result<Vec<Member>> {
        let destination = destination.to_owned();
        let addition = Addition {
            source,
            destination,
            mode,
        };
        open_additions(&[addition], ModeRules::default(), 7)
    }

    fn shown(members: &[Member]) -> Vec<String> {
        let shown = |member: &Member| {
            let entry = &member.entry;
            assert_eq!(entry.mtime, 7);
            format!("{:04o} {}", entry.mode, entry.path)
        };
        members.iter().map(shown).collect()
    }

    #[test]
    fn a_file_lands_at_its_place_or_in_a_directory() {
        let release = release();
        let data = release.path().join("data");
        for (destination, mode, expected) in [
            ("/etc/x", None, "0644 /etc/x"),
            ("/etc/", None, "0644 /etc/data"),
            ("/etc/x", Some(0o600), "0600 /etc/x"),
        ] {
            let members = open(data.clone(), destination, mode).unwrap();
            assert_eq!(shown(&members), [expected]);
        }
        let members = open(release.path().join("to-data"), "/x", None).unwrap();
        assert_eq!(shown(&members), ["0644 /x"], "a link is followed");
    }

    #[test]
    fn the_content_of_a_directory_lands_in_its_place() {
        let release = release();
        let expected = [
            "0755 /srv",
            "0755 /srv/bin",
            "0755 /srv/bin/tool",
            "0644 /srv/data",
            "1755 /srv/spool",
            "0777 /srv/to-data",
        ];
        let members = open(release.path().to_path_buf(), "/srv", None).unwrap();
        assert_eq!(shown(&members), expected);
        let members = open(release.path().to_path_buf(), "/", Some(0o600)).unwrap();
        let expected = [
            "0755 /bin",
            "0600 /bin/tool",
            "0600 /data",
            "1755 /spool",
            "0777 /to-data",
        ];
        assert_eq!(shown(&members), expected, "a mode is for files");
    }

    #[test]
    fn what_takes_the_place_of_a_source_is_not_read() {
        let release = release();
        let root = release.path();
        fs::write(root.join("bin/data"), "y").unwrap();
        let read = |members: &[Member]| {
            let contents = members.iter().filter_map(|member| member.content.as_ref());
            contents
                .filter(|content| content.first_bytes(1).is_ok())
                .count()
        };
        let of_file = open(root.join("to-data"), "/x", None).unwrap();
        let of_directory = open(root.join("bin"), "/srv", None).unwrap();
        assert_eq!((read(&of_file), read(&of_directory)), (1, 2));

        fs::remove_file(root.join("data")).unwrap();
        fs::os::unix::fs::symlink("bin/data", root.join("data")).unwrap();
        fs::rename(root.join("bin/tool"), root.join("tool")).unwrap();
        fs::os::unix::fs::symlink("../tool", root.join("bin/tool")).unwrap();
        assert_eq!((read(&of_file), read(&of_directory)), (0, 1));
    }

    #[test]
    fn what_no_image_can_hold_is_refused_at_once() {
        let release = release();
        let more = "fifo pipe\n0644 file .wh.x \"\"";
        Tree::parse(more).unwrap().write_to(release.path()).unwrap();
        let error = open(release.path().to_path_buf(), "/srv", None).unwrap_err();
        let Error::Refused(Refusals(refusals)) = error else {
            panic!("{error}");
        };
        assert_eq!(refusals.len(), 2, "{refusals:?}");
        let error = open(release.path().join("pipe"), "/x", None).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(open(release.path().join("gone"), "/x", None).is_err());
        assert!(open(release.path().join("data"), "x", None).is_err());
    }

    #[test]
    fn a_set_id_file_goes_in_only_when_somebody_says_so() {
        let release = release();
        let tool = release.path().join("bin/tool");
        fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755)).unwrap();
        let owner = fs::metadata(&tool).unwrap().uid();
        let is_taken = open(tool.clone(), "/tool", None).is_ok();
        assert_eq!(is_taken, owner == 0, "root's own may go in");
        let members = open(tool, "/tool", Some(0o4755)).unwrap();
        assert_eq!(shown(&members), ["4755 /tool"]);
    }

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn made(at: &str) -> Member {
        Member::file(path(at), 0o644, b"x".to_vec())
    }

    fn directory(at: &str) -> Member {
        Entry::directory(path(at)).into()
    }

    fn link(at: &str, to: &str) -> Member {
        Entry::symlink(path(at), to).into()
    }

    #[test]
    fn additions_go_where_the_links_of_the_release_lead() {
        let release = [
            directory("/app/d"),
            made("/app/d/f"),
            link("/app/lib", "/usr/lib"),
        ];
        let additions = vec![made("/app/lib/x"), directory("/app/d"), made("/app/d/g")];
        let placed = place_additions(&release, additions).unwrap();
        let paths: Vec<String> = placed
            .iter()
            .map(|member| member.entry.path.to_string())
            .collect();
        assert_eq!(paths, ["/app/d", "/app/d/g", "/usr/lib/x"]);
    }

    #[test]
    fn an_addition_below_a_file_or_a_link_of_another_is_refused() {
        for other in [made("/opt/l"), link("/opt/l", "/srv")] {
            let additions = vec![made("/opt/l/d/x"), directory("/opt"), other];
            let refusals = place_additions(&[], additions).unwrap_err();
            assert_eq!(
                refusals.0[0].to_string(),
                "`/opt/l/d/x` lies below `/opt/l`, which is not a directory"
            );
            assert_eq!(refusals.0.len(), 1);
        }
    }

    #[test]
    fn all_additions_at_a_path_of_the_release_are_refused_at_once() {
        let release = [made("/app/a"), directory("/app/d"), link("/app/l", "l")];
        let additions = vec![
            made("/app/a"),
            made("/app/d"),
            made("/app/a/b"),
            made("/app/l/x"),
            made("/x"),
            made("/x"),
        ];
        let refusals = place_additions(&release, additions).unwrap_err();
        assert_eq!(refusals.0.len(), 5);
    }
}
