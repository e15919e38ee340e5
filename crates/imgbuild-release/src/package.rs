//! The package that a release was made of, as its own manifest describes it.

/// The manifest of a package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackageSource {
    /// The kind of the release.
    pub kind: &'static str,
    /// The manifest, in messages.
    pub file: &'static str,
}

/// The description of a package, as far as images have labels for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// The manifest that it was read from.
    pub source: PackageSource,
    /// The name.
    pub name: String,
    /// The version.
    pub version: Option<String>,
    /// The license, an SPDX expression.
    pub license: Option<String>,
    /// The address of its source code.
    pub repository: Option<String>,
    /// The address of its web site.
    pub homepage: Option<String>,
    /// The authors.
    pub authors: Vec<String>,
    /// A description in one line.
    pub description: Option<String>,
}

impl Package {
    /// Returns a package of which only the name is known.
    pub(crate) fn named(source: PackageSource, name: &str) -> Self {
        Self {
            source,
            name: name.to_owned(),
            ..Self::default()
        }
    }
}
