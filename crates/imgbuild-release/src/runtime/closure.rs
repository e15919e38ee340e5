//! The closure of all programs, then of the modules that they may load, and the
//! loop of a dynamic loader: what is needed is found, loaded and searched for
//! its own needs. Then: does every file find the symbol versions that it needs?

use std::sync::Arc;

use super::loader::{Flavor, ProcessTarget};
use super::outcome::SearchPlace;
use super::process::{LoadedPrograms, Loader, Process, is_part_of_musl};
use super::resolver::LibraryResolver;
use super::{MissingLibrary, ModuleProblem, ModuleWarning, Object, Role, UnsatisfiedVersion};
use crate::elf::ElfKind;

/// The version whose libc resolves names without further files: it has the
/// name services for files and DNS built in
/// (glibc 2.34, NEWS: `nss_files`, and `nss_dns` with libresolv moved in).
const WITH_NAME_SERVICES: &str = "GLIBC_2.34";

const LIBC: &str = "libc.so.6";

/// The libraries that glibc consists of, for programs to load by name. They are of
/// one version with the C library.
const WITH_LIBC: [&str; 7] = [
    "libanl.so.1",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// Follows all of `objects`, which are sorted by path.
pub(super) fn follow(resolver: &mut LibraryResolver<'_>, objects: &[&Object], added: &[String]) {
    let starters: Vec<&Object> = objects
        .iter()
        .copied()
        .filter(|object| object.role == Role::Program)
        .collect();
    // Files that are started by a loader, and files that are loaded into a process.
    let (mut executables, mut modules) = (Vec::new(), Vec::new());
    for object in objects.iter().copied() {
        match (object.elf.kind, object.role) {
            (ElfKind::StaticProgram | ElfKind::Other, _) => {}
            (_, Role::Program) if object.elf.interpreter.is_some() => executables.push(object),
            (ElfKind::Program, Role::Module) => match foreign(object, &starters) {
                None => executables.push(object),
                Some(problem) => resolver.warnings.push(ModuleWarning {
                    module: object.image.clone(),
                    problem,
                }),
            },
            (ElfKind::Program | ElfKind::SharedObject, _) => modules.push(object),
        }
    }
    // What must start comes first.
    executables.sort_by_key(|object| object.role);

    // Loaders come before libraries, so that each is at the path that programs name.
    let mut loaders: Vec<(Loader, LoadedPrograms)> = Vec::new();
    for executable in &executables {
        if find(&loaders, executable).is_none() {
            let path = executable.elf.interpreter.as_deref().unwrap_or_default();
            let loader = resolver.loader(executable, path);
            loaders.push((loader, LoadedPrograms::default()));
        }
    }
    load_executables(resolver, &mut loaders, &executables, added);
    load_modules(resolver, &loaders, &modules);
    if resolver.options.completes_c_library {
        for (loader, programs) in &loaders {
            complete_c_library(resolver, loader, programs);
        }
    }
}

/// Returns why a program that need not start is for something else than those
/// that must; when none must, any may be right.
fn foreign(module: &Object, starters: &[&Object]) -> Option<ModuleProblem> {
    if !module.elf.is_for_linux() {
        return Some(ModuleProblem::OtherSystem);
    }
    let flavor = Flavor::of(&module.elf)?;
    let target = ProcessTarget::new(flavor, &module.elf);
    let mut alike = starters
        .iter()
        .filter(|starter| target.has_machine_of(&starter.elf))
        .peekable();
    if !starters.is_empty() && alike.peek().is_none() {
        let architecture = module.elf.architecture();
        return Some(ModuleProblem::OtherArchitecture(architecture));
    }
    let mut flavors = alike
        .filter_map(|starter| Flavor::of(&starter.elf))
        .peekable();
    let has_flavors = flavors.peek().is_some();
    let is_other = has_flavors && flavors.all(|other| other != flavor);
    is_other.then_some(ModuleProblem::OtherFlavor(flavor))
}

fn load_executables(
    resolver: &mut LibraryResolver<'_>,
    loaders: &mut [(Loader, LoadedPrograms)],
    executables: &[&Object],
    added: &[String],
) {
    let nobody = LoadedPrograms::default();
    for (index, executable) in executables.iter().enumerate() {
        let number = find(loaders, executable).expect("it was found before");
        let (loader, programs) = &mut loaders[number];
        let first = resolver.first(executable);
        let mut process = Process::new(loader, executable.role, first, &nobody);
        process.run(resolver);
        if index == 0 {
            process.add(resolver, added);
        }
        process.run_hidden(resolver);
        finish(resolver, &process);
        programs.record(&process);
    }
    if executables.is_empty() {
        let missing = added.iter().map(|name| *resolver.missing(name, None));
        let missing: Vec<MissingLibrary> = missing.collect();
        resolver.missing.extend(missing);
    }
}

fn load_modules(
    resolver: &mut LibraryResolver<'_>,
    loaders: &[(Loader, LoadedPrograms)],
    modules: &[&Object],
) {
    for module in modules {
        let mut fitting = loaders.iter();
        let fitting = fitting.find(|(loader, _)| loader.target.objection(&module.elf).is_none());
        let Some((loader, programs)) = fitting else {
            resolver.warnings.push(ModuleWarning {
                module: module.image.clone(),
                problem: problem(loaders, module),
            });
            continue;
        };
        let first = resolver.first(module);
        let mut process = Process::new(loader, Role::Module, first, programs);
        process.run(resolver);
        process.run_hidden(resolver);
        finish(resolver, &process);
    }
}

/// Records what was found when a process has all its files.
fn finish(resolver: &mut LibraryResolver<'_>, process: &Process<'_>) {
    resolver.unsatisfied.extend(unsatisfied(process));
    let files = process.loaded.iter().filter(|file| !file.is_settled);
    let imports = files.map(|file| (file.file.clone(), file.elf.imports));
    resolver.imports.extend(imports);
}

/// Adds the libraries of glibc that lie beside a C library of the host.
fn complete_c_library(
    resolver: &mut LibraryResolver<'_>,
    loader: &Loader,
    programs: &LoadedPrograms,
) -> Option<()> {
    let libc = programs.libraries.get(LIBC)?.clone();
    if !resolver.placement.has_file(&libc.file) {
        return None;
    }
    let directory = libc.image.parent()?.as_bytes().to_vec();
    let (host, needed_by) = (libc.directory.clone(), libc.file.clone());
    let place = SearchPlace::in_image(directory, Some(host.clone()), "the C library is there");
    let mut process = Process::new(loader, Role::Module, libc, programs);
    for name in WITH_LIBC {
        let mut missing = resolver.missing(name, Some(&needed_by));
        let host = host.join(name.as_bytes());
        if let Some(file) = resolver.include(&process, &place, &host, &mut missing) {
            process.admit(file);
        }
    }
    process.run(resolver);
    Some(())
}

/// Returns why no loader takes a module.
fn problem(loaders: &[(Loader, LoadedPrograms)], module: &Object) -> ModuleProblem {
    if loaders.is_empty() {
        return ModuleProblem::NoProgram;
    }
    if !module.elf.is_for_linux() {
        return ModuleProblem::OtherSystem;
    }
    let mut loaders = loaders.iter();
    let has_machine = loaders.any(|(loader, _)| loader.target.has_machine_of(&module.elf));
    match Flavor::of(&module.elf) {
        Some(flavor) if has_machine => ModuleProblem::OtherFlavor(flavor),
        Some(_) | None => ModuleProblem::OtherArchitecture(module.elf.architecture()),
    }
}

fn find(loaders: &[(Loader, LoadedPrograms)], program: &Object) -> Option<usize> {
    loaders.iter().position(|(loader, _)| {
        Some(&loader.path) == program.elf.interpreter.as_ref()
            && loader.target.has_machine_of(&program.elf)
    })
}

impl Process<'_> {
    /// Loads all that is needed by what was loaded and not looked at yet:
    /// breadth first, as the loaders do.
    fn run(&mut self, resolver: &mut LibraryResolver<'_>) {
        while self.next < self.loaded.len() {
            let index = self.next;
            self.next += 1;
            if self.loaded[index].is_settled {
                continue;
            }
            let elf = Arc::clone(&self.loaded[index].elf);
            for name in &elf.needed {
                if let Err(missing) = self.need(resolver, index, name, false) {
                    resolver.report_missing(self.role, &self.loaded[0].file, *missing);
                }
            }
            for name in &elf.optional {
                drop(self.need(resolver, index, name, false));
            }
        }
    }

    /// Finds the file that answers to `name`, loading it if need be.
    fn need(
        &mut self,
        resolver: &mut LibraryResolver<'_>,
        requirer: usize,
        name: &str,
        is_requested: bool,
    ) -> Result<(), Box<MissingLibrary>> {
        let is_musl = self.loader.target.flavor == Flavor::Musl;
        let is_loader = is_musl && is_part_of_musl(name);
        let known = if is_loader { &self.loader.path } else { name };
        let index = match self.names.get(known) {
            Some(index) => *index,
            // The loader itself is missing, which was reported.
            None if is_loader => return Ok(()),
            None => {
                let loaded = match resolver.search(self, requirer, name, is_requested) {
                    Ok(loaded) => loaded,
                    Err(missing) => self.programs.libraries.get(name).cloned().ok_or(missing)?,
                };
                self.admit(loaded)
            }
        };
        self.names.insert(name.to_owned(), index);
        let requirer = self.loaded[requirer].file.clone();
        let names = resolver.bindings.entry(requirer).or_default();
        let file = &self.loaded[index].file;
        names.entry(name.to_owned()).or_insert_with(|| file.clone());
        Ok(())
    }

    /// Adds libraries that the user named, as if the program needed them.
    fn add(&mut self, resolver: &mut LibraryResolver<'_>, names: &[String]) {
        for name in names {
            let added = if name.contains('/') {
                resolver.search_added(self, name).map(|file| {
                    self.admit(file);
                })
            } else {
                self.need(resolver, 0, name, true)
            };
            if let Err(missing) = added {
                resolver.report_missing(self.role, &self.loaded[0].file, *missing);
            }
        }
        self.run(resolver);
    }

    /// Adds the libraries that glibc loads although no file needs them.
    fn run_hidden(&mut self, resolver: &mut LibraryResolver<'_>) {
        if self.loader.target.flavor != Flavor::Glibc {
            return;
        }
        let Some(libc) = self.names.get(LIBC).copied() else {
            return;
        };
        let unwinds = self.loaded.iter().any(|file| file.elf.imports.unwinding);
        let unwinding: &[&str] = if unwinds { &["libgcc_s.so.1"] } else { &[] };
        let versions = &self.loaded[libc].elf.defined_versions;
        let names: &[&str] =
            if versions.is_empty() || versions.iter().any(|it| it == WITH_NAME_SERVICES) {
                &[]
            } else {
                &["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"]
            };
        for name in unwinding.iter().chain(names) {
            // glibc works without them.
            drop(self.need(resolver, libc, name, false));
        }
        self.run(resolver);
    }
}

