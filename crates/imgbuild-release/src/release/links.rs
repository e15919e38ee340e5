//! Symbolic links of a release that would lead nowhere in its image.

use imgbuild_oci::changeset::Member;
use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::path::ImagePath;

use crate::contents::{Contents, End};
use crate::warning::Warning;

/// Names every link of the release that leaves it or dangles.
pub(super) fn check(members: &[Member], prefix: &ImagePath) -> Vec<Warning> {
    let contents = Contents::new(members);
    members
        .iter()
        .filter_map(|member| match &member.entry.kind {
            EntryKind::Symlink { target } => judge(&contents, prefix, &member.entry.path, target),
            _ => None,
        })
        .collect()
}

fn judge(
    contents: &Contents<'_>,
    prefix: &ImagePath,
    path: &ImagePath,
    target: &[u8],
) -> Option<Warning> {
    let end = contents.resolve(path);
    let (path, target) = (path.clone(), target.to_vec());
    match end {
        End::There(_) => None,
        // The directory of the release is there once the image is.
        End::Nothing(at) if prefix.starts_with(&at) => None,
        End::Nothing(at) if at.starts_with(prefix) => Some(Warning::DanglingLink { path, target }),
        End::Loop => Some(Warning::DanglingLink { path, target }),
        // An engine puts these into every container.
        End::Nothing(at)
            if ["/proc", "/dev", "/sys"]
                .iter()
                .any(|top| is_below(&at, top)) =>
        {
            None
        }
        End::Nothing(_) => Some(Warning::LinkLeavesRelease { path, target }),
    }
}

fn is_below(path: &ImagePath, top: &str) -> bool {
    ImagePath::parse(top).is_ok_and(|top| path.starts_with(&top))
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
