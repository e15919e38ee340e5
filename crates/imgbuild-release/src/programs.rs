//! Programs of the build machine that an image gets: those that the user names,
//! and the interpreters of its scripts.
//!
//! A program lands at the path by which it is called, as a regular file,
//! wherever links lead on the host: `/bin/sh` is a file at `/bin/sh`. A
//! second name of one file is a link to the first, which keeps what decides
//! by its name, as BusyBox, small and working.

pub(crate) mod calls;
mod data;
mod erlang;
mod faults;
pub(crate) mod fonts;
mod granted;
pub(crate) mod java;
mod node;
pub mod packages;
mod perl;
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use imgbuild_oci::content::HostFile;
use imgbuild_oci::entry::{Entry, Member};
use imgbuild_oci::path::{ImagePath, ParseImagePathError};

use crate::contents::{Contents, first_bytes};
use crate::elf::Elf;
use crate::finding::Finding;
use crate::host_file::{file_member, image_path};
use crate::host_packages::record::PackageSources;
use crate::refusal::{ItemLines, quoted};
use crate::runtime::host::Host;
use crate::runtime::{Object, Role};
use crate::script::{MAX_DEPTH, MAX_LINE, Shebang};
use crate::warning::Warning;

pub(crate) use calls::script_text;
pub(crate) use faults::{carriage_return, interpreter_missing};

/// Interpreters that start nothing without files of their own beside them.
const WITH_LIBRARIES: [&str; 4] = ["python", "perl", "ruby", "php"];

/// An error while programs and files of the host are included.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramsError {
    /// A call on a file failed; the cause names the call and the file.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A path cannot be one in an image.
    #[error(transparent)]
    Path(#[from] ParseImagePathError),
    /// Programs or files that the user asked for are not on the host.
    #[error("programs that the image needs were not found{}", ItemLines(.0))]
    Missing(Vec<String>),
    /// The host has no package database that can be read, for the reason given.
    #[error("the packages of this machine cannot be read: {0}")]
    NoPackages(&'static str),
    /// Packages that the user asked for are not installed.
    #[error("packages that the image needs are not installed{}", ItemLines(.0))]
    UnknownPackages(Vec<String>),
}

type ProgramsResult<T> = Result<T, ProgramsError>;

/// Finds programs on the host and places them in the image.
pub(crate) struct Programs<'a> {
    host: Host,
    pub(crate) packages: PackageSources,
    /// The release and the additions.
    contents: &'a Contents<'a>,
    /// The directories of the image's `PATH`.
    search: Vec<String>,
    mtime: u64,
    /// The directory of the release on the host, and in the image.
    release: Option<(PathBuf, ImagePath)>,
    /// The interpreters of [`WITH_LIBRARIES`] that came with them.
    with_libraries: BTreeSet<&'static str>,
    /// The programs that scripts call come along.
    pub(crate) brings_calls: bool,
    /// The scripts of packages and of Erlang, with programs that they take for granted.
    calls_of_packages: BTreeMap<ImagePath, BTreeSet<String>>,
    pub(crate) placed: BTreeMap<ImagePath, Member>,
    by_file: BTreeMap<PathBuf, ImagePath>,
    objects: Vec<Object>,
    problems: Vec<String>,
    findings: Vec<Finding>,
    pub(crate) warnings: Vec<Warning>,
    notes: Vec<String>,
    /// Programs come with other files of their packages.
    pub(crate) takes_package_files: bool,
}

/// The files that are added from the host.
#[derive(Debug, Default)]
pub(crate) struct AddedFiles {
    /// Programs and links to them, sorted by path.
    pub(crate) members: Vec<Member>,
    /// Those of them that are ELF files.
    pub(crate) objects: Vec<Object>,
    pub(crate) warnings: Vec<Warning>,
    /// Remarks that are no warnings.
    pub(crate) notes: Vec<String>,
    /// Findings about scripts whose interpreters are missing.
    pub(crate) findings: Vec<Finding>,
    pub(crate) packages: PackageSources,
}

