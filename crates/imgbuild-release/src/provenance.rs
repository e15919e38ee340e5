//! The origin of an image: the [predefined annotation keys], as labels and
//! annotations.
//!
//! [predefined annotation keys]: https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md#pre-defined-annotation-keys

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::git::web_address;
use crate::package::{Package, PackageSource};

/// The place where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The variables that a build service sets.
    Environment,
    /// The repository.
    Git,
    /// The manifest of the package.
    Package(PackageSource),
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Environment => "environment",
            Self::Git => "git",
            Self::Package(source) => source.kind,
        })
    }
}

/// The state of the git work tree that contains the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The commit, in hexadecimal digits.
    pub revision: String,
    /// Files differ from it.
    pub is_dirty: bool,
    /// The address from which the repository was cloned, without credentials.
    pub source: Option<String>,
}

/// The variables of a build service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildService {
    /// The commit that is built.
    pub revision: Option<String>,
    /// The address of the repository.
    pub source: Option<String>,
}

/// The value of a label and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The value.
    pub value: String,
    /// The place where it was found.
    pub origin: Origin,
}

/// Everything that is known about the origin of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The variables of a build service.
    pub service: BuildService,
    /// The git work tree.
    pub checkout: Option<Checkout>,
    /// The package.
    pub package: Option<Package>,
}

impl Provenance {
    /// Returns the labels that every image gets.
    ///
    /// The build service has precedence over the repository, and that over the
    /// package: the nearer to this very build, the better.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, Label> {
        let mut labels = BTreeMap::new();
        if let Some(package) = &self.package {
            add_package(&mut labels, package);
        }
        if let Some(checkout) = &self.checkout {
            let revision = marked(&checkout.revision, checkout.is_dirty);
            set(&mut labels, "revision", Some(revision), Origin::Git);
            set(&mut labels, "source", checkout.source.clone(), Origin::Git);
        }
        let is_dirty = self.checkout.as_ref().is_some_and(|it| it.is_dirty);
        let revision = self.service.revision.as_deref().filter(|it| is_id(it));
        let revision = revision.map(|revision| marked(revision, is_dirty));
        set(&mut labels, "revision", revision, Origin::Environment);
        let source = self.service.source.as_deref().and_then(web_address);
        set(&mut labels, "source", source, Origin::Environment);
        labels
    }

    /// Returns the revisions of the build service and of the repository, if
    /// they differ.
    #[must_use]
    pub fn revisions_that_differ(&self) -> Option<(&str, &str)> {
        let service = self.service.revision.as_deref().filter(|it| is_id(it))?;
        let git = self.checkout.as_ref()?.revision.as_str();
        (!service.eq_ignore_ascii_case(git)).then_some((service, git))
    }
}

fn add_package(labels: &mut BTreeMap<String, Label>, package: &Package) {
    let origin = Origin::Package(package.source);
    let authors = package.authors.join(", ");
    let source = package.repository.as_deref().and_then(web_address);
    let url = package.homepage.clone().filter(|url| is_web(url));
    set(labels, "title", Some(package.name.clone()), origin);
    set(labels, "version", package.version.clone(), origin);
    set(labels, "licenses", package.license.clone(), origin);
    set(labels, "description", package.description.clone(), origin);
    set(labels, "authors", Some(authors), origin);
    set(labels, "source", source, origin);
    set(labels, "url", url, origin);
}

fn set(labels: &mut BTreeMap<String, Label>, name: &str, value: Option<String>, origin: Origin) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        let key = format!("org.opencontainers.image.{name}");
        labels.insert(key, Label { value, origin });
    }
}

/// Marks the revision of a changed work tree as `git describe` does.
fn marked(revision: &str, is_dirty: bool) -> String {
    let mark = if is_dirty { "-dirty" } else { "" };
    format!("{revision}{mark}")
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0123456789abcdef0123456789abcdef01234567";
    const SECOND: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn package() -> Package {
        Package {
            source: PackageSource {
                kind: "cargo",
                file: "`Cargo.toml`",
            },
            name: "app".to_owned(),
            version: Some("1.0.0".to_owned()),
            license: Some("MIT".to_owned()),
            repository: Some("https://example.com/package.git".to_owned()),
            homepage: Some("https://example.com".to_owned()),
            authors: vec!["A".to_owned(), "B".to_owned()],
            description: None,
        }
    }

    fn checkout(is_dirty: bool) -> Checkout {
        Checkout {
            revision: FIRST.to_owned(),
            is_dirty,
            source: Some("https://example.com/git".to_owned()),
        }
    }

    fn shown(provenance: &Provenance) -> Vec<String> {
        let labels = provenance.labels().into_iter();
        labels
            .map(|(key, label)| {
                let name = key.rsplit('.').next().unwrap().to_owned();
                let origin = serde_json::to_value(label.origin).unwrap();
                format!("{name}={} {}", label.value, origin.as_str().unwrap())
            })
            .collect()
    }

    #[test]
    fn a_package_gives_all_but_the_revision() {
        let provenance = Provenance {
            package: Some(package()),
            ..Provenance::default()
        };
        assert_eq!(
            shown(&provenance),
            [
                "authors=A, B cargo",
                "licenses=MIT cargo",
                "source=https://example.com/package cargo",
                "title=app cargo",
                "url=https://example.com cargo",
                "version=1.0.0 cargo",
            ]
        );
        assert!(shown(&Provenance::default()).is_empty());
    }

    #[test]
    fn the_repository_goes_before_the_package_and_the_service_before_both() {
        let mut provenance = Provenance {
            package: Some(package()),
            checkout: Some(checkout(true)),
            ..Provenance::default()
        };
        let labels = shown(&provenance);
        assert!(
            labels.contains(&format!("revision={FIRST}-dirty git")),
            "{labels:?}"
        );
        assert!(labels.contains(&"source=https://example.com/git git".to_owned()));
        provenance.service = BuildService {
            revision: Some(SECOND.to_owned()),
            source: Some("https://me:token@example.com/service".to_owned()),
        };
        let labels = shown(&provenance);
        assert!(labels.contains(&format!("revision={SECOND}-dirty environment")));
        assert!(labels.contains(&"source=https://example.com/service environment".to_owned()));
        assert_eq!(provenance.revisions_that_differ(), Some((SECOND, FIRST)));
        provenance.checkout = None;
        assert_eq!(provenance.revisions_that_differ(), None);
    }

    #[test]
    fn what_a_service_says_must_be_a_revision() {
        for text in ["", "main", "0123", "zz"] {
            let service = BuildService {
                revision: Some(text.to_owned()),
                source: Some("/srv/git".to_owned()),
            };
            let provenance = Provenance {
                service,
                checkout: Some(checkout(false)),
                ..Provenance::default()
            };
            let labels = shown(&provenance);
            assert!(labels.contains(&format!("revision={FIRST} git")), "{text}");
            assert_eq!(provenance.revisions_that_differ(), None, "{text}");
        }
    }
}
