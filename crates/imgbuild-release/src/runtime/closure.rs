//! The closure of all programs, then of the modules that they may load.

use super::loader::{Flavor, ProcessTarget};
use super::process::{LoadedPrograms, Loader, Process};
use super::resolver::LibraryResolver;
use super::{ModuleProblem, ModuleWarning, Object, Role, version};
use crate::elf::ElfKind;

/// The release's files by what is done with them.
struct Parts<'a> {
    /// LoadedPrograms with a loader: first those that must start, then the modules
    /// that are programs.
    executables: Vec<&'a Object>,
    /// Files that are loaded into a process.
    modules: Vec<&'a Object>,
    /// Modules that are programs, for something else than what must start.
    refused: Vec<ModuleWarning>,
}

/// Follows all of `objects`, which are sorted by path.
pub(super) fn follow(resolver: &mut LibraryResolver<'_>, objects: &[&Object], added: &[String]) {
    let parts = Parts::new(objects);
    resolver.warnings.extend(parts.refused);
    let mut loaders = Loaders::new(resolver, &parts.executables);
    loaders.load_executables(resolver, &parts.executables, added);
    loaders.load_modules(resolver, &parts.modules);
}

impl<'a> Parts<'a> {
    fn new(objects: &[&'a Object]) -> Self {
        let mut parts = Self {
            executables: Vec::new(),
            modules: Vec::new(),
            refused: Vec::new(),
        };
        let starters: Vec<&Object> = objects
            .iter()
            .copied()
            .filter(|object| object.role == Role::Program)
            .collect();
        for object in objects.iter().copied() {
            match (object.elf.kind, object.role) {
                (ElfKind::StaticProgram | ElfKind::Other, _) => {}
                (_, Role::Program) if object.elf.interpreter.is_some() => {
                    parts.executables.push(object);
                }
                (ElfKind::Program, Role::Module) => match foreign(object, &starters) {
                    None => parts.executables.push(object),
                    Some(problem) => parts.refused.push(ModuleWarning {
                        module: object.image.clone(),
                        problem,
                    }),
                },
                (ElfKind::Program | ElfKind::SharedObject, _) => parts.modules.push(object),
            }
        }
        parts.executables.sort_by_key(|object| object.role);
        parts
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

/// The loaders that the release's programs name, and what they load.
struct Loaders {
    loaders: Vec<Loader>,
    programs: Vec<LoadedPrograms>,
}

impl Loaders {
    /// Finds all loaders before any library, so that each is a file at
    /// the path that programs name.
    fn new(resolver: &mut LibraryResolver<'_>, executables: &[&Object]) -> Self {
        let mut loaders: Vec<Loader> = Vec::new();
        for executable in executables {
            let path = executable.elf.interpreter.as_deref().unwrap_or_default();
            if find(&loaders, executable).is_none() {
                let loader = resolver.loader(executable, path);
                loaders.push(loader);
            }
        }
        let programs = loaders.iter().map(|_| LoadedPrograms::default()).collect();
        Self { loaders, programs }
    }

    fn load_executables(
        &mut self,
        resolver: &mut LibraryResolver<'_>,
        executables: &[&Object],
        added: &[String],
    ) {
        let nobody = LoadedPrograms::default();
        for (index, executable) in executables.iter().enumerate() {
            let number = find(&self.loaders, executable).expect("it was found before");
            let first = resolver.first(executable);
            let loader = &self.loaders[number];
            let mut process = Process::new(loader, executable.role, first, &nobody);
            process.run(resolver);
            if index == 0 {
                process.add(resolver, added);
            }
            process.run_hidden(resolver);
            resolver.unsatisfied.extend(version::unsatisfied(&process));
            self.programs[number].record(&process);
        }
        if executables.is_empty() {
            for name in added {
                resolver.report_without_loader(name);
            }
        }
    }

    fn load_modules(&self, resolver: &mut LibraryResolver<'_>, modules: &[&Object]) {
        for module in modules {
            let fitting = self
                .loaders
                .iter()
                .position(|loader| loader.target.objection(&module.elf).is_none());
            let Some(number) = fitting else {
                resolver.warnings.push(ModuleWarning {
                    module: module.image.clone(),
                    problem: self.problem(module),
                });
                continue;
            };
            let first = resolver.first(module);
            let programs = &self.programs[number];
            let loader = &self.loaders[number];
            let mut process = Process::new(loader, Role::Module, first, programs);
            process.run(resolver);
            process.run_hidden(resolver);
            resolver.unsatisfied.extend(version::unsatisfied(&process));
        }
    }

    /// Returns why no loader takes a module.
    fn problem(&self, module: &Object) -> ModuleProblem {
        if self.loaders.is_empty() {
            return ModuleProblem::NoProgram;
        }
        if !module.elf.is_for_linux() {
            return ModuleProblem::OtherSystem;
        }
        let mut loaders = self.loaders.iter();
        let has_machine = loaders.any(|loader| loader.target.has_machine_of(&module.elf));
        match Flavor::of(&module.elf) {
            Some(flavor) if has_machine => ModuleProblem::OtherFlavor(flavor),
            Some(_) | None => ModuleProblem::OtherArchitecture(module.elf.architecture()),
        }
    }
}

fn find(loaders: &[Loader], program: &Object) -> Option<usize> {
    loaders.iter().position(|loader| {
        Some(&loader.path) == program.elf.interpreter.as_ref()
            && loader.target.has_machine_of(&program.elf)
    })
}
