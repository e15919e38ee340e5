//! Packages of Node.js, with `node_modules` as npm, pnpm or Yarn make it.
//!
//! ```text
//! package.json        names the file that starts
//! node_modules/       dependencies; .pnpm/NAME@VERSION/node_modules/NAME of pnpm
//! bin/node, node      the interpreter; else that of the host
//! ```

pub(super) mod manifest;

use std::path::{Path, PathBuf};

use imgbuild_oci::path::ImagePath;

use super::{first_name, has_other_program, releases_below};
use crate::contents::Contents;
use crate::error::{Error, NoStart, Result};
use crate::layering::{Group, Unit, Weight, divide_by_group};
use crate::release::facts::DirectoryFacts;
use crate::release::kind::{Behavior, ReleasesBelow, Selected};
use crate::release::selection::Selection;
use crate::release::{Kind, Release};
use manifest::PackageFile;

/// A package of Node.js with its dependencies.
pub static NODE: Kind = Kind {
    name: "node",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: true,
    recognize,
    find_below,
    select,
};

/// Manifests of other languages: beside one, `package.json` may only list tools.
const FOREIGN: &str = "Cargo.toml Gemfile composer.json go.mod manage.py mix.exs pom.xml pyproject.toml requirements.txt";

/// The places of an interpreter in a release.
const INTERPRETERS: [&str; 3] = ["bin/node", "node", "node_modules/node/bin/node"];

/// A release that node runs.
#[derive(Debug)]
pub(super) struct NodeRelease {
    /// The arguments of node, if they are known.
    pub(super) arguments: std::result::Result<Option<Vec<String>>, NoStart>,
    pub(super) variables: Vec<(String, String)>,
    /// Directories of the release that its user writes to.
    pub(super) writable: Vec<PathBuf>,
}

impl Behavior for NodeRelease {
    fn default_command(
        &self,
        release: &Release,
        contents: &Contents<'_>,
    ) -> Result<Option<Vec<String>>> {
        let Some(arguments) = self.arguments.clone()? else {
            return Err(Error::NoCommand(Vec::new()));
        };
        let own = own_interpreter(release, contents);
        let node = own.map_or_else(|| "node".to_owned(), |path| path.to_string());
        Ok(Some([vec![node], arguments].concat()))
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.variables.clone()
    }

    fn divide(&self, files: &[Weight<'_>], limit: usize) -> Vec<Unit> {
        divide_by_group(files, group, limit)
    }

    fn interpreter(&self, release: &Release, contents: &Contents<'_>) -> Option<&'static str> {
        let own = own_interpreter(release, contents);
        own.is_none().then_some("node")
    }

    fn writable(&self) -> &[PathBuf] {
        &self.writable
    }
}

fn own_interpreter(release: &Release, contents: &Contents<'_>) -> Option<ImagePath> {
    let paths = INTERPRETERS.iter();
    let mut paths = paths.flat_map(|path| release.prefix.join(path));
    paths.find(|path| contents.has_executable(path))
}

/// Returns the group of a path: the interpreter, a package of `node_modules`
/// wherever that lies, or the application.
fn group(path: &[u8]) -> Group {
    let path = String::from_utf8_lossy(path);
    if path == "bin/node" || first_name(&path) == "node" {
        return Group::whole(0, "node");
    }
    let mut parts = path.split('/');
    if !parts.any(|part| part == "node_modules") {
        return Group::whole(2, "application");
    }
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let name = if first == ".pnpm" {
        // `@scope+name@1.0.0_peer@2.0.0` without its versions.
        let end = second.get(1..).and_then(|rest| rest.find('@'));
        end.map_or(second, |end| &second[..=end]).to_owned()
    } else if first.starts_with('@') {
        format!("{first}/{second}")
    } else {
        first.to_owned()
    };
    Group::member(1, "node_modules", &name)
}

/// Recognizes a package by its start script, or by other fields if nothing in the
/// directory belongs to another language or is a program that node does not run.
fn recognize(root: &Path, facts: &DirectoryFacts) -> Option<String> {
    let is_foreign = || FOREIGN.split(' ').any(|name| root.join(name).exists());
    let is_plain = || !is_foreign() && !has_other_program(root, "node", facts);
    match PackageFile::read(root, facts)?.start(root, facts) {
        Ok(Some(start)) => (start.is_script || is_plain()).then_some(start.because),
        Ok(None) => None,
        Err(start) => (is_plain() && root.join("node_modules").is_dir()).then_some(start.reason),
    }
}

/// Finds packages with a start script that node can run, for example in a workspace.
fn find_below(root: &Path, facts: &DirectoryFacts) -> Option<ReleasesBelow> {
    let is_workspace = root.join("package.json").is_file();
    let patterns: &[&str] = if is_workspace {
        &["apps/*", "packages/*", "services/*"]
    } else {
        &[]
    };
    releases_below(root, patterns, facts, |place| {
        let manifest = PackageFile::read(place, facts);
        let start = manifest.and_then(|manifest| manifest.start(place, facts).ok()?);
        start.is_some_and(|start| start.is_script)
    })
}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    selection.take_tree(&|_, _| None)?;
    let (root, facts) = (selection.root.path(), selection.facts);
    let manifest = PackageFile::read(root, facts);
    let start = manifest.as_ref().map(|it| it.start(root, facts));
    let start = start.transpose().map(Option::flatten);
    let mut variables = vec![("NODE_ENV".to_owned(), "production".to_owned())];
    let found = start.iter().flatten();
    variables.extend(found.flat_map(|start| start.variables.clone()));
    Ok(Selected {
        name: manifest.as_ref().and_then(PackageFile::name),
        behavior: Box::new(NodeRelease {
            arguments: start.map(|start| start.map(|it| it.arguments)),
            variables,
            writable: Vec::new(),
        }),
    })
}

#[cfg(test)]
mod tests;
