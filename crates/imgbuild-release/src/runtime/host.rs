//! Files of the building machine, or of another root on it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::bounded;
use imgbuild_oci::content::HostFile;
use imgbuild_oci::error::{Error, with_causes};
use imgbuild_oci::path::{ImagePath, escaped, resolve_links};

use crate::elf::{Elf, ElfError};

/// A path on the building machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostPath {
    /// An absolute path in the other root.
    Rooted(Vec<u8>),
    /// A path of this process.
    Plain(PathBuf),
}

impl HostPath {
    pub(super) fn join(&self, name: &[u8]) -> Self {
        match self {
            Self::Rooted(path) => Self::Rooted([path, b"/".as_slice(), name].concat()),
            Self::Plain(path) => Self::Plain(path.join(OsStr::from_bytes(name))),
        }
    }

    /// Returns the path without its last name.
    pub(super) fn directory(&self) -> Self {
        match self {
            Self::Rooted(path) => {
                let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                Self::Rooted(path[..end.max(1).min(path.len())].to_vec())
            }
            Self::Plain(path) => Self::Plain(path.parent().unwrap_or(path).to_owned()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Rooted(path) => path,
            Self::Plain(path) => path.as_os_str().as_bytes(),
        }
    }

    /// Returns a path of the same kind.
    pub(super) fn with_bytes(&self, path: Vec<u8>) -> Self {
        match self {
            Self::Rooted(_) => Self::Rooted(path),
            Self::Plain(_) => Self::Plain(PathBuf::from(OsString::from_vec(path))),
        }
    }
}

/// The device and inode of a file: its identity under all of its names.
pub(super) type FileId = (u64, u64);

#[derive(Debug, Clone)]
pub(super) struct HostElf {
    /// The file itself: no part of the path is a link.
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) is_executable: bool,
    pub(super) elf: Arc<Elf>,
}

#[derive(Debug, Clone)]
pub(super) enum Probe {
    Absent,
    /// A file that no loader takes, and why.
    Unusable(String),
    Elf(HostElf),
}

/// Reads files of the host, each once.
#[derive(Debug)]
pub(crate) struct Host {
    root: Option<PathBuf>,
    /// Set if no path of a root exists.
    is_nowhere: bool,
    probes: BTreeMap<HostPath, Probe>,
    files: BTreeMap<FileId, Probe>,
}

impl Host {
    pub(crate) fn new(root: Option<&Path>) -> Self {
        Self {
            // The root of this process is not another root.
            root: root
                .filter(|root| *root != Path::new("/"))
                .map(|root| fs_err::canonicalize(root).unwrap_or_else(|_| root.to_owned())),
            is_nowhere: false,
            probes: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Returns an empty root. Paths of this process are not affected.
    pub(super) fn nowhere() -> Self {
        Self {
            is_nowhere: true,
            ..Self::new(None)
        }
    }

    /// Returns an absolute path in the root.
    pub(crate) fn rooted(&self, path: &[u8]) -> HostPath {
        if self.root.is_some() || self.is_nowhere {
            HostPath::Rooted(path.to_vec())
        } else {
            HostPath::Plain(PathBuf::from(OsStr::from_bytes(path)))
        }
    }

    /// Returns a path of this process, which may be in the root.
    pub(super) fn plain(&self, path: &Path) -> HostPath {
        let inside = self.root.as_ref().and_then(|root| {
            if let Ok(inside) = path.strip_prefix(root) {
                return Some(inside.to_owned());
            }
            let (path, root) = (fs_err::canonicalize(path), fs_err::canonicalize(root));
            let inside = path.ok()?.strip_prefix(root.ok()?).ok()?.to_owned();
            Some(inside)
        });
        match inside {
            Some(inside) => {
                HostPath::Rooted(Path::new("/").join(inside).into_os_string().into_vec())
            }
            None => HostPath::Plain(path.to_owned()),
        }
    }

    /// Looks at the file that the path leads to.
    pub(super) fn probe(&mut self, path: &HostPath) -> Probe {
        if let Some(probe) = self.probes.get(path) {
            return probe.clone();
        }
        let probe = match self.real(path) {
            Some(real) => self.probe_real(&real),
            None => Probe::Absent,
        };
        self.probes.insert(path.clone(), probe.clone());
        probe
    }

    fn probe_real(&mut self, path: &Path) -> Probe {
        let file = HostFile::find(path).ok();
        let Some(file) = file.filter(|file| file.state.is_regular()) else {
            return Probe::Absent;
        };
        let id = file.state.identity();
        if let Some(probe) = self.files.get(&id) {
            return probe.clone();
        }
        let probe = match read_elf(&file) {
            Ok(elf) => probe_of(file, Arc::new(elf)),
            Err(reason) => Probe::Unusable(reason),
        };
        self.files.insert(id, probe.clone());
        probe
    }

    /// Remembers a file whose content is known already; `None` when it has
    /// vanished.
    pub(super) fn remember(&mut self, path: &Path, elf: &Arc<Elf>) -> Option<FileId> {
        let file = HostFile::find(path).ok()?;
        let id = file.state.identity();
        let probe = || probe_of(file, Arc::clone(elf));
        self.files.entry(id).or_insert_with(probe);
        Some(id)
    }

    /// Shows a path as this machine names it.
    pub(super) fn display(&self, path: &HostPath) -> String {
        let shown = match (path, &self.root) {
            (HostPath::Rooted(path), Some(root)) => {
                let relative = path.strip_prefix(b"/").unwrap_or(path);
                root.join(OsStr::from_bytes(relative))
            }
            (path, _) => PathBuf::from(OsStr::from_bytes(path.as_bytes())),
        };
        escaped(shown.as_os_str().as_bytes())
    }

    /// Reads a small file; `None` when it does not exist or is larger.
    pub(crate) fn read(&self, path: &HostPath, max_bytes: u64) -> Option<Vec<u8>> {
        let file = HostFile::find(&self.real(path)?).ok()?.open().ok()?;
        bounded::read_opened(&file, max_bytes).ok()
    }

    /// Lists the names in a directory, sorted.
    pub(crate) fn list(&self, path: &HostPath) -> Vec<Vec<u8>> {
        let Some(entries) = self.real(path).and_then(|path| fs_err::read_dir(path).ok()) else {
            return Vec::new();
        };
        let mut names: Vec<Vec<u8>> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name().into_vec()))
            .collect();
        names.sort();
        names
    }