/// Lists the versions that files of a process need and the libraries that
/// they found do not define.
///
/// As glibc's loader (`_dl_check_map_versions`, elf/dl-version.c): weak ones
/// do not count, nor does a library that defines no versions at all. musl's
/// loader does not look at versions.
fn unsatisfied(process: &Process<'_>) -> Vec<UnsatisfiedVersion> {
    if process.loader.target.flavor == Flavor::Musl {
        return Vec::new();
    }
    let mut unsatisfied = Vec::new();
    for file in process.loaded.iter().filter(|file| !file.is_settled) {
        for needed in &file.elf.needed_versions {
            let Some(index) = process.names.get(&needed.library) else {
                // The library is missing, which is reported elsewhere.
                continue;
            };
            let library = &process.loaded[*index];
            let defined = &library.elf.defined_versions;
            for version in &needed.versions {
                if version.is_weak || defined.is_empty() || defined.contains(&version.name) {
                    continue;
                }
                unsatisfied.push(UnsatisfiedVersion {
                    object: file.file.clone(),
                    library: library.file.clone(),
                    version: version.name.clone(),
                    available: newest(defined, &version.name),
                    role: process.role,
                });
            }
        }
    }
    unsatisfied
}

/// Returns the newest of the versions with the same prefix: `GLIBC_2.36` of
/// `GLIBC_2.38`.
fn newest(defined: &[String], wanted: &str) -> Option<String> {
    let (prefix, _) = wanted.rsplit_once('_')?;
    defined
        .iter()
        .filter_map(|version| {
            let number = version.strip_prefix(prefix)?.strip_prefix('_')?;
            Some((numbers(number)?, version))
        })
        .max()
        .map(|(_, version)| version.clone())
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_numbers() {
        let defined: Vec<String> = [
            "GLIBC_2.2.5",
            "GLIBC_2.9",
            "GLIBC_2.36",
            "GLIBC_2.4",
            "GLIBC_PRIVATE",
            "GLIBCXX_3.4.30",
            "GLIBC_ABI_DT_RELR",
        ]
        .map(str::to_owned)
        .to_vec();
        for (wanted, expected) in [
            ("GLIBC_2.38", Some("GLIBC_2.36")),
            ("GLIBCXX_3.4.32", Some("GLIBCXX_3.4.30")),
            ("OPENSSL_3.0.0", None),
            ("plain", None),
        ] {
            assert_eq!(newest(&defined, wanted).as_deref(), expected, "{wanted}");
        }
    }
}
