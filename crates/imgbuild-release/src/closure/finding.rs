//! Findings of the search for libraries.

use std::collections::BTreeSet;

use imgbuild_oci::path::ImagePath;

use crate::finding::{Finding, Rule, Severity};
use crate::runtime::{
    Bindings, MissingLibrary, ModuleProblem, ModuleWarning, Role, Runtime, UnsatisfiedVersion,
};

/// Returns everything that a resolution found, except for libraries that the
/// user asked for.
pub(crate) fn of_runtime(runtime: &Runtime) -> Vec<Finding> {
    let missing = runtime.missing.iter().filter_map(|library| {
        let by = library.needed_by.as_ref()?;
        Some(missing_library(library, by, Severity::Error))
    });
    let modules = runtime.warnings.iter();
    let modules = modules.filter(|warning| !is_nested(warning)).map(module);
    let versions = runtime.unsatisfied.iter().map(version);
    missing.chain(modules).chain(versions).collect()
}

/// Returns whether a module needs a library outside of the search path: the
/// program that loads the module has loaded it before, as the launcher of a
/// Java virtual machine does.
fn is_nested(warning: &ModuleWarning) -> bool {
    match &warning.problem {
        ModuleProblem::Missing(library) => !library.elsewhere.is_empty(),
        _ => false,
    }
}

fn missing_library(library: &MissingLibrary, by: &ImagePath, severity: Severity) -> Finding {
    let name = &library.name;
    let (mut rule, mut reason) = if library.is_interpreter {
        let reason = format!("`{by}` is started by the loader `{name}`, which was not found");
        (Rule::InterpreterMissing, reason)
    } else {
        let reason = format!("`{by}` needs `{name}`, which was not found");
        (Rule::LibraryMissing, reason)
    };
    if !library.unusable.is_empty() {
        rule = Rule::LibraryUnusable;
    }
    reason.push_str(&search_text(library));
    Finding::new(rule, severity, Some(by), reason)
}

/// Makes warnings of findings about neither a command nor a library that one
/// needs: if the command is a program, other programs may never start.
pub(super) fn soften(findings: &mut [Finding], commands: &[ImagePath], bindings: &Bindings) {
    let mut certain: BTreeSet<&ImagePath> = BTreeSet::new();
    let mut waiting: Vec<&ImagePath> = commands.iter().collect();
    while let Some(path) = waiting.pop() {
        if certain.insert(path) {
            let libraries = bindings.get(path).into_iter();
            waiting.extend(libraries.flat_map(|names| names.values()));
        }
    }
    for finding in findings {
        let is_certain = |path| certain.contains(path);
        if !finding.path.as_ref().is_some_and(is_certain) {
            finding.severity = Severity::Warning;
        }
    }
}

/// Makes warnings of libraries that the image has outside of the search path,
/// unless a command itself needs them: a script may set the path.
pub(super) fn soften_elsewhere(
    findings: &mut [Finding],
    runtime: &Runtime,
    commands: &[ImagePath],
) {
    let is_elsewhere = |by: &ImagePath| {
        let missing = runtime.missing.iter();
        let mut of_file = missing.filter(|library| library.needed_by.as_ref() == Some(by));
        of_file.all(|library| !library.elsewhere.is_empty()) && !commands.contains(by)
    };
    for finding in findings {
        let is_library = finding.rule == Rule::LibraryMissing;
        if is_library && finding.path.as_ref().is_some_and(is_elsewhere) {
            finding.severity = Severity::Warning;
        }
    }
}

/// Describes the search for a library.
pub(crate) fn search_text(library: &MissingLibrary) -> String {
    let mut text = String::new();
    let searched: Vec<String> = library
        .searched
        .iter()
        .map(|place| format!("`{}` ({})", place.directory, place.reason))
        .collect();
    if !searched.is_empty() {
        text.push_str(&format!("; searched {}", searched.join(", ")));
    }
    for file in &library.unusable {
        text.push_str(&format!("; `{}` does not fit: {}", file.path, file.reason));
    }
    for path in &library.elsewhere {
        text.push_str(&format!(
            "; `{path}` is in the image, but not in the search path"
        ));
    }
    text
}

fn module(warning: &ModuleWarning) -> Finding {
    let module = &warning.module;
    let because = match &warning.problem {
        ModuleProblem::Missing(library) => {
            let by = library.needed_by.as_ref().unwrap_or(module);
            return missing_library(library, by, Severity::Warning);
        }
        ModuleProblem::OtherArchitecture(Some(architecture)) => {
            format!("is for {architecture}: no program of the image can load it")
        }
        ModuleProblem::OtherArchitecture(None) => {
            "is for another processor: no program of the image can load it".to_owned()
        }
        ModuleProblem::OtherSystem => {
            "is for another system than Linux: no program of the image can load it".to_owned()
        }
        ModuleProblem::OtherFlavor(flavor) => {
            format!("is for {flavor}: no program of the image can load it")
        }
        ModuleProblem::NoProgram => {
            "needs a program that loads it, and the image has none".to_owned()
        }
    };
    let reason = format!("`{module}` {because}");
    Finding::warning(Rule::ModuleUnusable, Some(module), reason)
}