    /// Returns the path in the root of a real file.
    pub(crate) fn inside(&self, real: &Path) -> Option<PathBuf> {
        match &self.root {
            Some(root) => Some(Path::new("/").join(real.strip_prefix(root).ok()?)),
            None => Some(real.to_owned()),
        }
    }

    /// Follows all links; those of another root stay inside of it.
    pub(crate) fn real(&self, path: &HostPath) -> Option<PathBuf> {
        match (path, &self.root) {
            (HostPath::Rooted(path), Some(root)) => inside(root, path),
            (HostPath::Rooted(_), None) => None,
            (path, None | Some(_)) => fs_err::canonicalize(OsStr::from_bytes(path.as_bytes())).ok(),
        }
    }
}

fn probe_of(file: HostFile, elf: Arc<Elf>) -> Probe {
    Probe::Elf(HostElf {
        id: file.state.identity(),
        is_executable: file.state.mode & 0o111 != 0,
        path: file.path,
        elf,
    })
}

fn read_elf(file: &HostFile) -> Result<Elf, String> {
    let unreadable = |error: &io::Error| format!("it cannot be read ({})", error.kind());
    let opened = file.open().map_err(|error| match error {
        Error::File(error) => unreadable(&error),
        error => with_causes(&error, ": "),
    })?;
    match Elf::read(&opened) {
        Ok(Some(elf)) => Ok(elf),
        Ok(None) => Err("it is not an ELF file".to_owned()),
        Err(ElfError::Read { source }) => Err(unreadable(&source)),
        Err(error @ ElfError::Malformed(_)) => Err(error.to_string()),
    }
}

/// Walks an absolute path below `root`, as the kernel does after `chroot`.
fn inside(root: &Path, path: &[u8]) -> Option<PathBuf> {
    let on_host = |path: &ImagePath| root.join(OsStr::from_bytes(path.relative()));
    let resolved = resolve_links(path, |next, _| {
        let path = on_host(next);
        if fs_err::symlink_metadata(&path)?.is_symlink() {
            fs_err::read_link(&path).map(|target| Some(target.into_os_string().into_vec()))
        } else {
            Ok::<_, io::Error>(None)
        }
    });
    resolved.ok().map(|path| on_host(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(target: &str, path: PathBuf) {
        fs_err::os::unix::fs::symlink(target, path).unwrap();
    }

    #[test]
    fn links_of_another_root_stay_inside_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs_err::create_dir_all(root.join("usr/lib")).unwrap();
        fs_err::write(root.join("usr/lib/file"), "content").unwrap();
        link("usr/lib", root.join("lib"));
        link("/usr/lib/file", root.join("absolute"));
        link("../../../../usr/lib/file", root.join("climbing"));
        link("loop", root.join("loop"));
        let host = Host::new(Some(root));
        for path in [
            "/lib/file",
            "/absolute",
            "/climbing",
            "/lib/../lib/./file",
            "//lib//file",
        ] {
            let real = host.real(&host.rooted(path.as_bytes()));
            assert_eq!(real, Some(root.join("usr/lib/file")), "{path}");
        }
        for path in ["/loop", "/lib/none", "/lib/file/deeper"] {
            assert_eq!(host.real(&host.rooted(path.as_bytes())), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_this_machine_that_leads_into_the_root_is_one_of_the_root() {
        let host = Host::new(Some(Path::new("/srv/root")));
        assert_eq!(
            host.plain(Path::new("/srv/root/opt/lib")),
            HostPath::Rooted(b"/opt/lib".to_vec())
        );
        assert_eq!(
            host.plain(Path::new("/opt/lib")),
            HostPath::Plain("/opt/lib".into())
        );
    }

    #[test]
    fn a_small_file_is_read_and_a_large_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("file"), "12345").unwrap();
        let host = Host::new(Some(directory.path()));
        let path = host.rooted(b"/file");
        assert_eq!(host.read(&path, 5), Some(b"12345".to_vec()));
        assert_eq!(host.read(&path, 4), None);
        assert_eq!(host.read(&host.rooted(b"/none"), 5), None);
        assert_eq!(host.read(&host.rooted(b"/"), 5), None);
    }
}