impl<'a> Programs<'a> {
    pub(crate) fn new(
        sysroot: Option<&Path>,
        contents: &'a Contents<'a>,
        search: Vec<String>,
        mtime: u64,
    ) -> Self {
        Self {
            host: Host::new(sysroot),
            packages: PackageSources::default(),
            contents,
            search,
            mtime,
            release: None,
            with_libraries: BTreeSet::new(),
            brings_calls: true,
            calls_of_packages: BTreeMap::new(),
            placed: BTreeMap::new(),
            by_file: BTreeMap::new(),
            objects: Vec::new(),
            problems: Vec::new(),
            findings: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            takes_package_files: false,
        }
    }

    /// Sets the directory of the release: scripts in it may name each other by
    /// their paths on the host.
    pub(crate) fn set_release(&mut self, root: &Path, prefix: &ImagePath) {
        let root = fs::canonicalize(root).ok();
        self.release = root.map(|root| (root, prefix.clone()));
    }

    /// Adds a program that the user names, by name or absolute path.
    pub(crate) fn request(&mut self, name: &str) {
        if !self.add_called(name, 0) {
            self.problems.push(if name.contains('/') {
                format!("`{name}` is not an executable file")
            } else {
                format!("`{name}` is not in {}", quoted(&self.search))
            });
        } else if self.takes_package_files && !self.has_modules(name) {
            self.add_files_of(name);
        }
    }

    /// Adds a program by its name or absolute path, if there is one.
    pub(crate) fn add_if_present(&mut self, name: &str) -> bool {
        self.add_called(name, 0)
    }

    /// Returns whether the host has a program of this name.
    pub(crate) fn is_on_host(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    /// Returns the executable file of the host at a path, or of a name in `PATH`.
    fn found(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return self.program(name);
        }
        self.paths_of(name).find_map(|path| self.program(&path))
    }

    /// Returns whether the image has a program of this name so far.
    pub(crate) fn is_in_image(&self, name: &str) -> bool {
        self.paths_of(name)
            .filter_map(|path| ImagePath::parse(path).ok())
            .any(|path| self.has(&path))
    }

    /// Adds the interpreter of the file at `path`, when that is a script.
    pub(crate) fn add_interpreter_of(&mut self, path: &ImagePath) {
        let file = self.contents.file(path);
        if let Some(content) = file.and_then(|file| file.content.as_ref()) {
            self.add_for(path, &first_bytes(content, MAX_LINE), 0);
        }
    }

    pub(crate) fn host_file(&self, path: &str) -> Option<PathBuf> {
        let real = self.real(path)?;
        real.is_file().then_some(real)
    }

