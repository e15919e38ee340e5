//! Symbolic links of a release that would lead nowhere in its image.

use imgbuild_oci::changeset::Member;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::path::ImagePath;

use crate::warning::Warning;

/// How many links are followed before they count as a loop: the kernel's own
/// limit (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Names every link of the release that leaves it or dangles.
pub(super) fn check(members: &[Member], prefix: &ImagePath) -> Vec<Warning> {
    members
        .iter()
        .filter_map(|member| match &member.entry.kind {
            EntryKind::Symlink { target } => judge(members, prefix, &member.entry.path, target),
            _ => None,
        })
        .collect()
}

fn judge(
    members: &[Member],
    prefix: &ImagePath,
    path: &ImagePath,
    target: &[u8],
) -> Option<Warning> {
    let end = resolve(&|path| find(members, path), path);
    let (path, target) = (path.clone(), target.to_vec());
    match end {
        End::There => None,
        End::At(at) if at.starts_with(prefix) => Some(Warning::DanglingLink { path, target }),
        End::Loop => Some(Warning::DanglingLink { path, target }),
        // An engine puts these into every container.
        End::At(at) if [b"/proc".as_slice(), b"/dev", b"/sys"].iter().any(|top| is_below(&at, top)) => None,
        End::At(_) => Some(Warning::LinkLeavesRelease { path, target }),
    }
}

fn is_below(path: &ImagePath, top: &[u8]) -> bool {
    ImagePath::parse(top).is_ok_and(|top| path.starts_with(&top))
}

fn find<'a>(members: &'a [Member], path: &ImagePath) -> Option<&'a EntryKind> {
    let index = members.binary_search_by(|member| member.entry.path.cmp(path)).ok()?;
    Some(&members[index].entry.kind)
}

/// Where a path ends when all its links are followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At something that is there.
    There,
    /// At a path where nothing is.
    At(ImagePath),
    /// Nowhere: the links go round.
    Loop,
}

/// Follows links as the kernel does; `find` says what lies at a path.
///
/// Directories above what is there need not be known to `find`.
pub(crate) fn resolve<'a>(
    find: &dyn Fn(&ImagePath) -> Option<&'a EntryKind>,
    path: &ImagePath,
) -> End {
    let mut rest: Vec<Vec<u8>> = components(path.as_bytes());
    let mut at = ImagePath::root();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            at = at.parent().unwrap_or(at);
            continue;
        }
        let Ok(next) = at.join(&name) else {
            return End::At(at);
        };
        match find(&next) {
            Some(EntryKind::Symlink { target }) => {
                links += 1;
                if links > MAX_LINKS {
                    return End::Loop;
                }
                if target.starts_with(b"/") {
                    at = ImagePath::root();
                }
                rest.extend(components(target));
            }
            _ => at = next,
        }
    }
    match at.is_root() || find(&at).is_some() {
        true => End::There,
        false => End::At(at),
    }
}

/// The names of a path, last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use imgbuild_oci::entry::Entry;

    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let prefix = path("/app");
        let links = [
            ("/app/ok", "bin/server"),
            ("/app/absolute", "/app/bin"),
            ("/app/through", "current/server"),
            ("/app/current", "bin"),
            ("/app/dangling", "bin/gone"),
            ("/app/leaves", "../etc/config"),
            ("/app/outside", "/usr/bin/env"),
            ("/app/loop", "loop"),
            ("/app/null", "/dev/null"),
        ];
        let mut members: Vec<Member> = links
            .iter()
            .map(|(at, to)| Entry::symlink(path(at), *to).into())
            .collect();
        members.push(Entry::directory(path("/app/bin")).into());
        members.push(Member::file(path("/app/bin/server"), 0o755, vec![]));
        members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let warnings: Vec<String> = check(&members, &prefix)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            warnings,
            [
                "`/app/dangling` is a link to `bin/gone`, where nothing is",
                "`/app/leaves` is a link to `../etc/config`, which is not part of the release",
                "`/app/loop` is a link to `loop`, where nothing is",
                "`/app/outside` is a link to `/usr/bin/env`, which is not part of the release",
            ]
        );
    }
}
