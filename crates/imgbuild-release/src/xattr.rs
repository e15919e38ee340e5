//! The extended attributes that files have in an image.

use imgbuild_oci::content::{Content, HostFile};
use imgbuild_oci::xattr::{self, CAPABILITY, capabilities};
use rustix::fs::{getxattr, listxattr};

use crate::contents::is_executable;
use crate::plan::Ingredients;

/// The extended attributes that are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XattrPolicy {
    /// The capabilities of programs.
    #[default]
    Capabilities,
    /// Those that mean the same on any machine: `user.*`, too. An ACL has users
    /// of this machine, and the others belong to its kernel.
    Keep,
    /// None.
    Drop,
}

impl XattrPolicy {
    /// Returns whether an image has the attribute. Capabilities of revision 3 count
    /// in one user namespace; a PAX record has no equals sign in its key, and an
    /// empty one removes another.
    fn keeps(self, name: &str, value: &[u8]) -> bool {
        let is_capability =
            name == CAPABILITY && capabilities(value).is_some() && value.len() == 20;
        match self {
            Self::Capabilities => is_capability,
            Self::Keep if name.contains('=') || value.is_empty() => false,
            Self::Keep => is_capability || name.starts_with("user."),
            Self::Drop => false,
        }
    }
}

impl Ingredients {
    /// Reads the extended attributes of the release and the additions: by
    /// default, one system call for each executable. Programs and libraries of
    /// this machine have none, as they have no set-id bits.
    pub fn read_xattrs(&mut self, policy: XattrPolicy) {
        for member in self.release.members.iter_mut().chain(&mut self.additions) {
            let entry = &mut member.entry;
            if let Some(Content::File(HostFile { path, .. })) = &member.content
                && (policy == XattrPolicy::Keep || is_executable(entry))
            {
                let list = |buffer: &mut [u8]| listxattr(path, buffer);
                let get = |name: &str, buffer: &mut [u8]| getxattr(path, name, buffer);
                entry.xattrs = xattr::read(list, get);
            }
            for (name, _) in entry
                .xattrs
                .extract_if(.., |name, value| !policy.keeps(name, value))
            {
                // Those of files are counted when they are read.
                if member.content.is_none() {
                    xattr::count(&mut self.dropped_xattrs, &name, 1);
                }
            }
        }
    }
}
