//! Images in an image: what earlier runs wrote beside a release.
//!
//! Only the output of the same run is left out by itself. Another archive or
//! layout may be meant, as of an image that an application loads: it goes in,
//! and is named.

use std::io::Read;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;

use super::content::{ReadableContent, answers};
use crate::elf::ReadAt;
use crate::finding::{Finding, Rule};

/// Ends of the names of archives.
const ENDINGS: [&[u8]; 3] = [b".tar", b".tar.gz", b".tgz"];

/// The names of files that lie at the top of an archive with images: those of
/// [image layouts] and of `docker save`.
///
/// [image layouts]: https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
const NAMES: [&[u8]; 5] = [
    b"oci-layout",
    b"index.json",
    b"manifest.json",
    b"repositories",
    b"blobs",
];

/// The file that makes a directory an image layout.
const LAYOUT: &[u8] = b"oci-layout";

/// As much of a compressed archive is read: deflate's headers and the first
/// one of tar.
const HEAD_BYTES: usize = 4096;

/// The bytes of a tar header that are its name.
const NAME_BYTES: usize = 100;

/// The archives and layouts among the members.
#[derive(Debug, Default)]
pub(super) struct ImageArchives<'a> {
    findings: Vec<Finding>,
    archives: Vec<(&'a ImagePath, &'a Content)>,
}

impl<'a> ImageArchives<'a> {
    pub(super) fn visit(&mut self, member: &'a Member, name: &[u8]) {
        let EntryKind::File { size } = member.entry.kind else {
            return;
        };
        let path = &member.entry.path;
        if name == LAYOUT
            && let Some(directory) = path.parent()
        {
            self.findings.push(image_within(&directory, "layout"));
        }
        let is_archive = ENDINGS.iter().any(|end| name.ends_with(end));
        if let (true, 1.., Some(content)) = (is_archive, size, &member.content) {
            self.archives.push((path, content));
        }
    }

    /// Looks at the beginning of the archives.
    pub(super) fn finish(mut self, store: Option<&Store>) -> Vec<Finding> {
        let contents: Vec<&Content> = self.archives.iter().map(|(_, content)| *content).collect();
        let question = "archive of an image";
        let found = answers(store, question, false, &contents, |content| {
            is_of_image(content).into()
        });
        for ((path, _), answer) in self.archives.iter().zip(found) {
            if answer == 1 {
                self.findings.push(image_within(path, "archive"));
            }
        }
        self.findings
    }
}

fn image_within(path: &ImagePath, what: &str) -> Finding {
    let reason = format!("`{path}` is a container image ({what}), probably of an earlier run");
    Finding::warning(Rule::BuildLeftover, Some(path), reason)
}

/// Returns whether the first name in an archive is one of an image's.
fn is_of_image(content: &Content) -> bool {
    let mut head = vec![0; HEAD_BYTES];
    let Some(count) =
        ReadableContent::open(content).and_then(|opened| opened.fill_at(&mut head, 0).ok())
    else {
        return false;
    };
    head.truncate(count);
    if head.starts_with(b"\x1f\x8b") {
        let mut name = [0; NAME_BYTES];
        let mut decoder = flate2::read::GzDecoder::new(head.as_slice());
        return decoder.read_exact(&mut name).is_ok() && is_name_of_image(&name);
    }
    head.get(..NAME_BYTES).is_some_and(is_name_of_image)
}

fn is_name_of_image(field: &[u8]) -> bool {
    let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    // Of old archives: directories of layers, and configurations.
    let stem = first.strip_suffix(b".json").unwrap_or(first);
    let is_digest = stem.len() == 64 && stem.iter().all(u8::is_ascii_hexdigit);
    is_digest || NAMES.contains(&first)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn header(name: &str) -> Vec<u8> {
        let mut header = name.as_bytes().to_vec();
        header.resize(512, 0);
        header
    }

    fn found(path: &str, bytes: Vec<u8>) -> Vec<String> {
        let member = Member::file(ImagePath::parse(path).unwrap(), 0o644, bytes);
        let mut archives = ImageArchives::default();
        archives.visit(&member, member.entry.path.file_name());
        let findings = archives.finish(None).into_iter();
        findings
            .map(|finding| finding.path.unwrap().to_string())
            .collect()
    }

    #[test]
    fn archives_of_images_are_told_by_their_first_name() {
        let digest = "0123456789abcdef".repeat(4);
        for (name, expected) in [
            ("blobs/", true),
            ("blobs/sha256/x", true),
            ("./oci-layout", true),
            ("manifest.json", true),
            ("repositories", true),
            (&format!("{digest}.json"), true),
            (&format!("{digest}/layer.tar"), true),
            ("data/manifest.json", false),
            ("manifest.json.d/", false),
            ("app/", false),
            ("", false),
        ] {
            let plain = found("/app/x.tar", header(name));
            assert_eq!(plain.len(), usize::from(expected), "{name}");
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&header(name)).unwrap();
            let packed = found("/app/x.tar.gz", encoder.finish().unwrap());
            assert_eq!(packed.len(), usize::from(expected), "{name}");
        }
        assert!(found("/app/x.data", header("oci-layout")).is_empty());
        assert!(found("/app/x.tgz", b"\x1f\x8b broken".to_vec()).is_empty());
        assert!(found("/app/x.tar", b"short".to_vec()).is_empty());
    }

    #[test]
    fn a_layout_is_told_by_its_own_file() {
        assert_eq!(found("/app/out/oci-layout", b"{}".to_vec()), ["/app/out"]);
    }
}
