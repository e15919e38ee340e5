//! What a release's package says about itself.

mod cargo;

use serde::Serialize;

use crate::release::{Kind, Release};

/// Where a package's own words stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageKind {
    /// `Cargo.toml`.
    Cargo,
    /// The files below `releases/` of a mix release.
    Mix,
}

/// What a package says about itself, as far as images say it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where it says so.
    pub kind: PackageKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Its license, an SPDX expression.
    pub license: Option<String>,
    /// Where its source is.
    pub repository: Option<String>,
    /// Where more is said about it.
    pub homepage: Option<String>,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// What it is, in a line.
    pub description: Option<String>,
}

impl Package {
    /// Finds the package that a release was made of.
    ///
    /// For Cargo, it is that of the `Cargo.toml` beside `target/`, or, in a
    /// workspace, the member that makes the only executable that goes in.
    /// A manifest that cannot be read says nothing.
    #[must_use]
    pub fn of(release: &Release) -> Option<Self> {
        match release.kind() {
            Kind::Cargo => cargo::package(release.root(), &executables(release)),
            Kind::Mix => release.mix().map(|mix| Self {
                version: Some(mix.version.clone()),
                ..Self::named(PackageKind::Mix, &mix.name)
            }),
            Kind::Tree => None,
        }
    }

    fn named(kind: PackageKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: None,
            license: None,
            repository: None,
            homepage: None,
            authors: Vec::new(),
            description: None,
        }
    }
}

/// The names of what lies directly where the release lands.
fn executables(release: &Release) -> Vec<String> {
    let entries = release.members().iter().map(|member| &member.entry);
    let here = entries.filter(|entry| {
        entry.path.parent().as_ref() == Some(release.prefix())
            && crate::contents::is_executable(entry)
    });
    here.map(|entry| String::from_utf8_lossy(entry.path.file_name()).into_owned())
        .collect()
}
