//! Second names of the directories of a merged `/usr` ([file-hierarchy(7)]): on most
//! systems `/bin` is a link to `usr/bin`, and a program in it has two paths.
//!
//! [file-hierarchy(7)]: https://man7.org/linux/man-pages/man7/file-hierarchy.7.html

use std::os::unix::ffi::OsStrExt as _;

use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use super::ClosureOptions;
use crate::contents::Contents;
use crate::host_packages::MERGED;
use crate::runtime::host::Host;

/// The directories below `/usr` that are links on some systems: the first on Arch,
/// the second on Fedora.
const IN_USR: [&str; 2] = ["/usr/lib64", "/usr/sbin"];

/// Returns the links of the host, except those at paths that the image has.
pub(super) fn links(contents: &Contents<'_>, options: &ClosureOptions) -> Vec<Member> {
    let host = Host::new(options.sysroot.as_deref());
    let of_root = MERGED.iter().map(|name| format!("/{name}"));
    let directories = of_root.chain(IN_USR.map(str::to_owned));
    let directories = directories.filter(|_| options.is_whole());
    let links = directories.filter_map(|path| link(&host, contents, &path));
    links
        .map(|mut link| {
            link.mtime = options.mtime;
            link.into()
        })
        .collect()
}

fn link(host: &Host, contents: &Contents<'_>, path: &str) -> Option<Entry> {
    let at = ImagePath::parse(path).ok()?;
    let real = host.real(&host.rooted(path.as_bytes()))?;
    let inside = host.inside(&real)?;
    let is_link = inside.as_os_str() != path && inside.starts_with("/usr") && real.is_dir();
    let is_free = contents.get(&at).is_none() && !contents.has_below(&at);
    let (parent, _) = path.rsplit_once('/')?;
    let target = inside.strip_prefix(format!("{parent}/")).ok()?;
    let target = target.as_os_str().as_bytes();
    (is_link && is_free).then(|| Entry::symlink(at, target))
}

/// Returns whether a link leads to a directory that has any of the members.
pub(super) fn is_used(link: &Entry, members: &[Member]) -> bool {
    let EntryKind::Symlink { target } = &link.kind else {
        return false;
    };
    let parent = link.path.parent();
    let directory = parent.and_then(|parent| parent.join(target).ok());
    let mut paths = members.iter().map(|member| &member.entry.path);
    directory.is_some_and(|it| paths.any(|path| path.starts_with(&it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    /// Makes a host with the directories and links, and shows the links that an image
    /// with `members` gets.
    fn shown(directories: &[&str], names: &[(&str, &str)], members: &[Member]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for directory in directories {
            fs_err::create_dir_all(root.path().join(directory)).unwrap();
        }
        for (name, target) in names {
            fs_err::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
        }
        let contents = Contents::new(members);
        let options = ClosureOptions {
            include_libraries: true,
            sysroot: Some(root.path().to_owned()),
            ..ClosureOptions::default()
        };
        let links = links(&contents, &options);
        let shown = links.iter().map(|link| match &link.entry.kind {
            EntryKind::Symlink { target } => {
                format!("{} {}", link.entry.path, String::from_utf8_lossy(target))
            }
            _ => link.entry.path.to_string(),
        });
        shown.collect()
    }

    const DEBIAN: [(&str, &str); 2] = [("bin", "usr/bin"), ("lib", "/usr/lib")];

    #[test]
    fn links_lead_to_the_directory_itself() {
        let found = shown(&["usr/bin", "usr/lib"], &DEBIAN, &[]);
        assert_eq!(found, ["/bin usr/bin", "/lib usr/lib"]);
        let fedora = [("sbin", "usr/sbin"), ("usr/sbin", "bin")];
        let found = shown(&["usr/bin", "bin"], &fedora, &[]);
        assert_eq!(found, ["/sbin usr/bin", "/usr/sbin bin"]);
        let others = [("bin", "opt/bin"), ("lib", "usr/none"), ("sbin", "bin")];
        assert_eq!(shown(&["opt/bin", "usr"], &others, &[]), [""; 0]);
    }

    #[test]
    fn paths_of_the_image_stay() {
        let file = Member::file(path("/bin/own"), 0o755, b"x".to_vec());
        let found = shown(&["usr/bin", "usr/lib"], &DEBIAN, &[file]);
        assert_eq!(found, ["/lib usr/lib"]);
    }

    #[test]
    fn a_link_without_a_file_behind_it_is_not_used() {
        let link = Entry::symlink(path("/usr/sbin"), "bin");
        let members = ["/usr/binary", "/bin/tool", "/usr/bin/tool"]
            .map(|text| Member::file(path(text), 0o755, b"x".to_vec()));
        assert!(is_used(&link, &members));
        assert!(!is_used(&link, &members[..2]));
    }
}
