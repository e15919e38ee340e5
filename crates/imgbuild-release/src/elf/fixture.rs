//! Makes small ELF files of any kind for tests, without a compiler.

use super::{Class, Elf, Endianness};

/// The content of the file to be made.
#[derive(Clone)]
pub(crate) struct Fixture {
    class: Class,
    endianness: Endianness,
    machine: u16,
    file_type: u16,
    flags: u32,
    os_abi: u8,
    flags_1: u64,
    interpreter: Option<String>,
    soname: Option<String>,
    needed: Vec<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    imports: Vec<String>,
    needed_versions: Vec<(String, Vec<(String, bool)>)>,
    defined_versions: Vec<String>,
    isa: Option<u32>,
    tags: Vec<(u64, String)>,
    appendix: Vec<u8>,
}

impl Fixture {
    /// A library for amd64 without any name or need.
    pub(crate) fn new() -> Self {
        Self {
            class: Class::Bits64,
            endianness: Endianness::Little,
            machine: 62,
            file_type: 3,
            flags: 0,
            os_abi: 0,
            flags_1: 0,
            interpreter: None,
            soname: None,
            needed: Vec::new(),
            rpath: None,
            runpath: None,
            imports: Vec::new(),
            needed_versions: Vec::new(),
            defined_versions: Vec::new(),
            isa: None,
            tags: Vec::new(),
            appendix: Vec::new(),
        }
    }

    pub(crate) fn machine(mut self, machine: u16, class: Class, endianness: Endianness) -> Self {
        (self.machine, self.class, self.endianness) = (machine, class, endianness);
        self
    }

    pub(crate) fn file_type(mut self, file_type: u16) -> Self {
        self.file_type = file_type;
        self
    }

    pub(crate) fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn os_abi(mut self, os_abi: u8) -> Self {
        self.os_abi = os_abi;
        self
    }

    pub(crate) fn flags_1(mut self, flags: u64) -> Self {
        self.flags_1 = flags;
        self
    }

    pub(crate) fn interpreter(mut self, path: &str) -> Self {
        self.interpreter = Some(path.to_owned());
        self
    }

    pub(crate) fn soname(mut self, name: &str) -> Self {
        self.soname = Some(name.to_owned());
        self
    }

