//! Cargo's manifests ([the manifest format], [workspaces]).
//!
//! [the manifest format]: https://doc.rust-lang.org/cargo/reference/manifest.html
//! [workspaces]: https://doc.rust-lang.org/cargo/reference/workspaces.html

use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::bounded;
use toml::{Table, Value};

use crate::kind::{MAX_DIRECTORIES, expand};
use crate::package::{Package, PackageSource};
use crate::release::facts::DirectoryFacts;

const SOURCE: PackageSource = PackageSource {
    kind: "cargo",
    file: "`Cargo.toml`",
};

/// The largest manifest that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Finds the package that owns the directory `target` which holds `root`.
pub(super) fn package(root: &Path, executables: &[String]) -> Option<Package> {
    let manifest = Manifest::above(root)?;
    if let [only] = executables
        && !manifest.makes(only)
        && let Some(member) = manifest.member_that_makes(only)
    {
        return member.package(manifest.workspace());
    }
    let workspace = manifest.workspace_above();
    manifest.package(workspace.as_ref().unwrap_or(&manifest).workspace())
}

/// Returns the name of the package of a profile directory, or that of the
/// directory of a workspace without a package.
pub(super) fn package_name(root: &Path) -> Option<String> {
    let manifest = Manifest::above(root)?;
    let package = manifest.table.get("package");
    match package.and_then(|package| package.get("name")) {
        Some(name) => Some(name.as_str()?.to_owned()),
        None => {
            let directory = manifest.directory.file_name()?;
            Some(directory.to_string_lossy().into_owned())
        }
    }
}

/// A manifest with its directory.
struct Manifest {
    directory: PathBuf,
    table: Table,
}

impl Manifest {
    /// Reads the nearest manifest above a directory.
    fn above(root: &Path) -> Option<Self> {
        let root = fs::canonicalize(root).ok()?;
        let mut above = root.ancestors().skip(1);
        let directory = above.find(|directory| directory.join("Cargo.toml").is_file())?;
        Self::read(directory)
    }

    fn read(directory: &Path) -> Option<Self> {
        let path = directory.join("Cargo.toml");
        Some(Self {
            table: bounded::read_text(&path, MAX_BYTES).ok()?.parse().ok()?,
            directory: directory.to_path_buf(),
        })
    }

    fn workspace(&self) -> Option<&Table> {
        self.table.get("workspace")?.as_table()
    }

    /// Reads the workspace of a package, unless the package is its root.
    fn workspace_above(&self) -> Option<Self> {
        if self.workspace().is_some() {
            return None;
        }
        let package = self.table.get("package")?;
        if let Some(root) = package.get("workspace").and_then(Value::as_str) {
            return Self::read(&self.directory.join(root));
        }
        let mut above = self.directory.ancestors().skip(1);
        above.find_map(|directory| Self::read(directory).filter(|it| it.workspace().is_some()))
    }

    fn name(&self) -> Option<&str> {
        self.table.get("package")?.get("name")?.as_str()
    }

    /// Returns whether the package has a program of this name.
    fn makes(&self, program: &str) -> bool {
        let Some(name) = self.name() else {
            return false;
        };
        let targets = self.table.get("bin").and_then(Value::as_array);
        let mut named = targets
            .into_iter()
            .flatten()
            .filter_map(|bin| bin.get("name")?.as_str());
        let file = |path: String| self.directory.join(path).is_file();
        named.any(|bin| bin == program)
            || (name == program && file("src/main.rs".to_owned()))
            || file(format!("src/bin/{program}.rs"))
            || file(format!("src/bin/{program}/main.rs"))
    }

    fn member_that_makes(&self, program: &str) -> Option<Self> {
        let patterns = self.workspace()?.get("members")?.as_array()?;
        let patterns = patterns.iter().filter_map(Value::as_str);
        let facts = DirectoryFacts::default();
        let directories = patterns.flat_map(|pattern| expand(&self.directory, pattern, &facts));
        let mut members = directories
            .take(MAX_DIRECTORIES)
            .filter_map(|it| Self::read(&it));
        members.find(|member| member.makes(program))
    }

    fn package(&self, workspace: Option<&Table>) -> Option<Package> {
        let own = self.table.get("package")?.as_table()?;
        let shared = workspace.and_then(|workspace| workspace.get("package")?.as_table());
        let fields = PackageFields { own, shared };
        Some(Package {
            version: fields.text("version"),
            license: fields.text("license").map(|text| expression(&text)),
            repository: fields.text("repository"),
            homepage: fields.text("homepage"),
            authors: fields.list("authors"),
            description: fields.text("description"),
            ..Package::named(SOURCE, self.name()?)
        })
    }
}

/// The fields of a package, and those that its workspace shares.
struct PackageFields<'a> {
    own: &'a Table,
    shared: Option<&'a Table>,
}

impl PackageFields<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        let value = self.own.get(name)?;
        let is_inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
        if is_inherited {
            self.shared?.get(name)
        } else {
            Some(value)
        }
    }

    /// A text in one line.
    fn text(&self, name: &str) -> Option<String> {
        one_line(self.value(name)?.as_str()?)
    }

    fn list(&self, name: &str) -> Vec<String> {
        let values = self.value(name).and_then(Value::as_array);
        let texts = values.into_iter().flatten().filter_map(Value::as_str);
        texts.filter_map(one_line).collect()
    }
}

fn one_line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let is_plain = !line.is_empty() && !line.chars().any(char::is_control);
    is_plain.then_some(line)
}

/// Replaces the slash of old manifests by `OR`.
fn expression(license: &str) -> String {
    let parts: Vec<&str> = license.split('/').map(str::trim).collect();
    parts.join(" OR ")
}

#[cfg(test)]
mod tests;
