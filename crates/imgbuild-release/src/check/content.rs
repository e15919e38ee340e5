//! Questions about contents, whose answers are remembered.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use imgbuild_oci::buffer::AlignedBuffer;
use imgbuild_oci::content::{Content, FileRange, HostFile};
use imgbuild_oci::store::Store;

use crate::elf::ReadAt;

pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// As few files are looked at again each time, if the look is a short one.
const FEW: usize = 8;

pub(crate) enum ReadableContent<'a> {
    Bytes(&'a [u8]),
    File(fs_err::File),
    Range(&'a FileRange),
}

impl<'a> ReadableContent<'a> {
    pub(crate) fn open(content: &'a Content) -> Option<Self> {
        match content {
            Content::Bytes(bytes) => Some(Self::Bytes(bytes)),
            Content::File(file) => file.open().ok().map(Self::File),
            Content::Range(range) => Some(Self::Range(range)),
        }
    }
}

impl ReadAt for ReadableContent<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read_at(buffer, offset),
            Self::File(file) => ReadAt::read_at(file, buffer, offset),
            Self::Range(range) => range.read_at(buffer, offset),
        }
    }
}

/// Returns the answer to `question` for each content: a byte that depends on it
/// alone.
pub(super) fn answers(
    store: Option<&Store>,
    question: &str,
    is_long: bool,
    contents: &[&Content],
    answer: impl Fn(&Content) -> u8,
) -> Vec<u8> {
    let each = || contents.iter().map(|content| answer(content)).collect();
    let mut answers: Vec<u8> = recall(store, question, is_long, contents, &each);
    answers.truncate(contents.len());
    answers
}

/// Returns what the store remembers of files in this state, or the result of
/// `find`. Answers to other questions have other names. If `is_long`, even the
/// answer for one content is worth remembering.
pub(crate) fn recall<T: Serialize + DeserializeOwned>(
    store: Option<&Store>,
    question: &str,
    is_long: bool,
    contents: &[&Content],
    find: &dyn Fn() -> T,
) -> T {
    let files = contents.iter().map(|content| match content {
        Content::File(file) => Some(file),
        Content::Bytes(_) | Content::Range(_) => None,
    });
    let files: Option<Vec<&HostFile>> = files.collect();
    let is_worth_it = is_long || contents.len() > FEW;
    let (Some(files), Some(store), true) = (files, store, is_worth_it) else {
        return find();
    };
    let (key, note) = store.note(question, files.iter().copied()).unzip();
    let known = |note: Vec<u8>| serde_json::from_slice(&note).ok();
    if let Some(note) = note.flatten().and_then(known) {
        return note;
    }
    let found = find();
    // What has changed in between is another question the next time.
    let is_steady =
        |file: &&HostFile| HostFile::find(&file.path).is_ok_and(|now| now.state == file.state);
    if let (Some(key), Ok(note)) = (key, serde_json::to_vec(&found))
        && files.iter().all(is_steady)
    {
        store.remember_note(key, &note);
    }
    found
}

/// Returns whether a content has any of the texts, all of which begin with
/// `/`.
pub(super) fn names_any(content: &Content, texts: &[&str]) -> bool {
    let longest = texts.iter().map(|text| text.len()).max();
    let Some(opened) = ReadableContent::open(content) else {
        return false;
    };
    let mut buffer = AlignedBuffer::new(BLOCK_BYTES);
    let blocks = Blocks {
        opened: &opened,
        size: content.size(),
        overlap: longest.unwrap_or_default(),
    };
    let mut look = |block: &[u8]| has_any(block, texts).then_some(());
    blocks.find(buffer.as_mut_slice(), &mut look).is_some()
}

/// The first `size` bytes of a content in blocks, each of which begins with the
/// last `overlap` bytes of the one before, so that what began there is whole.
pub(super) struct Blocks<'a> {
    pub(super) opened: &'a ReadableContent<'a>,
    pub(super) size: u64,
    pub(super) overlap: usize,
}

impl Blocks<'_> {
    /// Calls `look` with each block, until it returns something. The size of the
    /// buffer is that of a block.
    pub(super) fn find<T>(
        &self,
        buffer: &mut [u8],
        look: &mut dyn FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut offset = 0;
        loop {
            let count = at_most(self.size - offset, buffer.len());
            let filled = self.opened.fill_at(&mut buffer[..count], offset).ok()?;
            let found = look(&buffer[..filled]);
            let end = offset + filled as u64;
            if found.is_some() || filled < count || end == self.size {
                return found;
            }
            offset = end - self.overlap as u64;
        }
    }
}