    pub(crate) fn needed(mut self, names: &[&str]) -> Self {
        self.needed
            .extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    pub(crate) fn rpath(mut self, path: &str) -> Self {
        self.rpath = Some(path.to_owned());
        self
    }

    pub(crate) fn runpath(mut self, path: &str) -> Self {
        self.runpath = Some(path.to_owned());
        self
    }

    pub(crate) fn imports(mut self, names: &[&str]) -> Self {
        self.imports
            .extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    pub(crate) fn needs_version(mut self, library: &str, versions: &[(&str, bool)]) -> Self {
        let versions = versions
            .iter()
            .map(|(name, is_weak)| ((*name).to_owned(), *is_weak))
            .collect();
        self.needed_versions.push((library.to_owned(), versions));
        self
    }

    pub(crate) fn defines_versions(mut self, versions: &[&str]) -> Self {
        self.defined_versions
            .extend(versions.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Adds entries with names to the dynamic section.
    pub(crate) fn tag(mut self, tag: u64, name: &str) -> Self {
        self.tags.push((tag, name.to_owned()));
        self
    }

    pub(crate) fn isa(mut self, bits: u32) -> Self {
        self.isa = Some(bits);
        self
    }

    /// Bytes behind everything else, as a loader's default directories.
    pub(crate) fn appendix(mut self, bytes: &[u8]) -> Self {
        self.appendix = bytes.to_vec();
        self
    }

    /// Reads the file that these bytes make.
    pub(crate) fn elf(&self) -> Elf {
        Elf::read(self.bytes().as_slice()).unwrap().unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        // All of the file is one segment, loaded where it lies.
        let mut strings = Strings(vec![0]);
        let header_bytes = if self.is_wide() { 64 } else { 52 };
        let segment_bytes = if self.is_wide() { 56 } else { 32 };
        let body_at = header_bytes + 4 * segment_bytes;
        let mut body = Body {
            fixture: self,
            at: body_at,
            bytes: Vec::new(),
        };
        let interpreter = body.add(&match &self.interpreter {
            Some(path) => [path.as_bytes(), b"\0"].concat(),
            None => Vec::new(),
        });
        let note = body.add(&self.note());
        let mut tags = self.name_tags(&mut strings);
        body.versions(&mut strings, &mut tags);
        body.symbols(&mut strings, &mut tags);
        let (at, size) = body.add(&strings.0);
        tags.extend([(5, at as u64), (10, size as u64), (0, 0)]);
        let mut section = Vec::new();
        for (tag, value) in tags {
            self.word(&mut section, tag);
            self.word(&mut section, value);
        }
        let dynamic = body.add(&section);
        body.bytes.extend(&self.appendix);
        let whole = (0, body_at + body.bytes.len());
        let body = body.bytes;
        let mut bytes = self.header();
        for (kind, range) in [
            (1, whole),
            (2, dynamic),
            (3, interpreter),
            (0x6474_e553, note),
        ] {
            bytes.extend(self.segment(if range.1 == 0 { 0 } else { kind }, range));
        }
        bytes.extend(body);
        bytes
    }

    fn name_tags(&self, strings: &mut Strings) -> Vec<(u64, u64)> {
        let mut tags: Vec<(u64, u64)> = self
            .needed
            .iter()
            .map(|name| (1, strings.add(name)))
            .collect();
        for (tag, text) in [(14, &self.soname), (15, &self.rpath), (29, &self.runpath)] {
            tags.extend(text.iter().map(|text| (tag, strings.add(text))));
        }
        let further = self.tags.iter();
        tags.extend(further.map(|(tag, name)| (*tag, strings.add(name))));
        tags.push((0x6fff_fffb, self.flags_1));
        tags
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F'];
        bytes.push(if self.is_wide() { 2 } else { 1 });
        bytes.push(match self.endianness {
            Endianness::Little => 1,
            Endianness::Big => 2,
        });
        bytes.extend([1, self.os_abi, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.half(&mut bytes, self.file_type);
        self.half(&mut bytes, self.machine);
        self.number(&mut bytes, 1);
        let header_bytes: u16 = if self.is_wide() { 64 } else { 52 };
        for word in [0, u64::from(header_bytes), 0] {
            self.word(&mut bytes, word);
        }
        self.number(&mut bytes, self.flags);
        let segment_bytes = if self.is_wide() { 56 } else { 32 };
        for half in [header_bytes, segment_bytes, 4, 0, 0, 0] {
            self.half(&mut bytes, half);
        }
        bytes
    }

    fn segment(&self, kind: u32, (at, size): (usize, usize)) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.number(&mut bytes, kind);
        if self.is_wide() {
            self.number(&mut bytes, 4);
        }
        for word in [at, at, at, size, size] {
            self.word(&mut bytes, word as u64);
        }
        if !self.is_wide() {
            self.number(&mut bytes, 4);
        }
        self.word(&mut bytes, 1);
        bytes
    }

    fn note(&self) -> Vec<u8> {
        let Some(bits) = self.isa else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        for number in [4, 32, 5] {
            self.number(&mut bytes, number);
        }
        bytes.extend(b"GNU\0");
        // Another property comes first: control-flow protection.
        for number in [0xc000_0002, 4, 3, 0, 0xc000_8002, 4, bits, 0] {
            self.number(&mut bytes, number);
        }
        bytes
    }

    fn is_wide(&self) -> bool {
        self.class == Class::Bits64
    }

    fn half(&self, bytes: &mut Vec<u8>, value: u16) {
        match self.endianness {
            Endianness::Little => bytes.extend(value.to_le_bytes()),
            Endianness::Big => bytes.extend(value.to_be_bytes()),
        }
    }

    fn number(&self, bytes: &mut Vec<u8>, value: u32) {
        match self.endianness {
            Endianness::Little => bytes.extend(value.to_le_bytes()),
            Endianness::Big => bytes.extend(value.to_be_bytes()),
        }
    }

    fn word(&self, bytes: &mut Vec<u8>, value: u64) {
        match (self.is_wide(), self.endianness) {
            (true, Endianness::Little) => bytes.extend(value.to_le_bytes()),
            (true, Endianness::Big) => bytes.extend(value.to_be_bytes()),
            (false, _) => self.number(bytes, u32::try_from(value).unwrap()),
        }
    }
}

struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u64 {
        let at = self.0.len();
        self.0.extend(text.as_bytes());
        self.0.push(0);
        at as u64
    }
}

struct Body<'a> {
    fixture: &'a Fixture,
    at: usize,
    bytes: Vec<u8>,
}

impl Body<'_> {
    fn add(&mut self, bytes: &[u8]) -> (usize, usize) {
        while !(self.at + self.bytes.len()).is_multiple_of(8) {
            self.bytes.push(0);
        }
        let at = self.at + self.bytes.len();
        self.bytes.extend(bytes);
        (at, bytes.len())
    }

    fn versions(&mut self, strings: &mut Strings, tags: &mut Vec<(u64, u64)>) {
        let fixture = self.fixture;
        let mut needed = Vec::new();
        let count = fixture.needed_versions.len();
        for (index, (library, versions)) in fixture.needed_versions.iter().enumerate() {
            fixture.half(&mut needed, 1);
            fixture.half(&mut needed, u16::try_from(versions.len()).unwrap());
            let bytes = u32::try_from(16 + 16 * versions.len()).unwrap();
            let next = if index + 1 == count { 0 } else { bytes };
            for number in [u32::try_from(strings.add(library)).unwrap(), 16, next] {
                fixture.number(&mut needed, number);
            }
            for (index, (name, is_weak)) in versions.iter().enumerate() {
                fixture.number(&mut needed, 0);
                fixture.half(&mut needed, if *is_weak { 2 } else { 0 });
                fixture.half(&mut needed, 2);
                fixture.number(&mut needed, u32::try_from(strings.add(name)).unwrap());
                let next = if index + 1 == versions.len() { 0 } else { 16 };
                fixture.number(&mut needed, next);
            }
        }
        if count > 0 {
            let (at, _) = self.add(&needed);
            tags.extend([(0x6fff_fffe, at as u64), (0x6fff_ffff, count as u64)]);
        }
        self.defined_versions(strings, tags);
    }

    fn defined_versions(&mut self, strings: &mut Strings, tags: &mut Vec<(u64, u64)>) {
        let fixture = self.fixture;
        if fixture.defined_versions.is_empty() {
            return;
        }
        let mut defined = Vec::new();
        let base = "the file itself".to_owned();
        let names: Vec<&String> = [&base]
            .into_iter()
            .chain(&fixture.defined_versions)
            .collect();
        for (index, name) in names.iter().enumerate() {
            for half in [1, u16::from(index == 0), 1, 1] {
                fixture.half(&mut defined, half);
            }
            let next = if index + 1 == names.len() { 0 } else { 28 };
            let name = u32::try_from(strings.add(name)).unwrap();
            for number in [0, 20, next, name, 0] {
                fixture.number(&mut defined, number);
            }
        }
        let (at, _) = self.add(&defined);
        tags.extend([(0x6fff_fffc, at as u64), (0x6fff_fffd, names.len() as u64)]);
    }

    /// The symbols come right before the strings, as linkers put them.
    fn symbols(&mut self, strings: &mut Strings, tags: &mut Vec<(u64, u64)>) {
        let fixture = self.fixture;
        let mut symbols = vec![0; if fixture.is_wide() { 24 } else { 16 }];
        for name in &fixture.imports {
            let start = symbols.len();
            fixture.number(&mut symbols, u32::try_from(strings.add(name)).unwrap());
            symbols.resize(start + if fixture.is_wide() { 24 } else { 16 }, 0);
        }
        let (at, _) = self.add(&symbols);
        tags.push((6, at as u64));
    }
}
