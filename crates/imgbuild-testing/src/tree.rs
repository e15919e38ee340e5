//! Directory trees written as text, since git keeps neither empty directories
//! nor any mode but the executable bit.
//!
//! | line | makes |
//! |---|---|
//! | `0755 dir bin` | a directory |
//! | `0644 file etc/app.toml "x=1\n"` | a file with that content |
//! | `0644 file data 8G` | a file of that many zero bytes (sparse); `K`, `M`, `G`, `T` are powers of 1024 |
//! | `link bin/run -> server` | a symbolic link |
//! | `hard b -> a` | a second name of an earlier file |
//! | `fifo run/pipe`, `socket run/sock` | files that an image cannot contain |
//! | `# …` | nothing |
//!
//! Words end at white space unless quoted. In words and in quotes, `\n`, `\r`,
//! `\t`, `\s` (a space), `\\`, `\"` and `\xNN` stand for one byte, so that names which
//! are not UTF-8 can be written. Missing parents are made with mode 0755. The
//! umask does not change modes.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use fs_err as fs;

mod words;

use words::Word;

/// A directory tree, which [`Tree::write_to`] writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// The error of a line that does not describe a node.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the tree: {reason}: `{text}`")]
pub struct ParseTreeError {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The reason.
    pub reason: &'static str,
    /// The line.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: NodeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum NodeKind {
    Directory { mode: u32 },
    File { mode: u32, content: Content },
    Symlink { target: PathBuf },
    Hardlink { target: PathBuf },
    Fifo,
    Socket,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Bytes(Vec<u8>),
    Zeros(u64),
}

impl Tree {
    /// Parses the lines described at [`tree`](self).
    ///
    /// # Errors
    ///
    /// The first invalid line.
    pub fn parse(text: &str) -> Result<Self, ParseTreeError> {
        let mut nodes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let node = parse_line(line).map_err(|reason| ParseTreeError {
                line: index + 1,
                reason,
                text: line.to_owned(),
            })?;
            nodes.push(node);
        }
        Ok(Self { nodes })
    }

    /// Writes the tree into `directory`, which is created if it is missing.
    ///
    /// # Errors
    ///
    /// The error of the file system, with the operation and the path.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        for node in &self.nodes {
            let path = directory.join(&node.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            node.kind.create(directory, &path)?;
        }
        // Last and deepest first, since files cannot be added to a read-only directory.
        for node in self.nodes.iter().rev() {
            if let NodeKind::Directory { mode } = node.kind {
                set_mode(&directory.join(&node.path), mode)?;
            }
        }
        Ok(())
    }
}

impl NodeKind {
    fn create(&self, root: &Path, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory { .. } => fs::create_dir_all(path),
            Self::File { mode, content } => {
                match content {
                    Content::Bytes(bytes) => fs::write(path, bytes)?,
                    Content::Zeros(size) => fs::File::create(path)?.set_len(*size)?,
                }
                set_mode(path, *mode)
            }
            Self::Symlink { target } => symlink(target, path),
            Self::Hardlink { target } => fs::hard_link(root.join(target), path),
            Self::Fifo => {
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                let fifo = rustix::fs::FileType::Fifo;
                Ok(rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0)?)
            }
            Self::Socket => UnixListener::bind(path).map(drop),
        }
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn parse_line(line: &str) -> Result<Node, &'static str> {
    let words = words::split(line)?;
    let mut words = words.into_iter();
    let first = words.next().ok_or("nothing on it")?;
    let node = match first.bytes.as_slice() {
        b"link" => {
            let (path, target) = arrow(&mut words)?;
            Node {
                path,
                kind: NodeKind::Symlink { target },
            }
        }
        b"hard" => {
            let (path, target) = arrow(&mut words)?;
            Node {
                path,
                kind: NodeKind::Hardlink { target },
            }
        }
        b"fifo" => Node {
            path: path(&mut words)?,
            kind: NodeKind::Fifo,
        },
        b"socket" => Node {
            path: path(&mut words)?,
            kind: NodeKind::Socket,
        },
        mode => parse_moded(parse_mode(mode)?, &mut words)?,
    };
    match words.next() {
        None => Ok(node),
        Some(_) => Err("more words than its kind takes (quote a name with blanks)"),
    }
}

fn parse_moded(mode: u32, words: &mut impl Iterator<Item = Word>) -> Result<Node, &'static str> {
    let kind = words.next().ok_or("a mode needs `dir` or `file`")?;
    let path = path(words)?;
    let kind = match kind.bytes.as_slice() {
        b"dir" => NodeKind::Directory { mode },
        b"file" => {
            let content = words.next().ok_or("a file needs its content or size")?;
            NodeKind::File {
                mode,
                content: parse_content(content)?,
            }
        }
        _ => return Err("neither `dir` nor `file` after the mode"),
    };
    Ok(Node { path, kind })
}

fn parse_mode(word: &[u8]) -> Result<u32, &'static str> {
    str::from_utf8(word)
        .ok()
        .filter(|digits| digits.len() == 4)
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .ok_or("no known kind and no mode of four octal digits")
}

fn parse_content(word: Word) -> Result<Content, &'static str> {
    if word.quoted {
        return Ok(Content::Bytes(word.bytes));
    }
    let size = str::from_utf8(&word.bytes).map_err(|_| "a size is a number")?;
    let (digits, shift) = match size.as_bytes().last() {
        Some(b'K') => (&size[..size.len() - 1], 10),
        Some(b'M') => (&size[..size.len() - 1], 20),
        Some(b'G') => (&size[..size.len() - 1], 30),
        Some(b'T') => (&size[..size.len() - 1], 40),
        _ => (size, 0),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "content is quoted, a size is a number")?;
    count
        .checked_mul(1 << shift)
        .map(Content::Zeros)
        .ok_or("a size beyond 64 bits")
}

fn arrow(words: &mut impl Iterator<Item = Word>) -> Result<(PathBuf, PathBuf), &'static str> {
    let from = path(words)?;
    if words.next().is_none_or(|word| word.bytes != b"->") {
        return Err("a link is written `name -> target`");
    }
    let target = words.next().ok_or("a link needs a target")?;
    Ok((from, PathBuf::from(OsString::from_vec(target.bytes))))
}

fn path(words: &mut impl Iterator<Item = Word>) -> Result<PathBuf, &'static str> {
    let word = words.next().ok_or("no path")?;
    let path = PathBuf::from(OsString::from_vec(word.bytes));
    let inside = path
        .components()
        .all(|component| matches!(component, std::path::Component::Normal(_)));
    if path.as_os_str().is_empty() || !inside {
        return Err("a path is relative and stays inside the tree");
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