/// Returns a size in bytes, or `limit` if it is smaller.
pub(super) fn at_most(size: u64, limit: usize) -> usize {
    usize::try_from(size).map_or(limit, |size| size.min(limit))
}

fn has_any(bytes: &[u8], texts: &[&str]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'/') {
        rest = &rest[at..];
        if texts.iter().any(|text| rest.starts_with(text.as_bytes())) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Returns whether two contents of one size are the same.
pub(super) fn are_same(first: &Content, second: &Content) -> bool {
    if let (Content::File(first), Content::File(second)) = (first, second)
        && first.state.identity() == second.state.identity()
    {
        return true;
    }
    let (Some(first), Some(second)) = (ReadableContent::open(first), ReadableContent::open(second))
    else {
        return false;
    };
    let mut buffers = [(); 2].map(|()| AlignedBuffer::new(BLOCK_BYTES));
    let mut offset = 0;
    loop {
        let [one, other] = buffers.each_mut().map(AlignedBuffer::as_mut_slice);
        let counts = (first.fill_at(one, offset), second.fill_at(other, offset));
        let (Ok(count), Ok(others)) = counts else {
            return false;
        };
        if one[..count] != other[..others] {
            return false;
        }
        if count < BLOCK_BYTES {
            return true;
        }
        offset += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;

    #[test]
    fn a_text_is_found_across_blocks() {
        let text = "/etc/ssl/cert.pem";
        for at in [0, 1, BLOCK_BYTES - 5, BLOCK_BYTES, 3 * BLOCK_BYTES - 1] {
            let mut bytes = vec![b'/'; at];
            bytes.extend(text.as_bytes());
            assert!(names_any(&bytes.into(), &[text, "/x"]), "{at}");
        }
        assert!(!names_any(&vec![b'/'; 2 * BLOCK_BYTES].into(), &[text]));
        assert!(!names_any(&Vec::new().into(), &[text]));
    }

    #[test]
    fn contents_are_compared_to_their_end() {
        let bytes = |last: u8| -> Content {
            let mut bytes = vec![7; BLOCK_BYTES + 1];
            bytes[BLOCK_BYTES] = last;
            bytes.into()
        };
        assert!(are_same(&bytes(1), &bytes(1)));
        assert!(!are_same(&bytes(1), &bytes(2)));
    }

    #[test]
    fn no_reader_follows_a_link_in_place_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let script = "#!/bin/sh\nread /etc/x\n";
        let script_bytes = script.as_bytes().to_vec().into();
        fs_err::create_dir(at("release")).unwrap();
        fs_err::write(at("release/script"), script).unwrap();
        fs_err::write(at("release/program"), Fixture::new().bytes()).unwrap();
        let options = crate::release::ReleaseOptions::default();
        let members = crate::release::Release::open(&at("release"), &options)
            .unwrap()
            .members;
        // Whether each of the readers reads the program or the script.
        let reads = || {
            let [program, script] = &members[..] else {
                panic!("{members:?}");
            };
            let content = script.content.as_ref().unwrap();
            [
                crate::check::image::object(program).is_some(),
                names_any(content, &["/etc/x"]),
                are_same(content, &script_bytes),
                !crate::contents::first_bytes(content, 9).is_empty(),
                crate::programs::script_text(content).is_some(),
            ]
        };
        assert_eq!(reads(), [true; 5]);
        for name in ["script", "program"] {
            fs_err::rename(at("release").join(name), at(name)).unwrap();
            fs_err::os::unix::fs::symlink(at(name), at("release").join(name)).unwrap();
        }
        assert_eq!(reads(), [false; 5]);
    }

    #[test]
    fn an_answer_is_remembered_for_files_that_have_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs_err::write(&path, "x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
        let store = Store::open(&directory.path().join("store")).unwrap();
        let recall = |contents: &[&Content], answer: u8| {
            recall(Some(&store), "test", true, contents, &|| vec![answer])
        };
        let content = || Content::File(HostFile::find(&path).unwrap());
        assert_eq!(recall(&[&content()], 1), [1]);
        assert_eq!(recall(&[&content()], 2), [1]);
        fs_err::write(&path, "yy").unwrap();
        assert_eq!(recall(&[&content()], 3), [3]);
    }
}
