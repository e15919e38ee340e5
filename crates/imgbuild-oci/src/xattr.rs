//! Extended attributes, and the capabilities of programs among them ([xattr(7)],
//! [capabilities(7)]).
//!
//! [xattr(7)]: https://man7.org/linux/man-pages/man7/xattr.7.html
//! [capabilities(7)]: https://man7.org/linux/man-pages/man7/capabilities.7.html

use std::collections::BTreeMap;

use rustix::io::Errno;

/// Extended attributes by name.
pub type Xattrs = BTreeMap<String, Vec<u8>>;

/// Attributes that files have and their image lacks: the number of paths by name.
pub type DroppedXattrs = BTreeMap<String, usize>;

/// The attribute with the capabilities of a program.
pub const CAPABILITY: &str = "security.capability";

/// The key of a PAX record without the name.
pub(crate) const PAX_PREFIX: &str = "SCHILY.xattr.";

/// The beginnings of names that systems give to files by themselves: labels, and
/// the states of file systems. They have no meaning in an image.
#[rustfmt::skip]
const OF_SYSTEMS: [&str; 13] = [
    "btrfs.", "com.apple.", "security.SMACK64", "security.apparmor", "security.evm", "security.ima",
    "security.selinux", "system.cifs_acl", "system.nfs4_acl", "trusted.overlay.", "user.DOSATTRIB",
    "user.containers.", "user.overlay.",
];

/// The number of names that are counted.
const MAX_COUNTED: usize = 32;

/// Reads all attributes but those of systems, by functions that fill a buffer with
/// the list of names and with the value of one. A value that cannot be read is
/// empty, and capabilities that count everywhere have revision 2.
pub fn read(
    list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
    mut get: impl FnMut(&str, &mut [u8]) -> rustix::io::Result<usize>,
) -> Xattrs {
    let mut xattrs = Xattrs::new();
    let names = read_whole(list).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).map(String::from_utf8_lossy) {
        if name.is_empty() || OF_SYSTEMS.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let mut value = read_whole(|buffer| get(&name, buffer)).unwrap_or_default();
        if name == CAPABILITY && value.get(20..) == Some(&[0; 4]) {
            value.truncate(20);
            value[3] = 2;
        }
        xattrs.insert(name.into_owned(), value);
    }
    xattrs
}

fn read_whole(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match read(&mut small) {
        Err(Errno::RANGE) => {
            // Linux has no longer values or lists.
            let mut large = vec![0; 64 << 10];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        length => Ok(small[..length?].to_vec()),
    }
}

/// Returns the permitted capabilities in the value of [`CAPABILITY`], one in each
/// bit; `None` for a value that the kernel refuses.
#[must_use]
pub fn capabilities(value: &[u8]) -> Option<u64> {
    let number = |at| Some(u32::from_le_bytes(*value.get(at..)?.first_chunk()?));
    let form = (value.len(), number(0)? & !1);
    let is_known = form == (20, 0x0200_0000) || form == (24, 0x0300_0000);
    is_known.then_some(u64::from(number(4)?) | u64::from(number(12)?) << 32)
}

/// Counts an attribute that so many paths have and the image lacks.
pub fn count(dropped: &mut DroppedXattrs, name: &str, paths: usize) {
    if let Some(known) = dropped.get_mut(name) {
        *known += paths;
    } else if dropped.len() < MAX_COUNTED {
        dropped.insert(name.to_owned(), paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `cap_net_raw+ep`, in a revision with or without a root.
    fn net_raw(revision: u8, root: &[u8]) -> Vec<u8> {
        let mut value = vec![1, 0, 0, revision];
        value.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        value.extend_from_slice(root);
        value
    }

    fn fill(buffer: &mut [u8], bytes: &[u8]) -> rustix::io::Result<usize> {
        let to = buffer.get_mut(..bytes.len()).ok_or(Errno::RANGE)?;
        to.copy_from_slice(bytes);
        Ok(bytes.len())
    }

    #[test]
    fn capabilities_have_one_form_in_images() {
        let read = |value: &[u8]| {
            let list = |buffer: &mut [u8]| fill(buffer, b"security.capability\0");
            let xattrs = read(list, |_, buffer| fill(buffer, value));
            xattrs[CAPABILITY].clone()
        };
        let expected = net_raw(2, &[]);
        assert_eq!(read(&expected), expected);
        assert_eq!(read(&net_raw(3, &[0; 4])), expected);
        let namespaced = net_raw(3, &[0, 0, 1, 0]);
        assert_eq!(read(&namespaced), namespaced);
    }

    #[test]
    fn only_the_forms_of_the_kernel_are_capabilities() {
        let (second, third) = (net_raw(2, &[]), net_raw(3, &[0, 0, 1, 0]));
        assert_eq!(capabilities(&second), Some(1 << 13));
        assert_eq!(capabilities(&third), Some(1 << 13));
        for length in 0..20 {
            assert_eq!(capabilities(&second[..length]), None, "{length}");
        }
        let (first, fourth) = (net_raw(1, &[]), net_raw(4, &[]));
        let mut flags = second;
        flags[0] = 2;
        for value in [
            &first,
            &fourth,
            &flags,
            &net_raw(2, &[0; 4]),
            &net_raw(3, &[]),
        ] {
            assert_eq!(capabilities(value), None, "{value:?}");
        }
        assert_eq!(capabilities(&third[..23]), None);
    }

    #[test]
    fn long_lists_are_read_whole_without_those_of_the_system() {
        let long = format!("user.{}", "x".repeat(250));
        let names = format!("security.selinux\0{long}\0user.a\0security.ima\0");
        let list = |buffer: &mut [u8]| fill(buffer, names.as_bytes());
        let found = read(list, |name, buffer| fill(buffer, name.as_bytes()));
        let value = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
        assert_eq!(found, Xattrs::from([value(&long), value("user.a")]));
        let unread = read(list, |_, _| Err(Errno::OVERFLOW));
        assert_eq!(unread["user.a"], b"");
        let none = read(|_| Err(Errno::NOTSUP), |_, _| Err(Errno::IO));
        assert!(none.is_empty());
    }

    #[test]
    fn the_number_of_counted_names_is_bounded() {
        let mut dropped = DroppedXattrs::new();
        for number in 0..1000 {
            count(&mut dropped, &format!("user.{number}"), 1);
            count(&mut dropped, "user.0", 2);
        }
        assert_eq!((dropped.len(), dropped["user.0"]), (MAX_COUNTED, 2001));
    }
}
