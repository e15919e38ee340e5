//! Programs and libraries: what they need of each other and of processors.

use std::path::PathBuf;

use imgbuild_oci::entry::EntryKind;
use imgbuild_oci::path::ImagePath;

use super::identity::READ;
use super::subject::Subject;
use crate::closure::{finding, image_only, library_directories};
use crate::contents::End;
use crate::finding::{Finding, Rule};
use crate::runtime::{Bindings, Flavor, ImageNode, Object, Role, Runtime, RuntimeOptions};

/// The first level of x86-64 that processors of this century's first decade
/// do not have all of.
const NEW_LEVEL: u8 = 3;

/// Looks at all programs; `started` are those that start with a container.
pub(super) fn check(subject: &Subject<'_>, started: &[ImagePath]) -> Vec<Finding> {
    let mut findings = levels(subject);
    match subject.bindings {
        Some(bindings) => findings.extend(unreadable(subject, bindings, started)),
        None => findings.extend(libraries(subject, started)),
    }
    findings
}

/// Names files that need a newer processor than the platform requires.
fn levels(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .objects()
        .filter_map(|object| {
            let level = object.elf.isa_level.filter(|level| *level >= NEW_LEVEL)?;
            let path = &object.image;
            let reason = format!("`{path}` needs a processor of level x86-64-v{level}, but any linux/amd64 machine may run the image");
            Some(Finding::warning(Rule::NewProcessor, Some(path), reason))
        })
        .collect()
}

/// Searches for libraries as the loaders in the image will. Only what starts
/// with a container must find all: the rest may never run, or run with
/// variables that a script sets.
fn libraries(subject: &Subject<'_>, started: &[ImagePath]) -> Vec<Finding> {
    let objects: Vec<Object> = subject
        .objects()
        .map(|object| Object {
            role: if started.contains(&object.image) && !has_layer(subject, object) {
                Role::Program
            } else {
                Role::Module
            },
            ..object.clone()
        })
        .collect();
    let lookup = |path: &ImagePath| {
        let member = subject.contents.get(path)?;
        Some(match &member.entry.kind {
            EntryKind::Directory => ImageNode::Directory,
            EntryKind::Symlink { target } => ImageNode::Symlink(target.clone()),
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => ImageNode::File(PathBuf::new()),
        })
    };
    let variable = subject.variable("LD_LIBRARY_PATH").unwrap_or_default();
    let options = RuntimeOptions {
        image_paths: library_directories(variable, &subject.working_directory()),
        working_directory: Some(subject.working_directory()),
        image_only: Some(image_only(&subject.contents)),
        ..RuntimeOptions::default()
    };
    // Only invalid directories of the host are errors.
    let Ok(runtime) = Runtime::resolve(&objects, &lookup, &options) else {
        return Vec::new();
    };
    let mut findings = finding::of_runtime(&runtime);
    findings.extend(unreadable(subject, &runtime.bindings, started));
    findings
}

/// Returns whether musl's loader stands in for glibc's, as where Alpine has a
/// layer for programs of others: what such a program finds is not known here.
fn has_layer(subject: &Subject<'_>, program: &Object) -> bool {
    let interpreter = program.elf.interpreter.as_deref();
    let path = interpreter.and_then(|path| ImagePath::parse(path).ok());
    let end = path.map(|path| subject.contents.resolve(&path));
    let Some(End::There(end)) = end else {
        return false;
    };
    let loader = subject.elf(&end);
    Flavor::of(&program.elf) == Some(Flavor::Glibc)
        && loader.is_some_and(|loader| Flavor::of(&loader) == Some(Flavor::Musl))
}

/// Names the libraries that what starts needs and may not read.
fn unreadable(subject: &Subject<'_>, bindings: &Bindings, started: &[ImagePath]) -> Vec<Finding> {
    let Some(identity) = &subject.identity else {
        return Vec::new();
    };
    let mut waiting: Vec<&ImagePath> = started.iter().collect();
    let mut seen: Vec<&ImagePath> = Vec::new();
    let mut findings = Vec::new();
    while let Some(path) = waiting.pop() {
        let libraries = bindings.get(path).into_iter();
        for library in libraries.flat_map(|names| names.values()) {
            if seen.contains(&library) {
                continue;
            }
            seen.push(library);
            waiting.push(library);
            let Some(member) = subject.contents.get(library) else {
                continue;
            };
            if let Some((_, reason)) = identity.refusal(&subject.contents, library, member, READ) {
                let reason = format!("`{path}` cannot load `{library}`: {reason}");
                let rule = Rule::LibraryForbidden;
                findings.push(Finding::error(rule, Some(library), reason));
            }
        }
    }
    findings
}