/// Makes a finding with both remedies: the right one depends on where the
/// program was built.
fn version(unsatisfied: &UnsatisfiedVersion) -> Finding {
    let UnsatisfiedVersion {
        object,
        library,
        version,
        available,
        role,
    } = unsatisfied;
    let severity = match role {
        Role::Program => Severity::Error,
        Role::Module => Severity::Warning,
    };
    let has = match available {
        Some(available) => format!("which has up to {available}"),
        None => "which has no version of that name".to_owned(),
    };
    let reason = format!("`{object}` needs {version} of `{library}`, {has}");
    let mut finding = Finding::new(Rule::SymbolVersionMissing, severity, Some(object), reason);
    let up_to = match available {
        Some(available) => format!("build `{object}` on a system that has at most {available}"),
        None => format!("build `{object}` against the library that the image has"),
    };
    finding.remedy = format!("{up_to}, or put a newer `{library}` into the image");
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{SearchedDirectory, UnusableFile};

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn library(is_interpreter: bool) -> MissingLibrary {
        MissingLibrary {
            name: "liba.so".to_owned(),
            is_interpreter,
            needed_by: Some(path("/app/p")),
            searched: vec![SearchedDirectory {
                directory: "/lib".to_owned(),
                reason: "default directory of the loader".to_owned(),
            }],
            unusable: Vec::new(),
            elsewhere: vec![path("/app/liba.so")],
        }
    }

    #[test]
    fn a_missing_library_is_reported_with_every_directory() {
        let mut runtime = Runtime::default();
        runtime.missing.push(library(false));
        let findings = of_runtime(&runtime);
        assert_eq!(findings[0].rule, Rule::LibraryMissing);
        assert_eq!(findings[0].severity, Severity::Error);
        assert_eq!(
            findings[0].reason,
            "`/app/p` needs `liba.so`, which was not found; searched `/lib` (default directory of the loader); `/app/liba.so` is in the image, but not in the search path"
        );
    }

    #[test]
    fn a_file_that_does_not_fit_is_another_finding_than_none() {
        let mut loader = library(true);
        let mut runtime = Runtime::default();
        runtime.missing.push(loader.clone());
        assert_eq!(of_runtime(&runtime)[0].rule, Rule::InterpreterMissing);
        loader.unusable.push(UnusableFile {
            path: "/lib/liba.so".to_owned(),
            reason: "it is for musl".to_owned(),
        });
        runtime.missing = vec![loader];
        assert_eq!(of_runtime(&runtime)[0].rule, Rule::LibraryUnusable);
    }

    #[test]
    fn a_symbol_version_has_two_ways_out() {
        let runtime = Runtime {
            unsatisfied: vec![UnsatisfiedVersion {
                object: path("/app/p"),
                library: path("/lib/libc.so.6"),
                version: "GLIBC_2.38".to_owned(),
                available: Some("GLIBC_2.36".to_owned()),
                role: Role::Program,
            }],
            ..Runtime::default()
        };
        let findings = of_runtime(&runtime);
        assert_eq!(
            findings[0].reason,
            "`/app/p` needs GLIBC_2.38 of `/lib/libc.so.6`, which has up to GLIBC_2.36"
        );
        assert_eq!(
            findings[0].remedy,
            "build `/app/p` on a system that has at most GLIBC_2.36, or put a newer `/lib/libc.so.6` into the image"
        );
    }

    #[test]
    fn what_the_command_does_not_need_is_softened() {
        let mut bindings = Bindings::new();
        let names = bindings.entry(path("/app/p")).or_default();
        names.insert("libb.so".to_owned(), path("/app/libb.so"));
        let by = |at: &str| Finding::error(Rule::LibraryMissing, Some(&path(at)), "");
        let mut findings = ["/app/p", "/app/libb.so", "/app/q"].map(by);
        soften(&mut findings, &[path("/app/p")], &bindings);
        let severities = findings.map(|finding| finding.severity);
        let error = Severity::Error;
        assert_eq!(severities, [error, error, Severity::Warning]);
    }

    #[test]
    fn what_a_module_lacks_is_a_warning() {
        let mut runtime = Runtime::default();
        for problem in [
            ModuleProblem::Missing(MissingLibrary {
                elsewhere: Vec::new(),
                ..library(false)
            }),
            ModuleProblem::Missing(library(false)),
            ModuleProblem::OtherSystem,
            ModuleProblem::NoProgram,
        ] {
            let module = path("/app/m.so");
            runtime.warnings.push(ModuleWarning { module, problem });
        }
        let findings = of_runtime(&runtime);
        assert!(
            findings
                .iter()
                .all(|finding| finding.severity == Severity::Warning)
        );
        let rules: Vec<Rule> = findings.iter().map(|finding| finding.rule).collect();
        let unusable = Rule::ModuleUnusable;
        assert_eq!(rules, [Rule::LibraryMissing, unusable, unusable]);
    }
}