    pub(crate) fn host_names(&self, path: &str) -> Vec<String> {
        let names = self.host.list(&self.host.rooted(path.as_bytes()));
        let names = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into());
        names.collect()
    }

    /// # Errors
    ///
    /// Fails with all programs that the user named and that were not found.
    pub(crate) fn finish(mut self) -> ProgramsResult<AddedFiles> {
        for (script, calls) in std::mem::take(&mut self.calls_of_packages) {
            self.warn_of_missing(&script, calls.iter().map(String::as_str));
        }
        let problem = self.packages.problem();
        self.warnings.extend(problem.map(Warning::from));
        if !self.problems.is_empty() {
            return Err(ProgramsError::Missing(self.problems));
        }
        Ok(AddedFiles {
            findings: self.findings,
            members: self.placed.into_values().collect(),
            objects: self.objects,
            warnings: self.warnings,
            notes: self.notes,
            packages: self.packages,
        })
    }

    fn has(&self, path: &ImagePath) -> bool {
        let is_placed = |path| self.placed.contains_key(path);
        is_placed(path)
            || self.contents.file(path).is_some()
            || self.place_of(path).as_ref().is_some_and(is_placed)
    }

    fn real(&self, path: &str) -> Option<PathBuf> {
        self.host.real(&self.host.rooted(path.as_bytes()))
    }

    /// Returns the executable file of the host behind a path.
    fn program(&self, path: &str) -> Option<PathBuf> {
        let real = self.real(path)?;
        let metadata = fs::metadata(&real).ok()?;
        let can_run = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        can_run.then_some(real)
    }

    /// Adds the program of a name, or at a path, and its interpreter; returns
    /// whether the image has it then.
    fn add_called(&mut self, name: &str, depth: usize) -> bool {
        if name.contains('/') {
            return self.add(name, depth);
        }
        let paths: Vec<String> = self.paths_of(name).collect();
        self.is_in_image(name) || paths.iter().any(|path| self.add(path, depth))
    }

    /// Returns the paths that a name may have in the directories of `PATH`.
    fn paths_of(&self, name: &str) -> impl Iterator<Item = String> {
        self.search
            .iter()
            .map(move |directory| format!("{directory}/{name}"))
    }

    /// Adds the program at a path; returns whether the image has it then.
    fn add(&mut self, path: &str, depth: usize) -> bool {
        let Ok(path) = ImagePath::parse(path) else {
            return false;
        };
        if self.has(&path) {
            return true;
        }
        let Some(real) = self.program(&path.to_string()) else {
            return false;
        };
        let path = self.place_of(&path).unwrap_or(path);
        if self.has(&path) {
            return true;
        }
        if self.add_python(&path, &real).is_some()
            || self.add_erlang(&path, &real).is_some()
            || self.add_java(&path, &real).is_some()
        {
            return true;
        }
        if let Some(first) = self.by_file.get(&real) {
            let link = Entry::symlink(path.clone(), first.as_bytes());
            self.place(path, link.into());
            return true;
        }
        let Ok(mut member) = file_member(&real, path.clone()) else {
            return false;
        };
        // Nothing in an image needs the host's set-id programs.
        member.entry.mode = 0o755;
        let head = member
            .content
            .as_ref()
            .map(|content| first_bytes(content, MAX_LINE));
        self.place(path.clone(), member);
        self.by_file.insert(real.clone(), path.clone());
        self.add_perl(&real);
        self.add_node(&real);
        self.take_object(&path, real, Role::Program);
        self.add_for(&path, &head.unwrap_or_default(), depth);
        true
    }

    fn place(&mut self, path: ImagePath, mut member: Member) {
        member.entry.mtime = self.mtime;
        self.placed.insert(path, member);
    }

    /// Takes a file if it is an ELF file; returns whether it is.
    fn take_object(&mut self, path: &ImagePath, host: PathBuf, role: Role) -> bool {
        let file = HostFile::find(&host).ok();
        let Some(elf) = file.and_then(|file| Elf::of(file.open())) else {
            return false;
        };
        self.objects.push(Object {
            image: path.clone(),
            host,
            role,
            elf: Arc::new(elf),
        });
        true
    }

    /// Adds the interpreter in the shebang line of a file.
    fn add_for(&mut self, script: &ImagePath, head: &[u8], depth: usize) {
        let Some(shebang) = Shebang::parse(head) else {
            return;
        };
        if shebang.ends_with_carriage_return {
            self.findings.push(carriage_return(script, &shebang));
            return;
        }
        let missing = |name: &str| interpreter_missing(script, &shebang, name);
        let interpreter = &shebang.interpreter;
        if let Some(place) = self.place_in_release(interpreter) {
            self.findings
                .push(faults::interpreter_moved(script, &shebang, &place));
            return;
        }
        let is_there = interpreter.starts_with('/') && depth < MAX_DEPTH;
        if !is_there || !self.add(interpreter, depth + 1) {
            self.findings.push(missing(interpreter));
            return;
        }
        self.warn_of_libraries(script, interpreter);
        if let Some(name) = shebang.looked_up() {
            if self.add_called(&name, depth + 1) {
                self.warn_of_libraries(script, &name);
            } else {
                self.findings.push(missing(&name));
            }
        }
    }

    /// Returns where a path of the host lands with the release, if it is a
    /// part of it that lands elsewhere.
    fn place_in_release(&self, path: &str) -> Option<ImagePath> {
        let (root, prefix) = self.release.as_ref()?;
        let (directory, name) = path.rsplit_once('/')?;
        let directory = fs::canonicalize(directory).ok()?;
        let relative = directory.strip_prefix(root).ok()?.join(name);
        let place = image_path(prefix, &relative).ok()?;
        let moves = place.to_string() != path && !self.has(&ImagePath::parse(path).ok()?);
        (moves && self.contents.get(&place).is_some()).then_some(place)
    }

    /// Returns whether a program came with all that it loads.
    fn has_modules(&self, name: &str) -> bool {
        let name = name.rsplit('/').next().unwrap_or_default();
        self.has_libraries(name) || ["node", "erl", "java"].contains(&name)
    }

    fn has_libraries(&self, name: &str) -> bool {
        self.with_libraries.iter().any(|it| name.starts_with(it))
    }

    /// Adds a directory of an interpreter's libraries, of which some are
    /// machine code.
    fn add_modules(
        &mut self,
        directory: &str,
        is_unwanted: &dyn Fn(&[u8]) -> bool,
    ) -> ProgramsResult<()> {
        self.add_data_except(directory, &|_, name| is_unwanted(name))?;
        self.take_objects(directory, |path| {
            path.ends_with(".so").then_some(Role::Module)
        });
        Ok(())
    }

    /// Takes the ELF files among the added files below a directory, each with
    /// the role that its path from there gives it.
    fn take_objects(&mut self, directory: &str, role: impl Fn(&str) -> Option<Role>) {
        let start = ImagePath::parse(directory).ok();
        let Some(start) = start.and_then(|start| self.place_of(&start)) else {
            return;
        };
        let start = start.to_string();
        let known: BTreeSet<&ImagePath> = self.objects.iter().map(|it| &it.image).collect();
        let new = self.placed.keys().filter(|path| !known.contains(path));
        let paths: Vec<ImagePath> = new.cloned().collect();
        for path in paths {
            if let Some(below) = path.to_string().strip_prefix(&start)
                && below.starts_with('/')
                && let Some(role) = role(below)
                && let Some(real) = self.host_file(&format!("{directory}{below}"))
            {
                self.take_object(&path, real, role);
            }
        }
    }

    /// Makes the path by which an interpreter is called a link to its own path,
    /// from which it finds its files.
    fn link(&mut self, called: &ImagePath, home: &ImagePath) {
        if called != home && !self.has(called) {
            let link = Entry::symlink(called.clone(), home.as_bytes());
            self.place(called.clone(), link.into());
        }
    }

    /// Returns the path in the root of a real file.
    pub(crate) fn home(&self, real: &Path) -> Option<String> {
        self.host.inside(real)?.to_str().map(str::to_owned)
    }

    fn warn_of_libraries(&mut self, script: &ImagePath, interpreter: &str) {
        let name = interpreter.rsplit('/').next().unwrap_or_default();
        let is_release =
            ImagePath::parse(interpreter).is_ok_and(|path| self.contents.file(&path).is_some());
        let needs_libraries = WITH_LIBRARIES.iter().any(|known| name.starts_with(known));
        if self.takes_package_files && needs_libraries && !is_release && !self.has_libraries(name) {
            self.add_files_of(interpreter);
        }
        if needs_libraries && !is_release && !self.has_libraries(name) {
            let text = format!(
                "the interpreter of `{script}`, `{name}`, is included without the modules that it loads"
            );
            self.warnings.push(text.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_oci::entry::EntryKind;

    use super::*;

    /// A root with `usr/bin/{first,second}`, links to them and scripts.
    fn root() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        for (name, text, mode) in [
            ("first", "first", 0o4755),
            ("script", "#!/bin/shell\n", 0o755),
            ("windows", "#!/bin/shell\r\n", 0o755),
            ("lost", "#!/usr/bin/env nothing\n", 0o755),
            ("env", "env", 0o755),
            ("data", "data", 0o644),
        ] {
            let path = root.join("usr/bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let link = |target, name: &str| {
            fs_err::os::unix::fs::symlink(target, root.join(name)).unwrap();
        };
        link("usr/bin", "bin");
        link("/usr/bin/first", "usr/bin/shell");
        directory
    }

    fn brought(release: &[Member], names: &[&str]) -> ProgramsResult<Vec<(String, String)>> {
        let directory = root();
        let contents = Contents::new(release);
        let search = vec!["/nowhere".to_owned(), "/usr/bin".to_owned()];
        let mut programs = Programs::new(Some(directory.path()), &contents, search, 1);
        for name in names {
            programs.request(name);
        }
        let members = programs.finish()?.members.into_iter();
        let shown = members.map(|member| {
            let what = match &member.entry.kind {
                EntryKind::Symlink { target } => String::from_utf8(target.clone()).unwrap(),
                _ => format!("{:o}", member.entry.mode),
            };
            (member.entry.path.to_string(), what)
        });
        Ok(shown.collect())
    }

    fn found(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(path, what): &(&str, &str)| ((*path).to_owned(), (*what).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_program_is_a_plain_file_where_it_is_called() {
        let expected = found(&[("/usr/bin/first", "755")]);
        assert_eq!(brought(&[], &["first"]).unwrap(), expected);
        let expected = found(&[("/bin/shell", "755")]);
        assert_eq!(brought(&[], &["/bin/shell"]).unwrap(), expected);
    }

    #[test]
    fn a_second_name_of_a_program_is_a_link() {
        let expected = found(&[
            ("/usr/bin/first", "755"),
            ("/usr/bin/shell", "/usr/bin/first"),
        ]);
        assert_eq!(brought(&[], &["first", "shell"]).unwrap(), expected);
    }

    #[test]
    fn a_script_brings_what_runs_it() {
        let expected = found(&[("/bin/shell", "755"), ("/usr/bin/script", "755")]);
        assert_eq!(brought(&[], &["script"]).unwrap(), expected);
    }

    #[test]
    fn what_the_release_has_is_not_brought() {
        let path = |text: &str| ImagePath::parse(text).unwrap();
        let release = [
            Entry::symlink(path("/bin"), "opt").into(),
            Member::file(path("/opt/shell"), 0o755, b"shell".to_vec()),
        ];
        let expected = found(&[("/usr/bin/script", "755")]);
        assert_eq!(brought(&release, &["script"]).unwrap(), expected);
        let expected = found(&[("/opt/first", "755")]);
        assert_eq!(brought(&release, &["/bin/first"]).unwrap(), expected);
    }

    #[test]
    fn everything_that_is_asked_for_and_nowhere_is_named_at_once() {
        let error = brought(&[], &["none", "data", "/usr/bin"]);
        let text = error.unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "`none` is not in `/nowhere`, `/usr/bin`",
                "`data` is not in `/nowhere`, `/usr/bin`",
                "`/usr/bin` is not an executable file",
            ]
        );
    }

    #[test]
    fn scripts_that_cannot_run_are_findings() {
        let directory = root();
        let contents = Contents::default();
        let search = vec!["/usr/bin".to_owned()];
        let mut programs = Programs::new(Some(directory.path()), &contents, search, 1);
        programs.request("windows");
        programs.request("lost");
        let findings = programs.finish().unwrap().findings;
        let told: Vec<&str> = findings.iter().map(|found| found.reason.as_str()).collect();
        assert_eq!(
            told,
            [
                "line 1 of `/usr/bin/windows`, `#!/bin/shell`, ends with a carriage return, which is taken as a part of the name",
                "the interpreter `nothing` of `/usr/bin/lost` is not in `PATH`: line 1 is `#!/usr/bin/env nothing`",
            ]
        );
    }
}
