//! `ld.so.conf`: the directories that `ldconfig` reads for its cache.

use std::collections::BTreeSet;

use super::host::{Host, HostPath};

/// The depth to which files may include each other.
const MAX_DEPTH: usize = 8;

/// The number of files that are read at most.
const MAX_FILES: usize = 1000;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the directories of `/etc/ld.so.conf` and what it includes, in order.
///
/// Lines are read as `ldconfig` does (`parse_conf`, elf/ldconfig.c of glibc):
/// `#` starts a comment anywhere, `hwcap` lines are ignored, a directory may
/// have an old `=TYPE` behind it.
pub(super) fn directories(host: &Host) -> Vec<Vec<u8>> {
    let mut reader = Reader {
        host,
        directories: Vec::new(),
        files: BTreeSet::new(),
    };
    reader.read(b"/etc/ld.so.conf", 0);
    reader.directories
}

struct Reader<'a> {
    host: &'a Host,
    directories: Vec<Vec<u8>>,
    files: BTreeSet<Vec<u8>>,
}

impl Reader<'_> {
    fn read(&mut self, path: &[u8], depth: usize) {
        let is_new = self.files.insert(path.to_vec());
        if !is_new || depth > MAX_DEPTH || self.files.len() > MAX_FILES {
            return;
        }
        let Some(content) = self.host.read(&self.host.rooted(path), MAX_FILE_BYTES) else {
            return;
        };
        for line in content.split(|byte| *byte == b'\n') {
            let end = line.iter().position(|byte| *byte == b'#');
            let line = line[..end.unwrap_or(line.len())].trim_ascii();
            match keyword(line) {
                Some((b"include", patterns)) => self.include(path, patterns, depth),
                Some((b"hwcap", _)) => {}
                _ => self.add(line),
            }
        }
    }

    fn include(&mut self, from: &[u8], patterns: &[u8], depth: usize) {
        for pattern in patterns
            .split(u8::is_ascii_whitespace)
            .filter(|pattern| !pattern.is_empty())
        {
            let pattern = if pattern.starts_with(b"/") {
                pattern.to_vec()
            } else {
                let directory = from.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                [&from[..=directory], pattern].concat()
            };
            for path in expand(self.host, &pattern) {
                self.read(&path, depth + 1);
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        let end = line.iter().position(|byte| *byte == b'=');
        let mut directory = line[..end.unwrap_or(line.len())].trim_ascii_end();
        while let [rest @ .., b'/'] = directory {
            directory = rest;
        }
        let is_new = !self.directories.iter().any(|known| known == directory);
        if directory.starts_with(b"/") && is_new {
            self.directories.push(directory.to_vec());
        }
    }
}

/// Splits a line at its first blank.
fn keyword(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    Some((&line[..end], &line[end..]))
}

/// Returns the paths that match an absolute pattern, sorted.
fn expand(host: &Host, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut paths = vec![Vec::new()];
    for part in pattern
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        let mut next = Vec::new();
        for path in &paths {
            if part.iter().any(|byte| b"*?[".contains(byte)) {
                let directory: HostPath = host.rooted(if path.is_empty() { b"/" } else { path });
                let names = host.list(&directory);
                next.extend(
                    names
                        .iter()
                        .filter(|name| is_visible(part, name) && matches(part, name))
                        .map(|name| [path, b"/".as_slice(), name].concat()),
                );
            } else {
                next.push([path, b"/".as_slice(), part].concat());
            }
        }
        next.truncate(MAX_FILES);
        paths = next;
    }
    paths
}

/// A wildcard at the start matches no dot (glob(7)).
fn is_visible(pattern: &[u8], name: &[u8]) -> bool {
    !name.starts_with(b".") || pattern.starts_with(b".")
}

/// Matches `*`, `?` and `[…]` of glob(7). Going back to the last `*` only is
/// enough, and keeps the time quadratic for any pattern.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut on) = (0, 0);
    let mut star = None;
    while on < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, on));
            at += 1;
        } else if let Some(length) = match_one(&pattern[at..], name[on]) {
            at += length;
            on += 1;
        } else if let Some((star_at, star_on)) = star {
            at = star_at + 1;
            on = star_on + 1;
            star = Some((star_at, on));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Returns the length of the pattern's first element when it matches.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match_set(pattern, byte),
        literal => (*literal == byte).then_some(1),
    }
}

fn match_set(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = 1 + usize::from(negated);
    // A bracket right at the start is one of the set.
    let length = pattern
        .get(start + 1..)?
        .iter()
        .position(|byte| *byte == b']')?;
    let mut set = &pattern[start..=start + length];
    let mut found = false;
    while let [first, rest @ ..] = set {
        if let [b'-', last, rest @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            set = rest;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    (found != negated).then_some(start + length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.config", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?.conf", "a.conf", true),
            ("?.conf", "ab.conf", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]a]x", "]x", true),
            ("[a", "[a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn lines_are_read_as_ldconfig_does() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        };
        write(
            "etc/ld.so.conf",
            "# comment\n\n/first # why\ninclude\tld.so.conf.d/*.conf /etc/more/x.conf\n  /last/ \nhwcap 1 nosegneg\nrelative\n/old=libc5\n/first\n",
        );
        write("etc/ld.so.conf.d/b.conf", "/b\n");
        write("etc/ld.so.conf.d/a.conf", "/a\r\ninclude /etc/ld.so.conf\n");
        write("etc/ld.so.conf.d/.hidden.conf", "/hidden\n");
        write("etc/ld.so.conf.d/c.off", "/off\n");
        write("etc/more/x.conf", "/more");
        let host = Host::new(Some(root.path()));
        let directories: Vec<String> = directories(&host)
            .into_iter()
            .map(|directory| String::from_utf8(directory).unwrap())
            .collect();
        assert_eq!(
            directories,
            ["/first", "/a", "/b", "/more", "/last", "/old"]
        );
    }
}
