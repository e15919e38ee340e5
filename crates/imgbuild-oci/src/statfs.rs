//! File systems whose `stat` can be trusted.

use std::path::Path;

/// The types ([statfs(2)]) whose times come from the clock of this kernel and
/// change with every change of a file.
///
/// Not included are network and FUSE file systems, where another machine may
/// change a file, by its own clock, while this one still shows its old state;
/// and FAT, whose files have no time of change.
///
/// [statfs(2)]: https://man7.org/linux/man-pages/man2/statfs.2.html
#[cfg(target_os = "linux")]
const LOCAL: [i64; 12] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // EROFS
    0x9660,      // ISO 9660
];

/// Returns whether the file at `path` lies where `stat` can be trusted.
#[cfg(target_os = "linux")]
pub(crate) fn is_local(path: &Path) -> bool {
    // The width and sign of the field differ between architectures.
    rustix::fs::statfs(path).is_ok_and(|found| {
        let kind = found.f_type & 0xffff_ffff;
        LOCAL.contains(&kind)
    })
}

/// Returns false: elsewhere contents are read.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_local(_: &Path) -> bool {
    false
}
