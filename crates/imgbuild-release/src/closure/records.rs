//! The records of packages in an image: those of the files that came from the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imgbuild_oci::content::{Content, HostFile};
use imgbuild_oci::entry::{Entry, Member};
use imgbuild_oci::path::ImagePath;

use super::ClosureOptions;
use crate::check::content::recall;
use crate::contents::Contents;
use crate::host_packages::PackageDatabase;
use crate::host_packages::record::{PackageRecords, PackageSources, UsedFile, UsedParts};
use crate::refusal::few;
use crate::runtime::host::Host;
use crate::warning::Warning;

/// The distribution of a system (os-release(5)): the file, and the link to it.
const RELEASES: [&str; 2] = ["/usr/lib/os-release", "/etc/os-release"];

/// The most bytes of such a file; Debian's has 267.
const MAX_RELEASE_BYTES: u64 = 64 << 10;

/// The databases of apk, each of which is one file.
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// The parts of an image that came from the host.
pub(super) struct HostParts<'a> {
    pub(super) members: [&'a [Member]; 2],
    pub(super) packages: PackageSources,
}

impl HostParts<'_> {
    /// Returns the records of the packages, as members of the image, if they are
    /// asked for, and adds warnings.
    pub(super) fn record(
        mut self,
        contents: &Contents<'_>,
        options: &ClosureOptions,
        warnings: &mut Vec<Warning>,
    ) -> Vec<Member> {
        if !options.include_records {
            return Vec::new();
        }
        self.packages.files.extend(options.certificates.clone());
        if !contents.base.is_empty() {
            // The base has packages of which nothing came.
            self.packages.names.clear();
        }
        let (members, more) = self.records(contents, options);
        warnings.extend(more);
        members
    }

    /// Returns the records and warnings.
    ///
    /// The image, a base image for example, keeps the records and the database that
    /// it has. Nothing is recorded in one of another distribution: scanners would
    /// compare the packages with the advisories of that one.
    fn records(
        &self,
        contents: &Contents<'_>,
        options: &ClosureOptions,
    ) -> (Vec<Member>, Vec<Warning>) {
        let host = Host::new(options.sysroot.as_deref());
        let witnesses = PackageDatabase::witnesses(&host);
        let mut parts = self.used_parts(&host);
        let is_none = parts.files.is_empty() && parts.packages.is_empty();
        if witnesses.is_empty() || is_none {
            return Default::default();
        }
        let mut of_image = RELEASES.iter();
        let of_image = of_image.find_map(|path| contents.first_bytes(path, MAX_RELEASE_BYTES));
        let (text, path) = release_of(&host).unwrap_or_default();
        let is_wanted = of_image.is_none() && !text.is_empty();
        parts.release = is_wanted.then(|| UsedFile {
            path,
            place: Some(RELEASES[0].to_owned()),
        });

        let is_known = self.packages.problem().is_some();
        let records = self.recall(&host, &parts, &witnesses, options);
        let problem = records.problem.as_ref().filter(|_| !is_known);
        let mut warnings: Vec<Warning> = problem.cloned().into_iter().map(Warning::from).collect();
        let other = of_image.filter(|other| distribution(other) != distribution(&text));
        let reason = if let Some(other) = other {
            let [own, other] = [distribution(&text), distribution(&other)];
            Some(if text.is_empty() {
                format!("this machine has no `{}`", RELEASES[1])
            } else {
                format!("they are of `{own}`, and the image is of `{other}`")
            })
        } else {
            let mut places = APK.into_iter();
            let found = places.find(|it| records.files.contains_key(*it) && has(contents, it));
            found.map(|path| format!("`{path}` of the image stays as it is"))
        };
        if records.files.is_empty() {
            return (Vec::new(), warnings);
        }
        if let Some(reason) = reason {
            let names = few(&records.names);
            let text =
                format!("packages of this machine are not recorded, since {reason}: {names}");
            warnings.push(text.into());
            return (Vec::new(), warnings);
        }
        let mut members = as_members(records.files, contents);
        if parts.release.is_some() {
            members.extend(release_members(text));
        }
        (members, warnings)
    }

    fn used_parts(&self, host: &Host) -> UsedParts {
        let inside = |path: &Path| host.inside(path)?.to_str().map(str::to_owned);
        let members = self.members.into_iter().flatten();
        let files = members.filter_map(|member| match &member.content {
            Some(Content::File(file)) => Some(UsedFile {
                path: inside(&file.path)?,
                place: Some(member.entry.path.to_string()),
            }),
            _ => None,
        });
        let sources = self.packages.files.iter().filter(|path| path.is_file());
        let sources = sources.filter_map(|path| {
            let path = inside(&fs_err::canonicalize(path).ok()?)?;
            Some(UsedFile { path, place: None })
        });
        UsedParts {
            files: files.chain(sources).collect(),
            packages: self.packages.names.clone(),
            release: None,
        }
    }

    /// Returns the records that the store has for this state of the database, else
    /// those that the database gives.
    fn recall(
        &self,
        host: &Host,
        parts: &UsedParts,
        witnesses: &[PathBuf],
        options: &ClosureOptions,
    ) -> PackageRecords {
        let files = witnesses.iter().map(|path| HostFile::find(path));
        let files: Vec<Content> = files.flatten().map(Content::File).collect();
        let is_whole = files.len() == witnesses.len();
        let store = options.store.as_deref().filter(|_| is_whole);
        let question = serde_json::to_string(parts).unwrap_or_default();
        let question = format!("package records 1 {question}");
        recall(
            store,
            &question,
            true,
            &files.iter().collect::<Vec<_>>(),
            &|| self.packages.open(host).records(parts),
        )
    }
}

/// Returns the text with the distribution of the host, and its path there.
fn release_of(host: &Host) -> Option<(Vec<u8>, String)> {
    let mut paths = RELEASES.iter().map(|path| host.rooted(path.as_bytes()));
    paths.find_map(|path| {
        let real = host.inside(&host.real(&path)?)?;
        let text = host.read(&path, MAX_RELEASE_BYTES)?;
        Some((text, real.to_str()?.to_owned()))
    })
}

/// Makes files of records, but for packages that the image has records of.
fn as_members(files: BTreeMap<String, String>, contents: &Contents<'_>) -> Vec<Member> {
    let is_new = |path: &str| !has(contents, path.strip_suffix(".md5sums").unwrap_or(path));
    let files = files.into_iter().filter(|(path, _)| is_new(path));
    let member = |(path, text): (String, String)| {
        let path = ImagePath::parse(path).ok()?;
        Some(Member::file(path, 0o644, text.into_bytes()))
    };
    files.filter_map(member).collect()
}

/// Makes the file with the distribution, and the link to it.
fn release_members(text: Vec<u8>) -> Vec<Member> {
    let [file, link] = RELEASES.map(|path| ImagePath::parse(path).expect("it is absolute"));
    let link = Entry::symlink(link, format!("..{}", RELEASES[0]));
    vec![Member::file(file, 0o644, text), link.into()]
}

fn has(contents: &Contents<'_>, path: &str) -> bool {
    ImagePath::parse(path).is_ok_and(|path| contents.file(&path).is_some())
}

/// Returns the name and the version of the distribution of an os-release file.
fn distribution(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let value = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value.unwrap_or_default().trim().trim_matches(['"', '\''])
    };
    let both = format!("{} {}", value("ID="), value("VERSION_ID="));
    both.trim().to_owned()
}

#[cfg(test)]
mod tests;
