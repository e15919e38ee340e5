//! `ld.so.conf`: the directories that `ldconfig` reads for its cache.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{Glob, GlobMatcher};

use super::host::Host;

/// The depth to which files may include each other.
const MAX_DEPTH: usize = 8;

const MAX_FILES: usize = 1000;

/// The size of all files together, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The number of directories; each one is compared with all others.
const MAX_DIRECTORIES: usize = 1000;

/// Reads the directories of `/etc/ld.so.conf` and what it includes, in order.
///
/// Lines are read as `ldconfig` does (`parse_conf`, elf/ldconfig.c of glibc):
/// `#` starts a comment anywhere, `hwcap` lines are ignored, a directory may
/// have an old `=TYPE` behind it.
pub(super) fn directories(host: &Host) -> Vec<Vec<u8>> {
    let mut reader = ConfigurationReader {
        host,
        directories: Vec::new(),
        files: BTreeSet::new(),
        left: MAX_BYTES,
    };
    reader.read(b"/etc/ld.so.conf", 0);
    reader.directories
}

struct ConfigurationReader<'a> {
    host: &'a Host,
    directories: Vec<Vec<u8>>,
    files: BTreeSet<Vec<u8>>,
    left: u64,
}

impl ConfigurationReader<'_> {
    fn read(&mut self, path: &[u8], depth: usize) {
        let is_new = self.files.insert(path.to_vec());
        if !is_new || depth > MAX_DEPTH || self.files.len() > MAX_FILES {
            return;
        }
        let Some(content) = self.host.read(&self.host.rooted(path), self.left) else {
            return;
        };
        self.left -= content.len() as u64;
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
        let patterns = patterns.split(u8::is_ascii_whitespace);
        for pattern in patterns.filter(|pattern| !pattern.is_empty()) {
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
        if directory.starts_with(b"/") && is_new && self.directories.len() < MAX_DIRECTORIES {
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
    let parts = pattern.split(|byte| *byte == b'/');
    for part in parts.filter(|part| !part.is_empty()) {
        let has_wildcard = part.iter().any(|byte| b"*?[".contains(byte));
        let matcher = matcher(part);
        // A wildcard at the start matches no dot.
        let is_match = |name: &[u8]| {
            let is_visible = !name.starts_with(b".") || part.starts_with(b".");
            is_visible
                && matcher
                    .as_ref()
                    .is_some_and(|matcher| matcher.is_match(OsStr::from_bytes(name)))
        };
        let mut next = Vec::new();
        for path in &paths {
            let mut names = vec![part.to_vec()];
            if has_wildcard {
                names = host.list(&host.rooted(if path.is_empty() { b"/" } else { path }));
                names.retain(|name| is_match(name));
            }
            let names = names.iter();
            next.extend(names.map(|name| [path, b"/".as_slice(), name].concat()));
        }
        next.truncate(MAX_FILES);
        paths = next;
    }
    paths
}

/// Returns a matcher for one name of a path, as of glob(7); `None` for a
/// pattern that is not valid. Braces have no meaning there.
fn matcher(pattern: &[u8]) -> Option<GlobMatcher> {
    let pattern = str::from_utf8(pattern).ok()?;
    let pattern = pattern.replace('{', "[{]").replace('}', "[}]");
    Some(Glob::new(&pattern).ok()?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.config", false),
            ("{a,b}", "a", false),
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
            let is_match = matcher(pattern.as_bytes()).is_some_and(|it| it.is_match(name));
            assert_eq!(is_match, expected, "{pattern} {name}");
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
