//! Modules in the file `lib/modules` of `jlink` ([`ImageHeader.java`],
//! [`ImageLocation.java`]): its list of files, and the descriptions of modules.
//!
//! [`ImageHeader.java`]: https://github.com/openjdk/jdk/blob/jdk-25-ga/src/java.base/share/classes/jdk/internal/jimage/ImageHeader.java
//! [`ImageLocation.java`]: https://github.com/openjdk/jdk/blob/jdk-25-ga/src/java.base/share/classes/jdk/internal/jimage/ImageLocation.java

use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::ZlibDecoder;
use imgbuild_oci::bounded;

use super::jar::number;

/// The start of the file on processors with the lowest byte first.
const MAGIC: &[u8] = &[0xDA, 0xDA, 0xFE, 0xCA];

/// The size of the header, and that of one before compressed contents.
const HEADER_BYTES: usize = 28;
const COMPRESSED_BYTES: usize = 29;

/// The most bytes of the list that are read; that of a whole JDK has 3 MiB.
const MAX_LIST_BYTES: usize = 32 << 20;

/// The most bytes of a description, and the most modules of an application.
const MAX_BYTES: u64 = 1 << 20;
const MAX_MODULES: usize = 1000;

/// The name of the attribute of a description with the main class, in its constants.
pub(super) const MAIN_CLASS: &[u8] = b"\x01\0\x0fModuleMainClass";

/// A module that is not of the JDK.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) has_main_class: bool,
}

/// The attributes of a file, by their kinds.
type Attributes = [u64; 8];

const MODULE: usize = 1;
const BASE: usize = 3;
const OFFSET: usize = 5;
const COMPRESSED: usize = 6;
const SIZE: usize = 7;

/// Returns the modules that are not of the JDK, sorted; `None` if the file cannot be read.
pub(super) fn modules(path: &Path) -> Option<Vec<Module>> {
    let mut file = bounded::open_file(path).ok()?;
    let mut at = |start: u64, limit: u64| {
        file.seek(SeekFrom::Start(start)).ok()?;
        bounded::read_start(&mut file, limit).ok()
    };
    let header = at(0, HEADER_BYTES as u64)?;
    let field = |at: usize| usize::try_from(number(&header, at, 4)?).ok();
    let (count, locations, strings) = (field(16)?, field(20)?, field(24)?);
    let start_of_locations = count.checked_mul(8)?.checked_add(HEADER_BYTES)?;
    let start_of_strings = start_of_locations.checked_add(locations)?;
    let end = start_of_strings.checked_add(strings)?;
    if !header.starts_with(MAGIC) || end > MAX_LIST_BYTES {
        return None;
    }
    let list = at(0, end as u64)?;
    let text = |offset: u64| text_at(list.get(start_of_strings..end)?, offset);
    let mut found = Vec::new();
    for index in 0..count {
        let place = number(&list, HEADER_BYTES + 4 * (count + index), 4)?;
        let place = start_of_locations.checked_add(usize::try_from(place).ok()?)?;
        let attributes = attributes(list.get(place..start_of_strings)?)?;
        let name = text(attributes[MODULE])?;
        let is_own = !["java.", "jdk."]
            .iter()
            .any(|start| name.starts_with(start));
        if is_own && text(attributes[BASE])? == "module-info" && found.len() < MAX_MODULES {
            let size = attributes[COMPRESSED].max(attributes[SIZE]).min(MAX_BYTES);
            let start = attributes[OFFSET].checked_add(end as u64)?;
            let content = unpacked(at(start, size)?, &text);
            found.push(Module {
                name: name.to_owned(),
                has_main_class: content.windows(MAIN_CLASS.len()).any(|it| it == MAIN_CLASS),
            });
        }
    }
    found.sort();
    Some(found)
}

/// Reads the attributes of a file: each a byte with its kind and its length, and a value
/// with the highest byte first.
fn attributes(mut bytes: &[u8]) -> Option<Attributes> {
    let mut found = Attributes::default();
    while let [first, rest @ ..] = bytes {
        let (kind, length) = (usize::from(first >> 3), usize::from(first & 7) + 1);
        if kind == 0 {
            return Some(found);
        }
        let value = rest.get(..length)?.iter();
        *found.get_mut(kind)? = value.fold(0, |value, byte| value << 8 | u64::from(*byte));
        bytes = &rest[length..];
    }
    None
}

/// Returns the contents of a file, which `jlink` may have compressed.
fn unpacked<'t>(content: Vec<u8>, text: &dyn Fn(u64) -> Option<&'t str>) -> Vec<u8> {
    let method = number(&content, 20, 4).filter(|_| content.starts_with(&[0xFA, 0xFA, 0xFE, 0xCA]));
    match (method.and_then(text), content.get(COMPRESSED_BYTES..)) {
        (Some("zip"), Some(packed)) => bounded::read_available(ZlibDecoder::new(packed), MAX_BYTES),
        _ => content,
    }
}

fn text_at(strings: &[u8], offset: u64) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let text = rest.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use fs_err as fs;

    use super::*;

    /// Makes the file of modules with these descriptions.
    pub(in crate::kind) fn image(descriptions: &[(&str, &[u8])]) -> Vec<u8> {
        let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut strings = b"\0module-info\0zip\0".to_vec();
        let (mut places, mut locations, mut contents) = (Vec::new(), vec![0], Vec::new());
        for (name, content) in descriptions {
            places.extend(long(locations.len()));
            let values = [
                (MODULE, strings.len()),
                (BASE, 1),
                (OFFSET, contents.len()),
                (SIZE, content.len()),
            ];
            for (kind, value) in values {
                locations.push(u8::try_from(kind << 3 | 3).unwrap());
                locations.extend(u32::try_from(value).unwrap().to_be_bytes());
            }
            locations.push(0);
            strings.extend([name.as_bytes(), b"\0"].concat());
            contents.extend(*content);
        }
        let count = descriptions.len();
        let sizes = [0, 0, count, count, locations.len(), strings.len()];
        let header = [MAGIC.to_vec(), sizes.map(long).concat()].concat();
        [
            header,
            vec![0; 4 * count],
            places,
            locations,
            strings,
            contents,
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Option<Vec<Module>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("modules");
        fs::write(&path, bytes).unwrap();
        modules(&path)
    }

    fn packed() -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(MAIN_CLASS).unwrap();
        let mut content = vec![0xFA, 0xFA, 0xFE, 0xCA];
        content.resize(COMPRESSED_BYTES, 0);
        content[20] = 13;
        content.extend(encoder.finish().unwrap());
        content
    }

    #[test]
    fn modules_of_the_application_are_found_with_their_main_classes() {
        let compressed = packed();
        let bytes = image(&[
            ("shop", MAIN_CLASS),
            ("greeting", b"Main"),
            ("java.base", MAIN_CLASS),
            ("tool", &compressed),
        ]);
        let found = read(&bytes).unwrap();
        let shown = found.iter().map(|it| (it.name.as_str(), it.has_main_class));
        let expected = [("greeting", false), ("shop", true), ("tool", true)];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn damaged_files_are_no_modules() {
        let bytes = image(&[("shop", MAIN_CLASS), ("tool", &packed())]);
        for end in 0..bytes.len() {
            drop(read(&bytes[..end]));
            let mut damaged = bytes.clone();
            damaged[end] = 0xFF;
            drop(read(&damaged));
        }
        assert_eq!(read(&bytes[..HEADER_BYTES]), None);
        assert_eq!(read(b"text"), None);
    }
}
