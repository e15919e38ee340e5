//! Files that are secrets by their names, and texts and keys in which secrets are
//! found.

mod binary;
mod forms;
mod names;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Mutex;

use imgbuild_oci::buffer::AlignedBuffer;
use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::parallel;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::store::Store;
use serde::{Deserialize, Serialize};

use super::content::{BLOCK_BYTES, Blocks, ReadableContent, at_most, recall};
use super::subject::Subject;
use crate::elf::ReadAt;
use crate::finding::{Finding, Rule};
use crate::walk;
use forms::{Form, has};

pub(super) use forms::{is_random, secrets_in};

/// The size limit of files that are kept of an existing image to be searched.
pub(super) const MAX_KEY_BYTES: u64 = 64 * 1024;

/// The bytes that tell a text from another file.
const HEAD_BYTES: usize = 4096;

/// The size limit of files that are read at once.
const SMALL_BYTES: u64 = 32 * 1024;

/// The bytes of a text that are searched at most.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The bytes that a block repeats of the one before: a secret is in one of them.
const OVERLAP_BYTES: usize = 8192;

/// The size of the smallest secret.
const MIN_BYTES: u64 = 20;

/// The number of files whose answers are remembered together: a rebuild reads
/// those again in whose group a file changed.
const GROUP: usize = 256;

const COOKIE: &str = "the cookie of a release";
const GOOGLE_KEY: &str = "an API key of Google";
const PRIVATE_KEY: &str = "a private key";
const SERVICE_ACCOUNT: &str = "the key of a service account of Google Cloud";

/// A file that is searched, and the form that its name suggests.
#[derive(Debug)]
struct SecretCandidate<'a> {
    path: &'a ImagePath,
    content: &'a Content,
    form: Option<&'static Form>,
}

/// A secret in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FoundSecret {
    what: String,
    /// 0 if the file is not a text.
    line: usize,
}

/// The secrets among the members, and the files to be searched for some.
#[derive(Debug, Default)]
pub(super) struct SecretFiles<'a> {
    findings: Vec<Finding>,
    candidates: Vec<SecretCandidate<'a>>,
}

impl<'a> SecretFiles<'a> {
    pub(super) fn visit(&mut self, member: &'a Member, name: &[u8]) {
        let path = &member.entry.path;
        if member.entry.kind == EntryKind::Directory {
            if name == b".git" {
                let history = "the history of the source, with all that ever was in it";
                self.findings.push(by_name(path, history));
            }
            return;
        }
        let form = names::find(path);
        let size = member.entry.content_size();
        match (
            form.map(|form| (form.what, form.is_empty())),
            &member.content,
        ) {
            (Some(("-", _)), _) => {}
            (Some((what, true)), _) if what != "*" => self.findings.push(by_name(path, what)),
            (known, Some(content)) if size >= MIN_BYTES || known.is_some() => {
                self.candidates.push(SecretCandidate {
                    path,
                    content,
                    form,
                });
            }
            _ => {}
        }
    }

    /// Searches the files that were visited.
    pub(super) fn finish(self, subject: &Subject<'_>, store: Option<&Store>) -> Vec<Finding> {
        // Only answers about files of the host are remembered.
        let is_file = |one: &SecretCandidate<'_>| matches!(one.content, Content::File(_));
        let (files, others): (Vec<_>, Vec<_>) = self.candidates.into_iter().partition(is_file);
        let groups = files.chunks(GROUP).chain(others.chunks(GROUP));
        let findings = Mutex::new(self.findings);
        let Ok(()) = parallel::for_each(walk::threads(), groups, |group, _| {
            let found = search(group, subject, store);
            let mut findings = findings.lock().expect("no holder of the lock panics");
            findings.extend(found);
            Ok::<(), Infallible>(())
        });
        findings.into_inner().expect("no holder of the lock panics")
    }
}

/// Returns whether a file is searched because of its name.
pub(super) fn is_named(path: &ImagePath) -> bool {
    names::find(path).is_some_and(|form| !form.is_empty())
}

fn by_name(path: &ImagePath, what: &str) -> Finding {
    let reason = match what {
        COOKIE => format!(
            "`{path}` is a secret that anyone with the image can read: it gives control of a node to anyone who reaches its ports; set `RELEASE_COOKIE` in the environment of the container instead"
        ),
        _ => format!("`{path}` is likely {what}: anyone with the image can read it"),
    };
    Finding::warning(Rule::SecretFile, Some(path), reason)
}

