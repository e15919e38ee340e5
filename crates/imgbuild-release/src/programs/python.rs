//! Python, which starts nothing without its standard library.
//!
//! The interpreter finds it from the place of its own file, links followed:
//! `PREFIX/bin/python3.11` has `PREFIX/lib/python3.11` (Modules/getpath.py of
//! CPython). So the file comes under its own path, and the path by which it
//! is called is a link to it.

use std::path::Path;

use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::ImagePath;

use super::Programs;
use crate::contents::{Contents, End};
use crate::host_file::file_member;
use crate::runtime::Role;

/// Directories of the library that no program needs: tests, development tools,
/// caches of compiled files, and packages of other installers.
const UNWANTED: [&[u8]; 10] = [
    b"__pycache__",
    b"config",
    b"dist-packages",
    b"ensurepip",
    b"idlelib",
    b"lib2to3",
    b"site-packages",
    b"test",
    b"tests",
    b"turtledemo",
];

/// The file by which the interpreter knows its library.
const LANDMARK: &str = "os.py";

/// The file that makes a directory a virtual environment.
const ENVIRONMENT: &[u8] = b"pyvenv.cfg";

/// Returns the directory of the standard library that belongs to an
/// interpreter's own path.
fn library_of(program: &str) -> Option<String> {
    let (directory, name) = program.rsplit_once('/')?;
    let prefix = directory.strip_suffix("/bin")?;
    let version = name.strip_prefix("python")?;
    let is_version = version.starts_with(|first: char| first.is_ascii_digit());
    let is_minor = version.contains('.') && !version.contains('-');
    (is_version && is_minor).then(|| format!("{prefix}/lib/{name}"))
}

fn is_unwanted(name: &[u8]) -> bool {
    // `config-3.11-x86_64-linux-gnu` is for programs that embed Python.
    UNWANTED.contains(&name) || name.starts_with(b"config-")
}

impl Programs<'_> {
    /// Adds a Python and its standard library, when the file `real` is one;
    /// `None` when it is not.
    pub(super) fn add_python(&mut self, called: &ImagePath, real: &Path) -> Option<()> {
        let home = self.home(real)?;
        let library = library_of(&home)?;
        let landmark = format!("{library}/{LANDMARK}");
        self.host_file(&landmark)?;
        let home = ImagePath::parse(home).ok()?;
        if !self.has(&home) {
            let mut member = file_member(real, home.clone()).ok()?;
            member.entry.mode = 0o755;
            self.place(home.clone(), member);
            self.by_file.insert(real.to_path_buf(), home.clone());
            self.take_object(&home, real.to_path_buf(), Role::Program);
        }
        self.link(called, &home);
        // An earlier name of the interpreter may have added the library.
        if !ImagePath::parse(landmark).is_ok_and(|landmark| self.has(&landmark)) {
            self.add_modules(&library, &is_unwanted).ok()?;
        }
        self.with_libraries.insert("python");
        Some(())
    }

    /// Adds the interpreters that virtual environments among `members` link to.
    pub(crate) fn add_environments(&mut self, contents: &Contents<'_>, members: &[Member]) {
        let directories = members
            .iter()
            .filter(|member| member.entry.path.file_name() == ENVIRONMENT)
            .filter_map(|member| member.entry.path.parent()?.join("bin").ok());
        let directories: Vec<ImagePath> = directories.collect();
        for member in members {
            let path = &member.entry.path;
            if matches!(member.entry.kind, EntryKind::Symlink { .. })
                && path.file_name().starts_with(b"python")
                && let Some(parent) = path.parent()
                && directories.contains(&parent)
                && let End::Nothing(end) = contents.resolve(path)
            {
                self.add_if_present(&end.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use imgbuild_oci::entry::Entry;

    use super::*;

    #[test]
    fn the_library_belongs_to_the_version_in_the_name() {
        for (program, expected) in [
            ("/usr/bin/python3.11", Some("/usr/lib/python3.11")),
            ("/opt/x/bin/python3.13t", Some("/opt/x/lib/python3.13t")),
            ("/usr/bin/python3", None),
            ("/usr/bin/python3.11-config", None),
            ("/usr/bin/perl5.36", None),
            ("/usr/sbin/python3.11", None),
        ] {
            assert_eq!(library_of(program).as_deref(), expected, "{program}");
        }
    }

    /// A root with a Python of 3.11.
    fn root() -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "usr/bin/python3.11",
            "usr/lib/python3.11/os.py",
            "usr/lib/python3.11/json/__init__.py",
            "usr/lib/python3.11/json/__pycache__/x.pyc",
            "usr/lib/python3.11/test/test_os.py",
            "usr/lib/python3.11/config-3.11-x/libpython.a",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.to_str().unwrap()).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs_err::os::unix::fs::symlink("python3.11", root.join("usr/bin/python3")).unwrap();
        directory
    }

    fn shown(programs: Programs<'_>) -> Vec<String> {
        let members = programs.finish().unwrap().members.into_iter();
        let shown = members.map(|member| match &member.entry.kind {
            EntryKind::Symlink { target } => {
                format!(
                    "{} -> {}",
                    member.entry.path,
                    String::from_utf8_lossy(target)
                )
            }
            _ => member.entry.path.to_string(),
        });
        shown.collect()
    }

    const EXPECTED: [&str; 4] = [
        "/usr/bin/python3 -> /usr/bin/python3.11",
        "/usr/bin/python3.11",
        "/usr/lib/python3.11/json/__init__.py",
        "/usr/lib/python3.11/os.py",
    ];

    #[test]
    fn an_interpreter_brings_what_programs_need_of_its_library() {
        let root = root();
        let contents = Contents::new(&[]);
        let search = vec!["/usr/bin".to_owned()];
        let mut programs = Programs::new(Some(root.path()), &contents, search, 1);
        programs.request("python3");
        programs.request("python3.11");
        assert_eq!(shown(programs), EXPECTED);
    }

    #[test]
    fn a_virtual_environment_brings_the_interpreter_that_it_links_to() {
        let path = |text: &str| ImagePath::parse(text).unwrap();
        let release = [
            Entry::symlink(path("/app/bin/python"), "python3").into(),
            Entry::symlink(path("/app/bin/python3"), "/usr/bin/python3").into(),
            Member::file(
                path("/app/pyvenv.cfg"),
                0o644,
                b"home = /usr/bin\n".to_vec(),
            ),
            Entry::symlink(path("/app/tools/python3"), "/usr/bin/nothing").into(),
        ];
        let root = root();
        let contents = Contents::new(&release);
        let mut programs = Programs::new(Some(root.path()), &contents, Vec::new(), 1);
        programs.add_environments(&contents, &release);
        assert_eq!(shown(programs), EXPECTED);
    }
}
