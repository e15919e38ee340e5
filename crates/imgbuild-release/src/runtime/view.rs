//! The files of the image before the closure: those of the release or of a base
//! image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use imgbuild_oci::content::FileRange;
use imgbuild_oci::path::{ImagePath, resolve_links};

/// The entry at a path of the image before the closure is added.
#[derive(Debug, Clone)]
pub enum ImageNode {
    /// A regular file, with the host's file that it comes from.
    File(PathBuf),
    /// A regular file of a base image, with its content if that was kept,
    /// which is so for every ELF file.
    Base(Option<FileRange>),
    /// A directory.
    Directory,
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
}

/// Returns the entry at a path of the image, if there is one. The path is exact:
/// links are followed by this module.
pub type Lookup<'a> = dyn Fn(&ImagePath) -> Option<ImageNode> + 'a;

/// A regular file that the image has: one of the host, or of a base image.
#[derive(Debug, Clone)]
pub(super) enum PresentFile {
    Host(PathBuf),
    Base(Option<FileRange>),
}

/// Walks the image as the kernel will.
pub(super) struct View<'a> {
    lookup: &'a Lookup<'a>,
    resolved: BTreeMap<Vec<u8>, Option<ImagePath>>,
}

impl<'a> View<'a> {
    pub(super) fn new(lookup: &'a Lookup<'a>) -> Self {
        Self {
            lookup,
            resolved: BTreeMap::new(),
        }
    }

    /// Returns where an absolute path leads once links are followed; what the
    /// image does not have yet is taken as a directory to be made. `None`
    /// when the path leads through a file or a symlink loop, or is not valid.
    pub(super) fn resolve(&mut self, path: &[u8]) -> Option<ImagePath> {
        if let Some(resolved) = self.resolved.get(path) {
            return resolved.clone();
        }
        let resolved = resolve_links(path, |next, is_last| match (self.lookup)(next) {
            Some(ImageNode::Symlink(target)) => Ok(Some(target)),
            Some(ImageNode::File(_) | ImageNode::Base(_)) if !is_last => Err(()),
            Some(ImageNode::File(_) | ImageNode::Base(_) | ImageNode::Directory) | None => Ok(None),
        });
        let resolved = resolved.ok();
        self.resolved.insert(path.to_vec(), resolved.clone());
        resolved
    }

    /// Returns the regular file that an absolute path leads to, and its path.
    pub(super) fn file(&mut self, path: &[u8]) -> Option<(ImagePath, PresentFile)> {
        let real = self.resolve(path)?;
        match (self.lookup)(&real)? {
            ImageNode::File(host) => Some((real, PresentFile::Host(host))),
            ImageNode::Base(content) => Some((real, PresentFile::Base(content))),
            ImageNode::Directory | ImageNode::Symlink(_) => None,
        }
    }

    /// Returns whether the image has anything at exactly this path.
    pub(super) fn has(&self, path: &ImagePath) -> bool {
        (self.lookup)(path).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn node(at: &ImagePath) -> Option<ImageNode> {
        match at.to_string().as_str() {
            "/lib" => Some(ImageNode::Symlink(b"usr/lib".to_vec())),
            "/app/current" => Some(ImageNode::Symlink(b"../opt/v1".to_vec())),
            "/loop" => Some(ImageNode::Symlink(b"/loop".to_vec())),
            "/usr" | "/usr/lib" | "/opt" | "/opt/v1" | "/app" => Some(ImageNode::Directory),
            "/usr/lib/liba.so" => Some(ImageNode::File("/host/liba.so".into())),
            "/opt/v1/libb.so" => Some(ImageNode::Symlink(b"/lib/liba.so".to_vec())),
            _ => None,
        }
    }

    #[test]
    fn links_of_the_image_are_followed() {
        let mut view = View::new(&node);
        for (text, expected) in [
            ("/lib/new", Some("/usr/lib/new")),
            ("/app/current/../x", Some("/opt/x")),
            ("/app/../..", Some("/")),
            ("/loop/x", None),
            ("/lib/liba.so/x", None),
        ] {
            let expected = expected.map(path);
            assert_eq!(view.resolve(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_file_is_found_behind_links() {
        let mut view = View::new(&node);
        let mut file = |path: &[u8]| match view.file(path) {
            Some((_, PresentFile::Host(host))) => Some(host),
            Some((_, PresentFile::Base(_))) | None => None,
        };
        let expected = Some(PathBuf::from("/host/liba.so"));
        assert_eq!(file(b"/lib/liba.so"), expected);
        assert_eq!(file(b"/app/current/libb.so"), expected);
        assert_eq!(file(b"/opt/v1/libc.so"), None);
        assert_eq!(file(b"/usr/lib"), None);
    }
}