/// Returns the secrets in files.
fn search(
    group: &[SecretCandidate<'_>],
    subject: &Subject<'_>,
    store: Option<&Store>,
) -> Vec<Finding> {
    let contents: Vec<&Content> = group.iter().map(|one| one.content).collect();
    // The names in the image decide as well.
    let mut question = "secrets".to_owned();
    for one in group {
        let name = String::from_utf8_lossy(one.path.file_name());
        let is_special = one.form.is_some() || one.is_for_browsers();
        question.extend(["/", if is_special { &name } else { "" }]);
    }
    let size: u64 = contents.iter().map(|content| content.size()).sum();
    let is_long = size > BLOCK_BYTES as u64;
    let found: Vec<(usize, FoundSecret)> = recall(store, &question, is_long, &contents, &|| {
        let mut buffer = AlignedBuffer::new(BLOCK_BYTES);
        let texts = group.iter().enumerate();
        texts
            .filter(|(_, one)| !subject.is_elf(one.path))
            .filter_map(|(index, one)| Some((index, one.search(buffer.as_mut_slice())?)))
            .collect()
    });
    let found = found.into_iter();
    found
        .filter_map(|(index, secret)| Some(secret.finding(group.get(index)?.path)))
        .collect()
}

impl SecretCandidate<'_> {
    /// Returns the first secret in a file, as far as it can be read.
    fn search(&self, buffer: &mut [u8]) -> Option<FoundSecret> {
        let opened = ReadableContent::open(self.content)?;
        let size = self.content.size();
        let is_small = size <= SMALL_BYTES;
        let count = at_most(size, if is_small { buffer.len() } else { HEAD_BYTES });
        let count = opened.fill_at(&mut buffer[..count], 0).ok()?;
        if binary::may_be_key(&buffer[..count]) {
            let mut bytes = vec![0; at_most(size, BLOCK_BYTES)];
            let count = opened.fill_at(&mut bytes, 0).ok()?;
            if binary::is_key(&bytes[..count]) {
                let what = PRIVATE_KEY.to_owned();
                return Some(FoundSecret { what, line: 0 });
            }
        }
        if buffer[..count.min(HEAD_BYTES)].contains(&0) {
            return None;
        }
        let (what, at) = if is_small {
            self.in_text(&buffer[..count])?
        } else {
            let blocks = Blocks {
                opened: &opened,
                size: size.min(MAX_TEXT_BYTES),
                overlap: OVERLAP_BYTES,
            };
            let mut start = 0;
            blocks.find(buffer, &mut |block| {
                let found = self.in_text(block).map(|(what, at)| (what, start + at));
                start += block.len().saturating_sub(OVERLAP_BYTES);
                found
            })?
        };
        let mut before = vec![0; at];
        let count = opened.fill_at(&mut before, 0).ok()?;
        let line = 1 + line_breaks(&before[..count]);
        Some(FoundSecret { what, line })
    }

    /// Returns a secret in a part of a text, and its place.
    fn in_text(&self, text: &[u8]) -> Option<(String, usize)> {
        let mut secrets = secrets_in(text);
        let secret = secrets.find(|(what, _)| *what != GOOGLE_KEY || !self.is_for_browsers());
        let named = || {
            let form = self.form.filter(|form| !form.is_empty())?;
            Some((form.what, form.find(text)?))
        };
        let (what, at) = secret.or_else(named)?;
        let is_account = what == PRIVATE_KEY && has(text, b"\"service_account\"");
        let what = if is_account { SERVICE_ACCOUNT } else { what };
        Some((what.to_owned(), at))
    }

    /// Returns whether a browser or an app gets the file: a key of Google in it is
    /// for everyone.
    fn is_for_browsers(&self) -> bool {
        const ENDS: [&[u8]; 5] = [
            b".html",
            b".js",
            b".mjs",
            b"-Info.plist",
            b"google-services.json",
        ];
        ENDS.iter().any(|end| self.path.as_bytes().ends_with(end))
    }
}

impl FoundSecret {
    fn finding(self, path: &ImagePath) -> Finding {
        let (what, line) = (self.what, self.line);
        let reason = match (what.as_str(), line) {
            (COOKIE, _) => return by_name(path, COOKIE),
            (_, 0) => return by_name(path, &what),
            _ => format!(
                "`{path}` likely contains {what} in line {line}: anyone with the image can read it"
            ),
        };
        Finding::warning(Rule::SecretFile, Some(path), reason)
    }
}

fn line_breaks(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}
