//! The closure of all programs, then of the modules that they may load.

use super::loader::Flavor;
use super::process::{Loader, Process, Programs};
use super::resolver::Resolver;
use super::{ModuleProblem, ModuleWarning, Object, Role};

/// The loaders that the release's programs name, and what they load.
pub(super) struct Loaders {
    loaders: Vec<Loader>,
    programs: Vec<Programs>,
}

impl Loaders {
    /// Finds all loaders before any library, so that each lies as a file at
    /// the path that programs name.
    pub(super) fn new(resolver: &mut Resolver<'_>, programs: &[&Object]) -> Self {
        let mut loaders: Vec<Loader> = Vec::new();
        for program in programs {
            let path = program.elf.interpreter.as_deref().unwrap_or_default();
            if find(&loaders, program).is_none() {
                let loader = resolver.loader(program, path);
                loaders.push(loader);
            }
        }
        let programs = loaders.iter().map(|_| Programs::default()).collect();
        Self { loaders, programs }
    }

    pub(super) fn load_programs(
        &mut self,
        resolver: &mut Resolver<'_>,
        programs: &[&Object],
        added: &[String],
    ) {
        let nobody = Programs::default();
        for (index, program) in programs.iter().enumerate() {
            let number = find(&self.loaders, program).expect("it was found before");
            let first = resolver.first(program);
            let loader = &self.loaders[number];
            let mut process = Process::new(loader, Role::Program, first, &nobody);
            process.run(resolver);
            if index == 0 {
                process.add(resolver, added);
            }
            process.run_hidden(resolver);
            resolver.check_versions(&process);
            self.programs[number].record(&process);
        }
        if programs.is_empty() {
            for name in added {
                resolver.report_without_loader(name);
            }
        }
    }

    pub(super) fn load_modules(&self, resolver: &mut Resolver<'_>, modules: &[&Object]) {
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
            let mut process = Process::new(
                &self.loaders[number],
                Role::Module,
                first,
                &self.programs[number],
            );
            process.run(resolver);
            process.run_hidden(resolver);
            resolver.check_versions(&process);
        }
    }

    /// Says why no loader takes a module.
    fn problem(&self, module: &Object) -> ModuleProblem {
        let mut loaders = self.loaders.iter();
        match Flavor::of(&module.elf) {
            _ if self.loaders.is_empty() => ModuleProblem::NoProgram,
            Some(flavor)
                if module.elf.is_for_linux()
                    && loaders.any(|loader| loader.target.has_machine_of(&module.elf)) =>
            {
                ModuleProblem::OtherFlavor(flavor)
            }
            Some(_) | None => ModuleProblem::OtherPlatform(module.elf.architecture()),
        }
    }
}

fn find(loaders: &[Loader], program: &Object) -> Option<usize> {
    loaders.iter().position(|loader| {
        Some(&loader.path) == program.elf.interpreter.as_ref()
            && loader.target.has_machine_of(&program.elf)
    })
}
