//! Archives whose bytes depend on their files alone: tar with gzip, `ar` and zip.

use std::collections::BTreeSet;
use std::path::Path;

use imgbuild_deflate::{Encoder, Level, gzip};
use tar::{Builder, EntryType, Header};

use crate::Result;

/// A file of an archive.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

impl Packed {
    pub(super) fn file(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let (path, bytes) = (path.into(), bytes.into());
        Self {
            path,
            mode: 0o644,
            bytes,
        }
    }

    pub(super) fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            mode: 0o755,
            ..Self::file(path, bytes)
        }
    }
}

fn level() -> Level {
    Level::new(9).unwrap_or_default()
}

pub(super) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    gzip::compress(bytes, level())
}

/// Returns a compressed tar of `files` with the directories that they are in,
/// all owned by root. `time` is in seconds of Unix.
pub(super) fn tar_gz(files: &[Packed], time: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let mut directories = BTreeSet::new();
    for file in files {
        let above: Vec<&Path> = Path::new(&file.path).ancestors().skip(1).collect();
        for directory in above.into_iter().rev() {
            let is_named = !matches!(directory.to_str(), Some("" | "."));
            if is_named && directories.insert(directory.to_owned()) {
                let directory = Packed::program(format!("{}/", directory.display()), "");
                append(&mut builder, EntryType::Directory, &directory, time)?;
            }
        }
        append(&mut builder, EntryType::Regular, file, time)?;
    }
    Ok(gzipped(&builder.into_inner()?))
}

fn append(builder: &mut Builder<Vec<u8>>, kind: EntryType, file: &Packed, time: u64) -> Result {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(file.mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_size(file.bytes.len() as u64);
    builder.append_data(&mut header, &file.path, &file.bytes[..])?;
    Ok(())
}

/// Returns an `ar` archive in the form that dpkg reads (deb(5)).
pub(super) fn ar(members: &[(&str, &[u8])], time: u64) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        let header = format!(
            "{name:<16}{time:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, "100644"
        );
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// 1980-01-01, the first day that a zip can express.
const DOS_DATE: u16 = 0x21;

/// Returns a zip (APPNOTE.TXT of PKWARE, version 2.0) of `files`.
pub(super) fn zip(files: &[Packed]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for file in files {
        let mut compressed = Vec::new();
        Encoder::new(level()).compress_block(&file.bytes, 0, true, &mut compressed);
        let offset = bytes.len() as u32;
        // Version needed, flags, DEFLATE, time and date, sizes, length of the name.
        let mut common = Vec::new();
        for number in [20, 0, 8, 0, DOS_DATE] {
            common.extend_from_slice(&u16::to_le_bytes(number));
        }
        let sizes = [compressed.len(), file.bytes.len()];
        let crc = crc32fast::hash(&file.bytes);
        for number in [crc, sizes[0] as u32, sizes[1] as u32] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&(file.path.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);

        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&common);
        bytes.extend_from_slice(file.path.as_bytes());
        bytes.extend_from_slice(&compressed);

        // Made on Unix, whose mode is the upper half of the attributes.
        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&((0o100_000 | file.mode) << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(file.path.as_bytes());
    }
    end_of_zip(bytes, &directory, files.len() as u16)
}

fn end_of_zip(mut bytes: Vec<u8>, directory: &[u8], count: u16) -> Vec<u8> {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{command, output};

    fn files() -> Vec<Packed> {
        vec![
            Packed::program("a/b/run", "run run run run"),
            Packed::file("a/text", vec![b'x'; 400_000]),
            Packed::file("a/none", ""),
        ]
    }

    #[test]
    fn tar_lists_files_with_their_directories() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("a.tar.gz");
        fs_err::write(&file, tar_gz(&files(), 86_400).unwrap()).unwrap();
        let words = [
            "tar",
            "--utc",
            "--full-time",
            "-tvf",
            file.to_str().unwrap(),
        ];
        let listed = output(&mut command(&words)).unwrap();
        let listed: Vec<String> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            listed,
            [
                "drwxr-xr-x root/root 0 1970-01-02 00:00:00 a/",
                "drwxr-xr-x root/root 0 1970-01-02 00:00:00 a/b/",
                "-rwxr-xr-x root/root 15 1970-01-02 00:00:00 a/b/run",
                "-rw-r--r-- root/root 400000 1970-01-02 00:00:00 a/text",
                "-rw-r--r-- root/root 0 1970-01-02 00:00:00 a/none",
            ]
        );
    }

    #[test]
    fn python_reads_the_zip() {
        if !imgbuild_testing::skip::has_programs(&["python3"]) {
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("a.zip");
        fs_err::write(&file, zip(&files())).unwrap();
        let script = "import sys, zipfile\n\
            z = zipfile.ZipFile(sys.argv[1])\n\
            assert z.testzip() is None\n\
            for i in z.infolist(): print(i.filename, oct(i.external_attr >> 16), i.file_size)";
        let words = ["python3", "-c", script, file.to_str().unwrap()];
        assert_eq!(
            output(&mut command(&words)).unwrap(),
            "a/b/run 0o100755 15\na/text 0o100644 400000\na/none 0o100644 0\n"
        );
    }

    #[test]
    fn members_of_ar_begin_at_even_offsets() {
        let bytes = ar(&[("one", b"1"), ("two", b"22")], 0);
        assert_eq!(bytes.len(), 8 + 60 + 2 + 60 + 2);
        assert_eq!(&bytes[8 + 60 + 2..][..3], b"two");
    }
}
